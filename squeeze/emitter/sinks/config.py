"""The file that says where messages go: `configs/sinks.yaml` documents every key."""

from pathlib import Path

import yaml

from squeeze.emitter.sinks.chat import Chat
from squeeze.emitter.sinks.jsonl import JsonLines
from squeeze.emitter.sinks.mqtt import Mqtt
from squeeze.emitter.sinks.redis_stream import RedisStream
from squeeze.emitter.sinks.webhook import Webhook
from squeeze.emitter.sinks.websocket import WebSocketServer
from squeeze.errors import ConfigError, one_line
from squeeze.strict import Strict, convert, require

AnySink = JsonLines | Webhook | Mqtt | RedisStream | WebSocketServer | Chat
KINDS = tuple(
    str(kind.__struct_config__.tag) for kind in (JsonLines, Webhook, Mqtt, RedisStream, WebSocketServer, Chat)
)


class SinksConfig(Strict, frozen=True, kw_only=True):
    """All sinks of a process."""

    sinks: tuple[AnySink, ...] = ()
    """None: messages are only kept in the outbox."""
    keep_days: float = 7.0
    """How long the outbox keeps messages that all sinks have taken."""

    def __post_init__(self) -> None:
        names = [sink.name for sink in self.sinks]
        require(len(set(names)) == len(names), f"sinks: each needs a name of its own, got {', '.join(names)}")
        require(0 < self.keep_days <= 3650, "keep_days: above zero, 3650 at most")


def load_sinks(path: str | Path) -> SinksConfig:
    """The sinks that a YAML file names; `ConfigError` with file and key where it cannot hold."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no YAML: {one_line(error)}") from None
    return sinks_of(found, str(path))


def sinks_of(found: object, place: str) -> SinksConfig:
    """The same from what a YAML file was parsed to."""
    sinks = found.get("sinks") if isinstance(found, dict) else None
    for number, sink in enumerate(sinks if isinstance(sinks, list) else []):
        kind = sink.get("kind") if isinstance(sink, dict) else None
        if kind not in KINDS:
            raise ConfigError(
                f"{place}: sinks[{number}]: kind: there is no sink {kind!r}; there are {', '.join(KINDS)}"
            )
    return convert({} if found is None else found, SinksConfig, place)
