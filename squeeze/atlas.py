"""The atlas: every venue's heatmaps, zones and walls over time, and the patterns in them, folded step by step.

    VenueStep of each venue ─► its maps ─┐
                                         ├─► Scene ─► patterns ─► Page: channels, scalars, zones, findings
    mark, all venues ─► zones, walls ────┘

The first venue is that of the bars; its liquidation map is the model's own. What of a venue's part makes no sense (a
crossed book, amounts that are none) is left out of the step and flagged; the maps take it for silence.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, no_type_check

import msgspec
import numpy as np
from numba import njit

from squeeze.errors import ConfigError, StepError
from squeeze.heatmaps.funding import PREDICTED, SETTLED, FundingMap
from squeeze.heatmaps.liquidation import LiquidationMap
from squeeze.heatmaps.protocol import HeatMap
from squeeze.heatmaps.stops import StopMap
from squeeze.market.events import MINUTE_NS
from squeeze.market.steps import Step
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.patterns.catalogue import Patterns
from squeeze.patterns.moment import Moment
from squeeze.patterns.pattern import Finding
from squeeze.patterns.scene import AREA_HIGH, AREA_LOW, CONTROL, HIGH, LOW, NODE, VENUE, Scene, copied
from squeeze.spec import Spec
from squeeze.venue_maps import VenueMaps, sound
from squeeze.zones.track import ZoneTracker
from squeeze.zones.walls import WallTracker, resting

NODES = 64
"""So many nodes of the volume profile are remembered, the first window's first."""
Outward = Callable[[float, float, int], np.ndarray]
"""(side, channel, price) of a mark, a bin's width and how many."""
LONG_AGO_NS = 1 << 61
"""The age of what never was."""


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """What the atlas says at one close. All of it was known then.

    `channels` (side, channel, price) are the maps that `FrameSpec.channels` chose, in the frame's own bins, outward;
    NaN where not recorded or covered. The others are not read: that took a tenth of a close's time.
    `scalars` (side, scalar). `scene` holds zones, walls, nodes and venues as records, and the maps by whole grid bins
    (`patterns.scene`); `found` (pattern, side) is of `patterns.pattern`.
    """

    channels: np.ndarray
    scalars: np.ndarray
    scene: Scene
    found: np.ndarray

    def findings(self) -> tuple[Finding, ...]:
        """The patterns whose flag is up, longs' side first."""
        return tuple(Patterns.flagged(self.found))


