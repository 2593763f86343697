"""Which heatmap or stream a scalar or a channel comes from, by its name: what controls mask and ablations leave out.

`PRICE` and `CLOCK` know no heatmap; `MAP` is the model's own liquidation map and what is derived from it. The rest
exist where a spec has an atlas or records the stream.
"""

from collections.abc import Iterable

PRICE, CLOCK, MAP = "price", "clock", "liquidation map"
LIQUIDATIONS, OPEN_INTEREST, FUNDING = "liquidations", "open interest", "funding"
VOLUME_PROFILE, ORDER_BOOK, FLOW, STOPS, PATTERNS = "volume profile", "order book", "taker flow", "stops", "patterns"

HEATMAPS = frozenset({MAP, OPEN_INTEREST, FUNDING, VOLUME_PROFILE, ORDER_BOOK, FLOW, STOPS, PATTERNS})
"""Everything that is drawn over price, or found in what is. This takes the plain numbers of the same streams too; which
those are says `PLAIN`.
"""

SCALARS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (PATTERNS, ("pattern_",)),
    (CLOCK, ("day_", "half_day_")),
    (LIQUIDATIONS, ("own_liquidated_", "other_liquidated_", "liquidation_age")),
    (MAP, ("mass_within_", "expected_sweep", "asymmetry", "own_swept_", "other_swept_", "zone")),
    (OPEN_INTEREST, ("open_interest_", "opened_", "net_", "toward_opened_", "away_opened_", "toward_closed_",
                     "away_closed_", "coverage_")),
    (FUNDING, ("funding_", "minutes_to_settlement_")),
    (VOLUME_PROFILE, ("control_", "value_edge_", "volume_coverage_")),
    (ORDER_BOOK, ("book_",)),
    (FLOW, ("flow_", "taker_")),
    (STOPS, ("extreme_distance_", "extreme_age_", "stops")),
)  # fmt: skip
CHANNELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (MAP, ("unit_", "liquidation_")),
    (VOLUME_PROFILE, ("volume_",)),
    (ORDER_BOOK, ("book_",)),
    (FLOW, ("taker_",)),
    (STOPS, ("stops",)),
    (FUNDING, ("funding_",)),
)

PLAIN = (
    "open_interest_", "opened_", "net_", "toward_opened_", "away_opened_", "toward_closed_", "away_closed_",
    "coverage_", "funding_", "minutes_to_settlement_", "flow_", "book_spread_bp", "book_age_seconds",
    "volume_coverage_", "extreme_age_minutes", "pattern_funding_extreme",
)  # fmt: skip
"""Scalars of `HEATMAPS` that a stream gives without any map: stamps, rates and sums that are the same wherever on the
price axis it happened, and how old or how whole a record is. Funding has no price axis at all.
"""


def scalar_group(name: str) -> str:
    """The group of a scalar; what no heatmap and no stream feeds is `PRICE`.

    >>> scalar_group("own_swept_60m"), scalar_group("volatility_60m"), scalar_group("volume_surprise_15m")
    ('liquidation map', 'price', 'price')
    """
    return _group(name, SCALARS, PRICE)


def channel_group(name: str) -> str:
    """The group of a channel; every channel is of a heatmap.

    >>> channel_group("unit_25x"), channel_group("net_4h_bybit")
    ('liquidation map', 'open interest')
    """
    return _group(name, CHANNELS, OPEN_INTEREST)


def of(names: Iterable[str], groups: Iterable[str]) -> list[int]:
    """Positions of the scalars that belong to any of these groups.

    >>> of(["volatility_60m", "zones", "day_sin"], {MAP, CLOCK})
    [1, 2]
    """
    wanted = frozenset(groups)
    return [i for i, name in enumerate(names) if scalar_group(name) in wanted]


def read_off_a_map(names: Iterable[str]) -> list[int]:
    """Positions of the scalars that some map over price has to be there for.

    >>> read_off_a_map(("volatility_60m", "zones", "own_liquidated_60m", "open_interest_change_60m"))
    [1]
    """
    names = list(names)
    return [i for i in of(names, HEATMAPS) if not names[i].startswith(PLAIN)]


def _group(name: str, table: tuple[tuple[str, tuple[str, ...]], ...], otherwise: str) -> str:
    return next((group for group, prefixes in table if name.startswith(prefixes)), otherwise)
