"""A picture as a PNG, through matplotlib without pyplot: nothing global is left behind."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from squeeze.errors import UserError
from squeeze.files import whole
from squeeze.tools.drawing import SIDE_COLOURS, brightest
from squeeze.tools.pictures.panel import (
    CONTRAST,
    INK,
    QUIET,
    Bars,
    Heat,
    Layer,
    Level,
    Line,
    Marks,
    Panel,
    Picture,
    Spans,
    Strip,
)

SHADE = 0.18
"""Opacity of a band."""
SYMBOLS = {"circle": "o", "down": "v", "up": "^", "cross": "X", "diamond": "D", "square": "s"}


def save(picture: Picture, path: Path, dpi: int = 100) -> None:
    """Write a PNG, whole or not at all; `UserError` without matplotlib."""
    figure = draw(picture, dpi)
    with whole(path) as part:
        figure.savefig(part, format="png")


def draw(picture: Picture, dpi: int = 100) -> Any:
    """The picture as a `matplotlib.figure.Figure`."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise UserError("pictures need matplotlib: pip install 'squeeze-predictor[train]'") from None
    figure = Figure(figsize=picture.size, dpi=dpi, layout="constrained")
    figure.suptitle(picture.title, fontsize=13, x=0.01, ha="left", fontweight="bold", color=INK)
    figure.supxlabel("\n".join(textwrap.wrap(picture.caption, 230)), fontsize=8.5, x=0.01, ha="left", color=QUIET)
    ratios = {"width_ratios": picture.widths, "height_ratios": picture.heights}
    grid = figure.subplots(len(picture.grid), len(picture.widths), squeeze=False, gridspec_kw=ratios)
    for row, panels in zip(grid, picture.grid, strict=True):
        for column, (axes, panel) in enumerate(zip(row, panels, strict=True)):
            if panel is None:
                axes.set_axis_off()
            else:
                _draw_panel(figure, axes, panel, first=column == 0)
                _legend(axes, panel, has_room=len(picture.grid) > 1)
    return figure


def _draw_panel(figure: Any, axes: Any, panel: Panel, first: bool) -> None:
    from matplotlib import dates
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_title(panel.title, fontsize=10, loc="left", color=INK)
    axes.set_xlabel(panel.x_title, fontsize=9)
    axes.set_ylabel(panel.y_title, fontsize=9)
    axes.tick_params(labelsize=8.5)
    for layer in panel.layers:
        _draw_layer(figure, axes, layer, panel)
    if panel.is_time:
        typed: Any = dates  # matplotlib leaves these without types
        locator = typed.AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(typed.ConciseDateFormatter(locator))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.axvline(0, color=QUIET, linewidth=0.6)
    if panel.x_range is not None:
        low, high = panel.x_range
        axes.set_xlim(*(_times(np.array([low, high])) if panel.is_time else (low, high)))
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    if panel.rows:
        axes.set_yticks(range(len(panel.rows)), panel.rows)
    else:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))
        if not first:
            axes.tick_params(labelleft=False)
    if panel.note:
        box = {"facecolor": "white", "edgecolor": QUIET, "boxstyle": "round,pad=0.5"}
        axes.text(0.5, 0.5, panel.note, transform=axes.transAxes, ha="center", va="center", bbox=box, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    if not any(isinstance(layer, Heat) for layer in panel.layers):
        axes.grid(alpha=0.25)


def _legend(axes: Any, panel: Panel, has_room: bool) -> None:
    """Above a wide panel; beneath a narrow one, where an empty place of the grid has room for it."""
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    if not named or not panel.has_legend:
        return
    wide = any(isinstance(layer, (Heat, Spans)) for layer in panel.layers) or panel.is_time
    if wide:
        place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 8}
    else:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 1}
    legend = axes.legend(
        named.values(), named.keys(), fontsize=8, frameon=False, borderpad=0.1, borderaxespad=0.0,
        handletextpad=0.5, columnspacing=1.2, **place,
    )  # fmt: skip
    legend.set_in_layout(wide or not has_room)
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([36.0])


