"""What venues say of their contracts: asked for, completed, kept in a file, and used by the verbs that read sizes."""

import json
import math

import pytest

from squeeze.cli import main
from squeeze.errors import ConfigError, DataError
from squeeze.market.feeds import recorder
from squeeze.market.feeds.contracts import fetch_instruments
from squeeze.market.feeds.values import Summary
from squeeze.market.instruments import Instrument, Instruments, Tier
from squeeze.market.lake import Lake
from squeeze.market.raw_log import RawLog
from tests.test_live_feed import rest_server

AT = 1_795_000_000 * 10**9
BYBIT, OKX, BINANCE = "https://api.bybit.com", "https://www.okx.com", "https://fapi.binance.com"

BYBIT_ANSWERS = {
    "/v5/market/instruments-info": """{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[
{"symbol":"DOTUSDT","contractType":"LinearPerpetual","status":"Trading","baseCoin":"DOT","quoteCoin":"USDT","settleCoin":"USDT",
"launchTime":"1610000000000","deliveryTime":"0","deliveryFeeRate":"","priceScale":"4","leverageFilter":{"minLeverage":"1",
"maxLeverage":"75.00","leverageStep":"0.01"},"priceFilter":{"minPrice":"0.0001","maxPrice":"1999.9998",
"tickSize":"0.0001"},"lotSizeFilter":{"maxOrderQty":"50000.0","minOrderQty":"0.1","qtyStep":"0.1",
"postOnlyMaxOrderQty":"50000.0","maxMktOrderQty":"10000.0","minNotionalValue":"5"},"unifiedMarginTrade":true,
"fundingInterval":240,"copyTrading":"both"}],"nextPageCursor":""},"retExtInfo":{},"time":1795000000000}""",
    "/v5/market/risk-limit": """{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[{"id":11,
"symbol":"DOTUSDT","riskLimitValue":"200000","maintenanceMargin":"0.01","initialMargin":"0.0133","isLowestRisk":1,
"maxLeverage":"75.00","mmDeduction":""},{"id":12,"symbol":"DOTUSDT","riskLimitValue":"500000","maintenanceMargin":"0.015",
"initialMargin":"0.02","isLowestRisk":0,"maxLeverage":"50.00","mmDeduction":"1000"}],"nextPageCursor":""},
"retExtInfo":{},"time":1795000000000}""",
}
OKX_ANSWERS = {
    "/api/v5/public/instruments": """{"code":"0","data":[{"alias":"","baseCcy":"","category":"1","ctMult":"1",
"ctType":"linear","ctVal":"1","ctValCcy":"DOT","expTime":"","instFamily":"DOT-USDT","instId":"DOT-USDT-SWAP",
"instType":"SWAP","lever":"50","listTime":"1611916828000","lotSz":"0.1","maxLmtSz":"100000000","minSz":"0.1","optType":"",
"quoteCcy":"","settleCcy":"USDT","state":"live","stk":"","tickSz":"0.001","uly":"DOT-USDT"}],"msg":""}""",
    "/api/v5/public/position-tiers": """{"code":"0","data":[{"baseMaxLoan":"","imr":"0.02","instFamily":"DOT-USDT",
"instId":"","maxLever":"50","maxSz":"25000","minSz":"0","mmr":"0.01","optMgnFactor":"0","quoteMaxLoan":"","tier":"1",
"uly":"DOT-USDT"},{"baseMaxLoan":"","imr":"0.05","instFamily":"DOT-USDT","instId":"","maxLever":"20","maxSz":"50000",
"minSz":"25000.1","mmr":"0.015","optMgnFactor":"0","quoteMaxLoan":"","tier":"2","uly":"DOT-USDT"}],"msg":""}""",
}
BINANCE_ANSWERS = {
    "/fapi/v1/exchangeInfo": """{"exchangeFilters":[],"rateLimits":[],"serverTime":1795000000000,"timezone":"UTC",
"symbols":[{"symbol":"DOTUSDT","pair":"DOTUSDT","contractType":"PERPETUAL","deliveryDate":4133404800000,
"status":"TRADING","baseAsset":"DOT","quoteAsset":"USDT","marginAsset":"USDT","filters":[{"filterType":"PRICE_FILTER",
"maxPrice":"30000","minPrice":"0.001","tickSize":"0.001"},{"filterType":"LOT_SIZE","maxQty":"10000000","minQty":"0.1",
"stepSize":"0.1"},{"filterType":"MIN_NOTIONAL","notional":"5"}]}]}""",
    "/fapi/v1/fundingInfo": """[{"symbol":"DOTUSDT","adjustedFundingRateCap":"0.02","adjustedFundingRateFloor":"-0.02",
"fundingIntervalHours":4,"disclaimer":false}]""",
}
ANSWERS = {"bybit": (BYBIT, BYBIT_ANSWERS), "okx": (OKX, OKX_ANSWERS), "binance": (BINANCE, BINANCE_ANSWERS)}
NOTHING = {
    "bybit": {"/v5/market/instruments-info": '{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[]}}'},
    "okx": {"/api/v5/public/instruments": '{"code":"51001","data":[],"msg":"Instrument ID does not exist"}'},
    "binance": {},
}
every_venue = pytest.mark.parametrize("venue", ANSWERS)


