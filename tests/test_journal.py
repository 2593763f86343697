"""`squeeze journal`: what was written stays as it was or is found out, and outcomes are told from what was recorded."""

import itertools
import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.cli import main
from squeeze.errors import DataError
from squeeze.market.events import HOUR_NS, MINUTE_NS, Bar, Funding, Liquidation, OpenInterest
from squeeze.market.lake import Lake
from squeeze.spec import LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from squeeze.tools.journal.chain import GENESIS, Entry, Journal, digest
from squeeze.tools.journal.grade import Graded, MarkPath, graded
from squeeze.tools.journal.table import scores
from squeeze.tools.reading.predictions import Prediction

BEGIN_NS = 20_000 * 24 * HOUR_NS
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def journal(tmp_path) -> Journal:
    """Three entries, the first with a figure."""
    found = Journal(tmp_path / "journal")
    (tmp_path / "a.png").write_bytes(PNG + b"a")
    found.add("read", "S", 5, {"profile": "day", "mark": 1.5}, {"before": tmp_path / "a.png"}, 7)
    found.add("read", "S", 6, {"profile": "day", "note": "Ω\n\u2028"}, None, 8)
    found.add("prediction", "S", 9, {"of": math.nan}, None, 10)
    return found


def test_entries_come_back_as_they_were_and_verify(journal):
    assert journal.verify() == []
    first, second, third = journal.entries()
    assert [e.number for e in (first, second, third)] == [0, 1, 2]
    assert (first.previous, second.previous, third.previous) == (GENESIS, first.hash, second.hash)
    assert first.body == {"profile": "day", "mark": 1.5}
    assert second.body["note"] == "Ω\n\u2028"
    assert third.body == {"of": None}, "JSON has no NaN"
    assert journal.find("1") == second == journal.find(second.name)
    assert (journal.folder / first.figures["before"].file).read_bytes() == PNG + b"a"
    assert len(journal.path.read_bytes().splitlines()) == 3


def test_an_empty_journal_verifies(tmp_path):
    assert (Journal(tmp_path).verify(), Journal(tmp_path).entries()) == ([], [])
    with pytest.raises(DataError, match="no entry 0"):
        Journal(tmp_path).find("0")


def test_what_is_added_leaves_every_byte_before_it_alone(journal):
    before = journal.path.read_bytes()
    journal.add("read", "S", 11, {})
    assert journal.path.read_bytes().startswith(before)


def changed(journal, number: int, **change) -> None:
    lines = journal.path.read_bytes().splitlines()
    entry = msgspec.json.decode(lines[number], type=Entry)
    lines[number] = msgspec.json.encode(msgspec.structs.replace(entry, **change))
    journal.path.write_bytes(b"\n".join(lines) + b"\n")


@pytest.mark.parametrize(
    "change", [{"body": {}}, {"at_ns": 4}, {"written_ns": 0}, {"kind": "grade"}, {"symbol": "T"}, {"figures": {}}]
)  # fmt: skip
def test_any_changed_field_is_found_out(journal, change):
    changed(journal, 0, **change)
    assert journal.verify() == ["line 1: was changed after it was written"]


def test_a_changed_entry_with_a_hash_of_its_own_breaks_the_next_link(journal):
    first = journal.entries()[0]
    forged = msgspec.structs.replace(first, body={})
    changed(journal, 0, body={}, hash=digest(forged))
    assert journal.verify(with_figures=False) == [
        "line 2: does not follow the one before: one was left out, put in or moved"
    ]


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(3)), st.integers(0, 2))
def test_lines_moved_or_left_out_are_found_out(tmp_path_factory, order, dropped):
    one = Journal(tmp_path_factory.mktemp("j"))
    for number in range(3):
        one.add("read", "S", number, {}, None, number)
    lines = one.path.read_bytes().splitlines()
    one.path.write_bytes(b"".join(lines[i] + b"\n" for i in order))
    assert bool(one.verify()) == (order != [0, 1, 2])
    one.path.write_bytes(b"".join(line + b"\n" for i, line in enumerate(lines) if i != dropped))
    assert bool(one.verify()) == (dropped != 2), "a cut end shows only against a head noted elsewhere"


