"""Alert rules tell what comes true, once, from what is known, and the same of the mirrored market."""

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import squeeze
from squeeze.atlas_spec import AtlasSpec
from squeeze.errors import ConfigError, StepError
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.patterns.catalogue import NAMES
from squeeze.signals.message import AlertMessage, decode, encode
from squeeze.signals.rule_spec import RulesSpec, never
from squeeze.signals.rules import Rules, read_rules
from squeeze.signals.view import View, Word, ZoneView
from squeeze.spec import StreamSpec, VenueSpec
from squeeze.stream import Stream
from squeeze.strict import convert
from squeeze.tools.study.task import simulated_task

ROOT = Path(__file__).parents[1]
T0 = 20_000 * 24 * 60 * MINUTE_NS
PLAIN = simulated_task().spec
MARKET = replace(
    PLAIN.market, funding=StreamSpec(venue="simulated", kinds=("funding",)),
    venues=(VenueSpec(venue="other", kinds=("trade", "book")),),
)  # fmt: skip
SPEC = replace(
    PLAIN, market=MARKET, atlas=AtlasSpec(),
    label=replace(PLAIN.label, horizons_minutes=(15, 60)),
)  # fmt: skip


def rules_of(*rules, spec=SPEC):
    return Rules(
        convert({"rules": [{"name": f"rule {i}"} | rule for i, rule in enumerate(rules)]}, RulesSpec, "t"), spec
    )


NEAR = {"when": {"is": "cluster_near", "least_share": 0.01, "within_percent": 1.0}}
GREW = {"when": {"is": "cluster_changed", "grew": True, "by_percent": 50, "within_minutes": 32}}
THINNED = {"when": {"is": "cluster_changed", "grew": False, "by_percent": 50, "within_minutes": 32}}
PROBABLE = {"when": {"is": "probability", "horizon_minutes": 60, "level": 0.3}}
FUNDING = {"when": {"is": "funding", "rate_8h": 0.0005}}
DIVERGENCE = {"when": {"is": "pattern", "pattern": "divergence"}}
ALL = (NEAR, GREW, THINNED, PROBABLE, FUNDING, DIVERGENCE)


def zone(side=0, near=0.005, share=0.02, name=None):
    sign = (-1, 1)[side]
    edges = sorted(100 * math.exp(sign * d) for d in (near, near + 0.002))
    return ZoneView(
        id=name or f"{('long', 'short')[side]}-1", side=side, low=edges[0], high=edges[1], centroid=sum(edges) / 2,
        near_log=near, far_log=near + 0.002, mass_share=share, mass_usd=share * 1e9, peak_6h_share=share,
        thickness_rank=0.5, age_hours=3.0, born_ns=T0, major=True, stack=1,
    )  # fmt: skip


def view(minute=0.0, p=None, **facts):
    now_ns = T0 + round(minute * MINUTE_NS)
    word = None if p is None else Word(ts_ns=now_ns, probabilities=p)
    return View(**{"now_ns": now_ns, "word": word, "mark": 100.0, "mark_ns": now_ns} | facts)


def told(rules, *views):
    return [(v.now_ns, one.rule, one.facts["side"]) for v in views for one in rules.look(v)]


def counts(rules, *views):
    return [len(rules.look(v)) for v in views]


def test_a_cluster_within_reach_tells_once_with_its_facts():
    rules = rules_of(NEAR)
    far = [view(0, zones=(zone(near=0.0101),)), view(1, zones=(zone(share=0.0099),))]
    assert counts(rules, *far) == [0, 0]
    (alert,) = rules.look(view(2, zones=(zone(near=0.01, share=0.01), zone(1, near=0.02))))
    assert alert.text == "a cluster of 1.00% of open interest lies within 1% below"
    assert (alert.facts["side"], alert.facts["zone"], alert.facts["value"], alert.facts["level"]) == (
        "long", "long-1", 0.01, 0.01,
    )  # fmt: skip
    assert rules.look(view(2, zones=(zone(near=0.01, share=0.01),))) == []


def test_a_zone_that_the_mark_has_passed_is_not_near():
    assert counts(rules_of(NEAR), view(0, zones=(zone(near=-0.003),))) == [0]
    assert counts(rules_of(NEAR), view(0, zones=(zone(near=-0.001),))) == [1]  # inside


