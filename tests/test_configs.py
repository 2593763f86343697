"""Every YAML that ships, and what a wrong one gets to hear."""

import ast
import math
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml
from small import SMALL

import squeeze.spec
import training.config
import training.recipe
from squeeze.cli import Verb
from squeeze.errors import ConfigError
from squeeze.market.mapping import load_mapping
from squeeze.state import MarketState
from squeeze.strict import Strict, utc_ns
from training.config import load_config

CONFIGS = Path(__file__).parents[1] / "configs"
LIVE = {
    CONFIGS / name
    for name in ("alerts.yaml", "scorecard.yaml", "sinks.yaml", "strategy.yaml", "strategy-minute-bars.yaml")
}
"""What the live path reads; each has tests of its own."""
RUNS = sorted(set(CONFIGS.glob("*.yaml")) - LIVE)
MAPPINGS = sorted((CONFIGS / "import").glob("*.yaml"))
SPACES = sorted((CONFIGS / "search").glob("*.yaml"))


def name_of(path):
    return path.stem


def test_every_yaml_is_a_run_or_a_mapping_or_a_search_space():
    assert set(CONFIGS.rglob("*.y*ml")) == {*RUNS, *MAPPINGS, *SPACES, *LIVE}


@pytest.mark.parametrize("path", RUNS, ids=name_of)
def test_every_run_is_parsed_and_its_imports_exist(path):
    config = load_config(path)
    assert all((path.parent / name).is_file() for name in config.imports)
    assert config.task == path.stem


@pytest.mark.parametrize("path", RUNS, ids=name_of)
def test_every_scalar_that_a_head_asks_for_exists(path):
    config = load_config(path)
    assert set(config.head.scalars) <= set(MarketState(config.spec).scalar_names)


@pytest.mark.parametrize("path", MAPPINGS, ids=name_of)
def test_every_mapping_is_parsed(path):
    assert load_mapping(path).files


@pytest.mark.parametrize("entry", entry_points(group="squeeze.verbs"), ids=lambda entry: entry.name)
def test_every_entry_point_is_a_verb(entry):
    assert isinstance(entry.load(), Verb)


def changed(path, value, **where):
    """The small run with one key set, as a file."""
    config = yaml.safe_load(yaml.safe_dump(SMALL))
    *names, last = path.split(".")
    part = config
    for name in names:
        part = part.setdefault(name, {})
    part[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("spec.market.stepseconds", 60, "stepseconds"),
        ("colour", "red", "colour"),
        ("spec.market.step_seconds", "sixty", "$.spec.market.step_seconds"),
        ("spec.market.step_seconds", 7, "must divide a day"),
        ("spec.label.horizons_minutes", [60, 15], "must rise"),
        ("spec.label.threshold_usd", -1.0, "threshold_usd is positive"),
        ("spec.signal.horizon_minutes", 30, "one of the label's horizons"),
        ("spec.frame.price_bins", 20, "multiple of 8"),
        ("spec.frame.zone_quantile", None, "$.spec.frame.zone_quantile"),
        ("spec.version", 99, "spec version"),
        ("splits.test_share", 1.5, "$.splits"),
        ("pretrain.until", "next year", "expected a UTC time"),
        ("pretrain.until", "2025-01-05T00:00+02:00", "expected a UTC time"),
        ("pretrain.lane", 100, "whole chunks"),
        ("pretrain.quantiles", [0.9], "as many exceedance_weights"),
        ("start", "NaT", "expected a UTC time"),
        ("task", "../elsewhere", "task '../elsewhere'"),
        ("network.hidden", 0, "at least 1"),
        ("spec.frame.channels", ["stops"], "it needs an atlas"),
        ("series", [{"symbol": "../X"}], "symbol '../X'"),
        ("series", [{"symbol": "X", "venue": "a/b"}], "venue 'a/b'"),
        ("series", [{"symbol": "X", "streams": "some"}], "series[0].streams"),
        ("series", [{"symbol": "X"}, {"symbol": "X", "venue": "simulated"}], "one market twice"),
        ("series", [{"symbol": "SIMUSDT", "streams": "all"}], "the task's own market"),
    ],
)
def test_a_key_that_cannot_hold_is_named_with_its_file(tmp_path, key, value, said):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(changed(key, value)))
    with pytest.raises(ConfigError, match=r"^\S*run\.yaml: [^\n]*$") as caught:
        load_config(path)
    assert said in str(caught.value)


