"""The adapters, frame by frame as the exchanges document them: what is said, what is refused, what to subscribe to."""

import contextlib
import json
import math

import pytest
from fuzzing import LITERAL

from squeeze.errors import FrameError, VenueRefused
from squeeze.market.events import (
    BookUpdate,
    Funding,
    FundingForecast,
    Liquidation,
    OpenInterest,
    Price,
    Quality,
    Quote,
    Trade,
)
from squeeze.market.instruments import Instrument, Instruments
from squeeze.market.venues import Binance, Bybit, Okx, venue

RECEIVED_NS = 1_791_565_603_055_123_456
BTC_SWAP = Instrument(
    venue="okx",
    native="BTC-USDT-SWAP",
    symbol="BTCUSDT",
    as_of_ns=0,
    tick_size=0.1,
    lot_size_base=0.0001,
    minimum_size_base=0.0001,
    contract_value=0.01,
    source="test",
)
BYBIT, OKX, BINANCE = Bybit(), Okx(Instruments([BTC_SWAP])), Binance()
ADAPTERS = {"bybit": BYBIT, "okx": OKX, "binance": BINANCE}


def decode(adapter, frame, request: str = ""):
    """The events of a frame given as bytes, or as what its JSON holds."""
    return adapter.decode(frame if isinstance(frame, bytes) else json.dumps(frame).encode(), RECEIVED_NS, request)


def bybit_trades(*rows) -> dict:
    return {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1672304486868, "data": list(rows)}


