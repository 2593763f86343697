"""The one figure of a reading: the profile's first map over time, the others beside it, patterns and funding beneath.

Its panels are those of `squeeze plot`. The numbers in their titles are the guide's steps that they answer.
"""

import math
from dataclasses import replace

import numpy as np

from squeeze.tools.pictures.book import book_picture
from squeeze.tools.pictures.funding import funding_picture
from squeeze.tools.pictures.liquidation import liquidation_picture, zone_lines
from squeeze.tools.pictures.panel import Layer, Level, Line, Panel, Picture
from squeeze.tools.pictures.scales import Scale, utc
from squeeze.tools.pictures.volume import volume_picture
from squeeze.tools.reading.clusters import edge
from squeeze.tools.reading.gather import Reading
from squeeze.tools.reading.predictions import Prediction

VOID, LEVEL = "#56B4E9", "#CC79A7"


def figure(reading: Reading, predictions: tuple[Prediction, ...] = (), began_ns: int | None = None) -> Picture:
    """The picture of a reading; with `began_ns` that of its outcome: what was predicted then, and what came."""
    seen, profile = reading.seen, reading.profile
    scale = Scale.of(seen, profile.reach_log)
    liquidation = liquidation_picture(seen, scale, "")
    book, volume = book_picture(seen, scale, ""), volume_picture(seen, scale, "")
    main, lane = _panel(liquidation, 0, 0), _panel(liquidation, 1, 0)
    by_book = profile.maps[0] == "order book" and any(np.isfinite(one.book).any() for one in seen.columns.values())
    heat = "order book over time (1, 3, 5)" if by_book else "liquidation map over time (1, 3, 4, 6, 9)"
    y_range = scale.range()
    extra = [*_void_strips(reading), *_predicted(reading, predictions, began_ns)]
    if by_book:
        main = _panel(book, 0, 0)
        extra = [*zone_lines(seen), *extra]
    main = replace(main, title="", x_title="", y_range=y_range, layers=(*main.layers, *extra), has_legend=not by_book)
    windows = seen.kept_atlas.venues[0].volume.spec.windows_hours
    beside = (
        replace(
            _panel(liquidation, 0, 1), title="by age (2, 3)", has_legend=True, x_title="M USD per 0.1 %",
            y_range=y_range,
        ),
        replace(_panel(volume, 0, 1 + windows.index(profile.volume_hours)),
                title=f"volume, {profile.volume_hours / 24:g} d (5, 7)", y_range=y_range, has_legend=False),
        replace(_panel(book, 0, 1), title="newest book (5)", x_title="M USD per 0.1 %", y_range=y_range,
                has_legend=False),
    )  # fmt: skip
    below = (replace(lane, title="patterns that were up (3 to 9)", x_title=""), None, None, None)
    paid = (_funding_panel(reading), None, None, None)
    rows = max(len(lane.rows), 3)
    when = utc(reading.at_ns)
    what = f"read for a {profile.name} trade" if began_ns is None else f"outcome of what was read at {utc(began_ns)}"
    return Picture(
        "reading", f"{seen.symbol}, {reading.source}, {what}, {when}: {heat}",
        _caption(reading, liquidation.caption, by_book), ((main, *beside), below, paid), (4.6, 1.0, 1.0, 0.8),
        (4.2, 0.45 + 0.11 * rows, 0.8), (17.0, 11.0),
    )  # fmt: skip


def _panel(picture: Picture, row: int, column: int) -> Panel:
    panel = picture.grid[row][column]
    assert panel is not None  # noqa: S101
    return panel


def _void_strips(reading: Reading) -> list[Layer]:
    """The voids as they are at the end, drawn over the last tenth of the time, where they hold."""
    lines: list[Layer] = []
    begin = reading.seen.end_ns - (reading.seen.end_ns - reading.seen.start_ns) // 10
    x = np.array([begin, reading.seen.end_ns, reading.seen.end_ns], dtype=np.int64)
    for side in range(2):
        for near, far in reading.voids[side].tolist():
            for distance in (near, far):
                y = np.array([edge(reading, side, distance)] * 2 + [math.nan])
                lines.append(Line(x, y, "edge of a void", VOID, 1.4, outline=True))
    return lines


def _predicted(reading: Reading, predictions: tuple[Prediction, ...], began_ns: int | None) -> list[Layer]:
    """Levels that predictions name, and where the reading ended that made them."""
    low, high = Scale.of(reading.seen, reading.profile.reach_log).range()
    named: dict[float, list[str]] = {}
    for one in predictions:
        level = one.far if one.kind == "swept" else one.near
        if level is not None and low < level < high:
            named.setdefault(level, []).append(f"{one.kind}?")
    layers: list[Layer] = [Level(level, " ".join(names), LEVEL, dash=True) for level, names in named.items()]
    if began_ns is not None and began_ns > reading.seen.start_ns:
        x = np.array([began_ns, began_ns], dtype=np.int64)
        layers.append(Line(x, np.array([low, high]), "when it was read", "#FFFFFF", 1.2, dash=True, outline=True))
    return layers


def _funding_panel(reading: Reading) -> Panel:
    lines = _panel(funding_picture(reading.seen, ""), 2, 0)
    is_told = any(isinstance(layer, Line) and layer.name for layer in lines.layers)
    return replace(
        lines, title="funding (8)", y_title="bp per 8 h",
        note="" if is_told else "funding was not recorded",
    )  # fmt: skip


def _caption(reading: Reading, of_map: str, by_book: bool) -> str:
    missing = ", ".join(reading.warnings())
    walls = (
        " Walls, bids blue and asks orange, end as square standing, circle filled, cross pulled, diamond refilled, "
        "triangle expired; white lines are the edges of liquidation zones."
    )
    lines = " Dashed: levels whose touch or sweep is predicted. Numbers in brackets are the steps of the guide."
    poorer = f" Poorer or stale inputs: {missing.replace('_', ' ')}." if missing else ""
    return of_map + walls * by_book + lines + poorer
