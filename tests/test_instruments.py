"""Contracts as dated records, and what the venues answer about them."""

import io
import json
import math
import random
from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.errors import DataError
from squeeze.market import instruments
from squeeze.market.instruments import NAN, Instrument, Instruments, Tier, native, ours
from squeeze.market.venues.binance_metadata import binance_funding_intervals, binance_instruments, binance_tiers
from squeeze.market.venues.bybit_metadata import bybit_instruments, bybit_tiers
from squeeze.market.venues.okx_metadata import okx_instruments, okx_tiers

TIERS = (Tier(300_000.0, 0.0033, 150.0), Tier(2_000_000.0, 0.005, 100.0, 510.0), Tier(math.inf, 0.01, 50.0, 10_510.0))
AT = 1_786_310_817_197_000_000


def record(**fields):
    steps = {"tick_size": 0.1, "lot_size_base": 0.001, "minimum_size_base": 0.001}
    names = {"venue": "bybit", "native": "BTCUSDT", "symbol": "BTCUSDT", "as_of_ns": 100, "source": "test"}
    return Instrument(**{**names, **steps, **fields})


def swap(**fields):
    return record(**{"venue": "okx", "native": "BTC-USDT-SWAP", "contract_value": 0.01, **fields})


def inverse(**fields):
    sizes = {"lot_size_base": NAN, "minimum_size_base": NAN, "contract_value": 100.0, "is_inverse": True}
    return record(**{"venue": "okx", "native": "BTC-USD-SWAP", "symbol": "BTCUSD", **sizes, **fields})


# One contract


def test_contracts_become_base_coins_by_their_value_and_inverse_ones_by_the_price():
    assert record().to_base(0.25) == 0.25
    assert swap().to_base(250.0) == 2.5
    assert swap().to_base(-250.0, 50_000.0) == -2.5
    assert inverse().to_base(250.0, 50_000.0) == 0.5


@pytest.mark.parametrize("price", [NAN, 0.0, -1.0, math.inf])
def test_an_inverse_contract_needs_a_price(price):
    with pytest.raises(ValueError, match="price must be positive for inverse BTC-USD-SWAP, got"):
        inverse().to_base(1.0, price)


def test_a_position_at_a_limit_is_in_the_lower_tier():
    contract = record(tiers=TIERS)
    assert [contract.tier(usd).max_leverage for usd in (0.0, 300_000.0, 300_000.01, 2e6, 2.1e6, 1e12)] == [
        150.0,
        150.0,
        100.0,
        100.0,
        50.0,
        50.0,
    ]


def test_beyond_the_last_limit_the_last_tier_is_the_strictest_that_is_known():
    assert record(tiers=TIERS[:2]).tier(5e6) == TIERS[1]


def test_tiers_in_contracts_ask_for_the_price():
    tiers = (Tier(NAN, 0.004, 100.0, up_to_contracts=1000.0), Tier(NAN, 0.005, 75.0, up_to_contracts=2000.0))
    contract = swap(tiers=tiers)  # 1000 contracts are 10 BTC
    assert contract.tier(500_000.0, 50_000.0).max_leverage == 100.0
    assert contract.tier(500_001.0, 50_000.0).max_leverage == 75.0
    assert inverse(tiers=tiers).tier(100_000.0).max_leverage == 100.0  # 1000 contracts of 100 USD
    assert inverse(tiers=tiers).tier(100_001.0).max_leverage == 75.0
    with pytest.raises(ValueError, match="price must be positive for tiers in contracts, got nan"):
        contract.tier(500_000.0)


@pytest.mark.parametrize("notional", [-1.0, NAN, math.inf])
def test_an_impossible_notional_has_no_tier(notional):
    with pytest.raises(ValueError, match="notional_usd must be finite and not negative"):
        record(tiers=TIERS).tier(notional)


