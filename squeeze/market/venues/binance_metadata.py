"""Binance's answers about its contracts, as records, funding intervals and tiers.

Apart from `binance`, which reads frames: these come on request, seldom, and go into a file of records. `metadata` says
how a body is refused.
"""

import math

import msgspec

from squeeze.market.instruments import Instrument, Tier, ours
from squeeze.market.venues.metadata import (
    Number,
    Text,
    TierRow,
    decoded,
    decoded_list,
    grouped,
    optional,
    or_zero,
    positive,
    present,
    read_rows,
)

BINANCE_INSTRUMENTS = "binance /fapi/v1/exchangeInfo"
BINANCE_FUNDING = "binance /fapi/v1/fundingInfo"
BINANCE_TIERS = "binance /fapi/v1/leverageBracket"


class BinanceKind(msgspec.Struct, rename="camel"):
    """What decides whether a row is read at all."""

    symbol: Text
    contract_type: str


class BinanceFilter(msgspec.Struct, rename="camel"):
    """One of a contract's filters; each type has fields of its own."""

    filter_type: str
    tick_size: Number | None = None
    step_size: Number | None = None
    min_qty: Number | None = None
    notional: Number | None = None


class BinanceRow(msgspec.Struct):
    """One contract."""

    filters: list[BinanceFilter]


class BinanceBody(msgspec.Struct):
    """The good answer; a refusal has `code` and `msg` instead."""

    symbols: list[msgspec.Raw]


class BinanceFunding(msgspec.Struct, rename="camel"):
    """One contract's funding."""

    symbol: Text
    funding_interval_hours: Number


class BinanceBracket(msgspec.Struct, rename="camel"):
    """One tier of one contract."""

    bracket: Number
    notional_floor: Number
    notional_cap: Number
    initial_leverage: Number
    maint_margin_ratio: Number
    cum: Number | None = None


class BinanceTiers(msgspec.Struct):
    """One contract's tiers, as they hold for the account that asked."""

    symbol: Text
    brackets: list[BinanceBracket]


def binance_instruments(body: bytes, as_of_ns: int) -> list[Instrument]:
    """Perpetuals of `GET /fapi/v1/exchangeInfo`; a contract is a base coin.

    Dated futures, contracts before their launch and perpetuals on other things than coins (`TRADIFI_PERPETUAL`) are
    left out. The funding interval is not in this answer.
    """
    contracts = decoded(BINANCE_INSTRUMENTS, body, BinanceBody).symbols
    return present(read_rows(BINANCE_INSTRUMENTS, contracts, lambda raw: _binance_contract(raw, as_of_ns)))


def binance_funding_intervals(body: bytes) -> dict[str, float]:
    """Hours between settlements by contract, of `GET /fapi/v1/fundingInfo`, which lists only contracts whose interval
    or cap was ever adjusted.
    """
    return dict(read_rows(BINANCE_FUNDING, decoded_list(BINANCE_FUNDING, body), _binance_interval))


def binance_tiers(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """Tiers by contract of the signed `GET /fapi/v1/leverageBracket`; asked for one symbol it may be one object.

    The brackets are the asking account's: where it has a `notionalCoef` they may be wider than the usual ones.
    """
    raws = decoded_list(BINANCE_TIERS, b"[" + body + b"]" if body.lstrip().startswith(b"{") else body)
    rows = read_rows(BINANCE_TIERS, raws, _binance_brackets)
    return grouped(BINANCE_TIERS, (tier for tiers in rows for tier in tiers))


def _binance_contract(raw: msgspec.Raw, as_of_ns: int) -> Instrument | None:
    kind = msgspec.json.decode(raw, type=BinanceKind)
    if kind.contract_type != "PERPETUAL":
        return None
    filters = {f.filter_type: f for f in msgspec.json.decode(raw, type=BinanceRow).filters}
    nothing = BinanceFilter("")
    lot = filters.get("LOT_SIZE", nothing)
    return Instrument(
        venue="binance",
        native=kind.symbol,
        symbol=ours("binance", kind.symbol),
        as_of_ns=as_of_ns,
        tick_size=positive("PRICE_FILTER.tickSize", filters.get("PRICE_FILTER", nothing).tick_size),
        lot_size_base=positive("LOT_SIZE.stepSize", lot.step_size),
        minimum_size_base=positive("LOT_SIZE.minQty", lot.min_qty),
        minimum_notional_usd=optional("MIN_NOTIONAL.notional", filters.get("MIN_NOTIONAL", nothing).notional),
        source=BINANCE_INSTRUMENTS,
    )


def _binance_interval(raw: msgspec.Raw) -> tuple[str, float]:
    row = msgspec.json.decode(raw, type=BinanceFunding)
    return row.symbol, positive("fundingIntervalHours", row.funding_interval_hours)


def _binance_brackets(raw: msgspec.Raw) -> list[TierRow]:
    row, tiers = msgspec.json.decode(raw, type=BinanceTiers), []
    for bracket in row.brackets:
        rate = positive("maintMarginRatio", bracket.maint_margin_ratio)
        leverage = positive("initialLeverage", bracket.initial_leverage)
        deduction = optional("cum", bracket.cum)
        limit = positive("notionalCap", bracket.notional_cap)
        number, floor = positive("bracket", bracket.bracket), optional("notionalFloor", bracket.notional_floor)
        tier = Tier(limit, rate, leverage, or_zero(deduction))
        tiers.append(TierRow(row.symbol, tier, math.isnan(deduction), number, floor))
    if not tiers:
        raise ValueError("brackets must not be empty")
    return tiers
