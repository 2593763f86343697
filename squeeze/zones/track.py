"""Zones over time: which zone of this step is which of before, how each has fared, and how each ended (domain.md §4.1).

Per side, a found zone takes over the id of the zone that it overlaps most (share of the bins of both that both have),
else of the one whose centroid is nearest; what finds no predecessor gets a new id. All of it is on absolute price bins:
neither a moving mark nor the sliding window of a map changes where a zone is.

    born ──► seen ◄──► missed (at most `grace_steps` steps in a row) ──► ended: merged, split, pierced, out_of_reach,
               │          │                                                     crowded_out or dissipated
               └──────────┴─── the mark went through all of it ────────► ended: swept, at once

How a zone ended (`scene.ENDINGS`); of the reasons that hold, the first in this order, but an earlier merger or split
stands. `swept`: the mark went through all of it, from the near edge past the far one. `pierced`: the mark went into it
in the step in which it was lost, and what that left is no zone. `merged`: one found zone holds `part_share` of its bins
or more (`into`). `split`: several hold as much together (`into` holds the most). `out_of_reach`: the mark went away
from it. `crowded_out`: more zones were found than `zones_per_side`. `dissipated`: none of these, its mass fell. The
reason is that of the step in which it was lost; a sweep may follow in the grace, which also ends early where room is
needed.
"""

import math

import numpy as np

from squeeze.errors import StepError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.patterns.scene import ZONE
from squeeze.spec import FrameSpec
from squeeze.strict import require
from squeeze.zones.extract import KNOWN, MISSHAPEN, UNKNOWN, extract, room
from squeeze.zones.spec import TrackSpec
from squeeze.zones.track_kernel import BAD_MARK, BAD_TIME, HELD, NUMBERS, OCTAVES, PER_OCTAVE, RULES, follow

NOTHING = np.zeros(0, ZONE)


class ZoneTracker:
    """Follows the zones of one map.

    `frame` says what a zone is and how far from the mark they are looked for (`zone_reach_log`), `bin_log` is the map's
    bin. At most `zones_per_side` zones a side are remembered, missed ones included, each with the samples of
    24 hours: 2.4 MB under the defaults, whatever happens.
    """

    def __init__(self, spec: TrackSpec, frame: FrameSpec, bin_log: float) -> None:
        require(0 < bin_log <= frame.zone_reach_log < math.inf, "bin_log is positive and at most zone_reach_log")
        self.spec, self.bin_log = spec, bin_log
        self.reach_bins = round(frame.zone_reach_log / bin_log)
        cadence_ns = round(spec.sample_minutes * MINUTE_NS)
        most, samples = spec.zones_per_side, _power_of_two(-(-24 * HOUR_NS // cadence_ns) + 2)
        self.zones = np.zeros((2, most), ZONE)
        """Every zone that has not ended, as last seen, in a slot of its own; while it is missed, `ending` says why."""
        self.held = np.zeros((2, most), HELD)
        """... and what else is remembered of it."""
        self.order = np.tile(np.arange(most), (2, 1))
        """Slots by id, those in use first."""
        self.sample_ns = np.zeros((2, most, samples), np.int64)
        self.sample = np.zeros((2, most, samples, 3))
        """Mass in coins and as a share, and log price of the centroid; a ring."""
        self.tops = np.zeros((2, most, 2, _power_of_two(6 * HOUR_NS // cadence_ns + 3)), np.int64)
        """Of coins and shares: numbers of the samples of six hours that no later one exceeds; a ring."""
        self.masses = np.zeros((2, OCTAVES, PER_OCTAVE + 1))
        """How often a zone had which mass, by the logarithm; the last of an octave is its sum."""
        self.numbers = np.array(NUMBERS)
        self._rules = np.zeros(1, RULES)
        self._rules[0] = (
            bin_log, self.reach_bins, spec.least_iou, spec.centroid_log, spec.grace_steps, spec.part_share, cadence_ns
        )  # fmt: skip
        self._limits = frame.zone_quantile, frame.zone_floor_share, frame.zone_mass_share
        self._found, self._counts = room(self.reach_bins)
        self._out = np.zeros(4 * most, ZONE)
        self._bytes = self._out.view(np.uint8).data

    def step(
        self,
        share: np.ndarray,
        born_share_days: np.ndarray,
        mark: float,
        mark_low: float,
        mark_high: float,
        open_interest_base: float,
        close_ns: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The zones seen in this step and those that ended in it, of `scene.ZONE`, longs first.

        Zones seen come nearest first, ended ones by id; their distances are from the mark of when they were last seen.
        `share` (side, bin) is the map as shares of open interest by whole bins outward from the mark's own, as far as
        the reach, `born_share_days` the same times birth time. A map of nothing but NaN (open interest is not known)
        shows no zone, and those held are missed. `mark_low` and `mark_high` bound the mark since the last step, and
        sweep zones where they were then; a price on the border of a zone is not in it. What is said to be of some hours
        ago is the newest sample at least so old, NaN if there is none within two samples of that time.

        `major` compares a zone with the zones of its side before this step, each counted once a step, with a memory of
        thirty days and to a sixteenth of an octave; it is 0 until they go back a day. A zone that reaches beyond the
        map shows only the mass within.

        Nothing later than `close_ns` is used, and nothing that was returned changes. `StepError`, and nothing has
        changed, for a time that does not rise, a mark that is no price within a range of prices, a map of other bins,
        of masses that are negative, infinite or partly NaN, and one without open interest.
        """
        quantile, floor, least = self._limits
        told = extract(
            share, born_share_days, close_ns / DAY_NS, quantile, floor, least, self._found, self._counts
        )  # fmt: skip
        if told != UNKNOWN and (told != KNOWN or not 0 < open_interest_base < math.inf):
            raise StepError(self._fault(told, share, open_interest_base))
        seen, ended = follow(
            self._found, self._counts, self.zones, self.held, self.order, self.sample_ns, self.sample, self.tops,
            self.masses, self.numbers, self._rules, self._out, mark, mark_low, mark_high,
            open_interest_base, close_ns,
        )  # fmt: skip
        if seen == BAD_TIME:
            raise StepError(f"zones must come in rising time, got {close_ns} after {self.numbers[0]}")
        if seen == BAD_MARK:
            raise StepError(f"the mark must be a price within its range, got {mark} in {mark_low} to {mark_high}")
        return self._copy(0, seen), self._copy(self._out.size // 2, ended) if ended else NOTHING

    def _copy(self, first: int, count: int) -> np.ndarray:
        """So many records of the last step. As bytes: NumPy copies field by field, and took 6 µs for twenty."""
        size = ZONE.itemsize
        return np.ndarray((count,), ZONE, bytearray(self._bytes[first * size : (first + count) * size]))

    def _fault(self, told: int, share: np.ndarray, open_interest_base: float) -> str:
        if told == MISSHAPEN:
            return f"expected masses of 2 sides and {self.reach_bins} bins, and their births, got {share.shape}"
        if told != KNOWN:
            return "a map's masses and births must be finite, and masses not negative"
        return f"a map in shares needs an open interest, got {open_interest_base}"

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state, as it is, records as bytes: what is written into these is the state to go on from."""
        names = ("order", "sample_ns", "sample", "tops", "masses", "numbers")
        return {name: getattr(self, name) for name in names} | {
            "zones": self.zones.view(np.uint8),
            "held": self.held.view(np.uint8),
        }


def _power_of_two(least: int) -> int:
    """The smallest that is not under `least`."""
    return 1 << (least - 1).bit_length()