def bybit_trade(**changed) -> dict:
    row = {"T": 1672304486865, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.50", "L": "PlusTick", "i": "a"}
    return {**row, "BT": False, "RPI": False, "seq": 1783284617, **changed}


def bybit_liquidations(*rows, symbol: str = "ROSEUSDT") -> dict:
    return {"topic": f"allLiquidation.{symbol}", "type": "snapshot", "ts": 1791091285551, "data": list(rows)}


def bybit_liquidation(**changed) -> dict:
    return {"T": 1791091285156, "s": "ROSEUSDT", "S": "Sell", "v": "20000", "p": "0.04499", **changed}


def bybit_ticker(kind: str = "delta", **fields) -> dict:
    data = {"symbol": "BTCUSDT", **fields}
    return {"topic": "tickers.BTCUSDT", "type": kind, "data": data, "cs": 24987956059, "ts": 1786310817583}


def okx(channel: str, *rows, **more) -> dict:
    arg = {"channel": channel, "instId": "BTC-USDT-SWAP"}
    return {"arg": arg, **more, "data": list(rows)}


def okx_trade(**changed) -> dict:
    row = {"instId": "BTC-USDT-SWAP", "tradeId": "130639474", "px": "42219.9", "sz": "12", "side": "buy"}
    return {**row, "ts": "1630048897897", "count": "3", "source": "0", "seqId": 1234, **changed}


def okx_liquidation(**changed) -> dict:
    row = {"bkLoss": "0", "bkPx": "82655.7", "ccy": "", "posSide": "net", "side": "sell", "sz": "850"}
    return {**row, "ts": "1791565600771", **changed}


def okx_liquidations(*details, native: str = "BTC-USDT-SWAP") -> dict:
    row = {"instType": "SWAP", "instFamily": "BTC-USDT", "instId": native, "uly": "BTC-USDT", "details": list(details)}
    return {"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [row]}


def binance_trade(**changed) -> dict:
    row = {"e": "trade", "E": 1596240000596, "T": 1596240000519, "s": "BTCUSDT", "t": 173525189, "p": "11343.67"}
    return {**row, "q": "0.467", "X": "MARKET", "m": True, **changed}


def binance_order(event: dict | None = None, **changed) -> dict:
    order = {"s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "0.190", "p": "82338.30", "ap": "82651.90"}
    order |= {"X": "FILLED", "l": "0.155", "z": "0.180", "T": 1791565602120, **changed}
    return {"e": "forceOrder", "E": 1791565603055, "o": order, **(event or {})}


def binance_depth(**changed) -> dict:
    row = {"e": "depthUpdate", "E": 1573948821952, "T": 1573948821948, "s": "BTCUSDT"}
    ids = {"U": 687687944, "u": 687687946, "pu": 687687943}
    return {**row, **ids, "b": [["8493.78", "0.162"]], "a": [["8494.00", "0"]], **changed}


def ns(ms: int) -> int:
    return ms * 1_000_000


# -- Trades ------------------------------------------------------------------------------------------------------------


def test_bybit_trades_of_one_frame_keep_their_order_and_the_side_of_the_taker():
    events = decode(BYBIT, bybit_trades(bybit_trade(), bybit_trade(S="Sell", p="16578.00", i="b", T=1672304486866)))
    shared = {"venue": "bybit", "symbol": "BTCUSDT", "known_at_ns": RECEIVED_NS, "size_base": 0.001}
    first = Trade(**shared, event_ns=ns(1672304486865), price=16578.5, taker_buys=True, trade_id="a", place=0)
    second = Trade(**shared, event_ns=ns(1672304486866), price=16578.0, taker_buys=False, trade_id="b", place=1)
    assert events == [first, second]


def test_a_bybit_block_trade_is_marked_as_off_the_book():
    book, block = decode(BYBIT, bybit_trades(bybit_trade(), bybit_trade(BT=True)))
    assert (book.quality, block.quality) == (Quality.GOOD, Quality.OFF_BOOK)


def test_okx_counts_trades_in_contracts():
    events = decode(OKX, okx("trades", okx_trade(), okx_trade(side="sell", sz="727", tradeId="130639475")))
    assert [e.size_base for e in events] == [0.12, 7.27]
    assert [e.taker_buys for e in events] == [True, False]
    assert [(str(e.trade_id), e.place) for e in events] == [("130639474", 0), ("130639475", 1)]
    assert {(e.symbol, e.price, e.event_ns) for e in events} == {("BTCUSDT", 42219.9, ns(1630048897897))}


def test_an_okx_trade_of_a_contract_without_a_record_is_refused():
    with pytest.raises(FrameError, match="SOL-USDT-SWAP"):
        decode(
            OKX, {"arg": {"channel": "trades", "instId": "SOL-USDT-SWAP"}, "data": [okx_trade(instId="SOL-USDT-SWAP")]}
        )


def test_a_binance_taker_sells_where_the_buyer_is_the_maker():
    [sold] = decode(BINANCE, binance_trade(m=True))
    [bought] = decode(BINANCE, binance_trade(m=False))
    assert (sold.taker_buys, bought.taker_buys) == (False, True)
    assert (sold.price, sold.size_base, str(sold.trade_id)) == (11343.67, 0.467, "173525189")
    assert sold.event_ns == ns(1596240000519)  # T, not E


@pytest.mark.parametrize("kind", ["INSURANCE_FUND", "ADL", "NA"])
def test_what_binance_moves_outside_the_book_is_no_trade(kind):
    assert decode(BINANCE, binance_trade(X=kind)) == []


def test_a_binance_aggregate_is_one_trade_with_the_aggregates_id():
    row = {"e": "aggTrade", "E": 1626992741575, "a": 16599292, "s": "CTKUSDT", "p": "1.01100", "q": "10"}
    [event] = decode(BINANCE, {**row, "f": 23961322, "l": 23961325, "T": 1626992741421, "m": False})
    assert (str(event.trade_id), event.price, event.size_base, event.taker_buys) == ("16599292", 1.011, 10.0, True)


# -- Books and quotes --------------------------------------------------------------------------------------------------


def bybit_book(kind: str, depth: int = 50, **changed) -> dict:
    data = {"s": "BTCUSDT", "b": [["30247.20", "30.028"], ["30245.40", "0"]], "a": [["30248.70", "0.5"]]}
    data |= {"u": 177400507, "seq": 66544703342}
    frame = {"topic": f"orderbook.{depth}.BTCUSDT", "type": kind, "ts": 1687940967466, "data": data}
    return {**frame, "cts": 1687940967464, **changed}


def test_a_bybit_book_says_all_levels_or_the_changed_ones():
    [whole] = decode(BYBIT, bybit_book("snapshot"))
    [changed] = decode(BYBIT, bybit_book("delta"))
    shared = {"venue": "bybit", "symbol": "BTCUSDT", "event_ns": ns(1687940967464), "known_at_ns": RECEIVED_NS}
    levels = {"bids": [(30247.2, 30.028), (30245.4, 0.0)], "asks": [(30248.7, 0.5)]}
    assert whole == BookUpdate(**shared, **levels, is_snapshot=True, last_id=177400507, depth=50)
    assert changed == BookUpdate(**shared, **levels, is_snapshot=False, last_id=177400507, depth=50)


def test_a_bybit_book_without_the_engines_time_has_the_time_it_was_pushed():
    frame = bybit_book("delta")
    del frame["cts"]
    [event] = decode(BYBIT, frame)
    assert event.event_ns == ns(1687940967466)


def test_bybits_book_of_depth_one_is_a_quote():
    frame = bybit_book("snapshot", depth=1)
    frame["data"] |= {"b": [["28552.00", "0.047"]], "a": [["28552.10", "25.433"]]}
    shared = {"venue": "bybit", "symbol": "BTCUSDT", "event_ns": ns(1687940967464), "known_at_ns": RECEIVED_NS}
    assert decode(BYBIT, frame) == [
        Quote(**shared, bid=28552.0, bid_size_base=0.047, ask=28552.1, ask_size_base=25.433)
    ]


def test_a_side_that_is_missing_from_the_best_quote_is_nan():
    frame = bybit_book("snapshot", depth=1)
    frame["data"] |= {"b": [], "a": [["28552.10", "25.433"]]}
    [quote] = decode(BYBIT, frame)
    assert math.isnan(quote.bid)
    assert math.isnan(quote.bid_size_base)
    assert (quote.ask, quote.ask_size_base) == (28552.1, 25.433)


OKX_BOOK = {
    "asks": [["8476.98", "415", "0", "13"], ["8477", "0", "0", "0"]],
    "bids": [["8476.97", "256", "0", "12"]],
    "ts": "1597026383085",
    "checksum": 0,
    "prevSeqId": 123455,
    "seqId": 123456,
}


def test_an_okx_book_counts_contracts_and_numbers_its_updates():
    [whole] = decode(OKX, okx("books", {**OKX_BOOK, "prevSeqId": -1}, action="snapshot"))
    [changed] = decode(OKX, okx("books", OKX_BOOK, action="update"))
    shared = {"venue": "okx", "symbol": "BTCUSDT", "event_ns": ns(1597026383085), "known_at_ns": RECEIVED_NS}
    levels = {"bids": [(8476.97, 2.56)], "asks": [(8476.98, 4.15), (8477.0, 0.0)]}
    assert whole == BookUpdate(**shared, **levels, is_snapshot=True, last_id=123456, previous_id=-1, depth=400)
    assert changed == BookUpdate(**shared, **levels, is_snapshot=False, last_id=123456, previous_id=123455, depth=400)


def test_okxs_keep_alive_of_a_quiet_book_is_an_update_of_nothing():
    row = {"asks": [], "bids": [], "ts": "1597026383085", "checksum": 0, "prevSeqId": 123456, "seqId": 123456}
    [event] = decode(OKX, okx("books", row, action="update"))
    assert (event.bids, event.asks, event.last_id, event.previous_id) == ([], [], 123456, 123456)


def test_okxs_best_bid_and_offer_is_a_quote_in_coins():
    row = {"asks": [["38632.4", "727", "0", "22"]], "bids": [["38632.3", "990", "0", "22"]], "ts": "1651761120004"}
    [quote] = decode(OKX, okx("bbo-tbt", {**row, "seqId": 363996337}))
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.bid_size_base, quote.ask, quote.ask_size_base) == (38632.3, 9.9, 38632.4, 7.27)


def test_a_binance_depth_update_carries_all_three_numbers_of_its_chain():
    [event] = decode(BINANCE, binance_depth())
    shared = {"venue": "binance", "symbol": "BTCUSDT", "event_ns": ns(1573948821948), "known_at_ns": RECEIVED_NS}
    levels = {"bids": [(8493.78, 0.162)], "asks": [(8494.0, 0.0)]}
    ids = {"first_id": 687687944, "last_id": 687687946, "previous_id": 687687943}
    assert event == BookUpdate(**shared, **levels, **ids, is_snapshot=False)


def test_the_answer_of_binance_to_a_snapshot_request_is_a_whole_book_of_the_symbol_that_was_asked_for():
    body = {"lastUpdateId": 1027024, "E": 1589436922972, "T": 1589436922959, "bids": [["4.0", "431"]], "asks": []}
    [event] = decode(BINANCE, body, "/fapi/v1/depth?symbol=DOTUSDT&limit=1000")
    assert (event.symbol, event.is_snapshot, event.last_id) == ("DOTUSDT", True, 1027024)
    assert (event.bids, event.asks, event.event_ns) == ([(4.0, 431.0)], [], ns(1589436922959))


def test_binances_book_ticker_is_a_quote():
    row = {"e": "bookTicker", "u": 400900217, "E": 1568014460893, "T": 1568014460891, "s": "BNBUSDT"}
    [quote] = decode(BINANCE, {**row, "b": "25.35190000", "B": "31.21", "a": "25.36520000", "A": "40.66"})
    assert (quote.bid, quote.bid_size_base, quote.ask, quote.ask_size_base) == (25.3519, 31.21, 25.3652, 40.66)
    assert (quote.symbol, quote.event_ns) == ("BNBUSDT", ns(1568014460891))


# -- Liquidations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "frame", "side"),
    [
        (BYBIT, bybit_liquidations(bybit_liquidation(S="Buy")), 0),  # the side of the position: a long
        (BYBIT, bybit_liquidations(bybit_liquidation(S="Sell")), 1),
        (OKX, okx_liquidations(okx_liquidation(side="sell")), 0),  # the side of the order: a long is sold
        (OKX, okx_liquidations(okx_liquidation(side="buy")), 1),
        (OKX, okx_liquidations(okx_liquidation(side="buy", posSide="short")), 1),
        (BINANCE, binance_order(S="SELL"), 0),  # the side of the order
        (BINANCE, binance_order(S="BUY"), 1),
    ],
)
def test_side_zero_is_a_long_that_was_liquidated_whatever_the_venue_calls_it(adapter, frame, side):
    [event] = decode(adapter, frame)
    assert (type(event), event.side) == (Liquidation, side)


def test_three_bybit_liquidations_in_one_frame_are_all_kept_in_order_even_equal_ones():
    rows = bybit_liquidation(), bybit_liquidation(), bybit_liquidation(S="Buy", v="10", p="0.045")
    events = decode(BYBIT, bybit_liquidations(*rows))
    assert [(e.place, e.side, e.size_base, e.price) for e in events] == [
        (0, 1, 20000.0, 0.04499),
        (1, 1, 20000.0, 0.04499),
        (2, 0, 10.0, 0.045),
    ]
    assert {(e.symbol, e.event_ns, e.quality) for e in events} == {("ROSEUSDT", ns(1791091285156), Quality.GOOD)}
    assert events[0].usd == 20000.0 * 0.04499


def test_bybit_liquidations_before_the_feed_was_complete_are_sampled():
    last, first = (bybit_liquidation(T=ms) for ms in (1740527999999, 1740528000000))  # 2025-02-26 00:00 UTC
    assert [e.quality for e in decode(BYBIT, bybit_liquidations(last, first))] == [Quality.SAMPLED, Quality.GOOD]


def test_both_details_of_an_okx_liquidation_are_kept():
    events = decode(OKX, okx_liquidations(okx_liquidation(), okx_liquidation(side="buy", sz="7", bkPx="82656")))
    assert [(e.place, e.side, e.size_base, e.price) for e in events] == [(0, 0, 8.5, 82655.7), (1, 1, 0.07, 82656.0)]
    assert [e.usd for e in events] == [8.5 * 82655.7, 0.07 * 82656.0]
    assert {e.quality for e in events} == {Quality.UNDERCOUNTED}


def test_okx_liquidations_of_two_contracts_in_one_frame_are_numbered_through():
    frame = okx_liquidations(okx_liquidation(), okx_liquidation())
    frame["data"] += okx_liquidations(okx_liquidation(), native="DOT-USDT-SWAP")["data"]
    events = decode(OKX, frame)
    assert [(e.symbol, e.place) for e in events] == [("BTCUSDT", 0), ("BTCUSDT", 1), ("DOTUSDT", 2)]


def test_an_okx_liquidation_of_a_contract_without_a_record_has_a_price_and_no_size():
    [event] = decode(OKX, okx_liquidations(okx_liquidation(), native="MINA-USDT-SWAP"))
    assert (event.symbol, event.side, event.price) == ("MINAUSDT", 0, 82655.7)
    assert math.isnan(event.size_base)
    assert math.isnan(event.usd)


def test_a_contract_named_in_chinese_does_not_take_the_liquidations_of_others_with_it():
    # Both feeds bring all contracts; Binance has had such since 2025: ccxt #27182, binance-connector-rust #106.
    frame = okx_liquidations(okx_liquidation(), native="币安人生-USDT-SWAP")
    frame["data"] += okx_liquidations(okx_liquidation())["data"]
    assert "BTCUSDT" in [event.symbol for event in decode(OKX, json.dumps(frame, ensure_ascii=False).encode())]
    decode(BINANCE, json.dumps(binance_order(s="我踏马来了USDT"), ensure_ascii=False).encode())


def test_a_binance_liquidation_is_what_was_filled_at_the_average_price():
    [event] = decode(BINANCE, binance_order())
    assert (event.size_base, event.price) == (0.18, 82651.9)  # z and ap, not q and p
    assert event.usd == 0.18 * 82651.9
    assert (event.symbol, event.event_ns, event.quality) == ("BTCUSDT", ns(1791565602120), Quality.SAMPLED)


def test_a_binance_liquidation_without_an_average_has_the_price_of_its_order_and_one_without_a_fill_is_none():
    [event] = decode(BINANCE, binance_order(ap="0"))
    assert (event.price, event.usd) == (82338.3, 0.18 * 82338.3)
    assert decode(BINANCE, binance_order(z="0", ap="0", X="NEW")) == []


def test_a_binance_liquidation_of_a_coin_margined_contract_says_nothing():
    assert decode(BINANCE, binance_order(st=2)) == []
    assert len(decode(BINANCE, binance_order(st=1, ps="BTCUSDT"))) == 1


# -- Open interest, funding, prices ------------------------------------------------------------------------------------


def test_bybits_open_interest_is_the_single_one_and_half_of_both_sides_otherwise():
    [old] = decode(BYBIT, bybit_ticker(openInterest="59891.732"))
    [new] = decode(BYBIT, bybit_ticker(openInterest="59891.732", singleOpenInterest="29945.866"))
    [uneven] = decode(BYBIT, bybit_ticker(openInterest="6738053.9", singleOpenInterest="3369027"))  # Bybit rounds
    [alone] = decode(BYBIT, bybit_ticker(singleOpenInterest="7.5"))
    assert [e.open_interest_base for e in (old, new, uneven, alone)] == [29945.866, 29945.866, 3369027.0, 7.5]
    shared = {"venue": "bybit", "symbol": "BTCUSDT", "event_ns": ns(1786310817583), "known_at_ns": RECEIVED_NS}
    assert old == OpenInterest(**shared, open_interest_base=29945.866)


def test_okxs_open_interest_is_given_in_coins():
    row = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "oi": "2216113.01", "oiCcy": "22161.1301", "oiUsd": "1.9e9"}
    [event] = decode(OKX, okx("open-interest", {**row, "ts": "1743041250440"}))
    assert (event.open_interest_base, event.event_ns, event.symbol) == (22161.1301, ns(1743041250440), "BTCUSDT")


