"""Run files: YAML to plain values, with overrides, bare dates as text, and venues' distances put in."""

from pathlib import Path
from typing import Any

import yaml

from squeeze.errors import ConfigError, DataError
from squeeze.heatmaps.tiers import distances
from squeeze.market.instruments import Instruments, native
from squeeze.spec import MapSpec


def read_run_file(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a run file says, ready for `convert`; `ConfigError` names the file.

    An override is `key.sub=value`. Where a venue's `distances_log` is `shipped`, those of its maintenance tiers that
    come with the package are put there.
    """
    try:
        parsed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no text") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(parsed, dict):
        raise ConfigError(f"{path}: expected keys and values, got {'nothing' if parsed is None else parsed!r:.60}")
    for override in overrides:
        _override(parsed, override)
    plain: dict[str, Any] = _plain(parsed)
    _resolve_distances(plain, str(path))
    return plain


def _resolve_distances(parsed: dict[str, Any], place: str) -> None:
    spec = parsed.get("spec")
    market = spec.get("market") if isinstance(spec, dict) else None
    venues = market.get("venues") if isinstance(market, dict) else None
    if not isinstance(spec, dict) or not isinstance(market, dict) or not isinstance(venues, list):
        return
    for venue in venues:
        if not isinstance(venue, dict) or venue.get("distances_log") != "shipped":
            continue
        name, symbol = str(venue.get("venue")), str(market.get("symbol"))
        leverages = (spec.get("map") or {}).get("leverages", MapSpec().leverages)
        record = Instruments.shipped().get(name, native(name, symbol))
        if record is None:
            raise ConfigError(f"{place}: venues: no instrument record of {name} {symbol} comes with the package")
        try:
            venue["distances_log"] = distances(record, tuple(leverages)).log.tolist()
        except DataError as error:
            raise ConfigError(f"{place}: venues: {error}") from None


def _override(parsed: Any, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set: expected key.sub=value, got {override!r}")
    *path, last = key.split(".")
    for name in path:
        parsed = parsed.setdefault(name, {})
        if not isinstance(parsed, dict):
            raise ConfigError(f"--set {override}: {name} holds no keys")
    try:
        parsed[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {value!r} is no YAML") from None


def _plain(value: Any) -> Any:
    """YAML reads a bare date as a date; configs take text."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.isoformat() if hasattr(value, "isoformat") else value
