"""What all messages of a stream have in common, and the ids of those that are no signal."""

import hashlib
from functools import cache
from importlib import metadata
from typing import Any

import msgspec

from squeeze.spec import Spec


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all messages of a stream have in common."""

    producer: str
    """Name and release of this program."""
    model_version: str
    """Digest of the model file."""
    map_version: str
    """Digest of how the heatmap is made."""
    config_hash: str
    """Digest of the strategy: `StrategySpec.digest`."""
    stream: str
    """One for each symbol."""
    symbol: str


def event_id(stream: str, stream_seq: int, ts_data_us: int) -> str:
    """First 16 hex digits of the SHA-256 of `stream|stream_seq|ts_data_us`: of what is no signal.

    >>> event_id("BTCUSDT", 0, 0)
    '1e7006281f0df1b8'
    """
    digest = _begun(stream).copy()  # a new one has OpenSSL look up the method each time
    digest.update(f"{stream_seq}|{ts_data_us}".encode())
    name: str = digest.hexdigest()
    return name[:16]


@cache
def _begun(stream: str) -> Any:
    """The SHA-256 of what all ids of a stream begin with."""
    return hashlib.sha256(f"{stream}|".encode())


def envelope(spec: Spec, model: str, strategy: str) -> Envelope:
    """What all messages of a market have in common, from the digests of its model and its strategy."""
    drawn = msgspec.json.encode((spec.version, spec.market, spec.map, spec.frame, spec.atlas), order="sorted")
    return Envelope(
        producer=f"squeeze-predictor {release()}",
        model_version=model,
        map_version=hashlib.sha256(drawn).hexdigest()[:16],
        config_hash=strategy,
        stream=spec.market.symbol,
        symbol=spec.market.symbol,
    )


def release() -> str:
    """Of this package; `unknown` where it is used without being installed."""
    try:
        return metadata.version("squeeze-predictor")
    except metadata.PackageNotFoundError:
        return "unknown"
