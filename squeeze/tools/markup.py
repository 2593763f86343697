"""The page's words, tables and frame; every string that comes from outside is escaped here."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

SHOWN_MESSAGES = 40


def header(title: str, summary: Mapping[str, str]) -> str:
    """The title, a warning where a fact says that the data are simulated, and the facts."""
    facts = "".join(
        f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>" for key, value in summary.items()
    )
    simulated = any("simulat" in value.lower() for value in summary.values())
    return f"<header><h1>{html.escape(title)}</h1>{SIMULATED if simulated else ''}<dl>{facts}</dl></header>"


def section(heading: str, text: str, content: str) -> str:
    """A heading, a paragraph that says what is shown, and that."""
    return f"<section><h2>{heading}</h2><p>{text}</p>{content}</section>"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
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
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if _is_number(value):
        return format(value, ",.4g") if isinstance(value, float) else format(value, ",")
    return html.escape(str(value))


def messages_table(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last messages that are not plain probabilities, newest first, and the newest as it goes out."""
    told = [m for m in messages if m.get("type") != "probability"][-SHOWN_MESSAGES:][::-1]
    if not told:
        return "<p><em>Nothing but probabilities.</em></p>"
    line = html.escape(json.dumps(told[0], ensure_ascii=False, separators=(",", ":")))
    return f"{table([_message_row(m) for m in told])}<p>The newest of them, as it goes out:</p><pre>{line}</pre>"


def _message_row(message: Mapping[str, Any]) -> dict[str, Any]:
    at, side = message.get("ts_data_us", 0) // 1_000_000, message.get("side", "")
    is_move = "prev_state" in message
    by_horizon = message.get("probs") or {}
    longest = max(by_horizon, key=lambda horizon: int(horizon[1:]), default="")
    return {
        "time (UTC)": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "type": message.get("type"),
        "side": side,
        "what": f"{message.get('prev_state')} → {message.get('state')}" if is_move else "",
        "why": ", ".join(map(str, message.get("reason_codes") or message.get("reasons", ()))),
        "probability": by_horizon.get(longest, {}).get(side),
        "base rate": message.get("base_rate"),
        "mark": message.get("mark") or "",
        "signal": message.get("signal_id", ""),
        "number": message.get("stream_seq"),
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
    " are alarms: the price runs toward a zone, and they point there. A trade goes from the triangle of its entry to"
    " the cross of its end, with its first stop beside it. Drag to zoom, double-click to go back."
)

RELIABILITY_TEXT = (
    "Predictions are gathered into bins. A point on the diagonal means that what was predicted with 10 %, say, did"
    " happen in 10 % of all cases. Bars are 95 % intervals as if rows were independent; neighbouring rows are alike, so"
    " the true intervals are wider."
)

MESSAGES_TEXT = (
    "The last {count} messages at most, newest first. Probabilities go out with every step and are drawn above, so they"
    " are left out here. A signal keeps its name from <em>zone_ahead</em> to its one <em>exit</em> or"
    " <em>cancel</em>."
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
