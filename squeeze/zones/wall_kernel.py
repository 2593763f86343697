"""The compiled step of `walls`: one call for all venues. Its state is what `walls.WallTracker` says it is.

`books` is a tuple of `walls.Resting`; `order` and `orders` are records of HELD: candidates or walls of a venue's side.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.patterns.scene import EXPIRED, FILLED, PULLED, REFILLED, STANDING

SAMPLES = 60
"""Steps of an order that are remembered: a minute of seconds."""
PULLS = 32
"""Pulls that are remembered of each venue and side."""
OCTAVE = 8
"""Buckets of usual USD per doubling: a quantile is known to an eighth, from below."""
BUCKETS = 40 * OCTAVE
"""From one dollar up."""
FIRST_BUCKET = 1023 * OCTAVE
"""Sign, exponent and the first three bits of the mantissa of 1.0."""
GREATEST_WEIGHT = 1e12
"""Weights that have grown so much are scaled down."""
NOTE_SECONDS = 10.0
"""What bins hold is noted once in so long: more often says little more, and takes 0.9 µs a venue."""
FORGOTTEN = 10.0
"""Memories: after a silence as long all begins anew."""
LEAST_SAMPLES = 3
"""Fewer give no slope."""
EMPTY_SHARE = 1e-3
"""For its logarithm an emptied bin counts as this share of the peak."""

NO_ORDER, CANDIDATE, FOLLOWED = range(3)

HELD = np.dtype(
    [
        ("state", "i8"),  # NO_ORDER, CANDIDATE or FOLLOWED
        ("bin", "i8"),
        ("born_ns", "i8"),  # time of the first, and of the last, book that showed it
        ("seen_ns", "i8"),
        ("usd", "f8"),
        ("peak_usd", "f8"),
        ("traded_usd", "f8"),  # NaN once a step's trades were not recorded
        ("moved_beyond_log", "f8"),  # NaN once a step was missing
        ("samples", "i8"),  # steps since birth
        ("sample_ns", "i8", (SAMPLES,)),  # by step modulo SAMPLES
        ("sample", "f8", (SAMPLES, 3)),  # traded USD; ln distance and ln USD, NaN where there is no sample
    ],
    align=True,
)
"""A candidate or a wall."""

PULL = np.dtype([("bin", "i8"), ("at_ns", "i8")], align=True)

FAULTS = (
    "",
    "a step at {close_ns} does not follow the one at {closed_ns}",
    "a book's USD must be finite and not negative, or NaN where not covered",
    "a book is crossed: it bids above what it asks",
    "traded coins must be finite and not negative",
)
SOUND, TIME_BACK, NO_AMOUNT, IS_CROSSED, NO_COINS = range(5)


@njit(cache=True)
@no_type_check
def advance(
    books, held, usual, weight, level, growth, pulls, pulled, book_ns, clock, rules, near, bin_log, low, high, mark,
    close_ns, step_ns, out,
):  # fmt: skip
    """How many rows of `out` were filled, or a fault's number times -1."""
    log_mark = math.log(mark)
    mark_bin, reach = math.floor(log_mark / bin_log), round(rules.reach_log / bin_log)
    fault = _fault(books, mark_bin, reach, clock[0], close_ns)
    if fault != SOUND:
        return -fault
    missing = clock[0] != 0 and close_ns - clock[0] > step_ns
    if clock[0] != 0:
        _grow(usual, weight, level, growth, (close_ns - clock[0]) / (rules.memory_hours * HOUR_NS))
    count = 0
    for venue in range(len(books)):
        book = books[venue]
        newer = book.shown and book.book_ns > book_ns[venue]
        judging = newer and level[venue, 3] >= rules.least_history_minutes * 60.0
        median = _median(book, mark_bin, near) if judging else np.nan
        for side in range(2):
            least = np.inf
            if judging:
                least = max(rules.median_multiple * median, level[venue, side], rules.floor_usd)
            outward = -1.0 if side == 0 else 1.0
            extreme = outward * math.log(low if side == 0 else high)
            for slot in range(held.shape[2]):
                order = held[venue, side, slot]
                if order.state == NO_ORDER:
                    continue
                _pass(order, book, side, missing, extreme - outward * (order.bin + side) * bin_log, bin_log)
                distance = outward * ((order.bin + 0.5) * bin_log - log_mark)
                usd = _at(book.usd, side, order.bin - book.first_bin) if book.shown else np.nan
                seen = newer and usd == usd
                _see(order, usd if newer else np.nan, distance, rules.elasticity_log, book.book_ns, close_ns)
                outcome = _judged(order, seen, least, rules, close_ns, step_ns)
                if outcome == PULLED:
                    pull = pulls[venue, side, pulled[venue, side] % PULLS]
                    pull.bin, pull.at_ns = order.bin, close_ns
                    pulled[venue, side] += 1
                if order.state == FOLLOWED:
                    row = out[count]
                    row.side, row.venue, row.distance_log, row.usd, row.outcome = side, venue, distance, usd, outcome
                    _tell(row, order, close_ns, step_ns)
                    row.pulls_1h = _pulls(
                        pulls[venue, side], pulled[venue, side], order.bin, rules.level_bins, close_ns
                    )
                    count += 1
                if outcome not in (STANDING, REFILLED):
                    order.state = NO_ORDER
            if judging:
                _look(held[venue, side], book, side, mark_bin, reach, least, rules.elasticity_log, log_mark, bin_log,
                      close_ns)  # fmt: skip
        if book.shown:
            level[venue, 2] += step_ns / SECOND_NS
            if level[venue, 2] >= NOTE_SECONDS:
                _note(usual[venue], weight[venue], level[venue], book, mark_bin, reach, growth[0], rules.quantile)
        if newer:
            book_ns[venue] = book.book_ns
    clock[0] = close_ns
    return count


