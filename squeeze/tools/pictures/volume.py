"""The volume profile: its first window over time, and every window now, with what traders read from it."""

import numpy as np

from squeeze.heatmaps.protocol import hours_name
from squeeze.tools.pictures.gather import Seen
from squeeze.tools.pictures.panel import QUIET, Bars, Layer, Level, Line, Panel, Picture, Strip
from squeeze.tools.pictures.scales import Scale, heat_of, mark_line, profile_of, with_breaks

HIGH, LOW, AREA = "#E69F00", "#56B4E9", "#0072B2"
BAR = "#8A93A0"


def volume_picture(seen: Seen, scale: Scale, title: str) -> Picture:
    """Heat with the path of the point of control; one profile for each window."""
    atlas = seen.kept_atlas
    profile = atlas.venues[0].volume
    names = [hours_name(hours) for hours in profile.spec.windows_hours]
    heat = heat_of(seen, scale, "volume", f"coins traded within {names[0]} per 0.1 % of price", 1.0)
    path = seen.marks()
    x, control = with_breaks(path[:, 0].astype(np.int64), path[:, 5], seen.step_ns)
    y_range = scale.range()
    main = Panel(
        (heat, mark_line(seen), Line(x, control, "point of control", HIGH, 2.0, step=True)),
        title=f"volume of the last {names[0]}, {atlas.names[0]}", x_title="time (UTC)",
        y_title="price (quote currency)", x_range=(float(seen.start_ns), float(seen.end_ns)), y_range=y_range,
        is_time=True,
    )  # fmt: skip
    beside = [_profile(seen, scale, window, name, y_range) for window, name in enumerate(names)]
    coverage = ", ".join(f"{share:.0%} of {name}" for share, name in zip(profile.coverage.tolist(), names, strict=True))
    spread = " Volume came as bars and is spread evenly from low to high." if profile.volume_uniform else ""
    caption = (
        f"{atlas.names[0]} alone. Recorded: {coverage}. The value area holds {profile.spec.value_share:.0%} of the "
        f"volume around the point of control; high and low volume nodes stand out from what is beside them; in a void "
        f"hardly anything traded.{spread} Hatched: not recorded."
    )
    widths = (4.0, *(1.0 for _ in names))
    return Picture("volume-profile", f"{title}: volume profile", caption, ((main, *beside),), widths, (1.0,))


def _profile(seen: Seen, scale: Scale, window: int, name: str, y_range: tuple[float, float]) -> Panel:
    profile = seen.kept_atlas.venues[0].volume
    title, x_title = f"last {name}", "coins per 0.1 %"
    channel = profile.channels[window]
    if not profile.coverage[window] > 0:
        return Panel((), title, x_title, y_range=y_range, note="not recorded")
    shown = profile_of(seen, scale, profile)
    low, high = profile.value_area(window)
    layers: list[Layer] = [Strip(low, high, "value area", AREA, in_legend=True)]
    layers += [Strip(a, b, "void", QUIET, in_legend=True) for a, b in profile.voids(window).tolist()]
    layers.append(Bars(shown.prices, shown.either(channel, channel), shown.heights, "volume", BAR, None, "coins"))
    nodes_high, nodes_low = profile.nodes(window)
    layers += [Level(price, "high volume node", HIGH, dash=True, in_legend=True) for price in nodes_high.tolist()]
    layers += [Level(price, "low volume node", LOW, dash=True, in_legend=True) for price in nodes_low.tolist()]
    layers.append(Level(profile.point_of_control(window), "point of control", HIGH, in_legend=True))
    layers.append(Level(seen.marks()[-1, 3], "mark"))
    return Panel(tuple(layers), title, x_title, y_range=y_range, has_legend=window == len(profile.channels) - 1)
