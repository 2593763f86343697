"""A venue's answers about its contracts, as records: steps, contract values, funding intervals, margin tiers.

Bodies go in, values come out; who fetches them is another module's matter. Fields that venues add are ignored, those
that are used here are checked, and one bad row refuses the body: half a list of contracts would look like a whole one.
Every refusal is a `DataError` of one line with endpoint, contract, field, what was expected and what came. An empty
list is refused too, since none of these endpoints has nothing to say.

Tiers and funding intervals come from other endpoints than contracts and go in with `msgspec.structs.replace`.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Literal, TypeVar

import msgspec

from squeeze.errors import DataError
from squeeze.market.instruments import Instrument, Tier, ours, require_rising

NAN = math.nan

BYBIT_INSTRUMENTS = "bybit /v5/market/instruments-info"
BYBIT_TIERS = "bybit /v5/market/risk-limit"
OKX_INSTRUMENTS = "okx /api/v5/public/instruments"
OKX_TIERS = "okx /api/v5/public/position-tiers"
BINANCE_INSTRUMENTS = "binance /fapi/v1/exchangeInfo"
BINANCE_FUNDING = "binance /fapi/v1/fundingInfo"
BINANCE_TIERS = "binance /fapi/v1/leverageBracket"

NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)

Number = str | float
"""Venues write most numbers as text, and some as numbers."""

Text = Annotated[str, msgspec.Meta(min_length=1)]

T = TypeVar("T")


class Name(msgspec.Struct, rename="camel"):
    """What a row is about, for a message about it."""

    symbol: str = ""
    inst_id: str = ""
    inst_family: str = ""


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


class OkxKind(msgspec.Struct, rename="camel"):
    """What decides whether a row is read at all."""

    inst_id: Text
    inst_type: str
    state: str


class OkxRow(msgspec.Struct, rename="camel"):
    """One contract; sizes are in contracts, prices in quote currency."""

    tick_sz: Number
    lot_sz: Number
    min_sz: Number
    ct_val: Number
    ct_mult: Number
    ct_val_ccy: str
    ct_type: Literal["linear", "inverse"]


class OkxTier(msgspec.Struct, rename="camel"):
    """One tier of one family; sizes are in contracts."""

    inst_family: Text
    max_sz: Number
    mmr: Number
    max_lever: Number


class OkxBody(msgspec.Struct):
    """The envelope of a good answer; a refusal has another `code`."""

    code: Literal["0"]
    data: list[msgspec.Raw]


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

    notional_cap: Number
    initial_leverage: Number
    maint_margin_ratio: Number
    cum: Number | None = None


class BinanceTiers(msgspec.Struct):
    """One contract's tiers, as they hold for the account that asked."""

    symbol: Text
    brackets: list[BinanceBracket]


def bybit_instruments(body: bytes, as_of_ns: int) -> list[Instrument]:
    """Perpetuals of `GET /v5/market/instruments-info?category=linear` or `inverse`, one page of them.

    Dated futures, and contracts before their launch, are left out. The funding interval comes in minutes. A contract
    is a base coin, an inverse one a USD.
    """
    contracts = _decode(BYBIT_INSTRUMENTS, body, BybitBody).result.list
    return _present(_rows(BYBIT_INSTRUMENTS, contracts, lambda raw: _bybit_contract(raw, as_of_ns)))


