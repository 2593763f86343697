"""Sessions: frames of a scripted exchange, whose bytes are the events themselves, and a few real ones."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import FrameError
from squeeze.market.events import (
    HOUR_NS,
    MINUTE_NS,
    NAN,
    SECOND_NS,
    AnyEvent,
    BookUpdate,
    Broken,
    Feed,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    OpenInterest,
    Price,
    Quality,
    Quote,
    Trade,
)
from squeeze.market.instruments import Instruments
from squeeze.market.lake import Lake
from squeeze.market.partitions import MAX_SKEW_NS
from squeeze.market.raw_segment import RawFrame
from squeeze.market.session import MARK_FRESH_NS, REMEMBERED, WATCH_NS, Recent, Session, normalise
from squeeze.market.steps import StepBuilder
from squeeze.market.venues import venue

T0 = 1_790_000_000 * SECOND_NS


class Scripted:
    """An exchange whose frames are events in MessagePack; any other frame cannot be read."""

    def __init__(self, name: str = "bybit") -> None:
        self.name = name

    def decode(self, frame: bytes, received_ns: int, request: str = "") -> list[AnyEvent]:
        try:
            events = msgspec.msgpack.decode(frame, type=list[AnyEvent])
        except msgspec.DecodeError as error:
            raise FrameError(f"{self.name}: {error}") from None
        return [msgspec.structs.replace(e, known_at_ns=received_ns) for e in events]

    def connections(self, symbols):
        return []

    def polls(self, symbols):
        return []

    def snapshot_request(self, symbol):
        return None


def frame(*events: AnyEvent) -> bytes:
    return msgspec.msgpack.encode(list(events))


def at(seconds: float) -> int:
    return T0 + round(seconds * SECOND_NS)


def common(seconds: float, symbol: str = "S") -> dict:
    return {"venue": "v", "symbol": symbol, "event_ns": at(seconds), "known_at_ns": 0}


def trade(seconds: float, trade_id: str, **more) -> Trade:
    fields = {"price": 10.0, "size_base": 1.0, "taker_buys": True}
    return Trade(**(common(seconds) | fields | more), trade_id=trade_id)


def liquidation(seconds: float, **more) -> Liquidation:
    fields = {"side": 0, "usd": 20.0, "size_base": 2.0, "price": 10.0}
    return Liquidation(**(common(seconds) | fields | more))


def mark(seconds: float, price: float) -> Price:
    return Price(**common(seconds), price=price, of="mark")


def book(seconds: float, last_id: int, whole: bool = False, previous_id: int = -1, **more) -> BookUpdate:
    fields = {"bids": [(9.0, 1.0)], "asks": [(11.0, 1.0)], "last_id": last_id, "previous_id": previous_id}
    return BookUpdate(**(common(seconds) | fields | more), is_snapshot=whole)


def interest(seconds: float, coins: float = 5.0) -> OpenInterest:
    return OpenInterest(**common(seconds), open_interest_base=coins)


def forecast(seconds: float, settles_hours: float, settled_rate: float = NAN, **more) -> FundingForecast:
    rates = {"funding_rate": 1e-4, "settles_ns": T0 + round(settles_hours * HOUR_NS), "interval_hours": 8.0}
    return FundingForecast(**(common(seconds) | rates | more), settled_rate=settled_rate)


def session(name: str = "bybit") -> Session:
    return Session(Scripted(name))


def fed(s: Session, *frames: tuple, connection: str = "0", request: str = "") -> list[AnyEvent]:
    """The events of (seconds of receipt, event, event, ...)."""
    found = []
    for seconds, *events in frames:
        found += s.on_frame(frame(*events), at(seconds), request, connection)
    return found


# -- What is sent again ------------------------------------------------------------------------------------------------


def test_trades_that_a_reconnect_sends_again_are_left_out_and_counted():
    s = session()
    assert len(fed(s, (1, trade(1, "a"), trade(1, "b")))) == 2
    s.on_disconnect(at(2))
    again = fed(s, (3, trade(1, "a"), trade(1, "b"), trade(2, "c")), connection="1")
    assert [t.trade_id for t in again] == ["c"]
    assert s.counts.repeated == 2
    assert s.counts.events == 3


def test_trades_of_another_contract_may_have_the_same_number():
    s = session()
    other = msgspec.structs.replace(trade(1, "a"), symbol="T")
    assert len(fed(s, (1, trade(1, "a"), other))) == 2


def test_what_is_remembered_is_bounded_and_the_last_so_many_are_never_forgotten():
    recent = Recent()
    assert all(recent.add(n) for n in range(3 * REMEMBERED))
    assert not any(recent.add(n) for n in range(2 * REMEMBERED, 3 * REMEMBERED))
    assert not recent.add(3 * REMEMBERED - 1)  # asked for again, it is as fresh as any
    assert len(recent._new) + len(recent._old) < 2 * REMEMBERED


def test_equal_prints_in_one_frame_are_two():
    s = session()
    assert len(fed(s, (1, liquidation(1), liquidation(1, place=1)))) == 2
    assert s.counts.repeated == 0


def test_prints_that_another_connection_sends_again_are_left_out():
    s = session()
    fed(s, (1, liquidation(1), liquidation(1, place=1)), (2, liquidation(2)))
    again = fed(s, (3, liquidation(1), liquidation(1, place=1), liquidation(2), liquidation(3)), connection="1")
    assert [e.event_ns for e in again] == [at(3)]
    assert s.counts.repeated == 3


def test_two_equal_prints_without_a_reconnect_are_two():
    s = session()
    assert len(fed(s, (1, liquidation(1)), (1.5, liquidation(1)))) == 2
    assert s.counts.repeated == 0


def test_prints_are_compared_only_for_a_while_after_a_reconnect():
    s = session()
    fed(s, (1, liquidation(1)))
    fed(s, (2, mark(2, 10.0)), connection="1")
    watched = WATCH_NS / SECOND_NS + 2
    assert fed(s, (watched - 0.001, liquidation(1)), connection="1") == []
    assert len(fed(s, (watched, liquidation(1)), connection="1")) == 1


def test_an_answer_to_a_request_is_not_another_connection():
    s = session()
    fed(s, (1, liquidation(1)))
    fed(s, (2, interest(2)), connection="rest", request="/x")
    assert len(fed(s, (3, liquidation(1)))) == 1


def test_prints_from_before_the_connection_are_called_replayed():
    s = session("okx")
    old, new = fed(s, (10, liquidation(9), liquidation(10)))
    assert (old.quality, new.quality) == (Quality.REPLAYED, Quality.GOOD)


def test_an_answer_before_the_first_frame_does_not_hide_what_is_replayed():
    s = session("okx")
    fed(s, (5, interest(5)), request="/x")
    (old,) = fed(s, (10, liquidation(9)))
    assert old.quality == Quality.REPLAYED


def test_prints_of_unknown_size_in_one_frame_are_all_kept_after_a_reconnect():
    s = session("okx")
    fed(s, (1, mark(1, 10.0)))
    fed(s, (2, mark(2, 10.0)), connection="1")
    unknown = liquidation(3, size_base=NAN, usd=NAN)
    assert len(fed(s, (3, unknown, unknown), connection="1")) == 2


def test_a_stamp_that_is_asked_for_again_and_again_comes_once():
    s = session()
    found = fed(s, (1, interest(0)), (2, interest(0)), (3, interest(2, 6.0)), (4, interest(1)), request="/x")
    assert [e.open_interest_base for e in found] == [5.0, 6.0, 5.0]  # one that is older, but new
    assert s.counts.repeated == 1


def test_history_that_comes_newest_first_is_all_taken():
    s = session()
    found = fed(s, (9, interest(3), interest(2), interest(1)), request="/x")
    assert sorted(e.event_ns for e in found) == [at(1), at(2), at(3)]


# -- Values that need a memory -----------------------------------------------------------------------------------------


def test_a_liquidation_is_worth_its_size_at_the_mark_price_while_that_is_fresh():
    s = session()
    fresh = MARK_FRESH_NS / SECOND_NS
    usd = [
        e.usd
        for e in fed(
            s,
            (0, liquidation(0)),
            (1, mark(1, 11.0)),
            (1 + fresh, liquidation(2)),
            (1.001 + fresh, liquidation(3)),
            (63, mark(63, 12.0), liquidation(63)),
        )
        if isinstance(e, Liquidation)
    ]
    assert usd == [20.0, 22.0, 20.0, 24.0]


def test_the_mark_price_of_another_contract_values_nothing():
    s = session()
    other = msgspec.structs.replace(mark(1, 11.0), symbol="T")
    *_, found = fed(s, (1, other), (2, liquidation(2)))
    assert found.usd == 20.0


def test_a_forecast_that_moves_on_tells_what_was_settled():
    s = session("okx")
    found = fed(
        s, (0, forecast(0, 8)), (60, forecast(60, 8)), (8 * 3600, forecast(8 * 3600, 16, 3e-4, interval_hours=4.0))
    )
    (settled,) = [e for e in found if isinstance(e, Funding)]
    assert (settled.event_ns, settled.known_at_ns) == (T0 + 8 * HOUR_NS, T0 + 8 * HOUR_NS)
    assert (settled.funding_rate, settled.interval_hours) == (3e-4, 8.0)
    assert len([e for e in found if isinstance(e, FundingForecast)]) == 3


def test_a_settlement_is_told_once_whoever_tells_it_first():
    s = session("okx")
    history = Funding(**common(8 * 3600), funding_rate=3e-4)
    fed(s, (0, forecast(0, 8)))
    assert len(fed(s, (8 * 3600, history), request="/x")) == 1
    late = fed(s, (8 * 3600 + 1, forecast(8 * 3600 + 1, 16, 3e-4)))
    assert [type(e) for e in late] == [FundingForecast]
    assert s.counts.repeated == 1


def test_a_settlement_whose_rate_comes_after_the_forecast_has_moved_on_is_told_too():
    s = session("okx")
    found = fed(s, (0, forecast(0, 8)), (8 * 3600, forecast(8 * 3600, 16)), (28830, forecast(28830, 16, 3e-4)))
    assert [e.funding_rate for e in found if isinstance(e, Funding)] == [3e-4]


@pytest.mark.parametrize("early_s", [0.5, 4 * 3600])
def test_a_settlement_that_is_told_before_its_time_is_flagged_or_not_told(early_s):
    """By a clock that is slow, or since the venue put the settlement off: the lake refuses what is unmarked."""
    s = session("okx")
    now = 8 * 3600 - early_s
    found = fed(s, (0, forecast(0, 8)), (now, forecast(now, 16, 3e-4)))
    settled = [e for e in found if isinstance(e, Funding)]
    if early_s > MAX_SKEW_NS / SECOND_NS:
        assert settled == []
    else:
        assert [e.quality for e in settled] == [Quality.CLOCK_SKEW]


# -- Clocks and frames that cannot be read -----------------------------------------------------------------------------


def test_an_event_stamped_later_than_received_is_flagged_up_to_ten_seconds_and_refused_beyond():
    s = session()
    flagged, good = fed(s, (0, trade(MAX_SKEW_NS / SECOND_NS, "a"), trade(0, "b")))
    assert (flagged.quality, good.quality) == (Quality.CLOCK_SKEW, Quality.GOOD)
    with pytest.raises(FrameError, match="is the clock right"):
        s.on_frame(frame(trade(0, "c"), msgspec.structs.replace(trade(10, "d"), event_ns=at(10) + 1)), at(0))
    assert len(fed(s, (1, trade(0, "c")))) == 1
    assert (s.counts.refused, s.counts.skewed, s.counts.events) == (1, 1, 3)


def test_a_flag_that_an_event_has_stays_when_its_clock_is_wrong_too():
    (found,) = fed(session(), (0, trade(1, "a", quality=int(Quality.OFF_BOOK))))
    assert found.quality == Quality.CLOCK_SKEW | Quality.OFF_BOOK


EVENT = st.one_of(
    st.builds(lambda s, i: trade(s, str(i)), st.integers(0, 30), st.integers(0, 9)),
    st.builds(lambda s: liquidation(s), st.integers(0, 30)),
    st.builds(lambda s, p: mark(s, float(p)), st.integers(0, 30), st.integers(1, 5)),
    st.builds(
        lambda s, i, w, p: book(s, i, w, p), st.integers(0, 30), st.integers(0, 6), st.booleans(), st.integers(0, 6)
    ),
    st.builds(lambda s: interest(s), st.integers(0, 30)),
    st.builds(lambda s, h, r: forecast(s, h, r), st.integers(0, 30), st.integers(0, 3), st.sampled_from([NAN, 1e-4])),
    st.builds(lambda s: Quote(**common(s), bid=1.0, bid_size_base=1.0, ask=2.0, ask_size_base=1.0), st.integers(0, 30)),
)
FRAMES = st.lists(st.tuples(st.lists(EVENT, max_size=4), st.sampled_from(["0", "0", "1"])), max_size=12)
LATE = trade(3600, "late")


@settings(max_examples=200, deadline=None)
@given(
    FRAMES,
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([b"\xc1", b"", "skewed"])), max_size=6),
    st.sampled_from(["bybit", "okx", "binance"]),
)
def test_frames_that_are_refused_change_nothing_wherever_they_come(frames, refused, name):
    clean, dirty = session(name), session(name)
    for number, (events, connection) in enumerate(frames):
        received_ns = at(31 + number)
        for place, bad in refused:
            if place == number:
                spoilt = frame(*events, LATE) if bad == "skewed" else bad
                with pytest.raises(FrameError):
                    dirty.on_frame(spoilt, received_ns, connection=f"never {number}")
        expected = clean.on_frame(frame(*events), received_ns, connection=connection)
        found = dirty.on_frame(frame(*events), received_ns, connection=connection)
        assert msgspec.msgpack.encode(found) == msgspec.msgpack.encode(expected)
        assert dirty.wants_snapshot == clean.wants_snapshot
    assert dirty.counts.events == clean.counts.events
    assert dirty.counts.refused == sum(place < len(frames) for place, _ in refused)
    assert bool(dirty.counts.last_refusal) is (dirty.counts.refused > 0)


@settings(max_examples=100, deadline=None)
@given(FRAMES, st.sampled_from(["bybit", "okx", "binance"]))
def test_what_comes_out_was_known_when_it_was_received_and_not_far_before_it_happened(frames, name):
    s = session(name)
    for number, (events, connection) in enumerate(frames):
        received_ns = at(31 + number)
        found = s.on_frame(frame(*events), received_ns, connection=connection)
        assert all(e.known_at_ns == received_ns for e in found)
        assert all(e.event_ns <= received_ns for e in found if not isinstance(e, Funding))
    assert s.counts.frames == len(frames)


# -- Books and lost connections ----------------------------------------------------------------------------------------


def test_a_hole_in_a_book_is_told_in_its_place_and_a_snapshot_is_wanted():
    s = session()
    found = fed(s, (1, book(1, 5, True)), (2, book(2, 6)), (3, book(3, 8)), (4, book(4, 9)))
    assert [type(e) for e in found] == [BookUpdate, BookUpdate, Gap]
    hole = found[-1]
    assert (hole.feed, hole.reason) == (Feed.BOOK, Broken.MISSED_UPDATE)
    assert (hole.event_ns, hole.known_at_ns) == (at(2), at(3))
    assert s.wants_snapshot == {"S"}
    assert (s.counts.stale_updates, s.counts.gaps) == (2, {"MISSED_UPDATE": 1})
    assert len(fed(s, (5, book(5, 12, True)))) == 1
    assert s.wants_snapshot == set()


def test_binance_updates_held_for_a_snapshot_are_known_when_it_comes():
    s = session("binance")
    assert fed(s, (1, book(1, 9, previous_id=4, first_id=5)), (2, book(2, 12, previous_id=9, first_id=10))) == []
    assert s.wants_snapshot == {"S"}
    found = fed(s, (3, book(0.5, 7, True)), request="/fapi/v1/depth?symbol=S")
    assert [(e.last_id, e.known_at_ns) for e in found] == [(7, at(3)), (9, at(3)), (12, at(3))]
    assert [e.event_ns for e in found] == [at(0.5), at(1), at(2)]


def test_books_of_two_depths_have_a_chain_each():
    s = session()
    found = fed(s, (1, book(1, 5, True, depth=50)), (2, book(2, 900, True, depth=200)), (3, book(3, 6, depth=50)))
    assert [type(e) for e in found] == [BookUpdate] * 3


def test_a_lost_connection_is_one_hole_for_each_symbol_and_books_wait():
    s = session()
    other = msgspec.structs.replace(trade(2, "t"), symbol="T")
    fed(s, (1, book(1, 5, True), trade(1, "a")), (2, other))
    holes = s.on_disconnect(at(9))
    assert [(h.symbol, h.event_ns, h.known_at_ns, h.feed, h.reason) for h in holes] == [
        ("S", at(1), at(9), Feed.ALL, Broken.DISCONNECTED),
        ("T", at(2), at(9), Feed.TRADES, Broken.DISCONNECTED),
    ]
    assert s.wants_snapshot == {"S"}
    assert fed(s, (10, book(10, 6)), connection="1") == []
    assert len(fed(s, (11, book(11, 40, True)), connection="1")) == 1
    assert s.counts.gaps == {"DISCONNECTED": 2}


def test_a_session_that_heard_nothing_loses_nothing():
    assert session().on_disconnect(at(1)) == []


def test_a_binance_snapshot_and_the_held_update_of_its_number_come_back_from_the_lake(tmp_path):
    """In a quiet market the snapshot's number is that of the last update, and so is its time."""
    update = book(1.0, 9, previous_id=4, first_id=5, bids=[(8.0, 2.0)], asks=[(12.0, 2.0)])
    answer = book(1.0, 9, True, bids=[(9.0, 1.0), (8.0, 2.0)], asks=[(11.0, 1.0), (12.0, 2.0)])
    s = session("binance")
    events = fed(s, (1.1, update)) + fed(s, (2, answer), request="/fapi/v1/depth?symbol=S")
    assert [e.is_snapshot for e in events] == [True, False]
    lake = Lake(tmp_path)
    lake.write_events(events)
    assert list(lake.events("v", "S")) == events