@settings(deadline=None)
@given(st.data())
def test_no_byte_of_a_line_can_be_changed_unnoticed(tmp_path_factory, data):
    one = Journal(tmp_path_factory.mktemp("j"))
    for number in range(2):
        one.add("read", "S", number, {"mark": 1.5, "words": "a b"}, None, number)
    held = bytearray(one.path.read_bytes())
    before = [msgspec.to_builtins(e) for e in one.entries()]
    held[data.draw(st.integers(0, len(held) - 2))] = data.draw(st.integers(33, 126))
    one.path.write_bytes(bytes(held))
    faults = one.verify()
    assert faults or [msgspec.to_builtins(e) for e in one.entries()] == before


def test_a_changed_or_lost_figure_is_found_out(journal):
    figure = journal.folder / journal.entries()[0].figures["before"].file
    figure.write_bytes(PNG + b"b")
    assert "was changed" in journal.verify()[0]
    figure.unlink()
    assert "is gone" in journal.verify()[0]
    assert journal.verify(with_figures=False) == []


def test_an_unfinished_last_line_gives_way_and_a_finished_one_stays(journal):
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"number":3,"kin')
    assert journal.verify(), "until the next is added, it is a fault"
    journal.add("read", "S", 12, {}, None, 12)
    assert journal.path.read_bytes().startswith(whole)
    assert journal.verify() == []
    journal.path.write_bytes(journal.path.read_bytes().removesuffix(b"\n"))
    journal.add("read", "S", 13, {}, None, 13)
    assert journal.verify() == []
    assert [e.at_ns for e in journal.entries()] == [5, 6, 9, 12, 13]


def test_nothing_is_added_after_a_last_entry_that_was_changed(journal):
    changed(journal, 2, body={})
    before = journal.path.read_bytes()
    with pytest.raises(DataError, match="line 3: was changed"):
        journal.add("read", "S", 11, {})
    assert journal.path.read_bytes() == before


def path(*moves: tuple[float, float, float], start: int = 1, reaches: int = 60) -> MarkPath:
    """Steps of a minute with low, high and close, from the first minute on."""
    table = np.array(moves, dtype=float).reshape(-1, 3)
    close_ns = (np.arange(len(moves)) + start) * MINUTE_NS
    return MarkPath(close_ns, *table.T, reaches * MINUTE_NS, MINUTE_NS)


QUIET = (99.9, 100.1, 100.0)


def outcome(kind: str, moves, side: int = 1, near=None, far=None, **more) -> str:
    one = Prediction(step=3, kind=kind, side=side, words="w", horizon_minutes=4, probability=0.5, basis="b",
                     near=near, far=far)  # fmt: skip
    return graded(one, 0, 100.0, path(*moves, **more), Lake("nowhere"), SPEC).outcome


UP, DOWN = (99.9, 103.0, 102.0), (97.0, 100.1, 98.0)


@pytest.mark.parametrize(
    ("kind", "moves", "near", "far", "said"),
    [
        ("touched", [QUIET, UP, QUIET, QUIET], 103.0, None, "true"),
        ("touched", [QUIET, UP, QUIET, QUIET], 103.1, None, "false"),
        ("target", [QUIET, QUIET, QUIET, DOWN], 97.0, None, "true"),
        ("swept", [UP, QUIET, QUIET, QUIET], None, 103.0, "true"),
        ("swept", [UP, QUIET, QUIET, QUIET], None, 104.0, "false"),
        ("swept", [QUIET] * 4 + [UP], None, 103.0, "false"),  # after its time
        ("crossed", [UP, QUIET, QUIET, QUIET], 102.0, 103.0, "true"),
        ("crossed", [UP, QUIET, QUIET, QUIET], 102.0, 104.0, "false"),
        ("crossed", [QUIET] * 4, 102.0, 104.0, "void"),
        ("first", [QUIET, UP, DOWN, QUIET], 103.0, 97.0, "true"),
        ("first", [QUIET, DOWN, UP, QUIET], 103.0, 97.0, "false"),
        ("first", [QUIET, (97.0, 103.0, 100.0), QUIET, QUIET], 103.0, 97.0, "void"),
        ("first", [QUIET] * 4, 103.0, 97.0, "void"),
        ("toward", [QUIET, QUIET, QUIET, UP], None, None, "true"),
        ("toward", [QUIET, QUIET, UP, DOWN], None, None, "false"),
        ("toward", [QUIET] * 4, None, None, "void"),
    ],
)
def test_outcomes_are_told_from_the_range_of_the_mark(kind, moves, near, far, said):
    assert outcome(kind, moves, near=near, far=far) == said


