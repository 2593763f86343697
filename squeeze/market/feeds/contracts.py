"""What a venue says of its contracts, asked for: instrument records with tiers and funding intervals.

By public endpoints. Binance tells tiers only to an account, so they are carried on from the records at hand, as is all
that an answer leaves out; `source` says so.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from squeeze.errors import ConfigError, DataError
from squeeze.market.events import NAME
from squeeze.market.instruments import Instrument, Instruments, native
from squeeze.market.venues import binance, bybit, okx
from squeeze.market.venues.binance_metadata import BINANCE_FUNDING, binance_funding_intervals, binance_instruments
from squeeze.market.venues.bybit_metadata import BYBIT_TIERS, bybit_instruments, bybit_tiers
from squeeze.market.venues.okx_metadata import OKX_TIERS, okx_instruments, okx_tiers

Get = Callable[[str], bytes]
"""Gives the body of a URL."""

REST = {"binance": binance.REST, "bybit": bybit.REST, "okx": okx.REST}
"""Where a venue is asked."""

CARRIED = re.compile(r"; ([a-z_, ]+) carried on: ")
"""What divides a source: the endpoint, then names of fields and the source that these are from."""


def fetch_instruments(
    name: str, symbols: Sequence[str], as_of_ns: int, get: Get, known: Instruments | None = None
) -> list[Instrument]:
    """A venue's records of some symbols, named as the lake does: one each, in their order.

    `as_of_ns` is the time at which they are asked for, in nanoseconds; `get` is asked once for each URL. What the
    answers leave out is taken from the newest record of `known`, by default those that ship.

    `ConfigError` for another venue or what is no symbol. `DataError` for a contract that the venue does not list and
    for an answer that cannot be read.
    """
    if name not in REST:
        raise ConfigError(f"no adapter for {name!r}; there are {', '.join(REST)}")
    for symbol in symbols:
        if NAME.fullmatch(symbol) is None:
            raise ConfigError(f"{name}: {symbol[:64]!r} is no name of a contract, as BTCUSDT is")
    ask = {"binance": _binance, "bybit": _bybit, "okx": _okx}[name]
    known, once, records = Instruments.shipped() if known is None else known, cache(get), []
    for theirs in [native(name, symbol) for symbol in symbols]:
        try:
            record = ask(theirs, as_of_ns, once)
        except DataError as error:
            raise DataError(f"{name} {theirs}: {error}") from None
        records.append(_completed(record, known.get(name, theirs)))
    return records


def _bybit(name: str, as_of_ns: int, get: Get) -> Instrument:
    where = f"?category=linear&symbol={name}"
    record = _one(name, bybit_instruments(get(f"{bybit.REST}/v5/market/instruments-info{where}"), as_of_ns))
    tiers = bybit_tiers(get(f"{bybit.REST}/v5/market/risk-limit{where}"))
    return _and(record, BYBIT_TIERS, tiers=tiers.get(name))


def _okx(name: str, as_of_ns: int, get: Get) -> Instrument:
    where = f"?instType=SWAP&instId={name}"
    record = _one(name, okx_instruments(get(f"{okx.REST}/api/v5/public/instruments{where}"), as_of_ns))
    where = f"?instType=SWAP&tdMode=isolated&instFamily={name.removesuffix('-SWAP')}"
    tiers = okx_tiers(get(f"{okx.REST}/api/v5/public/position-tiers{where}"))
    return _and(record, OKX_TIERS, tiers=tiers.get(name))


def _binance(name: str, as_of_ns: int, get: Get) -> Instrument:
    record = _one(name, binance_instruments(get(f"{binance.REST}/fapi/v1/exchangeInfo"), as_of_ns))
    hours = binance_funding_intervals(get(f"{binance.REST}/fapi/v1/fundingInfo"))
    return _and(record, BINANCE_FUNDING, funding_interval_hours=hours.get(name))


def _one(name: str, records: Sequence[Instrument]) -> Instrument:
    record = next((r for r in records if r.native == name), None)
    if record is None:
        raise DataError("the venue lists no such perpetual")
    return record


def _and(record: Instrument, source: str, **answer: Any) -> Instrument:
    """The record with what a second answer says of it, None where it says nothing."""
    said = {name: value for name, value in answer.items() if value is not None}
    told = f"{record.source}; {', '.join(said)}: {source}" if said else record.source
    return msgspec.structs.replace(record, **said, source=told)


def _completed(record: Instrument, before: Instrument | None) -> Instrument:
    """The record with what its answers leave out as it was before: a newer record replaces the older one whole."""
    if before is None:
        return record
    older: dict[str, Any] = {
        name: getattr(before, name)
        for name in ("minimum_notional_usd", "funding_interval_hours", "taker_fee")
        if math.isnan(getattr(record, name)) and not math.isnan(getattr(before, name))
    }
    if before.tiers and not record.tiers:
        older["tiers"] = before.tiers
    by_source: dict[str, list[str]] = {}
    for name in older:
        by_source.setdefault(_origin(before.source, name), []).append(name)
    carried = "".join(f"; {', '.join(names)} carried on: {source}" for source, names in by_source.items())
    return msgspec.structs.replace(record, **older, source=record.source + carried)


def _origin(source: str, name: str) -> str:
    """Where a field of a record is from, be it carried on for the second time.

    >>> _origin("exchangeInfo; taker_fee, tiers carried on: a dump", "tiers")
    'a dump'
    >>> _origin("exchangeInfo; taker_fee, tiers carried on: a dump", "funding_interval_hours")
    'exchangeInfo'
    """
    own, *clauses = CARRIED.split(source)
    return next((text for names, text in zip(*[iter(clauses)] * 2, strict=True) if name in names.split(", ")), own)
