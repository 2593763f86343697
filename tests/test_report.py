"""The evaluation report on made-up models: what it says, and what it says where there is nothing to say."""

import json
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest

from squeeze.arrays import SIDES
from squeeze.label_spec import CascadeSpec
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.outcomes.rows import labelled
from training.baselines import catalogue as baselines
from training.evaluation.alarms import BUDGETS_PER_DAY
from training.evaluation.assess import assess_trained, onsets_of
from training.evaluation.bootstrap import Gain
from training.evaluation.metrics import TERCILES, metrics
from training.evaluation.report import (
    EARLIER,
    FIRST_HALF,
    ORACLE,
    Market,
    PairedGain,
    RefereedGain,
    evaluate_task,
    market_of,
)
from training.evaluation.report_pictures import pictures
from training.figures import save

DAYS = 240


@dataclass(frozen=True, eq=False)
class Pool:
    ts_ns: np.ndarray
    truth: np.ndarray
    probability: np.ndarray
    base_rate: np.ndarray


def pools(days=DAYS, seed=0, names=("network", "climatology", "volatility")):
    """Hourly rows of 6 % base rate: the network knows the risk, volatility half of it, climatology none."""
    rng = np.random.default_rng(seed)
    n = days * 24
    risk = np.repeat(rng.normal(0, 2, (-(-n // 6), 2)), 6, axis=0)[:n]
    truth = rng.random((n, 2)) < 1 / (1 + np.exp(4 - risk))
    half = 1 / (1 + np.exp(3.3 - risk / 2 + rng.normal(0, 0.5, (n, 2))))
    said = {"network": 1 / (1 + np.exp(4 - risk)), "volatility": half, "climatology": np.full((n, 2), 0.06)}
    ts, rate = np.arange(n) * HOUR_NS, np.full((n, 2), truth.mean())
    return {name: Pool(ts, truth, said[name].astype(np.float32), rate) for name in names}


def market(days=DAYS, seed=0, **more):
    rng = np.random.default_rng(seed)
    n = days * 24
    close = 100 * np.exp(np.cumsum(rng.normal(0, 3e-3, n)))
    marks = np.stack([close, close * 1.001, close * 0.999, close], axis=1)
    place = np.stack([np.arange(n) % 3] * 2, axis=1)
    return Market(60, np.arange(n) * HOUR_NS, marks, {"trend": place}, {"trend": "return_240m"}, **more)


@pytest.fixture(scope="module")
def report():
    return evaluate_task("made-up", "validation", {60: pools()}, market(), draws=200)


def entry(report, model="network", side="long"):
    return next(e for e in report.entries if (e.model, e.side) == (model, side))


def test_there_is_an_entry_per_model_side_and_horizon():
    few = {name: pools(10, names=("network", "volatility")) for name in (15, 60)}
    report = evaluate_task("two", "test", few, market(10), draws=20)
    found = {(e.model, e.side, e.horizon_minutes) for e in report.entries}
    assert found == {(m, s, h) for m in ("network", "volatility") for s in SIDES for h in (15, 60)}
    assert len(report.entries) == len(found)


def test_figures_are_those_of_metrics(report):
    pool = pools()["network"]
    expected = metrics(pool.ts_ns, pool.truth[:, 1], pool.probability[:, 1].astype(float), pool.base_rate[:, 1])
    assert entry(report, side="short").figures == expected
    assert np.isnan(entry(report).deviations["ap"])


def test_terciles_share_out_the_rows_and_name_their_scalar(report):
    found = entry(report).terciles["trend"]
    assert tuple(found) == TERCILES["trend"]
    assert [row["rows"] for row in found.values()] == [DAYS * 8] * 3
    pool, among = pools()["network"], np.arange(DAYS * 24) % 3 == 2
    chosen = (pool.ts_ns, pool.truth[:, 0], pool.probability[:, 0].astype(float), pool.base_rate[:, 0])
    expected = metrics(*(array[among] for array in chosen))
    assert found["away from danger"] == expected | {"rows": float(among.sum())}
    assert report.regime_scalars == {"trend": "return_240m"}


def test_a_better_model_with_enough_events_is_better_and_a_baseline_is_not_compared(report):
    gains = entry(report).gains
    assert set(gains) == {"climatology", "volatility"}
    assert {gains["climatology"][name].verdict for name in ("ap", "auc", "brier", "log_loss")} == {"better"}
    assert gains["volatility"]["ap"].gain.low > 0
    assert entry(report, "volatility").gains == {}


def test_candidates_may_be_named_a_baseline_among_them():
    some = pools(60)
    report = evaluate_task("t", "test", {60: some}, market(60), candidates=("volatility",), draws=50)
    assert entry(report).gains == {}
    assert set(entry(report, "volatility").gains) == {"climatology"}


def test_under_fifty_episodes_it_is_inconclusive_whatever_the_interval_says():
    some = pools(15)
    report = evaluate_task("short", "validation", {60: some}, market(15), draws=100)
    found = entry(report)
    assert 0 < found.figures["episodes"] < 50
    said = {gain.verdict for gains in found.gains.values() for gain in gains.values()}
    assert said == {"inconclusive: under 50 episodes"}
    assert "inconclusive: under 50 episodes" in report.to_markdown()


def test_thresholds_come_from_the_first_half_or_from_earlier_rows_and_the_oracle_is_named(report):
    budgets = [(a.budget_per_day, a.found_on) for a in entry(report).alarms]
    assert budgets == [(b, where) for where in (FIRST_HALF, ORACLE) for b in BUDGETS_PER_DAY]
    assert all(a.figures.days == DAYS / 2 for a in entry(report).alarms)
    later = {n: replace(p, ts_ns=p.ts_ns + DAYS * 24 * HOUR_NS) for n, p in pools(seed=1).items()}
    told = evaluate_task("t", "test", {60: later}, market(), earlier={60: pools()}, draws=20)
    found = [a for a in entry(told).alarms if a.found_on == EARLIER]
    assert [a.budget_per_day for a in found] == list(BUDGETS_PER_DAY)
    assert all(a.figures.days == DAYS for a in found)
    oracle = {a.budget_per_day: a.figures for a in entry(told).alarms if a.found_on == ORACLE}
    assert all(figures.false_per_day <= budget for budget, figures in oracle.items())
    # The same world, so a threshold of earlier rows keeps its budget about as well.
    assert all(a.figures.false_per_day == pytest.approx(a.budget_per_day, rel=0.3) for a in found)
    assert all(a.figures.recall[0] > 0.2 for a in found)


def test_the_rows_that_are_scored_do_not_move_a_threshold_of_earlier_ones():
    later = {n: replace(p, ts_ns=p.ts_ns + 60 * 24 * HOUR_NS) for n, p in pools(60, seed=1).items()}
    other = {n: replace(p, truth=~p.truth) for n, p in later.items()}
    here, there = (
        evaluate_task("t", "test", {60: rows}, market(60), earlier={60: pools(60)}, draws=20) for rows in (later, other)
    )
    thresholds = [[a.figures.threshold for a in entry(r).alarms if a.found_on == EARLIER] for r in (here, there)]
    assert thresholds[0] == thresholds[1]


def test_the_second_half_does_not_move_a_threshold_of_the_first():
    some = pools(60, names=("network",))
    half = len(some["network"].ts_ns) // 2
    truth = some["network"].truth.copy()
    truth[half:] = ~truth[half:]
    other = {"network": replace(some["network"], truth=truth)}
    found = [evaluate_task("t", "validation", {60: rows}, market(60), draws=20) for rows in (some, other)]
    first, oracle = (
        [[a.figures.threshold for a in entry(r).alarms if a.found_on == where] for r in found]
        for where in (FIRST_HALF, ORACLE)
    )
    assert first[0] == first[1]
    assert oracle[0] != oracle[1]


def test_known_onsets_are_used():
    onset = np.array([100, 200]) * HOUR_NS + 7 * MINUTE_NS
    report = evaluate_task("t", "test", {60: pools(20)}, market(20, events_ns=(onset, onset[:0])), draws=20)
    events = [entry(report, side=side).alarms[0].figures for side in SIDES]
    assert events[0].events == 0  # both lie in the first half
    assert all(figures.lead_resolution_minutes == 0 for figures in events)
    late = evaluate_task("t", "test", {60: pools(20)}, market(20, events_ns=(onset + 240 * HOUR_NS,) * 2), draws=20)
    assert [entry(late, side=side).alarms[0].figures.events for side in SIDES] == [2, 2]


def test_seeds_are_a_mean_with_a_deviation():
    one = pools(60)["network"]
    noise = np.random.default_rng(1).normal(0, 0.02, one.probability.shape)
    other = replace(one, probability=np.clip(one.probability + noise, 1e-4, 1).astype(np.float32))
    rival = pools(60)["climatology"]
    report = evaluate_task("t", "test", {60: {"network": [one, other], "climatology": rival}}, market(60), draws=50)
    alone = [evaluate_task("t", "test", {60: {"network": p, "climatology": rival}}, market(60), draws=50)
             for p in (one, other)]  # fmt: skip
    aps = [entry(r).figures["ap"] for r in alone]
    found = entry(report)
    assert found.seeds == 2
    assert found.figures["ap"] == pytest.approx(np.mean(aps))
    assert found.deviations["ap"] == pytest.approx(np.std(aps, ddof=1))
    gains = [entry(r).gains["climatology"]["ap"].gain.observed for r in alone]
    assert found.gains["climatology"]["ap"].gain.observed == pytest.approx(np.mean(gains))
    assert "network (2 seeds)" in report.to_markdown()
    assert f"± {found.deviations['ap']:.3f}" in report.to_markdown()


def test_models_of_other_rows_are_refused():
    some = pools(10)
    some["volatility"] = pools(9)["volatility"]
    with pytest.raises(ValueError, match="volatility: 216 rows are not the 240"):
        evaluate_task("t", "test", {60: some}, market(10), draws=10)


def test_earlier_rows_must_be_earlier():
    some = pools(10)
    with pytest.raises(ValueError, match="network: earlier rows must end before"):
        evaluate_task("t", "test", {60: some}, market(10), earlier={60: {"network": some["network"]}}, draws=10)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"truth": False}, "none of 720 rows is positive"),
        ({"truth": True}, "all 720 rows are positive"),
        ({"probability": np.nan}, "abstained on all"),
        ({"probability": 0.25}, "constant"),
    ],
)
def test_what_cannot_be_scored_is_said_and_the_rest_is_written(change, said):
    some = pools(30, names=("network", "volatility"))
    wanted = {name: np.full_like(getattr(some["network"], name), value) for name, value in change.items()}
    some = {
        name: replace(pool, **(wanted if "truth" in change or name == "network" else {})) for name, pool in some.items()
    }
    report = evaluate_task("t", "test", {60: some}, market(30), draws=20)
    found = entry(report)
    assert said in found.reason
    ranked = "constant" in said
    assert np.isnan(found.figures["ap"]) != ranked
    assert said in report.to_markdown()
    if "probability" in change:
        assert entry(report, "volatility").reason is None
        assert np.isfinite(entry(report, "volatility").figures["ap"])
    decoded = json.loads(report.to_json())
    assert decoded["entries"][0]["reason"] == found.reason
    assert decoded["entries"][0]["figures"]["ap"] == (pytest.approx(found.figures["ap"]) if ranked else None)


