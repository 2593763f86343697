"""Figures of the proof on simulated worlds, beside the oracle, and what they say: JSON and a page."""

from pathlib import Path

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.files import whole
from squeeze.market.events import DAY_NS
from squeeze.outcomes.rows import episodes
from training.evaluation.bootstrap import Draws, Gain, draw_runs, figures_per_draw, interval, mean_figures
from training.evaluation.metrics import metrics
from training.proof.fits import Grounds

ORACLE, NETWORK, MASKED = "oracle", "network", "network without maps"
ONE_BATCH = "oracle, half of its paths"
GOAL = 0.8
"""What share of the oracle's AP the network is to reach."""
FIGURES = ("ap", "auc", "brier_skill", "slope")

Probabilities = dict[str, list[np.ndarray]]
"""By model: probabilities (row, side, horizon) of each of its seeds."""


class Score(msgspec.Struct, frozen=True):
    """One model at one horizon: the mean over its seeds, and the standard deviation where there are several."""

    model: str
    seeds: int
    figures: dict[str, float]
    """Both sides as one ranking; `ap_long` and `ap_short` are each side's own."""
    deviations: dict[str, float]
    gain: Gain
    """In AP of the network over this model, paired; over a network that lacks something, of the same seeds alone."""


class Horizon(msgspec.Struct, frozen=True):
    """Everything at one horizon."""

    minutes: int
    rows: int
    episodes: int
    base_rate: float
    scores: tuple[Score, ...]
    of_oracle: Gain | None
    """The network's AP over the oracle's; null where no oracle was asked."""

    def of(self, model: str) -> Score:
        """One model's."""
        return next(score for score in self.scores if score.model == model)


class Ground(msgspec.Struct, frozen=True):
    """One kind of world: what was judged, and by which seeds of the simulator."""

    zones: str
    trained_on: tuple[int, ...]
    tested_on: tuple[int, ...]
    days: int
    watched: Horizon
    others: tuple[Horizon, ...]
    sentences: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """The whole proof."""

    command: str
    commit: str
    parameters: int
    oracle_paths: int
    choosing: bool
    """Judged on seeds that choices are made on: no proof, but the place to try a variant."""
    grounds: tuple[Ground, ...]


def judge(found: Grounds, made: Probabilities) -> Ground:
    """All figures of one kind of world; `made` has the oracle, the network and its rivals."""
    label, worlds = found.config.spec.label, found.config.worlds
    assert worlds is not None  # noqa: S101 - `found` was made from them
    horizons = [_horizon(found, made, at) for at in range(len(label.horizons_minutes))]
    watched = label.horizons_minutes.index(found.config.spec.signal.horizon_minutes)
    others = tuple(each for at, each in enumerate(horizons) if at != watched)
    sentences = tuple(said(horizons[watched], is_null=found.zones != "matter"))
    return Ground(
        found.zones, worlds.trained_on, tuple(w.seed for w in found.judged), worlds.days, horizons[watched], others,
        sentences,
    )  # fmt: skip


