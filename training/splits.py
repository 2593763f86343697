"""Walk-forward blocks, purged: what a block's models may know, as times.

    rows     |──────────── 40 % ────────────|── block 0 ──|── block 1 ──| …
    block 0   train ≤ begin - horizon - purge   test
    block 1   train (grows) ─────────────────────►            test

A training row's label interval [t, t + horizon) ends at least `purge_minutes` before its block begins.
Training rows all lie before their block, so there is nothing after it to keep at a distance: no embargo is needed.
"""

import itertools

import msgspec
import numpy as np

from squeeze.errors import DataError
from squeeze.market.events import MINUTE_NS
from squeeze.spec import LabelSpec
from training.config import SplitSpec


class Block(msgspec.Struct, frozen=True):
    """One test block, as times in ns: it tests rows in [test_from, test_until) and trains on rows up to
    `train_until`.
    """

    index: int
    train_until_ns: int
    """Latest decision time a training row may have."""
    test_from_ns: int
    test_until_ns: int

    def trains(self, ts_ns: np.ndarray) -> np.ndarray:
        """Which rows it may be fitted on."""
        return ts_ns <= self.train_until_ns

    def tests(self, ts_ns: np.ndarray) -> np.ndarray:
        """Which rows it predicts."""
        return (ts_ns >= self.test_from_ns) & (ts_ns < self.test_until_ns)


def blocks(ts_ns: np.ndarray, label: LabelSpec, splits: SplitSpec) -> list[Block]:
    """The blocks of these rows, which rise in time; the same arithmetic as the referee's.

    >>> hour = 60 * MINUTE_NS
    >>> label = LabelSpec(name="l", threshold_usd=1.0, horizons_minutes=(60,), every_minutes=60, recorded="rows")
    >>> first, second = blocks(np.arange(10) * hour, label, SplitSpec(blocks=2, test_share=0.4))
    >>> [t // hour for t in (first.train_until_ns, first.test_from_ns, first.test_until_ns)]
    [4, 6, 8]
    """
    reach_ns = (label.horizons_minutes[-1] + splits.purge_minutes) * MINUTE_NS
    cuts = (np.linspace(1 - splits.test_share, 1.0, splits.blocks + 1) * len(ts_ns)).astype(int)
    found = []
    for index, (low, high) in enumerate(itertools.pairwise(cuts)):
        if high <= low:
            raise DataError(f"{len(ts_ns)} rows are too few for {splits.blocks} blocks")
        end_ns = int(ts_ns[high]) if high < len(ts_ns) else int(ts_ns[-1]) + 1
        found.append(Block(index, int(ts_ns[low]) - reach_ns, int(ts_ns[low]), end_ns))
    return found
