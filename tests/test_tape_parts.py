"""Books that stand ahead of time and medians that need no sorting say what plain ones say."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from squeeze.market.books import Book
from squeeze.market.events import SECOND_NS, BookUpdate, Broken, Feed, Gap
from squeeze.signals.tape_book import BestPrices, resting_usd
from squeeze.signals.tape_layout import COLUMNS, DEPTH, HOUR, LEAST_SECONDS, RING, SPREAD
from squeeze.signals.tape_medians import Medians


def update(known, bids, asks, is_snapshot):
    """Of levels a tenth apart around 100."""
    levels = [
        [(100 + sign * (i + 1) / 10, size) for i, size in enumerate(one)] for sign, one in ((-1, bids), (1, asks))
    ]
    when = {"venue": "v", "symbol": "s", "event_ns": known, "known_at_ns": known * SECOND_NS // 4}
    return BookUpdate(**when, is_snapshot=is_snapshot, bids=levels[0], asks=levels[1])


def hole(known):
    when = {"venue": "v", "symbol": "s", "event_ns": known, "known_at_ns": known * SECOND_NS // 4}
    return Gap(**when, feed=Feed.BOOK, reason=Broken.DISCONNECTED)


def random_event(rng):
    known = int(rng.integers(1, 40))
    sizes = [rng.choice([0.0, 1.0, 2.5], int(rng.integers(0, 4))).tolist() for _ in range(2)]
    return hole(known) if rng.random() < 0.15 else update(known, *sizes, bool(rng.random() < 0.3))


def heard(prices, event):
    prices.lose(event) if isinstance(event, Gap) else prices.update(event)


def plainly(events):
    """The reading after a plain fold of all events."""
    book = Book()
    for event in events:
        book.lose() if isinstance(event, Gap) else book.apply(event)
    bid, ask = book.best()
    if not (book.valid and 0 < bid < ask):
        return (math.nan,) * 4
    return bid, ask, 2e4 * (ask - bid) / (ask + bid), resting_usd(book, bid, ask)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_books_ahead_of_time_say_what_was_heard_in_whichever_order_it_came(seed):
    rng = np.random.default_rng(seed)
    prices, done, pending = BestPrices(), [], []
    for look in sorted(rng.integers(0, 40, 10).tolist()):
        for _ in range(int(rng.integers(0, 4))):  # some are long known, some will be known later
            pending.append(random_event(rng))
            if rng.random() < 0.5:
                prices.settle()
            prices.expect(pending[-1])
        pending.sort(key=lambda event: event.known_at_ns)
        while pending and pending[0].known_at_ns <= look * SECOND_NS // 4:
            done.append(pending.pop(0))
            heard(prices, done[-1])
            if rng.random() < 0.3:
                assert repr(prices.read()) == repr(plainly(done))
        if rng.random() < 0.3:
            held, prices = prices.snapshot(), BestPrices()
            prices.restore(held)
            for event in pending:
                prices.expect(event)
        if rng.random() < 0.5:
            assert repr(prices.read()) == repr(plainly(done))


def test_updates_that_are_always_one_ahead_do_not_pile_up():
    prices, made = BestPrices(), [update(second, [1.0 + second], [1.0], True) for second in range(3000)]
    prices.expect(made[0])
    for event, following in pairwise(made):
        prices.expect(following)
        prices.update(event)
    assert len(prices._expected) <= 1001
    assert repr(prices.read()) == repr(plainly([made[-2]]))


def told(ring, end):
    """The median of the hour up to a second, sorted anew."""
    hour = ring[np.arange(end - HOUR + 1, end + 1) % RING]
    known = hour[~np.isnan(hour)]
    return float(np.median(known)) if len(known) >= LEAST_SECONDS else math.nan


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 0.9]), st.booleans())
@example(0, 0.0, True)
def test_medians_are_those_of_the_hour_sorted_anew(seed, unknown, is_coarse):
    rng, rings, medians = np.random.default_rng(seed), np.full((COLUMNS, RING), math.nan), Medians()
    running = HOUR
    for seconds in rng.choice([1, 10, 60, 400, RING - HOUR, 900], 40).tolist():
        for second in range(running, running + seconds):
            made = rng.integers(0, 9, 2) if is_coarse else rng.random(2)
            rings[[SPREAD, DEPTH], second % RING] = np.where(rng.random(2) < unknown, math.nan, made)
        running += seconds
        end = running if rng.random() < 0.1 else running - 1 - int(rng.integers(0, min(seconds, 10)))
        if end == running:  # the second that runs, so far
            rings[[SPREAD, DEPTH], end % RING] = rng.random(2)
        assert repr(medians.of(rings, end, running)) == repr([told(rings[SPREAD], end), told(rings[DEPTH], end)])
