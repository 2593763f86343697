"""Pictures as one interactive HTML page: plotly.js is inside, and a content policy forbids it to fetch anything."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from squeeze.errors import UserError
from squeeze.files import whole
from squeeze.tools.drawing import brightest
from squeeze.tools.markup import PAGE, STYLE, header, section
from squeeze.tools.page import div, square_root_cividis
from squeeze.tools.pictures.panel import (
    CONTRAST,
    INK,
    LONG,
    QUIET,
    SHORT,
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
SYMBOLS = {
    "circle": "circle", "down": "triangle-down", "up": "triangle-up", "cross": "x", "diamond": "diamond",
    "square": "square",
}  # fmt: skip
HATCH = [[0.0, "#F0F0F0"], [0.33, "#F0F0F0"], [0.34, "#CFCFCF"], [0.66, "#CFCFCF"], [0.67, "rgba(0,0,0,0)"],
         [1.0, "rgba(0,0,0,0)"]]  # fmt: skip
"""What is not known in stripes of two greys; nothing over what is."""
PIXELS = 88
"""Of the page for each inch of the still picture."""


def write(path: Path, title: str, summary: Mapping[str, str], shown: Sequence[Picture]) -> None:
    """Write the page, whole or not at all; `UserError` without plotly.

    Where a value of `summary` says that the data are simulated, the page says so on top. All text is escaped.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise UserError("the page needs plotly: pip install 'squeeze-predictor[app]'") from None
    body = [header(title, summary)]
    for picture in shown:
        heading = html.escape(picture.title.rpartition(": ")[2].capitalize())
        body.append(section(heading, html.escape(picture.caption), draw(picture)))
    page = PAGE.format(title=html.escape(title), style=STYLE, script=get_plotlyjs(), body="\n".join(body))
    with whole(path) as part:
        part.write_text(page, encoding="utf-8")


def draw(picture: Picture) -> str:
    """One picture as a part of the page."""
    from plotly.subplots import make_subplots

    rows, columns = len(picture.grid), len(picture.widths)
    figure = make_subplots(
        rows=rows, cols=columns, shared_yaxes="rows", shared_xaxes="columns" if rows > 1 else False,
        column_widths=list(picture.widths), row_heights=list(picture.heights), vertical_spacing=0.08,
        horizontal_spacing=0.07 if columns == 2 else 0.035,
        specs=[[{} if panel is not None else None for panel in row] for row in picture.grid],
        subplot_titles=[_title(panel) for row in picture.grid for panel in row if panel is not None],
    )  # fmt: skip
    figure.update_annotations(font_size=13)
    for row, panels in enumerate(picture.grid, start=1):
        for column, panel in enumerate(panels, start=1):
            if panel is not None:
                _draw_panel(figure, panel, {"row": row, "col": column}, is_last=row == rows)
    figure.update_layout(barmode="overlay", bargap=0, modebar={"orientation": "v"})
    legend = {"orientation": "h", "y": -0.12, "yanchor": "top", "font": {"size": 11}}
    return div(figure, picture.name, round(PIXELS * picture.size[1]), legend)


def _title(panel: Panel) -> str:
    """With what the colours mean."""
    labels = [layer.label for layer in panel.layers if isinstance(layer, Heat)]
    return html.escape(": ".join(part for part in (panel.title, *labels) if part))


def _draw_panel(figure: Any, panel: Panel, place: dict[str, int], is_last: bool) -> None:
    for layer in panel.layers:
        _draw_layer(figure, layer, panel, place)
    x: dict[str, Any] = {"title_text": panel.x_title.replace("\n", "<br>"), "title_font_size": 11}
    if panel.is_time:
        x |= {"type": "date", "showspikes": True, "spikethickness": 1, "spikecolor": QUIET, "showticklabels": True}
    if panel.x_range is not None:
        x["range"] = [_ms(np.array([edge]))[0] if panel.is_time else edge for edge in panel.x_range]
    figure.update_xaxes(**x, **place)
    y: dict[str, Any] = {"title_text": panel.y_title, "title_font_size": 11}
    if panel.rows:
        y |= {"tickvals": list(range(len(panel.rows))), "ticktext": list(panel.rows)}
    else:
        y["tickformat"] = ",.6~g"
    if panel.y_range is not None:
        y["range"] = list(panel.y_range)
    figure.update_yaxes(**y, **place)
    if panel.note:
        figure.add_annotation(
            text=html.escape(panel.note), x=0.5, y=0.5, xref="x domain", yref="y domain", showarrow=False,
            bgcolor="#FFFFFF", bordercolor=QUIET, borderpad=5, **place,
        )  # fmt: skip
    if not panel.layers:  # axes without a trace would not take the annotation
        figure.add_scatter(x=[None], y=[None], showlegend=False, hoverinfo="skip", **place)