def test_rows_at_which_one_of_a_pair_abstains_are_left_out_of_both():
    some = pools(120)
    holes = some["volatility"].probability.copy()
    holes[::5] = np.nan
    some["volatility"] = replace(some["volatility"], probability=holes)
    kept = np.ones(len(holes), bool)
    kept[::5] = False
    fewer = {n: Pool(*(getattr(p, f)[kept] for f in ("ts_ns", "truth", "probability", "base_rate")))
             for n, p in some.items()}  # fmt: skip
    whole, cut = (evaluate_task("t", "test", {60: p}, replace_regimes(market(120)), draws=30) for p in (some, fewer))
    assert entry(whole).gains["volatility"] == entry(cut).gains["volatility"]
    assert entry(whole).gains["climatology"] != entry(cut).gains["climatology"]
    assert entry(whole, "volatility").abstained == (~kept).sum()


def replace_regimes(found):
    return replace(found, regimes={}, regime_scalars={})


def test_markdown_puts_the_base_rate_beside_every_ap(report):
    text = report.to_markdown()
    heads = [line for line in text.splitlines() if line.startswith("| model")]
    assert len(heads) == 4
    scored = [head for head in heads if "| AP |" in head and "over" not in head]
    assert len(scored) == 2
    assert all("| AP | base rate |" in head for head in scored)
    assert "made-up: validation rows" in text
    for line in text.splitlines():
        assert line.count("|") in (0, *(head.count("|") for head in heads))


