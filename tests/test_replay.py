"""Recorded sessions again: from raw frames or the lake, through the steps and through a model, at any pace."""

import json

import msgspec
import numpy as np
import pytest
from test_model_file import with_card

from squeeze.cli import main
from squeeze.errors import LakeError
from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.market.lake import Lake
from squeeze.market.raw_log import RawLog
from squeeze.market.replay import lake_events, paced, raw_events, venues_of
from squeeze.market.session import normalise
from squeeze.market.steps import steps
from squeeze.signals.message import decode

START_MS = 1_786_320_000_000  # 2026-08-10 00:00 UTC
MINUTES = 120


def bybit_session(rng: np.random.Generator):
    """(received_ns, frame) of two hours: trades, tickers, a book, some liquidations; most seconds are silent."""
    price, update = 60_000.0, 1
    book = {"s": "SIMUSDT", "b": [["59999", "1"]], "a": [["60001", "1"]], "u": update}
    yield 0, {"topic": "orderbook.200.SIMUSDT", "type": "snapshot", "ts": START_MS, "data": book}
    for second in range(MINUTES * 60):
        at = START_MS + 1000 * second
        if rng.random() < 0.7:
            continue
        price = round(price * float(np.exp(rng.normal(0, 3e-4))), 1)
        size, side = f"{rng.integers(1, 500) / 1000}", str(rng.choice(["Buy", "Sell"]))
        trade = {"T": at, "s": "SIMUSDT", "S": side, "v": size, "p": str(price), "i": f"t{second}", "BT": False}
        yield second, {"topic": "publicTrade.SIMUSDT", "type": "snapshot", "ts": at, "data": [trade]}
        ticker = {"symbol": "SIMUSDT", "markPrice": str(price), "singleOpenInterest": f"{5000 + second / 100}"}
        yield second, {"topic": "tickers.SIMUSDT", "type": "delta", "ts": at, "data": ticker}
        update += 1
        change = {"s": "SIMUSDT", "b": [[str(price - 1), size]], "a": [[str(price + 1), "0"]], "u": update}
        yield second, {"topic": "orderbook.200.SIMUSDT", "type": "delta", "ts": at, "data": change}
        if rng.random() < 0.01:
            print_ = {"T": at, "s": "SIMUSDT", "S": "Buy", "v": size, "p": str(price)}
            yield second, {"topic": "allLiquidation.SIMUSDT", "type": "snapshot", "ts": at, "data": [print_]}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A raw log of two hours, and the lake that was built from it."""
    folder = tmp_path_factory.mktemp("recorded")
    raw, lake = RawLog(folder / "raw"), Lake(folder / "lake")
    with raw.writer("bybit") as writer:
        for second, message in bybit_session(np.random.default_rng(0)):
            received_ns = (START_MS + 1000 * second + 200) * 1_000_000
            writer.append(received_ns, msgspec.json.encode(message))
        writer.append(received_ns + SECOND_NS, b'{"topic":"publicTrade.SIMUSDT","da')  # torn on the way
    lake.write_events(normalise(raw.read("bybit"), "bybit"))
    return raw, lake, folder


@pytest.fixture(scope="module")
def both(recorded):
    """The events of the raw frames, and those of the lake."""
    raw, lake, _ = recorded
    return list(raw_events(raw, ["bybit"], "SIMUSDT")), list(lake_events(lake, ["bybit"], "SIMUSDT"))


@pytest.mark.parametrize("length_ns", [SECOND_NS, MINUTE_NS, HOUR_NS])
def test_steps_from_raw_frames_and_from_the_lake_are_the_same_bytes(both, length_ns):
    from_raw, from_lake = (list(steps(events, "SIMUSDT", length_ns)) for events in both)
    assert len(from_raw) >= MINUTES * MINUTE_NS // length_ns - 20
    assert msgspec.msgpack.encode(from_raw) == msgspec.msgpack.encode(from_lake)


def test_the_verb_prints_the_same_steps_from_both_twice(recorded, capsysbinary):
    *_, folder = recorded
    printed = []
    for source in (["--raw", folder / "raw"], ["--lake", folder / "lake"], ["--raw", folder / "raw"]):
        assert main(["steps", "SIMUSDT", "--length", "1m", *map(str, source)]) == 0
        printed.append(capsysbinary.readouterr().out)
    assert printed[0] == printed[1] == printed[2]
    assert len(printed[0].splitlines()) in (MINUTES, MINUTES + 1)
    assert json.loads(printed[0].splitlines()[5])["venues"]["bybit"]["volume_base"] > 0


def test_a_model_says_the_same_of_raw_frames_and_of_the_lake(recorded, finished, tmp_path, capsysbinary):
    *_, folder = recorded
    kinds = {"bars": "trade", "mark": "price_mark", "open_interest": "open_interest", "liquidations": "liquidation"}
    spec = msgspec.to_builtins(finished.card.spec)
    for name, kind in kinds.items():
        spec["market"][name] |= {"venue": "bybit", "kinds": [kind]}
    spec["market"] |= {"funding": None, "warm_up_hours": 0.5}
    model = tmp_path / "live.onnx"
    model.write_bytes(with_card(finished.model.read_bytes(), spec=spec))
    said = []
    for more in (["--raw", str(folder / "raw")], []):
        start = ["--from", "2026-08-10T01:00", "--lake", str(folder / "lake")]
        assert main(["replay", str(model), *start, *more]) == 0
        said.append(capsysbinary.readouterr().out)
    assert said[0] == said[1]
    names = [type(decode(line)).__name__ for line in said[0].splitlines()]
    assert names.count("ProbabilityMessage") >= 10


def test_a_pace_waits_and_changes_nothing(both):
    clock, waited = [0.0], []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        clock[0] += seconds

    plain, _ = both
    assert list(paced(plain, 60.0, now=lambda: clock[0], wait=wait)) == plain
    assert sum(waited) == pytest.approx((plain[-1].known_at_ns - plain[0].known_at_ns) / SECOND_NS / 60)


def test_what_is_not_there_is_said(recorded):
    raw, lake, _ = recorded
    with pytest.raises(LakeError, match="okx"):
        list(raw_events(raw, ["okx"], "SIMUSDT"))
    with pytest.raises(LakeError, match="no events of BTCUSDT; there is SIMUSDT"):
        venues_of(lake, "BTCUSDT")


def test_no_pace_hands_on_at_once():
    assert list(paced(iter([1, 2]), None)) == [1, 2]


@pytest.mark.parametrize("speed", ["0", "-1", "nan"])
@pytest.mark.parametrize("words", ["steps SIMUSDT", "replay absent.onnx --from 2026-01-01"])
def test_a_pace_that_cannot_be_is_refused_before_anything_is_read(words, speed, capsys):
    assert main([*words.split(), "--speed", speed]) == 2
    assert f": --speed: above zero, got {float(speed)}\n" in capsys.readouterr().err