def test_a_binance_update_held_for_a_snapshot_that_is_stamped_later_comes_back_from_the_lake_after_it(tmp_path):
    s = session("binance")
    update = book(1.0, 12, previous_id=4, first_id=5)
    events = fed(s, (1.1, update)) + fed(s, (2, book(1.001, 9, True)), request="/fapi/v1/depth?symbol=S")
    lake = Lake(tmp_path)
    lake.write_events(events)
    assert [e.is_snapshot for e in lake.events("v", "S")] == [True, False]


# -- Sessions and steps together ---------------------------------------------------------------------------------------


def stepped(builder: StepBuilder, *events: AnyEvent) -> StepBuilder:
    for event in events:
        builder.add(event)
    return builder


def test_a_hole_in_a_shallow_book_leaves_no_deep_one_that_nobody_asks_for():
    s, builder = session(), StepBuilder("S", SECOND_NS)
    first = fed(s, (0.1, book(0.1, 5, True, depth=50)), (0.2, book(0.2, 900, True, depth=200)))
    broken = fed(
        s, (0.3, book(0.3, 7, depth=50)), (0.4, book(0.4, 9, True, depth=50)), (0.5, book(0.5, 901, depth=200))
    )
    stepped(builder, *first, *broken).close(at(1))
    assert s.wants_snapshot == set() == builder.lost_books()


