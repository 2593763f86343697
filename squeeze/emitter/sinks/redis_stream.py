"""Messages as entries of Redis streams, for readers that keep their own place (XREAD, consumer groups)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from squeeze.emitter.letter import Letter
from squeeze.emitter.sinks.sink import SinkDown, SinkSpec, extra, require_private, secret
from squeeze.errors import one_line
from squeeze.strict import require


class RedisStream(SinkSpec, frozen=True, kw_only=True, tag="redis"):
    """XADD with the fields `event_id`, `stream_seq`, `type` and `body`."""

    url: str = "redis://127.0.0.1:6379/0"
    """Where to: rediss is encrypted."""
    key: str = "squeeze:{stream}"
    """The key of the Redis stream; `{stream}` is filled in."""
    max_length: int = 100_000
    """About so many entries are kept, the newest (MAXLEN ~)."""
    in_the_clear: bool = False
    """Allow another machine without encryption, in a network you trust."""
    password_env: str | None = None
    """The environment variable that holds the password, where the server asks for one."""
    timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        url = urlsplit(self.url)
        require(url.scheme in ("redis", "rediss") and bool(url.hostname), "url: redis:// or rediss:// and a host")
        require(url.password is None, "url: no password in it; password_env names a variable that holds it")
        require_private(url.hostname, url.scheme == "rediss", self.in_the_clear, "url")
        require(self.max_length > 0, "max_length: above zero")
        require(0 < self.timeout_seconds <= 300, "timeout_seconds: above zero, 300 at most")

    def make(self, outbox: Path) -> "RedisSink":
        """The sink; `ConfigError` where redis-py or the password is absent."""
        module = extra("redis", f"sink {self.name}")
        password = None if self.password_env is None else secret(self.password_env, f"sink {self.name}")
        return RedisSink(module, self, password)


class RedisSink:
    """Adds many at once in a transaction: all of them, or none."""

    most = 200

    def __init__(self, module: Any, spec: RedisStream, password: str | None) -> None:
        self._error = module.RedisError
        self._spec = spec
        # Tries again are the courier's: redis-py's own would make a broken server look like a slow one.
        self._client = module.Redis.from_url(
            spec.url,
            socket_timeout=spec.timeout_seconds,
            socket_connect_timeout=spec.timeout_seconds,
            retry=module.retry.Retry(module.backoff.NoBackoff(), 0),
            **({} if password is None else {"password": password}),
        )

    def send(self, letters: Sequence[Letter]) -> None:
        """Add entries; `SinkDown` unless the server took them all."""
        try:
            with self._client.pipeline(transaction=True) as pipe:
                for x in letters:
                    fields = {"event_id": x.event_id, "stream_seq": x.stream_seq, "type": x.type, "body": x.body}
                    key = self._spec.key.replace("{stream}", x.stream)
                    pipe.xadd(key, fields, maxlen=self._spec.max_length, approximate=True)
                pipe.execute()
        except (self._error, OSError) as error:
            raise SinkDown(one_line(error) or type(error).__name__) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