class Venue:
    """What answers in a venue's place, and what it was asked for."""

    def __init__(self, name: str, **instead: str):
        self.root, answers = ANSWERS[name]
        self.answers, self.asked = answers | instead, []

    def get(self, url: str) -> bytes:
        self.asked.append(url)
        assert url.startswith(self.root + "/")
        return self.answers[url.removeprefix(self.root).partition("?")[0]].encode()


def fetched(venue: str, known: Instruments | None = None, at_ns: int = AT, symbol: str = "DOTUSDT") -> Instrument:
    (record,) = fetch_instruments(venue, [symbol], at_ns, Venue(venue).get, known or Instruments())
    return record


def test_bybit_gives_steps_tiers_and_funding_interval():
    asked = Venue("bybit")
    (record,) = fetch_instruments("bybit", ["DOTUSDT"], AT, asked.get, Instruments())
    assert (record.venue, record.native, record.symbol, record.as_of_ns) == ("bybit", "DOTUSDT", "DOTUSDT", AT)
    assert (record.tick_size, record.lot_size_base, record.minimum_size_base) == (0.0001, 0.1, 0.1)
    assert (record.minimum_notional_usd, record.funding_interval_hours) == (5.0, 4.0)
    assert record.tiers == (Tier(200_000.0, 0.01, 75.0), Tier(500_000.0, 0.015, 50.0, 1000.0))
    assert record.source == "bybit /v5/market/instruments-info; tiers: bybit /v5/market/risk-limit"
    assert asked.asked == [
        f"{BYBIT}/v5/market/{path}?category=linear&symbol=DOTUSDT" for path in ("instruments-info", "risk-limit")
    ]


def test_okx_gives_contract_value_and_tiers_in_contracts():
    asked = Venue("okx")
    (record,) = fetch_instruments("okx", ["DOTUSDT"], AT, asked.get, Instruments())
    assert (record.native, record.symbol, record.contract_value) == ("DOT-USDT-SWAP", "DOTUSDT", 1.0)
    assert (record.tick_size, record.minimum_size_base) == (0.001, 0.1)
    assert record.tier(100_000.0, price=4.0).max_leverage == 50.0
    assert record.tier(100_004.0, price=4.0).max_leverage == 20.0
    assert asked.asked == [
        f"{OKX}/api/v5/public/instruments?instType=SWAP&instId=DOT-USDT-SWAP",
        f"{OKX}/api/v5/public/position-tiers?instType=SWAP&tdMode=isolated&instFamily=DOT-USDT",
    ]


def test_binance_gives_steps_and_intervals_and_is_asked_once_for_all_symbols():
    row = json.loads(BINANCE_ANSWERS["/fapi/v1/exchangeInfo"])["symbols"][0]
    both = json.dumps({"symbols": [row, row | {"symbol": "BTCUSDT"}]})
    asked = Venue("binance", **{"/fapi/v1/exchangeInfo": both})
    dot, btc = fetch_instruments("binance", ["DOTUSDT", "BTCUSDT"], AT, asked.get, Instruments())
    assert (dot.symbol, dot.tick_size, dot.minimum_notional_usd, dot.funding_interval_hours) == ("DOTUSDT", 0.001, 5, 4)
    assert dot.source == "binance /fapi/v1/exchangeInfo; funding_interval_hours: binance /fapi/v1/fundingInfo"
    assert math.isnan(btc.funding_interval_hours), "it is not always 8"
    assert (btc.tiers, btc.source) == ((), "binance /fapi/v1/exchangeInfo")
    assert asked.asked == [f"{BINANCE}/fapi/v1/exchangeInfo", f"{BINANCE}/fapi/v1/fundingInfo"]