def test_okxs_open_interest_without_coins_is_counted_in_contracts():
    row = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "oi": "727", "oiCcy": "", "ts": "1743041250440"}
    [event] = decode(OKX, okx("open-interest", row))
    assert event.open_interest_base == 7.27


def test_binances_open_interest_is_an_answer():
    body = {"openInterest": "10659.509", "symbol": "BTCUSDT", "time": 1589437530011}
    [event] = decode(BINANCE, body, "/fapi/v1/openInterest?symbol=BTCUSDT")
    assert (event.open_interest_base, event.event_ns) == (10659.509, ns(1589437530011))


def test_a_bybit_ticker_says_only_what_changed():
    assert decode(BYBIT, bybit_ticker(bid1Price="65114.20", bid1Size="6.054")) == []
    [mark] = decode(BYBIT, bybit_ticker(markPrice="65117.44"))
    assert (type(mark), mark.of, mark.price) == (Price, "mark", 65117.44)
    events = decode(BYBIT, bybit_ticker("snapshot", lastPrice="1", markPrice="2", indexPrice="3"))
    assert [(e.of, e.price) for e in events] == [("last", 1.0), ("mark", 2.0), ("index", 3.0)]


def test_a_bybit_ticker_forecasts_the_funding():
    fields = {"fundingRate": "-0.000125", "nextFundingTime": "1786320000000", "fundingIntervalHour": "8"}
    [event] = decode(BYBIT, bybit_ticker("snapshot", **fields))
    assert (event.funding_rate, event.settles_ns, event.interval_hours) == (-0.000125, ns(1786320000000), 8.0)
    [changed] = decode(BYBIT, bybit_ticker(fundingRate="0.0001"))
    assert (changed.funding_rate, changed.settles_ns) == (0.0001, 0)
    assert math.isnan(changed.interval_hours)


