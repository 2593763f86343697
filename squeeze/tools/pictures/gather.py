"""What pictures show of a market, gathered while it is folded: maps by column, zones, walls, patterns, liquidations.

All of a column was known at its end; the profiles beside it are of the last step. Nothing here decides how it looks.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from squeeze.atlas import Atlas
from squeeze.errors import DataError
from squeeze.market.events import HOUR_NS, Liquidation, Quality
from squeeze.patterns.catalogue import NAMES
from squeeze.patterns.scene import WALL, ZONE
from squeeze.tools.drawing import COLUMNS
from squeeze.tools.fold import Folded
from squeeze.tools.snapshot import Snapshot, snapshot_of


@dataclass(eq=False)
class Seen:
    """One market from `start_ns` to `end_ns`; times are closes."""

    symbol: str
    step_ns: int
    start_ns: int
    end_ns: int
    slot_ns: int
    """Length of a column."""
    first_ns: int = 0
    """Close of the first step that was folded: what happened before is in no map."""
    atlas: Atlas | None = None
    """As it stands after the last step."""
    columns: dict[int, Snapshot] = field(default_factory=dict)
    """By number of the slot: the last snapshot in it."""
    path: list[tuple[float, ...]] = field(default_factory=list)
    """(close, low, high, mark, open interest, point of control) of each step with a mark in the window."""
    zones: list[tuple[int, np.ndarray]] = field(default_factory=list)
    """Close and ZONE records, a column each."""
    walls: dict[tuple[int, int, int, int], np.void] = field(default_factory=dict)
    """The newest record of each wall: by side, venue, bin and birth."""
    flags: dict[tuple[int, int], list[list[int]]] = field(default_factory=dict)
    """By pattern and side: start and end of each stretch of steps with the flag up."""
    reasons: dict[tuple[int, int, int], str] = field(default_factory=dict)
    """What a pattern said when its flag went up: by pattern, side and start."""
    prints: list[tuple[int, int, float, float]] = field(default_factory=list)
    """(time, side, USD, price) of liquidations; the mark stands for a price that was not said."""
    sums_ns: int = 0
    """Where liquidations came as sums: their longest cadence. 0: as prints."""
    heard: bool = False
    """Whether any venue tells liquidations at all."""
    complete: bool = True
    """Whether every venue's feed is known to give all of them."""

    @property
    def bin_log(self) -> float:
        """Width of a grid bin in log price."""
        return self.kept_atlas.spec.map.bin_log

    @property
    def kept_atlas(self) -> Atlas:
        """The atlas; `DataError` where no step in the window had a mark."""
        if self.atlas is None or not self.columns:
            raise DataError(f"{self.symbol}: no step with a mark and open interest between the two times")
        return self.atlas

    def marks(self) -> np.ndarray:
        """(step, 6): `path`."""
        return np.array(self.path).reshape(-1, 6)

    def edges(self) -> np.ndarray:
        """(column + 1): times at which columns begin and end."""
        return self.start_ns + np.arange(self.count + 1) * self.slot_ns

    @property
    def count(self) -> int:
        """Number of columns."""
        return -(-(self.end_ns - self.start_ns) // self.slot_ns)


def gather(steps: Iterable[Folded], end_ns: int, hours: float, columns: int = COLUMNS) -> Seen:
    """Fold up to `end_ns` and keep what the last `hours` show, in at most so many columns.

    `DataError` if the steps end before the window begins, or none in it has a mark and open interest.
    """
    seen: Seen | None = None
    for one in steps:
        if one.step.close_ns > end_ns:
            break
        if seen is None:
            seen = _begin(one, end_ns, hours, columns)
        if one.step.close_ns > seen.start_ns:
            _take(seen, one)
        if one.step.close_ns + one.step.length_ns > end_ns:  # the next step would change the state that is shown
            break
    if seen is None:
        raise DataError("no step at all before the time that was asked for")
    _ = seen.kept_atlas
    return seen


def _begin(one: Folded, end_ns: int, hours: float, columns: int) -> Seen:
    step_ns = one.step.length_ns
    window_ns = max(step_ns, round(hours * HOUR_NS))
    slot_ns = step_ns * max(1, -(-window_ns // (step_ns * columns)))
    start_ns = max(end_ns - window_ns, one.step.close_ns - step_ns)
    return Seen(one.step.symbol, step_ns, start_ns, end_ns, slot_ns, one.step.close_ns)


def _take(seen: Seen, one: Folded) -> None:
    frame, atlas = one.frame, one.state.atlas
    if atlas is None:
        raise DataError("pictures need an atlas in the spec")
    close_ns = one.step.close_ns
    mark = frame.mark.close
    _take_liquidations(seen, one, atlas, mark)
    snapshot = snapshot_of(one.state, frame)
    if snapshot is None or atlas.scene is None or frame.page is None:
        return
    seen.atlas = atlas
    slot = (close_ns - 1 - seen.start_ns) // seen.slot_ns
    is_new = slot not in seen.columns
    seen.columns[slot] = snapshot
    scene = frame.page.scene
    control = atlas.venues[0].volume.path(0)
    interest = float(scene.now["open_interest_base"][0])
    seen.path.append(
        (close_ns, frame.mark.low, frame.mark.high, mark, interest, math.exp(control[-1]) if control.size else math.nan)
    )
    if is_new:
        seen.zones.append((close_ns, scene.zones))
    for wall in scene.walls:
        seen.walls[int(wall["side"]), int(wall["venue"]), int(wall["bin"]), int(wall["born_ns"])] = wall
    _take_flags(seen, close_ns, frame.page.found["flag"], one)


def _take_flags(seen: Seen, close_ns: int, flags: np.ndarray, one: Folded) -> None:
    begun = []
    for pattern, side in np.argwhere(flags > 0).tolist():
        spans = seen.flags.setdefault((pattern, side), [])
        if spans and spans[-1][1] == close_ns - seen.step_ns:
            spans[-1][1] = close_ns
        else:
            spans.append([close_ns - seen.step_ns, close_ns])
            begun.append((pattern, side))
    if begun and one.frame.page is not None:
        said = {(NAMES.index(f.pattern), f.side): f.reason for f in one.frame.page.findings()}
        for pattern, side in begun:
            seen.reasons[pattern, side, seen.flags[pattern, side][-1][0]] = said[pattern, side]


def _take_liquidations(seen: Seen, one: Folded, atlas: Atlas, mark: float) -> None:
    merged = atlas.spec.market.liquidations
    heard = [venue.name for venue in atlas.venues if venue.hears_liquidations]
    heard += [] if merged is None or merged.venue in atlas.names else [merged.venue]  # several venues' in one sum
    seen.heard = bool(heard)
    for name in heard:
        part = one.step.venue(name)
        if part.liquidations_completeness is not None or part.liquidations:
            seen.complete &= part.liquidations_completeness == Quality.GOOD
        for record in part.liquidations:
            if isinstance(record, Liquidation):
                price = record.price if math.isfinite(record.price) and record.price > 0 else mark
                seen.prints.append((record.event_ns, record.side, record.usd, price))
            else:
                seen.sums_ns = max(seen.sums_ns, record.cadence_ns)
                for side, usd in enumerate((record.long_usd, record.short_usd)):
                    seen.prints.append((record.event_ns - record.cadence_ns // 2, side, usd, mark))


def absolute(seen: Seen, name: str, low_bin: int, high_bin: int) -> np.ndarray:
    """(bin, column) of one map on absolute bins [low_bin, high_bin); NaN where not recorded or beyond its reach.

    The mark's own bin is on both sides: of the liquidation map and the book each side has its own part of it.
    """
    out = np.full((high_bin - low_bin, seen.count), np.nan)
    adds = name in ("liquidation", "book")
    for column, snapshot in seen.columns.items():
        outward = getattr(snapshot, name).astype(float)
        bins = outward.shape[1]
        row = np.concatenate([outward[0, :0:-1], [np.nan], outward[1, 1:]])
        own = outward[:, 0]
        row[bins - 1] = own[0] if not adds else math.nan if np.isnan(own).all() else float(np.nansum(own))
        first = snapshot.mark_bin - bins + 1 - low_bin
        start, stop = max(first, 0), min(first + len(row), len(out))
        if stop > start:
            out[start:stop, column] = row[start - first : stop - first]
    return out


def zone_records(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Close and record of every zone of every column."""
    if not any(len(zones) for _, zones in seen.zones):
        return np.zeros(0, np.int64), np.zeros(0, ZONE)
    closes = np.repeat([ns for ns, _ in seen.zones], [len(zones) for _, zones in seen.zones])
    return closes, np.concatenate([zones for _, zones in seen.zones])


def wall_records(seen: Seen) -> np.ndarray:
    """The newest record of every wall that stood in the window."""
    out = np.zeros(len(seen.walls), WALL)
    for i, wall in enumerate(seen.walls.values()):
        out[i] = wall
    return out
