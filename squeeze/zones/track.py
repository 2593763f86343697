"""Zones over time: which zone of this step is which of before, how each has fared, and how each ended (domain.md §4.1).

Per side, a found zone takes over the id of the zone that it overlaps most (share of the bins of both that both have),
else of the one whose centroid is nearest; what finds no predecessor gets a new id. All of it is on absolute price bins:
neither a moving mark nor the sliding window of a map changes where a zone is.

    born ──► seen ◄──► missed (at most `grace_steps` steps in a row) ──► ended: merged, split, pierced, out_of_reach,
               │          │                                                     crowded_out or dissipated
               └──────────┴─── the mark went through all of it ────────► ended: swept, at once
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec

from squeeze.errors import ConfigError, StepError
from squeeze.heatmaps import grid
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.spec import Strict, convert, require
from squeeze.zones.extract import Zone

MEMORY_NS = 24 * HOUR_NS
"""The furthest look back."""

Ending = Literal["swept", "pierced", "merged", "split", "out_of_reach", "crowded_out", "dissipated"]
"""How a zone ended; of the reasons that hold, the first in this order, but an earlier merger or split stands.

`swept`: the mark went through all of it, from the near edge past the far one. `pierced`: the mark went into it in the
step in which it was lost, and what that left is no zone. `merged`: one found zone holds `part_share` of its bins or
more (`into`). `split`: several hold as much together (`into` holds the most). `out_of_reach`: the mark went away from
it. `crowded_out`: more zones were found than `zones_per_side`. `dissipated`: none of these, its mass fell. The reason
is that of the step in which it was lost; a sweep may follow in the grace, which also ends early where room is needed.
"""


class TrackSpec(Strict, frozen=True, kw_only=True):
    """When two zones of different steps are the same, and how much is remembered."""

    least_iou: float = 0.3
    """Two zones are one if at least this share of the bins of both belongs to both ..."""
    centroid_log: float = 0.002
    """... or else if their centroids are at most this far apart, in log price."""
    grace_steps: int = 3
    """For so many steps in a row a zone may be missed and come back under its id."""
    part_share: float = 0.5
    """A zone of which this share of bins lies in another is a part of it: where it came from, or went."""
    sample_minutes: float = 5.0
    """Mass and centroid are remembered in such steps, over 24 hours."""
    zones_per_side: int = 64
    """Of more than these the heaviest are followed."""

    def __post_init__(self) -> None:
        require(0 < self.least_iou <= 1, "least_iou lies in (0, 1]")
        require(0 <= self.centroid_log < math.inf, "centroid_log is not negative")
        require(self.grace_steps >= 0, "grace_steps is not negative")
        require(0 < self.part_share <= 1, "part_share lies in (0, 1]")
        require(1 <= self.sample_minutes <= 1440, "sample_minutes lies between 1 and 1440")
        require(self.zones_per_side > 0, "zones_per_side is positive")


class PlacedZone(msgspec.Struct, frozen=True):
    """A zone and where it lies: absolute bins [low_bin, end_bin), centroid as the log of a price."""

    zone: Zone
    low_bin: int
    end_bin: int
    centroid_log: float


class TrackedZone(msgspec.Struct, frozen=True, kw_only=True):
    """A zone as it was known at one step; `(side, id)` names it for good.

    Ids rise per side, so that a mirrored market has the same ones. Masses are shares of open interest, centroids logs
    of a price. What is said to be of some hours ago is the newest sample at least so old, None if there is none within
    two samples of that time. A zone that reaches beyond the reach of the extraction shows only the mass within.
    """

    id: int
    side: int
    zone: Zone
    """As last seen; in an ended zone distances are from the mark of `seen_ns`."""
    low_bin: int
    end_bin: int
    centroid_log: float
    born_ns: int
    """Close of the step that saw it first."""
    seen_ns: int
    seen_steps: int
    """Steps that saw it, missed ones not counted."""
    peak_mass_share: float
    peak_ns: int
    """Close of the first step with the greatest mass."""
    peak_6h_share: float
    """The greatest among the mass last seen and the samples of the six hours before the last step."""
    mass_1h_share: float | None
    mass_6h_share: float | None
    mass_24h_share: float | None
    centroid_24h_log: float | None
    touched_ns: int | None
    """Close of the first step after birth in which the mark went into it."""
    split_from: int | None
    """The zone of which it was a part when it was born."""
    ending: Ending | None = None
    into: int | None = None
    """The zone that holds the most of it, if it was merged or split."""
    ended_ns: int | None = None
    """When the end was known: after the grace, but for a sweep."""

    @property
    def touched(self) -> bool:
        """Whether the mark went into it since birth."""
        return self.touched_ns is not None


def placed(found: Sequence[Zone], mark: float, bin_log: float) -> tuple[tuple[PlacedZone, ...], tuple[PlacedZone, ...]]:
    """Longs and shorts, as `zones` found them outward from the bin of this mark (`LiquidationMap.profile`), in place.

    >>> long, short = (Zone(side, 1e-3, 3e-3, 2e-3, 0.01, 0.02, 0.5) for side in (0, 1))
    >>> longs, shorts = placed([long, short], math.exp(0.0105), 1e-3)
    >>> [(z.low_bin, z.end_bin, round(z.centroid_log, 6)) for z in (*longs, *shorts)]
    [(8, 10, 0.009), (11, 13, 0.012)]
    """
    here = math.floor(grid.position(mark, bin_log, 0))
    longs, shorts = [], []
    for zone in found:
        near, far = round(zone.near_log / bin_log), round(zone.far_log / bin_log)
        if zone.side == 0:
            top = here + 1
            longs.append(PlacedZone(zone, top - far, top - near, top * bin_log - zone.centroid_log))
        else:
            shorts.append(PlacedZone(zone, here + near, here + far, here * bin_log + zone.centroid_log))
    return tuple(longs), tuple(shorts)


def match(
    before: Sequence[PlacedZone], found: Sequence[PlacedZone], least_iou: float, centroid_log: float
) -> list[int]:
    """For each found zone the index of the one before that it continues, -1 for none; greedy, best first.

    First by overlap: greatest share first, then nearest centroids; what is left, by nearest centroids. Ties go to the
    earlier of before, then to the earlier found.
    """
    pairs = []
    there = [(z.low_bin, z.end_bin, z.centroid_log) for z in found]
    for old, zone in enumerate(before):
        low, end, centroid = zone.low_bin, zone.end_bin, zone.centroid_log
        for new, (new_low, new_end, new_centroid) in enumerate(there):
            apart = abs(new_centroid - centroid)
            if new_low < end and low < new_end:
                both = (end if end < new_end else new_end) - (low if low > new_low else new_low)
                iou = both / (end - low + new_end - new_low - both)
                if iou >= least_iou:
                    pairs.append((-iou, apart, old, new))
                    continue
            if apart <= centroid_log:
                pairs.append((0.0, apart, old, new))
    pairs.sort()
    owners, taken = [-1] * len(found), set()
    for _, _, old, new in pairs:
        if owners[new] < 0 and old not in taken:
            owners[new] = old
            taken.add(old)
    return owners


class Held(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is remembered of a zone that has not ended."""

    id: int
    place: PlacedZone
    born_ns: int
    seen_ns: int
    seen_steps: int = 1
    missed: int = 0
    peak_share: float
    peak_ns: int
    touched_ns: int | None = None
    split_from: int | None = None
    ending: Ending | None = None
    """Why it was lost, while it is missed."""
    into: int | None = None
    sample_ns: list[int] = msgspec.field(default_factory=list)
    sample_share: list[float] = msgspec.field(default_factory=list)
    sample_log: list[float] = msgspec.field(default_factory=list)

    def see(self, place: PlacedZone, close_ns: int, cadence_ns: int) -> None:
        """Take in the zone of this step."""
        self.place, self.seen_ns, self.missed, self.ending, self.into = place, close_ns, 0, None, None
        self.seen_steps += 1
        if place.zone.mass_share > self.peak_share:
            self.peak_share, self.peak_ns = place.zone.mass_share, close_ns
        self.sample(close_ns, cadence_ns)

    def sample(self, close_ns: int, cadence_ns: int) -> None:
        """Remember mass and centroid if it is time; at most 24 hours / cadence + 2 samples stay."""
        times = self.sample_ns
        if times and close_ns - times[-1] < cadence_ns:
            return
        times.append(close_ns)
        self.sample_share.append(self.place.zone.mass_share)
        self.sample_log.append(self.place.centroid_log)
        old = bisect_right(times, close_ns - MEMORY_NS) - 1  # the newest that is old enough stays
        if old > 0:
            del times[:old], self.sample_share[:old], self.sample_log[:old]


