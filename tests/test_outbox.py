"""What is kept before anything is sent: the file, its writer, and the couriers that bring it to the sinks."""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading

import pytest
from emitting import InMemory, Kept, abstain, abstains, entry, eventually, exit_, heartbeat
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.emitter.delivery import IDLE, Courier, Delivery
from squeeze.emitter.emitter import Emitter
from squeeze.emitter.letter import now_us, seal
from squeeze.emitter.outbox import DAY_US, Mailbox, Outbox
from squeeze.emitter.resend import resend
from squeeze.emitter.sinks.config import sinks_of
from squeeze.emitter.sinks.sink import Refused, SinkDown
from squeeze.emitter.verbs import EMITTER_VERBS
from squeeze.emitter.writer import Writer
from squeeze.errors import ConfigError, OutboxError
from squeeze.signals.message import decode


def sealed(*messages, at=None):
    return [seal(message, at or now_us()) for message in messages]


def numbers(outbox, sink="a"):
    mailbox = Mailbox(outbox.path, sink)
    try:
        return [letter.stream_seq for letter in mailbox.letters(1000)]
    finally:
        mailbox.close()


@pytest.fixture
def outbox(tmp_path):
    with Outbox(tmp_path / "o.sqlite") as found:
        found.register(["a"])
        yield found


# The file


def test_what_was_stored_is_there_again_with_its_state(tmp_path):
    with Outbox(tmp_path / "o.sqlite") as outbox:
        outbox.register(["a"])
        outbox.store(sealed(*abstains(3)), {"SIMUSDT": b"after 2"})
        outbox.store(sealed(abstain(3)), {})
    with Outbox(tmp_path / "o.sqlite") as outbox:
        assert outbox.state("SIMUSDT") == b"after 2"
        assert outbox.newest_seq("SIMUSDT") == 3
        assert numbers(outbox) == [0, 1, 2, 3]
        assert outbox.state("BTCUSDT") is None
        assert outbox.newest_seq("BTCUSDT") is None


def test_the_time_of_emission_is_filled_in_once_and_kept(outbox):
    before = now_us()
    message = abstain(0)
    outbox.store(sealed(message), {})
    (letter,) = Mailbox(outbox.path, "a").letters(10)
    assert before <= letter.ts_emit_us <= now_us()
    assert decode(letter.body).ts_emit_us == letter.ts_emit_us
    assert message.ts_emit_us is None
    outbox.store(sealed(message, at=letter.ts_emit_us + 999), {})  # again, as after a commit of uncertain outcome
    assert Mailbox(outbox.path, "a").letters(10) == [letter]


@pytest.mark.parametrize("wrong", [[1, 3], [2], [0, 0]])
def test_a_number_that_does_not_follow_is_refused_and_all_that_came_with_it(outbox, wrong):
    outbox.store(sealed(abstain(0)), {"SIMUSDT": b"first"})
    others = [abstain(seq, event_id=f"{i:016}") for i, seq in enumerate(wrong)]
    with pytest.raises(OutboxError, match=r"after 0 comes 1|after 1 comes 2"):
        outbox.store(sealed(*others), {"SIMUSDT": b"second"})
    assert outbox.state("SIMUSDT") == b"first"
    assert numbers(outbox) == [0]
    outbox.store(sealed(abstain(1)), {})
    assert numbers(outbox) == [0, 1]


def test_one_event_under_two_numbers_is_refused(outbox):
    outbox.store(sealed(abstain(0)), {})
    with pytest.raises(OutboxError, match="was there before"):
        outbox.store(sealed(abstain(1, event_id=abstain(0).event_id)), {})
    assert numbers(outbox) == [0]


def test_streams_count_each_for_themselves_and_keep_their_order(outbox):
    outbox.store(sealed(abstain(7, "A"), abstain(0, "B"), abstain(8, "A")), {"A": b"a", "B": b"b"})
    outbox.store(sealed(abstain(1, "B")), {"B": b"b2"})
    assert numbers(outbox) == [7, 0, 8, 1]
    assert (outbox.newest_seq("A"), outbox.newest_seq("B")) == (8, 1)
    assert (outbox.state("A"), outbox.state("B")) == (b"a", b"b2")


def test_a_new_sink_begins_with_what_is_said_from_then_on(outbox):
    outbox.store(sealed(*abstains(3)), {})
    outbox.register(["a", "late"])
    outbox.store(sealed(abstain(3)), {})
    assert numbers(outbox, "a") == [0, 1, 2, 3]
    assert numbers(outbox, "late") == [3]
    with pytest.raises(OutboxError, match="no sink 'other' is registered"):
        Mailbox(outbox.path, "other")


