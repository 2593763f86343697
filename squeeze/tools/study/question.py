"""A claim as a question to data: what is compared with what, or what is missing for an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from squeeze.tools.study.compare import Group, Sample
from squeeze.tools.study.history import History, Setting
from squeeze.tools.study.matching import matched

Steps = Int[np.ndarray, " _"]
ByStep = Float[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One figure of the study."""

    statistic: str
    """The family: `near_major`, `volume`."""
    figure: str
    """Which of the family, in words."""
    unit: str
    """`share`, `ratio`, `log return` or `seconds`."""
    sample: Sample | None = None
    events: str = ""
    """What counts as an event here."""
    claim: float | None = None
    """What the seed texts say, in the unit; the null of a median without matched times."""
    needs: str = ""
    """What is missing; then `n` says how much there is."""
    n: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What the measures look at."""

    held: History
    setting: Setting

    def matched(self, events: Steps, over: np.ndarray, candidates: Steps, by_step: ByStep,
                under: np.ndarray | None = None, under_by_step: ByStep | None = None,
                keys: Sequence[Int[np.ndarray, " step"]] | None = None) -> Sample:  # fmt: skip
        """Values of events beside those of candidate steps alike in hour of week and volatility decile, or other keys.

        A step before the first is no event. `under` makes it a ratio Σ over / Σ under.
        """
        under = np.ones(len(events)) if under is None else under
        under_by_step = np.ones(len(by_step)) if under_by_step is None else under_by_step
        inside = np.flatnonzero((events >= 0) & (events < len(by_step)))
        kept, stratum, steps, strata = matched(events[inside], candidates, keys or self.setting.keys, self.held.days)
        kept = inside[kept]
        return Sample(
            Group(over[kept], under[kept], events[kept], stratum),
            Group(by_step[steps], under_by_step[steps], steps, strata),
        )


def stack(samples: Sequence[Sample]) -> Sample:
    """Samples as one, their strata apart: the two sides of a mirrored question."""
    groups: tuple[list[Group], list[Group]] = ([], [])
    base = 0
    for sample in samples:
        for parts, group in zip(groups, (sample.events, sample.matched), strict=True):
            parts.append(replace(group, stratum=group.stratum + base))
        base += 1 + max(int(g.stratum.max(initial=0)) for g in (sample.events, sample.matched))
    events, others = (
        Group(*(np.concatenate([getattr(g, name) for g in parts]) for name in ("over", "under", "step", "stratum")))
        for parts in groups
    )
    return Sample(events, others, any(sample.is_median for sample in samples))
