"""Whether a label has events enough to be learned, said before anything is fitted."""

from collections.abc import Sequence

from squeeze.errors import DataError
from squeeze.outcomes.rows import Rows
from squeeze.spec import LabelSpec
from training.splits import Block


def require_events(found: Rows, label: LabelSpec, parts: Sequence[Block], least: int = 5) -> None:
    """`DataError` unless every block can be learned: it names the label, the block, its rows and the need.

    The training rows of a block need `least` positives on the two sides together at each horizon, and a negative. Its
    test rows are not looked at: where none is positive, the report says that there is no ranking.

    >>> import numpy as np
    >>> minute = 60 * 10**9
    >>> label = LabelSpec(name="over 5", threshold_usd=5.0, horizons_minutes=(1,), every_minutes=1, recorded="rows")
    >>> calm = Rows(np.arange(9) * minute, np.zeros((9, 2, 1), bool))
    >>> block = Block(0, 5 * minute, 6 * minute, 9 * minute)
    >>> require_events(calm, label, [block])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    squeeze.errors.DataError: label over 5, block 0: 0 of its 6 training rows and sides are positive within 1 minutes...
    """
    for block in parts:
        train = found.truth[block.trains(found.ts_ns)]
        place = f"label {label.name}, block {block.index}"
        for h, minutes in enumerate(label.horizons_minutes):
            positives = int(train[:, :, h].sum())
            if positives < least:
                raise DataError(
                    f"{place}: {positives} of its {len(train)} training rows and sides are positive within {minutes} "
                    f"minutes; at least {least} are needed: a longer record, or a label that comes true more often"
                )
            if train[:, :, h].all():
                raise DataError(
                    f"{place}: all of its {len(train)} training rows are positive on both sides within {minutes} "
                    "minutes; a label must also fail to come true: raise its threshold or shorten its horizons"
                )
