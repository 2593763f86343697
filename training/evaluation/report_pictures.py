"""The pictures that go with a report: recall by false alarms, lead times, and reliability by regime, per side."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from squeeze.arrays import SIDES
from squeeze.market.events import MINUTE_NS
from training.evaluation.alarms import BUDGETS_PER_DAY, Curve, claims, curve, lead_minutes, threshold_within
from training.evaluation.report import Market, Rows
from training.figures import lead_time_figure, recall_figure, tercile_reliability_figure

LEAD_BUDGET = BUDGETS_PER_DAY[-1]
"""Lead times are drawn at the threshold that keeps to this many false alarms a day, in hindsight."""


def pictures(
    minutes: int, models: Mapping[str, Rows], market: Market, watched: str, most: int = 6
) -> dict[str, Figure]:
    """Figures by file name, of one horizon: the first `most` models share a picture, `watched` is drawn by regime.

    A model that ranks nothing on either side, as a constant, is left out.
    """
    drawn: dict[str, Figure] = {}
    shown = [(name, rows) for name, rows in models.items() if not _is_constant(rows.probability)][:most]
    for s, side in enumerate(SIDES):
        curves, leads = {}, {}
        for name, rows in shown:
            curves[name], leads[name] = _said(rows, s, minutes, market)
        title = f"{side} squeezes within {minutes} minutes"
        drawn[f"recall-{side}.png"] = recall_figure(curves, f"Recall, {title}")
        drawn[f"lead-{side}.png"] = lead_time_figure(leads, minutes, f"Lead at {LEAD_BUDGET:g} false a day, {title}")
        rows = models[watched]
        for regime, place in market.regimes.items():
            drawn[f"reliability-{regime}-{side}.png"] = tercile_reliability_figure(
                rows.truth[:, s], rows.probability[:, s].astype(float), place[:, s], regime, f"{watched}, {title}"
            )
    return drawn


def _is_constant(probability: np.ndarray) -> bool:
    """Whether each side has one probability; a model that abstained on all has none."""
    return all(len(np.unique(side[np.isfinite(side)])) == 1 for side in probability.T)


def _said(rows: Rows, s: int, minutes: int, market: Market) -> tuple[Curve, np.ndarray]:
    events_ns = None if market.events_ns is None else market.events_ns[s]
    step_ns = round(market.every_minutes * MINUTE_NS)
    found = claims(rows.ts_ns, rows.truth[:, s], rows.probability[:, s], minutes * MINUTE_NS, step_ns, events_ns)
    by_threshold = curve(found)
    return by_threshold, lead_minutes(found, threshold_within(by_threshold, LEAD_BUDGET))