def test_only_what_is_old_and_taken_by_all_is_forgotten(outbox):
    outbox.register(["b"])
    long_ago = now_us() - 8 * DAY_US
    outbox.store(sealed(*abstains(4), at=long_ago) + sealed(abstain(4)), {})
    for sink, position in (("a", 5), ("b", 2)):
        Mailbox(outbox.path, sink).advance(position, [], now_us())
    assert outbox.retire(["a", "b"], now_us(), 7.0) == 2  # b has yet to take the third and fourth
    Mailbox(outbox.path, "b").advance(5, [], now_us())
    assert outbox.retire(["a", "b"], now_us(), 7.0) == 2  # the fifth is young
    assert outbox.newest_seq("SIMUSDT") == 4
    outbox.store(sealed(abstain(5)), {})
    assert [numbers(outbox, sink) for sink in "ab"] == [[5], [5]]


def test_a_file_that_is_no_outbox_is_refused_and_left_as_it_was(tmp_path):
    text, other, later = tmp_path / "text", tmp_path / "other.sqlite", tmp_path / "later.sqlite"
    text.write_bytes(b"a file of somebody's\n" * 100)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE runs (name TEXT)")
    Outbox(later).close()
    with sqlite3.connect(later) as db:
        db.execute("PRAGMA user_version = 9")
    for path, said in (
        (text, "no outbox, or a damaged one"),
        (other, "no outbox of this program"),
        (later, "schema 9"),
    ):
        before = path.read_bytes()
        with pytest.raises(OutboxError, match=said):
            Outbox(path)
        assert path.read_bytes() == before
    with pytest.raises(OutboxError, match="not a file"):
        Outbox(tmp_path)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "o.sqlite"
    with Outbox(path) as outbox:
        outbox.register(["a"])
        outbox.store(sealed(*abstains(200)), {"SIMUSDT": bytes(50_000)})
    whole = bytearray(path.read_bytes())
    for page in range(1, len(whole) // 4096):
        whole[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(whole)
    with pytest.raises(OutboxError, match="damaged"):
        Outbox(path)


def test_a_file_that_a_killed_process_had_only_begun_is_taken_over(tmp_path):
    path = tmp_path / "o.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size > 0
    with Outbox(path) as outbox:
        outbox.store(sealed(abstain(0)), {})


def test_one_process_writes(tmp_path):
    with Outbox(tmp_path / "o.sqlite"), pytest.raises(OutboxError, match="another process writes it"):
        Outbox(tmp_path / "o.sqlite")
    Outbox(tmp_path / "o.sqlite").close()


# The writer


def test_a_full_disk_loses_nothing_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("squeeze.emitter.writer.AGAIN_SECONDS", 0.01)
    sink = Kept()
    with Emitter(tmp_path / "o.sqlite", [InMemory(name="a", sink=sink)]) as emitter:
        emitter.emit(abstains(3), {"SIMUSDT": bytes(100)})
        eventually(lambda: not emitter.waiting)
        db = emitter._outbox._db
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 1}")
        emitter.emit(abstains(50, 3), {"SIMUSDT": bytes(50_000)})
        emitter.emit(abstains(50, 53), {"SIMUSDT": bytes(60_000)})
        eventually(lambda: emitter.health() == ("outbox: database or disk is full",))
        assert sink.numbers == [0, 1, 2]  # nothing is sent that is not kept
        assert emitter.state("SIMUSDT") == bytes(100)
        assert emitter.waiting == 100
        emitter.beat(heartbeat(102))  # is not held up by what cannot be kept
        eventually(lambda: sink.letters[-1].type == "heartbeat")
        db.execute("PRAGMA max_page_count = 1000000")
        eventually(lambda: not emitter.waiting)
        assert emitter.health() == ()
        assert [x.stream_seq for x in sink.letters if x.type != "heartbeat"] == list(range(103))
        assert emitter.state("SIMUSDT") == bytes(60_000)


def test_a_disk_that_takes_nothing_for_too_long_stops_who_emits_before_the_memory_is_full(outbox, monkeypatch):
    monkeypatch.setattr("squeeze.emitter.writer.MOST_WAITING", 4)
    monkeypatch.setattr("squeeze.emitter.writer.AGAIN_SECONDS", 0.01)
    takes = threading.Event()
    original = outbox.store

    def store(letters, states):
        if not takes.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        original(letters, states)

    outbox.store = store
    writer = Writer(outbox, lambda: None, lambda beat: None)
    writer.put(sealed(*abstains(4)), {})
    eventually(lambda: writer.problem)
    with pytest.raises(OutboxError, match="4 messages wait for the disk: database or disk is full"):
        writer.put(sealed(abstain(4)), {})
    takes.set()
    assert writer.close(10.0)
    assert outbox.newest_seq("SIMUSDT") == 3


def test_a_message_that_cannot_be_kept_at_all_stops_who_emits(tmp_path):
    with Emitter(tmp_path / "o.sqlite", []) as emitter:
        emitter.emit([abstain(0)], {})
        emitter.emit([abstain(5)], {})
        eventually(lambda: emitter.health())
        with pytest.raises(OutboxError, match="after 0 comes 1, got 5"):
            emitter.emit([abstain(6)], {})
        with pytest.raises(ValueError, match="mark"):
            emitter.emit([abstain(6, mark="nan")], {})


def test_a_heartbeat_goes_out_after_all_that_was_said_before_it(outbox):
    said = []
    holding = threading.Event()
    original = outbox.store

    def store(letters, states):
        holding.wait(10)
        original(letters, states)
        said.extend(x.stream_seq for x in letters)

    outbox.store = store
    writer = Writer(outbox, lambda: None, lambda beat: said.append("beat"))
    writer.put(sealed(abstain(0)), {})
    writer.beat(seal(heartbeat(0), now_us()))
    writer.put(sealed(abstain(1)), {})
    holding.set()
    assert writer.close(10.0)
    eventually(lambda: "beat" in said)
    assert said.index(0) < said.index("beat")


# The couriers


def courier(outbox, sink, **settings):
    spec = InMemory(name="a", **settings)
    return Courier(spec, sink, Mailbox(outbox.path, "a"), seeded())


def seeded():
    return random.Random(1)  # noqa: S311 - chance that comes again


def test_waits_double_up_to_the_longest_less_up_to_half_by_chance(outbox):
    def down(_):
        raise SinkDown("not now")

    outbox.store(sealed(abstain(0)), {})
    tried = courier(outbox, Kept(down), first_retry_seconds=1.0, last_retry_seconds=10.0)
    waits = [tried.round() for _ in range(7)]
    chance = seeded()
    assert waits == [most * chance.uniform(0.5, 1.0) for most in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0)]
    assert tried.problem == "not now"
    assert tried.failures == 7


