"""The file that says where messages go, and what must be there before anything begins."""

import importlib
from pathlib import Path

import pytest
import yaml

from squeeze.emitter.sinks.config import KINDS, load_sinks, sinks_of
from squeeze.emitter.sinks.jsonl import JsonLines
from squeeze.emitter.sinks.sink import ALL
from squeeze.errors import ConfigError
from squeeze.signals.message import AnyMessage

SHIPPED = Path(__file__).parents[1] / "configs" / "sinks.yaml"


def of(**sink):
    return sinks_of({"sinks": [sink]}, "sinks.yaml").sinks[0]


def test_the_shipped_file_writes_lines_and_no_more():
    config = load_sinks(SHIPPED)
    assert config.sinks == (JsonLines(name="lines", folder="out/signals"),)


def test_the_shipped_file_documents_every_kind_and_every_key():
    text = SHIPPED.read_text()
    for kind in KINDS:
        assert f"kind: {kind}" in text
    whole = yaml.safe_load(text.replace("\n  # - kind", "\n  - kind").replace("\n  #   ", "\n    "))
    made = sinks_of(whole, "sinks.yaml").sinks
    assert [type(sink).__struct_config__.tag for sink in made] == list(KINDS[:1] + KINDS[1:])
    for sink in made:
        for key in sink.__struct_fields__:
            assert f"{key}:" in text, f"{type(sink).__name__}.{key}"


def test_a_sink_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(
        ConfigError, match=r"sinks\[0\]: kind: there is no sink 'kafka'; there are jsonl, webhook, mqtt"
    ):
        of(kind="kafka", name="a")
    with pytest.raises(ConfigError, match="there is no sink None"):
        of(name="a")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "jsonl", "name": "a"}, "folder"),
        ({"kind": "jsonl", "name": "A b", "folder": "x"}, "small letters"),
        ({"kind": "jsonl", "name": "a", "folder": "x", "prefix": "../x"}, "prefix"),
        ({"kind": "jsonl", "name": "a", "folder": "x", "types": []}, "at least one"),
        ({"kind": "jsonl", "name": "a", "folder": "x", "types": ["entries"]}, "entries"),
        ({"kind": "jsonl", "name": "a", "folder": "x", "refusals": 0}, "refusals"),
        ({"kind": "jsonl", "name": "a", "folder": "x", "first_retry_seconds": 0}, "first_retry"),
        ({"kind": "jsonl", "name": "a", "folder": "x", "retries": 3}, "retries"),
        ({"kind": "webhook", "name": "a", "url": "http://bot.example/x"}, "https, or http on this machine"),
        ({"kind": "webhook", "name": "a", "url": "https://me:word@bot.example"}, "no user and password"),
        ({"kind": "webhook", "name": "a", "url": "ftp://127.0.0.1"}, "https"),
        ({"kind": "mqtt", "name": "a", "host": "broker.example"}, "not encrypted, and broker.example is another"),
        ({"kind": "mqtt", "name": "a", "topic": "squeeze/#"}, "without"),
        ({"kind": "mqtt", "name": "a", "topic": "squeeze/{symbol}"}, "only {stream} and {type}"),
        ({"kind": "redis", "name": "a", "url": "redis://cache:6379"}, "not encrypted"),
        ({"kind": "redis", "name": "a", "url": "redis://:word@127.0.0.1"}, "no password"),
        ({"kind": "redis", "name": "a", "url": "http://127.0.0.1"}, "redis://"),
        ({"kind": "websocket", "name": "a", "host": "0.0.0.0"}, "other machines"),  # noqa: S104
        ({"kind": "websocket", "name": "a", "host": "0.0.0.0", "in_the_clear": True}, "token_env"),  # noqa: S104
        ({"kind": "chat", "name": "a", "types": ["probability"]}, "any of entry, exit, protect, alert"),
    ],
)
def test_a_setting_that_cannot_hold_is_refused_by_its_key(wrong, said):
    with pytest.raises(ConfigError, match=r"sinks\.yaml") as refused:
        of(**wrong)
    assert said in str(refused.value)


def test_two_sinks_of_one_name_are_refused():
    twice = [{"kind": "jsonl", "name": "a", "folder": "x"}] * 2
    with pytest.raises(ConfigError, match="a name of its own"):
        sinks_of({"sinks": twice}, "sinks.yaml")


def test_a_file_that_is_not_there_or_no_yaml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        load_sinks(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("sinks: [")
    with pytest.raises(ConfigError, match=r"bad\.yaml: no YAML"):
        load_sinks(tmp_path / "bad.yaml")


SECRETS = [
    {"kind": "webhook", "name": "a", "url": "https://bot.example", "secret_env": "NOT_SET"},
    {"kind": "mqtt", "name": "a", "password_env": "NOT_SET"},
    {"kind": "redis", "name": "a", "password_env": "NOT_SET"},
    {"kind": "websocket", "name": "a", "token_env": "NOT_SET"},
    {"kind": "chat", "name": "a", "urls_env": "NOT_SET"},
]


@pytest.mark.parametrize("sink", SECRETS, ids=lambda sink: sink["kind"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_that_is_not_set_is_an_error_before_anything_begins(sink, value, monkeypatch, tmp_path):
    if value is not None:
        monkeypatch.setenv("NOT_SET", value)
    with pytest.raises(ConfigError, match="sink a: the environment variable NOT_SET is not set"):
        of(**sink).make(tmp_path / "o.sqlite")


def test_a_secret_too_short_to_be_one_is_refused_without_being_told(monkeypatch, tmp_path):
    monkeypatch.setenv("SQUEEZE_WEBHOOK_SECRET", "hunter2")
    with pytest.raises(ConfigError, match="at least 16 bytes") as refused:
        of(kind="webhook", name="a", url="https://bot.example").make(tmp_path / "o.sqlite")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("sink", "package"),
    [
        ({"kind": "mqtt", "name": "a"}, "paho-mqtt"),
        ({"kind": "redis", "name": "a"}, "redis"),
        ({"kind": "websocket", "name": "a"}, "websockets"),
        ({"kind": "chat", "name": "a"}, "apprise"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_way_to_get_it(sink, package, monkeypatch, tmp_path):
    def absent(name):
        raise ModuleNotFoundError(name=name.partition(".")[0])

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=rf"sink a: needs {package}: pip install 'squeeze-predictor\[sinks\]'"):
        of(**sink).make(tmp_path / "o.sqlite")


def test_every_type_of_message_can_be_asked_for():
    assert {kind.__struct_config__.tag for kind in AnyMessage.__args__} == set(ALL)