def test_a_binance_book_that_a_step_found_crossed_begins_again_with_the_answer_that_is_asked_for():
    s, builder = session("binance"), StepBuilder("S", SECOND_NS)
    request = "/fapi/v1/depth?symbol=S"
    first = fed(s, (0.1, book(0.1, 9, True)), request=request)
    crossed = fed(s, (0.2, book(0.2, 12, previous_id=9, first_id=10, bids=[(12.0, 1.0)])))
    stepped(builder, *first, *crossed).close(at(1))
    assert builder.lost_books() == {"v"}
    s.lose_book("S")
    more = fed(s, (1.1, book(1.1, 20, previous_id=12, first_id=13, bids=[(12.0, 0.0)])))
    answer = fed(s, (1.2, book(1.05, 15, True)), request=request)  # older than what the stream has brought meanwhile
    stepped(builder, *more, *answer).close(at(2))
    assert builder.lost_books() == set() or s.wants_snapshot == {"S"}


def test_a_builder_that_is_taken_up_by_a_new_session_has_no_old_book_that_looks_valid():
    builder, again = StepBuilder("S", SECOND_NS), StepBuilder("S", SECOND_NS)
    stepped(builder, *fed(session(), (0.1, book(0.1, 5, True)))).close(at(1))
    again.restore(builder.snapshot())
    new = session()
    later = [msgspec.structs.replace(g, venue="v") for g in new.begin(["S"], at(1000.1))]
    later += fed(new, (1000.2, book(1000.2, 700)), (1000.3, trade(1000.3, "a")))
    step = stepped(again, *later).close(at(1001))
    assert (step.venues["v"].book, len(step.venues["v"].gaps)) == (None, 1)