@every_venue
def test_a_contract_that_is_not_listed_is_refused_by_name(venue):
    asked = Venue(venue, **NOTHING[venue])
    said = r"NEW-?USDT(-SWAP)?: .*(an empty list|does not exist|lists no such perpetual)"
    with pytest.raises(DataError, match=f"^{venue} {said}"):
        fetch_instruments(venue, ["NEWUSDT"], AT, asked.get)
    with pytest.raises(DataError, match="lists no such perpetual"):  # it answers for another one
        fetch_instruments(venue, ["NEWUSDT"], AT, Venue(venue).get)


@every_venue
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("body", ["<html>\nblocked</html>", "", '{"retCode":10006,"code":"50011","result":{}}'])
def test_an_answer_that_cannot_be_read_is_one_line(venue, which, body):
    path = list(ANSWERS[venue][1])[which]
    with pytest.raises(DataError) as caught:
        fetch_instruments(venue, ["DOTUSDT"], AT, Venue(venue, **{path: body}).get)
    assert path in str(caught.value)
    assert "DOT" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("venue", "symbol", "message"),
    [("kraken", "BTCUSDT", "no adapter for 'kraken'"), ("bybit", "BTC&x=1", "is no name of a contract")],
)
def test_what_no_venue_can_be_asked_for_is_refused(venue, symbol, message):
    with pytest.raises(ConfigError, match=message):
        fetch_instruments(venue, [symbol], AT, lambda url: b"")


def test_what_an_answer_leaves_out_is_carried_on_and_the_source_says_so_once():
    shipped = Instruments.shipped().get("binance", "DOTUSDT")
    first = fetched("binance", Instruments.shipped())
    assert (first.tiers, first.taker_fee) == (shipped.tiers, shipped.taker_fee)
    assert first.source.startswith(
        "binance /fapi/v1/exchangeInfo; funding_interval_hours: binance /fapi/v1/fundingInfo; "
    )
    assert first.source.endswith(f"; taker_fee, tiers carried on: {shipped.source}")
    known = Instruments.shipped().with_([first])
    again = fetched("binance", known, AT + 1)
    assert again.source == first.source
    assert len(known.with_([again])) == len(known)


def test_of_a_record_that_carries_some_fields_each_keeps_the_source_it_had():
    first = fetched("binance", Instruments.shipped())
    none = Venue("binance", **{"/fapi/v1/fundingInfo": '[{"symbol":"BTCUSDT","fundingIntervalHours":8}]'})
    (later,) = fetch_instruments("binance", ["DOTUSDT"], AT + 1, none.get, Instruments([first]))
    own, interval, others = later.source.split(" carried on: ")
    assert own == "binance /fapi/v1/exchangeInfo; funding_interval_hours"
    assert interval.startswith(
        "binance /fapi/v1/exchangeInfo; funding_interval_hours: binance /fapi/v1/fundingInfo; taker"
    )
    assert others == Instruments.shipped().get("binance", "DOTUSDT").source
    assert (later.funding_interval_hours, later.tiers) == (4.0, first.tiers)


def test_what_the_venue_says_takes_the_place_of_what_was_known():
    before = Instrument(
        venue="bybit", native="DOTUSDT", symbol="DOTUSDT", as_of_ns=AT - 1, tick_size=1.0, lot_size_base=1.0,
        minimum_size_base=1.0, minimum_notional_usd=50.0, funding_interval_hours=8.0, tiers=(Tier(1e6, 0.5, 2.0),),
        source="test",
    )  # fmt: skip
    record = fetched("bybit", Instruments([before]))
    assert repr(record) == repr(fetched("bybit"))
    assert math.isnan(record.taker_fee)


# The verb


