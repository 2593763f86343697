"""What the tape remembers of its seconds, as records and arrays that compiled code reads.

Second `n` is the time (n - 1 s, n s] since 1970, by when things became *known*. All of it is one record and one array
of rings, so that a snapshot is their bytes. Prices are natural logarithms. What was not recorded is NaN.
"""

import math

import numpy as np

from squeeze.market.events import MINUTE_NS, SECOND_NS

MINUTE = MINUTE_NS // SECOND_NS
HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
RING = 4096
"""Seconds that are remembered: an hour, and some."""
LOW, HIGH, MARK, VOLUME, BUYS, SELLS, LONG_USD, SHORT_USD, LONGS, SHORTS, SPREAD, WORST, DEPTH = range(13)
COLUMNS = 13
"""Of the rings: range and close of the mark, USD traded, bought and sold by takers, USD and prints of liquidated longs
and shorts, spread at the second's end and its worst, USD that rest within half a percent."""
EW_BUYS, EW_SELLS, INTEREST, UNTIL = 13, 14, 15, 16
"""Behind the columns in what a second has heard: taken into the imbalance, open interest in coins, and the second that
runs after it and the silent ones behind it; 0 while it runs itself."""
HEARD = 16
"""Numbers that a second hears: all but `UNTIL`."""

LEAST_SECONDS = 600
"""Of an hour, for its mean and its medians."""
HOLE_MINUTES = 61
"""A return over more than this is not counted: the mark was silent for longer than any bar."""
RETURNS_MINUTES = 54
"""An hour's volatility needs returns over so many of its minutes."""
RANGE_SECONDS = 180
BAR_SECONDS = (300, 900)
BARS = 14
HOURS = 720
"""Hours of thirty days."""
LEAST_HOURS = 24
DAYS = 30
PER_OCTAVE, OCTAVES = 16, 40
BINS = PER_OCTAVE * OCTAVES + 1
"""Of sums of USD by the logarithm, from one dollar on; the first bin holds what is less. Exact to 4.4 %."""
TENS, MINUTES = 0, 1
LEAST_TENS = 100
"""So many sums of ten seconds with a print make a quantile."""
TENS_QUANTILE = 0.95

TAPE = np.dtype(
    [
        ("second", "i8"),  # the running one; 0 before the first
        ("is_trading", "i8"),  # 1 once a trade was heard: seconds without one are zero
        ("is_watching", "i8"),  # 1 once the feed of liquidations speaks: seconds without a print are zero
        ("covered", "i8"),  # last second that bars of the last price cover
        ("bar_seconds", "i8"),  # length of those bars; 0 before the first
        ("mark_seconds", "i8"),  # length of the bars that the mark comes from; 0 for ticks
        ("log_mark", "f8"),
        ("spoke", "i8"),  # last second in which the mark was heard; 0 for none
        ("velocity", "f8"),
        ("buys", "f8"),  # exponentially weighted, half-life of 30 s
        ("sells", "f8"),
        ("returned", "i8"),  # second at whose end the last return was taken, and the mark then
        ("returned_log", "f8"),
        ("variance_1h", "f8"),  # of a minute's return, half-life of an hour; sum and weight
        ("weight_1h", "f8"),
        ("variance_24h", "f8"),  # half-life of twelve hours
        ("weight_24h", "f8"),
        ("square", "f8", (60,)),  # by minute: squared return, and the minutes it is over
        ("square_minutes", "f8", (60,)),
        ("minute_log", "f8", (256,)),  # by minute: mark
        ("minute_interest", "f8", (64,)),  # ... and open interest
        ("bar_low", "f8", (2,)),  # running bars of 5 and 15 minutes
        ("bar_high", "f8", (2,)),
        ("bar_before", "f8", (2,)),  # mark at their begin
        ("bar_range", "f8", (2, BARS)),
        ("bars", "i8", (2,)),  # whole ones; -1 while the first, of which the begin was not heard, runs
        ("hour_sigma", "f8", (HOURS,)),  # by hour: deviation of a minute
        ("day", "i8"),
        ("sums", "i4", (2, DAYS, 2, BINS)),  # kind, day, side, bin: how often a window's sum was so great
        ("usual", "f8", (2, 2)),  # kind, side: the quantile as it stood at midnight; NaN where too little was recorded
        ("trailing_days", "i8"),
        ("minute_quantile", "f8"),
        ("least_minutes", "f8"),
    ],
    align=True,
)

SINGLES = (
    "sigma_1m_log", "velocity_log", "atr_5m_log", "atr_15m_log", "range_3m_log", "volume_60s_usd", "volume_minute_usd",
    "taker_imbalance", "taker_sells_10s_usd", "taker_buys_10s_usd", "open_interest_change_1h", "spread_worst_30s_bp",
    "volatility_1h_rank", "return_4h_log", "sigma_4h_log",
)  # fmt: skip
"""Fields of `View`."""
PAIRS = {
    "liquidated_10s_usd": ("long_10s", "short_10s"),
    "prints_10s": ("longs_10s", "shorts_10s"),
    "liquidated_60s_usd": ("long_60s", "short_60s"),
    "prints_60s": ("longs_60s", "shorts_60s"),
    "liquidated_10s_usual_usd": ("long_usual", "short_usual"),
    "onset_usd": ("long_onset", "short_onset"),
}
"""Fields of `View` by side, and what the kernel calls them."""
SUSPECT = ("return_suspect_log", "prints_suspect", "sigma_before_log")
FACTS = np.dtype(
    [(name, "f8") for name in (*SINGLES, *(name for pair in PAIRS.values() for name in pair), *SUSPECT)], align=True
)
"""What `tape_kernel.read` fills, in this order."""

RULES = np.dtype(
    [("interest_share", "f8"), ("floor_usd", "f8"), ("suspect_seconds", "i8"), ("suspect_minutes", "i8")], align=True
)
"""What an onset is, and over which time a move without a print is suspect."""


def blank(trailing_days: int, minute_quantile: float, least_minutes: float) -> tuple[np.ndarray, np.ndarray]:
    """(1,) of TAPE and the rings, before anything was heard."""
    memory = np.zeros(1, TAPE)
    for name in TAPE.names or ():
        if TAPE[name].base.kind == "f":
            memory[name] = math.nan
    for name in ("buys", "sells", "variance_1h", "weight_1h", "variance_24h", "weight_24h", "square", "square_minutes"):
        memory[name] = 0.0
    memory["bar_low"], memory["bar_high"], memory["bars"] = math.inf, -math.inf, -1
    memory["trailing_days"] = trailing_days
    memory["minute_quantile"], memory["least_minutes"] = minute_quantile, least_minutes
    return memory, np.full((COLUMNS, RING), math.nan)