def test_fields_that_bybit_leaves_empty_are_not_said():
    # a dated contract has no funding: bybit-exchange/docs, ticker.mdx
    fields = {"fundingRate": "", "nextFundingTime": "", "preOpenPrice": "", "markPrice": "29023.60"}
    [event] = decode(BYBIT, bybit_ticker("snapshot", **fields))
    assert (event.of, event.price) == ("mark", 29023.6)


def test_an_okx_funding_rate_is_a_forecast_with_the_rate_settled_before():
    row = {"fundingRate": "0.0000182", "fundingTime": "1743609600000", "instId": "BTC-USDT-SWAP", "instType": "SWAP"}
    row |= {"method": "current_period", "nextFundingRate": "", "nextFundingTime": "1743638400000"}
    row |= {"settFundingRate": "-0.0000145", "settState": "settled", "ts": "1743588686291"}
    [event] = decode(OKX, okx("funding-rate", row))
    assert isinstance(event, FundingForecast)
    assert (event.funding_rate, event.settled_rate, event.settles_ns) == (0.0000182, -0.0000145, ns(1743609600000))
    assert (event.interval_hours, event.event_ns) == (8.0, ns(1743588686291))
    assert math.isnan(event.following_rate)


def test_okxs_mark_and_index_prices():
    mark = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "markPx": "42310.6", "ts": "1630049139746"}
    index = {"instId": "BTC-USDT", "idxPx": "42309.1", "high24h": "43000", "ts": "1597026383085"}
    index_frame = {"arg": {"channel": "index-tickers", "instId": "BTC-USDT"}, "data": [index]}
    [first], [second] = decode(OKX, okx("mark-price", mark)), decode(OKX, index_frame)
    assert (first.of, first.price, first.symbol, first.event_ns) == ("mark", 42310.6, "BTCUSDT", ns(1630049139746))
    assert (second.of, second.price, second.symbol, second.event_ns) == ("index", 42309.1, "BTCUSDT", ns(1597026383085))


MARK = {"e": "markPriceUpdate", "E": 1562305380000, "s": "BTCUSDT", "p": "11794.15", "i": "11784.62659091"}
MARK |= {"P": "11784.25641265", "r": "-0.00038167", "T": 1562306400000}