@pytest.mark.parametrize("kind", ["touched", "swept", "first", "toward"])
def test_the_mirrored_path_has_the_same_outcomes(kind):
    for moves in itertools.product((QUIET, UP, DOWN), repeat=4):
        upside = [(1e4 / high, 1e4 / low, 1e4 / close) for low, high, close in moves]
        mine = outcome(kind, moves, 1, near=102.5, far=97.5 if kind == "first" else 102.9)
        its = outcome(kind, upside, 0, near=1e4 / 102.5, far=1e4 / (97.5 if kind == "first" else 102.9))
        assert mine == its


def test_a_hole_in_the_price_is_no_false_and_what_was_seen_is_true():
    assert outcome("touched", [QUIET, UP], near=103.0) == "true"
    assert outcome("touched", [QUIET, QUIET, QUIET], near=103.0) == "unknown"
    assert outcome("crossed", [QUIET, QUIET, QUIET], near=102.0, far=103.0) == "unknown"
    assert outcome("toward", [], near=None) == "unknown"
    assert outcome("touched", [UP] * 4, near=103.0, reaches=3) == "unknown", "its time is not over"


SPEC = Spec(
    market=MarketSpec(
        symbol="S", bars=StreamSpec(venue="v", kinds=("bar_1m",)),
        liquidations=StreamSpec(venue="v", kinds=("liquidation",)),
    ),
    map=MapSpec(open_interest="volume"),
    label=LabelSpec(name="x", threshold_usd=1e3, horizons_minutes=(60,), every_minutes=60, recorded="days"),
    signal=SignalSpec(horizon_minutes=60),
)  # fmt: skip


def bars(minutes: int, seed: int = 0):
    """A venue's bars, stamps, funding and prints: a walk about 60,000."""
    rng = np.random.default_rng(seed)
    log_price, interest = math.log(60_000.0), 1e5
    for minute in range(1, minutes + 1):
        at = {"venue": "v", "symbol": "S", "event_ns": BEGIN_NS + minute * MINUTE_NS}
        at["known_at_ns"] = at["event_ns"]
        opened, log_price = log_price, log_price + rng.normal(0, 1e-3)
        prices = {"open": math.exp(opened), "high": math.exp(max(opened, log_price) + 3e-4),
                  "low": math.exp(min(opened, log_price) - 3e-4), "close": math.exp(log_price)}  # fmt: skip
        interest *= math.exp(rng.normal(2e-4, 2e-3))
        if minute % 5 == 0:
            yield OpenInterest(**at, open_interest_base=interest)
        if minute % 480 == 0:
            yield Funding(**at, funding_rate=1e-4, interval_hours=8.0)
        if minute % 7 == 0:
            yield Liquidation(**at, side=minute % 2, usd=500.0, price=prices["close"])
        yield Bar(**at, **prices, cadence_ns=MINUTE_NS, volume_base=100.0, taker_buy_base=50.0)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    found = Lake(tmp_path_factory.mktemp("lake"))
    found.write_events(bars(900))
    return found


def test_a_predicted_cascade_is_graded_by_what_was_liquidated_in_time(lake):
    at_ns, reach = BEGIN_NS + 300 * MINUTE_NS, path(reaches=10**9)
    usd = {side: sum(e.usd for e in bars(360) if isinstance(e, Liquidation) and e.side == side
                     and at_ns <= e.event_ns < at_ns + HOUR_NS) for side in (0, 1)}  # fmt: skip
    assert min(usd.values()) > 500
    for side, more, said in ((0, 0.0, "false"), (0, -1.0, "true"), (1, 0.0, "false"), (1, -1.0, "true")):
        one = Prediction(step=0, kind="cascade", side=side, words="w", horizon_minutes=60, probability=0.5, basis="m",
                         threshold_usd=usd[side] + more)  # fmt: skip
        assert graded(one, at_ns, math.nan, reach, lake, SPEC).outcome == said
    late = BEGIN_NS + 880 * MINUTE_NS
    assert graded(one, late, math.nan, reach, lake, SPEC).outcome == "unknown", "the prints end within it"


