"""How far a venue's liquidation prices lie from entry, from its maintenance tiers (domain.md §3.1).

For an isolated position of notional N = Q·EP at entry and leverage L, a long has s = +1 and a short s = -1:

    LP = (M + c - s·Q·EP) / (Q·(m + f) - s·Q),  M = N / L   so that   LP / EP = (1/L + c/N - s) / (m + f - s)

m and c are rate and deduction of the tier of N, and f the fee that the venue counts as maintenance. The tier is that of
the notional *at entry*, although the venue asks for that at the mark: within a tier there is no difference, and what
crosses a limit on its way is further from it than a bin only for the largest positions [D].
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from squeeze.errors import DataError
from squeeze.market.instruments import Instrument, Tier, require_whole

DEDUCTS = {"binance": True, "bybit": True, "okx": False}
"""Whether the venue's tiers have deductions (`cum`, `mmDeduction`); at OKX a tier holds for the whole position."""
COUNTS_FEE = {"binance": False, "bybit": True, "okx": True}
"""Whether the fee to close is part of the requirement."""


class Distances(NamedTuple):
    """ln(liquidation price / entry) of a venue's positions, and what had to be changed to have them."""

    log: Float[np.ndarray, "side bucket"]
    """Below 0 for longs, above for shorts; what `LiquidationMap` takes."""
    leverages: tuple[float, ...]
    """Of each bucket, after clipping."""
    clipped: tuple[str, ...]
    """Why, for each bucket whose leverage the venue does not grant at that notional."""


def distances(
    instrument: Instrument,
    leverages: Sequence[float],
    position_usd: float | Sequence[float] | None = None,
    price: float = math.nan,
) -> Distances:
    """Distances of the leverage buckets under the tiers of one instrument record.

    `position_usd` is the notional at entry, one for all buckets or one for each; without it all are in the first tier,
    as most positions are. `price` is needed where a venue gives its tiers in contracts and `position_usd` is given. A
    leverage above what the position's tier allows becomes the highest allowed.

    Raises `DataError` for an inverse contract, for tiers that were not recorded or do not hold together, for a taker
    fee that is needed and unknown, and for a position that would be liquidated at entry.

    >>> from squeeze.market.instruments import Instruments
    >>> found = distances(Instruments.shipped().get("binance", "DOTUSDT"), (50.0, 100.0))
    >>> [round(100 * math.expm1(x), 2) for x in found.log[:, 0]], found.clipped
    ([-1.36, 1.34], ('100x: binance DOTUSDT grants at most 75x in the tier up to 10000 USD',))
    """
    tiers = _checked(instrument)
    fee = instrument.taker_fee if COUNTS_FEE[instrument.venue] else 0.0
    if math.isnan(fee):
        raise DataError(f"{_name(instrument)}: the taker fee is part of its requirement and was not recorded")
    each = list(position_usd) if isinstance(position_usd, Sequence) else [position_usd] * len(leverages)
    if len(each) != len(leverages):
        raise DataError(f"position_usd: expected one for each of {len(leverages)} leverages, got {len(each)}")
    log, granted, clipped = np.empty((2, len(leverages))), [], []
    for bucket, (leverage, notional) in enumerate(zip(leverages, each, strict=True)):
        tier = tiers[0] if notional is None else _tier(instrument, notional, price)
        if leverage > tier.max_leverage:
            limit = f"{tier.limit:g} {'contracts' if math.isnan(tier.up_to_usd) else 'USD'}"
            clipped.append(
                f"{leverage:g}x: {_name(instrument)} grants at most {tier.max_leverage:g}x in the tier up to {limit}"
            )
        granted.append(min(leverage, tier.max_leverage))
        per_notional = 0.0 if notional is None else tier.deduction_usd / notional
        log[:, bucket] = _log_ratio(instrument, granted[-1], tier.maintenance_rate + fee, per_notional)
    return Distances(log, tuple(granted), tuple(clipped))


def _log_ratio(instrument: Instrument, leverage: float, rate: float, deduction: float) -> np.ndarray:
    sign = np.array([1.0, -1.0])
    ratio = (1 / leverage + deduction - sign) / (rate - sign)
    if not (0 < ratio[0] < 1 < ratio[1]):
        raise DataError(
            f"{_name(instrument)}: at {leverage:g}x and a requirement of {100 * rate:g} % a position is liquidated"
            " at entry, or never"
        )
    return np.log(ratio)


def _tier(instrument: Instrument, notional_usd: float, price: float) -> Tier:
    if not 0 < notional_usd < math.inf:
        raise DataError(f"position_usd must be positive and finite, got {notional_usd}")
    try:
        return instrument.tier(notional_usd, price)
    except ValueError as error:
        raise DataError(f"{_name(instrument)}: {error}") from None


def _checked(instrument: Instrument) -> tuple[Tier, ...]:
    """An instrument's tiers; `DataError` where they cannot be used."""
    name, tiers = _name(instrument), instrument.tiers
    if instrument.venue not in COUNTS_FEE:
        raise DataError(f"{name}: expected one of {', '.join(COUNTS_FEE)}, whose formula is known")
    if instrument.is_inverse:
        raise DataError(f"{name}: the formula is that of linear contracts, this one is inverse")
    if not tiers:
        raise DataError(f"{name}: no maintenance tiers were recorded as of {instrument.as_of_ns} ns")
    try:
        require_whole(tiers)
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None
    if DEDUCTS[instrument.venue] and len(tiers) > 1 and not any(tier.deduction_usd for tier in tiers):
        raise DataError(f"{name}: {len(tiers)} tiers without deductions, which this venue has: they were lost")
    for number, (low, high) in enumerate(pairwise(tiers), 2):
        if high.max_leverage > low.max_leverage:
            raise DataError(
                f"{name}: tier {number}: max_leverage must be at most {low.max_leverage:g}, got {high.max_leverage:g}"
            )
    return tiers


def _name(instrument: Instrument) -> str:
    return f"{instrument.venue} {instrument.native}"
