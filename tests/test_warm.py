"""A warm start is the stream that was warmed up, and nothing else passes for one."""

import json
import re
import subprocess
import sys
import zipfile

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squeeze import Prediction, Stream, load
from squeeze.cli import main
from squeeze.errors import StateFileError
from squeeze.market.lake import read_events
from squeeze.warm import read_state, start_from, warm_up, write_state

HOUR_NS = 3600 * 10**9
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ns(text):
    return int(np.datetime64(text, "ns").astype(np.int64))


START, MIDDLE, END = ns("2025-01-01"), ns("2025-01-03T05:02:30"), ns("2025-01-03T14:00")


def fresh(finished):
    return Stream(load(finished.model))


@pytest.fixture(scope="module")
def kept(finished, small, tmp_path_factory):
    """A state that stands in the middle of a step."""
    path = tmp_path_factory.mktemp("warm") / "state.squeeze"
    stream = fresh(finished)
    write_state(stream, warm_up(stream, small.lake, None, MIDDLE), path)
    return path


def test_a_fresh_stream_goes_on_from_a_state_as_the_one_that_never_stopped(finished, small, kept):
    whole, other = fresh(finished), fresh(finished)
    assert warm_up(whole, small.lake, START, END) == END
    assert warm_up(other, small.lake, None, END, kept) == END
    assert other.snapshot() == whole.snapshot()
    for event in read_events(small.lake, whole.spec.market, END, END + HOUR_NS):
        whole.on_event(event)
        other.on_event(event)
    for now_ns in range(END, END + HOUR_NS, 60 * 10**9):
        said = [msgspec.json.encode(stream.on_clock(now_ns)) for stream in (whole, other)]
        assert said[0] == said[1]


def test_it_predicts_at_its_first_step(finished, small, kept):
    stream = fresh(finished)
    header = start_from(stream, kept, MIDDLE)
    assert (header.symbol, header.until_ns) == ("SIMUSDT", MIDDLE)
    for event in read_events(small.lake, stream.spec.market, MIDDLE, MIDDLE + 200 * 10**9):
        stream.on_event(event)
    assert isinstance(stream.advance(stream.next_close_ns)[1], Prediction)


def test_without_an_end_it_stands_after_the_last_event(finished, small):
    stream = fresh(finished)
    until_ns = warm_up(stream, small.lake, ns("2025-01-11"), None)
    *_, last = read_events(small.lake, stream.spec.market)
    assert until_ns == last.known_at_ns + 1
    assert stream.market.closed_ns <= last.known_at_ns