# -- Real adapters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1])
def test_a_bybit_trade_frame_sent_twice_gives_its_trades_once(place):
    row = b'{"T":1790000000000,"s":"BTCUSDT","S":"Buy","v":"1","p":"10.5","i":"%d","BT":false}'
    rows = [row % n for n in range(2)]
    whole = b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1790000000000,"data":[%s]}'
    s = Session(venue("bybit"))
    assert len(s.on_frame(whole % b",".join(rows), at(1))) == 2
    assert s.on_frame(whole % rows[place], at(2)) == []


def test_bybits_funding_history_newest_first_is_all_taken():
    row = b'{"symbol":"BTCUSDT","fundingRate":"0.0001","fundingRateTimestamp":"%d"}'
    rows = b",".join(row % (1_790_000_000_000 - n * 28_800_000) for n in range(3))
    body = b'{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[%s]}}' % rows
    s = Session(venue("bybit"))
    found = s.on_frame(body, at(1), "/v5/market/funding/history?category=linear&limit=10&symbol=BTCUSDT")
    assert len(found) == 3


def test_okx_liquidations_of_a_contract_without_a_record_have_no_size():
    body = (
        b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"instId":"XYZ-USDT-SWAP","details":['
        b'{"side":"sell","posSide":"long","bkPx":"2","sz":"5","ts":"1790000000000"}]}]}'
    )
    (found,) = Session(venue("okx", Instruments([]))).on_frame(body, at(1))
    assert math.isnan(found.size_base)
    assert math.isnan(found.usd)


def test_okx_prints_of_a_contract_without_a_record_are_not_repeats_of_each_other_after_a_reconnect():
    body = (
        b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"instId":"XYZ-USDT-SWAP","details":['
        b'{"side":"sell","posSide":"long","bkPx":"2","sz":"5","ts":"1790000003000"},'
        b'{"side":"sell","posSide":"long","bkPx":"2","sz":"7","ts":"1790000003000"}]}]}'
    )
    s = Session(venue("okx", Instruments([])))
    s.on_frame(body.replace(b"1790000003000", b"1790000001000"), at(1))
    assert len(s.on_frame(body, at(3), connection="1")) == 2


def test_recorded_frames_are_normalised_as_live_and_bad_ones_counted_and_passed_over():
    text = '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1790000000000,"data":[%s]}'
    row = '{"T":1790000000000,"s":"BTCUSDT","S":"Sell","v":"1","p":"10.5","i":"x","BT":false}'
    frames = [
        RawFrame(received_ns=at(n), connection="0", request="", frame=body)
        for n, body in enumerate([text % row, "{", text % row, text % row.replace('"x"', '"y"')])
    ]
    s = Session(venue("bybit"))
    found = list(normalise(frames, "bybit", session=s))
    assert [(t.trade_id, t.known_at_ns) for t in found] == [("x", at(0)), ("y", at(3))]
    assert (s.counts.frames, s.counts.refused, s.counts.repeated) == (4, 1, 1)
    assert msgspec.msgpack.encode(list(normalise(frames, "bybit"))) == msgspec.msgpack.encode(found)


def test_a_minute_is_a_minute():
    assert MINUTE_NS == MARK_FRESH_NS
