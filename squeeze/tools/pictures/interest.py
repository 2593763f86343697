"""Open interest by price: what was opened and is open, the net change, and the four quadrants."""

import numpy as np

from squeeze.heatmaps.protocol import hours_name
from squeeze.tools.pictures.gather import Seen
from squeeze.tools.pictures.panel import INK, LONG, SHORT, Bars, Layer, Level, Line, Panel, Picture
from squeeze.tools.pictures.scales import Profile, Scale, heat_of, mark_line, profile_of, with_breaks

QUADRANTS = (
    ("away_opened", "toward_opened", "opened while price rose", SHORT, 1),
    ("toward_opened", "away_opened", "opened while price fell", "#56B4E9", 1),
    ("away_closed", "toward_closed", "closed while price rose", "#E69F00", -1),
    ("toward_closed", "away_closed", "closed while price fell", LONG, -1),
)
"""The channel below the mark, and the one above it: toward a side's prices is down there, and up here."""
OPEN = "#8FC1E3"
CLOSED_OPENED = "◂ closed   opened ▸\ncoins per 0.1 %"


def interest_picture(seen: Seen, scale: Scale, title: str) -> Picture:
    """Heat of what was opened, open interest beneath; profiles of each window, and quadrants of the second."""
    atlas = seen.kept_atlas
    interest = atlas.venues[0].interest
    names = [hours_name(hours) for hours in interest.spec.windows_hours]
    second = min(1, len(names) - 1)
    label = f"coins opened within {names[second]} and still open, per 0.1 % of price"
    heat = heat_of(seen, scale, "interest", label, 1.0)
    path, time, y_range = seen.marks(), (float(seen.start_ns), float(seen.end_ns)), scale.range()
    x, total = with_breaks(path[:, 0].astype(np.int64), path[:, 4], seen.step_ns)
    main = Panel(
        (heat, mark_line(seen)), title=f"open interest by price, {atlas.names[0]}", y_title="price (quote currency)",
        x_range=time, y_range=y_range, is_time=True,
    )  # fmt: skip
    is_read = atlas.spec.map.open_interest != "volume"
    told_by = (
        "open interest of all venues" if is_read else "not open interest, but the slow mean of volume in its place"
    )
    lane = Panel(
        (Line(x, total, "coins", INK, step=True),), title=told_by, x_title="time (UTC)",
        y_title="coins", x_range=time, is_time=True,
    )  # fmt: skip
    shown, mark = profile_of(seen, scale, interest), float(path[-1, 3])
    beside = [_opened(shown, name, mark, y_range, name == names[0]) for name in names]
    beside.append(_quadrants(shown, names[second], mark, y_range))
    told = dict(zip(interest.scalar_names, interest.scalars()[0].tolist(), strict=True))
    coverage = ", ".join(f"{told[f'coverage_{name}']:.0%} of {name}" for name in names)
    caption = (
        f"{atlas.names[0]} alone: a change of open interest is put where volume was traded since the stamp before, "
        f"which is a usual proxy; no exchange publishes it. Recorded: {coverage}. Jumps taken for a change of counting "
        f"and left out: {interest.counting_changes}; changes without recorded volume: {interest.without_volume}. "
        "Hatched: not recorded."
    )
    grid = ((main, *beside), (lane, *(None for _ in beside)))
    widths = (4.0, *(1.0 for _ in beside))
    return Picture("open-interest", f"{title}: open interest by price", caption, grid, widths, (4.0, 1.0))


def _opened(shown: Profile, name: str, mark: float, y_range: tuple[float, float], has_legend: bool) -> Panel:
    title = f"last {name}"
    if not np.isfinite(shown.cells[f"net_{name}"]).any():
        return Panel((), title, "coins per 0.1 %", y_range=y_range, note="not recorded")
    opened, net = (shown.either(f"{kind}_{name}", f"{kind}_{name}") for kind in ("opened", "net"))
    layers: list[Layer] = [
        Bars(shown.prices, opened, shown.heights, "opened, still open", OPEN, None, "coins"),
        Line(net, shown.prices, "net change", INK, 0.9),
        Level(mark, "mark"),
    ]
    return Panel(tuple(layers), title, "coins per 0.1 %", y_range=y_range, has_legend=has_legend)


def _quadrants(shown: Profile, name: str, mark: float, y_range: tuple[float, float]) -> Panel:
    title = f"quadrants, last {name}"
    if not np.isfinite(shown.cells[f"net_{name}"]).any():
        return Panel((), title, CLOSED_OPENED, y_range=y_range, note="not recorded")
    base = {1: np.zeros(len(shown.prices)), -1: np.zeros(len(shown.prices))}
    layers: list[Layer] = []
    for below, above, label, colour, sign in QUADRANTS:
        coins = sign * shown.either(f"{below}_{name}", f"{above}_{name}")
        layers.append(Bars(shown.prices, coins, shown.heights, label, colour, base[sign].copy(), "coins"))
        base[sign] = base[sign] + coins
    return Panel((*layers, Level(mark, "mark")), title, CLOSED_OPENED, y_range=y_range)