@njit(cache=True)
@no_type_check
def _fault(books, mark_bin, reach, closed_ns, close_ns):
    """What is wrong with a step; a book is looked at within reach of the mark, where it is read."""
    if close_ns <= closed_ns:
        return TIME_BACK
    for book in books:
        for side in range(2):
            for coins in book.traded_base[side]:
                if not 0.0 <= coins < np.inf:
                    return NO_COINS
        if not book.shown:
            continue
        here = mark_bin - book.first_bin
        near = book.usd[:, max(0, here - reach) : max(0, here + reach + 1)]
        wrong, highest_bid, lowest_ask = 0, -1, near.shape[1]
        for i in range(near.shape[1]):  # sums and extremes only: several bins at a time
            bid, ask = near[0, i], near[1, i]
            wrong += int(bid < 0.0) + int(ask < 0.0) + int(bid == np.inf) + int(ask == np.inf)
            highest_bid = max(highest_bid, i if bid > 0.0 else -1)
            lowest_ask = min(lowest_ask, i if ask > 0.0 else near.shape[1])
        if wrong > 0:
            return NO_AMOUNT
        if highest_bid > lowest_ask:
            return IS_CROSSED
    return SOUND


@njit(cache=True)
@no_type_check
def _ahead(book, side, mark_bin, reach):
    """What a side's book shows from the mark's bin outward, by rising bin."""
    here = mark_bin - book.first_bin
    first, end = (here - reach + 1, here + 1) if side == 0 else (here, here + reach)
    return book.usd[side, max(0, first) : max(0, end)]


@njit(cache=True)
@no_type_check
def _at(cells, side, i):
    """NaN outside the array."""
    return cells[side, i] if 0 <= i < cells.shape[1] else np.nan


