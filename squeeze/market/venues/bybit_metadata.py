"""Bybit's answers about its contracts, as records and tiers.

Apart from `bybit`, which reads frames: these come on request, seldom, and go into a file of records. `metadata` says
how a body is refused.
"""

import math
from typing import Literal

import msgspec

from squeeze.errors import DataError
from squeeze.market.events import NAN
from squeeze.market.instruments import Instrument, Tier, ours
from squeeze.market.venues.metadata import (
    Number,
    Text,
    TierRow,
    decoded,
    grouped,
    optional,
    or_zero,
    positive,
    present,
    read_rows,
)

BYBIT_INSTRUMENTS = "bybit /v5/market/instruments-info"
BYBIT_TIERS = "bybit /v5/market/risk-limit"


class BybitKind(msgspec.Struct, rename="camel"):
    """What decides whether a row is read at all."""

    symbol: Text
    contract_type: str
    status: str


class BybitPrice(msgspec.Struct, rename="camel"):
    """`priceFilter`."""

    tick_size: Number


class BybitLot(msgspec.Struct, rename="camel"):
    """`lotSizeFilter`."""

    qty_step: Number
    min_order_qty: Number
    min_notional_value: Number | None = None


class BybitRow(msgspec.Struct, rename="camel"):
    """One contract; `fundingInterval` is in minutes."""

    price_filter: BybitPrice
    lot_size_filter: BybitLot
    funding_interval: Number


class BybitTier(msgspec.Struct, rename="camel"):
    """One tier of one contract."""

    symbol: Text
    risk_limit_value: Number
    maintenance_margin: Number
    initial_margin: Number
    max_leverage: Number
    mm_deduction: Number | None = None


class BybitResult(msgspec.Struct):
    """`result`."""

    list: list[msgspec.Raw]
    category: str


class BybitBody(msgspec.Struct, rename="camel"):
    """The envelope of a good answer; a refusal has another `retCode` and an empty `result`."""

    ret_code: Literal[0]
    result: BybitResult


def bybit_instruments(body: bytes, as_of_ns: int) -> list[Instrument]:
    """Perpetuals of `GET /v5/market/instruments-info?category=linear` or `inverse`, one page of them.

    Dated futures, and contracts before their launch, are left out. The funding interval comes in minutes. A contract
    is a base coin, an inverse one a USD.
    """
    contracts = decoded(BYBIT_INSTRUMENTS, body, BybitBody).result.list
    return present(read_rows(BYBIT_INSTRUMENTS, contracts, lambda raw: _bybit_contract(raw, as_of_ns)))


def bybit_tiers(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """Tiers by contract of `GET /v5/market/risk-limit?category=linear`, one page of them.

    Margins are fractions in answers for linear contracts ("0.005") and percent in the documentation's example ("0.5"),
    so the row itself decides: initial margin × leverage is near 1 for a fraction and near 100 for percent [1]_. An
    empty deduction, as in every lowest tier, is worked out from the tier below. Inverse contracts have their limits in
    coins and are refused.

    .. [1] https://bybit-exchange.github.io/docs/v5/market/risk-limit
    """
    result = decoded(BYBIT_TIERS, body, BybitBody).result
    if result.category != "linear":
        raise DataError(f"{BYBIT_TIERS}: category must be 'linear', got {result.category!r}")
    return grouped(BYBIT_TIERS, read_rows(BYBIT_TIERS, result.list, _bybit_tier))


def _bybit_contract(raw: msgspec.Raw, as_of_ns: int) -> Instrument | None:
    kind = msgspec.json.decode(raw, type=BybitKind)
    if kind.contract_type not in ("LinearPerpetual", "InversePerpetual") or kind.status == "PreLaunch":
        return None
    row = msgspec.json.decode(raw, type=BybitRow)
    lot, is_inverse = row.lot_size_filter, kind.contract_type == "InversePerpetual"
    step = positive("lotSizeFilter.qtyStep", lot.qty_step)
    minimum = positive("lotSizeFilter.minOrderQty", lot.min_order_qty)
    return Instrument(
        venue="bybit",
        native=kind.symbol,
        symbol=ours("bybit", kind.symbol),
        as_of_ns=as_of_ns,
        tick_size=positive("priceFilter.tickSize", row.price_filter.tick_size),
        lot_size_base=NAN if is_inverse else step,
        minimum_size_base=NAN if is_inverse else minimum,
        is_inverse=is_inverse,
        minimum_notional_usd=optional("lotSizeFilter.minNotionalValue", lot.min_notional_value),
        funding_interval_hours=positive("fundingInterval", row.funding_interval) / 60,
        source=BYBIT_INSTRUMENTS,
    )


def _bybit_tier(raw: msgspec.Raw) -> TierRow:
    row = msgspec.json.decode(raw, type=BybitTier)
    leverage = positive("maxLeverage", row.max_leverage)
    percent = 100.0 if _is_percent(positive("initialMargin", row.initial_margin), leverage) else 1.0
    rate = positive("maintenanceMargin", row.maintenance_margin) / percent
    deduction = optional("mmDeduction", row.mm_deduction)
    tier = Tier(positive("riskLimitValue", row.risk_limit_value), rate, leverage, or_zero(deduction))
    return TierRow(row.symbol, tier, math.isnan(deduction))


def _is_percent(initial_margin: float, leverage: float) -> bool:
    product = initial_margin * leverage
    if not (0.5 <= product <= 2.0 or 50.0 <= product <= 200.0):
        expected = "near 1/maxLeverage, or that in percent"
        raise ValueError(f"initialMargin must be {expected}, got {initial_margin} at leverage {leverage}")
    return product >= 50.0
