"""Everything about a finished run, as a record for the tracking store."""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from squeeze.arrays import SIDES
from squeeze.market.events import DAY_NS
from squeeze.market.lake import Lake
from squeeze.registry import SEALED
from training import runs
from training.config import flatten, utc
from training.evaluation.pools import Figures, Pooled, pool, watched
from training.figures import heatmap_figure, precision_recall_figure, reliability_figure, save
from training.networks.network import parameters
from training.prepare import Prepared
from training.tracking import spool, track
from training.tracking.environment import Readings, commit, device, environment
from training.tracking.maps import heat_window, write_maps
from training.tracking.spool import Node
from training.walk import BlockResult, Trained

PREDICTIONS, RIVALS = "predictions.parquet", "rivals.parquet"
"""Artefacts that the gate compares runs by: the rows that were scored, and the baselines' probabilities on them."""


def track_run(
    prepared: Prepared, trained: Trained, run: runs.Run, figures: Figures,
    rivals: Mapping[str, Figures], extra: Mapping[str, float], model: Path | None, *, test: bool,
    lake: Lake | None = None, family: str = "network", pools: Mapping[str, Pooled] | None = None,
    report: tuple[str, Mapping[str, Any]] | None = None, pictures: Mapping[str, Figure] | None = None,
    controls: Mapping[str, float] | None = None, system: Readings | None = None, over: str = "",
    after: str | None = None,
) -> None:  # fmt: skip
    """Everything about a finished run into the spool and, if the store answers, into MLflow: the model's seed run with
    its blocks, and the baselines beside it.

    Figures and pictures are of the test blocks or of the validation blocks, and the run is tagged with which; only
    predictions of those rows leave the run's folder. With a `lake` the heatmaps of the last day before their end are
    drawn too. `family` names the model's node. `pools` are the baselines' predictions on the same rows, which the gate
    needs. `report` is an evaluation as Markdown and as data, `pictures` go by their name, `controls` are figures of
    which those in `track.METRICS` become metrics, `system` is what `environment.measured` read while training. `over`
    names the model that the figures' `ap_gain` is over, `after` the time that `trained` was cut at, if it was.
    Nothing is raised on tracking's account: what goes wrong is said on stderr.
    """
    try:
        with spool.recording() as (folder, keep):
            files = folder / "seed"
            files.mkdir()
            pooled = pool(trained.blocks if test else trained.validation, watched(run.config))
            found = environment()
            tags = _tags(run, found, test) | ({track.AFTER: after} if after else {})
            if lake is not None and (silent := write_maps(lake, run.config, int(pooled.ts_ns[-1]), files / "figures")):
                tags["squeeze.maps"] = silent
            _write_predictions(trained, run, pools or {}, test, files)
            _draw(prepared, pooled, pictures or {}, files / "figures")
            _write_tables(run, found, report, controls or {}, files)
            if model is not None:
                (files / SEALED).mkdir()
                (files / SEALED / model.name).write_bytes(model.read_bytes())
            metrics = _metrics(run, pooled, figures, extra, controls or {})
            seed = Node(
                level="seed", name=f"seed {run.config.seed}", title=f"{family} seed {run.config.seed}", fresh=True,
                tags=tags | ({track.OVER: over} if over else {}), params=_params(trained, run), metrics=metrics,
                system=system or {},
                dataset=(run.config.task, run.data_digest), files=files.name,
                model="" if model is None else f"{SEALED}/{model.name}", children=_blocks(trained, run, family, test),
            )  # fmt: skip
            nodes = [Node(level="model", name=family, children=(seed,)), *_rival_nodes(run, rivals, tags)]
            keep(Node(level="task", name=run.config.task, children=tuple(nodes)))
    except Exception as error:  # whatever it is, the training is kept and worth more than its entry in a tracker
        print(f"tracking: the run could not be recorded ({error!r}); its folder is kept", file=sys.stderr)
        return
    spool.tell(spool.sync())


def _tags(run: runs.Run, found: Mapping[str, Any], test: bool) -> dict[str, str]:
    """What seed runs are found, grouped and compared by. The recipe is all of config and data but the seed."""
    made_by = commit()
    recipe = msgspec.to_builtins(run.config) | {"seed": None, "data": run.data_digest}
    return {
        track.SCORED: "test" if test else "validation",
        track.RECIPE: hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16],
        track.COMMIT: made_by,
        "mlflow.source.name": "squeeze",
        "mlflow.source.git.commit": made_by.rstrip("+"),
        "squeeze.horizon_minutes": str(run.config.spec.signal.horizon_minutes),
        "squeeze.device": device(dict(found)),
        "squeeze.python": str(found["python"]),
    }


