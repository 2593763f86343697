"""Messages to an MQTT broker, at least once (QoS 1): delivered when the broker has acknowledged them."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeeze.emitter.letter import Letter
from squeeze.emitter.sinks.sink import SinkDown, SinkSpec, extra, require_private, secret
from squeeze.strict import require

LOOK_SECONDS = 0.05
"""Between looks whether the connection still is."""
WILD = set("+#\0")


class Mqtt(SinkSpec, frozen=True, kw_only=True, tag="mqtt"):
    """A topic for each stream and type of message."""

    host: str = "127.0.0.1"
    port: int = 1883
    """1883, or 8883 with TLS."""
    topic: str = "squeeze/{stream}/{type}"
    """`{stream}` and `{type}` are filled in."""
    tls: bool = False
    """Encrypt, and verify the broker's certificate."""
    in_the_clear: bool = False
    """Allow another machine without TLS, in a network you trust."""
    user_env: str | None = None
    password_env: str | None = None
    """The environment variables that hold user and password, where the broker asks for them."""
    client_id: str = ""
    """What the broker knows this program by; a name of its own where empty."""
    timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.port < 65_536, "port: 1 to 65535")
        require(self.topic != "" and not WILD & set(self.topic), "topic: not empty, without + and #")
        require(not set("{}") & set(self.topic.replace("{stream}", "").replace("{type}", "")),
                "topic: only {stream} and {type} are filled in")  # fmt: skip
        require(0 < self.timeout_seconds <= 300, "timeout_seconds: above zero, 300 at most")
        require_private(self.host, self.tls, self.in_the_clear, "host")

    def make(self, outbox: Path) -> "MqttSink":
        """The sink; `ConfigError` where paho-mqtt or a secret is absent."""
        module = extra("paho.mqtt.client", f"sink {self.name}")
        user = None if self.user_env is None else secret(self.user_env, f"sink {self.name}")
        password = None if self.password_env is None else secret(self.password_env, f"sink {self.name}")
        return MqttSink(module, self, user, password)


class MqttSink:
    """Publishes many at once and waits for all their acknowledgements; after any trouble it connects anew."""

    most = 100

    def __init__(self, module: Any, spec: Mqtt, user: str | None, password: str | None) -> None:
        self._module, self._spec = module, spec
        self._login = (user, password)
        self._client: Any = None

    def send(self, letters: Sequence[Letter]) -> None:
        """Publish, and wait for the broker; `SinkDown` unless it took them all in time."""
        until = time.monotonic() + self._spec.timeout_seconds
        try:
            client = self._client or self._connect(until)
            sent = [client.publish(_topic(self._spec.topic, x), x.body, qos=1) for x in letters]
            for info in sent:
                while not info.is_published():
                    if not client.is_connected():
                        raise OSError("the connection was lost")
                    if time.monotonic() > until:
                        raise OSError(f"no acknowledgement within {self._spec.timeout_seconds:g} s")
                    info.wait_for_publish(LOOK_SECONDS)
        except (OSError, ValueError, RuntimeError) as error:  # which are paho's own, too
            self.close()
            raise SinkDown(f"{self._spec.host}:{self._spec.port}: {error}") from None

    def close(self) -> None:
        """Say goodbye to the broker."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
        self._client = None

    def _connect(self, until: float) -> Any:
        """A client that the broker has let in, with its own thread for the network."""
        spec = self._spec
        name = spec.client_id or f"squeeze-{spec.name}-{os.getpid()}"
        client = self._module.Client(self._module.CallbackAPIVersion.VERSION2, name, reconnect_on_failure=False)
        user, password = self._login
        if user is not None or password is not None:
            client.username_pw_set(user, password)
        if spec.tls:
            client.tls_set()
        answers: list[Any] = []
        client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason)
        client.connect_timeout = spec.timeout_seconds
        client.connect(spec.host, spec.port)
        client.loop_start()
        self._client = client
        while not answers and time.monotonic() < until:
            time.sleep(0.005)
        if not answers or answers[0].is_failure:
            raise OSError(str(answers[0]) if answers else "it does not answer")
        return client


def _topic(pattern: str, letter: Letter) -> str:
    return pattern.replace("{stream}", letter.stream).replace("{type}", letter.type)