def test_tiers_that_were_not_recorded_are_not_made_up():
    with pytest.raises(ValueError, match="tiers must be recorded, got none of bybit BTCUSDT"):
        record().tier(1.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"venue": " "}, "venue must be a name"),
        ({"native": ""}, "native must be a name"),
        ({"symbol": ""}, "symbol must be a name"),
        ({"source": ""}, "source must be a name"),
        ({"as_of_ns": -1}, "as_of_ns must be nanoseconds since 1970, got -1"),
        ({"as_of_ns": 2**63}, "as_of_ns must be nanoseconds"),
        ({"tick_size": 0.0}, "tick_size must be positive and finite, got 0.0"),
        ({"tick_size": NAN}, "tick_size must be positive and finite, got nan"),
        ({"lot_size_base": -0.1}, "lot_size_base must be positive and finite, got -0.1"),
        ({"lot_size_base": NAN}, "lot_size_base must be positive"),
        ({"minimum_size_base": math.inf}, "minimum_size_base must be positive and finite, got inf"),
        ({"contract_value": 0.0}, "contract_value must be positive"),
        ({"is_inverse": True}, "lot_size_base must be left out of an inverse contract, got 0.001"),
        ({"minimum_notional_usd": -5.0}, "minimum_notional_usd must be finite, not negative"),
        ({"funding_interval_hours": 0.0}, "funding_interval_hours must be positive"),
        ({"taker_fee": 1.0}, "taker_fee must be at least 0 and below 1, got 1.0"),
        ({"taker_fee": -0.0001}, "taker_fee must be at least 0"),
        ({"tiers": TIERS[::-1]}, "bybit BTCUSDT: tier 2: the limit must be above inf, got 2000000.0"),
        ({"tiers": (TIERS[0], TIERS[0])}, "tier 2: the limit must be above 300000.0, got 300000.0"),
        ({"tiers": (TIERS[1], Tier(3e6, 0.004, 50.0))}, "tier 2: maintenance_rate must be at least 0.005, got 0.004"),
        (
            {"tiers": (TIERS[0], Tier(NAN, 0.01, 50.0, 0.0, 10.0))},
            "tier 2: the limit must be in USD as the one below, got cont",
        ),
        (
            {"tiers": (TIERS[0], TIERS[2])},
            r"bybit BTCUSDT: tier 2: deduction_usd must be 2010.00 to go on .*, got 10510.0",
        ),
        ({"tiers": TIERS[1:]}, r"bybit BTCUSDT: tier 1: deduction_usd must be 0.00 to go on from the tier below"),
    ],
)
def test_an_impossible_record_is_refused_with_field_expected_and_got(fields, message):
    with pytest.raises(ValueError, match=message):
        record(**fields)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((NAN, 0.01, 50.0), "one of up_to_usd and up_to_contracts must be given, got nan and nan"),
        ((1e6, 0.01, 50.0, 0.0, 1e6), "one of up_to_usd and up_to_contracts"),
        ((0.0, 0.01, 50.0), "up_to_usd must be positive, got 0.0"),
        ((NAN, 0.01, 50.0, 0.0, -1.0), "up_to_contracts must be positive, got -1.0"),
        ((1e6, 0.0, 50.0), "maintenance_rate must be above 0 and at most 1, got 0.0"),
        ((1e6, 1.01, 50.0), "maintenance_rate must be above 0 and at most 1"),
        ((1e6, 0.01, 0.0), "max_leverage must be positive"),
        ((1e6, 0.01, 50.0, -1.0), "deduction_usd must be finite and not negative, got -1.0"),
        ((1e6, 0.01, 50.0, NAN), "deduction_usd must be finite"),
    ],
)
def test_an_impossible_tier_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Tier(*values)


# Dated records


def test_a_question_is_answered_with_the_newest_record_of_its_time():
    old, new = record(as_of_ns=100, tick_size=0.5), record(as_of_ns=200)
    known = Instruments([new, old])
    assert [known.get("bybit", "BTCUSDT", at) for at in (100, 199, 200, 10**18, None)] == [old, old, new, new, new]
    assert known.get("bybit", "BTCUSDT", 99) == old  # better than nothing, and as_of_ns shows it
    assert known.get("bybit", "ETHUSDT") is None
    assert known.get("okx", "BTCUSDT", 200) is None


def test_a_record_that_says_nothing_new_is_not_kept():
    first = record(as_of_ns=100, taker_fee=float("nan"))
    known = Instruments([first]).with_([record(as_of_ns=200), record(as_of_ns=300, taker_fee=0.00055)])
    assert [r.as_of_ns for r in known] == [100, 300]
    assert [r.as_of_ns for r in known.with_([record(as_of_ns=50)])] == [50, 300]  # it was true earlier still
    assert len(known) == 2


def test_what_changes_and_changes_back_is_kept():
    known = Instruments([record(as_of_ns=1), record(as_of_ns=2, tick_size=0.5), record(as_of_ns=3)])
    assert [(r.as_of_ns, r.tick_size) for r in known] == [(1, 0.1), (2, 0.5), (3, 0.1)]


def test_of_two_records_for_one_moment_the_one_given_last_is_kept():
    known = Instruments([record()]).with_([record(tick_size=0.5)])
    assert [r.tick_size for r in known] == [0.5]


def test_adding_records_leaves_the_collection_as_it_was():
    known = Instruments([record()])
    assert len(known.with_([swap()])) == 2
    assert len(known) == 1


positive = st.floats(1e-9, 1e9)
maybe = st.just(NAN) | st.floats(1e-6, 0.9)


@st.composite
def ladders(draw):
    """Limits and rates that rise, in USD or in contracts."""
    limits = sorted(draw(st.sets(st.floats(1.0, 1e12) | st.just(math.inf), max_size=4)))
    rates = sorted(draw(st.lists(st.floats(1e-4, 1.0), min_size=len(limits), max_size=len(limits))))
    if draw(st.booleans()):
        return [(NAN, rate, 10.0, 0.0, limit) for limit, rate in zip(limits, rates, strict=True)]
    tiers = [Tier(limit, rate, 10.0) for limit, rate in zip(limits, rates, strict=True)]
    usd = continuous(tiers) if tiers and draw(st.booleans()) else [0.0] * len(tiers)
    return [(t.up_to_usd, t.maintenance_rate, 10.0, deduction) for t, deduction in zip(tiers, usd, strict=True)]