class Atlas:
    """All of it for one market; `step` follows the model's own map, `page` reads what has become of it."""

    def __init__(self, spec: Spec) -> None:
        if spec.atlas is None:
            raise StepError("the spec has no atlas")
        self.spec = spec
        self.names = spec.market.venue_names()
        self.venues = [VenueMaps(spec, spec.atlas, name) for name in self.names]
        self.stops = StopMap(spec.atlas.stops)
        self.funding = FundingMap(msgspec.structs.replace(spec.atlas.funding, venues=self.names))
        self.bins = round(spec.frame.zone_reach_log / spec.map.bin_log)
        self.tracker = ZoneTracker(spec.atlas.track, spec.frame, spec.map.bin_log)
        self.walls = WallTracker(spec.atlas.walls, spec.map.bin_log, len(self.names))
        self.moment = Moment(spec.map.bin_log)
        self.patterns = Patterns(spec.atlas.patterns)
        self._silence_ns = round(spec.atlas.silent_minutes * MINUTE_NS)
        self._nodes_ns = round(spec.atlas.nodes_minutes * MINUTE_NS)
        self.nodes = np.zeros(NODES, NODE)
        self.clock = np.zeros(3, dtype=np.int64)
        """Close of the last step, how many nodes there are, when they were looked for."""
        self.counts = np.zeros(3, dtype=np.int64)
        """Parts left out, jumps of open interest, funding intervals changed: so far."""
        self.scene: Scene | None = None
        self._named = self._maps()
        others = tuple(f"{channel}{tail}" for tail, one in self._named for channel in one.channels)
        self.channels = (*(f"liquidation_{name}" for name in self.names), *others)
        maps = tuple(f"{scalar}{tail}" for tail, one in self._named for scalar in one.scalar_names)
        self.scalar_names = (*maps, *self.patterns.scalar_names)
        chosen = self._positions(spec.frame.channels)
        self.chosen = tuple(self.channels[i] for i in chosen)
        """Names of the channels that the frame shows, in the order of `channels`."""
        self._shown = self._readers(chosen)

    def _maps(self) -> list[tuple[str, HeatMap[Any]]]:
        """Every map behind the protocol, with what its channels and scalars are called besides."""
        own = [(f"_{venue.name}", one) for venue in self.venues for one in venue.maps]
        return [*own, ("", self.stops), ("", self.funding)]

    def _positions(self, patterns: Iterable[str]) -> list[int]:
        """Where the channels stand that any of these names or shell patterns means, in the order of `channels`.

        Raises `ConfigError` for a pattern that means none, with what there is.
        """
        found: set[int] = set()
        for pattern in patterns:
            meant = {i for i, name in enumerate(self.channels) if fnmatchcase(name, pattern)}
            if not meant:
                there = ", ".join(self.channels)
                raise ConfigError(f"frame.channels: no channel is called {pattern}; there are {there}")
            found |= meant
        return sorted(found)

    def _readers(self, chosen: list[int]) -> list[tuple[Outward, list[int]]]:
        """Each map of which a channel is chosen, and which of its own channels those are."""
        found, first = [], 0
        maps: list[tuple[Outward, int]] = [(venue.liquidation_outward, 1) for venue in self.venues]
        maps += [(one.outward, len(one.channels)) for _, one in self._named]
        for outward, count in maps:
            own = [i - first for i in chosen if first <= i < first + count]
            if own:
                found.append((outward, own))
            first += count
        return found

    def step(self, step: Step, mark: Candle | None, main: LiquidationMap) -> None:
        """Fold one step in, after `main`, the map of the first venue; without a mark the last one stands still."""
        moves = mark is not None
        if mark is None:
            if not self.clock[0]:
                return
            last = float(self.moment.now["mark"][0])
            mark = Candle(last, last, last, last, step.close_ns)
        judged = {name: sound(step.venue(name), self.spec.map.bin_log) for name in self.names}
        self.counts[0] += sum(faults for _, faults in judged.values())
        parts = {name: part for name, (part, _) in judged.items()}
        for venue in self.venues:
            self.counts[0] += venue.step(parts[venue.name], mark, step, main)
        self.stops.step(parts[self.names[0]], mark, step.close_ns)
        self.funding.step(parts, mark, step.close_ns)
        self.scene = self._scene(step, parts, mark, moves)
        self.patterns.step(self.scene)
        self.counts[1] = sum(venue.interest.counting_changes for venue in self.venues)
        self.counts[2] = int(self.funding.interval_changes.sum())
        self.clock[0] = step.close_ns

    def page(self, mark: float, width_log: float, bins: int) -> Page:
        """What the maps show in `bins` of `width_log` outward from the mark, and what was found in the last step."""
        if self.scene is None:
            raise StepError("the atlas has seen no step with a mark")
        channels, at = np.empty((2, len(self.chosen), bins), np.float32), 0
        for outward, own in self._shown:
            shown = outward(mark, width_log, bins)
            channels[:, at : at + len(own)] = shown if len(own) == shown.shape[1] else shown[:, own]
            at += len(own)
        scalars = [one.scalars() for _, one in self._named]
        return Page(
            channels,
            np.concatenate([*scalars, self.patterns.scalars()], axis=1),
            self.scene,
            copied(self.patterns.found),
        )

    def _scene(self, step: Step, parts: dict[str, VenueStep], mark: Candle, moves: bool) -> Scene:
        heat, born, shares, open_interest = self._heat(mark.close, step.close_ns)
        total = float(open_interest[-1])
        if moves:
            now = self.moment.step(mark, open_interest[0], step.close_ns, step.length_ns)
        else:
            now = self.moment.stand(step.close_ns, step.length_ns)
        now["open_interest_base"] = total
        now["open_interest_usd"] = now["open_interest_base"] * mark.close
        self._tell_ages(now, step.close_ns)
        self._tell_funding(now)
        zones, ended = self.tracker.step(heat, born, mark.close, mark.low, mark.high, total, step.close_ns)
        mark_bin = int(now["mark_bin"][0])
        books = [venue.book_outward(mark_bin, self.bins) for venue in self.venues]
        shown = [resting(venue.book, parts[venue.name]) for venue in self.venues]
        walls = self.walls.step(shown, mark, step.close_ns, step.length_ns)
        first = self.venues[0]
        self._look_for_nodes(step.close_ns)
        return Scene(
            now=copied(now),
            zones=zones,
            ended=ended,
            walls=walls,
            nodes=copied(self.nodes[: int(self.clock[1])]),
            venues=self._tell_venues(parts, open_interest),
            heat=heat,
            venue_heat=shares,
            volume=first.volume_outward(mark_bin, self.bins),
            interest=first.interest_outward(mark_bin, self.bins),
            book=_sum_known(books),
        )

    def _heat(self, mark: float, close_ns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All venues' map as shares of their open interest, the same times birth, each venue's share of its own, all
        outward; and open interest by venue, with the sum at the end: NaN where it is not known, or the venue has said
        nothing for so long that its map is one of the past.
        """
        venues = len(self.venues)
        coins, births = np.zeros((venues, 2, self.bins)), np.zeros((venues, 2, self.bins))
        open_interest = np.full(venues + 1, math.nan)
        for i, venue in enumerate(self.venues):
            if close_ns - venue.fed_ns > self._silence_ns:
                continue
            open_interest[i] = venue.open_interest_base
            if open_interest[i] > 0:
                coins[i], births[i] = venue.liquidation.profile(mark, self.bins)
        heat, born = np.empty((2, self.bins)), np.empty((2, self.bins))
        _share(coins, births, open_interest, heat, born)
        return heat, born, coins, open_interest

    def _tell_ages(self, now: np.ndarray, close_ns: int) -> None:
        first = self.venues[0]
        now["map_age_ns"] = close_ns - first.fed_ns if first.fed_ns else LONG_AGO_NS
        now["open_interest_age_ns"] = first.interest.age_ns if first.interest.clock[1] else LONG_AGO_NS
        now["book_age_ns"] = min(min(venue.book.age_ns, LONG_AGO_NS) for venue in self.venues)

    def _tell_funding(self, now: np.ndarray) -> None:
        told = self.funding.summary(PREDICTED)
        if math.isnan(told[0]):  # no venue's forecast is believed
            told = self.funding.summary(SETTLED)
        now["funding_8h"], now["funding_low_8h"], now["funding_high_8h"] = told[:3]
        now["funding_z"], now["minutes_to_settlement"] = told[3:]

    def _tell_venues(self, parts: dict[str, VenueStep], open_interest: np.ndarray) -> np.ndarray:
        out = np.zeros(len(self.venues), VENUE)
        settled, predicted = self.funding.rates().tolist()
        for i, venue in enumerate(self.venues):
            long_usd, short_usd, complete = venue.liquidated(parts[venue.name])
            out[i] = open_interest[i], settled[i], predicted[i], long_usd, short_usd, complete
        return out

    def _look_for_nodes(self, close_ns: int) -> None:
        """The first venue's nodes, points of control and value areas, anew at each multiple of `nodes_minutes`."""
        if close_ns // self._nodes_ns == self.clock[2] // self._nodes_ns:
            return
        self.clock[2] = close_ns
        profile, found = self.venues[0].volume, []
        for window, share in enumerate(profile.coverage.tolist()):
            greatest = float(profile.volume(window).max())
            if not (share > 0 and greatest > 0):
                continue
            high, low = profile.nodes(window)
            area = profile.value_area(window)
            at = [(HIGH, price) for price in high] + [(LOW, price) for price in low]
            at += [(CONTROL, profile.point_of_control(window)), (AREA_LOW, area[0]), (AREA_HIGH, area[1])]
            for kind, price in at:
                place = math.log(price)
                found.append((kind, window, place, profile.volume_at(window, place) / greatest))
        here = math.log(float(self.moment.now["mark"][0]))
        found.sort(key=lambda node: (node[0] in (HIGH, LOW), abs(node[2] - here)))  # where room ends, the far ones go
        found = found[:NODES]
        self.nodes[: len(found)] = found
        self.clock[1] = len(found)

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state, as it is."""
        parts: dict[str, Any] = {
            "tracker": self.tracker, "walls": self.walls, "moment": self.moment, "patterns": self.patterns,
            "stops": self.stops, "funding": self.funding,
        }  # fmt: skip
        parts |= {venue.name: venue for venue in self.venues}
        arrays: dict[str, np.ndarray] = {"nodes": self.nodes.view(np.uint8), "clock": self.clock, "counts": self.counts}
        for name, part in parts.items():
            arrays |= {f"{name}.{inner}": array for inner, array in part.arrays().items()}
        return arrays


@njit(cache=True)
@no_type_check
def _share(
    coins: np.ndarray, births: np.ndarray, open_interest: np.ndarray, heat: np.ndarray, born: np.ndarray
) -> None:
    """Sum the venues of known open interest into `heat` and `born`, and turn `coins` into each one's shares."""
    venues = coins.shape[0]
    total = 0.0
    for venue in range(venues):
        total += open_interest[venue] if open_interest[venue] > 0 else 0.0
    open_interest[venues] = total if total > 0 else np.nan
    heat[:], born[:] = 0.0, 0.0
    for venue in range(venues):
        own = open_interest[venue] if open_interest[venue] > 0 else np.nan
        for side in range(2):
            for i in range(heat.shape[1]):
                heat[side, i] += coins[venue, side, i]
                born[side, i] += births[venue, side, i]
                coins[venue, side, i] /= own
    heat /= open_interest[venues]
    born /= open_interest[venues]


def _sum_known(amounts: list[np.ndarray]) -> np.ndarray:
    """Of what is known; NaN where nothing is."""
    out = amounts[0].copy()
    for other in amounts[1:]:
        _add_known(out, other)
    return out


@njit(cache=True)
@no_type_check
def _add_known(out: np.ndarray, other: np.ndarray) -> None:
    for side in range(out.shape[0]):
        for i in range(out.shape[1]):
            if other[side, i] == other[side, i]:
                out[side, i] = other[side, i] if np.isnan(out[side, i]) else out[side, i] + other[side, i]
