"""Zones as the signal machine sees them: named for good, ranked among ninety days of zones, seen from any mark.

Of an atlas's page the tracked zones are taken as they are. Without an atlas the zones of each frame are followed here:
one takes over the name of the zone of the frame before that it overlaps most, or else of the one whose centroid is
nearest, by the rule of `zones.track` in plain words.
"""

import math
import zlib
from typing import Any

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.errors import StepError
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.signals.view import NAN, ZoneView
from squeeze.state import Frame
from squeeze.zones.extract import Zone
from squeeze.zones.spec import TrackSpec

DAYS = 90
PER_OCTAVE, OCTAVES = 16, 24
BINS = PER_OCTAVE * OCTAVES
"""Of masses as shares of open interest, by the logarithm, from 2^-20 on: exact to 4.4 %."""
LEAST_DAYS = 1
"""A rank needs zones of so many whole days before today."""
PEAK_PARTS = 24
"""The greatest mass of six hours is exact to a quarter of an hour."""
PEAK_NS = 15 * MINUTE_NS
MAJOR_RANK = 0.9


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One zone of the newest frame; edges and centroid are logs of prices, `low` the lower one."""

    id: int
    side: int
    low: float
    high: float
    centroid: float
    mass_share: float
    mass_usd: float
    peaks: tuple[tuple[int, float], ...]
    """Number of a quarter of an hour, greatest share in it; the tracker's own is the only one where there is one."""
    rank: float
    age_hours: float
    born_ns: int
    major: bool


class ZoneState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record at rest."""

    places: list[Place]
    counts: bytes
    numbers: list[int]


class ZoneRecord:
    """Hears frames; `seen_from` tells their zones. Memory does not grow: masses are counted into bins, by day."""

    def __init__(self, bin_log: float, rules: TrackSpec | None = None) -> None:
        self.bin_log = bin_log
        self.rules = rules or TrackSpec()
        self.places: list[Place] = []
        self._counts = np.zeros((DAYS, 2, BINS), np.int32)
        """Of all days but the running one."""
        self._today = [[0] * BINS, [0] * BINS]
        self._numbers = [0, 0, 0, 0]
        """Day, first day, and the newest name of each side."""
        self._below = [[0.0] * (BINS + 1), [0.0] * (BINS + 1)]

    def on_frame(self, frame: Frame, open_interest_base: float) -> None:
        """Take the zones of a frame; one without a mark has none."""
        self._turn_day((frame.close_ns - 1) // DAY_NS)
        if frame.page is not None:
            zones = frame.page.scene.zones
            names = zones.dtype.names  # read at once: field by field it takes longer than all the rest
            self.places = [self._tracked(dict(zip(names, row, strict=True))) for row in zones.tolist()]
        elif math.isfinite(frame.mark.close):
            self.places = self._followed(frame, open_interest_base)
        else:
            self.places = []
        for place in self.places:
            self._today[place.side][_bin(place.mass_share)] += 1

    def seen_from(self, mark: float) -> tuple[ZoneView, ...]:
        """The zones from a mark, longs first, each side's nearest first; none without a mark."""
        if not mark > 0:
            return ()
        here = math.log(mark)
        found: list[ZoneView] = []
        for side, name in enumerate(SIDES):
            own = [(*_distances(here, place), place) for place in self.places if place.side == side]
            own.sort(key=lambda one: (one[0], one[2].born_ns, one[2].id))
            ahead = sum(far > 0 for _, far, _ in own)
            passed = len(own) - ahead
            for at, (near, far, place) in enumerate(own):
                found.append(_seen(place, name, near, far, ahead - max(0, at - passed)))
        return tuple(found)

    def rank(self, side: int, mass_share: float) -> float:
        """Share of the zones of the last ninety days, up to midnight and each counted once a step, that were lighter;
        of those in its own bin half.
        """
        at, below = _bin(mass_share), self._below[side]
        if self._numbers[0] - self._numbers[1] < LEAST_DAYS or not below[-1] > 0:
            return NAN
        return (below[at] + below[at + 1]) / 2 / below[-1]

    def _turn_day(self, day: int) -> None:
        now, first, *_ = self._numbers
        if day == now:
            return
        self._counts[now % DAYS] = self._today
        self._today = [[0] * BINS, [0] * BINS]
        if not first:
            self._numbers[1] = day
        elif day - now >= DAYS:
            self._counts[:] = 0
        else:
            for passed in range(now + 1, day + 1):
                self._counts[passed % DAYS] = 0
        self._numbers[0] = day
        self._add_up()

    def _add_up(self) -> None:
        """How many zones were lighter than each bin, before today."""
        below = np.zeros((2, BINS + 1))
        below[:, 1:] = self._counts.sum(axis=0, dtype=np.int64).cumsum(axis=1)
        self._below = below.tolist()

    def _tracked(self, zone: dict[str, Any]) -> Place:
        side, mass_share = zone["side"], zone["mass_share"]
        return Place(
            id=zone["id"],
            side=side,
            low=zone["low_bin"] * self.bin_log,
            high=zone["end_bin"] * self.bin_log,
            centroid=zone["place_log"],
            mass_share=mass_share,
            mass_usd=zone["mass_usd"],
            peaks=((0, zone["peak_6h_share"]),),
            rank=self.rank(side, mass_share),
            age_hours=24 * zone["age_days"],
            born_ns=zone["born_ns"],
            major=bool(zone["major"]),
        )

    def _followed(self, frame: Frame, open_interest_base: float) -> list[Place]:
        here = math.floor(math.log(frame.mark.close) / self.bin_log)
        found = [self._placed(zone, here, frame, open_interest_base) for zone in frame.zones]
        pairs = [
            (self._likeness(new, old), i, j)
            for i, new in enumerate(found)
            for j, old in enumerate(self.places)
            if new.side == old.side
        ]
        used_new: set[int] = set()
        used_old: set[int] = set()
        for likeness, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if likeness > 0 and i not in used_new and j not in used_old:
                used_new.add(i)
                used_old.add(j)
                old = self.places[j]
                peaks = _peaks(old.peaks, frame.close_ns, found[i].mass_share)
                found[i] = msgspec.structs.replace(found[i], id=old.id, born_ns=old.born_ns, peaks=peaks)
        for i, new in enumerate(found):
            if i not in used_new:
                self._numbers[2 + new.side] += 1
                found[i] = msgspec.structs.replace(new, id=self._numbers[2 + new.side])
        return found

    def _placed(self, zone: Zone, here: int, frame: Frame, open_interest_base: float) -> Place:
        first, end = round(zone.near_log / self.bin_log), round(zone.far_log / self.bin_log)
        sign = -1 if zone.side == 0 else 1
        edges = (here + 1 - end, here + 1 - first) if zone.side == 0 else (here + first, here + end)
        # `centroid_log` counts from the near edge of the mark's own bin; that bin ends a bin further up on side 0.
        near = here + 1 if zone.side == 0 else here
        centroid = near * self.bin_log + sign * zone.centroid_log
        rank = self.rank(zone.side, zone.mass_share)
        return Place(
            id=0,
            side=zone.side,
            low=edges[0] * self.bin_log,
            high=edges[1] * self.bin_log,
            centroid=centroid,
            mass_share=zone.mass_share,
            mass_usd=zone.mass_share * open_interest_base * math.exp(centroid),
            peaks=_peaks((), frame.close_ns, zone.mass_share),
            rank=rank,
            age_hours=24 * zone.age_days,
            born_ns=frame.close_ns,
            major=rank >= MAJOR_RANK,
        )

    def _likeness(self, new: Place, old: Place) -> float:
        """Above 1 for zones that overlap enough, in (0, 1] for centroids that are near, 0 for neither."""
        both = min(new.high, old.high) - max(new.low, old.low)
        overlap = both / (max(new.high, old.high) - min(new.low, old.low))
        if overlap >= self.rules.least_iou:
            return 1 + overlap
        apart = abs(new.centroid - old.centroid) / self.rules.centroid_log if self.rules.centroid_log else math.inf
        return 1 - apart / 2 if apart <= 1 else 0.0

    def snapshot(self) -> ZoneState:
        """The whole state."""
        counts = self._counts.copy()
        counts[self._numbers[0] % DAYS] = self._today
        return ZoneState(list(self.places), zlib.compress(counts.tobytes(), 1), list(self._numbers))

    def restore(self, state: ZoneState) -> None:
        """Go on from a snapshot; `StepError` for one of another shape, and then nothing has changed."""
        try:
            counts = zlib.decompress(state.counts)
        except zlib.error as error:
            raise StepError(f"not a record of zones: {error}") from None
        if len(counts) != self._counts.nbytes or len(state.numbers) != len(self._numbers):
            raise StepError("the snapshot is of a record of zones of another release")
        self._counts[...] = np.frombuffer(counts, np.int32).reshape(self._counts.shape)
        self.places, self._numbers = list(state.places), list(state.numbers)
        today = self._counts[self._numbers[0] % DAYS]
        self._today = today.tolist()
        today[:] = 0
        self._add_up()


