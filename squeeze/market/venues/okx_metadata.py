"""OKX' answers about its contracts, as records and tiers.

Apart from `okx`, which reads frames: these come on request, seldom, and go into a file of records. `metadata` says how
a body is refused.
"""

import re
from typing import Literal

import msgspec

from squeeze.market.events import NAN
from squeeze.market.instruments import Instrument, Tier, ours
from squeeze.market.venues.metadata import (
    Number,
    Text,
    TierRow,
    decoded,
    grouped,
    positive,
    present,
    product,
    read_rows,
)

OKX_INSTRUMENTS = "okx /api/v5/public/instruments"
OKX_TIERS = "okx /api/v5/public/position-tiers"


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
    tier: Number
    max_sz: Number
    mmr: Number
    max_lever: Number


class OkxBody(msgspec.Struct):
    """The envelope of a good answer; a refusal has another `code`."""

    code: Literal["0"]
    data: list[msgspec.Raw]


def okx_instruments(body: bytes, as_of_ns: int) -> list[Instrument]:
    """Perpetuals of `GET /api/v5/public/instruments?instType=SWAP`.

    A contract is `ctVal` × `ctMult` of `ctValCcy`: base coins where `ctType` is linear, quote currency where it is
    inverse. Lots come in contracts and leave in base coins. Contracts before their launch, whose sizes may be empty,
    and test contracts are left out. The funding interval is not in this answer.
    """
    contracts = decoded(OKX_INSTRUMENTS, body, OkxBody).data
    return present(read_rows(OKX_INSTRUMENTS, contracts, lambda raw: _okx_contract(raw, as_of_ns)))


def okx_tiers(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """Tiers by perpetual of `GET /api/v5/public/position-tiers?instType=SWAP&tdMode=...&instFamily=...`.

    Limits are in contracts, and a tier's rate holds for the whole position, so nothing is deducted. Rows name the
    family only, which dated futures share: it is the caller who has asked for `SWAP`.
    """
    return grouped(OKX_TIERS, read_rows(OKX_TIERS, decoded(OKX_TIERS, body, OkxBody).data, _okx_tier))


def _okx_contract(raw: msgspec.Raw, as_of_ns: int) -> Instrument | None:
    kind = msgspec.json.decode(raw, type=OkxKind)
    if kind.inst_type != "SWAP" or kind.state in ("preopen", "test"):
        return None
    row = msgspec.json.decode(raw, type=OkxRow)
    is_inverse = row.ct_type == "inverse"
    _require_currency(kind.inst_id, row.ct_val_ccy, is_inverse)
    multiplier = positive("ctMult", row.ct_mult)
    value = product(positive("ctVal", row.ct_val), multiplier)
    lot, minimum = positive("lotSz", row.lot_sz), positive("minSz", row.min_sz)
    return Instrument(
        venue="okx",
        native=kind.inst_id,
        symbol=ours("okx", kind.inst_id),
        as_of_ns=as_of_ns,
        tick_size=positive("tickSz", row.tick_sz),
        lot_size_base=NAN if is_inverse else product(lot, value),
        minimum_size_base=NAN if is_inverse else product(minimum, value),
        contract_value=value,
        is_inverse=is_inverse,
        source=OKX_INSTRUMENTS,
    )


def _okx_tier(raw: msgspec.Raw) -> TierRow:
    row = msgspec.json.decode(raw, type=OkxTier)
    rate, leverage = positive("mmr", row.mmr), positive("maxLever", row.max_lever)
    tier = Tier(NAN, rate, leverage, up_to_contracts=positive("maxSz", row.max_sz))
    return TierRow(f"{row.inst_family}-SWAP", tier, number=positive("tier", row.tier))


def _require_currency(native: str, currency: str, is_inverse: bool) -> None:
    """`ValueError` unless a contract's value is in its base coin, or in its quote where it is inverse."""
    parts = re.split(r"[-_]", native)
    if len(parts) < 3 or currency != parts[is_inverse]:
        raise ValueError(f"ctValCcy must be the {'quote' if is_inverse else 'base'} of {native}, got {currency!r}")
