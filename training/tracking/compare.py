"""`squeeze compare`: tracked runs as a table in the terminal, the same figures as in MLflow's."""

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from squeeze.arrays import SIDES
from squeeze.errors import TrackingError
from squeeze.registry import tracking_uri
from training.tracking.track import COMMIT, NAME, SCORED, SeedRun, over_seeds, same_recipe

FIGURES = (
    "ap", "base_rate", "ap_gain", "ap_gain_low", "ap_gain_high", "ap_gain_map", "ap_gain_map_low", "ap_gain_map_high",
    "auc", "brier_skill", "slope", "recall_1_a_day", "lead_minutes_median", "episodes",
)  # fmt: skip
SHOWN = {
    "ap": "AP", "base_rate": "base", "ap_gain": "gain [95 %]", "ap_gain_map": "map gain [95 %]", "auc": "AUC",
    "brier_skill": "Brier skill", "slope": "slope", "episodes": "episodes",
}  # fmt: skip
"""Columns of the terminal; a gain comes with its interval."""


def chosen(
    found: Sequence[SeedRun], task: str | None, models: Collection[str], scored: str | None, every: bool
) -> list[SeedRun]:
    """The runs to compare, by task and model: of each model the newest seeds of its newest recipe, or every run.

    `TrackingError` says what there is where nothing fits.
    """
    left = [
        seed
        for seed in found
        if (task in (None, seed.task))
        and (not models or seed.model in models)
        and scored in (None, seed.run.data.tags.get(SCORED))
    ]
    if not left:
        held = ", ".join(sorted({f"{seed.task}/{seed.model}" for seed in found})) or "no run"
        raise TrackingError(f"no tracked run fits; {tracking_uri()} holds {held}")
    kept: list[SeedRun] = []
    for _, group in groupby(sorted(left, key=_place), _place):
        runs = list(group)
        newest = {run.info.run_id for run in same_recipe(seed.run for seed in runs)}
        kept += [seed for seed in runs if every or seed.run.info.run_id in newest]
    return kept


def _place(seed: SeedRun) -> tuple[str, str]:
    return seed.task, seed.model


def rows(compared: Iterable[SeedRun], *, means: bool = True) -> list[dict[str, Any]]:
    """A row for each run and side, and for each model and side the mean over its seeds, with deviations under `sd`;
    figures that were not logged are None. Without `means`, for runs that are not of one recipe, only the former.
    """
    found: list[dict[str, Any]] = []
    for (task, model), group in groupby(compared, _place):
        seeds = list(group)
        for side in SIDES:
            mine = [_row(seed, side) for seed in seeds]
            found += mine
            if means and len(seeds) > 1:
                mean = over_seeds([seed.run.data.metrics for seed in seeds])
                figures = {name: mean.get(f"{side}_{name}", (None, None)) for name in FIGURES}
                found.append(
                    {"task": task, "model": model, "seed": f"mean of {len(seeds)}", "side": side}
                    | {name: value for name, (value, _) in figures.items()}
                    | {"sd": {name: sd for name, (_, sd) in figures.items() if sd is not None}}
                    | {key: mine[0][key] for key in ("scored", "commit", "date")}
                    | {"run": ""}
                )
    return found


def _row(seed: SeedRun, side: str) -> dict[str, Any]:
    run = seed.run
    when = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return (
        {"task": seed.task, "model": seed.model, "seed": run.data.tags[NAME].removeprefix("seed "), "side": side}
        | {name: run.data.metrics.get(f"{side}_{name}") for name in FIGURES}
        | {"sd": {}, "scored": run.data.tags.get(SCORED, ""), "commit": _commit(seed)}
        | {"date": when.strftime("%Y-%m-%d %H:%M"), "run": run.info.run_id}
    )


def _commit(seed: SeedRun) -> str:
    """From the tag, or from the parameter that runs of earlier releases have."""
    return seed.run.data.tags.get(COMMIT) or seed.run.data.params.get("commit", "")


def told(row: dict[str, Any]) -> dict[str, str]:
    """A row of the table for people."""
    cells = {title: _cell(row, name) for name, title in SHOWN.items()}
    before = {name: row[name] for name in ("task", "model", "seed", "side")}
    return before | cells | {name: row[name] for name in ("scored", "commit", "date")}


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if value is None or math.isnan(value):
        return "-"
    if name == "episodes":
        return f"{value:.0f}"
    text = f"{value:+.3f}" if "gain" in name else f"{value:.3f}"
    if name in row["sd"]:
        return f"{text} ± {row['sd'][name]:.3f}"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return text if low is None or high is None else f"{text} [{low:+.3f}, {high:+.3f}]"
