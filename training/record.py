"""Everything about a finished run into MLflow."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.market.events import DAY_NS
from squeeze.market.lake import Lake
from training import pipeline, runs, track
from training.config import utc
from training.figures import heatmap_figure, precision_recall_figure, reliability_figure
from training.maps import log_maps
from training.network import parameters
from training.walk import Prepared, Trained


def track_run(
    prepared: Prepared, trained: Trained, run: runs.Run, figures: pipeline.Figures,
    rivals: Mapping[str, pipeline.Figures], extra: Mapping[str, float], model: Path | None, *, test: bool,
    lake: Lake | None = None,
) -> None:  # fmt: skip
    """Everything about a finished run into MLflow: the network's seed run with its blocks, and the baselines beside it.

    Figures and pictures are of the test blocks or of the validation blocks, and the run is tagged with which. With a
    `lake` the heatmaps of the last day before their end are drawn too.
    """
    track.connect()
    config, horizon = run.config, pipeline.watched(run.config)
    results = trained.blocks if test else trained.validation
    pooled = pipeline.pool(results, horizon)
    seed = f"seed {config.seed}"
    with track.node("task", config.task):
        with track.node("model", "network"), track.node("seed", seed, title=f"network {seed}", fresh=True):
            track.mlflow.set_tag("squeeze.scored", "test" if test else "validation")
            settings = track.flatten(msgspec.to_builtins(config))
            size = {"parameters": parameters(trained.network), "weights_digest": run.weights_digest}
            track.log_params(settings | {"commit": pipeline.commit()} | size)
            track.log_dataset(config.task, run.data_digest)
            said = {name: run.pretraining[name] for name in ("val_loss", "epochs", "frames_per_second")}
            abstained = float(np.isnan(pooled.probability[:, 0]).sum())
            counts = {"rows": len(pooled.ts_ns), "abstained": abstained}
            track.log_metrics(track.side_metrics(figures) | said | counts | dict(extra))
            _log_pictures(prepared, pooled)
            if lake is not None:
                log_maps(lake, config, int(pooled.ts_ns[-1]))
            track.mlflow.log_dict({"curve": run.pretraining["curve"]}, "pretraining.json")
            track.mlflow.log_dict(settings, "config.json")
            if model is not None:
                track.log_model(model.read_bytes(), model)
            for result in results:
                name = f"block {result.block.index}"
                with track.node("block", name, title=f"network {seed} {name}", fresh=True):
                    block = result.block
                    track.log_params({"train_until": utc(block.train_until_ns), "test_from": utc(block.test_from_ns)})
                    found = pipeline.pool([result], horizon).figures()
                    track.log_metrics(track.side_metrics(found) | {"rows": len(result.rows)})
        for name, found in rivals.items():
            with track.node("model", name), track.node("seed", "seed 0", title=name, fresh=True):
                track.mlflow.set_tag("squeeze.scored", "test" if test else "validation")
                track.log_dataset(config.task, run.data_digest)
                track.log_metrics(track.side_metrics(found))


def _log_pictures(prepared: Prepared, pooled: pipeline.Pooled) -> None:
    seen = np.isfinite(pooled.probability).all(axis=1)
    truth, probability = ([a[seen, s] for s in range(2)] for a in (pooled.truth, pooled.probability))
    names = [f"{side} squeeze" for side in SIDES]
    track.log_figure(reliability_figure(truth, probability, names), "reliability.png")
    if all(t.any() for t in truth):
        track.log_figure(precision_recall_figure(truth, probability, names), "precision-recall.png")
    end_ns = int(pooled.ts_ns[-1])
    times, mark, heat, widths = pipeline.heat_window(prepared, end_ns - 5 * DAY_NS, end_ns)
    held, true = pooled.held(times)
    rates = {side: float(pooled.base_rate[-1, s]) for s, side in enumerate(SIDES)}
    minutes = prepared.config.spec.signal.horizon_minutes
    title = f"{prepared.config.task}: liquidation heatmap, last five days"
    track.log_figure(heatmap_figure(times, mark, heat, widths, held, true, [], minutes, rates, title), "heatmap.png")