class Memory(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The whole state of a tracker, and under which spec it came about."""

    spec: TrackSpec
    bin_log: float
    reach_bins: int
    closed_ns: int | None = None
    next_ids: list[int] = msgspec.field(default_factory=lambda: [1, 1])
    held: list[list[Held]] = msgspec.field(default_factory=lambda: [[], []])
    """Per side, ids rising."""
    ended: tuple[TrackedZone, ...] = ()


class ZoneTracker:
    """Follows the zones of one map.

    `bin_log` is the map's bin, `reach_log` how far from the mark zones are looked for (`FrameSpec.zone_reach_log`).
    At most `zones_per_side` zones a side are remembered, missed ones included, each with at most 24 h /
    `sample_minutes` + 2 samples: under the defaults some 4 MB at worst, and a tenth of that in practice.
    """

    def __init__(self, spec: TrackSpec, bin_log: float, reach_log: float) -> None:
        require(0 < bin_log <= reach_log < math.inf, "bin_log is positive and at most reach_log")
        self.spec = spec
        self.bin_log = bin_log
        self.reach_bins = round(reach_log / bin_log)
        self._cadence_ns = round(spec.sample_minutes * MINUTE_NS)
        self._memory = Memory(spec=spec, bin_log=bin_log, reach_bins=self.reach_bins)

    @property
    def ended(self) -> tuple[TrackedZone, ...]:
        """The zones that ended in the last step, longs first, ids rising."""
        return self._memory.ended

    def step(
        self, zones_by_side: Sequence[Sequence[PlacedZone]], mark_low: float, mark_high: float, close_ns: int
    ) -> tuple[TrackedZone, ...]:
        """The zones of this step under their ids, longs first, in the order given; those that ended are in `ended`.

        `zones_by_side` is what `placed` gives: longs and shorts, each nearest first and apart. `mark_low` and
        `mark_high` bound the mark since the last step, and sweep zones where they were then; a price on the border of a
        zone is not in it. Nothing later than `close_ns` is used, and nothing that was returned changes. `StepError`,
        and nothing has changed, for a time that does not rise, a mark that is no range of prices, and zones that are
        not finite, not on their side, or not in order.
        """
        memory = self._memory
        if memory.closed_ns is not None and close_ns <= memory.closed_ns:
            raise StepError(f"zones must come in rising time, got {close_ns} after {memory.closed_ns}")
        if not 0 < mark_low <= mark_high < math.inf:
            raise StepError(f"the mark's range must be finite, positive and rising, got {mark_low} to {mark_high}")
        if len(zones_by_side) != 2:
            raise StepError(f"expected the zones of two sides, got {len(zones_by_side)}")
        for side, found in enumerate(zones_by_side):
            _check(side, found)
        mark = grid.position(mark_low, self.bin_log, 0), grid.position(mark_high, self.bin_log, 0)
        memory.closed_ns = close_ns
        seen: list[TrackedZone] = []
        ended: list[TrackedZone] = []
        for side, found in enumerate(zones_by_side):
            now, over = self._follow(side, found, mark, close_ns)
            seen += [_tracked(held, side, close_ns, self._cadence_ns) for held in now]
            ended += [_tracked(held, side, close_ns, self._cadence_ns, ended=True) for held in over]
        memory.ended = tuple(ended)
        return tuple(seen)

    def _follow(
        self, side: int, found: Sequence[PlacedZone], mark: tuple[float, float], close_ns: int
    ) -> tuple[list[Held], list[Held]]:
        """One side: the zones of this step in the order given, and those that ended."""
        spec, memory = self.spec, self._memory
        before, over = _meet(memory.held[side], side, mark, close_ns)
        kept = _heaviest(found, spec.zones_per_side)
        owners = match([held.place for held in before], kept, spec.least_iou, spec.centroid_log)
        # Parents and heirs are told by where all zones were before this step, so they are looked up before any moves.
        parents = [
            None if owner >= 0 else _parent(z, before, spec.part_share) for z, owner in zip(kept, owners, strict=True)
        ]
        now = []
        for zone, owner, parent in zip(kept, owners, parents, strict=True):
            if owner >= 0:
                before[owner].see(zone, close_ns, self._cadence_ns)
                now.append(before[owner])
            else:
                now.append(self._born(side, zone, parent, close_ns))
        owned = set(owners)
        missed = [held for index, held in enumerate(before) if index not in owned]
        for held in missed:
            held.missed += 1
            if held.missed == 1:
                held.ending, held.into = self._reason(held, side, now, mark, close_ns, crowded=len(kept) < len(found))
        lost = [held for held in missed if held.missed > spec.grace_steps]
        waiting = sorted((h for h in missed if h.missed <= spec.grace_steps), key=lambda held: (held.missed, held.id))
        room = spec.zones_per_side - len(now)
        memory.held[side] = sorted(now + waiting[:room], key=_id)
        return now, sorted(over + lost + waiting[room:], key=_id)

    def _born(self, side: int, zone: PlacedZone, parent: int | None, close_ns: int) -> Held:
        held = Held(
            id=self._memory.next_ids[side],
            place=zone,
            born_ns=close_ns,
            seen_ns=close_ns,
            peak_share=zone.zone.mass_share,
            peak_ns=close_ns,
            split_from=parent,
        )
        held.sample(close_ns, self._cadence_ns)
        self._memory.next_ids[side] += 1
        return held

    def _reason(
        self, held: Held, side: int, now: list[Held], mark: tuple[float, float], close_ns: int, *, crowded: bool
    ) -> tuple[Ending, int | None]:
        """Why a zone that was there in the last step was not found in this one, and which holds the most of it."""
        place = held.place
        if _depth(place, side, mark) > 0:
            return "pierced", None
        enough = self.spec.part_share * (place.end_bin - place.low_bin)
        shared = [(_overlap(place, other.place), -other.id) for other in now]
        most, heir = max(shared, default=(0, 0))
        if most >= enough:
            return "merged", -heir
        if sum(bins for bins, _ in shared) >= enough:
            return "split", -heir
        # The last bin within reach counts as beyond: of the mark's bin only the range is known.
        far, away = (-place.low_bin, -mark[1]) if side == 0 else (place.end_bin, mark[0])
        if far > away + self.reach_bins - 1:
            return "out_of_reach", None
        return "crowded_out" if crowded else "dissipated", None

    def snapshot(self) -> dict[str, Any]:
        """The whole state in plain JSON types."""
        plain: dict[str, Any] = msgspec.to_builtins(self._memory)
        return plain

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot; `StepError`, and nothing has changed, if it is none or another spec's."""
        try:
            memory = convert(snapshot, Memory, "snapshot of zones")
        except ConfigError as error:
            raise StepError(str(error)) from None
        ours = self.spec, self.bin_log, self.reach_bins
        if (memory.spec, memory.bin_log, memory.reach_bins) != ours:
            raise StepError(
                f"the snapshot of zones was taken under {memory.spec}, not under {self.spec}, or other bins"
            )
        if len(memory.held) != 2 or len(memory.next_ids) != 2:
            raise StepError(f"a snapshot of zones has two sides, got {len(memory.held)} and {len(memory.next_ids)}")
        self._memory = memory


def _id(held: Held) -> int:
    return held.id


def _check(side: int, found: Sequence[PlacedZone]) -> None:
    for placed_zone in found:
        zone = placed_zone.zone
        if zone.side != side or placed_zone.end_bin <= placed_zone.low_bin:
            raise StepError(f"expected a zone of side {side} that holds a bin, got {placed_zone}")
        numbers = (zone.near_log, zone.far_log, zone.centroid_log, zone.peak_share, zone.mass_share, zone.age_days)
        # One sum instead of seven questions: it is finite only if all of them are.
        if not math.isfinite(sum(map(abs, numbers)) + abs(placed_zone.centroid_log)) or zone.mass_share < 0:
            raise StepError(f"a zone's numbers must be finite and its mass not negative, got {placed_zone}")
    for near, far in pairwise(found):
        if not (far.end_bin <= near.low_bin if side == 0 else near.end_bin <= far.low_bin):
            raise StepError(f"zones of a side must come nearest first and apart, got {near} before {far}")


def _heaviest(found: Sequence[PlacedZone], most: int) -> Sequence[PlacedZone]:
    """The `most` heaviest, nearer ones first among equals, in the order given."""
    if len(found) <= most:
        return found
    heaviest = sorted(range(len(found)), key=lambda index: (-found[index].zone.mass_share, index))[:most]
    return [found[index] for index in sorted(heaviest)]


def _depth(place: PlacedZone, side: int, mark: tuple[float, float]) -> float:
    """How many bins the mark went in from the near edge; not positive if it stayed out."""
    return place.end_bin - mark[0] if side == 0 else mark[1] - place.low_bin


def _meet(held: list[Held], side: int, mark: tuple[float, float], close_ns: int) -> tuple[list[Held], list[Held]]:
    """The zones that the mark left, and those that it went through; both know now that they were touched."""
    left, through = [], []
    for zone in held:
        depth = _depth(zone.place, side, mark)
        if depth > 0 and zone.touched_ns is None:
            zone.touched_ns = close_ns
        if depth < zone.place.end_bin - zone.place.low_bin:
            left.append(zone)
            continue
        if zone.ending not in ("merged", "split"):
            zone.ending = "swept"
        through.append(zone)
    return left, through


def _overlap(one: PlacedZone, other: PlacedZone) -> int:
    """How many bins both have."""
    return max(0, min(one.end_bin, other.end_bin) - max(one.low_bin, other.low_bin))


def _parent(zone: PlacedZone, before: list[Held], part_share: float) -> int | None:
    """The zone of before that holds the most of this one, if that is enough; the oldest among equals."""
    most, parent = max(((_overlap(zone, held.place), -held.id) for held in before), default=(0, 0))
    return -parent if most >= part_share * (zone.end_bin - zone.low_bin) else None


def _ago(held: Held, close_ns: int, ago_ns: int, slack_ns: int) -> int | None:
    """Which sample is the newest at least so old, if it is not much older."""
    index = bisect_right(held.sample_ns, close_ns - ago_ns) - 1
    return index if index >= 0 and held.sample_ns[index] >= close_ns - ago_ns - slack_ns else None


def _tracked(held: Held, side: int, close_ns: int, cadence_ns: int, *, ended: bool = False) -> TrackedZone:
    place, share = held.place, held.sample_share
    hour, six, day = (_ago(held, close_ns, hours * HOUR_NS, 2 * cadence_ns) for hours in (1, 6, 24))
    recent = share[bisect_right(held.sample_ns, close_ns - 6 * HOUR_NS - 1) :]
    return TrackedZone(
        id=held.id,
        side=side,
        zone=place.zone,
        low_bin=place.low_bin,
        end_bin=place.end_bin,
        centroid_log=place.centroid_log,
        born_ns=held.born_ns,
        seen_ns=held.seen_ns,
        seen_steps=held.seen_steps,
        peak_mass_share=held.peak_share,
        peak_ns=held.peak_ns,
        peak_6h_share=max(place.zone.mass_share, max(recent, default=0.0)),
        mass_1h_share=None if hour is None else share[hour],
        mass_6h_share=None if six is None else share[six],
        mass_24h_share=None if day is None else share[day],
        centroid_24h_log=None if day is None else held.sample_log[day],
        touched_ns=held.touched_ns,
        split_from=held.split_from,
        ending=held.ending if ended else None,
        into=held.into if ended else None,
        ended_ns=close_ns if ended else None,
    )
