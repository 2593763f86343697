"""Recorded sessions through `Session`, books and steps: a second stream of best quotes is the judge."""

import bisect
import json
from collections import Counter

import msgspec
import pytest

from squeeze.market.books import OrderBook
from squeeze.market.captures import import_capture
from squeeze.market.events import MINUTE_NS, SECOND_NS, BookUpdate, Gap, Quality, Trade
from squeeze.market.lake import Lake
from squeeze.market.raw_log import RawLog
from squeeze.market.session import Session, normalise
from squeeze.market.steps import steps
from squeeze.market.venues import venue

pytestmark = pytest.mark.real

BYBIT = ("BTCUSDT", "DOGEUSDT", "ETHUSDT", "SOLUSDT")
SYMBOLS = [("bybit", symbol) for symbol in BYBIT] + [("binance", "BTCUSDT")]
PACK = msgspec.msgpack.encode


@pytest.fixture(scope="module")
def raw(recordings, tmp_path_factory):
    """Both captures as a raw log; of Bybit's the linear connection."""
    log = RawLog(tmp_path_factory.mktemp("raw"))
    captures = recordings / "captures"
    import_capture(captures / "BYBIT.jsonl.zst", log, "bybit", address="/v5/public/linear")
    import_capture(captures / "binance_usdm_btcusdt_20240808.gz", log, "binance", "BTCUSDT")
    return log


@pytest.fixture(scope="module")
def sessions(raw):
    """(session, events) of each venue."""
    found = {}
    for name in ("bybit", "binance"):
        session = Session(venue(name))
        found[name] = session, list(normalise(raw.read(name), name, session=session))
    return found


def of(sessions, name, symbol):
    return [e for e in sessions[name][1] if e.symbol == symbol]


def test_bybits_four_books_have_no_hole_and_are_never_crossed_or_deeper_than_their_feed(sessions):
    session, events = sessions["bybit"]
    books = {symbol: OrderBook("bybit") for symbol in BYBIT}
    for event in events:
        if isinstance(event, BookUpdate):
            book = books[event.symbol]
            assert book.on_update(event) is None
            assert book.valid
            assert not book.crossed
            assert len(book.bids) <= 200
            assert len(book.asks) <= 200
            assert book.event_ns == event.event_ns
    assert {len(book.bids) for book in books.values()} == {len(book.asks) for book in books.values()} == {200}
    assert not any(isinstance(e, Gap) for e in events)
    assert session.wants_snapshot == set()
    counts = session.counts
    assert (counts.frames, counts.refused, counts.repeated, counts.stale_updates, counts.skewed) == (2548, 0, 0, 0, 0)
    assert sum(isinstance(e, BookUpdate) for e in events) == 1598


def test_binances_book_joins_its_snapshot_and_has_no_hole(sessions):
    session, events = sessions["binance"]
    assert not session.counts.gaps
    assert not any(isinstance(e, Gap) for e in events)
    # Four updates ended before the snapshot; the one that it falls into and another had come before it, and waited.
    assert session.counts.stale_updates == 4
    updates = [e for e in events if isinstance(e, BookUpdate)]
    assert [e.is_snapshot for e in updates] == [True, *[False] * 6547]
    assert updates[1].first_id <= updates[0].last_id <= updates[1].last_id
    assert sum(u.known_at_ns == updates[0].known_at_ns for u in updates) == 1 + 2
    book = OrderBook("binance")
    for update in updates:
        assert book.on_update(update) is None
        assert not book.crossed
    assert (len(book.bids), len(book.asks)) == (5018, 4578)


def test_the_recorders_clock_was_slow_by_more_than_a_second_and_every_event_says_so(sessions):
    session, events = sessions["binance"]
    assert all(e.quality == Quality.CLOCK_SKEW for e in events)
    ahead = [e.event_ns - e.known_at_ns for e in events]
    assert min(ahead) > 1.15 * SECOND_NS
    assert max(ahead) < 1.28 * SECOND_NS
    assert session.counts.skewed == 93_954


