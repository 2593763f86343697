"""Controls: the same network, seeds and recipe on frames whose map is wrong or absent, or on labels that are.

If the model does not get worse, the heatmap adds nothing (domain.md §5.7). *The map* is every channel, and every scalar
that is read off a map (`groups.read_off_a_map`); plain numbers of a stream, which no price axis made, liquidations,
prices and the clock stay. All controls but `uniform` and `mapless` leave the targets of pre-training as they are: mass
swept from the true map.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from squeeze.market.events import DAY_NS, HOUR_NS
from training import groups
from training.config import RunConfig
from training.controls.views import seen_through, unit_maps, without
from training.examples import Examples
from training.prepare import Prepared, test_blocks

AGE_DAYS = 7
"""How old the map of `week_old` is."""
PERMUTED_HOURS = 37
"""Length of the pieces that `permuted` shuffles: more than a day, so that neighbours stay together, and no whole number
of days, so that the time of day is no clue either.
"""
PERMUTED_SEED = 37


def masked(examples: Examples) -> Examples:
    """No map at all."""
    return without(examples, list(range(len(examples.channel_names))), groups.read_off_a_map(examples.scalar_names))


def masked_channels(examples: Examples) -> Examples:
    """No map over price; the scalars that sum it up stay."""
    return without(examples, list(range(len(examples.channel_names))), [])


def mapless(examples: Examples) -> Examples:
    """No map, and none in the targets: what is asked for is the way the mark went toward danger, not what it swept."""
    high, low, close = (np.log(examples.marks[:, i]) for i in (1, 2, 3))
    before = np.concatenate([close[:1], close[:-1]])
    way = np.stack([np.maximum(before - low, 0.0), np.maximum(high - before, 0.0)], axis=1)
    return replace(masked(examples), swept=np.nan_to_num(way))


def reflected(examples: Examples) -> Examples:
    """The map about the price: each side sees the other's. Bins count outward from the mark on both sides, so that
    swapping them is the reflection.
    """
    at_scalars = groups.read_off_a_map(examples.scalar_names)

    def swapped(at: np.ndarray) -> np.ndarray:
        rows = np.array(examples.scalars[at])
        rows[:, :, at_scalars] = rows[:, ::-1, at_scalars]
        return rows

    return seen_through(examples, lambda at: np.array(examples.channels[at])[:, ::-1].copy(), swapped)


def week_old(examples: Examples) -> Examples:
    """The map of seven days before, at its log distances from the price of then, now taken from that of today.

    Where the volatility of then gave the frame's bins another width, mass is moved to today's bins; beyond the reach of
    then it goes on as dense as in the last bin. Not known in the first week, and where that frame shows nothing.
    """
    closes = examples.closes_ns
    steps = AGE_DAYS * DAY_NS // int(closes[1] - closes[0])
    at_scalars, seen, widths = groups.read_off_a_map(examples.scalar_names), examples.seen, examples.bin_width_log
    absent = np.full(len(examples.channel_names), np.nan, np.float32)
    absent[: unit_maps(examples)] = 0.0

    def before(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        earlier = np.maximum(at - steps, 0)
        return earlier, (at >= steps) & seen[earlier]

    def old_channels(at: np.ndarray) -> np.ndarray:
        earlier, known = before(at)
        rows = np.empty((len(at), *examples.channels.shape[1:]), examples.channels.dtype)
        now = np.where(known & seen[at], widths[at], 1.0)
        rows[:] = rebinned(np.asarray(examples.channels[earlier]), now / np.where(known, widths[earlier], 1.0))
        rows[~known] = absent[:, None]
        return rows

    def old_scalars(at: np.ndarray) -> np.ndarray:
        earlier, known = before(at)
        rows = np.array(examples.scalars[at])
        old = np.asarray(examples.scalars[earlier])[:, :, at_scalars]
        rows[:, :, at_scalars] = np.where(known[:, None, None], old, np.nan)
        return rows

    return seen_through(examples, old_channels, old_scalars)


def rebinned(mass: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Mass by bins outward (row, side, channel, price) in bins `ratio` (row,) times as wide; evenly spread in each bin.

    NaN where the middle of the new bin lies in an old one that is NaN.

    >>> rebinned(np.array([[[[4.0, 2.0, 2.0]]]]), np.array([0.5])).tolist()
    [[[[2.0, 2.0, 1.0]]]]
    """
    bins = mass.shape[-1]
    known = np.nan_to_num(mass)
    running = np.concatenate([np.zeros((*mass.shape[:-1], 1)), known.cumsum(axis=-1)], axis=-1)

    def up_to(edges: np.ndarray) -> Any:
        cell = np.minimum(edges, bins - 1).astype(int)
        part = (edges - cell)[:, None, None, :]
        whole = np.broadcast_to(cell[:, None, None, :], (*mass.shape[:-1], edges.shape[1]))
        return np.take_along_axis(running, whole, -1) + part * np.take_along_axis(known, whole, -1)

    moved = np.diff(up_to(np.arange(bins + 1.0) * ratio[:, None]), axis=-1)
    middles = np.minimum((np.arange(bins) + 0.5) * ratio[:, None], bins - 1).astype(int)
    absent = np.take_along_axis(np.isnan(mass), np.broadcast_to(middles[:, None, None, :], mass.shape), -1)
    found: np.ndarray = np.where(absent, np.nan, moved)
    return found