def test_a_series_is_of_another_symbol_or_venue_with_its_bars_or_all_that_the_task_reads(tmp_path):
    asked = [{"symbol": "X"}, {"symbol": "X", "venue": "okx"}, {"symbol": "Y", "venue": "okx", "streams": "all"}]
    path = tmp_path / "run.yaml"
    parsed = changed("series", asked)
    parsed["spec"]["market"]["liquidations"]["venue"] = "binance+okx"
    path.write_text(yaml.safe_dump(parsed))
    own, bars, elsewhere, everything = (market for market, _, _ in load_config(path).markets())
    assert own.symbol == "SIMUSDT"
    assert [(m.symbol, list(m.streams()), m.bars.venue) for m in (bars, elsewhere)] == [
        ("X", ["bars"], "simulated"), ("X", ["bars"], "okx"),
    ]  # fmt: skip
    assert (everything.symbol, everything.warm_up_hours) == ("Y", own.warm_up_hours)
    assert {name: stream.venue for name, stream in everything.streams().items()} == {
        "bars": "okx", "mark": "okx", "open_interest": "okx", "funding": "okx", "liquidations": "binance+okx",
    }  # fmt: skip


def test_with_an_atlas_a_series_keeps_the_venues_by_which_scalars_and_channels_are_called(tmp_path):
    path = tmp_path / "run.yaml"
    venue = {"venue": "okx", "kinds": ["trade", "book"]}
    for series, said in (({"symbol": "X"}, None), ({"symbol": "X", "venue": "okx"}, "must be the task's own")):
        parsed = changed("series", [series])
        parsed["spec"] |= {"atlas": {}}
        parsed["spec"]["market"]["venues"] = [venue]
        path.write_text(yaml.safe_dump(parsed))
        if said is not None:
            with pytest.raises(ConfigError, match=said):
                load_config(path)
            continue
        own, bars = (market for market, _, _ in load_config(path).markets())
        assert bars.venue_names() == own.venue_names() == ("simulated", "okx")
        assert bars.kinds() == {"simulated": {"gap", "bar_1m"}}


@pytest.mark.parametrize("content", [b"", b"- a\n", b"just words", b"a: [", b"\xff\xfe\x00", b"null"])
def test_a_file_that_is_no_run_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^\S*run\.yaml: [^\n]+$"):
        load_config(path, ("seed=1",))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load_config(tmp_path / "absent.yaml")


def test_an_override_replaces_a_key_at_any_depth(small):
    config = load_config(small.config_path, ("seed=7", "spec.market.warm_up_hours=1.5", "start=2025-01-02"))
    assert (config.seed, config.spec.market.warm_up_hours, config.start) == (7, 1.5, "2025-01-02")


@pytest.mark.parametrize("override", ["seed", "sede=1", "spec.markt.symbol=X", "seed.x=1", "seed=[", "seed=soon"])
def test_an_override_that_fits_nothing_is_refused_in_one_line(small, override):
    with pytest.raises(ConfigError, match=r"\A[^\n]+\Z"):
        load_config(small.config_path, (override,))


@pytest.mark.parametrize(
    "text",
    [
        "", "NaT", "now", "2025", "2025-13-01", "2025-02-30", "2025-01-01 10",
        "2025-01-01T10:00+01:00", "1890-01-01", "1e9",
    ],
)  # fmt: skip
def test_only_a_utc_time_is_a_time(text):
    with pytest.raises(ConfigError, match="expected a UTC time"):
        utc_ns(text)


def test_a_time_in_utc_may_say_so_or_not():
    assert (
        len({utc_ns(f"2025-01-01T00:00{zone}") for zone in ("", "Z", "+00:00", ":00Z")} | {utc_ns("2025-01-01")}) == 1
    )


@pytest.mark.parametrize("module", [squeeze.spec, training.config, training.recipe], ids=lambda module: module.__name__)
def test_every_key_has_a_sentence(module):
    tree = ast.parse(Path(module.__file__).read_text())
    silent = []
    for made in (n for n in tree.body if isinstance(n, ast.ClassDef) and issubclass(getattr(module, n.name), Strict)):
        for this, after in zip(made.body, [*made.body[1:], None], strict=True):
            if isinstance(this, ast.AnnAssign) and not is_sentence(after):
                silent.append(f"{made.name}.{this.target.id}")
    assert silent == []


def is_sentence(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def test_distances_of_a_venue_come_from_the_tiers_that_ship(tmp_path):
    parsed = yaml.safe_load(Path("configs/three-venues.yaml").read_text())
    parsed["spec"]["market"]["symbol"] = "BTCUSDT"
    parsed["spec"]["market"]["venues"][2]["distances_log"] = "shipped"
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(parsed))
    binance = load_config(path).spec.market.venues[2]
    longs, shorts = binance.distances_log
    assert [round(100 * math.expm1(x), 2) for x in longs] == [-19.68, -9.64, -4.62, -1.61, -0.60]
    assert [round(100 * math.expm1(x), 2) for x in shorts] == [19.52, 9.56, 4.58, 1.59, 0.60]
    parsed["spec"]["market"]["symbol"] = "NOSUCHUSDT"
    path.write_text(yaml.safe_dump(parsed))
    with pytest.raises(ConfigError, match="no instrument record of binance NOSUCHUSDT comes with the package"):
        load_config(path)