@pytest.fixture
def asked(capsys):
    """Asks a server on this machine that plays a venue; the status, what was printed, and the lines on stderr."""

    def ask(venue, *arguments, answers=None):
        host, ours = ANSWERS[venue]
        paths = []

        def answer(path):
            paths.append(path)
            return (200, {}, (answers or ours)[path]) if path in (answers or ours) else (403, {}, "go\naway")

        with rest_server(answer) as port:
            hosts = ["--host", f"{host.removeprefix('https://')}=127.0.0.1:{port}"]
            status = main(["instruments", venue, *map(str, arguments), *hosts])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return ask


@every_venue
def test_the_verb_keeps_a_record_and_says_it_in_a_line(asked, tmp_path, venue):
    file = tmp_path / "new" / "known.json"
    status, out, err = asked(venue, "dotusdt", "DOTUSDT", "--out", file)
    assert (status, err) == (0, [])
    (record,) = Instruments.load(file)
    _, line = out.splitlines()
    tiers = "10" if venue == "binance" else "2"  # Binance's are those that ship
    tick = "0.0001" if venue == "bybit" else "0.001"
    usd = "nan" if venue == "okx" else "5"
    assert line.split(maxsplit=7)[:7] == [venue, "DOTUSDT", tick, "0.1", usd, tiers, "new"]
    assert line.endswith(record.source)
    status, out, _ = asked(venue, "DOTUSDT", "--out", file, "--json")
    (row,) = json.loads(out)
    assert (row["tick"], row["tiers"], row["record"]) == (record.tick_size, int(tiers), "as before")


def test_records_that_the_file_has_stay_and_a_second_time_changes_nothing(asked, tmp_path):
    file = tmp_path / "known.json"
    old = [
        Instrument(
            venue="okx", native="DOT-USDT-SWAP", symbol="DOTUSDT", as_of_ns=day * 10**9, tick_size=0.01,
            lot_size_base=value, minimum_size_base=value, contract_value=value, taker_fee=0.0007, source="an old file",
        )
        for day, value in ((1, 0.1), (2, 10.0))
    ]  # fmt: skip
    Instruments(old).save(file)
    assert asked("okx", "DOTUSDT", "--out", file)[0] == 0
    assert asked("bybit", "DOTUSDT", "--out", file)[0] == 0
    known = Instruments.load(file)
    assert [(r.venue, r.contract_value) for r in known] == [("bybit", 1.0), ("okx", 0.1), ("okx", 10.0), ("okx", 1.0)]
    newest = known.get("okx", "DOT-USDT-SWAP")
    assert newest.taker_fee == 0.0007
    assert newest.source.endswith("; taker_fee carried on: an old file")
    before = file.read_bytes()
    assert asked("okx", "DOTUSDT", "--out", file)[0] == 0
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["known.json"]


@pytest.mark.parametrize(
    ("venue", "words", "answers", "said"),
    [
        ("bybit", ["DOTUSDT"], {"/": ""}, "bybit DOTUSDT: no answer: /v5/market/instruments-info: HTTP 403 go away"),
        (
            "okx",
            ["DOTUSDT"],
            {"/api/v5/public/instruments": "{"},
            "okx DOT-USDT-SWAP: okx /api/v5/public/instruments: ",
        ),
        ("okx", ["DOTUSDT", "NEWUSDT"], None, "okx NEW-USDT-SWAP: the venue lists no such perpetual"),
        ("okx", ["DOT"], None, "okx: a symbol must end in USDT"),
        ("bybit", ["DOTUSDT", "--host", "x"], None, "NAME=OTHER"),
        ("bybit", ["DOTUSDT", "--host", "stream.bybit.com=localhost"], None, "'stream.bybit.com' is not connected to"),
    ],
)
def test_a_venue_that_gives_no_record_is_one_line_and_writes_nothing(asked, tmp_path, venue, words, answers, said):
    status, out, err = asked(venue, *words, "--out", tmp_path / "known.json", answers=answers)
    assert (status, out, len(err)) == (2, "", 1), err
    assert err[0].startswith("squeeze instruments: ")
    assert said in err[0]
    assert list(tmp_path.iterdir()) == []


