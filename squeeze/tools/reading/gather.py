"""What a reading rests on, kept while a market is folded up to the time that is asked about."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.patterns import depletion
from squeeze.patterns.catalogue import NAMES, PATTERNS
from squeeze.patterns.pattern import Finding, finding
from squeeze.patterns.scene import SWEPT, Scene
from squeeze.spec import Spec
from squeeze.state import Frame, flag_names
from squeeze.tools import fold
from squeeze.tools.diff import Difference, difference
from squeeze.tools.fold import Folded
from squeeze.tools.pictures.gather import Seen, gather
from squeeze.tools.reading.profile import Profile
from squeeze.tools.snapshot import Snapshot, snapshot_of

DEPLETION = NAMES.index(depletion.NAME)
COLUMNS = 600
"""Of the figure's heat: a reading is looked at once, not zoomed into."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One zone, or several at once, that the mark went through; NaN where it was not recorded."""

    close_ns: int
    side: int
    usd: float
    """At its last sight before the mark touched it."""
    observed_share: float
    """Of that, what was seen liquidated."""
    phantom: float
    """1 if so little was seen that it was never there, 0 if not; NaN where a feed is not complete."""
    reopened_share: float
    """Open interest that came back within 15 minutes, over the zone's."""
    low: float
    """The zones' range, in quote currency."""
    high: float