def permuted(prepared: Prepared) -> Prepared:
    """Labels in pieces of 37 hours, the pieces shuffled: nothing can be learned, and AP must fall to the base rate.

    Rows before the first test block are shuffled among themselves, and so are those from it on: what is scored on
    validation has no label of a test block.
    """
    rows = prepared.rows
    first_test = int(np.flatnonzero(test_blocks(prepared)[0].tests(rows.ts_ns))[0])
    taken = np.concatenate([_in_pieces(rows.ts_ns[:first_test]), first_test + _in_pieces(rows.ts_ns[first_test:])])
    return replace(prepared, rows=replace(rows, truth=rows.truth[taken]))


def _in_pieces(ts_ns: np.ndarray) -> np.ndarray:
    """Positions of rising times, in pieces of `PERMUTED_HOURS` whose order is drawn."""
    piece = (ts_ns - ts_ns[0]) // (PERMUTED_HOURS * HOUR_NS)
    pieces = np.split(np.arange(len(ts_ns)), np.flatnonzero(np.diff(piece)) + 1)
    order = np.random.default_rng(PERMUTED_SEED).permutation(len(pieces))
    return np.concatenate([pieces[i] for i in order])


def _frames(change: Callable[[Examples], Examples]) -> Callable[[Prepared], Prepared]:
    """A change of every series of a run."""
    return lambda prepared: replace(prepared, series=[change(examples) for examples in prepared.series])


def _uniform(config: RunConfig) -> RunConfig:
    return msgspec.structs.replace(
        config, spec=msgspec.structs.replace(config.spec, map=msgspec.structs.replace(config.spec.map, shape="uniform"))
    )


@dataclass(frozen=True, slots=True)
class Control:
    """What is changed before anything is trained."""

    name: str
    says: str
    """What it changes, for tables."""
    prepared: Callable[[Prepared], Prepared] = lambda prepared: prepared
    config: Callable[[RunConfig], RunConfig] | None = None
    """A change that needs the frames folded anew."""
    labels: bool = False
    """Whether the labels are changed: then it is compared with the base rate, not with the model."""


FULL = Control("full", "the model as it is")
CONTROLS = {
    control.name: control
    for control in (
        Control("masked", "no map: neither channels nor scalars of it", _frames(masked)),
        Control("masked_channels", "no channels; the map's scalars stay", _frames(masked_channels)),
        Control("mapless", "no map, nor in what pre-training is asked for", _frames(mapless)),
        Control("reflected", "the map reflected about the price", _frames(reflected)),
        Control("week_old", "the map of seven days before", _frames(week_old)),
        Control("uniform", "a map that knows no leverage, swept alike; its own targets", config=_uniform),
        Control("permuted", "labels shuffled in pieces of 37 hours", permuted, labels=True),
    )
}
"""By name. The gain of the model over `masked` is `ap_gain_map`."""
