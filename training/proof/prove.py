"""`squeeze prove`, from config to report and to the model that ships."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.model_file import ModelCard
from training import export
from training.config import RunConfig, utc
from training.evaluation.metrics import metrics
from training.examples import Progress, required_channels, silent
from training.networks.kept import masked_names
from training.networks.network import StepModel, parameters
from training.proof.fits import ALL_MAPS, CHANNELS, Fit, Grounds, answers, fit, grounds, rival
from training.proof.report import MASKED, NETWORK, ONE_BATCH, ORACLE, Ground, Probabilities, Report, judge, write
from training.proof.worlds import PATHS, Source, Zones, until_ns, worlds_of
from training.tracking.environment import commit

RIVALS = ("climatology", "volatility", "extremes", "hawkes", "boosting", "boosting_map", "rule")
KINDS: tuple[Zones, ...] = ("matter", "do_not_matter")


def prove(
    config: RunConfig,
    out: Path,
    report: Path,
    command: str,
    *,
    kinds: Sequence[Zones] = KINDS,
    model: Path | None = None,
    ablate: bool = False,
    choosing: bool = False,
    progress: Progress = silent,
) -> tuple[Report, list[Path]]:
    """Everything of one config, in worlds of both kinds; what was written. With `model` the network is exported too.

    `choosing` judges on the seeds of `chosen_on` in place of the tested ones, which nobody sees then.
    """
    if choosing:
        worlds = msgspec.structs.replace(worlds_of(config), tested_on=worlds_of(config).chosen_on, chosen_on=())
        config = msgspec.structs.replace(config, worlds=worlds)
    judged, count = [], 0
    for zones in kinds:
        found = grounds(config, zones, out, progress)
        networks = [fit(found, out, seed, progress=progress) for seed in worlds_of(config).networks]
        judged.append(judge(found, compared(found, networks, out, ablate=ablate, progress=progress)))
        count = parameters(networks[0].network)
        if model is not None and zones == "matter":
            write_model(found, chosen(found, networks, out, progress), judged[-1], model)
    made = Report(command, commit(), count, worlds_of(config).oracle_paths, choosing, tuple(judged))
    return made, write(made, report)


def compared(
    found: Grounds, networks: list[Fit], out: Path, *, ablate: bool = False, progress: Progress = silent
) -> Probabilities:
    """The oracle, where it was asked, the networks and everything they are compared with."""
    seeds = worlds_of(found.config).networks
    made: Probabilities = {ORACLE: [found.oracle]} if found.oracles else {}
    made[NETWORK] = [each.probabilities for each in networks]
    made[MASKED] = [fit(found, out, seed, ALL_MAPS, progress).probabilities for seed in seeds]
    for name in RIVALS:
        made[name] = [rival(found, name)]
        progress("rivals", RIVALS.index(name) + 1, len(RIVALS))
    if found.oracles and worlds_of(found.config).oracle_paths > PATHS:
        made[ONE_BATCH] = [found.first_batch]
    for group in CHANNELS if ablate else ():
        made[f"network without {group}"] = [fit(found, out, seeds[0], group, progress).probabilities]
    return made


def chosen(found: Grounds, networks: list[Fit], out: Path, progress: Progress = silent) -> Fit:
    """The network with the smallest log loss on the seeds that choices are made on."""
    sources = [Source(found.config, found.zones, seed, out) for seed in worlds_of(found.config).chosen_on]
    worlds = [source.world(progress) for source in sources]
    if not worlds:
        return networks[0]
    rows = [world.usable for world in worlds]
    truth = np.concatenate([w.rows.truth[at] for w, at in zip(worlds, rows, strict=True)])

    def loss(one: Fit) -> float:
        p = np.clip(answers(one.network, one.head, worlds, rows), 1e-6, 1 - 1e-6)
        return float(-np.log(np.where(truth, p, 1 - p)).mean())

    return min(networks, key=loss)


def write_model(found: Grounds, made: Fit, judged: Ground, path: Path, parity_steps: int = 10_000) -> None:
    """Export a network with its card, once torch and ONNX Runtime agreed on so many random states."""
    export.export(StepModel(made.network, made.head).eval(), card_of(found, made, judged), path, parity_steps)


def card_of(found: Grounds, made: Fit, judged: Ground) -> ModelCard:
    """What the model says of itself; its scores are its own, on the tested seeds."""
    config, examples, network = found.config, found.trained[0].examples, made.network
    seen = [world.examples for world in found.trained]
    digests = "".join(each.data_digest for each in seen)
    return ModelCard(
        spec=config.spec,
        scalar_names=examples.scalar_names,
        masked_scalars=masked_names(examples.scalar_names, network.scalars.kept),
        channel_names=examples.channel_names,
        masked_channels=masked_names(examples.channel_names, network.kept_channels),
        required_channels=required(found),
        hidden=network.state_width,
        degraded=int(np.bitwise_or.reduce([np.bitwise_or.reduce(each.degraded[each.seen]) for each in seen])),
        base_rates={side: tuple(found.base_rates[s].tolist()) for s, side in enumerate(SIDES)},
        trained_from=worlds_of(config).start,
        trained_until=utc(until_ns(config)),
        data_digest=hashlib.sha256(digests.encode()).hexdigest(),
        licence=config.licence,
        commit=commit(),
        scores=scores_of(found, made, judged),
    )


def required(found: Grounds) -> tuple[str, ...]:
    """Channels that every training world had hardly ever missing; a frame without one is refused."""
    units = len(found.config.spec.map.leverages)
    each = [required_channels(world.examples, world.positions[world.usable], units) for world in found.trained]
    return tuple(name for name in each[0] if all(name in other for other in each))


def scores_of(found: Grounds, made: Fit, judged: Ground) -> dict[str, float]:
    """Figures at the watched horizon on unseen seeds, by side, and how they stand to the oracle and without maps."""
    at = found.config.spec.label.horizons_minutes.index(judged.watched.minutes)
    scores = {}
    for s, side in enumerate(SIDES):
        truth, rates = found.truth[:, s, at], np.broadcast_to(found.base_rates[s, at], len(found.truth))
        own = metrics(found.ts_ns, truth, made.probabilities[:, s, at].astype(float), rates)
        scores |= {f"unseen_{side}_{name}": own[name] for name in ("ap", "auc", "brier_skill", "slope", "base_rate")}
    if judged.watched.of_oracle is not None:
        scores["unseen_share_of_oracle_ap"] = judged.watched.of_oracle.observed
    scores["unseen_ap_gain_map"] = judged.watched.of(MASKED).gain.observed
    return {name: float(value) for name, value in scores.items() if np.isfinite(value)}