@dataclass(eq=False)
class Reading:
    """One market as it stood at one time; everything was known then."""

    spec: Spec
    profile: Profile
    source: str
    """Where the data are from, in words."""
    seen: Seen
    frame: Frame
    scene: Scene
    compared: "Compared | None" = None
    """How the liquidation map was `compare_hours` before; None where it was not folded then."""
    since: Scene | None = None
    """The scene at the time of the last check, where one was asked for."""
    sweeps: list[Sweep] = field(default_factory=list)
    """Within the window, the oldest first."""
    voids: tuple[np.ndarray, np.ndarray] = (np.zeros((0, 2)), np.zeros((0, 2)))
    """By side, (near, far) of each void outward from the mark, in log price."""

    @property
    def mark(self) -> float:
        """The mark price at the end, in quote currency."""
        return float(self.scene.now["mark"][0])

    @property
    def at_ns(self) -> int:
        """Close of the last step: when all of it was known."""
        return self.frame.close_ns

    @property
    def folded_hours(self) -> float:
        """How long the maps have been filled."""
        return (self.at_ns - self.seen.first_ns) / HOUR_NS

    def finding(self, pattern: str, side: int) -> Finding:
        """What a pattern says of a side, flagged or not."""
        assert self.frame.page is not None  # noqa: S101
        number = NAMES.index(pattern)
        return finding(PATTERNS[number], side, self.frame.page.found[number, side])

    def flagged(self, *patterns: str) -> tuple[Finding, ...]:
        """Those of these patterns whose flag is up, longs' side first."""
        both = (self.finding(pattern, side) for side in range(2) for pattern in patterns)
        return tuple(one for one in both if one.flag)

    def warnings(self) -> tuple[str, ...]:
        """Inputs that were replaced or stale, by name."""
        return flag_names(self.frame.unhealthy) + flag_names(self.frame.degraded)


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The map then and now."""

    hours: float
    found: Difference


@dataclass(eq=False)
class _Notes:
    """What is written down on the way."""

    compare_ns: int
    since_ns: int
    sweeps_from_ns: int
    last: Folded | None = None
    before: Snapshot | None = None
    low: float = math.inf
    high: float = -math.inf
    since: Scene | None = None
    ranges: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    sweeps: dict[tuple[int, int], Sweep] = field(default_factory=dict)

    def take(self, one: Folded) -> None:
        page, mark = one.frame.page, one.frame.mark
        if page is None or math.isnan(mark.close):
            return
        self.last, close_ns = one, one.step.close_ns
        if close_ns <= self.compare_ns:
            self.before, self.low, self.high = snapshot_of(one.state, one.frame), math.inf, -math.inf
        else:
            self.low, self.high = min(self.low, mark.low), max(self.high, mark.high)
        if close_ns <= self.since_ns:
            self.since = page.scene
        if close_ns > self.sweeps_from_ns:
            self._sweeps(one, page.scene, page.found[DEPLETION])

    def _sweeps(self, one: Folded, scene: Scene, found: np.ndarray) -> None:
        close_ns, bin_log = one.step.close_ns, float(scene.now["bin_log"][0])
        for zone in scene.ended[scene.ended["ending"] == SWEPT]:
            key = (close_ns, int(zone["side"]))
            low, high = (math.exp(zone[name] * bin_log) for name in ("low_bin", "end_bin"))
            known = self.ranges.get(key, (low, high))
            self.ranges[key] = (min(low, known[0]), max(high, known[1]))
        for side in range(2):
            told = dict(zip(depletion.EVIDENCE, found[side]["evidence"].tolist(), strict=False))
            if math.isnan(told["minutes_ago"]):
                continue
            key = (close_ns - round(told["minutes_ago"] * MINUTE_NS), side)
            if key[0] <= self.sweeps_from_ns:  # it still speaks of one before the window
                continue
            low, high = self.ranges.get(key, (math.nan, math.nan))
            self.sweeps[key] = Sweep(
                *key, told["mass_usd"], told["observed_share"], told["phantom"], told["reopened_share"], low, high
            )


def read(
    steps: Iterable[Folded], spec: Spec, profile: Profile, source: str, at_ns: int, since_ns: int | None = None
) -> Reading:
    """Fold up to `at_ns` and keep what a reading needs; `DataError` where nothing was recorded in its window."""
    notes = _Notes(
        at_ns - round(profile.compare_hours * HOUR_NS),
        -1 if since_ns is None else since_ns,
        at_ns - round(profile.window_hours * HOUR_NS),
    )
    seen = gather(_noted(steps, notes), at_ns, profile.window_hours, COLUMNS)
    last = notes.last
    if last is None or last.frame.page is None or last.state.atlas is None:
        raise DataError(f"{spec.market.symbol}: no step with a mark and open interest up to the time asked for")
    page = last.frame.page
    return Reading(
        spec, profile, source, seen, last.frame, page.scene, _compared(notes, last, spec), notes.since,
        sorted(notes.sweeps.values(), key=lambda one: (one.close_ns, one.side)),
        _voids(page.scene, last.state.atlas.patterns.memory),
    )  # fmt: skip


def recorded(
    lake: Lake, spec: Spec, profile: Profile, at_ns: int | None, start_ns: int | None, since_ns: int | None = None
) -> Reading:
    """The reading of what a lake knew by a time, its newest bar by default; folded from `start_ns`, or as the profile
    says. `DataError` for a time after the lake's end.
    """
    newest_ns = fold.last_known_ns(lake, spec)
    end_ns = newest_ns if at_ns is None else at_ns
    step_ns = spec.market.step_seconds * 10**9
    if end_ns > newest_ns + step_ns:
        raise DataError(f"{spec.market.symbol}: the lake ends before the time that is asked about")
    first_ns = end_ns - round(profile.history_days * DAY_NS) if start_ns is None else start_ns
    is_simulated = spec.market.bars.venue == "simulated" or spec.market.symbol.startswith("SIM")
    source = "simulated market" if is_simulated else "recorded market"
    steps = fold.folded(spec, fold.recorded(lake, spec, first_ns, end_ns))
    return read(steps, spec, profile, source, end_ns, since_ns)


def _noted(steps: Iterable[Folded], notes: _Notes) -> Iterator[Folded]:
    for one in steps:
        notes.take(one)
        yield one


def _compared(notes: _Notes, last: Folded, spec: Spec) -> Compared | None:
    """None unless the map was known then, and now, and not much earlier than was asked."""
    after = snapshot_of(last.state, last.frame)
    before = notes.before
    if before is None or after is None or spec.atlas is None:
        return None
    late_ns = notes.compare_ns - before.close_ns
    if late_ns > max(15 * MINUTE_NS, 2 * last.step.length_ns) or before.close_ns >= after.close_ns:
        return None
    if not (np.isfinite(before.liquidation).all() and np.isfinite(after.liquidation).all()):
        return None
    found = difference(before, after, notes.low, notes.high, spec.frame, spec.atlas.track)
    return Compared((after.close_ns - before.close_ns) / HOUR_NS, found)


def _voids(scene: Scene, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The voids that the pattern remembers of this step, by side."""
    now, held = scene.now[0], memory["voids"][0]
    edge_log = math.log(now["mark"]) / now["bin_log"]
    sides = []
    for side in range(2):
        low, end = held["low_bin"][side], held["end_bin"][side]
        there = (end > low) & (held["close_ns"][side] == now["close_ns"])
        near = (edge_log - end[there]) if side == 0 else (low[there] - edge_log)
        far = (edge_log - low[there]) if side == 0 else (end[there] - edge_log)
        pairs = np.stack([np.maximum(near, 0.0), far], axis=1) * now["bin_log"]
        sides.append(pairs[np.argsort(pairs[:, 0], kind="stable")])
    return sides[0], sides[1]