def test_a_venue_there_is_no_adapter_for_and_a_file_of_something_else_are_refused(asked, tmp_path, capsys):
    assert main(["instruments", "kraken", "BTCUSDT", "--out", str(tmp_path / "x")]) == 2
    assert "no adapter for 'kraken'" in capsys.readouterr().err
    (tmp_path / "notes").write_text("a text")
    status, _, err = asked("okx", "DOTUSDT", "--out", tmp_path / "notes")
    assert (status, len(err)) == (2, 1)
    assert "notes: expected a list of records" in err[0]
    assert (tmp_path / "notes").read_text() == "a text"


# What reads sizes reads them by these records


@pytest.fixture
def known(tmp_path):
    """A file with one OKX contract that does not ship: 10 coins each."""
    file = tmp_path / "known.json"
    Instruments(
        [
            Instrument(
                venue="okx", native="DOT-USDT-SWAP", symbol="DOTUSDT", as_of_ns=0, tick_size=0.001, lot_size_base=1.0,
                minimum_size_base=1.0, contract_value=10.0, source="test",
            )
        ]
    ).save(file)  # fmt: skip
    return file


def okx_log(folder):
    """A raw log with one trade of 12 contracts."""
    row = {"instId": "DOT-USDT-SWAP", "tradeId": "7", "px": "4.2", "sz": "12", "side": "buy", "ts": "1795000000000"}
    frame = {"arg": {"channel": "trades", "instId": "DOT-USDT-SWAP"}, "data": [row | {"count": "1"}]}
    with RawLog(folder).writer("okx") as writer:
        writer.append(AT + 1, json.dumps(frame, separators=(",", ":")).encode())


def test_the_lake_and_steps_are_built_with_contracts_that_do_not_ship(tmp_path, known, capsys):
    okx_log(tmp_path / "raw")
    raw, records = ["--raw", str(tmp_path / "raw")], ["--instruments", str(known)]
    assert main(["lake", "build", *raw, "--lake", str(tmp_path / "without")]) == 0
    assert Lake(tmp_path / "without").streams() == []
    assert main(["lake", "build", *raw, "--lake", str(tmp_path / "lake"), *records]) == 0
    assert Lake(tmp_path / "lake").read("trade", "okx", "DOTUSDT")["size_base"].tolist() == [120.0]
    capsys.readouterr()
    assert main(["steps", "DOTUSDT", *raw, *records]) == 0
    (step,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert step["venues"]["okx"]["volume_base"] == 120.0


def test_archives_are_read_with_contracts_that_do_not_ship(tmp_path, known):
    file = tmp_path / "DOT-USDT-SWAP-trades-2024-03-01.csv"
    file.write_text(
        "instrument_name,trade_id,side,price,size,created_time\nDOT-USDT-SWAP,3,sell,6.1,25,1709251200000\n"
    )
    lake = ["--lake", str(tmp_path / "lake")]
    assert main(["archives", str(file), *lake]) == 2
    assert main(["archives", str(file), *lake, "--instruments", str(known)]) == 0
    assert Lake(tmp_path / "lake").read("trade", "okx", "DOTUSDT")["size_base"].tolist() == [250.0]


def test_a_recording_understands_contracts_that_do_not_ship(tmp_path, known, monkeypatch, capsys):
    venues = []

    async def record(venue, *_, **__):
        venues.append(venue)
        return Summary(1, 1, 1, 0, 0, {}, {}, 0, 0, "", 0, "")

    monkeypatch.setattr(recorder, "record", record)
    assert main(["record", "okx", "DOTUSDT", "--raw", str(tmp_path / "raw"), "--instruments", str(known)]) == 0
    assert venues[0].contract("DOT-USDT-SWAP", AT).contract_value == 10.0
    assert venues[0].contract("BTC-USDT-SWAP", AT).contract_value == 0.01, "what ships is known as well"


@pytest.mark.parametrize(
    "words",
    [
        "lake build --raw raw",
        "steps X --raw raw",
        "replay m.onnx --from 2026-01-01",
        "record okx BTCUSDT",
        "archives f",
    ],
)
def test_records_that_cannot_be_read_are_told_before_anything_is_done(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "--instruments", "absent.json"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [f"squeeze {words.split()[0]}: absent.json: cannot be read: No such file or directory"]
    assert list(tmp_path.iterdir()) == []