def test_a_sink_that_asks_to_be_left_alone_is_left_alone_but_not_for_ever(outbox):
    asked = [30.0, 1e9]

    def down(_):
        raise SinkDown("HTTP 429", asked.pop(0))

    outbox.store(sealed(abstain(0)), {})
    tried = courier(outbox, Kept(down))
    assert [tried.round(), tried.round()] == [30.0, 600.0]


@settings(deadline=None, max_examples=30)  # each example waits for a disk
@given(st.lists(st.sampled_from(["ok", "down", "bug"]), max_size=30), st.integers(1, 7))
def test_whatever_fails_all_arrive_in_order_and_copies_are_the_same(tmp_path_factory, fates, most):
    fates = [*fates, "ok"]
    arrived = []

    def trouble(letters):
        fate = fates.pop(0) if fates else "ok"
        arrived.extend(letters)  # it may have arrived though it failed
        if fate == "down":
            raise SinkDown("down")
        if fate == "bug":
            raise KeyError("a mistake in a sink")

    sink = Kept(trouble)
    sink.most = most
    with Outbox(tmp_path_factory.mktemp("o") / "o.sqlite") as outbox:
        outbox.register(["a"])
        outbox.store(sealed(*abstains(9)), {})
        tried = courier(outbox, sink)
        for _ in range(100):
            if tried.round() == IDLE:
                break
        assert sink.numbers == list(range(9))
        assert tried.mailbox.position == outbox.head
        bodies = {}
        for letter in arrived:
            assert bodies.setdefault(letter.event_id, letter.body) == letter.body


def test_a_message_that_is_refused_for_good_goes_to_the_dead_letters_and_the_others_arrive(outbox):
    def picky(letters):
        if any(letter.stream_seq == 4 for letter in letters):
            raise Refused("HTTP 422 no such field")

    outbox.store(sealed(*abstains(9)), {})
    sink = Kept(picky)
    tried = courier(outbox, sink, refusals=3)
    waits = [tried.round() for _ in range(20)]
    assert sink.numbers == [0, 1, 2, 3, 5, 6, 7, 8]
    assert sum(0 < wait < IDLE for wait in waits) == 2  # the third refusal is the last
    (dead,) = outbox._db.execute("SELECT sink, event_id, reason, body FROM dead_letters").fetchall()
    assert dead[:3] == ("a", abstain(4).event_id, "HTTP 422 no such field")
    assert decode(dead[3]).stream_seq == 4


