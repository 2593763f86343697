"""How a scalper, a day trader and a swing trader read the maps: which first, over what time, how far from the price."""

from typing import Literal

import msgspec

from squeeze.errors import ConfigError
from squeeze.heatmaps.protocol import hours_name
from squeeze.spec import Spec
from squeeze.strict import Strict, require
from squeeze.tools.fold import with_atlas

ProfileName = Literal["scalp", "day", "swing"]
MapName = Literal["order book", "liquidation", "volume profile", "open interest", "funding"]


class Profile(Strict, frozen=True, kw_only=True):
    """One way to trade, and the maps that suit it. The guide's words where it has any, else a choice [D]."""

    name: ProfileName
    held: str
    """How long such a trade is held, in words."""
    maps: tuple[MapName, ...]
    """The maps to read, the first one first."""
    horizon_minutes: int
    """How far ahead is asked about."""
    map_hours: float
    """The view of the liquidation map that suits it: what was opened within so long."""
    volume_hours: float
    """Window of the volume profile."""
    window_hours: float
    """What the figure shows, and over which sweeps are listed."""
    compare_hours: float
    """How long ago the map was as it is compared with."""
    reach_log: float
    """How far from the mark zones count."""
    finest_seconds: int
    """The step that a market without a run file is folded by, or its bars' length if that is longer."""
    coarsest_seconds: int
    """Longer steps are too coarse for it."""
    stale_days: float
    """Mass older than this says little about the horizon (domain.md §4.2, 12)."""
    history_days: float
    """How much of the lake is folded first."""

    def __post_init__(self) -> None:
        require(len(self.maps) > 0 and self.horizon_minutes > 0, "maps are named, horizon_minutes is positive")
        require(min(self.map_hours, self.volume_hours, self.window_hours) > 0, "windows are positive")
        require(0 < self.compare_hours <= self.window_hours, "compare_hours lie within the window")


PROFILES = {
    one.name: one
    for one in (
        Profile(
            name="scalp", held="minutes to an hour",
            maps=("order book", "liquidation", "volume profile", "funding"),
            horizon_minutes=60, map_hours=24.0, volume_hours=24.0, window_hours=6.0, compare_hours=1.0, reach_log=0.01,
            finest_seconds=60, coarsest_seconds=60, stale_days=1.0, history_days=14.0,
        ),
        Profile(
            name="day", held="hours to a day",
            maps=("liquidation", "order book", "volume profile", "open interest", "funding"),
            horizon_minutes=1440, map_hours=24.0, volume_hours=24.0, window_hours=24.0, compare_hours=24.0,
            reach_log=0.03, finest_seconds=60, coarsest_seconds=900, stale_days=7.0, history_days=14.0,
        ),
        Profile(
            name="swing", held="days to weeks",
            maps=("liquidation", "volume profile", "open interest", "funding"),
            horizon_minutes=10080, map_hours=168.0, volume_hours=720.0, window_hours=168.0, compare_hours=168.0,
            reach_log=0.08, finest_seconds=900, coarsest_seconds=3600, stale_days=30.0, history_days=45.0,
        ),
    )
}  # fmt: skip


def profiled(spec: Spec, profile: Profile) -> Spec:
    """The spec with an atlas whose staleness is judged for the profile's horizon.

    `ConfigError` where a run's own windows have none that suits the profile.
    """
    spec = with_atlas(spec)
    assert spec.atlas is not None  # noqa: S101
    for name, hours, windows in (
        ("map.view_hours", profile.map_hours, spec.map.view_hours),
        ("atlas.volume_profile.windows_hours", profile.volume_hours, spec.atlas.volume_profile.windows_hours),
    ):
        if hours not in windows:
            there = ", ".join(hours_name(one) for one in windows)
            raise ConfigError(f"{name}: the profile {profile.name} reads {hours_name(hours)}, there are {there}")
    stale = msgspec.structs.replace(
        spec.atlas.patterns.stale_timeframe,
        horizon_minutes=float(min(profile.horizon_minutes, 1440)),
        short_limit_days=min(profile.stale_days, 1.0),
        long_limit_days=profile.stale_days,
    )
    patterns = msgspec.structs.replace(spec.atlas.patterns, stale_timeframe=stale)
    return msgspec.structs.replace(spec, atlas=msgspec.structs.replace(spec.atlas, patterns=patterns))