@pytest.mark.parametrize(("rule", "shares", "at"), [
    (GREW, [0.02, 0.022, 0.0299, 0.03], 3), (THINNED, [0.02, 0.018, 0.0101, 0.01], 3),
    (GREW, [0.001, 0.0015, 0.0029, 0.003], 3), (GREW, [0.001, 0.0015, 0.0029, 0.0029], None),
])  # fmt: skip
def test_a_cluster_tells_when_it_has_changed_by_so_much(rule, shares, at):
    found = counts(rules_of(rule), *(view(2 * i, zones=(zone(share=share),)) for i, share in enumerate(shares)))
    assert found == [int(i == at) for i in range(len(shares))]


def test_a_change_counts_within_its_time_only():
    slow = [view(i, zones=(zone(share=0.02 * 1.004**i),)) for i in range(200)]  # 14 % in 32 minutes
    assert sum(counts(rules_of(GREW), *slow)) == 0
    late = [view(0, zones=(zone(),)), view(32, zones=(zone(share=0.03),))]
    assert counts(rules_of(GREW), *late) == [0, 1]
    late = [view(0, zones=(zone(),)), view(32.1, zones=(zone(share=0.03),))]
    assert counts(rules_of(GREW), *late) == [0, 0]


def test_zones_of_other_names_are_not_compared():
    found = counts(rules_of(GREW, THINNED), view(0, zones=(zone(name="long-1"),)),
                   view(1, zones=(zone(name="long-2", share=0.09),)))  # fmt: skip
    assert found == [0, 0]


