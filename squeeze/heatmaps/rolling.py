"""Sums by price over several trailing windows, as the volume profile and the open-interest map keep them.

What is done with them in a step, and when a map is read, is compiled, in `rolling_step` and `rolling_read`.
"""

from collections.abc import Sequence

import numpy as np

from squeeze.heatmaps import grid
from squeeze.heatmaps.protocol import slide


class Rolling:
    """Sums over several trailing windows, each a ring of totals by sub-window: exact, without a decay.

    A window of W in `slots` parts holds the running part and those before it: the last W − W/slots to W. Parts begin at
    whole multiples of W/slots since 1970, and a step that closes on a border belongs to the part that ends there.
    """

    def __init__(self, windows_ns: Sequence[int], slots: int, rows: int) -> None:
        self.windows_ns = np.array(windows_ns, dtype=np.int64)
        self.slot_ns = self.windows_ns // slots
        self.ring = np.zeros((len(windows_ns), slots, rows, grid.BINS))
        self.total = np.zeros((len(windows_ns), rows, grid.BINS))
        """(window, row, price): the sum of the ring. It is kept up by adding, and where a part ends it is summed anew,
        so that it does not drift."""
        self.sums = np.zeros((len(windows_ns), rows))
        """`total` over all prices, kept up likewise."""
        self.recorded_ns = np.zeros((len(windows_ns), slots), dtype=np.int64)
        """How much of each part was recorded."""
        self.newest = np.full(len(windows_ns), -1, dtype=np.int64)
        """Number of the running part; -1 before the first."""
        self.span = np.array([grid.BINS, 0], dtype=np.int64)
        """First and end element that was ever written to; sums need not look beyond."""
        self.folded = (self.ring, self.total, self.sums, self.recorded_ns, self.newest, self.span, self.slot_ns)
        """What `rolling_step` takes first."""

    def coverage(self) -> np.ndarray:
        """Share of each window that was recorded."""
        share: np.ndarray = np.minimum(self.recorded_ns.sum(axis=1) / self.windows_ns, 1.0)
        return share

    def slide(self, shift: int) -> np.ndarray:
        """Slide all arrays; what was left behind, (window, row)."""
        gone = self.total[..., :shift] if shift > 0 else self.total[..., shift:]
        lost: np.ndarray = gone.sum(axis=2)
        slide(self.ring, shift)
        slide(self.total, shift)
        self.sums[...] = self.total.sum(axis=2)
        low, high = (np.clip(self.span - shift, 0, grid.BINS)).tolist()
        self.span[:] = (low, high) if high > low else (grid.BINS, 0)
        return lost

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        return {
            "ring": self.ring,
            "total": self.total,
            "sums": self.sums,
            "recorded_ns": self.recorded_ns,
            "newest": self.newest,
            "span": self.span,
        }
