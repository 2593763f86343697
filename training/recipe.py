"""How a run learns, as a part of its config: the network, what it is pre-trained on, its teachers, and the head."""

from typing import Literal

from squeeze.strict import Strict, require, require_time


class NetworkSpec(Strict, frozen=True, kw_only=True):
    """Encoder, temporal core, static branch and trunk."""

    encoder: Literal["patch", "conv"] = "patch"
    """Over price: `patch` cuts it into strips, twice; `conv` lets three convolutions overlap, and costs more."""
    core: Literal["gru", "tcn", "window"] = "gru"
    """Over time: `gru`, a causal dilated `tcn`, or `window`, which looks at the last frames anew each step like
    DeepLOB (`training/networks/cores.py`).
    """
    encoded: int = 24
    """Width of one encoded frame."""
    hidden: int = 24
    """Width of the core's output."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Of the `tcn`: one layer for each, of three taps so many steps apart."""
    window: int = 60
    """Of the `window` core: how many frames it sees."""
    static: tuple[int, int] = (64, 40)
    """Widths of the branch that takes the scalars without memory."""
    trunk: int = 32
    """Width of the layer that joins the two before the scores."""
    dropout: float = 0.2
    """Share of values dropped in the static branch and before the trunk, while training."""
    learn_leverage_weights: bool = True
    """Refine the leverage mixing layer from where it starts, or freeze it."""
    leverage_weights: str = "prior"
    """Where that layer starts: `prior` (the spec's), `fitted` to the liquidations known before the first validation
    block, or a file of `squeeze weights`, whose newest weights of that time are taken.
    """

    most_parameters: int = 50_000
    """A network with more learned numbers is refused."""

    def __post_init__(self) -> None:
        require(min(self.encoded, self.hidden, *self.static, self.trunk) >= 1, "widths are at least 1")
        require(0 <= self.dropout < 1, "dropout lies between 0 and 1")
        require(min(self.dilations, default=0) >= 1, "dilations are at least 1, and there is one or more")
        require(self.window >= 12, "window is at least 12 frames: its convolutions take ten of them")


class FineTuneSpec(Strict, frozen=True, kw_only=True):
    """All weights go on learning from the labelled truth, on simulated markets alone (`pretraining.task.fine_tune`)."""

    epochs: int = 3
    """Times that every training frame is seen, at most."""
    learning_rate: float = 2e-4
    """In place of pre-training's."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1 and self.learning_rate > 0, "epochs is at least 1, learning_rate is positive")


class PretrainSpec(Strict, frozen=True, kw_only=True):
    """Pre-training on what needs no liquidation record: the map's swept mass and the excursion over each horizon."""

    until: str
    """UTC time; nothing later is used, and head and test rows begin after it."""
    quantiles: tuple[float, ...] = (0.90, 0.95, 0.98, 0.99)
    """Exceedance of these quantiles of a series' own swept mass."""
    exceedance_weights: tuple[float, ...] = (1.0, 1.5, 2.0, 2.0)
    """The rarer exceedances weigh more in the loss: the imbalance is met here, and not by resampling, which would bend
    the probabilities.
    """
    regression_weight: float = 0.3
    """Of the log swept mass and the log excursion, against the exceedances; 0 leaves them out."""
    labels: bool = False
    """Learn the labelled truth too, where it is known: one more score per horizon."""
    label_weight: float = 1.0
    """Of the labelled truth, against the exceedances."""
    teacher_weight: float = 0.5
    """Where a teacher's scores are given, the share of the loss that follows them; the truth has the rest."""
    fine_tuning: FineTuneSpec | None = None
    """Once pre-training has ended; null for the head alone on the labels (experiments.md: all weights learned nothing
    more). A run on recordings, which have no labels that early, refuses it.
    """
    validation_share: float = 0.15
    """The last part of the time before `until`, for early stopping alone."""
    epochs: int = 12
    """Times that every training frame is seen, at most."""
    patience: int = 3
    """Epochs without a better validation loss before stopping."""
    chunk: int = 64
    """Steps of back-propagation through time; the state is carried across chunks."""
    lane: int = 2048
    """Steps a lane runs before its state starts anew."""
    lanes: int = 32
    """Lanes side by side in a batch."""
    learning_rate: float = 2e-3
    """AdamW's; the schedule rises to half as much again and falls to nothing."""
    weight_decay: float = 1e-2
    """AdamW's."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Of the arithmetic; weights stay 32 bits wide. `auto`: bf16 on a GPU, 32 on a CPU."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch compiles the network; `auto`: on a GPU alone."""
    devices: int = 1
    """GPUs, or processes on a CPU, that share the lanes of a batch."""
    strategy: str = "auto"
    """How they do, by Lightning's name for it, as `ddp`; `auto` is one device, or `ddp` on several."""

    @property
    def scores_per_horizon(self) -> int:
        """A logit per exceedance, the log swept mass, the log excursion, and with `labels` a logit of the truth."""
        return len(self.quantiles) + 2 + self.labels

    def __post_init__(self) -> None:
        require_time("until", self.until)
        require(
            min(self.regression_weight, self.label_weight, *self.exceedance_weights) >= 0
            and max(self.exceedance_weights) > 0,
            "weights of the loss are not negative, and one exceedance weighs something",
        )
        require(0 <= self.teacher_weight <= 1, "teacher_weight lies between 0 and 1")
        require(self.fine_tuning is None or self.labels, "fine_tuning needs labels: true")
        require(self.devices >= 1, "devices is at least 1")
        require(len(self.quantiles) == len(self.exceedance_weights) > 0, "as many exceedance_weights as quantiles")
        require(0 < self.validation_share < 0.5, "validation_share lies between 0 and 0.5")
        require(
            min(self.chunk, self.lane, self.lanes, self.epochs) >= 1, "chunk, lane, lanes and epochs are at least 1"
        )
        require(self.lane % self.chunk == 0, "lane must be whole chunks")
        require(self.learning_rate > 0 and self.weight_decay >= 0, "learning_rate must be positive")
        require(all(0 < q < 1 for q in self.quantiles), "quantiles lie between 0 and 1")


