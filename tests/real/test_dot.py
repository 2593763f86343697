"""DOT, the market this project began from: its configs on its recordings, and its minutes from archive to messages."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from squeeze.cli import main
from squeeze.market.archives import import_archives
from squeeze.market.events import MINUTE_NS
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake
from squeeze.outcomes.rows import INSIDE, labelled
from squeeze.signals.message import AbstainMessage, ProbabilityMessage, decode
from training import pipeline
from training.config import day_ns, load_config
from training.labels.checks import require_events
from training.labels.report import span_of, within
from training.splits import blocks

pytestmark = pytest.mark.real
CONFIGS = Path(__file__).parents[2] / "configs"
TINY = (
    "start=2026-02-01",
    "until=2026-02-12",
    "spec.market.warm_up_hours=24",
    "spec.frame.price_bins=8",
    "spec.frame.windows_minutes=[5, 15, 60]",
    "spec.frame.swept_half_lives_minutes=[5, 15]",
    "spec.label.horizons_minutes=[15, 60]",
    "spec.label.price={sigmas: 2, least_move: 0.003, taker_ratio: 1.5}",
    "pretrain.until=2026-02-05",
    "pretrain.epochs=1",
    "pretrain.lane=128",
    "pretrain.lanes=8",
    "network.encoded=8",
    "network.hidden=6",
    "network.static=[12, 8]",
    "network.trunk=8",
    "head.scalars=[volatility_60m]",
)
"""The config of the minutes, small enough for a test: eleven days of February."""


@pytest.fixture(scope="module")
def quarter_hours(recordings, tmp_path_factory):
    """The 15-minute task's config, a lake of its bars, and its label."""
    config, lake = load_config(CONFIGS / "dot-15m-2024.yaml"), Lake(tmp_path_factory.mktemp("lake"))
    for name in config.imports:
        import_mapping(CONFIGS / name, recordings, lake)
    return config, lake, labelled(lake, config.spec)


def test_no_label_of_the_task_lies_in_its_pre_training(quarter_hours):
    config, lake, found = quarter_hours
    begin_ns, _, said = span_of(config, lake, found.rows)
    assert begin_ns == day_ns(config.pretrain.until)
    assert said.startswith("rows from 2024-01-01")
    until = {market.symbol: until for market, _, until in config.markets()}
    assert set(until) == {"DOTUSDT", "BTCUSDT", "ETHUSDT", "LTCUSDT"}
    assert {until[symbol] for symbol in ("BTCUSDT", "ETHUSDT", "LTCUSDT")} == {begin_ns}


def test_every_block_of_the_task_has_shocks_on_both_sides(quarter_hours):
    config, lake, found = quarter_hours
    begin_ns, end_ns, _ = span_of(config, lake, found.rows, everything=True)
    own = within(found.rows, begin_ns, end_ns)
    parts = blocks(own.ts_ns, config.spec.label, config.splits)
    require_events(own, config.spec.label, parts)
    assert all(own.truth[block.tests(own.ts_ns)].any(axis=0).all() for block in parts)
    assert "least_drop: open interest was not recorded" in found.version
    assert len(found.masked[INSIDE]) > 0


def test_a_shock_of_the_label_is_one_in_the_file(quarter_hours, recordings):
    import pandas as pd

    bars = pd.read_parquet(recordings / "perps-unlabelled" / "DOT_bars_15m.parquet")
    change = np.log(bars.close).diff()
    # Four deviations of the 96 returns before the bar, and 1.2 %: written once more, by pandas.
    sigma = np.sqrt((change**2).shift(1).rolling(96, min_periods=10).mean())
    floor = -np.log1p(-0.012)
    closes_ns = (bars.ts + pd.Timedelta("15min")).dt.as_unit("ns").astype("int64").to_numpy()
    events = quarter_hours[2].events
    for side, sign in ((0, -1), (1, 1)):
        loud = closes_ns[(sign * change >= np.maximum(4 * sigma, floor)).to_numpy()]
        first = loud[np.diff(loud, prepend=-(10**18)) > 15 * MINUTE_NS]
        assert events.onset_ns[events.side == side].tolist() == first.tolist()


@pytest.fixture(scope="module")
def minutes(recordings, tmp_path_factory):
    """A lake of the minute archives, and a tiny model trained and exported from it."""
    folder = tmp_path_factory.mktemp("dot")
    lake = Lake(folder / "lake")
    import_archives([recordings / "originals" / f"DOTUSDT-1m-{month}.zip" for month in ("2025-11", "2026-02")], lake)
    config = load_config(CONFIGS / "dot-1m.yaml", TINY)
    _, _, run = pipeline.train_task(config, lake, folder / "out")
    model = folder / "dot.onnx"
    pipeline.export_block(run, pipeline.run_folder(folder / "out", config), -1, model, {}, 100)
    return config, lake, model


def replayed(minutes, capsysbinary, start, until, warm_from):
    _, lake, model = minutes
    words = [
        "replay",
        str(model),
        "--lake",
        str(lake.root),
        "--from",
        start,
        "--until",
        until,
        "--warm-from",
        warm_from,
    ]
    assert main(words) == 0
    return [decode(line) for line in capsysbinary.readouterr().out.splitlines()]


def test_the_minutes_of_an_archive_become_probabilities(minutes, capsysbinary):
    config, lake, _ = minutes
    said = replayed(minutes, capsysbinary, "2026-02-14T00:00", "2026-02-14T03:00", "2026-02-11")
    steps = [m for m in said if isinstance(m, ProbabilityMessage | AbstainMessage)]
    closes = 1000 * np.array([message.ts_data_us for message in steps])
    assert np.diff(closes).tolist() == [MINUTE_NS] * (len(closes) - 1)
    assert len(steps) == 180
    spoken = [message for message in steps if isinstance(message, ProbabilityMessage)]
    assert len(spoken) == len(steps), [m.reasons for m in steps if isinstance(m, AbstainMessage)][:3]
    for message in spoken:
        for side in ("long", "short"):
            near, far = (message.probabilities[side][str(h)] for h in config.spec.label.horizons_minutes)
            assert 0 < near <= far < 1
    bars = lake.read("bar_1m", "binance", "DOTUSDT")
    close = dict(zip(bars["event_ns"].tolist(), bars["close"].tolist(), strict=True))
    assert [float(message.mark) for message in spoken] == [close[message.ts_data_us * 1000] for message in spoken]


def test_it_abstains_until_the_map_has_run_for_a_day(minutes, capsysbinary):
    said = replayed(minutes, capsysbinary, "2026-02-01T00:00", "2026-02-02T02:00", "2026-02-01")
    steps = [m for m in said if isinstance(m, ProbabilityMessage | AbstainMessage)]
    before = [m for m in steps if m.ts_data_us * 1000 < day_ns("2026-02-02")]
    after = [m for m in steps if m.ts_data_us * 1000 > day_ns("2026-02-02T00:10")]
    assert len(before) > 1400
    assert all(isinstance(message, AbstainMessage) for message in before)
    assert any("warm" in reason for reason in before[-1].reasons)
    assert all(isinstance(message, ProbabilityMessage) for message in after)
    assert len(after) > 100


def test_the_card_says_that_the_label_is_of_price(minutes, capsys):
    _, _, model = minutes
    assert main(["info", str(model), "--json"]) == 0
    card = msgspec.json.decode(capsys.readouterr().out)
    label = card["spec"]["label"]
    assert (label["event"], label["threshold_usd"], label["price"]["sigmas"]) == ("price", None, 2.0)
    assert card["spec"]["market"]["liquidations"] is None
    assert "do not redistribute" in card["licence"]