def test_a_binance_mark_price_brings_index_and_funding():
    mark, index, funding = decode(BINANCE, MARK)
    assert [(mark.of, mark.price), (index.of, index.price)] == [("mark", 11794.15), ("index", 11784.62659091)]
    assert (funding.funding_rate, funding.settles_ns) == (-0.00038167, ns(1562306400000))
    assert {e.event_ns for e in (mark, index, funding)} == {ns(1562305380000)}


def test_a_dated_binance_contract_has_no_funding():
    events = decode(BINANCE, {**MARK, "s": "BTCUSDT_210326", "r": "", "T": 0})
    assert [event.of for event in events] == ["mark", "index"]


SETTLED = [
    (
        BYBIT,
        "/v5/market/funding/history?category=linear&limit=10&symbol=ETHUSDT",
        {
            "retCode": 0,
            "retMsg": "OK",
            "result": {
                "category": "linear",
                "list": [{"symbol": "ETHUSDT", "fundingRate": "-0.00025", "fundingRateTimestamp": "1672041600000"}],
            },
            "retExtInfo": {},
            "time": 1672051897447,
        },
        ("ETHUSDT", 1672041600000, -0.00025),
    ),
    (
        OKX,
        "/api/v5/public/funding-rate-history?limit=10&instId=BTC-USDT-SWAP",
        {
            "code": "0",
            "msg": "",
            "data": [
                {
                    "formulaType": "noRate",
                    "fundingRate": "0.0000746604960499",
                    "fundingTime": "1703059200000",
                    "instId": "BTC-USDT-SWAP",
                    "instType": "SWAP",
                    "method": "next_period",
                    "realizedRate": "0.0000746572360545",
                }
            ],
        },
        ("BTCUSDT", 1703059200000, 0.0000746572360545),
    ),
    (
        BINANCE,
        "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=10",
        [{"symbol": "BTCUSDT", "fundingRate": "-0.0375", "fundingTime": 1570608000000, "markPrice": "34287.54619963"}],
        ("BTCUSDT", 1570608000000, -0.0375),
    ),
]