def test_hysteresis_and_cooldown():
    rules = rules_of(PROBABLE | {"hysteresis": 0.1, "cooldown_minutes": 10})
    said = [(0, 0.29), (1, 0.3), (2, 0.28), (3, 0.31), (4, 0.26), (5, 0.3), (12, 0.26), (13, 0.3), (14, 0.9)]
    views = [view(minute, ((0.1, p), (0.1, 0.1))) for minute, p in said]
    # at 5 it rests, and it goes up without a word; at 12 it comes down, and at 13 it tells again
    assert counts(rules, *views) == [0, 1, 0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("word", [None, Word(ts_ns=T0, probabilities=None), Word(ts_ns=T0 - 121 * SECOND_NS,
                                  probabilities=((0.9, 0.9), (0.9, 0.9)))])  # fmt: skip
def test_a_model_that_abstains_or_whose_word_is_old_tells_nothing(word):
    assert counts(rules_of(PROBABLE), view(word=word)) == [0]
    fresh = Word(ts_ns=T0 - 120 * SECOND_NS, probabilities=((0.9, 0.9), (0.9, 0.9)))
    assert counts(rules_of(PROBABLE), view(word=fresh)) == [2]


def loud(minute=0.0, **facts):
    """A look at which every rule but those of change is up on both sides."""
    return view(
        minute, ((0.5, 0.9), (0.5, 0.9)), zones=(zone(), zone(1)), patterns=dict.fromkeys(NAMES, (True, True)),
        **{"funding_8h": 0.001} | facts,
    )  # fmt: skip


@pytest.mark.parametrize(("stale", "left"), [
    ((), {"rule 0", "rule 3", "rule 4", "rule 5"}), (("clock",), set()), (("price",), {"rule 3", "rule 4"}),
    (("map",), {"rule 3", "rule 4"}), (("venues",), {"rule 0", "rule 3", "rule 4"}),
])  # fmt: skip
def test_a_rule_is_silent_while_what_it_needs_is_stale(stale, left):
    assert {one.rule for one in rules_of(*ALL).look(loud(stale=stale))} == left


def test_what_was_told_is_not_told_again_after_a_restart_from_an_older_snapshot():
    rules = rules_of(*ALL)
    rules.look(view(0))
    older = rules.snapshot()
    assert rules.look(loud(1))
    after = rules_of(*ALL)
    after.restore(older)
    masses = dict(after.snapshot().masses)
    after.restore(rules.told())
    assert after.look(loud(2)) == []
    assert rules.told().masses == {}
    assert masses.items() <= after.snapshot().masses.items() or masses


def test_what_was_not_recorded_tells_nothing_and_moves_no_rule():
    assert rules_of(*ALL).look(View(now_ns=T0, word=None)) == []
    rules = rules_of(*ALL, FUNDING | {"cooldown_minutes": 0})
    assert len(rules.look(loud())) == 2 * 3 + 2
    assert rules.look(View(now_ns=T0 + MINUTE_NS, word=None)) == []
    assert rules.look(loud(2)) == []  # they were up all the time, as far as anybody knows


def test_funding_is_paid_by_one_side():
    rules = rules_of(FUNDING | {"cooldown_minutes": 0})
    found = told(rules, *(view(i, funding_8h=rate) for i, rate in enumerate([0.0004, 0.0006, -0.0006, math.nan])))
    assert [side for _, _, side in found] == ["long", "short"]


def test_side_restricts_and_names_of_patterns_are_the_catalogues():
    only = rules_of(DIVERGENCE | {"side": "short"}, {"when": {"is": "pattern", "pattern": "stacked_zones"}})
    found = only.look(view(patterns={"heat_divergence": (True, True), "stacked_zones": (True, False)}))
    assert [(one.rule, one.facts["side"]) for one in found] == [("rule 0", "short"), ("rule 1", "long")]


def mirrored(seen):
    swap = {0: 1, 1: 0}
    zones = tuple(
        replace(z, side=swap[z.side], low=1e4 / z.high, high=1e4 / z.low, centroid=1e4 / z.centroid,
                id=z.id.translate(str.maketrans("ab", "ba")))
        for z in seen.zones
    )  # fmt: skip
    word = seen.word
    if word is not None and word.probabilities is not None:
        word = replace(word, probabilities=word.probabilities[::-1])
    return replace(
        seen, zones=zones, word=word, funding_8h=-seen.funding_8h,
        patterns={name: flags[::-1] for name, flags in seen.patterns.items()},
    )  # fmt: skip


SHARE = st.one_of(st.sampled_from([0.0, math.nan, 0.004, 0.02]), st.floats(0.001, 0.05))
LOOK = st.fixed_dictionaries({
    "gap": st.integers(1, 900), "near": st.tuples(*[st.floats(-0.004, 0.03)] * 2), "share": st.tuples(SHARE, SHARE),
    "p": st.one_of(st.none(), st.tuples(st.floats(0, 1), st.floats(0, 1))), "stale": st.sampled_from(
        [(), (), (), ("map",), ("price",), ("clock",), ("venues",)]),
    "funding": st.sampled_from([math.nan, 0.0, 0.0006, -0.0006]),
    "flags": st.one_of(st.none(), st.tuples(st.booleans(), st.booleans())),
})  # fmt: skip


def views_of(looks):
    now_ns, found = T0, []
    for look in looks:
        now_ns += look["gap"] * SECOND_NS
        zones = tuple(zone(s, look["near"][s], look["share"][s], "ab"[s]) for s in range(2))
        word = None if look["p"] is None else Word(ts_ns=now_ns, probabilities=tuple((0.0, p) for p in look["p"]))
        patterns = {} if look["flags"] is None else {"venue_divergence": look["flags"]}
        found.append(View(now_ns=now_ns, word=word, mark=100.0, mark_ns=now_ns, zones=zones, stale=look["stale"],
                          funding_8h=look["funding"], patterns=patterns))  # fmt: skip
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(LOOK, max_size=25))
def test_the_mirrored_market_gives_the_mirrored_alerts(looks):
    views, swap = views_of(looks), {"long": "short", "short": "long"}
    plain, flipped = rules_of(*ALL), rules_of(*ALL)
    for seen in views:
        one = [(a.rule, a.facts["side"], a.facts["value"]) for a in plain.look(seen)]
        other = [(a.rule, swap[a.facts["side"]], a.facts["value"]) for a in flipped.look(mirrored(seen))]
        assert sorted(one) == sorted(other)


@settings(max_examples=60, deadline=None)
@given(st.lists(LOOK, min_size=1, max_size=25), st.integers(0, 24))
def test_a_snapshot_anywhere_goes_on_as_if_nothing_had_happened_and_facts_are_json(looks, cut):
    views = views_of(looks)
    whole, first, second = rules_of(*ALL), rules_of(*ALL), rules_of(*ALL)
    expected = [whole.look(seen) for seen in views]
    found = [first.look(seen) for seen in views[:cut]]
    state = msgspec.msgpack.encode(first.snapshot())
    second.restore(msgspec.msgpack.decode(state, type=type(first.snapshot())))
    assert msgspec.msgpack.encode(second.snapshot()) == state
    assert found + [second.look(seen) for seen in views[cut:]] == expected
    for alert in (a for some in expected for a in some):
        assert all(isinstance(v, str) or math.isfinite(v) for v in alert.facts.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(LOOK, max_size=25))