def test_the_best_quotes_of_binances_rebuilt_book_are_those_that_it_sent_by_another_stream(raw):
    """After every update the rebuilt best prices and sizes are those of the last `bookTicker` whose number `u` is not
    above the update's; in 629 cases the numbers are equal. All 6,546 agree to the digit."""
    adapter, book = venue("binance"), OrderBook("binance")
    numbers, quotes, states = [], [], []
    for frame in raw.read("binance"):
        if b"@bookTicker" in frame.data[:40]:
            said = json.loads(frame.data)["data"]
            numbers.append(said["u"])
            quotes.append(tuple(float(said[name]) for name in "baBA"))
            continue
        for event in adapter.decode(frame.data, frame.received_ns, frame.request):
            if isinstance(event, BookUpdate):
                book.on_update(event)
                if book.valid:
                    bid, ask = book.best()
                    states.append((book.chain.last_id, (bid, ask, book.bids[bid], book.asks[ask])))
    assert numbers == sorted(set(numbers))
    agree = Counter()
    for number, best in states:
        at = bisect.bisect_right(numbers, number) - 1
        agree[quotes[at] == best, numbers[at] == number] += 1
    assert agree == {(True, True): 629, (True, False): 5917}


@pytest.mark.parametrize(("name", "symbol"), SYMBOLS)
def test_steps_of_a_second_hold_all_that_was_traded_and_come_out_the_same_twice(sessions, name, symbol):
    events = of(sessions, name, symbol)
    first, again = (list(steps(events, symbol, SECOND_NS)) for _ in range(2))
    assert PACK(first) == PACK(again)
    trades = [e for e in events if isinstance(e, Trade)]
    parts = [step.venue(name) for step in first]
    traded = [p.volume_base for p in parts if p.volume_base == p.volume_base]
    assert sum(traded) == pytest.approx(sum(t.size_base for t in trades), rel=1e-12)
    bought = sum(p.taker_buy_base for p in parts if p.taker_buy_base == p.taker_buy_base)
    assert bought == pytest.approx(sum(t.size_base for t in trades if t.taker_buys), rel=1e-12)
    flow = sum(sum(p.flow.buys_base) + sum(p.flow.sells_base) for p in parts if p.flow)
    assert flow == pytest.approx(sum(traded), rel=1e-12)
    begun = next(n for n, p in enumerate(parts) if p.book)
    assert begun <= 1
    assert all(p.book for p in parts[begun:])


@pytest.mark.parametrize(("name", "symbol"), SYMBOLS)
def test_steps_from_the_lake_are_those_from_the_frames_byte_for_byte(sessions, tmp_path, name, symbol):
    events = of(sessions, name, symbol)
    lake = Lake(tmp_path)
    written = lake.write_events(events)
    assert written.rows_same == written.rows_kept == written.rows_too_old == 0
    back = list(lake.events(name, symbol))
    assert len(back) == len(events)
    for length_ns in (SECOND_NS, MINUTE_NS):
        assert PACK(list(steps(back, symbol, length_ns))) == PACK(list(steps(events, symbol, length_ns)))


def test_a_session_that_hears_bybits_frames_twice_says_everything_once(raw):
    """As two connections would bring them; the second copy of what has no number is a price said again."""
    session = Session(venue("bybit"))
    books, trades = OrderBook("bybit"), []
    for frame in raw.read("bybit"):
        for connection in ("a", "b"):
            for event in session.on_frame(frame.data, frame.received_ns, frame.request, connection):
                if isinstance(event, Trade):
                    trades.append((event.symbol, event.trade_id))
                elif isinstance(event, BookUpdate) and event.symbol == "BTCUSDT":
                    assert books.on_update(event) is None
    assert len(trades) == len(set(trades)) == 327
    assert not session.counts.gaps
    assert books.valid