class BoostingSpec(Strict, frozen=True, kw_only=True):
    """The boosted family of pre-trained scores; LightGBM's settings, as the study of these tasks left them."""

    rounds: int = 220
    """Trees for each target; none are stopped early, so that the tail stays unseen."""
    leaves: int = 24
    """Of a tree."""
    least_leaf: int = 300
    """Rows of a leaf, at least."""
    learning_rate: float = 0.05
    """Shrinkage of a tree."""
    scalar_share: float = 0.35
    """Share of the scalars that a tree may use."""
    row_share: float = 0.6
    """Share of the rows that a tree sees."""
    l2: float = 10.0
    """Ridge on the leaves."""
    most_rows: int = 180_000
    """Rows of all series and both sides; more are thinned evenly, for neighbours tell the same."""

    def __post_init__(self) -> None:
        require(min(self.rounds, self.least_leaf, self.most_rows) >= 1 and self.leaves >= 2, "counts are at least 1")
        require(0 < self.scalar_share <= 1 and 0 < self.row_share <= 1, "scalar_share and row_share are shares")
        require(self.learning_rate > 0 and self.l2 >= 0, "learning_rate is positive, l2 not negative")


class TeacherSpec(Strict, frozen=True, kw_only=True):
    """Pre-trained models whose mean is distilled into the one network that is exported; none of them, and that network
    learns from the proxies alone.
    """

    networks: int = 0
    """Networks like the exported one, each from a seed of its own."""
    boosted: int = 0
    """Boosted families, each from a seed of its own; a boosted and a network family weigh the same."""
    boosting: BoostingSpec = BoostingSpec()
    """How those are fitted."""

    def __post_init__(self) -> None:
        require(min(self.networks, self.boosted) >= 0, "networks and boosted are not negative")


class HeadSpec(Strict, frozen=True, kw_only=True):
    """The small ridge-logistic head, refitted per block on the labels."""

    scalars: tuple[str, ...] = ()
    """Scalars it sees beside the pre-trained scores: a few liquidation intensities, nothing else (experiments.md)."""
    inverse_penalty: float = 0.01
    """scikit-learn's C."""
    clip: float = 5.0
    """Standardised inputs are clipped here."""
    calibration: Literal["none", "platt"] = "none"
    """`platt` folds a line per horizon bucket into the head, fitted on out-of-fold logits of its training rows."""

    def __post_init__(self) -> None:
        require(self.inverse_penalty > 0 and self.clip > 0, "inverse_penalty and clip are positive")