def test_the_terminal_table_has_a_row_per_entry(report):
    rows = report.table()
    assert [(row["model"], row["side"]) for row in rows] == [(e.model, e.side) for e in report.entries]
    assert rows[0]["AP"] == f"{report.entries[0].figures['ap']:.3f}"
    assert list(rows[0]).index("base rate") == list(rows[0]).index("AP") + 1


def test_json_holds_everything(report):
    decoded = json.loads(report.to_json())
    assert decoded["task"] == "made-up"
    first = decoded["entries"][0]
    assert first["figures"]["ap"] == pytest.approx(report.entries[0].figures["ap"])
    assert first["gains"]["climatology"]["ap"]["gain"]["low"] == entry(report).gains["climatology"]["ap"].gain.low
    assert len(first["alarms"]) == 2 * len(BUDGETS_PER_DAY)


def test_regimes_of_a_run_are_cut_by_each_blocks_training_rows(finished):
    prepared = finished.prepared
    tested = [r.block for r in finished.trained.blocks]
    found = market_of(prepared, tested)
    assert found.regime_scalars == {"volatility": "volatility_60m", "trend": "return_240m"}
    at = 0
    for block in tested:
        ts = prepared.rows.ts_ns
        train = prepared.positions[block.trains(ts) & (prepared.positions >= 0)]
        test = prepared.positions[block.tests(ts)]
        for regime, name in found.regime_scalars.items():
            column = prepared.own.scalars[:, :, prepared.own.scalar_names.index(name)]
            for s in range(2):
                borders = np.quantile(column[train, s], [1 / 3, 2 / 3])
                expected = np.where(test < 0, -1, (column[test, s][:, None] >= borders).sum(axis=1))
                np.testing.assert_array_equal(found.regimes[regime][at : at + len(test), s], expected)
        at += len(test)
    assert len(found.regimes["trend"]) == at