drawn_fields = st.fixed_dictionaries(
    {
        "as_of_ns": st.integers(0, 2**63 - 1),
        "tick_size": positive,
        "minimum_notional_usd": maybe,
        "funding_interval_hours": maybe,
        "taker_fee": maybe,
        "tiers": ladders(),
    }
)


@given(st.lists(st.tuples(st.sampled_from([record, swap, inverse]), drawn_fields), max_size=5))
def test_records_survive_a_file(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("records") / "instruments.json"
    known = Instruments([make(**{**f, "tiers": tuple(Tier(*t) for t in f["tiers"])}) for make, f in drawn])
    known.save(path)
    assert [repr(r) for r in Instruments.load(path)] == [repr(r) for r in known]  # repr: NaN is NaN
    json.loads(path.read_text(), parse_constant=pytest.fail)  # no NaN or Infinity in the file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1].pop("tick_size"), r"record 1 \('BTC-USDT-SWAP'\): .*missing required field `tick_size`"),
        (lambda rows: rows[1].pop("lot_size_base"), r"record 1 .*lot_size_base must be positive and finite, got nan"),
        (lambda rows: rows[1].update(tick_size="0.1"), r"record 1 .*Expected `float`, got `str` - at `\$.tick_size`"),
        (lambda rows: rows[1].update(tick_size=None), r"record 1 .*Expected `float`, got `null`"),
        (lambda rows: rows[1].update(tick_size=-1), r"record 1 .*tick_size must be positive and finite, got -1.0"),
        (lambda rows: rows[1].update(fee=1), r"record 1 .*unknown field `fee`"),
        (lambda rows: rows[1].update(tiers={}), r"record 1 .*Expected `array`, got `object`"),
        (lambda rows: rows[1].update(tiers=[7]), r"record 1 .*Expected `object`, got `int`"),
        (lambda rows: rows[1].update(tiers=[{"maintenance_rate": 1, "max_leverage": 1}]), r"record 1 .*must be given"),
        (lambda rows: rows.append(3), r"expected a list of records.*Expected `object`, got `int`"),
        (lambda rows: rows[0].pop("native"), r"record 0 \(None\): .*missing required field `native`"),
    ],
)
def test_a_bad_file_is_refused_with_the_record(tmp_path, change, message):
    path = tmp_path / "instruments.json"
    Instruments([record(), swap()]).save(path)
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=message) as caught:
        Instruments.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{}", b"[", b"\xff", b"[" * 100_000, b"[1e999]", b'[{"a":' + b"[" * 100_000])
def test_a_file_of_something_else_is_refused(tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(DataError, match=r"x.json: "):
        Instruments.load(tmp_path / "x.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none.json: cannot be read: No such file"):
        Instruments.load(tmp_path / "none.json")


# What ships


def continuous(tiers):
    """The deductions that make notional × rate − deduction continuous at every limit (domain.md §3.2)."""
    deductions = [0.0]
    for low, high in pairwise(tiers):
        deductions.append(low.limit * (high.maintenance_rate - low.maintenance_rate) + deductions[-1])
    return deductions


def test_the_shipped_tiers_have_the_deductions_that_their_rates_imply():
    recorded = [r for r in Instruments.shipped() if r.tiers]
    assert {(r.venue, r.native, len(r.tiers)) for r in recorded} == {
        ("bybit", "BTCUSDT", 20),
        ("binance", "BTCUSDT", 12),
        ("binance", "DOTUSDT", 10),
    }
    for r in recorded:
        # The venues' numbers are whole USD; a cent is far above the rounding of the rates' products.
        assert [t.deduction_usd for t in r.tiers] == pytest.approx(continuous(r.tiers), abs=0.01)


def test_the_shipped_records_say_what_is_known_and_no_more():
    known = Instruments.shipped()
    assert known is Instruments.shipped()
    swap_ = known.get("okx", "BTC-USDT-SWAP")
    assert (swap_.contract_value, swap_.lot_size_base, swap_.tick_size) == (0.01, 0.0001, 0.1)
    assert swap_.tiers == ()
    assert math.isnan(swap_.funding_interval_hours)
    assert known.get("okx", "DOT-USDT-SWAP") is None
    assert known.get("binance", "BTCUSDT", 1_700_000_000 * 10**9).tick_size == 0.01  # as recorded in 2021
    assert known.get("binance", "BTCUSDT").tick_size == 0.1
    assert known.get("bybit", "BTCUSDT").tier(2e6).maintenance_rate == 0.005
    assert known.get("bybit", "BTCUSDT").tier(80e6).deduction_usd == 1_482_000
    assert known.get("binance", "BTCUSDT").tier(100e6).deduction_usd == 482_000
    assert known.get("binance", "DOTUSDT").tier(50_000.0).maintenance_rate == 0.01
    assert all(any(tag in r.source for tag in ("[V]", "[S]")) for r in known)
    assert all(ours(r.venue, r.native) == r.symbol and native(r.venue, r.symbol) == r.native for r in known)


# Names


@pytest.mark.parametrize(
    ("venue", "theirs", "mine"),
    [
        ("binance", "BTCUSDT", "BTCUSDT"),
        ("binance", "BTCUSDT_260925", "BTCUSDT_260925"),
        ("bybit", "BTCPERP", "BTCPERP"),
        ("bybit", "BTC-25SEP26", "BTC-25SEP26"),
        ("okx", "BTC-USDT-SWAP", "BTCUSDT"),
        ("okx", "BTC-USD-SWAP", "BTCUSD"),
        ("okx", "USDC-USDT-SWAP", "USDCUSDT"),
        ("okx", "BTC-USD-261030", "BTC-USD-261030"),
        ("okx", "BTC-USD_UM-261030", "BTC-USD_UM-261030"),
        ("okx", "BTC-USD_UM-SWAP", "BTC-USD_UM-SWAP"),
    ],
)
def test_names_go_to_ours_and_back(venue, theirs, mine):
    assert ours(venue, theirs) == mine
    assert native(venue, mine) == theirs


def test_an_index_has_the_symbol_of_its_contract():
    assert ours("okx", "BTC-USDT") == "BTCUSDT"


@pytest.mark.parametrize("symbol", ["USDT", "BTCEUR", "", "BTC-USDT-SWAP", "BTC-USDT", "-USDT"])
def test_a_symbol_that_okx_cannot_have_is_refused(symbol):
    with pytest.raises(DataError, match="okx: "):
        native("okx", symbol)


@pytest.mark.parametrize("name", [ours, native])
def test_an_unknown_venue_is_refused(name):
    with pytest.raises(DataError, match="the venue must be one of binance, bybit, okx, got 'kraken'"):
        name("kraken", "BTCUSDT")


@given(st.from_regex(r"[A-Z0-9]{1,8}", fullmatch=True), st.sampled_from(instruments.QUOTES))
def test_every_okx_perpetual_finds_its_way_back(base, quote):
    theirs = f"{base}-{quote}-SWAP"
    assert native("okx", ours("okx", theirs)) == theirs


# What the venues answer. Shapes: the documentation of each endpoint, and recorded answers where there are any.


def bybit_row(**fields):
    return {
        "symbol": "BTCUSDT",
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "priceFilter": {"minPrice": "0.10", "tickSize": "0.10"},
        "lotSizeFilter": {"minOrderQty": "0.002", "qtyStep": "0.001", "minNotionalValue": "5"},
        "fundingInterval": 240,
        **fields,
    }


def bybit_tier(**fields):
    return {
        "id": 1,
        "symbol": "BTCUSDT",
        "riskLimitValue": "300000",
        "maintenanceMargin": "0.0033",
        "initialMargin": "0.0066",
        "maxLeverage": "150.00",
        "mmDeduction": "",
        **fields,
    }


SECOND = {"riskLimitValue": "2000000", "maintenanceMargin": "0.005", "initialMargin": "0.01", "maxLeverage": "100.00"}
"""With `bybit_tier()` the first two tiers of BTCUSDT as answered on 2026-09-25 (stored copy 68625527606)."""


def bybit(*rows, category="linear"):
    result = {"category": category, "list": list(rows), "nextPageCursor": ""}
    return json.dumps({"retCode": 0, "retMsg": "OK", "result": result, "time": 1}).encode()


def okx_row(**fields):
    return {
        "instId": "BTC-USDT-SWAP",
        "instType": "SWAP",
        "state": "live",
        "tickSz": "0.1",
        "lotSz": "0.01",
        "minSz": "0.02",
        "ctVal": "0.01",
        "ctMult": "1",
        "ctValCcy": "BTC",
        "ctType": "linear",
        "expTime": "",
        **fields,
    }


def okx_tier(**fields):
    row = {"instFamily": "BTC-USDT", "instId": "", "tier": "1", "minSz": "0", "maxSz": "1000", "mmr": "0.004"}
    return {**row, "imr": "0.01", "maxLever": "100", **fields}


def okx(*rows):
    return json.dumps({"code": "0", "msg": "", "data": list(rows)}).encode()


def binance_row(**fields):
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "556.72", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.002"},
        {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.5", "minQty": "0.5"},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
    ]
    return {"symbol": "BTCUSDT", "contractType": "PERPETUAL", "status": "TRADING", "filters": filters, **fields}


def binance(*rows):
    return json.dumps({"serverTime": 1, "symbols": list(rows)}).encode()


def bracket(cap, leverage, rate, number=1, floor=0, **fields):
    return {
        "bracket": number,
        "initialLeverage": leverage,
        "notionalCap": cap,
        "notionalFloor": floor,
        "maintMarginRatio": rate,
        **fields,
    }


def bare(*rows):
    return json.dumps(list(rows)).encode()


def test_bybit_contracts_are_read_and_their_minutes_of_funding_become_hours():
    dated = bybit_row(symbol="BTC-25SEP26", contractType="LinearFutures", fundingInterval=None)
    early = bybit_row(symbol="NEWUSDT", status="PreLaunch", fundingInterval=None)
    (contract,) = bybit_instruments(bybit(dated, bybit_row(), early), AT)
    assert contract == record(
        as_of_ns=AT,
        minimum_size_base=0.002,
        minimum_notional_usd=5.0,
        funding_interval_hours=4.0,
        source="bybit /v5/market/instruments-info",
        taker_fee=contract.taker_fee,
    )
    assert math.isnan(contract.taker_fee)


def test_an_inverse_bybit_contract_is_a_dollar():
    row = bybit_row(symbol="BTCUSD", contractType="InversePerpetual")
    (contract,) = bybit_instruments(bybit(row, category="inverse"), AT)
    assert contract.to_base(100.0, 50_000.0) == 0.002
    assert math.isnan(contract.lot_size_base)


def test_bybit_tiers_take_the_published_deduction_or_work_it_out():
    published = bybit_tiers(bybit(bybit_tier(**SECOND, mmDeduction="510"), bybit_tier()))
    derived = bybit_tiers(bybit(bybit_tier(**SECOND), bybit_tier()))
    assert published == {"BTCUSDT": TIERS[:2]}
    assert [t.deduction_usd for t in derived["BTCUSDT"]] == pytest.approx([0.0, 510.0], abs=1e-6)


def test_bybit_margins_in_percent_are_told_by_the_leverage():
    row = bybit_tier(maintenanceMargin="0.5", initialMargin="1", maxLeverage="100.00")
    assert bybit_tiers(bybit(row))["BTCUSDT"][0].maintenance_rate == 0.005
    row = bybit_tier(maintenanceMargin="0.5", initialMargin="1", maxLeverage="1")
    assert bybit_tiers(bybit(row))["BTCUSDT"][0].maintenance_rate == 0.5
    with pytest.raises(DataError, match=r"initialMargin must be near 1/maxLeverage, or that in percent, got 0.1 at"):
        bybit_tiers(bybit(bybit_tier(initialMargin="0.1", maxLeverage="100")))


def test_okx_lots_in_contracts_become_base_coins():
    future = okx_row(instId="BTC-USDT-261030", instType="FUTURES")
    early = okx_row(instId="NEW-USDT-SWAP", state="preopen", ctVal="", lotSz="")
    (contract,) = okx_instruments(okx(future, early, okx_row()), AT)
    assert (contract.native, contract.symbol, contract.contract_value) == ("BTC-USDT-SWAP", "BTCUSDT", 0.01)
    assert (contract.lot_size_base, contract.minimum_size_base, contract.tick_size) == (0.0001, 0.0002, 0.1)
    (contract,) = okx_instruments(okx(okx_row(ctVal="0.1", ctMult="10", lotSz="0.1", minSz="0.7")), AT)
    assert (contract.contract_value, contract.lot_size_base, contract.minimum_size_base) == (1.0, 0.1, 0.7)


def test_an_inverse_okx_contract_has_its_value_in_quote_currency():
    row = okx_row(instId="BTC-USD-SWAP", ctVal="100", ctValCcy="USD", ctType="inverse")
    (contract,) = okx_instruments(okx(row), AT)
    assert contract.to_base(250.0, 50_000.0) == 0.5
    with pytest.raises(DataError, match=r"BTC-USD-SWAP .row 0.: ctValCcy must be the quote of BTC-USD-SWAP, got 'BTC'"):
        okx_instruments(okx({**row, "ctValCcy": "BTC"}), AT)
    with pytest.raises(DataError, match="ctValCcy must be the base of BTC-USDT-SWAP, got 'USDT'"):
        okx_instruments(okx(okx_row(ctValCcy="USDT")), AT)


def test_okx_tiers_are_in_contracts_of_the_perpetual():
    second = okx_tier(tier="2", minSz="1001", maxSz="2000", mmr="0.005", maxLever="75")
    tiers = okx_tiers(okx(okx_tier(), okx_tier(instFamily="DOT-USDT"), second))
    assert list(tiers) == ["BTC-USDT-SWAP", "DOT-USDT-SWAP"]
    contract = swap(tiers=tiers["BTC-USDT-SWAP"])
    assert contract.tier(500_000.0, 50_000.0).maintenance_rate == 0.004
    assert contract.tier(600_000.0, 50_000.0).maintenance_rate == 0.005


def test_binance_contracts_are_read_by_the_type_of_their_filters():
    dated = binance_row(symbol="BTCUSDT_260925", contractType="CURRENT_QUARTER", filters=[])
    shares = binance_row(symbol="TSLAUSDT", contractType="TRADIFI_PERPETUAL")
    (contract,) = binance_instruments(binance(dated, shares, binance_row()), AT)
    assert (contract.lot_size_base, contract.minimum_size_base, contract.tick_size) == (0.001, 0.002, 0.1)
    assert contract.minimum_notional_usd == 100.0
    assert math.isnan(contract.funding_interval_hours)


def test_a_missing_binance_filter_is_refused_but_the_smallest_notional_may_be_unknown():
    filters = binance_row()["filters"]
    (contract,) = binance_instruments(binance(binance_row(filters=filters[:-1])), AT)
    assert math.isnan(contract.minimum_notional_usd)
    with pytest.raises(DataError, match=r"BTCUSDT .row 0.: PRICE_FILTER.tickSize must be a number, got nothing"):
        binance_instruments(binance(binance_row(filters=filters[1:])), AT)


def test_binance_funding_intervals_are_hours_by_contract():
    rows = {"symbol": "BTCUSDT", "fundingIntervalHours": 8}, {"symbol": "NEWUSDT", "fundingIntervalHours": 4}
    assert binance_funding_intervals(bare(*rows)) == {"BTCUSDT": 8.0, "NEWUSDT": 4.0}


def test_binance_brackets_become_tiers_from_a_list_or_one_object():
    second = bracket(800_000, 100, 0.005, 2, 300_000, cum=300.0)
    brackets = [bracket(300_000, 150, 0.004, cum=0), second, bracket(3e6, 75, 0.0065, 3, 800_000)]
    row = {"symbol": "BTCUSDT", "notionalCoef": 1.5, "brackets": brackets}
    listed = binance_tiers(bare(row))
    assert listed == binance_tiers(json.dumps(row).encode())
    assert [t.deduction_usd for t in listed["BTCUSDT"]] == pytest.approx([0.0, 300.0, 1500.0], abs=1e-6)


BAD_NUMBERS = [
    "",
    "NaN",
    "nan",
    "inf",
    "-0.1",
    "0",
    "1e999",
    "1_0",
    " 1",
    "٣",
    "x",
    None,
    True,
    [],
    {},
    -1,
    0,
    math.inf,
]

NUMBERS = [
    (bybit_instruments, "fundingInterval", lambda v: bybit(bybit_row(fundingInterval=v))),
    (bybit_instruments, "tickSize", lambda v: bybit(bybit_row(priceFilter={"tickSize": v}))),
    (bybit_tiers, "riskLimitValue", lambda v: bybit(bybit_tier(riskLimitValue=v))),
    (bybit_tiers, "maintenanceMargin", lambda v: bybit(bybit_tier(maintenanceMargin=v))),
    (okx_instruments, "ctVal", lambda v: okx(okx_row(ctVal=v))),
    (okx_instruments, "lotSz", lambda v: okx(okx_row(lotSz=v))),
    (okx_tiers, "maxSz", lambda v: okx(okx_tier(maxSz=v))),
    (okx_tiers, "mmr", lambda v: okx(okx_tier(mmr=v))),
    (binance_instruments, "tickSize", lambda v: binance(binance_row(filters=[price_filter(v)]))),
    (binance_funding_intervals, "fundingIntervalHours", lambda v: bare(funding(v))),
    (binance_tiers, "notionalCap", lambda v: bare({"symbol": "B", "brackets": [bracket(v, 150, 0.004)]})),
]


def price_filter(tick):
    return {"filterType": "PRICE_FILTER", "tickSize": tick}


def funding(hours):
    return {"symbol": "BTCUSDT", "fundingIntervalHours": hours}


def ask(read, body):
    takes_time = read in (bybit_instruments, okx_instruments, binance_instruments)
    return read(body, AT) if takes_time else read(body)


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
@pytest.mark.parametrize(("read", "field", "body"), NUMBERS, ids=[f"{r.__name__}-{f}" for r, f, _ in NUMBERS])
def test_a_number_that_cannot_be_is_refused_with_its_field(read, field, body, value):
    with pytest.raises(DataError) as caught:
        ask(read, body(value))
    message = str(caught.value)
    if not (isinstance(value, float) and math.isinf(value)):  # `Infinity` is no JSON: there is no field to name
        assert field in message
    assert message.startswith(read.__name__.split("_")[0] + " /")
    assert "\n" not in message


BODIES = [
    (bybit_instruments, bybit(bybit_row(), bybit_row(symbol="BTC-25SEP26", contractType="LinearFutures"))),
    (bybit_tiers, bybit(bybit_tier(), bybit_tier(**SECOND, mmDeduction="510"))),
    (okx_instruments, okx(okx_row(), okx_row(instId="BTC-USD-SWAP", ctValCcy="USD", ctType="inverse"))),
    (okx_tiers, okx(okx_tier(), okx_tier(tier="2", maxSz="2000", mmr="0.005"))),
    (binance_instruments, binance(binance_row())),
    (binance_funding_intervals, bare(funding(8), {"symbol": "DOTUSDT", "fundingIntervalHours": 4})),
    (binance_tiers, bare({"symbol": "B", "brackets": [bracket(1e4, 75, 0.0065), bracket(5e4, 50, 0.01, 2, 1e4)]})),
]

by_reader = pytest.mark.parametrize(("read", "body"), BODIES, ids=[read.__name__ for read, _ in BODIES])


@by_reader
def test_answers_that_say_nothing_are_refused(read, body):
    deep = b"[" * 100_000
    for nothing in (
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"<html>\n</html>",
        deep,
        b'{"result":' + deep,
        bybit(),
        okx(),
    ):
        with pytest.raises(DataError) as caught:
            ask(read, nothing)
        assert "\n" not in str(caught.value)


@by_reader
def test_an_empty_list_is_refused(read, body):
    empty = {"bybit": bybit(), "okx": okx(), "binance": bare()}[read.__name__.split("_")[0]]
    if read is binance_instruments:
        empty = binance()
    with pytest.raises(DataError, match="expected at least one row, got an empty list"):
        ask(read, empty)


@by_reader
def test_a_refusal_by_the_venue_is_shown(read, body):
    refusals = {
        "bybit": b'{"retCode":10006,"retMsg":"Too many visits","result":{}}',
        "okx": b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}',
        "binance": b'{"code":-1121,"msg":"Invalid symbol."}',
    }
    with pytest.raises(DataError, match=r"Too many visits|does not exist|Invalid symbol|`symbol`"):
        ask(read, refusals[read.__name__.split("_")[0]])


@by_reader
def test_fields_that_venues_add_are_ignored(read, body):
    def grow(value):
        if isinstance(value, dict):
            return {**{k: grow(v) for k, v in value.items()}, "newField": {"a": [1, None]}}
        return [grow(v) for v in value] if isinstance(value, list) else value

    assert repr(ask(read, json.dumps(grow(json.loads(body))).encode())) == repr(ask(read, body))


def test_tiers_that_do_not_rise_are_refused_with_the_contract():
    with pytest.raises(DataError, match=r"bybit /v5/market/risk-limit: BTCUSDT: tier 2: the limit must be above"):
        bybit_tiers(bybit(bybit_tier(), bybit_tier()))
    falling = {**SECOND, "maintenanceMargin": "0.003"}
    with pytest.raises(DataError, match=r"BTCUSDT: tier 2: maintenance_rate must be at least 0.0033, got 0.003"):
        bybit_tiers(bybit(bybit_tier(), bybit_tier(**falling)))
    with pytest.raises(DataError, match="category must be 'linear', got 'inverse'"):
        bybit_tiers(bybit(bybit_tier(), category="inverse"))
    with pytest.raises(DataError, match="brackets must not be empty"):
        binance_tiers(bare({"symbol": "BTCUSDT", "brackets": []}))


THIRD = {"riskLimitValue": "2600000", "maintenanceMargin": "0.0056", "initialMargin": "0.0111", "maxLeverage": "90.00"}


@pytest.mark.parametrize(
    ("read", "body", "message"),
    [
        (
            bybit_tiers,
            bybit(bybit_tier(), bybit_tier(**THIRD, mmDeduction="1710")),
            r"risk-limit: BTCUSDT: tier 2: deduction_usd must be 690.00 .*is one missing.*, got 1710.0",
        ),
        (
            bybit_tiers,
            bybit(bybit_tier(**SECOND, mmDeduction="510"), bybit_tier(**THIRD, mmDeduction="1710")),
            r"risk-limit: BTCUSDT: tier 1: deduction_usd must be 0.00 .*, got 510.0",
        ),
        (
            okx_tiers,
            okx(okx_tier(), okx_tier(tier="3", maxSz="4000", mmr="0.01")),
            r"position-tiers: BTC-USDT-SWAP: tier 2: the venue's number must be 2, got 3",
        ),
        (
            okx_tiers,
            okx(okx_tier(tier="2"), okx_tier(tier="1", maxSz="4000", mmr="0.01")),
            r"BTC-USDT-SWAP: tier 1: the venue's number must be 1, got 2",
        ),
        (
            binance_tiers,
            bare({"symbol": "BTCUSDT", "brackets": [bracket(1e4, 75, 0.0065), bracket(5e4, 50, 0.01, 2, 2e4)]}),
            r"leverageBracket: BTCUSDT: tier 2: must begin at 10000.0, got 20000.0",
        ),
        (
            binance_tiers,
            bare({"symbol": "BTCUSDT", "brackets": [bracket(5e4, 50, 0.01, 2, 1e4)]}),
            r"BTCUSDT: tier 1: the venue's number must be 1, got 2",
        ),
    ],
)
def test_a_table_of_tiers_with_a_hole_or_out_of_order_is_refused_with_the_tier(read, body, message):
    with pytest.raises(DataError, match=message):
        read(body)


def test_a_file_that_lost_a_tier_is_refused(tmp_path):
    Instruments([record(tiers=TIERS)]).save(tmp_path / "known.json")
    rows = json.loads((tmp_path / "known.json").read_text())
    del rows[0]["tiers"][1]
    (tmp_path / "known.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"known.json: record 0 .*bybit BTCUSDT: tier 2: deduction_usd must be 2010.00"):
        Instruments.load(tmp_path / "known.json")


ODD = [
    None,
    True,
    0,
    -1,
    7,
    1.5,
    10**30,
    "",
    "0",
    "-1",
    "nan",
    "1e400",
    "1e-400",
    "1e308",
    "x\ny",
    [],
    {},
    [[]],
    {"a": 1},
]


def mutated(body: bytes, rng: random.Random) -> bytes:
    """A body with one thing wrong: a value replaced, a key gone, a row doubled, or bytes that are not what was sent."""
    kind = rng.randrange(4)
    if kind == 0:
        data = bytearray(body)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    if kind == 1:
        return body[: rng.randrange(len(body))]
    tree = json.loads(body)
    places = []

    def walk(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(tree)
    node, key = rng.choice(places)
    if kind == 2:
        node[key] = rng.choice(ODD)
    elif isinstance(node, dict) or rng.random() < 0.5:
        del node[key]
    else:
        node.append(node[key])
    return json.dumps(tree).encode()


def test_twenty_thousand_damaged_answers_give_records_or_a_data_error():
    rng = random.Random(0)  # noqa: S311
    outcomes, lines = Counter(), set()
    for n in range(20_000):
        read, body = BODIES[n % len(BODIES)]
        damaged = mutated(body, rng)
        try:
            ask(read, damaged)
            outcomes["read"] += 1
        except DataError as error:
            outcomes["refused"] += 1
            lines.update(str(error).splitlines()[1:])
    assert not lines  # a refusal is one line
    assert outcomes["refused"] > 8_000
    assert outcomes["read"] > 1_000


# Recorded answers


def recorded(recordings, capture, path):
    """The first recorded answer of an endpoint, and when it came."""
    import zstandard

    file = recordings / "captures" / capture
    with file.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            entry = json.loads(line)
            if entry["t"] == "http" and path in entry["url"]:
                return entry["data"].encode(), int(entry["ts"] * 1e9)
    pytest.fail(f"no answer of {path} in {file}")


@pytest.mark.real
def test_bybits_recorded_contracts_are_those_that_ship(recordings):
    body, _ = recorded(recordings, "BYBIT.jsonl.zst", "instruments-info?&category=linear")
    contracts = {r.native: r for r in bybit_instruments(body, AT)}
    assert len(contracts) == 760  # of 800, the rest dated futures
    assert {r.funding_interval_hours for r in contracts.values()} <= {1.0, 2.0, 4.0, 8.0}
    shipped = Instruments.shipped()
    for name in ("BTCUSDT", "DOTUSDT"):
        known = shipped.get("bybit", name)
        same = {n: getattr(known, n) for n in ("taker_fee", "tiers", "source")}
        assert msgspec.structs.replace(contracts[name], **same) == known
    known = shipped.get("bybit", "BTCUSDT")
    assert known.tiers[0].max_leverage == 100.0  # the recorded leverageFilter.maxLeverage
    spot, _ = recorded(recordings, "BYBIT.jsonl.zst", "instruments-info?&category=spot")
    with pytest.raises(DataError, match=r"BTCUSDT .row 0.: Object missing required field `contractType`"):
        bybit_instruments(spot, AT)


@pytest.mark.real
def test_binances_recorded_contracts_are_those_that_ship(recordings):
    body, came_ns = recorded(recordings, "BINANCE_FUTURES.jsonl.zst", "exchangeInfo")
    as_of_ns = json.loads(body)["serverTime"] * 1_000_000
    assert as_of_ns < came_ns
    contracts = {r.native: r for r in binance_instruments(body, as_of_ns)}
    assert len(contracts) == 119  # of 122: two dated futures, and one that was not trading yet
    for name in ("BTCUSDT", "DOTUSDT"):
        known = Instruments.shipped().get("binance", name, as_of_ns)
        assert repr(msgspec.structs.replace(contracts[name], source=known.source)) == repr(known)


@pytest.mark.real
def test_every_recorded_contract_survives_a_file(recordings, tmp_path):
    body, came_ns = recorded(recordings, "BYBIT.jsonl.zst", "instruments-info?&category=linear")
    known = Instruments(bybit_instruments(body, came_ns))
    known.save(tmp_path / "bybit.json")
    loaded = Instruments.load(tmp_path / "bybit.json")
    assert [repr(r) for r in loaded] == [repr(r) for r in known]
    assert len(loaded.with_(bybit_instruments(body, came_ns + 1))) == len(known)
