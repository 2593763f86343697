"""A reading as one value: nine answers, what they imply, and what they rest on; as text and as JSON."""

import textwrap

import msgspec
import numpy as np

from squeeze.tools.reading import clusters, context
from squeeze.tools.reading.answer import StepAnswer
from squeeze.tools.reading.gather import Reading
from squeeze.tools.reading.predictions import Prediction, predictions

STEPS = (
    context.which_maps, context.timeframe, clusters.densest, clusters.asymmetry, clusters.convergence,
    clusters.migration, clusters.voids, context.funding, context.depletion,
)  # fmt: skip
WIDTH = 118


class Read(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `squeeze read --json` prints and the journal keeps."""

    symbol: str
    profile: str
    at: str
    """UTC; all of it was known then."""
    at_ns: int
    folded_since: str
    source: str
    mark: float
    horizon_minutes: int
    spec: str
    """Digest of the spec that it was folded by."""
    steps: tuple[StepAnswer, ...]
    predictions: tuple[Prediction, ...]


def answered(reading: Reading) -> Read:
    """The nine steps in order, and the predictions."""
    return Read(
        symbol=reading.seen.symbol, profile=reading.profile.name, at=time_of(reading.at_ns), at_ns=reading.at_ns,
        folded_since=time_of(reading.seen.first_ns), source=reading.source, mark=reading.mark,
        horizon_minutes=reading.profile.horizon_minutes, spec=reading.spec.digest(),
        steps=tuple(step(reading) for step in STEPS), predictions=predictions(reading),
    )  # fmt: skip


def time_of(ns: int) -> str:
    """UTC to the second."""
    return f"{np.datetime64(int(ns), 'ns').astype('datetime64[s]')}Z"


def text(read: Read) -> str:
    """The reading for a person."""
    lines = [
        f"{read.symbol}, {read.source}, {read.profile}, {read.at}: mark {read.mark:,.6g}, folded since "
        f"{read.folded_since}"
    ]
    for one in read.steps:
        lines += ["", f"{one.step}. {one.question}", *_wrapped("   ", one.answer)]
        for mark, group in (("- ", one.evidence), ("! ", one.warnings), ("* ", one.patterns)):
            for entry in group:
                lines += _wrapped("     ", entry, mark)
        if one.not_recorded:
            lines += _wrapped("     ", f"not recorded: {', '.join(one.not_recorded)}", "? ")
        for entry in one.measured:
            lines += _wrapped("     ", f"measured: {entry}", "= ")
    lines += ["", "What would show it right or wrong, with its chance:"]
    for prediction in read.predictions:
        hours = f"{prediction.horizon_minutes / 60:g} h"
        lines += _wrapped("   ", f"{prediction.probability:.0%} within {hours}, step {prediction.step}: "
                          f"{prediction.words} ({prediction.basis})", "- ")  # fmt: skip
    if not read.predictions:
        lines.append("   nothing: volatility is not known yet")
    return "\n".join(lines)


def _wrapped(indent: str, content: str, mark: str = "") -> list[str]:
    return textwrap.wrap(
        content, WIDTH, initial_indent=indent + mark, subsequent_indent=indent + " " * len(mark),
        break_on_hyphens=False,
    )  # fmt: skip
