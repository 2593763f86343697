"""What the page and the still figures share: the map on absolute prices, thinning to columns, colours, intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from squeeze.arrays import StepTimes

Steps = Float[np.ndarray, " step"]
RelativeMap = Float[np.ndarray, "step side price"]
"""Share of open interest that would be liquidated in each bin; price bins count outward from the mark of that step."""

COLUMNS = 1500
"""Columns a heatmap is thinned to: more than a wide screen shows, and about 2 MB of the page."""
LEVELS = 240
"""Rows of the absolute heatmap."""

SIDE_COLOURS = {"long": "#D55E00", "short": "#0072B2"}
"""Vermillion and blue of Okabe and Ito's palette, which the colour-blind tell apart [1]_.

.. [1] https://jfly.uni-koeln.de/color/
"""
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
"""The same palette, for models and baselines in the order in which they come."""
TRADE_COLOUR, STOP_COLOUR = "#56B4E9", "#CC79A7"
"""Sky blue and purple of the same palette, apart from the sides' colours and from cividis."""
STOP_MINUTES = 60
"""A stop is drawn over at least so long: most trades are shorter than the width of a mark."""
SIDE_TITLES = {"long": "Long squeeze (price falls)", "short": "Short squeeze (price rises)"}


def price_levels(mark: Steps, bin_widths: Steps, price_bins: int, count: int = LEVELS) -> Float[np.ndarray, " level"]:
    """Evenly spaced prices that hold the whole price line and the map's median reach on either side of it."""
    reach = float(np.nanmedian(bin_widths)) * price_bins
    return np.linspace(np.nanmin(mark) * np.exp(-reach), np.nanmax(mark) * np.exp(reach), count)


def absolute_map(
    mark: Steps, relative_map: RelativeMap, bin_widths: Steps, levels: Float[np.ndarray, " level"]
) -> Float[np.ndarray, "level step"]:
    """Percent of open interest per 0.1 % of price at each price level: longs under the mark, shorts above it.

    `bin_widths` are in log price, one for each step. A bin's share is divided by its width, so that steps with wide
    bins are not brighter than others. NaN where the map does not reach, and where a step has no mark.

    >>> relative = np.array([[[0.01, 0.02], [0.03, 0.04]]])  # two bins of 0.1 % on either side
    >>> levels = np.array([99.85, 99.95, 100.05, 100.15, 100.25])
    >>> absolute_map(np.array([100.0]), relative, np.array([1e-3]), levels).T.round(3)
    array([[ 2.,  1.,  3.,  4., nan]])
    """
    with np.errstate(invalid="ignore"):
        offset = np.log(levels[:, None] / mark[None, :])
        bins = np.floor(np.abs(offset) / bin_widths)
        reached = bins < relative_map.shape[2]
    steps = np.broadcast_to(np.arange(len(mark)), bins.shape)
    inside = np.where(reached, bins, 0).astype(np.int64)
    share = relative_map[steps, (offset > 0).astype(np.int64), inside]
    return np.where(reached, share / bin_widths * 1e-3 * 100, np.nan)


def thin_starts(steps: int, most: int = COLUMNS) -> Int[np.ndarray, " column"]:
    """The first step of each of at most `most` columns of equal length.

    >>> thin_starts(7, most=3).tolist()
    [0, 3, 6]
    """
    return np.arange(0, steps, max(1, -(-steps // most)))


def thin_map(
    mark: Steps,
    relative_map: RelativeMap,
    bin_widths: Steps,
    levels: Float[np.ndarray, " level"],
    starts: Int[np.ndarray, " column"],
) -> Float[np.ndarray, "level column"]:
    """`absolute_map` averaged over each column's steps, NaN left out; column by column, to stay small in memory."""
    ends = [*starts[1:].tolist(), len(mark)]
    columns = np.full((len(levels), len(starts)), np.nan)
    for column, (a, b) in enumerate(zip(starts.tolist(), ends, strict=True)):
        heat = absolute_map(mark[a:b], relative_map[a:b], bin_widths[a:b], levels)
        known = np.isfinite(heat)
        count = known.sum(axis=1)
        total = np.where(known, heat, 0.0).sum(axis=1)
        columns[:, column] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return columns


def wilson(
    observed: Float[np.ndarray, " bin"], count: Float[np.ndarray, " bin"]
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Ends of the 95 % interval of a share seen in `count` draws [1]_; it stays within [0, 1] when the share is 0.

    >>> [end.round(3).tolist() for end in wilson(np.array([0.0, 0.5]), np.array([10.0, 100.0]))]
    [[0.0, 0.404], [0.278, 0.596]]

    .. [1] E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209.
    """
    z2 = 1.959964**2
    middle = observed + z2 / (2 * count)
    half = np.sqrt(z2 * (observed * (1 - observed) / count + z2 / (4 * count**2)))
    low, high = (middle - half) / (1 + z2 / count), (middle + half) / (1 + z2 / count)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def alarms(messages: Sequence[Mapping[str, Any]], side: str) -> list[Mapping[str, Any]]:
    """The messages that the price runs toward a zone of this side while the model gives the alarm."""
    moves = [m for m in messages if m.get("side") == side and m.get("state") == "approach"]
    return [m for m in moves if m.get("prev_state") != "approach"]


class Traded(NamedTuple):
    """A trade as it is drawn; times in microseconds, prices in quote currency."""

    opened_us: int
    closed_us: int
    is_buy: bool
    entry: float
    stop: float
    """The first one."""
    close: float
    """The mark at the end."""
    r_multiple: float


def trades(messages: Sequence[Mapping[str, Any]]) -> list[Traded]:
    """The trades that were filled and are over, in the order of their ends."""
    entries = {m["signal_id"]: m for m in messages if m.get("type") == "entry"}
    found = []
    for end in messages:
        entry = entries.get(end.get("signal_id"))
        if end.get("type") != "exit" or entry is None or end.get("r_multiple") is None:
            continue
        advice = entry["order_advice"]
        is_buy = advice["side"] == "buy"
        prices = (float(advice["entry_high" if is_buy else "entry_low"]), float(advice["stop"]), float(end["mark"]))
        found.append(Traded(entry["ts_data_us"], end["ts_data_us"], is_buy, *prices, end["r_multiple"]))
    return found


def brightest(heat: np.ndarray) -> float:
    """The 99.5 % quantile of what is not empty: a few extreme bins would leave the rest of the map dark."""
    filled = heat[np.isfinite(heat) & (heat > 0)]
    return float(np.quantile(filled, 0.995)) if filled.size else 1.0


def mark_at(messages: Sequence[Mapping[str, Any]], times_ns: StepTimes, mark: Steps) -> list[float]:
    """The mark of the last step at or before each message's data cut."""
    cuts = 1000 * np.array([m["ts_data_us"] for m in messages], dtype=np.int64)
    return [float(p) for p in mark[np.clip(np.searchsorted(times_ns, cuts, side="right") - 1, 0, None)]]
