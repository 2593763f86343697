"""Labels counted: rates, what was left out, each constant halved and doubled, and where counting stops."""

import json
from argparse import ArgumentParser

import msgspec
import numpy as np
import pytest
from small import noised

from squeeze.errors import ConfigError, DataError
from squeeze.label_spec import CascadeSpec, PriceCascadeSpec
from squeeze.market.events import HOUR_NS
from squeeze.outcomes.rows import Rows, rows
from squeeze.spec import LabelSpec
from training.labels.page import keep_section, markdown, report_tables, section
from training.labels.report import months, rates, report, span_of, variants
from training.splits import blocks
from training.verbs.labels import labels


def with_label(config, **label):
    changed = msgspec.structs.replace(config.spec.label, **label)
    return msgspec.structs.replace(config, spec=msgspec.structs.replace(config.spec, label=changed))


@pytest.fixture(scope="module")
def counted(small):
    return report(small.config, small.lake)


def test_by_default_rows_end_with_the_first_blocks_training(small, counted):
    found = rows(small.lake, small.config.spec)
    own = found.where(found.ts_ns >= np.datetime64("2025-01-07", "ns").astype(int))
    first = blocks(own.ts_ns, small.config.spec.label, small.config.splits)[0]
    assert counted.rows == int(first.trains(own.ts_ns).sum())
    assert "first test block may train on" in counted.counted
    everything = report(small.config, small.lake, everything=True)
    assert everything.rows == len(own)
    assert "those of test blocks too" in everything.counted


def test_nothing_of_a_test_block_moves_a_figure_of_the_default_report(small, counted, tmp_path):
    _, until_ns, _ = span_of(small.config, small.lake, rows(small.lake, small.config.spec))
    reach_ns = small.config.spec.label.horizons_minutes[-1] * 60 * 10**9
    other = report(small.config, noised(small.lake, tmp_path, until_ns + reach_ns, 7))
    assert (other.rates, other.months) == (counted.rates, counted.months)


def test_counting_can_stop_earlier_and_says_so(small, counted):
    early = np.datetime64("2025-01-08", "ns").astype(int)
    found = report(small.config, small.lake, until_ns=int(early))
    assert 0 < found.rows < counted.rows
    assert found.counted == "rows from 2025-01-07T00:00:00Z to 2025-01-08T00:00:00Z, as asked"


def test_rates_and_episodes_are_counts_of_the_rows():
    label = LabelSpec(name="l", threshold_usd=1.0, horizons_minutes=(60, 120), every_minutes=60, recorded="rows")
    truth = np.zeros((20, 2, 2), bool)
    truth[[1, 2, 10], 0] = True
    truth[15, 1, 1] = True
    lines = rates(Rows(np.arange(20) * HOUR_NS, truth), label)
    assert [(line["side"], line["horizon_minutes"], line["positives"], line["episodes"]) for line in lines] == [
        ("long", 60, 3, 2), ("long", 120, 3, 2), ("short", 60, 0, 0), ("short", 120, 1, 1),
    ]  # fmt: skip
    assert lines[0]["base_rate"] == 3 / 20


def test_a_month_has_its_own_rows(small):
    ts = np.array(["2025-01-31T23:00", "2025-02-01T00:00", "2025-02-02"], "datetime64[ns]").astype(np.int64)
    truth = np.zeros((3, 2, 2), bool)
    truth[1, 0, 1] = True
    lines = months(Rows(ts, truth), small.config.spec)
    assert [(line["month"], line["rows"], line["long_rate"]) for line in lines] == [
        ("2025-01", 1, 0.0),
        ("2025-02", 2, 0.5),
    ]


def test_a_doubled_threshold_is_reached_less_often(counted):
    by_value = {line["value"]: line for line in counted.sensitivity if line["constant"] == "threshold_usd"}
    plain = counted.sensitivity[0]
    assert list(by_value) == ["150000", "600000"]
    assert by_value["600000"]["long_rate"] <= plain["long_rate"] <= by_value["150000"]["long_rate"]
    assert by_value["600000"]["long_rate"] < by_value["150000"]["long_rate"]
    assert plain["agrees"] == 1.0


@pytest.mark.parametrize(("event", "constants"), [("onset", CascadeSpec), ("price", PriceCascadeSpec)])
def test_every_constant_of_an_event_is_halved_and_doubled(small, event, constants):
    label = with_label(small.config, event=event, threshold_usd=None, **{event: constants()}).spec.label
    tried = {name for name, _, _ in variants(label)}
    assert tried == {*constants.__struct_fields__, "guard_seconds", "after_minutes", "gap_share"}
    for name, value, changed in variants(label):
        held = changed if name in LabelSpec.__struct_fields__ else getattr(changed, event)
        assert f"{getattr(held, name):g}" == value
        assert changed != label


