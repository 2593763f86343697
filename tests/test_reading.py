"""`squeeze read`: the nine answers and what they imply, from two hours of three venues; and what is not recorded."""

import json
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from test_atlas import mirrored
from test_atlas import steps as atlas_steps

from squeeze.errors import ConfigError, DataError
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.market.steps import Step
from squeeze.patterns.pattern import FINDING
from squeeze.patterns.scene import SWEPT, ZONE
from squeeze.state import MarketState
from squeeze.tools.fold import Folded
from squeeze.tools.pictures import still
from squeeze.tools.pictures.panel import Heat, Level, Line
from squeeze.tools.reading import clusters, context, measured
from squeeze.tools.reading.answer import QUESTIONS
from squeeze.tools.reading.figure import figure
from squeeze.tools.reading.gather import Reading, Sweep, _Notes, read
from squeeze.tools.reading.market import found_spec
from squeeze.tools.reading.predictions import Prediction, of_target, predictions, touch_probability
from squeeze.tools.reading.profile import PROFILES, profiled
from squeeze.tools.reading.read import Read, answered, text
from tests.scenes import BIN_LOG, CLOSE_NS, market, rows, zone
from tests.venues import spec

SCALP = PROFILES["scalp"]
DOCS = Path(__file__).resolve().parents[1] / "docs"


def walked(steps, kept=None) -> Reading:
    kept = profiled(kept or spec(), SCALP)
    state = MarketState(kept)
    folded = (Folded(step, state, state.advance(step)) for step in steps)
    return read(folded, kept, SCALP, "simulated market", steps[-1].close_ns, steps[-60].close_ns)


@pytest.fixture(scope="module")
def here() -> Reading:
    return walked(atlas_steps(300, 3))


@pytest.fixture(scope="module")
def there() -> Reading:
    return walked([mirrored(step) for step in atlas_steps(300, 3)])


@pytest.fixture(scope="module")
def bare() -> Reading:
    """The same without books, funding, stamps in the last half hour, or liquidations."""
    steps = []
    for number, step in enumerate(atlas_steps(300, 3)):
        gone = {"book": None, "funding": (), "forecast": None, "liquidations": (), "liquidations_completeness": None}
        gone |= {} if number < 270 else {"open_interest": ()}
        parts = {name: msgspec.structs.replace(part, **gone) for name, part in step.venues.items()}
        steps.append(msgspec.structs.replace(step, venues=parts))
    return walked(steps)


def test_the_nine_questions_are_answered_in_order_and_survive_json(here):
    found = answered(here)
    assert [one.step for one in found.steps] == list(range(1, 10))
    assert tuple(one.question for one in found.steps) == QUESTIONS
    assert all(one.answer.endswith(".") for one in found.steps)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Read, strict=True) == found
    plain = json.loads(json.dumps(msgspec.to_builtins(found)))
    assert "NaN" not in json.dumps(plain)
    assert all(question in text(found) for question in QUESTIONS)


def test_what_is_read_is_what_the_scene_holds(here):
    found = answered(here)
    third = found.steps[2].numbers
    zones = here.scene.zones
    for side, name in enumerate(("long", "short")):
        own = zones[(zones["side"] == side) & (zones["near_log"] <= SCALP.reach_log)]
        assert third[f"clusters_{name}"] == own.size
        assert third[f"heaviest_{name}_usd"] == (own["mass_usd"].max() if own.size else None)
    assert found.steps[3].numbers["asymmetry_middle"] == here.finding("asymmetry", 1).score
    assert found.steps[7].numbers["funding_8h"] == here.scene.now["funding_8h"][0]
    assert found.mark == here.scene.now["mark"][0]
    assert here.since is not None
    assert here.since.now["close_ns"][0] == here.at_ns - 59 * MINUTE_NS


def test_the_mirrored_market_is_read_mirrored(here, there):
    mine, its = (answered(one).steps for one in (here, there))
    assert its[3].numbers["asymmetry_middle"] == pytest.approx(-mine[3].numbers["asymmetry_middle"], rel=1e-6)
    for one, other in (("long", "short"), ("short", "long")):
        for step, names in ((1, ("opened_within_share", "old_share")), (2, ("clusters",)), (6, ("void_share",))):
            for name in names:
                pair = mine[step].numbers[f"{name}_{one}"], its[step].numbers[f"{name}_{other}"]
                assert pair[0] == pytest.approx(pair[1], rel=1e-6), (step, name)
    first, second = (sorted((p.step, p.kind, p.side) for p in predictions(one)) for one in (here, there))
    assert [(step, kind, 1 - side) for step, kind, side in first] == sorted(
        second, key=lambda p: (p[0], p[1], 1 - p[2])
    )  # fmt: skip
    for p, q in zip(
        sorted(predictions(here), key=lambda p: (p.step, p.kind, p.side)),
        sorted(predictions(there), key=lambda p: (p.step, p.kind, 1 - p.side)),
        strict=True,
    ):
        assert p.probability == pytest.approx(q.probability, rel=1e-6)


