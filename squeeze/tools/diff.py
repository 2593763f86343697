"""What has become of the liquidation map between two times: zones that appeared, grew, moved, shrank or vanished.

Zones are looked for in both snapshots and matched by the tracker itself, in two steps without grace: by overlap, else
by the distance of their centroids. How one ended is said by the mark's range in between, as far as that was kept.
"""

import math
from typing import Literal

import msgspec
import numpy as np

from squeeze.errors import ConfigError
from squeeze.heatmaps import liquidation_step
from squeeze.patterns.scene import ENDINGS
from squeeze.spec import FrameSpec
from squeeze.strict import Strict, require
from squeeze.tools.snapshot import Snapshot
from squeeze.zones.spec import TrackSpec
from squeeze.zones.track import ZoneTracker

FLOWS = ("opened", "closed", "swept", "aged", "bounded", "recounted", "lost")
"""Coins that went in, and that went out six ways: rows of `Snapshot.coins` after what is held."""
ROUNDING_SHARE = 1e-6
"""Of all coins that ever went through: by more than this no sum is off."""


class DiffSpec(Strict, frozen=True, kw_only=True):
    """What counts as a change of a zone that is there both times."""

    grown_share: float = 0.10
    """It grew, or shrank, if its coins changed by more than this share of the fewer."""
    moved_log: float = 0.001
    """It moved if its centroid did by more than this, in log price."""

    def __post_init__(self) -> None:
        require(self.grown_share >= 0 and self.moved_log >= 0, "grown_share and moved_log are not negative")


class ZoneAt(msgspec.Struct, frozen=True):
    """A zone at one time."""

    price: float
    """At its centroid."""
    low: float
    """Its edges, in quote currency."""
    high: float
    distance_log: float
    """From the mark of that time outward to the centroid; negative would be behind the mark."""
    mass_share: float
    """Of the open interest of that time."""
    mass_base: float
    mass_usd: float
    """At its centroid."""


class ZoneChange(msgspec.Struct, frozen=True):
    """What has become of one zone."""

    side: Literal["long", "short"]
    """Whose liquidations it holds."""
    what: tuple[str, ...]
    """`appeared`; `vanished` and how (`scene.ENDINGS`); or `grew`, `shrank`, `moved`; `stayed` if none of them."""
    before: ZoneAt | None
    after: ZoneAt | None


class SideTotals(msgspec.Struct, frozen=True):
    """Coins of one side, all leverages by the prior weights."""

    side: Literal["long", "short"]
    before_base: float
    """Within reach of the mark."""
    after_base: float
    before_usd: float
    """The same at the mark of that time."""
    after_usd: float
    flows_base: dict[str, float]
    """What went in and out of the whole maps in between; NaN where they were begun anew, and it is not known."""


class Difference(msgspec.Struct, frozen=True):
    """Between two snapshots of one market."""

    before_ns: int
    after_ns: int
    mark_before: float
    mark_after: float
    open_interest_before_base: float
    open_interest_after_base: float
    zones: tuple[ZoneChange, ...]
    """The largest change of USD first."""
    totals: tuple[SideTotals, ...]


def difference(
    before: Snapshot, after: Snapshot, low: float, high: float, frame: FrameSpec, track: TrackSpec,
    spec: DiffSpec | None = None,
) -> Difference:  # fmt: skip
    """What changed from one snapshot to a later one; `low` and `high` bound the mark in between.

    `ConfigError` for snapshots in the wrong order, on other grids, or without a liquidation map.
    """
    if after.close_ns <= before.close_ns:
        raise ConfigError("the second time must come after the first, and show another snapshot")
    if (before.bin_log, before.liquidation.shape) != (after.bin_log, after.liquidation.shape):
        raise ConfigError("the two snapshots are on other grids")
    for one in (before, after):
        if not (np.isfinite(one.liquidation).all() and one.open_interest_base > 0 and one.mark > 0):
            raise ConfigError(f"the liquidation map is not known at {np.datetime64(one.close_ns, 'ns')}")
    changes = _zones(before, after, min(low, after.mark), max(high, after.mark), frame, track, spec or DiffSpec())
    return Difference(
        before.close_ns, after.close_ns, before.mark, after.mark, before.open_interest_base,
        after.open_interest_base, changes, tuple(_totals(before, after, side) for side in range(2)),
    )  # fmt: skip


def _zones(
    before: Snapshot, after: Snapshot, low: float, high: float, frame: FrameSpec, track: TrackSpec, spec: DiffSpec
) -> tuple[ZoneChange, ...]:
    tracker = ZoneTracker(msgspec.structs.replace(track, grace_steps=0), frame, before.bin_log)
    first, _ = _look(tracker, before, before.mark, before.mark)
    second, ended = _look(tracker, after, low, high)
    old = {(int(z["side"]), int(z["id"])): z for z in first}
    changes = []
    for zone in second:
        was = old.get((int(zone["side"]), int(zone["id"])))
        before_at = None if was is None else _at(was)
        changes.append(_change(int(zone["side"]), before_at, _at(zone), "", spec))
    for zone in ended:
        changes.append(_change(int(zone["side"]), _at(zone), None, ENDINGS[int(zone["ending"])], spec))
    return tuple(sorted(changes, key=_weight, reverse=True))


