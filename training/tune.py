"""`squeeze tune`: a search over keys of a run, judged on the proxy's validation tail alone.

    space ─► trial: a run with overrides ─► pre-train, pruned by epoch ─► val_loss ─► Optuna's SQLite ─► the best
                                                                                └─► MLflow: a child of the search

No label is seen and no block is scored, so a search costs no look. A study goes on where it was interrupted, and
several processes may work on one study. A grid tries every combination of choices instead, to the end of each: that is
for a comparison, of which nothing may be pruned.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import optuna
import yaml

from squeeze.errors import ConfigError
from squeeze.market.lake import Lake
from squeeze.strict import Strict, convert, require
from training.config import RunConfig, load_config
from training.examples import Progress, silent
from training.prepare import prepare
from training.pretraining.scorers import pretrained
from training.tracking import spool, track
from training.tracking.spool import Node

SEARCHED = ("network.", "pretrain.learning_rate", "pretrain.weight_decay", "pretrain.chunk", "pretrain.lane",
            "pretrain.lanes", "pretrain.epochs", "pretrain.patience", "spec.frame.", "seed")  # fmt: skip
"""Keys that leave the loss what it is, so that trials compare."""
HEARTBEAT_SECONDS = 60


class Range(Strict, frozen=True, kw_only=True):
    """What one key may be: a range of numbers, or choices."""

    low: float | int | None = None
    """Least value; whole numbers stay whole where `low`, `high` and `step` are."""
    high: float | int | None = None
    """Greatest value."""
    step: float | int | None = None
    """Grid of the range; null for none."""
    log: bool = False
    """Drawn evenly in the logarithm."""
    choices: tuple[str | float | int | bool, ...] | None = None
    """Instead of a range."""

    def __post_init__(self) -> None:
        ranged = self.low is not None and self.high is not None
        require(ranged != (self.choices is not None), "either low and high, or choices")
        require(self.low is None or self.high is None or self.low < self.high, "low is below high")
        require(not (self.log and self.step is not None), "a logarithmic range has no step")
        require(not self.log or (self.low or 0) > 0, "a logarithmic range begins above 0")

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """A value of this key for the trial."""
        if self.choices is not None:
            return trial.suggest_categorical(key, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float):
            return trial.suggest_int(key, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(key, float(self.low or 0), float(self.high or 0), step=self.step, log=self.log)


def read_space(path: Path) -> dict[str, Range]:
    """A search space from YAML; `ConfigError` names the file and the key."""
    try:
        parsed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(parsed, dict) or not parsed:
        raise ConfigError(f"{path}: names no key to search over")
    space = {str(key): convert(each, Range, f"{path}: {key}") for key, each in parsed.items()}
    if wrong := [key for key in space if not key.startswith(SEARCHED)]:
        raise ConfigError(f"{path}: {wrong[0]} would change what is compared; keys begin with {', '.join(SEARCHED)}")
    return space


def study(
    config: RunConfig, storage: str, name: str | None = None, grid: Mapping[str, Range] | None = None
) -> optuna.Study:
    """The study of a task, new or as it was left; trials whose process died are put back in the queue.

    With `grid` it goes through all combinations; `ConfigError` for a key of it that has no choices.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept = optuna.storages.RDBStorage(
        storage,
        heartbeat_interval=HEARTBEAT_SECONDS,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=1),
    )
    return optuna.create_study(
        storage=kept,
        study_name=name or config.task,
        load_if_exists=True,
        direction="minimize",
        sampler=_sampler(config) if grid is None else optuna.samplers.GridSampler(_choices(grid), seed=config.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
        if grid is None
        else optuna.pruners.NopPruner(),
    )


def _sampler(config: RunConfig) -> optuna.samplers.BaseSampler:
    """Seeded by the process too: one that goes on, or works beside another, must not draw the same again."""
    return optuna.samplers.TPESampler(seed=hash((config.seed, time.time_ns(), os.getpid())) % 2**32)


def _choices(space: Mapping[str, Range]) -> dict[str, Any]:
    for key, each in space.items():
        if each.choices is None:
            raise ConfigError(f"{key}: a grid needs choices, this is a range")
    return {key: each.choices for key, each in space.items()}


def combinations(space: Mapping[str, Range]) -> int:
    """How many trials a grid has; `ConfigError` for a key without choices."""
    return math.prod(len(choices) for choices in _choices(space).values())


def tune(
    config_path: Path,
    overrides: tuple[str, ...],
    space: Mapping[str, Range],
    lake: Lake,
    out: Path,
    trials: int,
    storage: str,
    name: str | None = None,
    progress: Progress = silent,
    *,
    grid: bool = False,
) -> optuna.Study:
    """Search until the study holds `trials` finished ones, those of earlier calls and of other processes counted; a
    grid at most until it has tried every combination.
    """
    trials = min(trials, combinations(space)) if grid else trials
    found = study(load_config(config_path, overrides), storage, name, space if grid else None)

    def objective(trial: optuna.Trial) -> float:
        chosen = {key: each.suggest(trial, key) for key, each in space.items()}
        config = load_config(config_path, (*overrides, *(f"{key}={_text(value)}" for key, value in chosen.items())))
        return _trial(trial, config, chosen, lake, out, progress)

    def enough(at: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        count = _finished(at)
        progress("searching", min(count, trials), trials)
        if count >= trials:
            at.stop()

    if _finished(found) < trials:
        found.optimize(objective, callbacks=[enough], catch=())
    return found


def _finished(found: optuna.Study) -> int:
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return len(found.get_trials(deepcopy=False, states=states))


def _trial(
    trial: optuna.Trial, config: RunConfig, chosen: dict[str, Any], lake: Lake, out: Path, progress: Progress
) -> float:
    """Pre-train one candidate; its least validation loss."""
    prepared = prepare(config, lake, out / "examples", progress)
    said: dict[str, Any] = {}
    try:
        _, said = pretrained(prepared, progress, on_epoch=_pruner(trial))
    except ConfigError as error:  # over the budget of parameters: no reason to end the search
        raise optuna.TrialPruned(str(error)) from None
    finally:
        trial.set_user_attr("frames_per_second", said.get("frames_per_second"))
        _track(trial, config, chosen, said)
    return float(said["val_loss"])


def _pruner(trial: optuna.Trial) -> Callable[[int, float], None]:
    """Told the validation loss of each epoch; raises `TrialPruned` where others were better by then."""

    def told(epoch: int, val_loss: float) -> None:
        trial.report(val_loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"validation loss {val_loss:.4f} after epoch {epoch}")

    return told


def _track(trial: optuna.Trial, config: RunConfig, chosen: dict[str, Any], said: dict[str, Any]) -> None:
    """The trial as a child of its study's run."""
    leaf = Node(
        level="trial",
        name=f"trial {trial.number}",
        title=f"{trial.study.study_name} trial {trial.number}",
        fresh=True,
        tags={"squeeze.trial": "finished" if said else "pruned or failed"},
        params={key: str(value) for key, value in chosen.items()},
        metrics=track.checked({key: said.get(key) for key in ("val_loss", "epochs", "frames_per_second")}),
    )
    search = Node(level="search", name=trial.study.study_name, children=(leaf,))
    spool.submit(Node(level="task", name=config.task, children=(search,)))


def trial_rows(found: optuna.Study) -> list[dict[str, Any]]:
    """A row for each trial, the best first; pruned ones at the end."""
    trials = found.get_trials(deepcopy=False)
    ranked = sorted(trials, key=lambda t: (t.value is None or t.state.name != "COMPLETE", t.value or 0.0, t.number))
    keys = list(dict.fromkeys(key for t in ranked for key in t.params))
    return [
        {"trial": t.number, "state": t.state.name.lower(), "val_loss": t.value}
        | {key: t.params.get(key) for key in keys}
        | {"frames_per_second": t.user_attrs.get("frames_per_second")}
        for t in ranked
    ]


def best_overrides(found: optuna.Study) -> list[str]:
    """The best trial as `--set` arguments; empty before any has finished."""
    if not found.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        return []
    return [f"{key}={_text(value)}" for key, value in found.best_params.items()]


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