def test_what_was_not_recorded_is_said_and_never_read_as_nothing(bare):
    found = answered(bare).steps
    assert set(found[0].not_recorded) == {"order book", "funding"}
    assert any("order book, was not recorded" in warning for warning in found[0].warnings)
    assert "order book" in found[2].not_recorded
    assert found[7].not_recorded == ("funding",)
    assert "Not known" in found[7].answer
    assert found[8].not_recorded == ("liquidations",)
    assert any("stale" in warning and "open interest" in warning for warning in found[1].warnings)
    assert not any("no wall" in line for one in found for line in one.evidence)


def test_the_future_changes_nothing_that_was_read(here):
    later = atlas_steps(330, 3)
    kept = profiled(spec(), SCALP)
    state = MarketState(kept)
    folded = (Folded(step, state, state.advance(step)) for step in later)
    again = read(folded, kept, SCALP, "simulated market", here.at_ns, later[299 - 59].close_ns)
    assert answered(again) == answered(here)


def test_sweeps_are_told_with_what_was_seen_of_them(here):
    def told(**change) -> str:
        usual = {"close_ns": here.at_ns - HOUR_NS, "side": 0, "usd": 2e6, "observed_share": 0.3, "phantom": 0.0,
                 "reopened_share": 0.1, "low": 100.0, "high": 101.0}  # fmt: skip
        reading = replace(here, sweeps=[Sweep(**(usual | change))])
        return context.depletion(reading).answer

    assert told() == "1 sweep in 6h: 1 confirmed."
    assert told(reopened_share=0.5) == "1 sweep in 6h: 1 reopened."
    assert told(observed_share=0.04, phantom=1.0) == "1 sweep in 6h: 1 phantom."
    assert told(observed_share=0.1) == "1 sweep in 6h: 1 partly seen."
    assert told(observed_share=math.nan, phantom=math.nan) == "1 sweep in 6h: 1 not known."


def test_a_sweep_is_kept_with_its_prices_until_all_is_known_of_it():
    notes = _Notes(compare_ns=0, since_ns=0, sweeps_from_ns=CLOSE_NS - HOUR_NS)
    found = np.zeros(2, FINDING)
    found["evidence"] = np.nan
    swept = zone(0, 0.01, ending=SWEPT, ended_ns=CLOSE_NS)
    scene = market()._replace(ended=rows(ZONE, swept, zone(0, 0.02, ending=SWEPT), zone(0, 0.03, ending=SWEPT + 1)))
    notes._sweeps(Folded(Step("S", CLOSE_NS, MINUTE_NS, {}), None, None), scene, found)
    assert notes.sweeps == {}, "the pattern has not judged it"
    for minutes, reopened in ((1, math.nan), (15, 0.6)):
        found[0]["evidence"][:] = 0.3, reopened, 0.0, math.nan, 2e6, minutes
        found[1]["evidence"][:] = 0.1, math.nan, 1.0, math.nan, 1e6, 70 + minutes  # before the window
        close_ns = CLOSE_NS + minutes * MINUTE_NS
        notes._sweeps(Folded(Step("S", close_ns, MINUTE_NS, {}), None, None), market(close_ns=close_ns), found)
    (one,) = notes.sweeps.values()
    assert (one.close_ns, one.side, one.usd, one.observed_share, one.reopened_share) == (CLOSE_NS, 0, 2e6, 0.3, 0.6)
    edges = [math.exp(n * BIN_LOG) for n in (zone(0, 0.02)["low_bin"], swept["end_bin"])]
    assert (one.low, one.high) == pytest.approx(tuple(edges))


def test_the_figure_holds_heat_levels_and_every_panel(here):
    predicted = (*predictions(here), *of_target(here, here.mark * 1.002))
    shown = figure(here, predicted)
    main = shown.grid[0][0]
    assert main is not None
    assert any(isinstance(layer, Heat) for layer in main.layers)
    assert any(isinstance(layer, Level) and "target?" in layer.name for layer in main.layers)
    assert [panel is None for panel in shown.grid[0]] == [False] * 4
    after = figure(here, predicted, here.at_ns - HOUR_NS)
    assert any(isinstance(layer, Line) and layer.name == "when it was read" for layer in after.grid[0][0].layers)
    assert "outcome" in after.title


def test_a_figure_is_drawn_without_a_book(bare, tmp_path):
    shown = figure(bare)
    assert "liquidation map over time" in shown.title
    still.save(shown, tmp_path / "a.png", 20)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_prediction_by_volatility_is_that_of_the_reflection_principle():
    rng = np.random.default_rng(0)
    paths = rng.normal(0, 0.01 / math.sqrt(400), (4000, 400)).cumsum(axis=1)
    for distance in (0.005, 0.01, 0.02):
        seen = (paths.max(axis=1) >= distance).mean()
        assert touch_probability(distance, 0.01) == pytest.approx(seen, abs=0.05)  # 400 steps overshoot a little