def _draw_layer(figure: Any, layer: Layer, panel: Panel, place: dict[str, int]) -> None:
    match layer:
        case Heat():
            _draw_heat(figure, layer, panel, place)
        case Line():
            _draw_line(figure, layer, panel, place)
        case Bars():
            name = html.escape(layer.name)
            figure.add_bar(
                x=layer.value, y=layer.y, width=layer.height, base=layer.base, orientation="h", name=layer.name,
                marker={"color": layer.colour, "line": {"width": 0}}, legendgroup=layer.name,
                showlegend=panel.has_legend,
                hovertemplate=f"price %{{y:,.6~g}}<br>%{{x:,.4~g}} {layer.unit}<extra>{name}</extra>",
                **place,
            )  # fmt: skip
        case Marks():
            figure.add_scatter(
                x=_ms(layer.x), y=layer.y, mode="markers", name=layer.name, text=layer.texts or None,
                marker={
                    "symbol": SYMBOLS[layer.symbol], "size": np.sqrt(layer.area).round(1), "color": layer.colour,
                    "line": {"color": "#000000", "width": 0.5}, "opacity": 0.9,
                },
                hovertemplate="%{x|%d %b %H:%M}<br>price %{y:,.6~g}<br>%{text}<extra></extra>", **place,
            )  # fmt: skip
        case Spans():
            _draw_spans(figure, layer, place)
        case Level():
            line = {"color": layer.colour, "width": 1.2, "dash": "dash" if layer.dash else "solid"}
            told = {} if layer.in_legend else _at_edge(layer.name, "top right")
            figure.add_hline(y=layer.y, line=line, exclude_empty_subplots=False, **told, **place)
            if layer.in_legend and panel.has_legend:
                _only_named(figure, layer.name, {"mode": "lines", "line": line}, place)
        case Strip():
            told = {} if layer.in_legend else _at_edge(layer.name, "right")
            figure.add_hrect(
                y0=layer.low, y1=layer.high, fillcolor=layer.colour, opacity=SHADE, line_width=0, layer="below",
                exclude_empty_subplots=False, **told, **place,
            )  # fmt: skip
            if layer.in_legend and panel.has_legend:
                marker = {"symbol": "square", "size": 10, "color": layer.colour, "opacity": SHADE}
                _only_named(figure, layer.name, {"mode": "markers", "marker": marker}, place)


def _at_edge(name: str, position: str) -> dict[str, Any]:
    box = {"text": html.escape(name), "font": {"size": 9, "color": INK}, "bgcolor": "rgba(255,255,255,0.85)"}
    return {"annotation": box, "annotation_position": position}


def _only_named(figure: Any, name: str, look: dict[str, Any], place: dict[str, int]) -> None:
    """An entry of the legend for what is no trace, once."""
    if name not in {trace.name for trace in figure.data}:
        figure.add_scatter(x=[None], y=[None], name=name, **look, **place)


def _draw_heat(figure: Any, heat: Heat, panel: Panel, place: dict[str, int]) -> None:
    unknown = ~np.isfinite(heat.z)
    x = _ms(heat.x)
    if unknown.any():
        row, column = np.indices(heat.z.shape)
        scale = max(1, heat.z.shape[0] // 60)
        stripes = ((row // scale + column // scale) // 2) % 2
        figure.add_heatmap(
            x=x, y=heat.y, z=np.where(unknown, stripes, 2).astype(np.uint8), zmin=0, zmax=2, colorscale=HATCH,
            showscale=False, hoverinfo="skip", **place,
        )  # fmt: skip
    top = heat.top or brightest(np.abs(heat.z))
    contrast = [[i / (len(CONTRAST) - 1), colour] for i, colour in enumerate(CONTRAST)]
    axes = figure.get_subplot(**place)
    low, high = axes.yaxis.domain
    where = "%{y}" if panel.rows else "price %{y:,.6~g}"
    figure.add_heatmap(
        x=x, y=heat.y, z=heat.z.astype(np.float32), zmin=-top if heat.contrast else 0.0, zmax=top,
        colorscale=contrast if heat.contrast else square_root_cividis(), hoverongaps=False,
        colorbar={
            "thickness": 10,
            "x": axes.xaxis.domain[1], "xpad": 4, "y": (low + high) / 2, "len": high - low, "tickfont": {"size": 9},
        },
        hovertemplate="%{x|%d %b %H:%M}<br>" + where + "<br>%{z:.4~g} " + html.escape(heat.label) + "<extra></extra>",
        **place,
    )  # fmt: skip


def _draw_line(figure: Any, line: Line, panel: Panel, place: dict[str, int]) -> None:
    x = _ms(line.x) if panel.is_time else line.x
    shape = {"shape": "hv"} if line.step else {}
    if line.outline:
        under = {"color": "#000000", "width": line.width + (1.6 if line.width > 1.45 else 0.7), **shape}
        figure.add_scatter(x=x, y=line.y, mode="lines", line=under, showlegend=False, hoverinfo="skip", **place)
    is_told = bool(line.name) and not line.outline and panel.has_legend
    figure.add_scatter(
        x=x, y=line.y, mode="lines", name=line.name, showlegend=is_told,
        line={"color": line.colour, "width": line.width, "dash": "dash" if line.dash else "solid", **shape},
        hoverinfo="skip" if line.outline else None, legendgroup=line.name, **place,
    )  # fmt: skip


def _draw_spans(figure: Any, spans: Spans, place: dict[str, int]) -> None:
    x = np.stack([spans.start, spans.end, spans.end], axis=1).ravel()
    y = np.repeat(spans.row + (-0.2 if spans.side == 0 else 0.2), 3).astype(float)
    y[2::3] = np.nan
    texts = [html.escape(text) for text in spans.texts for _ in range(3)]
    figure.add_scatter(
        x=_ms(x), y=y, mode="lines", line={"color": (LONG, SHORT)[spans.side], "width": 6}, name=spans.name, text=texts,
        hovertemplate="%{x|%d %b %H:%M}<br>%{text}<extra></extra>", **place,
    )  # fmt: skip


def _ms(ns: np.ndarray) -> np.ndarray:
    """Plotly reads numbers on a date axis as milliseconds."""
    milliseconds: np.ndarray = ns.astype(np.float64) / 1e6
    return milliseconds
