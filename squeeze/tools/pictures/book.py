"""The order book over time, as far as the feeds cover it, with its walls; beside it, the newest book."""

import numpy as np

from squeeze.patterns.scene import OUTCOMES
from squeeze.tools.pictures.gather import Seen, wall_records
from squeeze.tools.pictures.panel import LONG, SHORT, Bars, Layer, Level, Line, Marks, Panel, Picture, Symbol
from squeeze.tools.pictures.scales import MILLION, Scale, heat_of, mark_line, utc

AREA = 130.0
ENDS: dict[str, Symbol] = {
    "standing": "square", "filled": "circle", "pulled": "cross", "refilled": "diamond", "expired": "down",
}  # fmt: skip
"""How a wall's end is marked."""


def book_picture(seen: Seen, scale: Scale, title: str) -> Picture:
    """USD that rest; the prices shown are those that any column covers, or all if none does."""
    heat = heat_of(seen, scale, "book", "million USD resting per 0.1 % of price", MILLION)
    covered = np.flatnonzero(np.isfinite(heat.z).any(axis=1))
    prices, half = scale.prices(), scale.heights()
    path = seen.marks()
    low, high = float(path[:, 1].min()), float(path[:, 2].max())
    y_range = scale.range()
    if covered.size:
        low = min(low, float(prices[covered[0]] - half[covered[0]]))
        high = max(high, float(prices[covered[-1]] + half[covered[-1]]))
        y_range = (low - 0.06 * (high - low), high + 0.06 * (high - low))  # so that the end of coverage is seen
    main = Panel(
        (heat, *wall_lines(seen), mark_line(seen)), title="resting orders by price", x_title="time (UTC)",
        y_title="price (quote currency)", x_range=(float(seen.start_ns), float(seen.end_ns)), y_range=y_range,
        is_time=True, note="" if covered.size else "no order book was recorded",
    )  # fmt: skip
    beside = Panel(
        tuple(_newest(seen, scale)), title="the newest book", x_title="million USD per 0.1 % of price", y_range=y_range,
        note="" if covered.size else "not recorded",
    )  # fmt: skip
    atlas = seen.kept_atlas
    told = [f"{venue.name}: {'no book' if venue.book.stale else 'known'}" for venue in atlas.venues]
    caption = (
        f"Summed over the venues that cover a price; at the end: {', '.join(told)}. Hatched: beyond what a feed "
        "covers, or no book could be trusted; that is not zero. A wall rests far more than its neighbours; its line "
        "goes from birth to end, and the mark at its end says how: square standing, circle filled, cross pulled, "
        "diamond refilled, triangle expired."
    )
    return Picture("order-book", f"{title}: order book", caption, ((main, beside),), (4.6, 1.0), (1.0,), (16.0, 8.5))


def wall_lines(seen: Seen) -> list[Layer]:
    """Each wall from birth to its end, by side, and the end by how it came."""
    walls = wall_records(seen)
    layers: list[Layer] = []
    for side, (name, colour) in enumerate((("bid wall", SHORT), ("ask wall", LONG))):
        own = walls[walls["side"] == side]
        if not own.size:
            continue
        price = np.exp((own["bin"] + 0.5) * seen.bin_log)
        end = np.where(own["ended_ns"] > 0, own["ended_ns"], np.minimum(seen.end_ns, own["seen_ns"]))
        start = np.maximum(own["born_ns"], seen.start_ns)
        x = np.stack([start, end, end], axis=1).ravel()
        y = np.stack([price, price, np.full(len(own), np.nan)], axis=1).ravel()
        layers.append(Line(x, y, name, colour, 2.0))
        biggest = float(walls["peak_usd"].max())
        for number, outcome in enumerate(OUTCOMES):
            at = own["outcome"] == number
            if at.any():
                area = 12 + AREA * own["peak_usd"][at] / biggest
                texts = tuple(
                    f"{name} of {wall['peak_usd'] / MILLION:,.2f} M USD at most, {outcome}, "
                    f"{seen.kept_atlas.names[int(wall['venue'])]}"
                    for wall in own[at]
                )
                layers.append(Marks(end[at], price[at], area, f"{name}, {outcome}", colour, ENDS[outcome], texts))
    return layers


def _newest(seen: Seen, scale: Scale) -> list[Layer]:
    """Bids and asks of the last column that has a book."""
    held = [one for _, one in sorted(seen.columns.items()) if np.isfinite(one.book).any()]
    if not held:
        return []
    newest, layers = held[-1], list[Layer]()
    prices = newest.prices()
    for side, (name, colour) in enumerate((("bids", SHORT), ("asks", LONG))):
        usd = scale.per_mille(newest.book[side].astype(float)) / MILLION
        known = np.isfinite(usd)
        layers.append(
            Bars(prices[side, known], usd[known], prices[side, known] * seen.bin_log, name, colour, None, "million USD")
        )
    at = utc(newest.close_ns)[11:]
    return [*layers, Level(newest.mark, f"mark, {at}")]
