"""Every reason code of a signal message, in plain words."""

REASONS = {
    "major_zone": "a major liquidation zone lies ahead",
    "heavy_zone": "a heavy liquidation zone lies ahead",
    "stacked_zones": "several liquidation zones lie close behind each other",
    "zone_lost": "the zone is gone",
    "zone_thinned": "the zone has lost too much of its mass",
    "price_away": "the price went away from the zone",
    "timer": "nothing came of it in time",
    "fast_approach": "the price runs toward the zone and will soon be there",
    "probability_over_threshold": "the probability is over the alarm threshold",
    "triggered_by_prints": "the mark is in the zone and its positions are being liquidated",
    "triggered_by_volume": "the mark is in the zone, takers hit it and open interest falls",
    "onset": "liquidations have reached the size, number and side of a cascade",
    "onset_by_price": "price, volume and open interest move as in a cascade; liquidations cannot be trusted",
    "false_break": "the mark came back out of the zone",
    "no_onset": "no cascade followed the trigger in time",
    "next_zone": "the cascade has reached the next zone",
    "cascade_over": "the cascade is over: liquidations faded, and there was no new extreme",
    "cascade_too_long": "the cascade did not end in time",
    "opposite_cascade": "a cascade of the other side is under way",
    "aftermath_over": "the market did not calm down in time",
    "aftermath_calm": "the zone is cleared and the market is calm",
    "mode_continuation": "the trade goes on in the squeeze's direction",
    "mode_reversion": "the trade goes against the squeeze",
    "no_trade": "no trade",
    "risk_too_small": "the risk would be too small to be worth a trade",
    "portfolio_full": "other trades in that direction use up the risk",
    "own_liquidation_near": "the stop is so far away that the position's own liquidation price would be too near",
    "below_least_quantity": "the quantity is below the exchange's smallest",
    "below_least_notional": "the order is below the exchange's minimum notional",
    "filled": "the entry was filled",
    "entry_expired": "the entry was not filled in time",
    "stop_hit": "the stop was hit",
    "closed": "the position was closed",
    "trail_hit": "the stop that followed the price was hit",
    "time_stop": "the trade has lasted as long as it may",
    "momentum_weak": "the momentum weakens: half is taken",
    "momentum_gone": "the momentum is gone",
    "target_reached": "the first target was reached: a part is taken",
    "stop_follows": "the stop follows the price",
    "rested": "the rest is over",
    "healthy_again": "the inputs have been healthy for long enough",
    "not_watched": "nobody watched the trade meanwhile",
    "halted": "trading was halted",
    "daily_stop": "the day has lost as much as it may",
    "resumed": "trading goes on",
    "restart": "the program was restarted",
    "stale_price": "the mark is too old",
    "stale_venues": "too many venues are silent",
    "stale_map": "the liquidation map is too old",
    "stale_clock": "the clock stood still or jumped",
}
WAITS = {
    "live_mark": "a live mark",
    "probability": "a probability",
    "quiet": "liquidations to be below an onset",
    "other_side": "the other side",
    "cooldown": "the rest after the last trade",
    "volume": "the volume to fall",
    "spread": "the spread to narrow",
    "depth": "the book to fill",
    "range": "the range to narrow",
    "depletion": "proof that the zone was liquidated",
    "open_interest": "open interest to stay closed",
    "edge": "an edge over the costs",
}
"""After `waits_for_`."""


def words(code: str) -> str:
    """A code in plain words; what a feed calls stale by another name is said as it is.

    >>> words("stop_hit"), words("waits_for_depth"), words("stale_moon")
    ('the stop was hit', 'still waiting for the book to fill', 'stale: moon')
    """
    if code in REASONS:
        return REASONS[code]
    if code.startswith("waits_for_"):
        return f"still waiting for {WAITS[code.removeprefix('waits_for_')]}"
    return code.replace("_", ": ", 1).replace("_", " ")