def test_no_alert_from_what_is_stale_and_never_two_within_a_cooldown(looks):
    rules, last = rules_of(*ALL), {}
    for seen in views_of(looks):
        for alert in rules.look(seen):
            assert "clock" not in seen.stale
            assert alert.rule in ("rule 3", "rule 4") or not {"map", "price"} & {*seen.stale}
            key = alert.rule, alert.facts["side"]
            assert seen.now_ns - last.get(key, -(10**18)) >= 15 * MINUTE_NS
            assert alert.facts["value"] >= alert.facts["level"]
            last[key] = seen.now_ns


def test_memory_is_bounded_and_a_clock_that_goes_back_is_refused():
    rules = rules_of(GREW)
    for i in range(5000):
        rules.look(view(i / 60, zones=(zone(),)))
    assert len(rules.snapshot().masses["rule 0"]) <= 34
    with pytest.raises(StepError, match="must not go back"):
        rules.look(view(1))


def test_a_rule_that_was_changed_begins_anew_and_others_go_on():
    before = rules_of(PROBABLE, FUNDING)
    assert len(before.look(loud())) == 3
    after = rules_of(PROBABLE, FUNDING | {"cooldown_minutes": 1})
    after.restore(before.snapshot())
    assert [one.rule for one in after.look(loud(2))] == ["rule 1"]


@pytest.mark.parametrize(("rule", "spec", "why"), [
    (PROBABLE | {"when": PROBABLE["when"] | {"horizon_minutes": 30}}, SPEC, "horizons are 15, 60"),
    (FUNDING, PLAIN, "reads no funding"),
    (DIVERGENCE, PLAIN, "no atlas"),
    (NEAR | {"when": NEAR["when"] | {"within_percent": 0.04}}, SPEC, "a bin of the map is 0.05%"),
    ({"when": {"is": "pattern", "pattern": "venue_divergence"}}, replace(PLAIN, atlas=AtlasSpec()), "single venue"),
    ({"when": {"is": "pattern", "pattern": "iceberg"}}, replace(PLAIN, atlas=AtlasSpec()), "no order book"),
    ({"when": {"is": "pattern", "pattern": "funding_extreme"}}, replace(PLAIN, atlas=AtlasSpec()), "no funding"),
])  # fmt: skip
def test_a_rule_that_can_never_come_true_is_refused_with_the_reason(rule, spec, why):
    with pytest.raises(ConfigError, match=f"'rule 0' can never come true.*{why}"):
        rules_of(rule, spec=spec)


def test_every_pattern_can_be_named_and_the_whole_market_refuses_none():
    for name in NAMES:
        rules = rules_of({"when": {"is": "pattern", "pattern": name}})
        assert never(rules.rules["rule 0"].when, SPEC) == ""


@pytest.mark.parametrize(("text", "why"), [
    ("rules: [{name: a, when: {is: moon}}]", "when"),
    ("rules: [{name: a, when: {is: funding, rate_8h: 2}}]", "rate_8h"),
    ("rules: [{name: a, when: {is: pattern, pattern: moon}}]", "there is no 'moon'"), ("[", "is no YAML"),
    ("rules: [{name: scorecard, when: {is: funding, rate_8h: 0.1}}]", "own alerts"),
    ("rules: [{name: a, when: {is: funding, rate_8h: 0.1}}, {name: a, when: {is: funding, rate_8h: 0.1}}]", "once"),
    ("rules: [{name: a, cool: 1, when: {is: funding, rate_8h: 0.1}}]", "cool"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path, text, why):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"a.yaml.*{why}"):
        read_rules(tmp_path / "a.yaml")


def test_the_file_that_ships_is_read_and_holds_each_kind():
    shipped = read_rules(ROOT / "configs" / "alerts.yaml")
    assert {type(rule.when).__name__ for rule in shipped.rules} == {
        "ClusterNear", "ClusterChanged", "ProbabilityOver", "FundingExtreme", "PatternSeen",
    }  # fmt: skip
    Rules(shipped, SPEC)


def test_an_alert_is_a_message_of_the_stream_with_the_next_number():
    stream = Stream(squeeze.load(ROOT / "models" / "squeeze-simulator.onnx"))
    messages = [stream.alert(T0, "near", "a cluster", {"side": "long", "value": 0.5}) for _ in range(2)]
    assert [m.stream_seq for m in messages] == [0, 1]
    assert isinstance(messages[0], AlertMessage)
    assert decode(encode(messages[0])) == messages[0]
    assert messages[0].valid_until_us - messages[0].ts_data_us == 15 * 60 * 1_000_000
    assert messages[0].event_id != messages[1].event_id