def _bin(mass_share: float) -> int:
    place = math.floor(PER_OCTAVE * (math.log2(mass_share) + 20)) if mass_share > 0 else 0
    return min(BINS - 1, max(0, place))


def _peaks(before: tuple[tuple[int, float], ...], close_ns: int, share: float) -> tuple[tuple[int, float], ...]:
    """The greatest share by quarter of an hour, of the last six hours."""
    part = (close_ns - 1) // PEAK_NS
    kept = [peak for peak in before if part - PEAK_PARTS < peak[0]]
    if kept and kept[-1][0] == part:
        return (*kept[:-1], (part, max(kept[-1][1], share)))
    return (*kept, (part, share))


def _distances(here: float, place: Place) -> tuple[float, float]:
    """Of the near and the far edge, outward from the log of a mark."""
    return (here - place.high, here - place.low) if place.side == 0 else (place.low - here, place.high - here)


def _seen(place: Place, side: str, near: float, far: float, stack: int) -> ZoneView:
    return ZoneView(
        id=f"{side}-{place.id}",
        side=place.side,
        low=math.exp(place.low),
        high=math.exp(place.high),
        centroid=math.exp(place.centroid),
        near_log=near,
        far_log=far,
        mass_share=place.mass_share,
        mass_usd=place.mass_usd,
        peak_6h_share=max(share for _, share in place.peaks),
        thickness_rank=place.rank,
        age_hours=place.age_hours,
        born_ns=place.born_ns,
        major=place.major,
        stack=stack,
    )