def _draw_layer(figure: Any, axes: Any, layer: Layer, panel: Panel) -> None:
    match layer:
        case Heat():
            _draw_heat(figure, axes, layer)
        case Line():
            _draw_line(axes, layer, panel)
        case Bars():
            _draw_bars(axes, layer)
        case Marks():
            edge = "black" if layer.colour != "#000000" else "white"
            axes.scatter(
                _times(layer.x), layer.y, layer.area, color=layer.colour, marker=SYMBOLS[layer.symbol],
                edgecolors=edge, linewidths=0.5, label=layer.name, zorder=4, alpha=0.9,
            )  # fmt: skip
        case Spans():
            _draw_spans(axes, layer)
        case Level():
            style = {"label": layer.name} if layer.in_legend else {}
            dash = "--" if layer.dash else "-"
            axes.axhline(layer.y, color=layer.colour, linewidth=1.1, linestyle=dash, zorder=3, **style)
            if not layer.in_legend:
                _at_edge(axes, layer.name, layer.y, "bottom")
        case Strip():
            style = {"label": layer.name} if layer.in_legend else {}
            axes.axhspan(layer.low, layer.high, color=layer.colour, alpha=SHADE, linewidth=0, zorder=0, **style)
            if not layer.in_legend:
                _at_edge(axes, layer.name, (layer.low + layer.high) / 2, "center")


def _at_edge(axes: Any, name: str, y: float, above: str) -> None:
    place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": above, "annotation_clip": True}
    inside = {"xytext": (-3, 0), "textcoords": "offset points"}  # or the last letter touches the edge of the picture
    box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.6}
    axes.annotate(name, (1.0, y), fontsize=7.5, color=INK, zorder=5, bbox=box, **place, **inside)


def _draw_bars(axes: Any, bars: Bars) -> None:
    """All in one collection: hundreds of bars as patches of their own took half the time of a picture."""
    from matplotlib.collections import PolyCollection

    base = np.zeros(len(bars.y)) if bars.base is None else bars.base
    low, high, end = bars.y - bars.height / 2, bars.y + bars.height / 2, base + bars.value
    around = ((base, low), (end, low), (end, high), (base, high))
    corners: Any = np.stack([np.stack(corner, axis=1) for corner in around], axis=1)  # (bar, corner, x or y)
    drawn = PolyCollection(corners, facecolors=bars.colour, linewidths=0, label=bars.name)
    drawn.sticky_edges.x.append(0.0)  # bars stand on the axis, without a margin
    axes.add_collection(drawn)
    axes.autoscale_view()


def _draw_heat(figure: Any, axes: Any, heat: Heat) -> None:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm, TwoSlopeNorm

    axes.set_facecolor("0.93")
    axes.patch.set(hatch="////", edgecolor="0.72", linewidth=0)
    if heat.contrast:
        top = heat.top or brightest(np.abs(heat.z))
        style = {"cmap": LinearSegmentedColormap.from_list("contrast", CONTRAST), "norm": TwoSlopeNorm(0, -top, top)}
    else:
        top = heat.top or brightest(heat.z)
        style = {"cmap": "cividis", "norm": PowerNorm(0.5, vmin=0, vmax=top, clip=True)}
    image = axes.pcolormesh(
        _times(_edges(heat.x)), _edges(heat.y), np.ma.masked_invalid(heat.z), rasterized=True, zorder=1, **style
    )
    ticks = None if heat.contrast else top * np.linspace(0, 1, 5) ** 2
    bar = figure.colorbar(image, ax=axes, pad=0.008, aspect=32, ticks=ticks)
    bar.set_label(heat.label, fontsize=8.5)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.2g}" if abs(value) < 100 else f"{value:,.0f}")


def _draw_line(axes: Any, line: Line, panel: Panel) -> None:
    from matplotlib.patheffects import Normal, Stroke

    effects = (
        [Stroke(linewidth=line.width + (1.6 if line.width > 1.45 else 0.7), foreground="black"), Normal()]
        if line.outline
        else None
    )
    x = _times(line.x) if panel.is_time else line.x
    axes.plot(
        x, line.y, color=line.colour, linewidth=line.width, linestyle="--" if line.dash else "-", zorder=3,
        drawstyle="steps-post" if line.step else "default", path_effects=effects, label=line.name or None,
    )  # fmt: skip


def _draw_spans(axes: Any, spans: Spans) -> None:
    from matplotlib import dates

    typed: Any = dates  # without types
    start, end = (typed.date2num(_times(times)) for times in (spans.start, spans.end))
    colour = tuple(SIDE_COLOURS.values())[spans.side]
    offset = -0.4 if spans.side == 0 else 0.02
    for row in np.unique(spans.row).tolist():
        at = spans.row == row
        pieces = list(zip(start[at], end[at] - start[at], strict=True))
        label = spans.name if row == spans.row.min() else None
        axes.broken_barh(pieces, (row + offset, 0.38), facecolors=colour, label=label)


def _times(ns: np.ndarray) -> np.ndarray:
    times: np.ndarray = ns.astype(np.int64).astype("datetime64[ns]")
    return times


def _edges(middles: np.ndarray) -> np.ndarray:
    """Borders halfway between, the outermost as far out as the next one is in."""
    values = middles.astype(np.float64)
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    between = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - between[0]], between, [2 * values[-1] - between[-1]]])