def bybit_tiers(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """Tiers by contract of `GET /v5/market/risk-limit?category=linear`, one page of them.

    Margins are fractions in answers for linear contracts ("0.005") and percent in the documentation's example ("0.5"),
    so the row itself decides: initial margin × leverage is near 1 for a fraction and near 100 for percent [1]_. An
    empty deduction, as in every lowest tier, is worked out from the tier below. Inverse contracts have their limits in
    coins and are refused.

    .. [1] https://bybit-exchange.github.io/docs/v5/market/risk-limit
    """
    result = _decode(BYBIT_TIERS, body, BybitBody).result
    if result.category != "linear":
        raise DataError(f"{BYBIT_TIERS}: category must be 'linear', got {result.category!r}")
    return _grouped(BYBIT_TIERS, _rows(BYBIT_TIERS, result.list, _bybit_tier))


def okx_instruments(body: bytes, as_of_ns: int) -> list[Instrument]:
    """Perpetuals of `GET /api/v5/public/instruments?instType=SWAP`.

    A contract is `ctVal` × `ctMult` of `ctValCcy`: base coins where `ctType` is linear, quote currency where it is
    inverse. Lots come in contracts and leave in base coins. Contracts before their launch, whose sizes may be empty,
    and test contracts are left out. The funding interval is not in this answer.
    """
    contracts = _decode(OKX_INSTRUMENTS, body, OkxBody).data
    return _present(_rows(OKX_INSTRUMENTS, contracts, lambda raw: _okx_contract(raw, as_of_ns)))


def okx_tiers(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """Tiers by perpetual of `GET /api/v5/public/position-tiers?instType=SWAP&tdMode=...&instFamily=...`.

    Limits are in contracts, and a tier's rate holds for the whole position, so nothing is deducted. Rows name the
    family only, which dated futures share: it is the caller who has asked for `SWAP`.
    """
    return _grouped(OKX_TIERS, _rows(OKX_TIERS, _decode(OKX_TIERS, body, OkxBody).data, _okx_tier))


def binance_instruments(body: bytes, as_of_ns: int) -> list[Instrument]:
    """Perpetuals of `GET /fapi/v1/exchangeInfo`; a contract is a base coin.

    Dated futures, contracts before their launch and perpetuals on other things than coins (`TRADIFI_PERPETUAL`) are
    left out. The funding interval is not in this answer.
    """
    contracts = _decode(BINANCE_INSTRUMENTS, body, BinanceBody).symbols
    return _present(_rows(BINANCE_INSTRUMENTS, contracts, lambda raw: _binance_contract(raw, as_of_ns)))


def binance_funding_intervals(body: bytes) -> dict[str, float]:
    """Hours between settlements by contract, of `GET /fapi/v1/fundingInfo`, which lists only contracts whose interval
    or cap was ever adjusted.
    """
    return dict(_rows(BINANCE_FUNDING, _decode_list(BINANCE_FUNDING, body), _binance_interval))


def binance_tiers(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """Tiers by contract of the signed `GET /fapi/v1/leverageBracket`; asked for one symbol it may be one object.

    The brackets are the asking account's: where it has a `notionalCoef` they may be wider than the usual ones.
    """
    raws = _decode_list(BINANCE_TIERS, b"[" + body + b"]" if body.lstrip().startswith(b"{") else body)
    rows = _rows(BINANCE_TIERS, raws, _binance_brackets)
    return _grouped(BINANCE_TIERS, (tier for tiers in rows for tier in tiers))


def _bybit_contract(raw: msgspec.Raw, as_of_ns: int) -> Instrument | None:
    kind = msgspec.json.decode(raw, type=BybitKind)
    if kind.contract_type not in ("LinearPerpetual", "InversePerpetual") or kind.status == "PreLaunch":
        return None
    row = msgspec.json.decode(raw, type=BybitRow)
    lot, is_inverse = row.lot_size_filter, kind.contract_type == "InversePerpetual"
    step = _positive("lotSizeFilter.qtyStep", lot.qty_step)
    minimum = _positive("lotSizeFilter.minOrderQty", lot.min_order_qty)
    return Instrument(
        venue="bybit",
        native=kind.symbol,
        symbol=ours("bybit", kind.symbol),
        as_of_ns=as_of_ns,
        tick_size=_positive("priceFilter.tickSize", row.price_filter.tick_size),
        lot_size_base=NAN if is_inverse else step,
        minimum_size_base=NAN if is_inverse else minimum,
        is_inverse=is_inverse,
        minimum_notional_usd=_optional("lotSizeFilter.minNotionalValue", lot.min_notional_value),
        funding_interval_hours=_positive("fundingInterval", row.funding_interval) / 60,
        source=BYBIT_INSTRUMENTS,
    )


def _bybit_tier(raw: msgspec.Raw) -> tuple[str, Tier, bool]:
    row = msgspec.json.decode(raw, type=BybitTier)
    leverage = _positive("maxLeverage", row.max_leverage)
    percent = 100.0 if _is_percent(_positive("initialMargin", row.initial_margin), leverage) else 1.0
    rate = _positive("maintenanceMargin", row.maintenance_margin) / percent
    deduction = _optional("mmDeduction", row.mm_deduction)
    tier = Tier(_positive("riskLimitValue", row.risk_limit_value), rate, leverage, _or_zero(deduction))
    return row.symbol, tier, math.isnan(deduction)


def _okx_contract(raw: msgspec.Raw, as_of_ns: int) -> Instrument | None:
    kind = msgspec.json.decode(raw, type=OkxKind)
    if kind.inst_type != "SWAP" or kind.state in ("preopen", "test"):
        return None
    row = msgspec.json.decode(raw, type=OkxRow)
    is_inverse = row.ct_type == "inverse"
    _require_currency(kind.inst_id, row.ct_val_ccy, is_inverse)
    multiplier = _positive("ctMult", row.ct_mult)
    value = _product(_positive("ctVal", row.ct_val), multiplier)
    lot, minimum = _positive("lotSz", row.lot_sz), _positive("minSz", row.min_sz)
    return Instrument(
        venue="okx",
        native=kind.inst_id,
        symbol=ours("okx", kind.inst_id),
        as_of_ns=as_of_ns,
        tick_size=_positive("tickSz", row.tick_sz),
        lot_size_base=NAN if is_inverse else _product(lot, value),
        minimum_size_base=NAN if is_inverse else _product(minimum, value),
        contract_value=value,
        is_inverse=is_inverse,
        source=OKX_INSTRUMENTS,
    )


def _okx_tier(raw: msgspec.Raw) -> tuple[str, Tier, bool]:
    row = msgspec.json.decode(raw, type=OkxTier)
    rate, leverage = _positive("mmr", row.mmr), _positive("maxLever", row.max_lever)
    tier = Tier(NAN, rate, leverage, up_to_contracts=_positive("maxSz", row.max_sz))
    return f"{row.inst_family}-SWAP", tier, False


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
        tick_size=_positive("PRICE_FILTER.tickSize", filters.get("PRICE_FILTER", nothing).tick_size),
        lot_size_base=_positive("LOT_SIZE.stepSize", lot.step_size),
        minimum_size_base=_positive("LOT_SIZE.minQty", lot.min_qty),
        minimum_notional_usd=_optional("MIN_NOTIONAL.notional", filters.get("MIN_NOTIONAL", nothing).notional),
        source=BINANCE_INSTRUMENTS,
    )


def _binance_interval(raw: msgspec.Raw) -> tuple[str, float]:
    row = msgspec.json.decode(raw, type=BinanceFunding)
    return row.symbol, _positive("fundingIntervalHours", row.funding_interval_hours)


def _binance_brackets(raw: msgspec.Raw) -> list[tuple[str, Tier, bool]]:
    row, tiers = msgspec.json.decode(raw, type=BinanceTiers), []
    for bracket in row.brackets:
        rate = _positive("maintMarginRatio", bracket.maint_margin_ratio)
        leverage = _positive("initialLeverage", bracket.initial_leverage)
        deduction = _optional("cum", bracket.cum)
        limit = _positive("notionalCap", bracket.notional_cap)
        tiers.append((row.symbol, Tier(limit, rate, leverage, _or_zero(deduction)), math.isnan(deduction)))
    if not tiers:
        raise ValueError("brackets must not be empty")
    return tiers


def _decode(place: str, body: bytes, kind: type[T]) -> T:
    return _refused_by_name(place, body, lambda: msgspec.json.decode(body, type=kind))


def _decode_list(place: str, body: bytes) -> list[msgspec.Raw]:
    return _refused_by_name(place, body, lambda: msgspec.json.decode(body, type=list[msgspec.Raw]))


def _refused_by_name(place: str, body: bytes, decode: Callable[[], T]) -> T:
    """What `decode` makes of a body; a refusal shows how the body starts, where venues say what they dislike."""
    try:
        return decode()
    except (ValueError, RecursionError) as error:
        raise DataError(_line(f"{place}: {error}, in {body[:160].decode(errors='replace')!r}")) from None


def _rows(place: str, raws: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], T]) -> list[T]:
    """Every row as `read` gives it; a row that it refuses is named."""
    if not raws:
        raise DataError(f"{place}: expected at least one row, got an empty list")
    rows = []
    for k, raw in enumerate(raws):
        try:
            rows.append(read(raw))
        except (ValueError, RecursionError, DataError) as error:
            raise DataError(_line(f"{place}: {_name(raw) or 'no name'} (row {k}): {error}")) from None
    return rows