def _horizon(found: Grounds, made: Probabilities, horizon: int) -> Horizon:
    truth = found.truth[:, :, horizon]
    draws = draw_runs(np.repeat(found.ts_ns // DAY_NS, len(SIDES)))
    ap = {name: _ap(truth, seeds, horizon, draws) for name, seeds in made.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        of_oracle = interval(ap[NETWORK] / ap[ORACLE]) if ORACLE in ap else None
    scores = []
    for name, seeds in made.items():
        each = [_figures(found, p, horizon) for p in seeds]
        means = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        spread = len(each) > 1
        deviations = {key: float(np.std([one[key] for one in each], ddof=1)) for key in each[0] if spread}
        masked = name.startswith(f"{NETWORK} ")
        ours = _ap(truth, made[NETWORK][: len(seeds)], horizon, draws) if masked else ap[NETWORK]
        scores.append(Score(name, len(seeds), means, deviations, interval(ours - ap[name])))
    events = sum(episodes(found.ts_ns, truth[:, side]) for side in range(len(SIDES)))
    minutes = found.config.spec.label.horizons_minutes[horizon]
    return Horizon(minutes, truth.size, events, float(truth.mean()), tuple(scores), of_oracle)


def _ap(truth: np.ndarray, seeds: list[np.ndarray], horizon: int, draws: Draws) -> np.ndarray:
    """AP of every draw, both sides as one ranking: the mean over seeds."""
    flat = [p[:, :, horizon].reshape(-1).astype(float) for p in seeds]
    return mean_figures([figures_per_draw(truth.reshape(-1), p, draws) for p in flat])["ap"]


def _figures(found: Grounds, p: np.ndarray, horizon: int) -> dict[str, float]:
    truth, chance = found.truth[:, :, horizon], p[:, :, horizon].astype(float)
    rates = np.broadcast_to(found.base_rates[:, horizon], truth.shape)
    both = metrics(np.repeat(found.ts_ns, 2), truth.reshape(-1), chance.reshape(-1), rates.reshape(-1))
    figures = {name: both[name] for name in FIGURES}
    for s, side in enumerate(SIDES):
        figures[f"ap_{side}"] = metrics(found.ts_ns, truth[:, s], chance[:, s], rates[:, s])["ap"]
    return figures


def said(watched: Horizon, *, is_null: bool) -> list[str]:
    """What the watched horizon shows, in sentences that hold whatever the numbers are."""
    network, masked = watched.of(NETWORK), watched.of(MASKED)
    rivals = [score for score in watched.scores if score.model not in (ORACLE, ONE_BATCH)]
    scalar = [score for score in rivals if not score.model.startswith("network")]
    best = max(scalar, key=lambda score: np.nan_to_num(score.figures["ap"]))
    gain = masked.gain
    found = [
        f"ap_gain_map, over the same network without any map: {shown(gain)}; {_of_gain(gain, is_null=is_null)}.",
        f"The best scalar rival is {best.model}, AP {best.figures['ap']:.3f}: the network gains {shown(best.gain)}.",
    ]
    if watched.of_oracle is not None:
        share = f"{shown(watched.of_oracle, signed=False)} of it; the goal of {GOAL:g} is {_reached(watched.of_oracle)}"
        oracle = watched.of(ORACLE).figures["ap"]
        found.insert(0, f"AP {network.figures['ap']:.3f} of the network, {oracle:.3f} of the oracle: {share}.")
    if watched.episodes < 50:
        found.append(f"Inconclusive all the same: {watched.episodes} separate events are fewer than 50.")
    return found


def _reached(share: Gain) -> str:
    if share.observed < GOAL:
        return "not reached" if share.high < GOAL else "not reached, though the interval holds it"
    return "reached" if share.low >= GOAL else "reached, though the interval goes below it"


def _of_gain(gain: Gain, *, is_null: bool) -> str:
    covers = gain.low <= 0 <= gain.high
    if is_null:
        if covers:
            return "the interval covers zero, as it has to where zones do not matter"
        return "the interval does not cover zero, though zones do not matter here"
    return "no gain is shown, for the interval covers zero" if covers else "the interval leaves out zero"


def shown(gain: Gain, *, signed: bool = True) -> str:
    """A figure with its interval.

    >>> shown(Gain(0.1, -0.02, 0.2)), shown(Gain(0.85, 0.8, 0.9), signed=False)
    ('+0.100 [-0.020, +0.200]', '0.850 [0.800, 0.900]')
    """
    sign = "+" if signed else ""
    return f"{gain.observed:{sign}.3f} [{gain.low:{sign}.3f}, {gain.high:{sign}.3f}]"


def write(report: Report, out: Path) -> list[Path]:
    """`out` with the endings `.json` and `.md`, each whole."""
    found = msgspec.json.format(msgspec.json.encode(report), indent=1).decode()  # what does not exist is null
    texts = {".json": found + "\n", ".md": page(report)}
    for ending, text in texts.items():
        with whole(out.with_suffix(ending)) as part:
            part.write_text(text)
    return [out.with_suffix(ending) for ending in texts]


TITLES = {"matter": "Where zones matter", "do_not_matter": "Where zones do not matter (the null)"}


def page(report: Report) -> str:
    """The report for people."""
    lines = [
        "# What is learned where the truth is known", "",
        f"- **command**: {report.command}", f"- **commit**: {report.commit}",
        f"- **network**: {report.parameters:,} parameters; **oracle**: {report.oracle_paths} paths from each hour", "",
        NOTES + (CHOOSING if report.choosing else UNTOUCHED), "",
    ]  # fmt: skip
    for ground in report.grounds:
        seeds = f"trained on seeds {_listed(ground.trained_on)}, judged on seeds {_listed(ground.tested_on)}"
        lines += [f"## {TITLES[ground.zones]}", "", f"{seeds}; {ground.days} days each.".capitalize(), ""]
        lines += [f"- {sentence}" for sentence in ground.sentences] + [""]
        for horizon in (ground.watched, *ground.others):
            lines += _table(horizon)
    return "\n".join(lines).rstrip() + "\n"


NOTES = (
    "One venue of the simulator that publishes every liquidation, with stops and walls; each seed is a market of its"
    " own. Networks, heads and rivals are fitted to the training seeds' rows and asked about the oracle's hours of"
    " seeds they never saw. The oracle plays the market on from its true positions: nobody"
    " who sees less can rank better, but its probabilities are shares of so many paths, which costs it a little, and"
    " its slope more: a share of 0 is no certainty. Both sides are one ranking. ± is the standard deviation over seeds"
    " of the network; in brackets 95 %, from runs of three days of a seed drawn anew, paired. The gain is the network's"
    " AP less this model's; over a network that lacks something, that of the same seeds."
)
UNTOUCHED = " Nothing was chosen on the judged seeds."
CHOOSING = " **No proof**: variants are chosen on the judged seeds."


def _table(horizon: Horizon) -> list[str]:
    share = horizon.of_oracle
    of_oracle = "" if share is None else f"; the network's AP is {shown(share, signed=False)} of the oracle's"
    lines = [
        f"**{horizon.minutes} minutes**: {horizon.rows:,} rows, {horizon.episodes} separate events, base rate"
        f" {horizon.base_rate:.3f}{of_oracle}", "",
        "| model | AP | long, short | AUC | Brier skill | slope | gain of the network in AP |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for score in horizon.scores:
        figures, deviations = score.figures, score.deviations
        ap = f"{figures['ap']:.3f}" + (f" ± {deviations['ap']:.3f}" if deviations else "")
        sides = f"{figures['ap_long']:.3f}, {figures['ap_short']:.3f}"
        gain = "" if score.model == NETWORK else shown(score.gain)
        told = [figures[name] for name in ("auc", "brier_skill", "slope")]
        rest = " | ".join("" if np.isnan(value) else f"{value:.3f}" for value in told)
        lines.append(f"| {score.model} | {ap} | {sides} | {rest} | {gain} |")
    return [*lines, ""]


def _listed(seeds: tuple[int, ...]) -> str:
    """Numbers in a row as a range.

    >>> _listed((0, 1, 2, 3)), _listed((101, 103))
    ('0 to 3', '101, 103')
    """
    if len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
