"""One HTML file that shows a model at work: scores, heatmap with price and probabilities, calibration, messages.

It needs no server and no network: plotly.js is inside, and a content policy forbids the browser to fetch anything.
The functions on arrays above `write_page` (the absolute heatmap, thinning to columns, intervals) also serve the still
figures of `training.figures`.
"""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from squeeze.arrays import SIDES, StepTimes
from squeeze.errors import UserError
from squeeze.files import whole
from squeeze.tools.drawing import (
    COLOURS,
    SIDE_COLOURS,
    STOP_COLOUR,
    STOP_MINUTES,
    TRADE_COLOUR,
    RelativeMap,
    Steps,
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
from squeeze.tools.markup import (
    MARKET_TEXT,
    MESSAGES_TEXT,
    PAGE,
    RELIABILITY_TEXT,
    SCORES_TEXT,
    SHOWN_MESSAGES,
    STYLE,
    header,
    messages_table,
    section,
    table,
)


def write_page(
    path: Path,
    title: str,
    summary: Mapping[str, str],
    times_ns: StepTimes,
    mark: Steps,
    relative_map: RelativeMap,
    bin_widths: Steps,
    probabilities: Mapping[str, Steps],
    label_true: Mapping[str, Bool[np.ndarray, " step"]],
    messages: Sequence[Mapping[str, Any]],
    reliability: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    scores: Sequence[Mapping[str, Any]],
    horizon_minutes: int,
    base_rates: Mapping[str, float] | None = None,
) -> None:
    """Write the page, whole or not at all.

    `mark` is in quote currency, `bin_widths` in log price, `probabilities` are those of `horizon_minutes` by side
    (NaN where the model abstained), `label_true` says at which steps the event did follow within the horizon,
    `messages` are decoded lines of `squeeze.signals`, `reliability` holds mean predicted and observed frequency and
    the count of each bin by model, `scores` one row per model. Where a value of `summary` says that the data are
    simulated, the page says so on top. All text is escaped. `UserError` when plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise UserError("the page needs plotly: pip install 'squeeze-predictor[app]'") from None
    market = _market_chart(
        times_ns, mark, relative_map, bin_widths, probabilities, label_true, messages, horizon_minutes, base_rates
    )
    body = [
        header(title, summary),
        section("How good it is", SCORES_TEXT, table(scores)),
        section("The market and the model's view of it", MARKET_TEXT.format(horizon=horizon_minutes), market),
        section("Can the numbers be believed?", RELIABILITY_TEXT, _reliability_chart(reliability)),
        section("What it said last", MESSAGES_TEXT.format(count=SHOWN_MESSAGES), messages_table(messages)),
    ]
    page = PAGE.format(title=html.escape(title), style=STYLE, script=get_plotlyjs(), body="\n".join(body))
    with whole(path) as part:
        part.write_text(page, encoding="utf-8")


# --- charts ---------------------------------------------------------------------------------------------------------


def _market_chart(
    times_ns: StepTimes,
    mark: Steps,
    relative_map: RelativeMap,
    bin_widths: Steps,
    probabilities: Mapping[str, Steps],
    label_true: Mapping[str, Bool[np.ndarray, " step"]],
    messages: Sequence[Mapping[str, Any]],
    horizon_minutes: int,
    base_rates: Mapping[str, float] | None,
) -> str:
    """Heatmap with price on top, then one strip of probabilities for each side, on one time axis."""
    from plotly.subplots import make_subplots

    starts = thin_starts(len(times_ns))
    ends = np.append(starts[1:], len(times_ns)) - 1
    at = times_ns[ends] / 1e6  # Plotly reads numbers on a date axis as milliseconds
    levels = price_levels(mark, bin_widths, relative_map.shape[2])
    heat = thin_map(mark, relative_map, bin_widths, levels, starts)
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.035, row_heights=[0.62, 0.19, 0.19])
    figure.add_heatmap(
        x=at,
        y=levels,
        z=heat.astype(np.float32),
        zmin=0,
        zmax=brightest(heat),
        colorscale=square_root_cividis(),
        colorbar={
            "title": {"text": "% of open interest per 0.1 % of price", "side": "right"},
            "thickness": 14,
            "len": 0.6,
            "y": 1,
            "yanchor": "top",
        },
        hovertemplate="%{x|%d %b %H:%M}<br>price %{y:,.6~g}<br>%{z:.3f} % per 0.1 %<extra>map</extra>",
        row=1,
        col=1,
    )
    price = {"x": at, "y": mark[ends], "hoverinfo": "skip", "row": 1, "col": 1}
    figure.add_scatter(**price, line={"color": "#000000", "width": 3.5}, showlegend=False)
    figure.add_scatter(**price, line={"color": "#FFFFFF", "width": 1.6}, name="mark price", showlegend=False)
    for row, side in enumerate(SIDES, start=2):
        colour = SIDE_COLOURS[side]
        said = np.fmax.reduceat(probabilities[side], starts)
        came_true = np.maximum.reduceat(label_true[side], starts)
        top = 1.1 * max(float(np.nanmax(said, initial=0.0)), (base_rates or {}).get(side, 0.0), 1e-3)
        figure.add_scatter(
            x=at,
            y=np.where(came_true, top, 0.0),
            line={"width": 0, "shape": "hv"},
            fill="tozeroy",
            fillcolor="rgba(120,120,120,0.30)",
            hoverinfo="skip",
            name="it came true",
            legendgroup="true",
            showlegend=row == 2,
            row=row,
            col=1,
        )
        figure.add_scatter(
            x=at,
            y=said,
            line={"color": colour, "width": 1.4},
            name=f"P({side} squeeze)",
            hovertemplate="%{x|%d %b %H:%M}<br>%{y:.2%}<extra>" + side + " squeeze</extra>",
            row=row,
            col=1,
        )
        if base_rates is not None:
            figure.add_hline(y=base_rates[side], line={"color": "#444444", "width": 1, "dash": "dash"}, row=row, col=1)
        signals = alarms(messages, side)
        figure.add_scatter(
            x=[m["ts_data_us"] / 1e3 for m in signals],
            y=mark_at(signals, times_ns, mark),
            mode="markers",
            marker={
                "symbol": "triangle-down" if side == "long" else "triangle-up",
                "size": 13,
                "color": colour,
                "line": {"color": "#FFFFFF", "width": 1.5},
            },
            name=f"{side} alarm",
            hovertemplate="%{x|%d %b %H:%M}<br>mark %{y:,.6~g}<extra>" + side + " alarm</extra>",
            row=1,
            col=1,
        )
        figure.update_yaxes(
            title_text=f"{side} squeeze<br>within {horizon_minutes} min",
            range=[0, top],
            tickformat=".0%" if top > 0.05 else ".1%",
            fixedrange=True,
            nticks=5,
            row=row,
            col=1,
        )
    _add_trades(figure, trades(messages))
    figure.update_yaxes(title_text="mark price", tickformat=",~r", range=[levels[0], levels[-1]], row=1, col=1)
    figure.update_xaxes(type="date", showspikes=True, spikemode="across", spikethickness=1, spikecolor="#888888")
    figure.update_xaxes(
        rangeselector={
            "buttons": [
                {"count": 6, "step": "hour", "stepmode": "backward", "label": "6 h"},
                {"count": 1, "step": "day", "stepmode": "backward", "label": "1 d"},
                {"count": 7, "step": "day", "stepmode": "backward", "label": "7 d"},
                {"step": "all", "label": "all"},
            ],
            "y": 1.02,
        },
        row=1,
        col=1,
    )
    figure.update_xaxes(range=[at[0], at[-1]])
    figure.update_xaxes(title_text="time (UTC)", row=3, col=1)
    return div(figure, "market", height=860, legend={"orientation": "h", "y": -0.1, "yanchor": "top"})


def _add_trades(figure: Any, done: Sequence[Traded]) -> None:
    """Entry and end of each trade with what it brought, joined, and its first stop."""
    first = True
    for trade in done:
        opened, closed = trade.opened_us / 1e3, trade.closed_us / 1e3
        until = max(closed, opened + 60_000 * STOP_MINUTES)
        figure.add_scatter(
            x=[opened, until], y=[trade.stop, trade.stop], mode="lines", line={"color": STOP_COLOUR, "width": 2.5},
            name="first stop", legendgroup="stop", showlegend=first,
            hovertemplate="first stop %{y:,.6~g}<extra></extra>", row=1, col=1,
        )  # fmt: skip
        entry, order = "triangle-up" if trade.is_buy else "triangle-down", "bought" if trade.is_buy else "sold"
        figure.add_scatter(
            x=[opened, closed], y=[trade.entry, trade.close], mode="lines+markers", line={"color": TRADE_COLOUR},
            marker={"symbol": [entry, "x"], "size": 12, "line": {"color": "#000000", "width": 1}},
            name="trade, its end as a cross", legendgroup="trade", showlegend=first,
            text=[f"{order}", f"closed, {trade.r_multiple:+.2f} R"],
            hovertemplate="%{x|%d %b %H:%M}<br>%{text} at %{y:,.6~g}<extra></extra>", row=1, col=1,
        )  # fmt: skip
        first = False


def _reliability_chart(reliability: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> str:
    """Observed frequency by mean prediction with 95 % intervals, against the diagonal of a calibrated model."""
    import plotly.graph_objects as go

    figure = go.Figure()
    top = max((float(np.nanmax([p, o])) for p, o, _ in reliability.values()), default=1.0) * 1.08
    line = {"color": "#888888", "dash": "dash", "width": 1}
    figure.add_scatter(x=[0, top], y=[0, top], mode="lines", line=line, name="calibrated", hoverinfo="skip")
    for i, (name, (predicted, observed, count)) in enumerate(reliability.items()):
        low, high = wilson(observed, count.astype(float))
        figure.add_scatter(
            x=predicted,
            y=observed,
            customdata=count,
            error_y={"array": high - observed, "arrayminus": observed - low, "thickness": 1, "width": 3},
            mode="lines+markers",
            line={"color": COLOURS[i % len(COLOURS)], "width": 1.5},
            marker={"size": 8, "symbol": i},
            name=html.escape(name),
            hovertemplate="predicted %{x:.2%}<br>observed %{y:.2%}<br>%{customdata:,} rows",
        )
    figure.update_xaxes(title_text="mean predicted probability", tickformat=".0%", range=[0, top])
    figure.update_yaxes(title_text="how often it came true", tickformat=".0%", rangemode="tozero")
    return div(figure, "reliability", height=460, legend={"x": 0.02, "y": 0.98})


def div(figure: Any, name: str, height: int, legend: dict[str, Any]) -> str:
    """A plotly figure as a part of a page, with the same look as the others."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 70, "r": 20, "t": 40, "b": 40},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend=legend,
        hovermode="closest",
    )
    # plotly.js 4 shows a button that uploads the chart to its maker's cloud unless it is told not to.
    config = {
        "responsive": True,
        "displaylogo": False,
        "showSendToCloud": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    }
    text: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)
    return text


def square_root_cividis() -> list[list[Any]]:
    """Cividis with its colours spent on small values, so that the numbers stay as they are and thin zones are seen."""
    from plotly.colors import sample_colorscale

    shades = np.linspace(0, 1, 33)
    return [[float(s**2), c] for s, c in zip(shades, sample_colorscale("Cividis", shades.tolist()), strict=True)]