def test_the_onsets_of_a_label_of_events_are_what_lead_times_are_told_by(finished, small, monkeypatch):
    monkeypatch.setattr(baselines, "BASELINES", {"climatology": baselines.BASELINES["climatology"]})
    prepared, config = finished.prepared, finished.prepared.config
    assert onsets_of(prepared, small.lake) is None  # an amount in an interval has no moment
    constants = CascadeSpec(least_days=4.0)
    label = msgspec.structs.replace(config.spec.label, event="onset", threshold_usd=None, onset=constants)
    config = msgspec.structs.replace(config, spec=msgspec.structs.replace(config.spec, label=label))
    events = labelled(small.lake, config.spec).events
    assert len(events.onset_ns) > 0
    onsets = onsets_of(replace(prepared, config=config), small.lake)
    for side in range(2):
        np.testing.assert_array_equal(onsets[side], events.onset_ns[events.side == side])
    assert sum(map(len, onsets)) == len(events.onset_ns)
    found = assess_trained(replace(prepared, config=config), finished.trained, small.lake, test=False)
    for mine, told in zip(found.market.events_ns, onsets, strict=True):
        np.testing.assert_array_equal(mine, told)
    resolution = {alarm.figures.lead_resolution_minutes for each in found.report.entries for alarm in each.alarms}
    assert resolution == {0.0}


def test_what_the_referee_compares_with_is_a_table_of_its_own(report):
    gain = PairedGain(Gain(0.1, -0.05, 0.2), "not shown")
    said = [
        RefereedGain(rival=name, side="long", ap=0.35, rival_ap=0.25, gains={"ap": gain})
        for name in ("reference", "boosting")
    ]
    text = msgspec.structs.replace(report, refereed=tuple(said)).to_markdown()
    assert "| reference | long | 0.350 | 0.250 | +0.100 [-0.050, +0.200] | - | - | - | not shown |" in text
    assert "## Over the referee's reference and each of its members" in text
    assert "referee" not in report.to_markdown()


def test_pictures_are_of_both_sides_and_every_regime(tmp_path):
    some = pools(40)
    some["volatility"] = replace(some["volatility"], probability=np.full_like(some["volatility"].probability, np.nan))
    drawn = pictures(60, some, market(40), "network")
    assert set(drawn) == {f"{name}-{side}.png" for name in ("recall", "lead", "reliability-trend") for side in SIDES}
    for name, figure in drawn.items():
        save(figure, tmp_path / name)
    told = [text.get_text() for text in drawn["lead-long.png"].axes[0].get_legend().get_texts()]
    assert told[0].startswith("network: median 30.0 of ")
    assert told[1:] == ["volatility: none"]  # and climatology, a constant here, is not drawn