def _look(tracker: ZoneTracker, one: Snapshot, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    share = one.liquidation.astype(float) / one.open_interest_base
    return tracker.step(share, np.zeros_like(share), one.mark, low, high, one.open_interest_base, one.close_ns)


def _at(zone: np.void) -> ZoneAt:
    price = math.exp(zone["place_log"])
    edges = [price * math.exp(sign * (zone[name] - zone["centroid_log"])) for name in ("near_log", "far_log")
             for sign in (-1.0 if zone["side"] == 0 else 1.0,)]  # fmt: skip
    numbers = (float(zone[name]) for name in ("centroid_log", "mass_share", "mass_base", "mass_usd"))
    return ZoneAt(price, min(edges), max(edges), *numbers)


def _change(side: int, before: ZoneAt | None, after: ZoneAt | None, ending: str, spec: DiffSpec) -> ZoneChange:
    if before is None:
        what: tuple[str, ...] = ("appeared",)
    elif after is None:
        what = ("vanished", ending)
    else:
        grown = after.mass_base - before.mass_base
        large = abs(grown) > spec.grown_share * min(before.mass_base, after.mass_base)
        what = (("grew" if grown > 0 else "shrank"),) if large else ()
        what += ("moved",) if abs(math.log(after.price / before.price)) > spec.moved_log else ()
    return ZoneChange("long" if side == 0 else "short", what or ("stayed",), before, after)


def _weight(change: ZoneChange) -> float:
    before, after = (0.0 if one is None else one.mass_usd for one in (change.before, change.after))
    return abs(after - before)


def _totals(before: Snapshot, after: Snapshot, side: int) -> SideTotals:
    held = [float(one.liquidation[side].sum(dtype=float)) for one in (before, after)]
    changed = after.coins[:, side] - before.coins[:, side]
    flows = changed[liquidation_step.OPENED :]
    # Mass is neither made nor lost: where the sum is off, a map was begun anew in between.
    off = changed[liquidation_step.HELD] - flows[0] + flows[1:].sum()
    through = float(after.coins[liquidation_step.OPENED, side])
    if not (abs(off) <= ROUNDING_SHARE * through and (flows[:3] >= 0).all()):
        flows = np.full(len(FLOWS), math.nan)
    return SideTotals(
        "long" if side == 0 else "short", held[0], held[1], held[0] * before.mark, held[1] * after.mark,
        dict(zip(FLOWS, flows.tolist(), strict=True)),
    )  # fmt: skip


def text(found: Difference, symbol: str, base: str = "coins") -> str:
    """The difference for a person: when, the zones, the totals."""
    lines = [
        f"{symbol} from {_utc(found.before_ns)} to {_utc(found.after_ns)}: mark {found.mark_before:,.6g} to "
        f"{found.mark_after:,.6g} ({_percent(math.log(found.mark_after / found.mark_before))}), open interest "
        f"{found.open_interest_before_base:,.6g} to {found.open_interest_after_base:,.6g} {base}",
        "",
        f"{'side':<6}{'what':<24}{'price then':>12}{'now':>12}{'distance then':>15}{'now':>9}"
        f"{'share then':>12}{'now':>9}{'M USD then':>12}{'now':>9}",
    ]
    for change in found.zones:
        cells = [f"{change.side:<6}{' '.join(change.what).replace('_', ' '):<24}"]
        for name, form, widths in (
            ("price", "{:,.6g}", (12, 12)), ("distance_log", "{:.2%}", (15, 9)), ("mass_share", "{:.2%}", (12, 9)),
            ("mass_usd", "{:,.1f}", (12, 9)),
        ):  # fmt: skip
            for one, width in zip((change.before, change.after), widths, strict=True):
                value = None if one is None else getattr(one, name) / (1e6 if name == "mass_usd" else 1)
                cells.append(("–" if value is None else form.format(value)).rjust(width))
        lines.append("".join(cells))
    if not found.zones:
        lines.append("no zone at either time")
    lines += ["", f"{'side':<6}{'within reach then':>19}{'now':>12}" + "".join(f"{name:>11}" for name in FLOWS)]
    for row in found.totals:
        flows = "".join(f"{_coins(value):>11}" for value in row.flows_base.values())
        lines.append(f"{row.side:<6}{_coins(row.before_base):>19}{_coins(row.after_base):>12}{flows}")
    lines.append(f"in {base}, all leverages by their prior weights; in and out of the whole maps: – where not known")
    return "\n".join(lines)


def _utc(ns: int) -> str:
    return f"{np.datetime64(ns, 'ns').astype('datetime64[s]')}Z".replace("T", " ")


def _percent(log: float) -> str:
    return f"{math.expm1(log):+.2%}"


def _coins(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.1f}"
