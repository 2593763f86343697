"""Still figures for MLflow and the README: calibration, precision and recall, alarms, and the heatmap with the
probabilities.

Each function returns a `matplotlib.figure.Figure` made without pyplot, so nothing global is left behind and no window
is asked for. Colours are Okabe and Ito's and cividis, which read the same to the colour-blind.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, StrMethodFormatter
from sklearn.metrics import average_precision_score, precision_recall_curve

from squeeze.arrays import SIDES
from squeeze.files import whole
from squeeze.tools.drawing import (
    COLOURS,
    SIDE_COLOURS,
    SIDE_TITLES,
    STOP_COLOUR,
    STOP_MINUTES,
    TRADE_COLOUR,
    Traded,
    alarms,
    brightest,
    mark_at,
    price_levels,
    thin_map,
    thin_starts,
    trades,
    wilson,
)
from training.evaluation.alarms import BUDGETS_PER_DAY, Curve
from training.evaluation.metrics import TERCILES, reliability, why_no_ranking

MARKERS = "osD^vPX"


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with whole(path) as part:
        figure.savefig(part, format="png")


def reliability_figure(
    truth: Sequence[np.ndarray], probability: Sequence[np.ndarray], names: Sequence[str], title: str = "Reliability"
) -> Figure:
    """Observed frequency by predicted probability with 95 % intervals, over the distribution of the predictions.

    One array of truths and one of probabilities for each name; a name without a single probability is in the legend
    alone.
    """
    figure = Figure(figsize=(7, 7), dpi=140, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    top = 0.0
    for i, (y, p, name) in enumerate(zip(truth, probability, names, strict=True)):
        predicted, observed, count = reliability(y, p)
        low, high = wilson(observed, count.astype(float))
        top = max(top, predicted.max(initial=0.0), high.max(initial=0.0))
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "label": name}
        bars = np.maximum([observed - low, high - observed], 0)
        upper.errorbar(predicted, observed, yerr=bars, capsize=2.5, linewidth=1.5, markersize=6, **style)
        if not len(predicted):
            continue  # it abstained on all
        lower.hist(p[np.isfinite(p)], bins=50, histtype="step", linewidth=1.5, color=style["color"])
    top = min(1.0, 1.05 * top) or 1.0
    upper.plot([0, top], [0, top], color="0.45", linestyle="--", linewidth=1, label="calibrated")
    upper.set(title=title, ylabel="how often it came true", xlim=(0, top), ylim=(0, top))
    upper.yaxis.set_major_formatter(FuncFormatter(_percent))
    upper.legend(frameon=False, loc="upper left")
    lower.set(xlabel="predicted probability", ylabel="rows (log)", yscale="log")
    lower.xaxis.set_major_formatter(FuncFormatter(_percent))
    _plain(upper, lower)
    return figure


def precision_recall_figure(
    truth: Sequence[np.ndarray],
    probability: Sequence[np.ndarray],
    names: Sequence[str],
    title: str = "Precision and recall",
) -> Figure:
    """Precision by recall for each name, with average precision and the base rate that a guess would reach.

    Rows whose prediction is NaN are left out. Names whose base rates are the same share one line; one without both
    outcomes has none, and the legend says why.
    """
    figure = Figure(figsize=(8, 6), dpi=140, layout="constrained")
    axes = figure.subplots()
    rates = set()
    for i, (y, p, name) in enumerate(zip(truth, probability, names, strict=True)):
        said, colour = np.isfinite(p), COLOURS[i % len(COLOURS)]
        if not y[said].any():
            axes.plot([], [], color=colour, label=f"{name}: {why_no_ranking(y[said], p[said])}")
            continue
        precision, recall, _ = precision_recall_curve(y[said], p[said])
        average = average_precision_score(y[said], p[said])
        # The last point, precision 1 at recall 0, is a convention of the library and not a call that was made.
        axes.plot(recall[:-1], precision[:-1], color=colour, linewidth=1.7, label=f"{name}: {average:.3f}")
        rates.add(round(float(y[said].mean()), 3))
    for rate in sorted(rates):
        axes.axhline(rate, color="0.45", linestyle="--", linewidth=1, label=f"base rate: {rate:.3f}")
    axes.set(title=title, xlim=(0, 1))
    axes.set_ylim(0, min(1.02, 1.1 * axes.dataLim.ymax) if rates else 1.02)
    axes.set(xlabel="recall: share of events that were called", ylabel="precision: share of calls that came true")
    axes.xaxis.set_major_formatter(FuncFormatter(_percent))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.legend(frameon=False, title="average precision", alignment="left")
    _plain(axes)
    return figure


def tercile_reliability_figure(
    truth: np.ndarray, probability: np.ndarray, tercile: np.ndarray, regime: str, title: str = "Reliability"
) -> Figure:
    """`reliability_figure` of one side with a line for each tercile of a regime (row,); one without rows has none."""
    among = {f"{regime}: {name}": tercile == third for third, name in enumerate(TERCILES[regime])}
    drawn = {name: rows for name, rows in among.items() if (rows & np.isfinite(probability)).any()}
    truths, probabilities = ([values[rows] for rows in drawn.values()] for values in (truth, probability))
    return reliability_figure(truths, probabilities, list(drawn), title)


def recall_figure(curves: Mapping[str, Curve], title: str = "Recall by false alarms") -> Figure:
    """Share of events foretold by false alarms a day, a line for each name; dotted lines are the reported budgets.

    The thresholds are those of the rows that are drawn: what hindsight allows, for comparing models with each other.
    """
    figure = Figure(figsize=(8, 6), dpi=140, layout="constrained")
    axes = figure.subplots()
    for i, (name, found) in enumerate(curves.items()):
        per_day, recall = np.append(0.0, found.false_per_day), np.append(0.0, found.recall)
        axes.step(per_day, recall, where="post", color=COLOURS[i % len(COLOURS)], linewidth=1.7, label=name)
    for budget in BUDGETS_PER_DAY:
        axes.axvline(budget, color="0.45", linestyle=":", linewidth=1)
    axes.set(title=title, xlim=(0, 1.6 * BUDGETS_PER_DAY[-1]), ylim=(0, 1.02))
    axes.set(xlabel="false alarms a day", ylabel="share of events foretold")
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.legend(frameon=False, loc="lower right")
    _plain(axes)
    return figure


def lead_time_figure(
    leads_minutes: Mapping[str, np.ndarray], horizon_minutes: float, title: str = "How early events were foretold"
) -> Figure:
    """How many events were foretold how many minutes before their onset, a bar for each name, with its median."""
    figure = Figure(figsize=(8, 5), dpi=140, layout="constrained")
    axes = figure.subplots()
    names = [
        f"{name}: median {np.median(lead):.1f} of {len(lead)}" if len(lead) else f"{name}: none"
        for name, lead in leads_minutes.items()
    ]
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
    bins = np.linspace(0, horizon_minutes, 7).tolist()
    axes.hist(list(leads_minutes.values()), bins=bins, color=colours, label=names)
    axes.set(xlim=(0, horizon_minutes), xlabel="minutes before the onset", ylabel="events")
    axes.set_title(title, loc="left")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _plain(axes)
    return figure


def heatmap_figure(
    times_ns: np.ndarray,
    mark: np.ndarray,
    relative_map: np.ndarray,
    bin_widths: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    label_true: Mapping[str, np.ndarray],
    messages: Sequence[Mapping[str, Any]],
    horizon_minutes: int,
    base_rates: Mapping[str, float] | None = None,
    title: str = "Liquidation heatmap",
) -> Figure:
    """The mark price over the map on absolute prices, and under it the probabilities of both sides: 1600 × 1000 pixels.

    The arguments are those of `squeeze.tools.page.write_page`. Great triangles are alarms, small ones entries
    in the order's direction; a strip is grey where the event did follow within the horizon.
    """
    figure = Figure(figsize=(16, 10), dpi=100, layout="constrained")
    heat_axes, *strips = figure.subplots(3, 1, sharex=True, height_ratios=(5, 1.2, 1.2))
    times = times_ns.astype("datetime64[ns]")
    _draw_heat(figure, heat_axes, times, mark, relative_map, bin_widths)
    heat_axes.set_title(title, fontsize=15, loc="left")
    for axes, side in zip(strips, SIDES, strict=True):
        signals = alarms(messages, side)
        cuts = np.array([m["ts_data_us"] for m in signals], dtype=np.int64).astype("datetime64[us]")
        shape = {"marker": "v" if side == "long" else "^", "color": SIDE_COLOURS[side], "edgecolors": "white"}
        price = mark_at(signals, times_ns, mark)
        heat_axes.scatter(cuts, price, s=110, linewidths=1.2, zorder=4, label=f"{side} alarm", **shape)
        base_rate = None if base_rates is None else base_rates[side]
        _draw_strip(axes, times, probabilities[side], label_true[side], side, base_rate)
        axes.set_ylabel(f"P within {horizon_minutes} min")
    _draw_trades(heat_axes, trades(messages))
    _legend_above(heat_axes)
    strips[-1].set_xlabel("time (UTC)")
    locator = AutoDateLocator()
    strips[-1].xaxis.set_major_locator(locator)
    strips[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    strips[-1].set_xlim(times[0], times[-1])
    _plain(*strips)
    return figure


def _draw_heat(
    figure: Figure, axes: Axes, times: np.ndarray, mark: np.ndarray, relative_map: np.ndarray, bin_widths: np.ndarray
) -> None:
    starts = thin_starts(len(times))
    ends = np.append(starts[1:], len(times)) - 1
    levels = price_levels(mark, bin_widths, relative_map.shape[2], count=480)
    heat = thin_map(mark, relative_map, bin_widths, levels, starts)
    top = brightest(heat)
    norm = PowerNorm(0.5, vmin=0, vmax=top, clip=True)
    image = axes.pcolormesh(times[ends], levels, heat, cmap="cividis", norm=norm, shading="nearest", rasterized=True)
    outline = [Stroke(linewidth=2.6, foreground="black"), Normal()]
    axes.plot(times, mark, color="white", linewidth=1.2, path_effects=outline, label="mark price", zorder=3)
    axes.set(ylabel="price (quote currency)", ylim=(levels[0], levels[-1]), facecolor="0.93")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    label = "% of open interest per 0.1 % of price"
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=35, label=label, ticks=top * np.linspace(0, 1, 5) ** 2)
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:.2g}"))


def _draw_trades(axes: Axes, done: Sequence[Traded]) -> None:
    """Entry and end of each trade with what it brought, its first stop, and a name for each kind of mark."""
    name: dict[str, str] = {"stop": "first stop", "entry": "entry", "exit": "exit, with its result"}
    for trade in done:
        opened, closed = np.array([trade.opened_us, trade.closed_us], dtype=np.int64).astype("datetime64[us]")
        style = {"color": TRADE_COLOUR, "edgecolors": "black", "linewidths": 1.0, "zorder": 5}
        until = max(closed, opened + np.timedelta64(STOP_MINUTES, "m"))
        axes.hlines(trade.stop, opened, until, color=STOP_COLOUR, linewidth=2.5, zorder=4, label=name.pop("stop", None))
        marker = "^" if trade.is_buy else "v"
        axes.scatter([opened], [trade.entry], s=90, marker=marker, label=name.pop("entry", None), **style)
        axes.scatter([closed], [trade.close], s=90, marker="X", label=name.pop("exit", None), **style)
        text = axes.annotate(
            f"{trade.r_multiple:+.2f} R", (closed, trade.close), xytext=(10, 22), textcoords="offset points", zorder=6
        )
        text.set(color="white", fontsize=11, path_effects=[Stroke(linewidth=3, foreground="black"), Normal()])


def _draw_strip(
    axes: Axes, times: np.ndarray, probability: np.ndarray, came_true: np.ndarray, side: str, base_rate: float | None
) -> None:
    top = 1.1 * max(float(np.nanmax(probability, initial=0.0)), base_rate or 0.0, 1e-3)
    axes.fill_between(times, 0, top, where=came_true, step="post", color="0.78", linewidth=0, label="it came true")
    axes.plot(times, probability, color=SIDE_COLOURS[side], linewidth=1.3, label="probability")
    if base_rate is not None:
        axes.axhline(base_rate, color="0.25", linestyle="--", linewidth=1, label="base rate")
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.set_title(SIDE_TITLES[side], fontsize=11, loc="left")
    _legend_above(axes)


def _legend_above(axes: Axes) -> None:
    """Level with the title, at the right: nothing drawn is hidden."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderpad=0.2, borderaxespad=0, frameon=False, ncols=6)


def _percent(share: float, _: object) -> str:
    return f"{100 * share:.3g}%"


def _plain(*all_axes: Axes) -> None:
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
