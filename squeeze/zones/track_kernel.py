"""The compiled step of `track`: both sides in one call. Its state is what `track.ZoneTracker` says it is.

A record of ZONE and one of HELD are a zone that has not ended; `found` has the columns of `extract`. The sizes of rings
are powers of two, so that a place in them takes no division.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import DAY_NS, HOUR_NS
from squeeze.patterns.scene import ENDINGS
from squeeze.zones.extract import AGE, CENTROID, FIRST, LAST, MASS, PEAK

ALIVE, SWEPT, PIERCED, MERGED, SPLIT, OUT_OF_REACH, CROWDED_OUT, DISSIPATED = range(len(ENDINGS))
AGO_1H, AGO_6H, AGO_24H = HOUR_NS, 6 * HOUR_NS, 24 * HOUR_NS
BASE, SHARE, PLACE = range(3)
"""Columns of a sample."""
CLOSED, COUNT, NEXT_ID, FIRST_NS, WEIGHED_NS = 0, 1, 3, 5, 7
"""`numbers`: close of the last step; by side zones held, the next id, the first mass counted; when a mass weighed 1."""
NUMBERS = (0, 0, 0, 1, 1, 0, 0, 0)
BAD_TIME, BAD_MARK = -1, -2

MAJOR_SHARE = 0.1
"""So much of what zones weighed lies over the quantile; the rounding of sums may add a billionth."""
MEMORY_NS = 30 * DAY_NS
LEAST_MEMORY_NS = DAY_NS
LONGEST_GROWTH = 30.0
"""In memories: weights grow by it, instead of all that is past fading, and then are scaled down."""
OCTAVES, PER_OCTAVE, LOWEST_OCTAVE = 24, 16, -20
"""Masses from a millionth to sixteen times open interest."""

HELD = np.dtype(
    [
        ("missed", "i8"),  # steps in a row that did not find it
        ("samples", "i8"),  # taken since birth; number n lies at n modulo the ring
        ("past", "i8", (3,)),  # how many of them are at least 1, 6 and 24 hours old
        ("top_first", "i8", (2,)),  # first and end of `tops`, modulo its ring
        ("top_end", "i8", (2,)),
        ("fate", "i8"),  # scratch: what becomes of it in this step, and how many found zones it may continue as
        ("rivals", "i8"),
    ],
    align=True,
)

RULES = np.dtype(
    [
        ("bin_log", "f8"),
        ("reach_bins", "i8"),
        ("least_iou", "f8"),
        ("centroid_log", "f8"),
        ("grace_steps", "i8"),
        ("part_share", "f8"),
        ("cadence_ns", "i8"),
    ],
    align=True,
)

SPOT = np.dtype(
    [
        ("low_bin", "i8"),
        ("end_bin", "i8"),
        ("place_log", "f8"),
        ("row", "i8"),  # of what was found
        ("slot", "i8"),  # of the zone that it continues; -1 for none
        ("id", "i8"),
        ("parent", "i8"),
        ("rivals", "i8"),  # how many zones it may continue
    ],
    align=True,
)
"""A found zone in place."""

WAITS, SEEN, OVER, NO_ROOM = range(4)
"""What becomes of a zone of before."""


@njit(cache=True)
@no_type_check
def follow(
    found, counts, zones, held, order, sample_ns, sample, tops, masses, numbers, rules, out,
    mark, low, high, open_interest_base, close_ns,
):  # fmt: skip
    """How many zones were seen (rows of `out`) and ended (rows from its half on); or a fault: nothing has changed."""
    if not close_ns > numbers[CLOSED]:
        return BAD_TIME, 0
    if not (0 < low <= mark <= high < math.inf):
        return BAD_MARK, 0
    rule = rules[0]
    numbers[CLOSED] = close_ns
    here = math.floor(math.log(mark) / rule.bin_log)
    bottom, top = math.log(low) / rule.bin_log, math.log(high) / rule.bin_log
    weight = _weight(masses, numbers, close_ns)
    seen, over, half = 0, 0, out.size // 2
    for side in range(2):
        own, theirs, slots, rings = zones[side], held[side], order[side], tops[side]
        most, count = slots.size, numbers[COUNT + side]
        _meet(own, theirs, slots, count, side, bottom, top, close_ns)
        spots = _spots(found[side, : counts[side]], most, side, here, rule.bin_log)
        _match(spots, own, theirs, slots, count, rule)
        for i in range(spots.size):
            spot = spots[i]
            if spot.slot < 0:
                spot.id = numbers[NEXT_ID + side]
                spot.parent = _parent(spot, own, theirs, slots, count, rule.part_share)
                numbers[NEXT_ID + side] += 1
        crowded = spots.size < counts[side]
        _miss(spots, own, theirs, slots, count, rule, side, bottom, top, crowded)
        for p in range(count):
            slot = slots[p]
            if theirs[slot].fate >= OVER:
                own[slot].ended_ns = close_ns
                _recall(own[slot], theirs[slot], sample_ns[side, slot], sample[side, slot], rings[slot], rule, close_ns)
                out[half + over] = own[slot]
                over += 1
        alive = _close_up(theirs, slots, count)
        major = _major_bucket(masses[side])
        if counts[side] > 0 and numbers[FIRST_NS + side] == 0:
            numbers[FIRST_NS + side] = close_ns
        if close_ns - numbers[FIRST_NS + side] < LEAST_MEMORY_NS:
            major = OCTAVES * PER_OCTAVE
        for i in range(spots.size):
            spot = spots[i]
            if spot.slot < 0:
                spot.slot = slots[alive]
                alive += 1
                _bear(own[spot.slot], theirs[spot.slot], side, spot, close_ns)
            slot = spot.slot
            zone, memory = own[slot], theirs[slot]
            times, kept, tops_of = sample_ns[side, slot], sample[side, slot], rings[slot]
            bucket = _bucket(found[side, spot.row, MASS])
            zone.major = int(bucket >= major)
            masses[side, bucket // PER_OCTAVE, bucket % PER_OCTAVE] += weight
            masses[side, bucket // PER_OCTAVE, PER_OCTAVE] += weight
            _see(zone, spot, found[side, spot.row], rule.bin_log, open_interest_base)
            memory.missed = 0
            _take_sample(zone, memory, times, kept, tops_of, rule, close_ns)
            _recall(zone, memory, times, kept, tops_of, rule, close_ns)
            out[seen] = zone
            seen += 1
        numbers[COUNT + side] = alive
    return seen, over


@njit(cache=True)
@no_type_check
def _depth(zone, side, bottom, top):
    """How many bins the mark went in from the near edge; not positive if it stayed out."""
    return zone.end_bin - bottom if side == 0 else top - zone.low_bin


@njit(cache=True)
@no_type_check
def _meet(zones, held, slots, count, side, bottom, top, close_ns):
    """The zones that the mark touched know it, and those that it went through are over."""
    for p in range(count):
        zone, memory = zones[slots[p]], held[slots[p]]
        depth = _depth(zone, side, bottom, top)
        if depth > 0 and zone.touched_ns == 0:
            zone.touched_ns = close_ns
        memory.fate, memory.rivals = WAITS, 0
        if depth >= zone.end_bin - zone.low_bin:
            memory.fate = OVER
            if zone.ending != MERGED and zone.ending != SPLIT:
                zone.ending = SWEPT


@njit(cache=True)
@no_type_check
def _spots(found, most, side, here, bin_log):
    """The found zones in place; of more than `most` the heaviest, nearer ones first among equals."""
    spots = np.empty(min(len(found), most), SPOT)
    count = 0
    for row in range(len(found)):
        if len(found) > most:
            heavier = 0
            for other in range(len(found)):
                more = found[other, MASS] > found[row, MASS]
                heavier += int(more or (found[other, MASS] == found[row, MASS] and other < row))
            if heavier >= most:
                continue
        spot = spots[count]
        count += 1
        spot.row, spot.slot, spot.parent, spot.rivals = row, -1, 0, 0
        first, last = int(found[row, FIRST]), int(found[row, LAST])
        centroid_log = found[row, CENTROID] * bin_log
        if side == 0:
            spot.low_bin, spot.end_bin = here - last, here + 1 - first
            spot.place_log = (here + 1) * bin_log - centroid_log
        else:
            spot.low_bin, spot.end_bin = here + first, here + last + 1
            spot.place_log = here * bin_log + centroid_log
    return spots


@njit(cache=True)
@no_type_check
def _overlap(one, other):
    """How many bins both have."""
    return max(0, min(one.end_bin, other.end_bin) - max(one.low_bin, other.low_bin))


@njit(cache=True)
@no_type_check
def _match(spots, zones, held, slots, count, rule):
    """Which zone of before each found one continues; greedy, best first.

    First by overlap: greatest share first, then nearest centroids; what is left, by nearest centroids. Ties go to the
    earlier of before, then to the earlier found.
    """
    pairs, left = np.empty((count * spots.size, 4)), 0
    for p in range(count):
        zone, memory = zones[slots[p]], held[slots[p]]
        if memory.fate != WAITS:
            continue
        for i in range(spots.size):
            spot = spots[i]
            apart = abs(spot.place_log - zone.place_log)
            both, share = _overlap(spot, zone), 0.0
            if both > 0:
                share = both / (zone.end_bin - zone.low_bin + spot.end_bin - spot.low_bin - both)
            if share < rule.least_iou:
                share = 0.0
            if share > 0.0 or apart <= rule.centroid_log:
                pair = pairs[left]
                pair[0], pair[1], pair[2], pair[3] = share, apart, slots[p], i
                memory.rivals += 1
                spot.rivals += 1
                left += 1
    count, left = left, 0
    for k in range(count):
        slot, i = int(pairs[k, 2]), int(pairs[k, 3])
        if held[slot].rivals == 1 and spots[i].rivals == 1:  # as most are: nothing else could take either
            held[slot].fate, spots[i].slot, spots[i].id = SEEN, slot, zones[slot].id
        else:
            pairs[left] = pairs[k]
            left += 1
    while left > 0:
        count, best = left, 0
        for k in range(1, count):
            greater = pairs[k, 0] > pairs[best, 0]
            if greater or (pairs[k, 0] == pairs[best, 0] and pairs[k, 1] < pairs[best, 1]):
                best = k
        slot, i = int(pairs[best, 2]), int(pairs[best, 3])
        held[slot].fate, spots[i].slot, spots[i].id = SEEN, slot, zones[slot].id
        left = 0
        for k in range(count):
            if pairs[k, 2] != slot and pairs[k, 3] != i:
                pairs[left] = pairs[k]
                left += 1


@njit(cache=True)
@no_type_check
def _parent(spot, zones, held, slots, count, part_share):
    """The zone of before that holds the most of this one, if that is enough; the oldest among equals; 0 for none."""
    most, parent = 0, 0
    for p in range(count):
        if held[slots[p]].fate != OVER:
            both = _overlap(spot, zones[slots[p]])
            if both > most:
                most, parent = both, zones[slots[p]].id
    return parent if most >= part_share * (spot.end_bin - spot.low_bin) else 0


@njit(cache=True)
@no_type_check
def _miss(spots, zones, held, slots, count, rule, side, bottom, top, crowded):
    """Count how often those that were not found were missed; what exceeds the grace, or the room, is over."""
    waiting = 0
    for p in range(count):
        zone, memory = zones[slots[p]], held[slots[p]]
        if memory.fate != WAITS:
            continue
        memory.missed += 1
        if memory.missed == 1:
            _reason(zone, spots, rule, side, bottom, top, crowded)
        if memory.missed > rule.grace_steps:
            memory.fate = OVER
        else:
            waiting += 1
    if waiting <= slots.size - spots.size:
        return
    for p in range(count):
        memory = held[slots[p]]
        if memory.fate != WAITS:
            continue
        before = 0  # those missed for less long, then older ones, stay
        for q in range(count):
            other = held[slots[q]]
            if other.fate == WAITS or other.fate == NO_ROOM:
                before += int(other.missed < memory.missed or (other.missed == memory.missed and q < p))
        if before >= slots.size - spots.size:
            memory.fate = NO_ROOM


@njit(cache=True)
@no_type_check
def _reason(zone, spots, rule, side, bottom, top, crowded):
    """Note why a zone that was there in the last step was not found in this one, and which holds the most of it."""
    zone.into = 0
    if _depth(zone, side, bottom, top) > 0:
        zone.ending = PIERCED
        return
    together, most, heir = 0, 0, 0
    for i in range(spots.size):
        both = _overlap(zone, spots[i])
        together += both
        if both > most or (both == most and both > 0 and spots[i].id < heir):
            most, heir = both, spots[i].id
    enough = rule.part_share * (zone.end_bin - zone.low_bin)
    if together >= enough:
        zone.ending, zone.into = MERGED if most >= enough else SPLIT, heir
        return
    # The last bin within reach counts as beyond: of the mark's bin only the range is known.
    far, away = (float(-zone.low_bin), -top) if side == 0 else (float(zone.end_bin), bottom)
    if far > away + rule.reach_bins - 1:
        zone.ending = OUT_OF_REACH
    else:
        zone.ending = CROWDED_OUT if crowded else DISSIPATED


@njit(cache=True)
@no_type_check
def _close_up(held, slots, count):
    """Put the slots of those that are over behind the others; how many those are."""
    first = 0
    while first < count and held[slots[first]].fate < OVER:
        first += 1
    if first == count:
        return count
    alive, free, freed = first, np.empty(count - first, np.int64), 0
    for p in range(first, count):
        if held[slots[p]].fate >= OVER:
            free[freed] = slots[p]
            freed += 1
        else:
            slots[alive] = slots[p]
            alive += 1
    slots[alive:count] = free[:freed]
    return alive


@njit(cache=True)
@no_type_check
def _bear(zone, held, side, spot, close_ns):
    """Begin a new life in a slot."""
    zone.side, zone.id, zone.born_ns, zone.seen_steps = side, spot.id, close_ns, 0
    zone.split_from, zone.touched_ns = spot.parent, 0
    held.samples = 0
    for ago in range(3):
        held.past[ago] = 0
    for kind in range(2):
        held.top_first[kind] = held.top_end[kind] = 0


@njit(cache=True)
@no_type_check
def _see(zone, spot, row, bin_log, open_interest_base):
    """Take in the zone of this step."""
    zone.near_log, zone.far_log = row[FIRST] * bin_log, (row[LAST] + 1) * bin_log
    zone.centroid_log, zone.place_log = row[CENTROID] * bin_log, spot.place_log
    zone.low_bin, zone.end_bin = spot.low_bin, spot.end_bin
    zone.peak_share, zone.mass_share, zone.age_days = row[PEAK], row[MASS], row[AGE]
    zone.mass_base = row[MASS] * open_interest_base
    zone.mass_usd = zone.mass_base * math.exp(spot.place_log)
    zone.seen_steps += 1
    zone.ending, zone.into, zone.ended_ns = ALIVE, 0, 0


@njit(cache=True)
@no_type_check
def _take_sample(zone, held, sample_ns, sample, tops, rule, close_ns):
    """Remember mass and centroid if it is time."""
    number, ring = held.samples, sample_ns.size - 1
    if number > 0 and close_ns - sample_ns[(number - 1) & ring] < rule.cadence_ns:
        return
    at = number & ring
    sample_ns[at] = close_ns
    sample[at, BASE], sample[at, SHARE], sample[at, PLACE] = zone.mass_base, zone.mass_share, zone.place_log
    held.samples = number + 1
    for kind in range(2):
        top, end = tops[kind], held.top_end[kind]
        within = top.size - 1
        while end > held.top_first[kind] and sample[top[(end - 1) & within] & ring, kind] <= sample[at, kind]:
            end -= 1
        top[end & within] = number
        held.top_end[kind] = end + 1


@njit(cache=True)
@no_type_check
def _recall(zone, held, sample_ns, sample, tops, rule, close_ns):
    """Tell the masses of before. Time only rises, so that what was counted as past stays it: nothing is searched."""
    ring, within = sample_ns.size - 1, tops.shape[1] - 1
    at_1h = _newest(held, 0, sample_ns, close_ns - AGO_1H, rule.cadence_ns)
    at_6h = _newest(held, 1, sample_ns, close_ns - AGO_6H, rule.cadence_ns)
    at_24h = _newest(held, 2, sample_ns, close_ns - AGO_24H, rule.cadence_ns)
    zone.mass_1h_share = sample[at_1h, SHARE] if at_1h >= 0 else np.nan
    zone.mass_6h_share = sample[at_6h, SHARE] if at_6h >= 0 else np.nan
    zone.mass_24h_share = sample[at_24h, SHARE] if at_24h >= 0 else np.nan
    zone.place_24h_log = sample[at_24h, PLACE] if at_24h >= 0 else np.nan
    zone.peak_6h_base, zone.peak_6h_share = zone.mass_base, zone.mass_share
    for kind in range(2):
        top, first = tops[kind], held.top_first[kind]
        while first < held.top_end[kind] and sample_ns[top[first & within] & ring] < close_ns - AGO_6H:
            first += 1
        held.top_first[kind] = first
        if first < held.top_end[kind]:
            greatest = sample[top[first & within] & ring, kind]
            if kind == BASE:
                zone.peak_6h_base = max(zone.peak_6h_base, greatest)
            else:
                zone.peak_6h_share = max(zone.peak_6h_share, greatest)


@njit(cache=True)
@no_type_check
def _newest(held, ago, sample_ns, until_ns, cadence_ns):
    """Where the newest sample at least so old lies, if it is not much older; else -1."""
    past, ring = held.past[ago], sample_ns.size - 1
    while past < held.samples and sample_ns[past & ring] <= until_ns:
        past += 1
    held.past[ago] = past
    at = (past - 1) & ring
    return at if past > 0 and sample_ns[at] >= until_ns - 2 * cadence_ns else -1


@njit(cache=True)
@no_type_check
def _weight(masses, numbers, close_ns):
    """What a mass of this step weighs; weights that have grown far are scaled down."""
    growth = (close_ns - numbers[WEIGHED_NS]) / MEMORY_NS
    if growth > LONGEST_GROWTH:
        masses *= math.exp(-growth)
        numbers[WEIGHED_NS] = close_ns
        return 1.0
    return math.exp(growth)


@njit(cache=True)
@no_type_check
def _bucket(mass_share):
    """Sixteenth of an octave of a mass."""
    bucket = math.floor((math.log2(mass_share) - LOWEST_OCTAVE) * PER_OCTAVE)
    return min(max(bucket, 0), OCTAVES * PER_OCTAVE - 1)


@njit(cache=True)
@no_type_check
def _major_bucket(masses):
    """The lowest bucket over which lies at most `MAJOR_SHARE` of all weight."""
    total = 0.0
    for octave in range(OCTAVES):
        total += masses[octave, PER_OCTAVE]
    over, most = 0.0, MAJOR_SHARE * total * (1 + 1e-9)
    for octave in range(OCTAVES - 1, -1, -1):
        if over + masses[octave, PER_OCTAVE] <= most:
            over += masses[octave, PER_OCTAVE]
            continue
        for i in range(PER_OCTAVE - 1, -1, -1):
            if over + masses[octave, i] > most:
                return octave * PER_OCTAVE + i
            over += masses[octave, i]
        return octave * PER_OCTAVE
    return 0
