"""One HTML file that shows a model at work: scores, heatmap with price and probabilities, calibration, messages.

It needs no server and no network: plotly.js is inside, and a content policy forbids the browser to fetch anything.
The functions on arrays above `write_page` (the absolute heatmap, thinning to columns, intervals) also serve the still
figures of `training.figures`.
"""

import html
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from squeeze.arrays import SIDES, StepTimes
from squeeze.errors import UserError
from squeeze.files import whole
from squeeze.market.events import SECOND_NS

Steps = Float[np.ndarray, " step"]
RelativeMap = Float[np.ndarray, "step side price"]
"""Share of open interest that would be liquidated in each bin; price bins count outward from the mark of that step."""

COLUMNS = 1500
"""Columns a heatmap is thinned to: more than a wide screen shows, and about 2 MB of the page."""
LEVELS = 240
"""Rows of the absolute heatmap."""
SHOWN_MESSAGES = 40

SIDE_COLOURS = {"long": "#D55E00", "short": "#0072B2"}
"""Vermillion and blue of Okabe and Ito's palette, which the colour-blind tell apart [1]_.

.. [1] https://jfly.uni-koeln.de/color/
"""
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
"""The same palette, for models and baselines in the order in which they come."""
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


def fired(messages: Sequence[Mapping[str, Any]], side: str) -> list[Mapping[str, Any]]:
    """The signal messages with which this side fired."""
    return [m for m in messages if m.get("type") == "signal" and m.get("state") == "fired" and m.get("side") == side]


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
        _header(title, summary),
        _section("How good it is", SCORES_TEXT, _table(scores)),
        _section("The market and the model's view of it", MARKET_TEXT.format(horizon=horizon_minutes), market),
        _section("Can the numbers be believed?", RELIABILITY_TEXT, _reliability_chart(reliability)),
        _section("What it said last", MESSAGES_TEXT.format(count=SHOWN_MESSAGES), _messages(messages)),
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
        colorscale=_square_root_cividis(),
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
        signals = fired(messages, side)
        figure.add_scatter(
            x=[m["ts_data_ns"] / 1e6 for m in signals],
            y=mark_at(signals, times_ns, mark),
            mode="markers",
            marker={
                "symbol": "triangle-down" if side == "long" else "triangle-up",
                "size": 13,
                "color": colour,
                "line": {"color": "#FFFFFF", "width": 1.5},
            },
            name=f"{side} signal fired",
            hovertemplate="%{x|%d %b %H:%M}<br>mark %{y:,.6~g}<extra>" + side + " signal fired</extra>",
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
    return _div(figure, "market", height=860, legend={"orientation": "h", "y": -0.1, "yanchor": "top"})


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
    return _div(figure, "reliability", height=460, legend={"x": 0.02, "y": 0.98})


def _div(figure: Any, name: str, height: int, legend: dict[str, Any]) -> str:
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


def brightest(heat: np.ndarray) -> float:
    """The 99.5 % quantile of what is not empty: a few extreme bins would leave the rest of the map dark."""
    filled = heat[np.isfinite(heat) & (heat > 0)]
    return float(np.quantile(filled, 0.995)) if filled.size else 1.0


def _square_root_cividis() -> list[list[Any]]:
    """Cividis with its colours spent on small values, so that the numbers stay as they are and thin zones are seen."""
    from plotly.colors import sample_colorscale

    shades = np.linspace(0, 1, 33)
    return [[float(s**2), c] for s, c in zip(shades, sample_colorscale("Cividis", shades.tolist()), strict=True)]


def mark_at(messages: Sequence[Mapping[str, Any]], times_ns: StepTimes, mark: Steps) -> list[float]:
    """The mark of the last step at or before each message's data cut."""
    cuts = np.array([m["ts_data_ns"] for m in messages], dtype=np.int64)
    return [float(p) for p in mark[np.clip(np.searchsorted(times_ns, cuts, side="right") - 1, 0, None)]]


# --- text -----------------------------------------------------------------------------------------------------------


def _header(title: str, summary: Mapping[str, str]) -> str:
    facts = "".join(
        f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>" for key, value in summary.items()
    )
    simulated = any("simulat" in value.lower() for value in summary.values())
    return f"<header><h1>{html.escape(title)}</h1>{SIMULATED if simulated else ''}<dl>{facts}</dl></header>"


def _section(heading: str, text: str, content: str) -> str:
    return f"<section><h2>{heading}</h2><p>{text}</p>{content}</section>"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One row per mapping; the columns are their keys in the order in which they first come."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    kinds = {c: ' class="number"' if any(_is_number(row.get(c)) for row in rows) else "" for c in columns}
    head = "".join(f"<th{kinds[column]}>{html.escape(str(column))}</th>" for column in columns)
    cells = ("".join(f"<td{kinds[column]}>{_text(row.get(column))}</td>" for column in columns) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    """Four significant digits of a float, an integer in full, a dash for what there is not, and all else escaped."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if _is_number(value):
        return format(value, ",.4g") if isinstance(value, float) else format(value, ",")
    return html.escape(str(value))


def _messages(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last messages that are not plain probabilities, newest first, and the newest as it goes out."""
    told = [m for m in messages if m.get("type") != "probability"][-SHOWN_MESSAGES:][::-1]
    if not told:
        return "<p><em>Nothing but probabilities.</em></p>"
    line = html.escape(json.dumps(told[0], ensure_ascii=False, separators=(",", ":")))
    return f"{_table([_message_row(m) for m in told])}<p>The newest of them, as it goes out:</p><pre>{line}</pre>"


def _message_row(message: Mapping[str, Any]) -> dict[str, Any]:
    at = message.get("at_ns", message.get("ts_data_ns", 0)) // SECOND_NS
    reasons = [message.get("reason", ""), *message.get("abstain_reasons", ()), *message.get("reasons", ())]
    is_signal = message.get("type") == "signal"
    return {
        "time (UTC)": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "type": message.get("type"),
        "side": message.get("side", ""),
        "what": f"{message.get('previous_state')} → {message.get('state')}" if is_signal else "",
        "why": ", ".join(str(reason) for reason in reasons if reason),
        "probability": message.get("probability"),
        "base rate": message.get("base_rate"),
        "mark": message.get("mark") or "",
        "signal": message.get("signal_id", ""),
        "sequence": message.get("sequence"),
    }


SIMULATED = (
    '<p class="notice"><strong>Simulated data.</strong> The market on this page never happened: prices, positions and'
    " liquidations come from a simulator. The scores show that the method works there, not what it earns anywhere.</p>"
)

SCORES_TEXT = (
    "Each row is a model or a baseline, all judged on the same rows of data, which none was fitted on. A model is worth"
    " having only where it beats the baselines."
)

MARKET_TEXT = (
    "The colours are the estimated liquidation map: the lighter, the larger the share of open interest that would be"
    " liquidated at that price. Positions under the white line (the mark price) are longs, those above it are shorts;"
    " the map moves with the price and is blank where it does not reach. The two strips beneath show the probability"
    " that longs, or shorts, are liquidated in a cascade within the next {horizon} minutes. It did happen within that"
    " time wherever the strip is grey; the dashed line, where there is one, is how often it happens at all. Triangles"
    " are signals that fired, pointing where the price was expected to go. Drag to zoom, double-click to go back."
)

RELIABILITY_TEXT = (
    "Predictions are gathered into bins. A point on the diagonal means that what was predicted with 10 %, say, did"
    " happen in 10 % of all cases. Bars are 95 % intervals as if rows were independent; neighbouring rows are alike, so"
    " the true intervals are wider."
)

MESSAGES_TEXT = (
    "The last {count} messages at most, newest first. Probabilities go out with every step and are drawn above, so they"
    " are left out here. A signal keeps its name from <em>armed</em> until it is <em>idle</em> again."
)

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 1.5rem; background: #f5f6f8; color: #1c2430;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 .8rem; font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 0 0 .3rem; font-size: 1.2rem; }
section p { max-width: 130ch; margin: .2rem 0 1rem; color: #4a5464; }
section { margin: 1.2rem 0; padding: 1.2rem 1.4rem; background: #fff; border: 1px solid #dfe3e8; border-radius: 10px; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: .7rem; margin: 0; }
dl div { padding: .6rem .9rem; background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; }
dt { font-size: .8rem; color: #5b6675; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.notice { margin: 0 0 1rem; padding: .7rem 1rem; background: #fff6e0; border-left: 5px solid #e69f00;
          border-radius: 6px; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .4rem .7rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #e6e9ee; }
th { font-weight: 600; color: #4a5464; border-bottom: 2px solid #c9d0d9; }
tbody tr:nth-child(even) { background: #f8f9fb; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { margin: 0; padding: .8rem; background: #f5f6f8; border-radius: 6px; font-size: .8rem;
      white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 640px) { body { padding: .6rem; } section { padding: .8rem; } }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';
 style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<style>{style}</style>
<script>{script}</script>
</head>
<body>
{body}
</body>
</html>
"""