def test_dead_letters_are_sent_again_with_their_ids_but_no_entry_after_its_time(outbox):
    picky = [4, 6]

    def trouble(letters):
        if any(x.stream_seq in picky for x in letters):
            raise Refused("HTTP 422")

    outbox.store(sealed(*abstains(5), entry(5, valid_seconds=-0.001), *abstains(3, 6)), {})
    sink = Kept(trouble)
    tried = courier(outbox, sink, refusals=1)
    while tried.round() != IDLE:
        pass
    assert sorted(sink.numbers) == [0, 1, 2, 3, 7, 8]
    picky.remove(4)
    spec = InMemory(name="a", sink=sink)
    with pytest.raises(ConfigError, match="'a', which the sinks file does not name"):
        resend(outbox, [InMemory(name="b", sink=sink)])
    (row,) = resend(outbox, [spec])
    assert (row.sent, row.expired, row.left, row.problem) == (1, 1, 2, "HTTP 422")
    assert (sink.numbers[-1], sink.letters[-1].event_id) == (4, abstain(4).event_id)
    picky.clear()
    (row,) = resend(outbox, [spec])
    assert (row.sent, row.expired, row.left, row.problem) == (1, 1, 1, "")
    assert [x.stream_seq for x in sink.letters].count(4) == 1
    assert len(outbox.dead()["a"]) == 1


def test_a_sink_that_is_down_keeps_its_dead_letters(outbox):
    outbox.store(sealed(*abstains(3)), {})
    down = []

    def trouble(letters):
        if down:
            raise SinkDown("not now")
        raise Refused("no")

    sink = Kept(trouble)
    tried = courier(outbox, sink, refusals=1)
    while tried.round() != IDLE:
        pass
    down.append(True)
    (row,) = resend(outbox, [InMemory(name="a", sink=sink)])
    assert (row.sent, row.left, row.problem) == (0, 3, "not now")
    assert sink.is_closed


def test_an_entry_after_its_time_is_never_sent_but_its_exit_is(outbox):
    outbox.store(sealed(entry(0), entry(1, valid_seconds=-0.001), exit_(2)), {})
    sink = Kept()
    assert courier(outbox, sink).round() == 0.0
    assert [(x.type, x.stream_seq) for x in sink.letters] == [("entry", 0), ("exit", 2)]
    assert outbox._db.execute("SELECT event_id, reason FROM dead_letters").fetchall() == [
        (entry(1).event_id, "expired")
    ]


def test_an_entry_that_expires_while_its_sink_is_down_is_not_sent_when_it_comes_back(outbox):
    clock = [now_us()]
    fates = iter([SinkDown("down"), None, None])

    def trouble(_):
        if (fate := next(fates)) is not None:
            raise fate

    outbox.store(sealed(abstain(0), entry(1), abstain(2)), {})
    sink = Kept(trouble)
    tried = Courier(InMemory(name="a"), sink, Mailbox(outbox.path, "a"), seeded(), lambda: clock[0])
    assert 0 < tried.round() < IDLE
    clock[0] += 61_000_000
    assert tried.round() == 0.0
    assert sink.numbers == [0, 2]


def test_a_sink_gets_the_types_it_asked_for(outbox):
    outbox.store(sealed(abstain(0), entry(1), abstain(2), exit_(3)), {})
    sink = Kept()
    tried = courier(outbox, sink, types=("entry", "exit"))
    tried.beat(seal(heartbeat(3), now_us()))
    assert [tried.round(), tried.round()] == [0.0, IDLE]
    assert [x.type for x in sink.letters] == ["entry", "exit"]
    assert tried.mailbox.position == 4


def test_a_heartbeat_comes_last_once_and_only_while_it_is_fresh(outbox):
    outbox.store(sealed(abstain(0)), {})
    sink = Kept()
    tried = courier(outbox, sink)
    tried.beat(seal(heartbeat(0), now_us()))
    assert [tried.round(), tried.round(), tried.round()] == [0.0, IDLE, IDLE]
    assert [x.type for x in sink.letters] == ["abstain", "heartbeat"]
    tried.beat(seal(heartbeat(0, valid_seconds=-1), now_us()))
    assert tried.round() == IDLE
    assert len(sink.letters) == 2