@njit(cache=True)
@no_type_check
def _pass(order, book, side, missing, beyond_log, bin_log):
    """A step passes over an order: what takers traded in its bin, and how far the mark went past its far edge."""
    usd = np.nan
    if book.traded_known and not missing:
        coins = _at(book.traded_base, 1 - side, order.bin - book.traded_first_bin)
        usd = coins * math.exp((order.bin + 0.5) * bin_log) if coins > 0.0 else 0.0
    order.traded_usd += usd
    order.sample[order.samples % SAMPLES, 0] = usd
    if missing:
        order.moved_beyond_log = np.nan
    elif beyond_log > order.moved_beyond_log:  # not if that is NaN
        order.moved_beyond_log = beyond_log


@njit(cache=True)
@no_type_check
def _see(order, usd, distance, elasticity_log, book_ns, close_ns):
    """What a newer book shows, NaN if nothing; with it the sample of the step is complete."""
    at = order.samples % SAMPLES
    order.sample[at, 1], order.sample[at, 2] = np.nan, np.nan
    if usd == usd:
        order.usd, order.peak_usd, order.seen_ns = usd, max(order.peak_usd, usd), book_ns
        if 0.0 < distance <= elasticity_log:
            order.sample[at, 1] = math.log(distance)
            order.sample[at, 2] = math.log(max(usd, EMPTY_SHARE * order.peak_usd))
    order.sample_ns[at] = close_ns
    order.samples += 1


@njit(cache=True)
@no_type_check
def _judged(order, seen, least, rules, close_ns, step_ns):
    """What became of an order, candidates too: those that a book no longer shows as large have expired."""
    if not seen:
        unseen_ns = close_ns - order.seen_ns
        return EXPIRED if unseen_ns > rules.expire_minutes * MINUTE_NS + step_ns else STANDING
    if order.state == CANDIDATE:
        if not order.usd >= least:
            return EXPIRED
        if order.seen_ns - order.born_ns < rules.least_life_seconds * SECOND_NS:
            return STANDING
        order.state = FOLLOWED
    if order.peak_usd - order.usd < rules.pulled_share * order.peak_usd:
        return REFILLED if order.traded_usd > order.peak_usd else STANDING
    if order.traded_usd >= rules.filled_traded_share * order.peak_usd:
        return FILLED
    return PULLED if order.traded_usd <= rules.pulled_traded_share * order.peak_usd else EXPIRED


@njit(cache=True)
@no_type_check
def _tell(row, order, close_ns, step_ns):
    """Write what is remembered of a wall."""
    row.bin, row.born_ns, row.seen_ns = order.bin, order.born_ns, order.seen_ns
    row.peak_usd, row.traded_usd, row.moved_beyond_log = order.peak_usd, order.traded_usd, order.moved_beyond_log
    row.ended_ns = 0 if row.outcome in (STANDING, REFILLED) else close_ns
    # The last minute: only a step as short as that says something of it.
    lately, count, x, y, xx, xy = 0.0 if step_ns <= MINUTE_NS else np.nan, 0, 0.0, 0.0, 0.0, 0.0
    first_x, first_y = 0.0, 0.0
    sample, sample_ns, at = order.sample, order.sample_ns, order.samples % SAMPLES
    for _ in range(min(order.samples, SAMPLES)):
        at = at - 1 if at > 0 else SAMPLES - 1
        if sample_ns[at] <= close_ns - MINUTE_NS:
            break
        lately += sample[at, 0]
        if sample[at, 1] == sample[at, 1]:
            if count == 0:
                first_x, first_y = sample[at, 1], sample[at, 2]
            dx, dy = sample[at, 1] - first_x, sample[at, 2] - first_y
            count, x, y, xx, xy = count + 1, x + dx, y + dy, xx + dx * dx, xy + dx * dy
    row.traded_60s_usd = lately
    spread = xx - x * x / max(count, 1)
    told = count >= LEAST_SAMPLES and spread > 1e-12
    row.pull_elasticity = (xy - x * y / count) / spread if told else np.nan


@njit(cache=True)
@no_type_check
def _pulls(pulls, pulled, level, level_bins, close_ns):
    """How many of the remembered pulls were at a level in the last hour."""
    count = 0
    for i in range(min(pulled, PULLS)):
        pull = pulls[i]
        count += int(abs(pull.bin - level) <= level_bins and pull.at_ns > close_ns - HOUR_NS)
    return count