def _present(records: Iterable[Instrument | None]) -> list[Instrument]:
    return [record for record in records if record is not None]


def _name(raw: msgspec.Raw) -> str:
    try:
        name = msgspec.json.decode(raw, type=Name)
    except (ValueError, RecursionError):
        return ""
    return (name.symbol or name.inst_id or name.inst_family)[:40]


def _line(message: str) -> str:
    return " ".join(message.split())


def _number(field: str, value: Number | None) -> float:
    if isinstance(value, str) and NUMBER.fullmatch(value) is None:
        raise ValueError(f"{field} must be a number, got {value[:40]!r}")
    if value is None:
        raise ValueError(f"{field} must be a number, got nothing")
    return float(value)


def _positive(field: str, value: Number | None) -> float:
    number = _number(field, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{field} must be positive and finite, got {value!r}")
    return number


def _optional(field: str, value: Number | None) -> float:
    """A number that may be zero; NaN where the venue left it out or empty."""
    number = NAN if value is None or value == "" else _number(field, value)
    if not (math.isnan(number) or 0 <= number < math.inf):
        raise ValueError(f"{field} must be finite and not negative, got {value!r}")
    return number


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _product(a: float, b: float) -> float:
    """a × b without the binary rounding of a product: 0.1 × 0.1 is 0.01, as the venue means it."""
    return float(Decimal(repr(a)) * Decimal(repr(b)))


def _is_percent(initial_margin: float, leverage: float) -> bool:
    product = initial_margin * leverage
    if not (0.5 <= product <= 2.0 or 50.0 <= product <= 200.0):
        expected = "near 1/maxLeverage, or that in percent"
        raise ValueError(f"initialMargin must be {expected}, got {initial_margin} at leverage {leverage}")
    return product >= 50.0


def _require_currency(native: str, currency: str, is_inverse: bool) -> None:
    """`ValueError` unless a contract's value is in its base coin, or in its quote where it is inverse."""
    parts = re.split(r"[-_]", native)
    if len(parts) < 3 or currency != parts[is_inverse]:
        raise ValueError(f"ctValCcy must be the {'quote' if is_inverse else 'base'} of {native}, got {currency!r}")


def _grouped(place: str, rows: Iterable[tuple[str, Tier, bool]]) -> dict[str, tuple[Tier, ...]]:
    """Tiers by contract, by rising limit, with the deductions that the venue left empty worked out.

    A requirement of notional × rate − deduction is continuous at every limit:
    `deduction[n] = limit[n-1] * (rate[n] - rate[n-1]) + deduction[n-1]`.
    """
    groups: dict[str, list[tuple[Tier, bool]]] = {}
    for native, tier, is_open in rows:
        groups.setdefault(native, []).append((tier, is_open))
    tiers: dict[str, tuple[Tier, ...]] = {}
    for native, group in groups.items():
        done: list[Tier] = []
        try:
            for tier, is_open in sorted(group, key=lambda pair: pair[0].limit):
                require_rising([*done[-1:], tier])
                if is_open and done:
                    below = done[-1]
                    step = below.up_to_usd * (tier.maintenance_rate - below.maintenance_rate)
                    tier = msgspec.structs.replace(tier, deduction_usd=below.deduction_usd + step)
                done.append(tier)
        except ValueError as error:
            raise DataError(_line(f"{place}: {native[:40]}: {error}")) from None
        tiers[native] = tuple(done)
    return tiers
