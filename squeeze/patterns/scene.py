"""What a pattern sees: one market at the close of one step, as records and arrays that compiled code reads.

Everything by price is *outward*: element `[side, i]` is the whole grid bin `i` away from the mark's own bin, side 0
down and side 1 up, so that a mirrored market is the same scene with its sides swapped. Bin `i` of a side is absolute
bin `mark_bin - i` or `mark_bin + i`. Signed numbers of `NOW` are of the price: a pattern turns them by
`direction(side)`. What was not recorded is NaN; an array of a map that is not kept is all NaN.
"""

from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import njit

NOW = np.dtype(
    [
        ("close_ns", "i8"),  # close of the step: when all of this was known
        ("step_ns", "i8"),  # its length
        ("mark", "f8"),  # mark price at the close, and its range in the step
        ("mark_low", "f8"),
        ("mark_high", "f8"),
        ("mark_bin", "i8"),  # absolute bin that holds it: floor(ln mark / bin_log)
        ("bin_log", "f8"),  # width of a bin in log price
        ("sigma_1m", "f8"),  # standard deviation of the log price over a minute, mostly from the last 4 hours
        ("sigma_4h", "f8"),  # ... over 4 hours, mostly from the last day
        ("atr_1h", "f8"),  # mean true range of the whole hours of the last day, and of fours of them, in log price
        ("atr_4h", "f8"),
        ("return_4h", "f8"),  # of the mark, in log price
        ("return_24h", "f8"),
        ("velocity", "f8"),  # log price a minute, exponentially smoothed with a 30 s half-life (a step if longer)
        ("acceleration", "f8"),  # ... its change a minute
        ("open_interest_base", "f8"),  # of all venues, each contract counted once
        ("open_interest_usd", "f8"),
        ("open_interest_4h", "f8"),  # change over so long as a share of what it was, in base coins
        ("open_interest_24h", "f8"),
        (
            "longs_opened_4h",
            "f8",
        ),  # share of open interest opened in 4 hours while price rose, and fell
        ("shorts_opened_4h", "f8"),
        ("funding_8h", "f8"),  # predicted where known, else settled: per 8 hours, weighted by open interest
        ("funding_low_8h", "f8"),  # least and greatest of the venues
        ("funding_high_8h", "f8"),
        ("funding_z", "f8"),  # mean over venues of the z-score of their rate over 30 days
        ("minutes_to_settlement", "f8"),  # of the venue that settles next
        ("map_age_ns", "i8"),  # since the liquidation map last took something in; very large before that
        ("open_interest_age_ns", "i8"),  # since the newest stamp
        ("book_age_ns", "i8"),  # since the newest book
    ],
    align=True,
)
"""One record: prices, flows and ages."""

ZONE = np.dtype(
    [
        ("side", "i8"),
        ("id", "i8"),  # (side, id) names a zone for good
        ("major", "i8"),  # 1 if its mass reaches the trailing quantile of zone masses on its side
        ("near_log", "f8"),  # distance from the mark outward to its near edge, far edge and centroid, in log price
        ("far_log", "f8"),
        ("centroid_log", "f8"),
        ("place_log", "f8"),  # its centroid as the log of a price
        ("low_bin", "i8"),  # absolute bins [low_bin, end_bin)
        ("end_bin", "i8"),
        ("peak_share", "f8"),  # its densest bin, as a share of open interest
        ("mass_share", "f8"),  # all of it, as a share of open interest, in coins, and in USD at its centroid
        ("mass_base", "f8"),
        ("mass_usd", "f8"),
        ("age_days", "f8"),  # mean age of the mass
        ("born_ns", "i8"),  # close of the step that saw it first
        ("seen_steps", "i8"),
        ("peak_6h_share", "f8"),  # greatest mass of the last six hours
        ("peak_6h_base", "f8"),
        ("mass_1h_share", "f8"),  # mass so long ago; NaN if it was not there, or not remembered
        ("mass_6h_share", "f8"),
        ("mass_24h_share", "f8"),
        ("place_24h_log", "f8"),  # centroid 24 hours ago, as the log of a price
        ("touched_ns", "i8"),  # close of the first step after birth in which the mark went into it; 0 if it never did
        ("split_from", "i8"),  # zone of which it was a part when it was born; 0 for none
        ("ending", "i8"),  # 0 while it lives, else a number of `ENDINGS`
        ("into", "i8"),  # zone that holds most of what was merged or split; 0 for none
        ("ended_ns", "i8"),  # when the end was known; 0 while it lives
    ],
    align=True,
)
"""A tracked zone of the aggregated liquidation map; longs first, each side nearest first."""

