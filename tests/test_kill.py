"""Killed at any moment, under load: nothing is lost, copies are copies, and the numbers have no hole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from emitting import SECRET, web_server

from squeeze.emitter.signature import verify

HERE = Path(__file__).parent


def kill(folder: Path, kills: int, seed: int) -> None:
    with web_server() as receiver:
        path = os.pathsep.join([str(HERE), str(HERE.parent)])
        done = subprocess.run(
            [sys.executable, str(HERE / "killed.py"), str(folder), receiver.url, str(kills), str(seed)],
            env={**os.environ, "PYTHONPATH": path, "SQUEEZE_WEBHOOK_SECRET": SECRET},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        early = json.loads(done.stdout)["killed_before_they_spoke"]
        hooked = [body for headers, body in receiver.requests]
        for headers, body in receiver.requests:
            assert verify(
                SECRET.encode(), headers["X-Squeeze-Timestamp"], headers["X-Squeeze-Signature"], body, None, 1e9
            )
    written = b"".join(path.read_bytes() for path in sorted((folder / "lines").iterdir()))
    assert written.endswith(b"\n")
    lines = written.splitlines()
    assert_whole(lines)
    assert_whole(hooked)
    assert {*lines} == {*hooked}  # both got the same bytes, the time of emission included
    came = f"{len({*lines})} messages, {len(lines)} lines, {len(hooked)} requests"
    print(f"{kills} kills, {early} before they spoke: {came}")


def assert_whole(bodies: list[bytes]) -> None:
    """Every number from 0 on is there, first in order; what came again is the same to the byte."""
    first: dict[int, bytes] = {}
    for body in bodies:
        message = json.loads(body)
        number = message["stream_seq"]
        assert first.setdefault(number, body) == body
        assert number < len(first)  # or those between are missing
    assert list(first) == list(range(len(first)))
    assert len({json.loads(body)["event_id"] for body in first.values()}) == len(first)


def test_killed_at_20_random_moments(tmp_path):
    kill(tmp_path, 20, 1)


@pytest.mark.slow
def test_killed_at_200_random_moments(tmp_path):
    kill(tmp_path, 200, 2)


def test_a_lost_message_and_a_copy_that_is_none_would_be_seen():
    said = [json.dumps({"stream_seq": n, "event_id": str(n)}).encode() for n in range(4)]
    assert_whole([*said[:3], said[1], said[2], said[3]])
    for wrong in (
        [said[0], said[2]],
        [*said[:2], said[1].replace(b'"1"', b'"9"')],
        [said[0], said[1].replace(b'"1"', b'"0"')],
    ):
        with pytest.raises(AssertionError):
            assert_whole(wrong)
