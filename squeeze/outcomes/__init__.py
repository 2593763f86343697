"""What happened after: cascades, found in prints (domain.md §5.1) or in price and open interest alone (§5.2).

    Liquidations, Bars, OpenInterest ─► cascades        (L1) ─┐
    Bars, taker flow, basis          ─► price_cascades  (L2) ─┴─► Cascades ─► labels, studies, grading

Outcomes look ahead and serve labels, studies and grading; the live path never imports them. An onset at t0 depends on
nothing later than t0 + `reach_seconds` (L1) or t0 + `reach_minutes` (L2). All times are UTC nanoseconds, all windows
are (t - window, t]. The constants stand in `squeeze.label_spec`.
"""

from squeeze.label_spec import CascadeSpec, PriceCascadeSpec
from squeeze.outcomes.price import PriceMeasures, cascades_of, price_cascades, price_measures
from squeeze.outcomes.prints import alarms, cascades, has_quantile, moved, reach_ns, watched
from squeeze.outcomes.recorded import (
    Bars,
    Cascades,
    Liquidations,
    OpenInterest,
    Stretches,
    Times,
    Values,
    latest,
    merged,
    recorded_ns,
    trailing_sigma,
    window_sums,
    without,
)

__all__ = [
    "Bars",
    "CascadeSpec",
    "Cascades",
    "Liquidations",
    "OpenInterest",
    "PriceCascadeSpec",
    "PriceMeasures",
    "Stretches",
    "Times",
    "Values",
    "alarms",
    "cascades",
    "cascades_of",
    "has_quantile",
    "latest",
    "merged",
    "moved",
    "price_cascades",
    "price_measures",
    "reach_ns",
    "recorded_ns",
    "trailing_sigma",
    "watched",
    "window_sums",
    "without",
]
