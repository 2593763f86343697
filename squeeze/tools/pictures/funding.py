"""Funding: venue by hour, settled and predicted apart, and the same as lines."""

import math

import numpy as np

from squeeze.heatmaps.funding import KINDS, PREDICTED, SETTLED
from squeeze.market.events import HOUR_NS
from squeeze.tools.drawing import COLOURS
from squeeze.tools.pictures.gather import Seen
from squeeze.tools.pictures.panel import Heat, Layer, Line, Panel, Picture

WEEK_HOURS = 168
BASIS_POINTS = 1e4
LEAST_TOP_BP = 3.0
"""The usual rate, 1 bp, is never drawn as an extreme one."""


def funding_picture(seen: Seen, title: str) -> Picture:
    """The last week, or the window if that is longer, as far as the map goes back."""
    atlas = seen.kept_atlas
    funding, names = atlas.funding, atlas.names
    window = math.ceil((seen.end_ns - seen.start_ns) / HOUR_NS)
    folded = math.ceil((seen.end_ns - seen.first_ns) / HOUR_NS)
    hours = min(max(window, min(folded, WEEK_HOURS), 1), funding.spec.hours)
    end_hour = int(funding.clock[1])
    middles = (np.arange(end_hour - hours + 1, end_hour + 1) * HOUR_NS) + HOUR_NS // 2
    time = (float((end_hour - hours + 1) * HOUR_NS), float((end_hour + 1) * HOUR_NS))
    stale_hours = math.floor(funding.spec.stale_minutes[SETTLED] / 60)
    rates = {
        SETTLED: held(funding.matrix(SETTLED, hours), stale_hours) * BASIS_POINTS,
        PREDICTED: funding.matrix(PREDICTED, hours) * BASIS_POINTS,
    }
    told = {SETTLED: "the last settled rate", PREDICTED: "the rate predicted for the next settlement"}
    finite = np.concatenate([np.abs(cells[np.isfinite(cells)]) for cells in rates.values()])
    top = max(float(finite.max(initial=0.0)), LEAST_TOP_BP)
    rows = []
    for kind, cells in rates.items():
        known = np.isfinite(cells).any()
        heat = Heat(middles, np.arange(len(names), dtype=float), cells, "basis points per 8 h", True, top)
        heats = Panel(
            (heat,), title=told[kind], x_range=time, y_range=(-0.5, len(names) - 0.5), is_time=True, rows=names,
            note="" if known else f"no {KINDS[kind]} rate was recorded",
        )  # fmt: skip
        rows.append((heats,))
    lines: list[Layer] = [Line(np.array(time), np.zeros(2), "", "#6b7480", 0.8)]
    for kind, cells in rates.items():
        for venue, name in enumerate(names):
            if np.isfinite(cells[venue]).any():
                colour = COLOURS[venue % len(COLOURS)]
                lines.append(
                    Line(middles, cells[venue], f"{name}, {KINDS[kind]}", colour, 1.6, kind == PREDICTED, step=True)
                )
    rows.append(
        (Panel(tuple(lines), title="settled and predicted", x_title="time (UTC)", y_title="basis points per 8 h",
               x_range=time, is_time=True),)
    )  # fmt: skip
    return Picture("funding", f"{title}: funding", _caption(seen), tuple(rows), (1.0,), (1.0, 1.0, 1.6), (16.0, 8.5))


def held(cells: np.ndarray, most: int) -> np.ndarray:
    """Each rate held over the columns that follow, at most so many with its own; NaN after that.

    >>> held(np.array([[np.nan, 1.0, np.nan, np.nan, 2.0]]), 2).tolist()
    [[nan, 1.0, 1.0, nan, 2.0]]
    """
    columns = np.arange(cells.shape[1])
    last = np.maximum.accumulate(np.where(np.isfinite(cells), columns, -most), axis=1)
    fresh = columns - last < most
    rates: np.ndarray = np.where(fresh, np.take_along_axis(cells, np.maximum(last, 0), axis=1), np.nan)
    return rates


def _caption(seen: Seen) -> str:
    funding, names = seen.kept_atlas.funding, seen.kept_atlas.names
    minutes = [
        f"{name} in {left:,.0f} min" for name, left in zip(names, funding.minutes_to_settlement(), strict=True)
        if math.isfinite(left)
    ]  # fmt: skip
    spread = funding.spread(PREDICTED) if math.isfinite(funding.spread(PREDICTED)) else funding.spread(SETTLED)
    return " ".join([
        "Above zero longs pay (orange), below it shorts (blue). Intervals are what each venue says, and all rates are "
        "brought to eight hours.",
        f"Spread across venues now: {spread * BASIS_POINTS:.2f} bp." if math.isfinite(spread) else "",
        f"Next settlement: {', '.join(minutes)}." if minutes else "When the next settlement is was not recorded.",
        "Hatched: not recorded.",
    ])  # fmt: skip