def test_predictions_that_cannot_be_graded_are_refused():
    usual = {"step": 3, "side": 0, "words": "w", "horizon_minutes": 60, "probability": 0.5, "basis": "b"}
    for kind in ("swept", "first", "touched", "crossed", "target", "cascade"):
        with pytest.raises(ValueError, match=kind):
            Prediction(kind=kind, **usual)
    with pytest.raises(ValueError, match="probability"):
        Prediction(kind="toward", **(usual | {"probability": 1.1}))


def test_every_measured_claim_is_what_the_studies_found():
    for one in measured.STUDIED:
        rows = json.loads((DOCS / f"study-{one.study}.json").read_text())["answers"]
        (row,) = [r for r in rows if (r["figure"], r["events"], r["group"]) == (one.figure, one.events, "all")]
        assert (one.n, one.verdict) == (row["n"], row["verdict"])
        assert (one.estimate, one.null) == pytest.approx((row["estimate"], row["null"]), abs=5e-5)
    docs = json.loads((DOCS / "pattern-rates.json").read_text())
    for rate in measured.RATES:
        for kind, said in (("null", rate.null), ("matter", rate.matter)):
            both = [r["flagged_share"] for r in docs["rates"] if (r["market"], r["pattern"]) == (kind, rate.pattern)]
            assert said == pytest.approx(sum(both) / 2, abs=5e-5)
        (follows,) = [
            r for r in docs["follows"] if (r["market"], r["pattern"], r["side"]) == ("matter", rate.pattern, "both")
        ]
        assert rate.verdict == follows["verdict"]
    assert {step for step in range(1, 10) if measured.measured(step)} == set(range(1, 10))


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_judges_age_for_its_own_horizon(name):
    profile = PROFILES[name]
    stale = profiled(spec(), profile).atlas.patterns.stale_timeframe
    is_short = stale.horizon_minutes <= stale.short_horizon_minutes
    assert (stale.short_limit_days if is_short else stale.long_limit_days) == profile.stale_days
    assert profile.map_hours == {"scalp": 24.0, "day": 24.0, "swing": 168.0}[name]


def test_a_run_without_the_profiles_view_is_refused():
    kept = spec()
    kept = msgspec.structs.replace(kept, map=msgspec.structs.replace(kept.map, view_hours=(12.0,)))
    with pytest.raises(ConfigError, match="the profile scalp reads 1d, there are 12h"):
        profiled(kept, SCALP)


class Names(Lake):
    """A lake of which only the names matter."""

    root = "here"

    def __init__(self, *names):
        self.held = [tuple(name.split()) for name in names]

    def names(self):
        return sorted(self.held)

    def partitions(self, kind, venue, symbol):
        return {"2025-01-01": "path"}


def test_a_market_is_found_from_what_a_lake_holds():
    lake = Names("bar_5m b S", "bar_15m b S", "open_interest b S", "trade a S", "liquidation_1h a+b S", "bar_1m c T",
                 "liquidation_30m a+b S")  # fmt: skip
    market = found_spec(lake, "S", SCALP).market
    assert (market.bars.venue, market.bars.kinds, market.step_seconds) == ("b", ("bar_5m", "bar_15m"), 300)
    assert (market.liquidations.venue, market.liquidations.kinds) == ("a+b", ("liquidation_30m",))
    assert [venue.venue for venue in market.venues] == ["a", "b"]
    other = found_spec(Names("bar_15m b S"), "S", PROFILES["swing"])
    assert (other.map.open_interest, other.market.mark, other.market.step_seconds) == ("volume", None, 900)
    with pytest.raises(DataError, match="no trades or bars of X; there is S, T"):
        found_spec(lake, "X", SCALP)
    with pytest.raises(DataError, match="no trades or bars of S"):
        found_spec(lake, "S", SCALP, 40 * 24 * HOUR_NS)


def test_steps_that_are_too_coarse_and_maps_too_young_are_warned_of(here):
    label = msgspec.structs.replace(here.spec.label, every_minutes=60)
    slow = msgspec.structs.replace(here.spec.market, step_seconds=900)
    coarse = msgspec.structs.replace(here.spec, market=slow, label=label)
    reading = replace(here, spec=coarse)
    warnings = context.timeframe(reading).warnings
    assert any("too coarse for a scalp trade" in warning for warning in warnings)
    assert any("the maps were filled for 5 h only" in warning for warning in warnings)


def test_votes_that_could_not_be_cast_are_not_votes_against(bare):
    zones = bare.scene.zones
    assert zones.size
    votes = clusters.votes_for(bare, zones[0], 0.003)
    assert math.isnan(votes["order book"])
    assert set(clusters.votes_for(bare, zones[0], math.nan).values()) != {0.0}
