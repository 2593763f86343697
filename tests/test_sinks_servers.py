"""MQTT and Redis against the real servers, which the tests start themselves on free ports and on this machine alone.

Where a server is not installed the tests skip and say so; with `CI=true` that is a failure instead.
"""

import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from emitting import InMemory, Kept, abstain, abstains, entry, eventually, heartbeat

from squeeze.emitter.emitter import Emitter
from squeeze.emitter.letter import now_us, seal
from squeeze.emitter.sinks.mqtt import Mqtt
from squeeze.emitter.sinks.redis_stream import RedisStream
from squeeze.emitter.sinks.sink import SinkDown
from squeeze.signals.message import decode

paho = pytest.importorskip("paho.mqtt.client")
redis = pytest.importorskip("redis")

FAST = {"first_retry_seconds": 0.05, "last_retry_seconds": 0.2}


def program(name, package):
    """Where a server's program is; Debian keeps some where a user's PATH does not look."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(f"{name} is not installed: apt-get install {package}")
    return found


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


@contextmanager
def started(command, port):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(port))
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def broker(folder, port, lines=()):
    folder.mkdir(exist_ok=True)
    config = folder / "mosquitto.conf"
    told = [f"listener {port} 127.0.0.1", *(lines or ("allow_anonymous true",))]
    if os.getuid() == 0:
        told.append("user root")  # or it turns into a user who may not read here
    config.write_text("\n".join([*told, ""]))
    with started([program("mosquitto", "mosquitto"), "-c", str(config)], port) as process:
        yield process


@contextmanager
def redis_server(folder, port, *more):
    folder.mkdir(exist_ok=True)
    command = [
        program("redis-server", "redis-server"),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
    ]
    with started([*command, "--save", "", *more], port) as process:
        yield process


class Listener:
    """A subscriber that keeps what came, by topic."""

    def __init__(self, port, login=None):
        self.got = []
        self.is_in = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        if login is not None:
            self.client.username_pw_set(*login)
        self.client.on_message = lambda _c, _d, x: self.got.append((x.topic, x.payload, x.qos))
        self.client.on_connect = lambda c, *_: c.subscribe("squeeze/#", qos=1)
        self.client.on_subscribe = lambda *_: self.is_in.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.is_in.wait(10)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


# MQTT


def test_a_broker_gets_each_message_at_its_topic_at_least_once(tmp_path):
    port = free_port()
    with broker(tmp_path / "broker", port):
        listener = Listener(port)
        with Emitter(tmp_path / "o.sqlite", [Mqtt(name="broker", port=port)]) as emitter:
            emitter.emit([*abstains(200), entry(200), abstain(0, "OTHER")], {})
            eventually(lambda: not emitter.waiting)
            emitter.beat(heartbeat(200))
            eventually(lambda: len(listener.got) == 203)
        listener.close()
    assert {qos for _, _, qos in listener.got} == {1}
    mine = [(topic, decode(body).stream_seq) for topic, body, _ in listener.got]
    assert mine[:200] == [("squeeze/SIMUSDT/abstain", seq) for seq in range(200)]
    assert mine[200:] == [
        ("squeeze/SIMUSDT/entry", 200),
        ("squeeze/OTHER/abstain", 0),
        ("squeeze/SIMUSDT/heartbeat", 200),
    ]


def test_a_broker_that_was_gone_gets_what_was_said_meanwhile(tmp_path):
    port, lines = free_port(), ("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/broker/")
    spec, other = Mqtt(name="broker", port=port, timeout_seconds=5.0, **FAST), Kept()
    with Emitter(tmp_path / "o.sqlite", [spec, InMemory(name="other", sink=other)]) as emitter:
        with broker(tmp_path / "broker", port, lines):
            emitter.emit(abstains(5), {})
            eventually(lambda: not emitter.waiting)
        emitter.emit(abstains(5, 5), {})
        eventually(lambda: other.numbers == list(range(10)))  # who is well is not delayed
        eventually(lambda: any(x.startswith("sink broker: ") for x in emitter.health()))
        with broker(tmp_path / "broker", port, lines):
            listener = Listener(port)
            emitter.emit([abstain(10)], {})
            eventually(lambda: not emitter.waiting and emitter.health() == ())
            eventually(lambda: {10} <= {decode(body).stream_seq for _, body, _ in listener.got})
            listener.close()


def test_a_broker_that_knows_us_not_is_down_and_one_that_does_is_well(tmp_path, monkeypatch):
    port = free_port()
    passwords = tmp_path / "passwords"
    passwords.write_text("bot:a word\n")
    hash_it = shutil.which("mosquitto_passwd")
    program("mosquitto", "mosquitto")
    subprocess.run([hash_it, "-U", str(passwords)], check=True)
    passwords.chmod(0o600)
    monkeypatch.setenv("USER_OF_MINE", "bot")
    monkeypatch.setenv("WORD", "a word")
    monkeypatch.setenv("OTHER_WORD", "another word")
    letter = seal(abstain(0), now_us())
    lines = ("allow_anonymous false", f"password_file {passwords}")
    with broker(tmp_path / "broker", port, lines):
        spec = {"name": "a", "port": port, "user_env": "USER_OF_MINE", "timeout_seconds": 5.0}
        for wrong in ({"name": "a", "port": port, "timeout_seconds": 5.0}, spec | {"password_env": "OTHER_WORD"}):
            sink = Mqtt(**wrong).make(tmp_path / "o.sqlite")
            with pytest.raises(SinkDown, match=r"(?i)not authori[sz]ed|bad user|identifier|connection refused"):
                sink.send([letter])
            sink.close()
        sink = Mqtt(**spec, password_env="WORD").make(tmp_path / "o.sqlite")  # noqa: S106 - its name
        sink.send([letter])
        sink.close()


def test_a_broker_that_accepts_and_says_nothing_is_down_in_time(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = Mqtt(name="a", port=silent.getsockname()[1], timeout_seconds=0.3).make(tmp_path / "o.sqlite")
        with pytest.raises(SinkDown, match="does not answer"):
            sink.send([seal(abstain(0), now_us())])
        sink.close()


# Redis


def entries(port, key="squeeze:SIMUSDT", **settings):
    with redis.Redis(port=port, **settings) as client:
        return [fields for _, fields in client.xrange(key)]


def test_a_redis_stream_gets_each_message_with_its_key_and_number(tmp_path):
    port = free_port()
    with redis_server(tmp_path / "redis", port):
        spec = RedisStream(name="stream", url=f"redis://127.0.0.1:{port}/0")
        with Emitter(tmp_path / "o.sqlite", [spec]) as emitter:
            emitter.emit([*abstains(300), abstain(0, "OTHER")], {})
            eventually(lambda: not emitter.waiting)
        got = entries(port)
        assert [int(x[b"stream_seq"]) for x in got] == list(range(300))
        assert len(entries(port, "squeeze:OTHER")) == 1
        for fields in got:
            assert set(fields) == {b"event_id", b"stream_seq", b"type", b"body"}
            assert decode(fields[b"body"]).event_id == fields[b"event_id"].decode()
            assert fields[b"type"] == b"abstain"


def test_a_redis_stream_keeps_about_so_many(tmp_path):
    port = free_port()
    with redis_server(tmp_path / "redis", port, "--stream-node-max-entries", "10"):
        sink = RedisStream(name="a", url=f"redis://127.0.0.1:{port}", max_length=50).make(tmp_path / "o")
        sink.send([seal(x, now_us()) for x in abstains(400)])
        sink.close()
        assert 50 <= len(entries(port)) <= 60
        assert int(entries(port)[-1][b"stream_seq"]) == 399


def test_a_redis_that_was_gone_gets_what_was_said_meanwhile_in_order(tmp_path):
    port = free_port()
    spec = RedisStream(name="stream", url=f"redis://127.0.0.1:{port}", timeout_seconds=2.0, **FAST)
    with Emitter(tmp_path / "o.sqlite", [spec]) as emitter:
        emitter.emit(abstains(5), {})
        eventually(lambda: any("refused" in x for x in emitter.health()))
        with redis_server(tmp_path / "redis", port):
            eventually(lambda: not emitter.waiting)
            assert [int(x[b"stream_seq"]) for x in entries(port)] == list(range(5))
        emitter.emit(abstains(3, 5), {})
        eventually(lambda: emitter.health() != ())
        with redis_server(tmp_path / "redis", port):  # which begins empty
            eventually(lambda: not emitter.waiting)
            assert [int(x[b"stream_seq"]) for x in entries(port)] == [5, 6, 7]
        assert emitter.health() == ()


def test_a_redis_that_is_full_or_wants_a_password_takes_nothing_and_says_why(tmp_path, monkeypatch):
    port = free_port()
    monkeypatch.setenv("WORD", "a word")
    url = f"redis://127.0.0.1:{port}"
    letter = seal(abstain(0), now_us())
    with redis_server(tmp_path / "redis", port, "--requirepass", "a word", "--maxmemory", "1"):
        with pytest.raises(SinkDown, match=r"(?i)auth"):
            RedisStream(name="a", url=url).make(tmp_path / "o").send([letter])
        sink = RedisStream(name="a", url=url, password_env="WORD").make(tmp_path / "o")  # noqa: S106 - its name
        with pytest.raises(SinkDown, match=r"OOM|used memory"):
            sink.send([letter])
        with redis.Redis(port=port, password="a word") as client:  # noqa: S106
            client.config_set("maxmemory", 0)
        sink.send([letter])
        sink.close()
        assert len(entries(port, password="a word")) == 1  # noqa: S106


def test_a_redis_that_hangs_is_down_in_time(tmp_path):
    port = free_port()
    with redis_server(tmp_path / "redis", port) as process:
        sink = RedisStream(name="a", url=f"redis://127.0.0.1:{port}", timeout_seconds=0.3).make(tmp_path / "o")
        sink.send([seal(abstain(0), now_us())])
        process.send_signal(19)  # SIGSTOP
        began = time.monotonic()
        with pytest.raises(SinkDown, match=r"(?i)time"):
            sink.send([seal(abstain(1), now_us())])
        assert time.monotonic() > began + 0.2  # it waited, and then it did not
        process.send_signal(18)
        sink.close()
