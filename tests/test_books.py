"""Books against a small simulated exchange that numbers its updates by each venue's rule."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.market.books import HELD, Book, Chain, OrderBook, Rule
from squeeze.market.events import NAN, BookUpdate, Broken, Feed, Quality

VENUES = ("bybit", "okx", "binance")
BIDS, ASKS = [(99.0, 1.0), (98.0, 2.0)], [(101.0, 3.0)]


def update(last_id, previous_id=-1, first_id=-1, bids=(), asks=(), whole=False, **more) -> BookUpdate:
    fields = {"venue": "v", "symbol": "S", "event_ns": max(last_id, 0) * 10, "known_at_ns": max(last_id, 0) * 10 + 5}
    numbers = {"last_id": last_id, "previous_id": previous_id, "first_id": first_id}
    return BookUpdate(**(fields | numbers | more), is_snapshot=whole, bids=list(bids), asks=list(asks))


def snapshot(last_id, **more) -> BookUpdate:
    return update(last_id, whole=True, **({"bids": BIDS, "asks": ASKS} | more))


def started(venue: str, last_id: int = 5) -> OrderBook:
    book = OrderBook(venue)
    assert book.on_update(snapshot(last_id)) is None
    return book


def taken(chain: Chain, *updates: BookUpdate) -> list[tuple[list[int], bool]]:
    """The numbers of what each update lets through, and whether it shows a hole."""
    return [([u.last_id for u in followed], broken) for followed, broken in map(chain.take, updates)]


# -- Bybit -------------------------------------------------------------------------------------------------------------


def test_bybits_numbers_rise_by_one_and_what_is_older_is_left_out():
    chain = Chain(Rule.STEPS)
    assert chain.waits
    assert taken(chain, update(4), snapshot(5), update(6), update(6), update(5), update(7)) == [
        ([], False),
        ([5], False),
        ([6], False),
        ([], False),
        ([], False),
        ([7], False),
    ]
    assert chain.stale == 3
    assert not chain.waits


def test_a_skipped_bybit_number_is_a_hole_after_which_only_a_snapshot_counts():
    chain = Chain(Rule.STEPS)
    assert taken(chain, snapshot(5), update(7), update(8), update(6)) == [
        ([5], False),
        ([], True),
        ([], False),
        ([], False),
    ]
    assert chain.waits
    assert taken(chain, snapshot(9), update(10)) == [([9], False), ([10], False)]


def test_bybits_service_restart_is_followed_from_number_one():
    book = started("bybit", 900)
    assert book.on_update(snapshot(1, bids=[(50.0, 1.0)])) is None
    assert book.on_update(update(2, bids=[(51.0, 2.0)])) is None
    assert book.bids == {50.0: 1.0, 51.0: 2.0}
    late = book.on_update(update(901))
    assert late is not None
    assert late.reason is Broken.MISSED_UPDATE


# -- OKX ---------------------------------------------------------------------------------------------------------------


def test_okx_names_the_update_before():
    chain = Chain(Rule.NAMES)
    assert taken(chain, snapshot(10), update(15, 10), update(16, 15)) == [([10], False), ([15], False), ([16], False)]


def test_an_okx_sign_of_life_changes_nothing():
    book = started("okx", 10)
    assert book.on_update(update(10, 10)) is None
    assert book.valid
    assert book.chain.last_id == 10
    assert book.on_update(update(12, 10, bids=[(99.0, 0.0)])) is None
    assert book.best() == (98.0, 101.0)


def test_okx_numbers_may_fall_for_maintenance_if_the_right_one_is_named():
    chain = Chain(Rule.NAMES)
    assert taken(chain, snapshot(10), update(3, 10), update(5, 3)) == [([10], False), ([3], False), ([5], False)]


@pytest.mark.parametrize("wrong", [update(12, 11), update(10, 9), update(3, 9), update(9, 9), update(12, -1)])
def test_anything_else_of_okx_is_a_hole(wrong):
    book = started("okx", 10)
    found = book.on_update(wrong)
    assert found is not None
    assert found.reason is Broken.MISSED_UPDATE
    assert book.chain.waits
    assert not book.valid
    assert book.bids == {}
    assert book.on_update(update(11, 10)) is None
    assert not book.valid


# -- Binance -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "joined"),
    [
        (20, [20]),  # the update names the snapshot: pu == lastUpdateId
        (21, [21]),  # U == lastUpdateId
        (25, [25]),
        (29, [29]),  # u == lastUpdateId
    ],
)
def test_updates_held_for_a_binance_snapshot_are_joined_to_it(at, joined):
    chain = Chain(Rule.JOINS)
    held = [update(20, 12, 13), update(29, 20, 21), update(33, 29, 30)]
    assert taken(chain, *held) == [([], False)] * 3
    ids = [20, 29, 33] if at == 20 else [29, 33]  # the update that ends at the snapshot covers it too
    assert taken(chain, snapshot(at)) == [([*joined, *ids], False)]
    assert chain.last_id == 33
    assert chain.stale == (0 if at == 20 else 1)


def test_a_binance_snapshot_may_come_before_the_first_update_that_joins_it():
    chain = Chain(Rule.JOINS)
    assert taken(chain, snapshot(25), update(20, 12, 13), update(29, 20, 21), update(33, 29, 30)) == [
        ([25], False),
        ([], False),
        ([29], False),
        ([33], False),
    ]
    assert chain.stale == 1


def test_a_binance_update_that_starts_after_the_snapshot_is_a_hole():
    book = started("binance", 15)
    found = book.on_update(update(29, 20, 21))
    assert found is not None
    assert found.reason is Broken.MISSED_UPDATE
    assert not book.valid
    assert book.chain.waits


def test_after_a_binance_hole_the_update_that_showed_it_joins_the_next_snapshot():
    book = started("binance", 5)
    assert book.on_update(update(9, 5, 6)) is None
    assert book.on_update(update(19, 12, 13, bids=[(97.0, 7.0)])).reason is Broken.MISSED_UPDATE
    assert book.on_update(update(25, 19, 20, bids=[(96.0, 6.0)])) is None
    assert not book.valid
    assert book.on_update(snapshot(15)) is None
    assert book.chain.last_id == 25
    assert book.bids == {99.0: 1.0, 98.0: 2.0, 97.0: 7.0, 96.0: 6.0}


def test_a_binance_snapshot_older_than_the_running_book_is_left_out():
    book = started("binance", 5)
    assert book.on_update(update(9, 5, 6, bids=[(97.0, 7.0)])) is None
    before = book.snapshot()
    for old in (8, 9):
        assert book.on_update(snapshot(old, bids=[(1.0, 1.0)])) is None
    assert book.snapshot() == before
    assert book.chain.stale == 2
    assert book.on_update(snapshot(10, bids=[(96.0, 1.0)])) is None
    assert book.bids == {96.0: 1.0}


def test_repeated_binance_updates_are_left_out():
    chain = Chain(Rule.JOINS)
    assert taken(chain, snapshot(5), update(9, 5, 6), update(9, 5, 6), update(12, 9, 10)) == [
        ([5], False),
        ([9], False),
        ([], False),
        ([12], False),
    ]
    assert chain.stale == 1


def test_so_many_binance_updates_wait_for_a_snapshot_and_no_more():
    chain = Chain(Rule.JOINS)
    taken(chain, *(update(n, n - 1, n) for n in range(1, HELD + 11)))
    followed, broken = chain.take(snapshot(11))
    assert not broken
    assert [u.last_id for u in followed] == [11, *range(11, HELD + 11)]


def test_a_binance_snapshot_too_old_for_the_held_updates_keeps_all_of_them_for_the_next():
    chain = Chain(Rule.JOINS)
    taken(chain, update(20, 12, 13), update(29, 20, 21), update(33, 29, 30))
    assert taken(chain, snapshot(5)) == [([], True)]
    assert taken(chain, snapshot(25)) == [([25, 29, 33], False)]


# -- What all share ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", VENUES)
def test_a_feed_without_numbers_is_followed_from_its_snapshot_on(venue):
    book = OrderBook(venue)
    assert book.on_update(snapshot(-1)) is None
    assert book.valid


def test_a_hole_says_where_and_since_when():
    book = started("bybit", 5)
    found = book.on_update(update(9))
    assert (found.venue, found.symbol, found.feed, found.reason) == ("v", "S", Feed.BOOK, Broken.MISSED_UPDATE)
    assert (found.event_ns, found.known_at_ns, found.quality) == (50, 95, Quality.GAP_BEFORE)


def test_a_crossed_book_is_emptied_and_waits():
    book = started("bybit", 5)
    found = book.on_update(update(6, bids=[(101.0, 1.0)]))
    assert found.reason is Broken.CROSSED
    assert not book.valid
    assert book.chain.waits
    assert book.bids == book.asks == {}
    assert book.on_update(update(7)) is None
    assert book.on_update(snapshot(8)) is None
    assert book.best() == (99.0, 101.0)


def test_a_size_of_zero_takes_a_level_away_and_one_that_is_not_there_is_no_matter():
    book = started("bybit", 5)
    assert book.on_update(update(6, bids=[(99.0, 0.0), (50.0, 0.0)], asks=[(101.0, 0.5)])) is None
    assert (book.bids, book.asks) == ({98.0: 2.0}, {101.0: 0.5})
    assert Book().best() == (pytest.approx(NAN, nan_ok=True),) * 2
    assert not Book().crossed


def test_a_snapshots_levels_of_size_zero_are_none():
    book = OrderBook("bybit")
    book.on_update(snapshot(5, bids=[(99.0, 0.0), (98.0, 1.0)]))
    assert book.bids == {98.0: 1.0}


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 16), st.integers(0, 3)), max_size=20))
def test_a_book_restored_from_its_snapshot_is_the_same_book(changes):
    book, other = Book(), Book()
    book.apply(snapshot(1))
    for number, (is_bid, price, size) in enumerate(changes, 2):
        level = [(float(price), float(size))]
        book.apply(update(number, bids=level if is_bid else [], asks=[] if is_bid else level))
    other.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(book.snapshot())))
    assert vars(other) == vars(book)


@pytest.mark.parametrize("venue", VENUES)
def test_an_order_book_taken_up_again_follows_its_chain_or_waits_for_a_snapshot(venue):
    book, other = started(venue, 5), OrderBook(venue)
    other.restore(book.snapshot())
    following = update(6, 5, 6, bids=[(99.0, 0.0)])
    book.on_update(following)
    other.on_update(following)
    assert not other.valid or other.bids == book.bids


# -- A simulated exchange ----------------------------------------------------------------------------------------------

Sides = tuple[dict[float, float], dict[float, float]]


@dataclass
class Exchange:
    """A book that changes one level at a time, and the messages that tell of it.

    `truth` is the book after each number that the exchange ever gave; no number is given twice.
    """

    venue: str
    truth: dict[int, Sides] = field(default_factory=dict)
    messages: list[BookUpdate] = field(default_factory=list)
    sides: Sides = field(default_factory=lambda: ({5.0: 1.0}, {9.0: 1.0}))
    number: int = 1_000_000

    def __post_init__(self) -> None:
        self.remember()

    def remember(self) -> None:
        self.truth[self.number] = (dict(self.sides[0]), dict(self.sides[1]))

    def change(self, is_bid: bool, price: int, size: int) -> tuple[bool, float]:
        side = self.sides[0 if is_bid else 1]
        at = float(price if is_bid else 8 + price)
        side.pop(at, None)
        if size:
            side[at] = float(size)
        return is_bid, at

    def push(self, changes, stride: int) -> None:
        """One update for several changes; Binance counts each change, the others each update."""
        previous, first, touched = self.number, -1, {}
        for change in changes:
            touched[self.change(*change)] = None
            if self.venue == "binance":
                self.number += stride
                first = self.number if first < 0 else first
                self.remember()
        if self.venue != "binance":
            self.number += 1 if self.venue == "bybit" else stride
            self.remember()
        levels = [[(p, self.sides[n].get(p, 0.0)) for is_bid, p in touched if is_bid is (n == 0)] for n in (0, 1)]
        names = -1 if self.venue == "bybit" else previous
        self.messages.append(update(self.number, names, first, *levels, venue=self.venue))

    def snap(self, back: int = 0) -> None:
        """All levels, as they were `back` numbers ago: an answer by REST is late, or early for what is under way."""
        number = sorted(self.truth)[-1 - min(back, len(self.truth) - 1)] if self.venue == "binance" else self.number
        bids, asks = (list(side.items()) for side in self.truth[number])
        self.messages.append(snapshot(number, bids=bids, asks=asks, venue=self.venue))

    def live(self) -> None:
        """OKX's sign of life."""
        if self.venue == "okx":
            self.messages.append(update(self.number, self.number, venue="okx"))

    def reset(self) -> None:
        """Maintenance: OKX names the last number and goes on from a lower one, Bybit begins anew with a snapshot."""
        if self.venue == "okx" and self.number > 200_000:
            previous, self.number = self.number, (self.number // 100_000 - 1) * 100_000
            self.remember()
            self.messages.append(update(self.number, previous, venue="okx"))
        elif self.venue == "bybit" and self.number >= 1_000_000:
            self.number = 1
            self.remember()
            self.snap()


CHANGE = st.tuples(st.booleans(), st.integers(1, 8), st.integers(0, 3))
ACTION = st.one_of(
    st.tuples(st.just("push"), st.lists(CHANGE, min_size=1, max_size=4), st.integers(1, 3)),
    st.tuples(st.just("push"), st.lists(CHANGE, min_size=1, max_size=4), st.integers(1, 3)),
    st.tuples(st.just("snap"), st.integers(0, 6)),
    st.tuples(st.just("live")),
    st.tuples(st.just("reset")),
)
FAULTS = st.lists(st.sampled_from(["", "", "", "drop", "twice", "swap"]), max_size=30)


def history(venue: str, actions) -> Exchange:
    exchange = Exchange(venue)
    for name, *arguments in actions:
        getattr(exchange, name)(*arguments)
    return exchange


def with_faults(messages: list[BookUpdate], faults: list[str]) -> list[BookUpdate]:
    out = list(messages)
    for at in range(min(len(messages), len(faults)) - 1, -1, -1):
        if faults[at] == "drop":
            del out[at]
        elif faults[at] == "twice":
            out.insert(at, out[at])
        elif faults[at] == "swap" and at + 1 < len(out):
            out[at], out[at + 1] = out[at + 1], out[at]
    return out


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=400, deadline=None)
@given(actions=st.lists(ACTION, max_size=30), faults=FAULTS)
def test_a_valid_book_is_the_exchanges_at_its_number_whatever_was_lost_repeated_or_swapped(venue, actions, faults):
    exchange = history(venue, [("snap", 0), *actions])
    book = OrderBook(venue)
    for message in with_faults(exchange.messages, faults):
        was_valid = book.valid
        found = book.on_update(message)
        if book.valid:
            assert (book.bids, book.asks) == exchange.truth[book.chain.last_id]
        else:
            assert book.bids == book.asks == {}
        assert (found is not None) >= (was_valid and not book.valid)
        assert book.valid is (not book.chain.waits)
        assert not book.valid or found is None


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=200, deadline=None)
@given(actions=st.lists(ACTION, max_size=30))
def test_a_stream_without_a_fault_shows_no_hole_and_ends_where_the_exchange_is(venue, actions):
    actions = [a for a in actions if venue != "binance" or a[0] != "snap"]
    exchange = history(venue, [("snap", 0), *actions])
    book = OrderBook(venue)
    assert [book.on_update(message) for message in exchange.messages] == [None] * len(exchange.messages)
    assert (book.bids, book.asks) == exchange.truth[exchange.number]


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=200, deadline=None)
@given(pushes=st.lists(st.lists(CHANGE, min_size=1, max_size=4), min_size=3, max_size=12), data=st.data())
def test_the_message_after_a_lost_one_shows_the_hole_and_no_level_until_a_snapshot(venue, pushes, data):
    exchange = history(venue, [("snap", 0), *(("push", p, 2) for p in pushes)])
    lost = data.draw(st.integers(1, len(exchange.messages) - 2))
    book = OrderBook(venue)
    found = [book.on_update(m) for n, m in enumerate(exchange.messages) if n != lost]
    assert found[:lost] == [None] * lost
    assert found[lost].reason is Broken.MISSED_UPDATE
    assert found[lost + 1 :] == [None] * (len(found) - lost - 1)
    assert not book.valid
    exchange.snap()
    assert book.on_update(exchange.messages[-1]) is None
    assert (book.bids, book.asks) == exchange.truth[exchange.number]


@settings(max_examples=200, deadline=None)
@given(
    pushes=st.lists(st.lists(CHANGE, min_size=1, max_size=4), min_size=1, max_size=12),
    after=st.integers(0, 12),
    data=st.data(),
)
def test_a_binance_snapshot_of_any_moment_since_the_stream_began_joins_it_at_any_time(pushes, after, data):
    exchange = history("binance", [("push", p, 2) for p in pushes])
    numbers = sorted(exchange.truth)
    at = data.draw(st.sampled_from(numbers))
    bids, asks = (list(side.items()) for side in exchange.truth[at])
    messages = list(exchange.messages)
    messages.insert(min(after, len(messages)), snapshot(at, bids=bids, asks=asks))
    book = OrderBook("binance")
    assert [book.on_update(m) for m in messages] == [None] * len(messages)
    assert book.chain.last_id == exchange.number
    assert (book.bids, book.asks) == exchange.truth[exchange.number]
