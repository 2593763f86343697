"""The liquidation map: over time with price, zones and liquidations, its views beside it, the patterns beneath."""

import math
from dataclasses import replace

import numpy as np

from squeeze.heatmaps.protocol import hours_name
from squeeze.patterns.catalogue import NAMES
from squeeze.tools.pictures.gather import Seen, absolute, zone_records
from squeeze.tools.pictures.panel import (
    LONG,
    SEQUENCE,
    SHORT,
    Bars,
    Layer,
    Level,
    Line,
    Marks,
    Panel,
    Picture,
    Spans,
    Strip,
    Symbol,
)
from squeeze.tools.pictures.scales import MILLION, Scale, heat_of, mark_line, utc

COLOURS = (LONG, SHORT)
AREA = 320.0
"""Square points of the largest mark."""


def liquidation_picture(seen: Seen, scale: Scale, title: str) -> Picture:
    """Heat, zones, liquidations; views by age of what was opened; the patterns that were up."""
    label = "million USD that would be liquidated per 0.1 % of price"
    coins = heat_of(seen, scale, "liquidation", label, MILLION)
    heat = replace(coins, z=coins.z * _mark_by_column(seen))
    time = (float(seen.start_ns), float(seen.end_ns))
    y_range = scale.range()
    main = Panel(
        (heat, *zone_lines(seen), mark_line(seen), *liquidation_marks(seen)),
        y_title="price (quote currency)", x_range=time, y_range=y_range,
        is_time=True,
    )  # fmt: skip
    views = Panel(
        (*_views(seen, scale), *_zone_strips(seen)), title=f"at {utc(int(seen.path[-1][0]))[11:]}, by age",
        x_title="million USD per 0.1 % of price", y_range=y_range,
    )  # fmt: skip
    rows, spans = flag_spans(seen)
    lane = Panel(
        spans, title="patterns that were up", x_title="time (UTC)", x_range=time,
        y_range=(-0.6, max(len(rows), 1) - 0.4), is_time=True, rows=rows, note="" if rows else "no pattern was up",
    )  # fmt: skip
    return Picture(
        "liquidation", f"{title}: liquidation map", _caption(seen), ((main, views), (lane, None)),
        (4.6, 1.0), (4.2, 0.5 + 0.13 * max(len(rows), 3)), (16.0, 10.0),
    )  # fmt: skip


def _mark_by_column(seen: Seen) -> np.ndarray:
    out = np.full(seen.count, np.nan)
    for column, snapshot in seen.columns.items():
        out[column] = snapshot.mark
    return out


def zone_lines(seen: Seen) -> list[Line]:
    """Near and far edge of each zone over time, thicker where it was a major one."""
    closes, zones = zone_records(seen)
    lines = []
    for major, width in ((0, 0.6), (1, 1.4)):
        xs: list[np.ndarray] = []
        ys: list[np.ndarray] = []
        for side in range(2):
            for number in np.unique(zones["id"][zones["side"] == side]).tolist():
                own = (zones["side"] == side) & (zones["id"] == number)
                kept = own & (zones["major"] == major)
                for name in ("low_bin", "end_bin"):
                    price = np.where(kept[own], np.exp(zones[name][own] * seen.bin_log), np.nan)
                    xs += [closes[own], closes[own][-1:]]
                    ys += [price, np.array([np.nan])]
        if xs and np.isfinite(np.concatenate(ys)).any():
            name = "edges of a major zone" if major else "edges of a zone"
            lines.append(Line(np.concatenate(xs), np.concatenate(ys), name, "#FFFFFF", width, outline=True))
    return lines