def test_what_is_still_warming_up_is_not_kept(finished, small, tmp_path):
    stream = fresh(finished)
    with pytest.raises(StateFileError, match=r"0\.0 hours of SIMUSDT are no warm start: its map warms up for 24"):
        write_state(stream, 0, tmp_path / "s")
    until_ns = warm_up(stream, small.lake, None, START + 20 * HOUR_NS)
    with pytest.raises(StateFileError, match=r"hours of SIMUSDT are no warm start"):
        write_state(stream, until_ns, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def refused(finished, path, said, now_ns=MIDDLE, **options):
    stream = fresh(finished)
    before = stream.snapshot()
    with pytest.raises(StateFileError) as caught:
        start_from(stream, path, now_ns, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert re.search(said, text), text
    assert stream.snapshot() == before


def test_a_state_of_another_time_is_refused(finished, kept):
    refused(finished, kept, "goes on 1.0 hours past the time at which it is to be used", MIDDLE - HOUR_NS)
    refused(finished, kept, "is 25.0 hours old, the map bridges 24: warm up anew", MIDDLE + 25 * HOUR_NS)
    refused(finished, kept, "is 2.0 hours old, the map bridges 1", MIDDLE + 2 * HOUR_NS, most_hours=1.0)
    start_from(fresh(finished), kept, MIDDLE + 24 * HOUR_NS)


def test_a_state_of_another_model_symbol_spec_version_or_form_is_refused(finished, small, kept, tmp_path):
    line, _, body = kept.read_bytes().partition(b"\n")

    def resealed(body=body, **changes):
        from squeeze.warm import Header, _digest

        header = msgspec.structs.replace(msgspec.json.decode(line, type=Header), **changes, seal="")
        path = tmp_path / "other.state"
        sealed = msgspec.structs.replace(header, seal=_digest(header, body))
        path.write_bytes(msgspec.json.encode(sealed) + b"\n" + body)
        return path

    start_from(fresh(finished), resealed(), MIDDLE)
    refused(finished, resealed(symbol="BTCUSDT"), "is of BTCUSDT, the model is for SIMUSDT")
    refused(finished, resealed(spec_version=1), "speaks spec version 1, this release 2: warm up anew")
    refused(finished, resealed(squeeze_state=7), "is a state file of form 7, this release reads 1")
    other = body.replace(load(finished.model).digest.encode(), b"0" * 64)
    refused(finished, resealed(body=other), "snapshot")
    refused(finished, resealed(body=b"{}"), "snapshot")


@pytest.mark.parametrize("content", [b"", b"hello\n", b'{"squeeze_state":', b'{"squeeze_state":1}\nx', b"\xff" * 99])
def test_what_is_no_state_file_is_refused(finished, tmp_path, content):
    path = tmp_path / "s"
    path.write_bytes(content)
    refused(finished, path, "is no state file|first line cannot be read")


def test_a_missing_file_is_named(finished, tmp_path):
    refused(finished, tmp_path / "absent", "cannot be read: No such file")
    refused(finished, tmp_path, "cannot be read: Is a directory")


@quick
@given(data=st.data())
def test_a_byte_altered_or_cut_off_anywhere_is_noticed(kept, tmp_path_factory, data):
    content = kept.read_bytes()
    head = content.index(b"\n")
    at = data.draw(st.one_of(st.integers(0, head), st.integers(0, len(content) - 1)))
    flip = data.draw(st.integers(0, 255))
    spoilt = content[:at] + (bytes([content[at] ^ flip]) + content[at + 1 :] if flip else b"")
    path = tmp_path_factory.mktemp("spoilt") / "s"
    path.write_bytes(spoilt)
    with pytest.raises(StateFileError, match=re.escape(f"{path}: ")):
        read_state(path)


def test_the_verb_makes_a_state_from_which_a_replay_says_the_same(finished, small, tmp_path, capfdbinary):
    state, lake = tmp_path / "kept" / "warm.state", str(small.lake.root)
    made = ["warm", str(finished.model), "--lake", lake, "--until", "2025-01-03T05:02:30", "--to", str(state)]
    assert main([*made, "--json"]) == 0
    said = json.loads(capfdbinary.readouterr().out)
    assert (said["symbol"], said["until"], said["bytes"]) == ("SIMUSDT", "2025-01-03T05:02Z", state.stat().st_size)
    asked = ["replay", str(finished.model), "--lake", lake, "--from", "2025-01-03T08:00", "--until", "2025-01-03T12:00"]
    assert main(asked) == 0
    whole = capfdbinary.readouterr().out
    assert main([*asked, "--state", str(state)]) == 0
    assert capfdbinary.readouterr().out == whole
    assert whole.count(b"\n") >= 48


def test_the_verb_says_in_one_line_what_does_not_fit(finished, small, tmp_path, capfd):
    lake, state = str(small.lake.root), tmp_path / "s"
    begin = ["warm", str(finished.model), "--lake", lake, "--to", str(state)]
    assert main([*begin, "--until", "2025-01-01T06:00"]) == 2
    assert "are no warm start: its map warms up for 24" in capfd.readouterr().err
    assert main([*begin, "--from", "2025-01-02", "--state", str(state)]) == 2
    assert "--from and --state exclude each other" in capfd.readouterr().err
    assert main([*begin, "--state", str(tmp_path / "absent")]) == 2
    assert "cannot be read: No such file" in capfd.readouterr().err
    assert not state.exists()


def test_a_fresh_process_answers_from_a_state(finished, small, kept):
    """Not only in this process, where kernels and modules are loaded."""
    code = f"""
import sys
from pathlib import Path
from squeeze import Stream, load
from squeeze.market.lake import Lake, read_events
from squeeze.warm import start_from
stream = Stream(load(sys.argv[1]))
start_from(stream, Path(sys.argv[3]), {MIDDLE})
for event in read_events(Lake(sys.argv[2]), stream.spec.market, {MIDDLE}, {MIDDLE} + 200 * 10**9):
    stream.on_event(event)
print(type(stream.advance(stream.next_close_ns)[1]).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(finished.model), str(small.lake.root), str(kept)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "Prediction\n"


def test_the_verb_reads_archives_where_there_is_no_lake(finished, tmp_path, capfd):
    """They are of other venues than this model's, which it says, by what it found in them."""
    opens_ms = [START // 10**6 + 60_000 * minute for minute in range(3)]
    rows = [f"{ms},100,101,99,100.5,10,{ms + 59_999},1000,5,4,400,0" for ms in opens_ms]
    archive = tmp_path / "SIMUSDT-1m-2025-01-01.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("SIMUSDT-1m-2025-01-01.csv", "\n".join(rows) + "\n")
    begin = ["warm", str(finished.model), "--to", str(tmp_path / "s"), "--lake", str(tmp_path / "none"), "--archives"]
    assert main([*begin, str(archive)]) == 2
    said = capfd.readouterr().err
    assert "simulated" in said
    assert "binance" in said
    assert not (tmp_path / "none").exists()