def test_a_sink_that_hangs_delays_neither_who_emits_nor_another_sink(tmp_path):
    """A thousand messages are emitted, kept, and delivered elsewhere, all while the other has yet to return once."""
    let_go, hangs = threading.Event(), threading.Event()

    def hang(_):
        hangs.set()
        let_go.wait(60)

    slow, quick = Kept(hang), Kept()
    emitter = Emitter(tmp_path / "o.sqlite", [InMemory(name="slow", sink=slow), InMemory(name="quick", sink=quick)])
    emitter.emit([abstain(0)], {})
    assert hangs.wait(10)
    for seq in range(1, 1000):
        emitter.emit([abstain(seq)], {"SIMUSDT": b"state"})
    eventually(lambda: quick.numbers == list(range(1000)))
    assert slow.letters == []
    assert emitter.waiting == 1000
    assert emitter.close(0.2) == ("sink slow: not done; it goes on from the outbox next time",)
    let_go.set()
    eventually(lambda: slow.is_closed)
    again = Kept()
    with Emitter(tmp_path / "o.sqlite", [InMemory(name="slow", sink=again)]) as emitter:
        eventually(lambda: not emitter.waiting)
    assert again.numbers[-1] == 999
    assert sorted({*slow.numbers, *again.numbers}) == list(range(1000))


def test_a_sink_in_trouble_is_named_in_health_until_it_is_well(tmp_path):
    broken = [True]

    def trouble(_):
        if broken:
            raise SinkDown("connection refused")

    spec = InMemory(name="bot", sink=Kept(trouble), first_retry_seconds=0.01, last_retry_seconds=0.01)
    with Emitter(tmp_path / "o.sqlite", [spec]) as emitter:
        emitter.emit([abstain(0)], {})
        eventually(lambda: emitter.health() == ("sink bot: connection refused",))
        broken.clear()
        eventually(lambda: not emitter.health() and not emitter.waiting)


def test_a_sink_that_cannot_be_made_leaves_nothing_open(tmp_path):
    made = Kept()

    class Missing(InMemory, frozen=True, kw_only=True, tag="missing"):
        def make(self, outbox):
            raise OutboxError("no secret")

    with pytest.raises(OutboxError, match="no secret"):
        Emitter(tmp_path / "o.sqlite", [InMemory(name="a", sink=made), Missing(name="b")])
    assert made.is_closed
    Outbox(tmp_path / "o.sqlite").close()


def test_importing_the_emitter_loads_no_package_of_a_sink():
    """In a process of its own, where nothing else has imported them."""
    names = "paho redis websockets apprise requests"
    code = (
        "import sys, squeeze.emitter.emitter, squeeze.emitter.sinks.config\n"
        f"print(set('{names}'.split()) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_delivery_of_nothing_to_nobody(outbox):
    delivery = Delivery(outbox.path, [])
    assert delivery.waiting(outbox.head) == 0
    assert delivery.close(outbox.head, 1.0) == []
    assert sinks_of(None, "empty").sinks == ()


def test_the_command_sends_dead_letters_again_and_says_what_it_needs(tmp_path, capsys):
    def outbox_verb(*words):
        parser = argparse.ArgumentParser()
        EMITTER_VERBS["outbox"].arguments(parser)
        args = parser.parse_args([str(word) for word in words])
        args.json = True
        EMITTER_VERBS["outbox"].run(args)

    path = tmp_path / "o.sqlite"
    with Outbox(path) as outbox:
        outbox.register(["lines"])
        letters = sealed(*abstains(2))
        outbox.store(letters, {})
        Mailbox(path, "lines").advance(2, [(letter, "HTTP 422") for letter in letters], now_us())
    (tmp_path / "sinks.yaml").write_text(f"sinks: [{{kind: jsonl, name: lines, folder: {tmp_path}/lines}}]\n")
    outbox_verb(path, "--resend", "--sinks", tmp_path / "sinks.yaml")
    rows = json.loads(capsys.readouterr().out.splitlines()[0])
    assert rows[0] | {"sink": "lines", "sent": 2, "left": 0, "problem": ""} == rows[0]
    (file,) = (tmp_path / "lines").iterdir()
    assert [decode(line).stream_seq for line in file.read_bytes().splitlines()] == [0, 1]
    outbox_verb(path, "--dead")
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == []
    with pytest.raises(ConfigError, match="go together"):
        outbox_verb(path, "--resend")