def test_the_table_counts_hits_scores_and_hindsight():
    def entry(number, outcomes, written_ns=0):
        predictions = [Prediction(step=3, kind="toward", side=1, words="w", horizon_minutes=60, probability=p,
                                  basis="b") for p, _ in outcomes]  # fmt: skip
        rows = [Graded(prediction=p, outcome=said, why="") for p, (_, said) in zip(predictions, outcomes, strict=True)]
        body = {"profile": "day", "predictions": msgspec.to_builtins(predictions)}
        made = Entry(number=number, kind="read", symbol="S", at_ns=0, written_ns=written_ns, body=body, figures={},
                     previous="", hash=f"h{number}")  # fmt: skip
        grade = msgspec.structs.replace(made, kind="grade", hash=f"g{number}",
                                        body={"of": f"h{number}", "graded": msgspec.to_builtins(rows)})  # fmt: skip
        return made, grade

    first = entry(0, [(0.8, "true"), (0.6, "false"), (0.5, "void")])
    second = entry(1, [(0.4, "true"), (0.5, "unknown")], 2 * HOUR_NS)
    (row,) = scores([*first, *second])
    assert (row.judged, row.came_true, row.void, row.unknown, row.hindsight) == (3, 2, 1, 1, 2)
    assert row.brier == pytest.approx((0.04 + 0.36 + 0.36) / 3)
    assert row.brier_of_base == pytest.approx(2 / 9)
    assert row.predicted == pytest.approx(0.6)
    assert row.hit_low < row.hit_share < row.hit_high
    again = msgspec.structs.replace(first[1], body={"of": "h0", "graded": []})
    assert scores([*first, *second, again])[0].judged == 1, "the last grade of an entry counts"


def test_a_read_is_kept_graded_and_tabled_by_the_command(lake, tmp_path, capsys):
    kept = tmp_path / "journal"
    common = ["--lake", str(lake.root), "--journal", str(kept)]
    at = str(np.datetime64(BEGIN_NS + 780 * MINUTE_NS, "ns").astype("datetime64[s]"))
    drawn = ["--out", str(tmp_path / "a.png"), "--dpi", "30"]

    def run(*arguments: str):
        status = main([*arguments, *common])
        out, err = capsys.readouterr()
        return status, out, err

    status, out, err = run("read", "S", "--profile", "scalp", "--at", at, "--json", *drawn)
    assert status == 0, err
    said = json.loads(out)
    assert [step["step"] for step in said["steps"]] == list(range(1, 10))
    mark = said["mark"]
    since = str(np.datetime64(BEGIN_NS + 700 * MINUTE_NS, "ns").astype("datetime64[s]"))
    asked = ["checklist", "S", "--profile", "scalp", "--side", "short", "--at", at, "--since", since, *drawn]
    status, out, err = run(*asked, "--target", str(mark * 0.99), "--json")
    assert status == 0, err
    assert [one["verdict"] for one in json.loads(out)["answers"]][1] == "unknown", "no book was recorded"
    assert json.loads(out)["answers"][4]["verdict"] != "unknown"
    status, _, err = run(*asked, "--target", str(mark * 1.01))
    assert (status, "wants one below the mark" in err) == (2, True)

    status, out, err = run("journal", "grade", "--json")
    assert status == 0, err
    rows = json.loads(out)
    assert {row["entry"] for row in rows} == {0, 1}
    assert {row["outcome"] for row in rows} <= {"true", "false", "void"}
    low = min(e.low for e in bars(840) if isinstance(e, Bar) and e.event_ns > BEGIN_NS + 780 * MINUTE_NS)
    (target,) = [row for row in rows if "target" in row["what"]]
    assert target["outcome"] == ("true" if low <= mark * 0.99 else "false")
    entries = Journal(kept).entries()
    assert [e.kind for e in entries] == ["read", "checklist", "grade", "grade"]
    assert all("after" in e.figures for e in entries[2:])
    assert run("journal", "grade", "--json")[1].strip() == "[]", "each is graded once"

    status, out, _ = run("journal", "table", "--json")
    assert (status, {row["profile"] for row in json.loads(out)}) == (0, {"scalp"})
    status, out, _ = run("journal", "verify", "--json")
    assert (status, json.loads(out)[0]["head"]) == (0, entries[-1].hash)
    assert run("journal", "verify", "--head", "0" * 12)[0] == 2
    for name in ("0", "1", "2", entries[0].name):
        assert run("journal", "show", name)[0] == 0
    assert run("journal", "list")[0] == 0
    changed(Journal(kept), 0, at_ns=1)
    status, _, err = run("journal", "verify")
    assert (status, "was changed after it was written" in err) == (2, True)
    assert run("journal", "table")[0] == 2