@njit(cache=True)
@no_type_check
def _look(orders, book, side, mark_bin, reach, least, elasticity_log, log_mark, bin_log, close_ns):
    """Outward from the mark: follow what is large, as far as there is room."""
    large = 0
    for usd in _ahead(book, side, mark_bin, reach):  # most often there is nothing, and this is eight times as fast
        large += int(usd >= least)
    if large == 0:
        return
    outward = -1 if side == 0 else 1
    for i in range(reach):
        level = mark_bin + outward * i
        usd = _at(book.usd, side, level - book.first_bin)
        if not usd >= least:
            continue
        free = -1
        for slot in range(orders.size):
            if orders[slot].state == NO_ORDER:
                free = slot if free < 0 else free
            elif orders[slot].bin == level:
                free = orders.size
                break
        if 0 <= free < orders.size:
            order = orders[free]
            order.state, order.bin, order.born_ns, order.samples = CANDIDATE, level, book.book_ns, 0
            order.traded_usd, order.moved_beyond_log, order.peak_usd = 0.0, 0.0, 0.0
            order.sample[0, 0] = 0.0
            _see(order, usd, outward * ((level + 0.5) * bin_log - log_mark), elasticity_log, book.book_ns, close_ns)


@njit(cache=True)
@no_type_check
def _note(usual, weight, level, book, mark_bin, reach, growth, quantile):
    """Remember what bins hold, for as long as since the last note, and what is much by that."""
    seconds = growth * level[2]
    for side in range(2):
        for usd in _ahead(book, side, mark_bin, reach):
            if usd > 0.0:
                usual[side, _bucket(usd)] += seconds
                weight[side] += seconds
        level[side] = _quantile(usual[side], weight[side], quantile)
    level[3] += level[2]
    level[2] = 0.0


@njit(cache=True)
@no_type_check
def _bucket(usd):
    """Of the logarithm of an amount, read off its upper bits."""
    return min(max((np.float64(usd).view(np.int64) >> 49) - FIRST_BUCKET, 0), BUCKETS - 1)


@njit(cache=True)
@no_type_check
def _quantile(usual, total, quantile):
    """The least amount of the bucket in which a quantile lies; 0 if there is none."""
    above, k = 0.0, BUCKETS
    while k > 0 and above <= (1.0 - quantile) * total:
        k -= 1
        above += usual[k]
    return 2.0 ** (k // OCTAVE) * (1.0 + (k % OCTAVE) / OCTAVE) if k > 0 else 0.0


@njit(cache=True)
@no_type_check
def _grow(usual, weight, level, growth, memories):
    """Let what is past count for less: what comes will count for more."""
    if memories > FORGOTTEN:
        usual[:], weight[:], level[:], growth[0] = 0.0, 0.0, 0.0, 1.0
        return
    growth[0] *= math.exp(memories)
    if growth[0] > GREATEST_WEIGHT:
        usual /= growth[0]
        weight /= growth[0]
        growth[0] = 1.0


@njit(cache=True)
@no_type_check
def _median(book, mark_bin, near):
    """Of the bins near the mark that hold something, the upper of two in the middle; 0 if none does."""
    count = 0
    for side in range(2):
        for usd in _ahead(book, side, mark_bin, near.size // 2):
            if usd > 0.0:
                near[count] = usd
                count += 1
    wanted, first, last = count // 2, 0, count - 1
    while first < last:  # Hoare's selection
        pivot, i, j = near[(first + last) // 2], first, last
        while i <= j:
            while near[i] < pivot:
                i += 1
            while near[j] > pivot:
                j -= 1
            if i <= j:
                near[i], near[j] = near[j], near[i]
                i, j = i + 1, j - 1
        if wanted <= j:
            last = j
        elif wanted >= i:
            first = i
        else:
            break
    return near[wanted] if count > 0 else 0.0
