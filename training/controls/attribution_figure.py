"""An attribution as a picture: the map about the price with what each bin adds, and the inputs that add most."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from squeeze.arrays import SIDES
from squeeze.tools.drawing import SIDE_COLOURS, SIDE_TITLES
from training.config import utc
from training.controls.attribution import Attribution

SHOWN = 14
"""Bars of single inputs; the rest is one bar."""
LOWERS = "0.55"
"""Grey for what lowers the odds."""


def attribution_figure(found: Attribution) -> Figure:
    """Two panels over price, attribution and the map itself, and under them signed bars of scalars and memory."""
    figure = Figure(figsize=(10, 10.5), dpi=120, layout="constrained")
    added, heat, bars = figure.subplots(3, 1, height_ratios=(3, 1.6, 5))
    heat.sharex(added)
    _over_price(added, heat, found)
    _bars(bars, found)
    when = utc(found.close_ns).replace("T", " ").removesuffix("Z")
    figure.suptitle(
        f"{found.symbol} {when} UTC: {SIDE_TITLES[found.side]} within {found.horizon_minutes} minutes\n"
        f"probability {found.probability:.3f}, against {found.baseline:.3f} for a market that has long looked like the"
        f" mean ({found.difference:+.2f} log-odds)",
        fontsize=12,
    )
    return figure


def parts(found: Attribution) -> list[tuple[str, float]]:
    """Named parts that add up to the difference but for `unexplained`: the two maps, memory, and every scalar."""
    own, other = found.bins.sum(axis=(1, 2))
    side, opposite = _sides(found)
    named = [(f"map of {side}s", float(own)), (f"map of {opposite}s", float(other)), ("memory", found.memory)]
    return named + [(name, float(v)) for name, v in zip(found.scalar_names, found.scalars, strict=True)]


def largest(found: Attribution, count: int = SHOWN) -> list[tuple[str, float]]:
    """The `count` largest parts by size, and what the others add up to."""
    every = sorted(parts(found), key=lambda part: -abs(part[1]))
    rest = [value for _, value in every[count:]]
    return every[:count] + ([(f"{len(rest)} others", sum(rest))] if rest else [])


def _sides(found: Attribution) -> tuple[str, str]:
    at = SIDES.index(found.side)
    return SIDES[at], SIDES[1 - at]


def _over_price(added: Axes, heat: Axes, found: Attribution) -> None:
    bins = found.bins.shape[2]
    width = 100 * np.expm1(found.bin_width_log)
    middles = (np.arange(bins) + 0.5) * width
    for which, side in enumerate(_sides(found)):
        x = middles * (-1 if side == "long" else 1)
        colour: dict[str, Any] = {"color": SIDE_COLOURS[side], "width": 0.9 * width}
        by_bin = found.bins[which].sum(axis=0)
        added.bar(x, by_bin, label=f"map of {side}s, {by_bin.sum():+.3f} in all", **colour)
        heat.bar(x, 100 * found.heat[which], alpha=0.75, **colour)
    for axes in (added, heat):
        axes.axvline(0, color="black", linewidth=1)
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    added.axhline(0, color="0.3", linewidth=0.8)
    added.set_ylabel("adds to log-odds")
    added.legend(frameon=False, loc="upper left")
    added.tick_params(labelbottom=False)
    heat.set(ylabel="% of open interest", xlabel=f"liquidation price, % from the mark of {found.mark:,.6g}")


def _bars(axes: Axes, found: Attribution) -> None:
    named = largest(found)
    names, values = [_with_value(name, found) for name, _ in named], np.array([value for _, value in named])
    places = np.arange(len(named))[::-1]
    axes.barh(places, values, color=[SIDE_COLOURS[found.side] if value > 0 else LOWERS for value in values])
    reach = max(float(np.abs(values).max()), 1e-9)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:+.3f}", (value, place), xytext=(4 if value >= 0 else -4, 0), textcoords="offset points",
            va="center", ha="left" if value >= 0 else "right", fontsize=9,
        )  # fmt: skip
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(places, names, fontsize=9)
    axes.set_xlim(min(values.min(), 0) - 0.15 * reach, max(values.max(), 0) + 0.15 * reach)
    axes.set_xlabel("adds to log-odds: coloured raises the odds, grey lowers them")
    axes.spines[["top", "right"]].set_visible(False)


def _with_value(name: str, found: Attribution) -> str:
    if name not in found.scalar_names:
        return name
    return f"{name} = {found.scalar_values[found.scalar_names.index(name)]:.3g}"