@pytest.mark.parametrize(("adapter", "request_", "body", "settled"), SETTLED, ids=["bybit", "okx", "binance"])
def test_settled_funding_comes_on_request(adapter, request_, body, settled):
    [event] = decode(adapter, body, request_)
    assert isinstance(event, Funding)
    assert (event.symbol, event.event_ns // 1_000_000, event.funding_rate) == settled
    assert event.known_at_ns == RECEIVED_NS


def test_okxs_history_of_open_interest_is_in_coins():
    body = {"code": "0", "msg": "", "data": [["1701417600000", "731377.57", "7313.7757", "8888888"]]}
    request = "/api/v5/rubik/stat/contracts/open-interest-history?period=5m&instId=BTC-USDT-SWAP"
    [event] = decode(OKX, body, request)
    assert (event.symbol, event.event_ns, event.open_interest_base) == ("BTCUSDT", ns(1701417600000), 7313.7757)


# -- What says nothing, and what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "frame"),
    [
        (BYBIT, {"success": True, "ret_msg": "pong", "conn_id": "0970e817", "req_id": "", "op": "ping"}),
        (BYBIT, {"success": True, "ret_msg": "", "conn_id": "d8bu1olk", "req_id": "", "op": "subscribe"}),
        (BYBIT, {"success": True, "ret_msg": "subscribe", "conn_id": "2324d924", "op": "subscribe"}),
        (BYBIT, {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": 1672324988882, "data": [{"start": 1}]}),
        (BYBIT, {"topic": "adlAlert.USDT", "type": "snapshot", "ts": 1757733960000, "data": [{"c": "USDT"}]}),
        (BYBIT, {"topic": "priceLimit.BTCUSDT", "ts": 1750059683782, "data": {"symbol": "BTCUSDT"}}),
        (OKX, b"pong"),
        (OKX, {"event": "subscribe", "arg": {"channel": "trades", "instId": "BTC-USDT-SWAP"}, "connId": "a4d3ae55"}),
        (OKX, {"event": "channel-conn-count", "channel": "orders", "connCount": "2", "connId": "abcd1234"}),
        (OKX, {"event": "unsubscribe", "arg": {"channel": "trades", "instId": "BTC-USDT"}, "connId": "d0b44253"}),
        (OKX, {"arg": {"channel": "price-limit", "instId": "BTC-USDT-SWAP"}, "data": [{"buyLmt": "300"}]}),
        (OKX, {"arg": {"channel": "adl-warning", "instType": "SWAP"}, "data": [{"state": "normal"}]}),
        (BINANCE, {"result": None, "id": 1}),
        (BINANCE, {"e": "kline", "E": 1638747660000, "s": "BTCUSDT", "k": {"t": 1638747660000, "o": "0.0010"}}),
        (BINANCE, {"stream": "!contractInfo", "data": {"e": "contractInfo", "E": 1669356423908, "s": "IOTAUSDT"}}),
    ],
)
def test_acknowledgements_pongs_and_unknown_channels_say_nothing(adapter, frame):
    assert decode(adapter, frame) == []


def test_okxs_notice_of_an_upgrade_is_no_error():
    frame = {"event": "notice", "code": "64008", "msg": "The connection will soon be closed.", "connId": "a4d3ae55"}
    assert decode(OKX, frame) == []


@pytest.mark.parametrize(
    ("adapter", "frame", "request_"),
    [
        (
            BYBIT,
            {"success": False, "ret_msg": "error:handler not found,topic:x", "conn_id": "1", "op": "subscribe"},
            "",
        ),
        (BYBIT, {"retCode": 10001, "retMsg": "params error", "result": {}, "time": 1}, "/v5/market/funding/history"),
        (OKX, {"event": "error", "code": "60012", "msg": "Invalid request", "connId": "a4d3ae55"}, ""),
        (
            OKX,
            {"code": "51001", "msg": "Instrument ID does not exist", "data": []},
            "/api/v5/public/funding-rate-history",
        ),
        (BINANCE, {"code": 2, "msg": "Invalid request: unknown variant"}, ""),
        (BINANCE, {"error": {"code": 2, "msg": "Invalid request"}, "id": 1}, ""),
        (BINANCE, {"code": -1121, "msg": "Invalid symbol."}, "/fapi/v1/openInterest?symbol=X"),
        (BINANCE, {"code": -1003, "msg": "Too many requests"}, "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=10"),
        (BINANCE, {"code": -1121, "msg": "Invalid symbol."}, "/fapi/v1/depth?symbol=X&limit=1000"),
    ],
)
def test_where_the_venue_says_no_that_is_an_error_of_its_own(adapter, frame, request_):
    with pytest.raises(VenueRefused, match=adapter.name):
        decode(adapter, frame, request_)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b" ",
        b"{",
        b"[]x",
        b"null",
        b"1",
        b'"topic"',
        b"\xff\xfe",
        b"<html>502 Bad Gateway</html>",
        b'{"topic":"publicTrade.BTCUSDT"',
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b'{"data":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
@pytest.mark.parametrize("name", ["bybit", "okx", "binance"])
@pytest.mark.parametrize("request_", ["", "/fapi/v1/depth?symbol=BTCUSDT", "/fapi/v1/fundingRate?symbol=BTCUSDT"])
def test_what_is_no_frame_at_all_raises_nothing_but_a_frame_error(name, frame, request_):
    events = []
    with contextlib.suppress(FrameError):
        events = decode(ADAPTERS[name], frame, request_)
    assert events == []


BAD = ["", None, "nan", "NaN", "-1", "inf", "1e400", "x", [], {}, True]


def bad_values(*more, but=()):
    return [value for value in [*BAD, *more] if value not in but]


@pytest.mark.parametrize("value", bad_values("0", 0, -1))
@pytest.mark.parametrize(
    ("adapter", "frame_with"),
    [
        (BYBIT, lambda x: bybit_trades(bybit_trade(), bybit_trade(p=x))),
        (BYBIT, lambda x: bybit_liquidations(bybit_liquidation(p=x))),
        (OKX, lambda x: okx("trades", okx_trade(px=x))),
        (OKX, lambda x: okx_liquidations(okx_liquidation(bkPx=x))),
        (OKX, lambda x: okx("books", {**OKX_BOOK, "bids": [[x, "1", "0", "1"]]}, action="update")),
        (OKX, lambda x: okx("mark-price", {"instId": "BTC-USDT-SWAP", "markPx": x, "ts": "1630049139746"})),
        (BINANCE, lambda x: binance_trade(p=x)),
        (BINANCE, lambda x: binance_order(p=x)),
        (BINANCE, lambda x: binance_depth(b=[[x, "1"]])),
        (BINANCE, lambda x: {**MARK, "p": x}),
    ],
)
def test_a_price_that_cannot_be_is_refused(adapter, frame_with, value):
    assert decode(adapter, frame_with("82651.9"))
    with pytest.raises(FrameError):
        decode(adapter, frame_with(value))


@pytest.mark.parametrize("value", bad_values(-0.5))
@pytest.mark.parametrize(
    ("adapter", "frame_with"),
    [
        (BYBIT, lambda x: bybit_trades(bybit_trade(v=x))),
        (BYBIT, lambda x: bybit_liquidations(bybit_liquidation(v=x))),
        (BYBIT, lambda x: bybit_book("delta", data={"s": "BTCUSDT", "b": [["1", x]], "a": [], "u": 1, "seq": 1})),
        (OKX, lambda x: okx("trades", okx_trade(sz=x))),
        (OKX, lambda x: okx_liquidations(okx_liquidation(sz=x))),
        (OKX, lambda x: okx("open-interest", {"instId": "BTC-USDT-SWAP", "oi": x, "ts": "1743041250440"})),
        (BINANCE, lambda x: binance_trade(q=x)),
        (BINANCE, lambda x: binance_order(z=x)),
        (BINANCE, lambda x: binance_depth(a=[["1", x]])),
    ],
)
def test_a_size_that_cannot_be_is_refused(adapter, frame_with, value):
    assert decode(adapter, frame_with("8.5"))
    with pytest.raises(FrameError):
        decode(adapter, frame_with(value))


@pytest.mark.parametrize("value", bad_values("0", 0, 1262303999999, 4102444800000, 1672304486.865))
@pytest.mark.parametrize(
    ("adapter", "frame_with"),
    [
        (BYBIT, lambda x: bybit_trades(bybit_trade(T=x))),
        (BYBIT, lambda x: bybit_liquidations(bybit_liquidation(T=x))),
        (BYBIT, lambda x: {**bybit_ticker(markPrice="1"), "ts": x}),
        (OKX, lambda x: okx("trades", okx_trade(ts=x))),
        (OKX, lambda x: okx_liquidations(okx_liquidation(ts=x))),
        (OKX, lambda x: okx("books", {**OKX_BOOK, "ts": x}, action="update")),
        (BINANCE, lambda x: binance_trade(T=x)),
        (BINANCE, lambda x: binance_order(T=x)),
        (BINANCE, lambda x: binance_depth(T=x)),
        (BINANCE, lambda x: {**MARK, "E": x}),
    ],
)
def test_a_time_outside_of_2010_to_2100_is_refused(adapter, frame_with, value):
    assert decode(adapter, frame_with(1672304486865))
    with pytest.raises(FrameError):
        decode(adapter, frame_with(value))


@pytest.mark.parametrize("value", ["", None, "none", "BUY ", 1, True, [], "Long"])
@pytest.mark.parametrize(
    ("adapter", "frame_with"),
    [
        (BYBIT, lambda x: bybit_trades(bybit_trade(S=x))),
        (BYBIT, lambda x: bybit_liquidations(bybit_liquidation(S=x))),
        (OKX, lambda x: okx("trades", okx_trade(side=x))),
        (OKX, lambda x: okx_liquidations(okx_liquidation(side=x))),
        (BINANCE, lambda x: binance_order(S=x)),
    ],
)
def test_a_side_that_no_document_knows_is_refused(adapter, frame_with, value):
    with pytest.raises(FrameError):
        decode(adapter, frame_with(value))


NEEDED = [
    (BYBIT, bybit_trades(bybit_trade()), ("T", "s", "S", "v", "p")),
    (BYBIT, bybit_liquidations(bybit_liquidation()), ("T", "s", "S", "v", "p")),
    (BYBIT, bybit_book("delta"), ("type", "ts", "data", "s", "b", "a", "u")),
    (OKX, okx("trades", okx_trade()), ("instId", "px", "sz", "side", "ts", "data")),
    (OKX, okx_liquidations(okx_liquidation()), ("instId", "details", "bkPx", "sz", "side", "ts")),
    (OKX, okx("books", OKX_BOOK, action="update"), ("asks", "bids", "ts", "action")),
    (BINANCE, binance_trade(), ("T", "s", "p", "q", "m")),
    (BINANCE, binance_order(), ("o", "s", "S", "ap", "z", "T")),
    (BINANCE, binance_depth(), ("T", "s", "U", "u", "pu", "b", "a")),
]


def without(value, key: str):
    """What JSON holds, less one key wherever it stands."""
    if isinstance(value, dict):
        return {name: without(inner, key) for name, inner in value.items() if name != key}
    return [without(inner, key) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("adapter", "frame", "key"), [(a, f, key) for a, f, keys in NEEDED for key in keys])
def test_a_frame_without_a_field_that_matters_is_refused(adapter, frame, key):
    assert decode(adapter, frame)
    spoilt = without(frame, key)
    if key == "instId" and "arg" in frame:
        spoilt["arg"] = frame["arg"]
    with pytest.raises(FrameError):
        decode(adapter, spoilt)


def test_a_frame_with_one_bad_row_gives_nothing_of_the_others():
    with pytest.raises(FrameError, match="bybit"):
        decode(BYBIT, bybit_trades(bybit_trade(), bybit_trade(v="-1")))
    with pytest.raises(FrameError, match="okx"):
        decode(OKX, okx_liquidations(okx_liquidation(), okx_liquidation(sz="-1")))


def test_an_error_shows_the_venue_and_how_the_frame_begins():
    with pytest.raises(FrameError, match=r"bybit: .*publicTrade"):
        decode(BYBIT, bybit_trades(bybit_trade(p="free")))


# -- Laws --------------------------------------------------------------------------------------------------------------

EVERY_FRAME = [(name, frame, request) for name, goods in LITERAL.items() for frame, request in goods]


def sorted_keys(value):
    if isinstance(value, dict):
        return {name: sorted_keys(value[name]) for name in sorted(value)}
    return [sorted_keys(inner) for inner in value] if isinstance(value, list) else value


def reordered(value):
    if isinstance(value, dict):
        return {name: reordered(inner) for name, inner in reversed(value.items())}
    return [reordered(inner) for inner in value] if isinstance(value, list) else value


def extended(value):
    if isinstance(value, dict):
        return {
            "new0": None,
            **{k: extended(v) for k, v in value.items()},
            "new1": {"a": [1, "x", {}]},
            "new2": "é\n\\",
        }
    return [extended(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("change", [reordered, sorted_keys, extended])
@pytest.mark.parametrize(("name", "frame", "request_"), EVERY_FRAME)
def test_neither_the_order_of_keys_nor_fields_added_later_change_what_a_frame_says(name, frame, request_, change):
    value = json.loads(frame)
    before = decode(ADAPTERS[name], frame, request_)
    assert repr(decode(ADAPTERS[name], change(value), request_)) == repr(before)
    assert repr(decode(ADAPTERS[name], json.dumps(change(value), indent=2).encode(), request_)) == repr(before)


@pytest.mark.parametrize(("name", "frame", "request_"), EVERY_FRAME)
def test_every_event_is_known_when_its_frame_was_received(name, frame, request_):
    events = ADAPTERS[name].decode(frame, 123, request_)
    assert {(event.venue, event.known_at_ns) for event in events} <= {(name, 123)}


@pytest.mark.parametrize("row", [binance_trade(), binance_order(), binance_depth(), MARK])
def test_a_binance_frame_says_the_same_with_and_without_the_name_of_its_stream(row):
    bare = decode(BINANCE, row)
    assert bare
    assert decode(BINANCE, {"stream": "btcusdt@x", "data": row}) == bare
    assert decode(BINANCE, {"data": row, "stream": "btcusdt@x"}) == bare


@pytest.mark.parametrize(("name", "frame", "request_"), EVERY_FRAME)
def test_blanks_around_a_frame_change_nothing(name, frame, request_):
    before = repr(decode(ADAPTERS[name], frame, request_))
    assert repr(decode(ADAPTERS[name], b"\n " + frame + b" \r\n", request_)) == before


def test_an_okx_forecast_without_an_interval_that_can_be_has_none():
    row = {"fundingRate": "0.0001", "fundingTime": "1743609600000", "nextFundingTime": "1743609600000"}
    [event] = decode(OKX, okx("funding-rate", {**row, "instId": "BTC-USDT-SWAP", "ts": "1743588686291"}))
    assert math.isnan(event.interval_hours)


def test_an_okx_forecast_is_read_whatever_state_of_the_last_settlement_is_left_empty():
    row = {"fundingRate": "0.0001", "fundingTime": "1743609600000", "nextFundingRate": "", "settFundingRate": ""}
    [event] = decode(OKX, okx("funding-rate", {**row, "settState": "", "instId": "BTC-USDT-SWAP"}))
    assert (event.funding_rate, event.event_ns) == (0.0001, RECEIVED_NS)


def test_a_binance_funding_time_before_2010_is_refused():
    with pytest.raises(FrameError):
        decode(BINANCE, {**MARK, "T": 1})


def test_the_retired_bybit_liquidation_is_of_the_contract_of_its_topic_and_not_without_its_data():
    data = {"updatedTime": 1707756331467, "symbol": "BTCUSDT", "side": "Buy", "size": "1.496", "price": "49306.30"}
    frame = {"topic": "liquidation.BTCUSDT", "type": "snapshot", "ts": 1707756333999}
    [event] = decode(BYBIT, {**frame, "data": data})
    assert (event.side, event.size_base, event.price, event.quality) == (0, 1.496, 49306.3, Quality.SAMPLED)
    with pytest.raises(FrameError):
        decode(BYBIT, frame)
    with pytest.raises(FrameError):
        decode(BYBIT, {**frame, "data": {**data, "symbol": "ETHUSDT"}})


# -- What to say to the venues -----------------------------------------------------------------------------------------

SYMBOLS = [f"COIN{k}USDT" for k in range(600)]


def test_bybits_subscriptions_keep_to_21000_characters_a_connection_and_leave_nothing_out():
    wanted = []
    for connection in BYBIT.connections(SYMBOLS):
        assert connection.url == "wss://stream.bybit.com/v5/public/linear"
        assert json.loads(connection.ping) == {"op": "ping"}
        assert connection.ping_seconds <= 20
        said = [json.loads(message) for message in connection.messages]
        assert {message["op"] for message in said} == {"subscribe"}
        args = [arg for message in said for arg in message["args"]]
        assert len(json.dumps(args, separators=(",", ":"))) <= 21_000
        wanted += args
    assert len(wanted) == len(set(wanted)) == 4 * len(SYMBOLS)
    topics = ("publicTrade", "orderbook.200", "tickers", "allLiquidation")
    assert set(wanted) == {f"{topic}.{symbol}" for topic in topics for symbol in SYMBOLS}


def test_okxs_subscriptions_keep_below_30_books_a_connection_and_leave_nothing_out():
    wanted = []
    for connection in OKX.connections(SYMBOLS[:100]):
        assert connection.url == "wss://ws.okx.com:8443/ws/v5/public"
        assert connection.ping == b"ping"
        assert connection.ping_seconds < 30
        args = [arg for message in connection.messages for arg in json.loads(message)["args"]]
        assert sum(arg["channel"].startswith("books") for arg in args) < 30
        wanted += [(arg["channel"], arg.get("instId", arg.get("instType"))) for arg in args]
    for symbol in SYMBOLS[:100]:
        base = symbol.removesuffix("USDT")
        swap = f"{base}-USDT-SWAP"
        for channel in ("trades", "books", "mark-price", "open-interest", "funding-rate"):
            assert wanted.count((channel, swap)) == 1
        assert wanted.count(("index-tickers", f"{base}-USDT")) == 1
    assert wanted.count(("liquidation-orders", "SWAP")) == 1
    assert len(wanted) == 6 * 100 + 1


def test_binances_streams_are_split_by_path_and_at_most_1024_a_connection():
    wanted = []
    for connection in BINANCE.connections(SYMBOLS):
        path, _, streams = connection.url.removeprefix("wss://fstream.binance.com").partition("/stream?streams=")
        names = streams.split("/")
        assert len(names) <= 1024
        for name in names:
            assert path == ("/public" if "@depth" in name or "@bookTicker" in name else "/market"), name
        assert connection.ping is None
        assert connection.lifetime_hours < 24
        wanted += names
    assert wanted.count("!forceOrder@arr") == 1
    for symbol in SYMBOLS:
        for stream in ("aggTrade", "markPrice@1s", "depth@100ms", "bookTicker"):
            assert wanted.count(f"{symbol.lower()}@{stream}") == 1


@pytest.mark.parametrize("name", ["bybit", "okx", "binance"])
def test_no_symbols_are_no_reason_to_fail(name):
    for connection in ADAPTERS[name].connections([]):
        assert connection.url.startswith("wss://")
        for message in connection.messages:
            assert json.loads(message)["args"]
    assert ADAPTERS[name].polls([]) == []


def test_what_each_venue_gives_only_on_request_is_polled():
    bybit, okx_, binance = ([poll.url for poll in adapter.polls(["BTCUSDT"])] for adapter in (BYBIT, OKX, BINANCE))
    assert [url.partition("?")[0] for url in bybit] == ["https://api.bybit.com/v5/market/funding/history"]
    assert "symbol=BTCUSDT" in bybit[0]
    assert "category=linear" in bybit[0]
    assert {url.partition("?")[0] for url in okx_} == {
        "https://www.okx.com/api/v5/rubik/stat/contracts/open-interest-history",
        "https://www.okx.com/api/v5/public/funding-rate-history",
    }
    assert all("instId=BTC-USDT-SWAP" in url for url in okx_)
    assert {url.partition("?")[0] for url in binance} == {
        "https://fapi.binance.com/fapi/v1/openInterest",
        "https://fapi.binance.com/fapi/v1/fundingRate",
    }
    assert all("symbol=BTCUSDT" in url for url in binance)


@pytest.mark.parametrize(("name", "frame", "request_"), [row for row in EVERY_FRAME if row[2]])
def test_every_answer_that_is_polled_for_can_be_read(name, frame, request_):
    adapter = ADAPTERS[name]
    native = {"bybit": "ETHUSDT", "okx": "BTCUSDT", "binance": "BTCUSDT"}[name]
    snapshot = adapter.snapshot_request(native)
    urls = [poll.url for poll in adapter.polls([native])] + ([snapshot] if snapshot else [])
    paths = ["/" + url.split("/", 3)[3] for url in urls]
    [request] = [path for path in paths if path.partition("?")[0] == request_.partition("?")[0]]
    assert decode(adapter, frame, request)


def test_only_binance_is_asked_for_a_book_to_start_from():
    assert BINANCE.snapshot_request("DOTUSDT") == "https://fapi.binance.com/fapi/v1/depth?symbol=DOTUSDT&limit=1000"
    assert (BYBIT.snapshot_request("DOTUSDT"), OKX.snapshot_request("DOTUSDT")) == (None, None)


def test_an_adapter_is_found_by_the_name_of_its_venue():
    assert [venue(name).name for name in ("binance", "bybit", "okx")] == ["binance", "bybit", "okx"]
