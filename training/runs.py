"""A finished training on disk, as plain arrays and JSON: what `evaluate` scores and `export` turns into a model file.

FOLDER/run.json          config, data digest, what pre-training said, the blocks
       network.npz       weights by name
       head-<k>.npz      the head of block k
       guards.json           alarm thresholds and drift references (`training.calibration.guards`)
       predictions.parquet   ts, block, p and base rate by side and horizon; validation rows have block -1
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from squeeze.arrays import SIDES
from squeeze.errors import ConfigError, DataError
from squeeze.files import whole_folder
from training.config import RunConfig, flatten
from training.networks.kept import load_weights, masked_names, save_weights
from training.networks.network import Head, SqueezeNetwork, StepModel
from training.prepare import Prepared
from training.splits import Block
from training.walk import BlockResult, Trained, weights_digest

VALIDATION = -1
"""Block number of validation rows in `predictions.parquet`."""


class BlockRecord(msgspec.Struct, frozen=True):
    """One block as `run.json` keeps it."""

    block: Block
    trained_rows: int
    base_rates: tuple[tuple[float, ...], ...]
    degraded: int
    """Union of the `Degraded` flags of its training frames."""


class Run(msgspec.Struct, frozen=True):
    """What `run.json` holds."""

    config: RunConfig
    data_digest: str
    weights_digest: str
    scalar_names: tuple[str, ...]
    masked_scalars: tuple[str, ...]
    channel_names: tuple[str, ...]
    masked_channels: tuple[str, ...]
    required_channels: tuple[str, ...]
    scores: int
    """How many the network gives a head."""
    state_width: int
    """What its temporal core carries, for each side."""
    degraded: int
    pretraining: dict[str, Any]
    blocks: tuple[BlockRecord, ...]


def predictions(trained: Trained, horizons: tuple[int, ...]) -> pd.DataFrame:
    """One row per predicted row: `ts`, `block`, `p_<side>_<horizon>`, `rate_<side>_<horizon>`, `y_<side>_<horizon>`; p
    is NaN where the model abstains.
    """
    tables = []
    numbered = [(VALIDATION, r) for r in trained.validation] + [(r.block.index, r) for r in trained.blocks]
    for number, result in numbered:
        table: dict[str, Any] = {"ts": pd.to_datetime(result.rows.ts_ns, utc=True), "block": number}
        for s, side in enumerate(SIDES):
            for h, minutes in enumerate(horizons):
                table[f"p_{side}_{minutes}"] = result.probabilities[:, s, h].astype(float)
                table[f"rate_{side}_{minutes}"] = result.base_rates[s, h]
                table[f"y_{side}_{minutes}"] = result.rows.truth[:, s, h]
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def save(prepared: Prepared, trained: Trained, folder: Path, beside: Mapping[str, bytes] | None = None) -> Run:
    """Write a run whole, in place of an earlier one, with further files `beside` it by name."""
    own, network = prepared.own, trained.network
    run = Run(
        prepared.config,
        prepared.digest,
        weights_digest(network, *(r.head for r in trained.blocks)),
        own.scalar_names,
        masked_names(own.scalar_names, network.scalars.kept),
        own.channel_names,
        masked_names(own.channel_names, network.kept_channels),
        trained.required_channels,
        network.scores.out_features,
        network.state_width,
        int(np.bitwise_or.reduce(own.degraded[own.seen])),
        trained.pretraining,
        tuple(
            BlockRecord(r.block, r.trained_rows, tuple(map(tuple, r.base_rates.tolist())), r.degraded)
            for r in trained.blocks
        ),
    )
    with whole_folder(folder) as part:
        (part / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1))
        save_weights(network, part / "network.npz")
        for result in trained.blocks:
            save_weights(result.head, part / f"head-{result.block.index}.npz")
        predictions(trained, prepared.config.spec.label.horizons_minutes).to_parquet(part / "predictions.parquet")
        for name, content in (beside or {}).items():
            (part / name).write_bytes(content)
    return run


def load(folder: Path, config: RunConfig | None = None) -> Run:
    """A run that `save` wrote; `DataError` when there is none, `ConfigError` where it was not made with `config`."""
    try:
        run = msgspec.json.decode((folder / "run.json").read_bytes(), type=Run)
    except OSError:
        raise DataError(f"{folder}: no finished training here; run `squeeze train` first") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{folder}/run.json: written by another release: {error}") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{folder}/run.json: cannot be read: {error}") from None
    if config is not None and run.config != config:
        asked, kept = (flatten(msgspec.to_builtins(each)) for each in (config, run.config))
        keys = sorted(key for key in asked.keys() | kept.keys() if asked.get(key) != kept.get(key))
        raise ConfigError(f"{folder}: was trained with another {', '.join(keys[:5])}; train again, or say the same")
    return run


def load_step(run: Run, folder: Path, block: int) -> StepModel:
    """The network and one block's head; a negative block counts from the last."""
    record = run.blocks[block]
    spec = run.config.spec
    network = SqueezeNetwork(
        run.config.network, spec.map, spec.frame.price_bins, len(run.scalar_names), run.scores, len(run.channel_names)
    )
    picked = [run.scalar_names.index(n) for n in run.config.head.scalars]
    head = Head(run.scores, picked, len(spec.label.horizons_minutes), run.config.head.clip)
    load_weights(network, folder / "network.npz")
    load_weights(head, folder / f"head-{record.block.index}.npz")
    return StepModel(network, head).eval()


def base_rates(result: BlockResult | BlockRecord) -> dict[str, tuple[float, ...]]:
    """Training base rates by side, per horizon."""
    return {side: tuple(float(r) for r in result.base_rates[s]) for s, side in enumerate(SIDES)}
