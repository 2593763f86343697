"""Which levels were liquidated: the share of USD in the top quarter of levels, by map, by rival and by truth."""

import numpy as np

from squeeze.tools.judge.estimators import capture, rank_correlation, top
from squeeze.tools.judge.levels import (
    REACHES_LOG,
    ByLevel,
    Snapshots,
    bands_log,
    beyond_extreme,
    crossed,
    mixed,
    nearest,
    within,
)
from squeeze.tools.judge.pool import Pool

EXTREME, NEAREST, TRUTH, OLD = "nearest beyond the extreme", "nearest the mark", "true map", "map of 7 days before"
SIDES = ("longs", "shorts")
PLACED = "placed ahead of the mark"


def measure(scope: str, horizon_minutes: int) -> str:
    """What a capture is called."""
    return f"capture, {scope}, {horizon_minutes // 60} h"


def scopes(reaches_log: tuple[float, ...] = REACHES_LOG) -> list[str]:
    """Which levels are ranked against each other: those within reach of a frozen map, those of them that the mark came
    to, or all levels that it came to in all snapshots together.
    """
    return [*(f"within {100 * reach:g} %" for reach in reaches_log), "crossed", "crossed, all times"]


def add(
    pool: Pool, snapshots: Snapshots, scores: dict[str, ByLevel], horizon_minutes: int, is_placed: bool = True
) -> None:
    """USD caught of each snapshot and side, in every scope, by these scores and by the two rivals.

    Where one sum, spread evenly over what was crossed, is all that is known of a horizon (not `is_placed`), `crossed`
    is a quarter by construction and left out.
    """
    shape = snapshots.usd.shape
    all_scores = scores | {EXTREME: beyond_extreme(snapshots.extreme_log), NEAREST: nearest(shape)}
    came = crossed(snapshots)
    offers = [*(within(snapshots, reach) for reach in REACHES_LOG), came]
    flat, levels = shape[0] * 2, shape[2]
    for name, score in all_scores.items():
        for scope, offered in zip(scopes(), offers if is_placed else offers[:-1], strict=False):
            rows = (score.reshape(flat, levels), snapshots.usd.reshape(flat, levels), offered.reshape(flat, levels))
            caught, total = (each.reshape(-1, 2) for each in capture(*rows))
            pool.add(measure(scope, horizon_minutes), name, caught, total, snapshots.day)
        pool.add(measure(scopes()[-1], horizon_minutes), name, *_of_all(score, snapshots.usd, came), snapshots.day)


def add_placed(pool: Pool, snapshots: Snapshots, horizon_minutes: int) -> None:
    """How much of what was liquidated lies on any level at all."""
    placed = f"{PLACED}, {horizon_minutes // 60} h"
    pool.add(placed, "liquidations", snapshots.usd.sum(axis=2), snapshots.all_usd, snapshots.day)


def _of_all(score: ByLevel, usd: ByLevel, offered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All levels of all snapshots in one ranking; what was caught and what there was, by snapshot and side."""
    part = np.zeros(usd.shape)
    part[offered] = top(score[offered])
    return np.asarray((usd * part).sum(axis=2)), np.asarray((usd * offered).sum(axis=2))


def rank_correlations(
    heat: np.ndarray, truth: ByLevel, named: dict[str, np.ndarray], before: int, is_control: bool = True
) -> dict[tuple[str, str], np.ndarray]:
    """Spearman's of estimated with true mass over the levels of each band, by snapshot: (measure, scores) → values.

    `named` are leverage weights. The control is the last of them, `before` snapshots earlier, at the same distances:
    what the mere shape of a map is worth. Snapshots before that have none and are left out.
    """
    estimated = {name: mixed(heat, weights)[before:] for name, weights in named.items()}
    if is_control:
        estimated[OLD] = mixed(heat, list(named.values())[-1])[:-before]
    found = {}
    for name, mass in estimated.items():
        for band, levels in (bands_log() | {"0-10 %": slice(None)}).items():
            for side, side_name in enumerate(SIDES):
                pairs = zip(mass[:, side, levels], truth[before:, side, levels], strict=True)
                rho = np.array([rank_correlation(a, b) for a, b in pairs])
                found[f"rank correlation, {side_name}, {band}", name] = rho
    return found


def mean_rank_correlation(estimated: ByLevel, truth: ByLevel) -> np.ndarray:
    """Spearman's by snapshot, mean over bands and sides; those in which one of the two does not vary are left out."""
    found = [
        [rank_correlation(a, b) for a, b in zip(estimated[:, side, levels], truth[:, side, levels], strict=True)]
        for levels in bands_log().values()
        for side in range(2)
    ]
    known = np.isfinite(found)
    count = known.sum(axis=0)
    return np.asarray(np.where(count > 0, np.where(known, found, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan))