ENDINGS = ("alive", "swept", "pierced", "merged", "split", "out_of_reach", "crowded_out", "dissipated")
SWEPT = ENDINGS.index("swept")

WALL = np.dtype(
    [
        ("side", "i8"),  # 0 bids below the mark, 1 asks above
        ("venue", "i8"),  # index of the `venue` axis
        ("bin", "i8"),  # absolute bin
        ("distance_log", "f8"),  # from the mark outward to the middle of the bin
        ("usd", "f8"),  # what rests there now; NaN while the book does not show it
        ("peak_usd", "f8"),  # the most that was ever shown
        ("traded_usd", "f8"),  # what takers traded in that bin since it was born
        ("traded_60s_usd", "f8"),  # ... in the last minute
        ("moved_beyond_log", "f8"),  # how far the mark went past its far edge since birth; 0 if it never did
        ("born_ns", "i8"),
        ("seen_ns", "i8"),
        ("pulls_1h", "i8"),  # how often a wall at this level was pulled in the last hour, this one included
        ("pull_elasticity", "f8"),  # slope of ln usd on ln distance over the last minute within 0.5 %; NaN if too few
        ("outcome", "i8"),  # a number of `OUTCOMES`
        ("ended_ns", "i8"),  # 0 while it stands
    ],
    align=True,
)
"""An unusually large resting order (domain.md §4.2, 10); those that ended in this step are there once more."""

OUTCOMES = ("standing", "filled", "pulled", "refilled", "expired")
STANDING, FILLED, PULLED, REFILLED, EXPIRED = range(5)

NODE = np.dtype([("kind", "i8"), ("window", "i8"), ("place_log", "f8"), ("volume_share", "f8")], align=True)
"""A level of the volume profile: kind, number of the window, log of its price, volume of its bin over the greatest."""

NODES = ("high", "low", "control", "area_low", "area_high")
HIGH, LOW, CONTROL, AREA_LOW, AREA_HIGH = range(5)

VENUE = np.dtype(
    [
        ("open_interest_base", "f8"),
        ("funding_8h", "f8"),  # settled
        ("forecast_8h", "f8"),  # predicted
        ("long_usd", "f8"),  # liquidated in this step, as far as the feed tells
        ("short_usd", "f8"),
        ("complete", "i8"),  # 1 if the feed gives every liquidation, 0 if not, -1 if not known
    ],
    align=True,
)
"""What one venue adds."""


class Scene(NamedTuple):
    """One market at the close of a step. `bins` reach as far as zones are looked for (`FrameSpec.zone_reach_log`)."""

    now: Any
    """(1,) of NOW."""
    zones: Any
    """Zones alive, of ZONE."""
    ended: Any
    """Zones whose end became known in this step, of ZONE."""
    walls: Any
    """Of WALL."""
    nodes: Any
    """Of NODE."""
    venues: Any
    """(venue,) of VENUE."""
    heat: Any
    """(side, bin): liquidation map of all venues, prior-weighted, as a share of open interest."""
    venue_heat: Any
    """(venue, side, bin): the same of each, as a share of its own open interest."""
    volume: Any
    """(side, bin): base coins traded, of the volume profile's first window."""
    interest: Any
    """(side, bin): base coins of open interest opened, of the second window (a day)."""
    book: Any
    """(side, bin): USD that rest, summed over venues that cover the bin; NaN where none does."""


@njit(cache=True)
@no_type_check
def direction(side: int) -> float:
    """-1 down, +1 up: what a change of the price is multiplied by to be *toward* a side."""
    return -1.0 if side == 0 else 1.0


def copied(records: np.ndarray) -> np.ndarray:
    """A copy of contiguous records. As bytes: NumPy copies them field by field, 6 µs for twenty zones against 0.6."""
    copy: np.ndarray = np.ndarray(records.shape, records.dtype, bytearray(records.tobytes()))
    return copy


def mass_by_venue(scene: Scene, side: int, number: int) -> np.ndarray:
    """(venue,): base coins of a zone that each venue's map holds from the mark's bin on; zeros for a zone that is gone.

    `number` is the zone's `id` on its side. A venue whose open interest is not known holds nothing.
    """
    coins = np.zeros(len(scene.venues))
    for zone in scene.zones[(scene.zones["side"] == side) & (scene.zones["id"] == number)]:
        here, low, end = int(scene.now["mark_bin"][0]), int(zone["low_bin"]), int(zone["end_bin"])
        first, last = (here - end + 1, here - low + 1) if side == 0 else (low - here, end - here)
        share = scene.venue_heat[:, side, max(0, first) : max(0, last)].sum(axis=1)
        coins = np.nan_to_num(share * scene.venues["open_interest_base"])
    return coins
