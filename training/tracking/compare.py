"""`squeeze compare`: tracked runs as a table in the terminal, the same figures as in MLflow's."""

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from squeeze.arrays import SIDES
from squeeze.errors import TrackingError
from squeeze.registry import tracking_uri
from training.tracking.track import COMMIT, NAME, OVER, SCORED, SeedRun, over_seeds, same_recipe, scored_on

FIGURES = (
    "ap", "base_rate", "ap_gain", "ap_gain_low", "ap_gain_high", "ap_gain_map", "ap_gain_map_low", "ap_gain_map_high",
    "auc", "brier_skill", "slope", "recall_1_a_day", "lead_minutes_median", "episodes",
)  # fmt: skip
SHOWN = {
    "ap": "AP", "base_rate": "base", "ap_gain": "gain [95 %]", "over": "over", "ap_gain_map": "map gain [95 %]",
    "auc": "AUC", "brier_skill": "Brier skill", "slope": "slope", "episodes": "episodes",
}  # fmt: skip
"""Columns of the terminal; a gain comes with its interval, and with the model that it is over."""


def chosen(
    found: Sequence[SeedRun], task: str | None, models: Collection[str], scored: str | None, every: bool
) -> list[SeedRun]:
    """The runs to compare, by task, model and scored rows: the newest seeds of the newest recipe, by seed, or every
    run, newest first. Runs of part of the test rows are `scored` on `test` too.

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
        kept += runs if every else sorted((seed for seed in runs if seed.run.info.run_id in newest), key=_number)
    return kept


def _place(seed: SeedRun) -> tuple[str, str, str]:
    return seed.task, seed.model, scored_on(seed.run)


def _number(seed: SeedRun) -> int:
    """By number and not by start: seeds that are sent in one millisecond have no order in the store."""
    return int(_named(seed))


def _named(seed: SeedRun) -> str:
    return seed.run.data.tags[NAME].removeprefix("seed ")


def rows(compared: Iterable[SeedRun], *, means: bool = True) -> list[dict[str, Any]]:
    """A row for each run and side, and for each model, kind of rows and side the mean over its seeds, with deviations
    under `sd` and without intervals; figures that were not logged are None. Without `means`, for runs that are not of
    one recipe, only the former.
    """
    found: list[dict[str, Any]] = []
    for (task, model, _), group in groupby(compared, _place):
        seeds = list(group)
        newest = max(seeds, key=lambda seed: seed.run.info.start_time)
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
                    | {"over": " or ".join(sorted({row["over"] for row in mine}))}
                    | {key: _row(newest, side)[key] for key in ("scored", "commit", "date")}
                    | {"run": ""}
                )
    return found


def _row(seed: SeedRun, side: str) -> dict[str, Any]:
    run = seed.run
    when = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return (
        {"task": seed.task, "model": seed.model, "seed": _named(seed), "side": side}
        | {name: run.data.metrics.get(f"{side}_{name}") for name in FIGURES}
        | {"sd": {}, "over": run.data.tags.get(OVER, ""), "scored": scored_on(run), "commit": _commit(seed)}
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
    if isinstance(value, str):
        return value or "-"
    if value is None or math.isnan(value):
        return "-"
    if name == "episodes":
        return f"{value:.0f}"
    text = f"{value:+.3f}" if "gain" in name else f"{value:.3f}"
    if row["sd"].get(name, 0) > 0:  # 0 for a figure that is one and the same for all seeds, as those of the controls
        return f"{text} ± {row['sd'][name]:.3f}"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return text if low is None or high is None else f"{text} [{low:+.3f}, {high:+.3f}]"