def _params(trained: Trained, run: runs.Run) -> dict[str, str]:
    settings = flatten(msgspec.to_builtins(run.config))
    size = {"parameters": parameters(trained.network), "weights_digest": run.weights_digest}
    return {name: str(value) for name, value in (settings | {"commit": commit()} | size).items()}


def _metrics(
    run: runs.Run, pooled: Pooled, figures: Figures, extra: Mapping[str, float],
    controls: Mapping[str, float],
) -> dict[str, float]:  # fmt: skip
    said = {name: run.pretraining.get(name) for name in ("val_loss", "epochs", "frames_per_second")}
    counts = {"rows": len(pooled.ts_ns), "abstained": float(np.isnan(pooled.probability[:, 0]).sum())}
    shown = {name: value for name, value in controls.items() if name in track.METRICS}
    return track.checked(track.side_metrics(figures) | said | counts | shown | dict(extra))


def _blocks(trained: Trained, run: runs.Run, family: str, test: bool) -> tuple[Node, ...]:
    return tuple(_block(run, family, result) for result in (trained.blocks if test else trained.validation))


def _block(run: runs.Run, family: str, result: BlockResult) -> Node:
    block, name = result.block, f"block {result.block.index}"
    found = pool([result], watched(run.config)).figures()
    return Node(
        level="block", name=name, title=f"{family} seed {run.config.seed} {name}", fresh=True,
        params={"train_until": utc(block.train_until_ns), "test_from": utc(block.test_from_ns)},
        metrics=track.checked(track.side_metrics(found) | {"rows": len(result.rows)}),
    )  # fmt: skip


def _rival_nodes(run: runs.Run, rivals: Mapping[str, Figures], tags: dict[str, str]) -> list[Node]:
    return [
        Node(
            level="model", name=name,
            children=(
                Node(
                    level="seed", name="seed 0", title=name, fresh=True, tags=tags,
                    dataset=(run.config.task, run.data_digest), metrics=track.checked(track.side_metrics(found)),
                ),
            ),
        )
        for name, found in rivals.items()
    ]  # fmt: skip


def _write_predictions(trained: Trained, run: runs.Run, pools: Mapping[str, Pooled], test: bool, files: Path) -> None:
    table = runs.predictions(trained, run.config.spec.label.horizons_minutes)
    table[(table["block"] != runs.VALIDATION) == test].to_parquet(files / PREDICTIONS, index=False)
    if pools:
        columns = {
            f"p_{name}_{side}": pool.probability[:, s].astype(float)
            for name, pool in pools.items()
            for s, side in enumerate(SIDES)
        }
        ts = pd.to_datetime(next(iter(pools.values())).ts_ns, utc=True)
        pd.DataFrame({"ts": ts} | columns).to_parquet(files / RIVALS, index=False)


def _write_tables(
    run: runs.Run, found: Mapping[str, Any], report: tuple[str, Mapping[str, Any]] | None,
    controls: Mapping[str, float], files: Path,
) -> None:  # fmt: skip
    tables: dict[str, Any] = {
        "config": msgspec.to_builtins(run.config),
        "environment": found,
        "pretraining": {"curve": run.pretraining.get("curve")},
    }
    if controls:
        tables["controls"] = controls
    if report is not None:
        (files / "report.md").write_text(report[0])
        tables["report"] = report[1]
    for name, content in tables.items():
        (files / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))


def _draw(prepared: Prepared, pooled: Pooled, pictures: Mapping[str, Figure], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    seen = np.isfinite(pooled.probability).all(axis=1)
    truth, probability = ([a[seen, s] for s in range(2)] for a in (pooled.truth, pooled.probability))
    names = [f"{side} squeeze" for side in SIDES]
    drawn = {"reliability": reliability_figure(truth, probability, names)}
    if all(t.any() for t in truth):
        drawn["precision-recall"] = precision_recall_figure(truth, probability, names)
    end_ns = int(pooled.ts_ns[-1])
    times, mark, heat, widths = heat_window(prepared, end_ns - 5 * DAY_NS, end_ns)
    held, true = pooled.held(times)
    rates = {side: float(pooled.base_rate[-1, s]) for s, side in enumerate(SIDES)}
    minutes = prepared.config.spec.signal.horizon_minutes
    title = f"{prepared.config.task}: liquidation heatmap, last five days"
    drawn["heatmap"] = heatmap_figure(times, mark, heat, widths, held, true, [], minutes, rates, title)
    for name, figure in (drawn | dict(pictures)).items():
        save(figure, folder / f"{name.removesuffix('.png')}.png")