def liquidation_marks(seen: Seen) -> list[Marks]:
    """What was liquidated in each column, by side, as an area at the mean price."""
    if not seen.prints:
        return []
    found = np.array(seen.prints)
    if seen.sums_ns:  # known after the interval in whose middle they are drawn: at the mark of then
        path = seen.marks()
        found[:, 3] = path[np.clip(np.searchsorted(path[:, 0], found[:, 0]), 0, len(path) - 1), 3]
    slot = np.clip((found[:, 0].astype(np.int64) - seen.start_ns - 1) // seen.slot_ns, -1, seen.count)
    inside = (slot >= 0) & (slot < seen.count) & (found[:, 2] > 0)
    amounts = np.zeros((2, seen.count))
    places = np.zeros((2, seen.count))
    side = found[:, 1].astype(np.int64)
    np.add.at(amounts, (side[inside], slot[inside]), found[inside, 2])
    np.add.at(places, (side[inside], slot[inside]), found[inside, 2] * found[inside, 3])
    most = float(amounts.max(initial=0.0))
    layers = []
    middles = (seen.edges()[:-1] + seen.edges()[1:]) // 2
    kinds: tuple[tuple[str, Symbol], ...] = (("longs liquidated", "down"), ("shorts liquidated", "up"))
    for s, (name, symbol) in enumerate(kinds):
        at = np.flatnonzero(amounts[s] > 0)
        usd = amounts[s, at]
        texts = tuple(f"{value:,.0f} USD of {name}" for value in usd.tolist())
        label = f"{name} (largest {amounts[s].max() / MILLION:,.2g} M USD)" if at.size else name
        price, area = places[s, at] / usd, 3 + AREA * usd / most
        layers.append(Marks(middles[at], price, area, label, COLOURS[s], symbol, texts))
    return layers


def _views(seen: Seen, scale: Scale) -> list[Layer]:
    """What was opened within each window on top of what is younger, then the older rest."""
    atlas, snapshot = seen.kept_atlas, seen.columns[max(seen.columns)]
    hours = sorted(atlas.spec.map.view_hours)
    held = [venue.liquidation for venue in atlas.venues if venue.open_interest_base > 0]
    factor = snapshot.mark / MILLION
    within = []
    for window in hours:
        rows = [scale.cut(one.view(window).sum(axis=0), one.origin) for one in held]
        within.append(scale.per_mille(np.nansum(rows, axis=0)) * factor)
    coins = absolute(seen, "liquidation", scale.low_bin, scale.high_bin)[:, max(seen.columns)]
    total = scale.per_mille(coins) * factor
    layers: list[Layer] = []
    base = np.zeros(len(total))
    names = [f"opened within {hours_name(window)}" for window in hours]
    for i, (name, level) in enumerate(zip([*names, "older"], [*within, total], strict=True)):
        colour = SEQUENCE[round(i * (len(SEQUENCE) - 1) / max(len(names), 1))]
        value = np.maximum(np.where(np.isfinite(level), level, base) - base, 0.0)
        layers.append(Bars(scale.prices(), value, scale.heights(), name, colour, base.copy(), "million USD"))
        base = base + value
    return [*layers, Level(snapshot.mark, "mark")]


def _zone_strips(seen: Seen) -> list[Layer]:
    """The zones of the last column, with what they hold."""
    layers: list[Layer] = []
    for zone in seen.zones[-1][1]:
        low, high = (math.exp(zone[name] * seen.bin_log) for name in ("low_bin", "end_bin"))
        usd = f"{zone['mass_usd'] / MILLION:,.1f} M USD, {zone['mass_share']:.1%} of OI"
        layers.append(Strip(low, high, usd, COLOURS[int(zone["side"])]))
    return layers


def flag_spans(seen: Seen) -> tuple[tuple[str, ...], tuple[Layer, ...]]:
    """Names of the patterns that were up, and the stretches in their rows."""
    shown = sorted({pattern for pattern, _ in seen.flags}, reverse=True)
    layers: list[Layer] = []
    for side, name in enumerate(("below the mark: longs' side", "above it: shorts' side")):
        found = [
            (start, end, shown.index(pattern), seen.reasons[pattern, side, start])
            for (pattern, s), spans in sorted(seen.flags.items())
            if s == side
            for start, end in spans
        ]
        if found:
            starts, ends, row, texts = zip(*found, strict=True)
            layers.append(Spans(np.array(starts), np.array(ends), np.array(row), side, name, texts))
    return tuple(NAMES[pattern].replace("_", " ") for pattern in shown), tuple(layers)


def _caption(seen: Seen) -> str:
    """What is shown, since when, and what is missing."""
    parts = [
        f"All venues ({', '.join(seen.kept_atlas.names)}), leverages by their prior weights; folded since "
        f"{utc(seen.first_ns)}: what was opened before is in no map.",
        "Longs are liquidated below the mark, shorts above it. Hatched: the map does not reach there, or no step was "
        "recorded; that is not zero.",
    ]
    spec = seen.kept_atlas.spec
    if spec.market.mark is None:
        parts.append("The last price stands for the mark.")
    if spec.map.open_interest == "volume":
        parts.append("Open interest is not read: deposits follow volume, and amounts rest on a slow mean of it.")
    if seen.prints and not seen.sums_ns:
        parts.append("Liquidations are drawn at the price that the venue prints: bankruptcy or fill.")
    if not seen.heard:
        parts.append("Liquidations were not recorded.")
    elif seen.sums_ns:
        parts.append(
            f"Liquidations are sums over up to {seen.sums_ns // 60_000_000_000} minutes, drawn in their middle."
        )
    elif not seen.complete:
        parts.append("Not every venue tells all its liquidations: what is drawn is a lower bound.")
    return " ".join(parts)
