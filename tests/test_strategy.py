"""A strategy: what is refused, what its file says, and that what is written down from the code is up to date."""

from pathlib import Path

import msgspec
import pytest
import yaml

from squeeze.errors import ConfigError
from squeeze.signals.reference import SCHEMA, STRATEGY, schema_text, sentences, strategy_text
from squeeze.signals.strategy import StrategySpec, read_strategy
from squeeze.strict import Strict

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("risk: {cap_percent: 3.01}", "cap_percent lies in (0, 3], got 3.01 - at `$.risk`"),
        ("risk: {cap_percent: 0}", "cap_percent lies in (0, 3], got 0"),
        ("risk: {full_percent: 5}", "base_percent to full_percent rise, to at most 3"),
        ("risk: {quiet_factor: 1.5}", "none raises the risk"),
        ("risk: {least_percent: 2}", "least_percent is at most cap_percent"),
        ("portfolio: {same_direction_percent: 4}", "same_direction_percent lies in (0, 3], got 4"),
        ("exits: {stop_atr: -0.25}", "the stop would lie on the wrong side of the entry"),
        ("exits: {least_stop_percent: 0}", "the stop would lie on the wrong side of the entry"),
        ("exits: {own_liquidation_stops: 2.9}", "own_liquidation_stops is at least 3"),
        ("exits: {weak_minutes_half: 3}", "half first, then all"),
        ("exits: {momentum: []}", "at least one term"),
        ("exits: {momentum: [luck]}", "Invalid enum value 'luck'"),
        ("entry: {mark_seconds: 5}", "mark_seconds is at most 2"),
        ("entry: {required: [everything]}", "Invalid enum value 'everything'"),
        ("entry: {mode: both}", "Invalid enum value 'both'"),
        ("entry: {expected_return_log: [.nan, 0]}", "expected_return_log is finite"),
        ("zones: {reach_percent: 0.05}", "reach_percent exceeds least_distance_percent"),
        ("account: {equity_usd: -1}", "equity_usd, price_step and quantity_step are positive"),
        ("account: {max_leverage: 0.5}", "max_leverage lies between 1 and 200"),
        ("staleness: {price_seconds: 0}", "silences are positive"),
        ("health: {gap_seconds: 0}", "gap_seconds is positive"),
        ("risk: {cap_per_cent: 1}", "unknown field `cap_per_cent`"),
        ("risk: [1]", "Expected `object`, got `array`"),
        ("risk: {cap_percent: [", "is no YAML"),
    ],
)
def test_a_strategy_that_cannot_hold_is_refused_with_file_and_key(tmp_path, text, said):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_strategy(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_strategy_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        read_strategy(tmp_path / "absent.yaml")


def test_an_empty_file_is_the_default_and_one_key_changes_the_digest(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("")
    assert read_strategy(file) == StrategySpec()
    file.write_text("risk: {cap_percent: 0.5}")
    assert read_strategy(file).risk.cap_percent == 0.5
    assert read_strategy(file).digest() != StrategySpec().digest()


def test_the_shipped_file_names_every_key_with_its_default():
    assert read_strategy(ROOT / STRATEGY) == StrategySpec()
    assert yaml.safe_load((ROOT / STRATEGY).read_text()) == msgspec.json.decode(msgspec.json.encode(StrategySpec()))


def test_every_key_has_its_sentence():
    for part in (StrategySpec, *(type(value) for value in msgspec.structs.asdict(StrategySpec()).values())):
        assert issubclass(part, Strict)
        assert set(sentences(part)) == set(part.__struct_fields__), part


def test_what_is_written_down_is_up_to_date():
    """`python -m squeeze.signals.reference` writes both."""
    assert (ROOT / SCHEMA).read_text() == schema_text()
    assert (ROOT / STRATEGY).read_text() == strategy_text()