def test_a_price_label_is_reported_with_what_it_could_not_ask(small):
    constants = PriceCascadeSpec(sigmas=2.0, least_move=0.002, least_drop=0.0, drop_quantile=0.3, taker_ratio=1.0)
    found = report(with_label(small.config, event="price", threshold_usd=None, price=constants), small.lake)
    assert "not evaluated: basis: the index price was not recorded; constants" in found.version
    by_constant = {(line["constant"], line["value"]): line for line in found.sensitivity}
    assert by_constant["sigmas", "4"]["long_rate"] < by_constant["as configured", ""]["long_rate"]
    assert {line["reason"] for line in found.masked} == {
        "near the record's end",
        "bars not recorded",
        "too little before it for a threshold",
        "inside an event or just after",
    }
    assert sum(line["rows"] for line in found.masked) > 0


def test_a_label_that_no_constant_can_make_is_an_empty_line_and_no_crash(small, monkeypatch):
    config = with_label(small.config, event="onset", threshold_usd=None, onset=CascadeSpec(least_days=8.0))
    tried = [each for each in variants(config.spec.label) if each[0] == "least_days"]
    monkeypatch.setattr("training.labels.report.variants", lambda label: tried)
    found = report(config, small.lake, everything=True)
    assert [(line["value"], line["rows"] > 0) for line in found.sensitivity] == [("", True), ("4", True), ("16", False)]


def test_a_run_without_rows_of_its_own_is_refused(small):
    pretrain = msgspec.structs.replace(small.config.pretrain, until="2026-01-01")
    late = msgspec.structs.replace(small.config, pretrain=pretrain)
    with pytest.raises(DataError, match=r"label over 300 thousand USD: none of \d+ rows lies between 2026-01-01"):
        report(late, small.lake)


def test_constants_without_effect_are_named_and_not_listed(counted):
    titles = {title: lines for title, lines in report_tables(counted)}
    (title,) = (each for each in titles if each.startswith("each constant"))
    assert "without effect here: gap_share" in title
    assert {line["constant"] for line in titles[title]} == {"as configured", "threshold_usd"}


def test_a_section_replaces_itself_and_nothing_else(tmp_path):
    page = tmp_path / "labels.md"
    page.write_text("# Labels\n\nProse.\n")
    for name in ("one", "two", "one"):
        keep_section(page, name, section(name, "squeeze labels x", "abc", ["a note"], [("rates", [{"n": 1}])]))
    text = page.read_text()
    assert text.startswith("# Labels\n\nProse.\n\n<!-- one: begin -->\n## one\n\n`squeeze labels x`, commit `abc`.")
    assert [text.count(f"## {name}") for name in ("one", "two")] == [1, 1]
    keep_section(page, "two", "changed")
    assert "<!-- two: begin -->\nchanged\n<!-- two: end -->" in page.read_text()
    assert page.read_text().count("**Rates.**") == 1


def test_a_figure_that_does_not_exist_is_an_empty_cell():
    assert markdown([{"kappa": float("nan"), "f1": 0.25}]).splitlines()[-1] == "|  | 0.25 |"


def run(words):
    parser = ArgumentParser()
    labels.arguments(parser)
    parser.add_argument("--json", action="store_true")
    labels.run(parser.parse_args(words))


def test_the_verb_prints_tables_json_and_a_page(small, counted, tmp_path, capsys):
    words = [str(small.config_path), "--lake", str(small.lake.root)]
    run([*words, "--page", str(tmp_path / "labels.md")])
    printed = capsys.readouterr().out
    assert "label: over 300 thousand USD; liquidated USD of liquidation of simulated SIMUSDT" in printed
    assert "base rates, and separate events" in printed
    assert "## small, threshold" in (tmp_path / "labels.md").read_text()
    run([*words, "--json"])
    (said,) = json.loads(capsys.readouterr().out)
    assert said["report"]["rates"] == msgspec.to_builtins(counted)["rates"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a run file"),
        (["x.yaml", "--simulator", "1"], "not both"),
        (["--simulator", "0"], "at least 1 market, got 0"),
        (["absent.yaml"], "absent.yaml: cannot be read"),
    ],
)
def test_a_mistake_of_the_verb_is_named(words, said):
    with pytest.raises(ConfigError, match=said):
        run(words)
