"""Stops and taker flow by price, beside the price itself."""

import numpy as np

from squeeze.heatmaps.protocol import hours_name
from squeeze.tools.pictures.gather import Seen
from squeeze.tools.pictures.panel import INK, LONG, SHORT, Bars, Layer, Level, Line, Panel, Picture
from squeeze.tools.pictures.scales import Scale, profile_of, with_breaks


def flow_picture(seen: Seen, scale: Scale, title: str) -> Picture:
    """Price, density of stops, and what takers bought and sold, fading."""
    atlas = seen.kept_atlas
    path, y_range = seen.marks(), scale.range()
    mark = float(path[-1, 3])
    x, price = with_breaks(path[:, 0].astype(np.int64), path[:, 3], seen.step_ns)
    main = Panel(
        (Line(x, price, "mark price", INK, 1.4), Level(mark, "")), title="mark price", x_title="time (UTC)",
        y_title="price (quote currency)", x_range=(float(seen.start_ns), float(seen.end_ns)), y_range=y_range,
        is_time=True,
    )  # fmt: skip
    flow = atlas.venues[0].flow
    names = [hours_name(minutes / 60) for minutes in flow.spec.half_lives_minutes]
    panels = [_stops(seen, scale, mark, y_range)]
    panels += [_taken(seen, scale, name, y_range) for name in names]
    caption = (
        f"{atlas.names[0]} alone. Stops are an estimate: beyond round numbers and recent extremes, each side summing "
        f"to one within {atlas.stops.spec.reach_log:.0%} of the mark; nobody publishes where they rest. Taker flow "
        "fades with the half-life named above it; the net is what buys exceed sells by."
        + (" Trades came as bars: their volume is spread evenly from low to high." if flow.volume_uniform else "")
    )
    widths = (2.6, *(1.0 for _ in panels))
    return Picture("stops-and-flow", f"{title}: stops and taker flow", caption, ((main, *panels),), widths, (1.0,))


def _stops(seen: Seen, scale: Scale, mark: float, y_range: tuple[float, float]) -> Panel:
    stops, bins = seen.kept_atlas.stops, round(seen.kept_atlas.stops.spec.reach_log / seen.bin_log)
    share = stops.outward(mark, seen.bin_log, bins)[:, 0]
    title, x_title = "stop orders, estimated", "% of a side's stops per 0.1 %"
    if not np.isfinite(share).any():
        return Panel((), title, x_title, y_range=y_range, note="not recorded")
    layers: list[Layer] = []
    middles = (np.arange(bins) + 0.5) * seen.bin_log
    for side, (sign, name, colour) in enumerate(((-1, "sell stops", LONG), (1, "buy stops", SHORT))):
        price = mark * np.exp(sign * middles)
        density = np.nan_to_num(scale.per_mille(share[side])) * 100
        layers.append(Bars(price, density, price * seen.bin_log, name, colour, None, "%"))
    return Panel((*layers, Level(mark, "mark")), title, x_title, y_range=y_range)


def _taken(seen: Seen, scale: Scale, name: str, y_range: tuple[float, float]) -> Panel:
    flow = seen.kept_atlas.venues[0].flow
    title, x_title = f"taker flow, half-life {name}", "◂ sold   bought ▸\ncoins per 0.1 %"
    if flow.stale:
        return Panel((), title, x_title, y_range=y_range, note="not recorded")
    shown = profile_of(seen, scale, flow)
    toward, away = f"taker_toward_{name}", f"taker_away_{name}"
    bought, sold = shown.either(away, toward), shown.either(toward, away)
    prices, heights = shown.prices, shown.heights
    layers: list[Layer] = [
        Bars(prices, bought, heights, "takers bought", SHORT, None, "coins"),
        Bars(prices, -sold, heights, "takers sold", LONG, None, "coins"),
        Line(bought - sold, prices, "net", INK, 1.2),
        Level(seen.marks()[-1, 3], "mark"),
    ]
    return Panel(tuple(layers), title, x_title, y_range=y_range)
