"""Rows of numbers that grow at one end and are forgotten at the other."""

from typing import Any

import numpy as np


class Table:
    """Records in the order in which they came, at most `most` of them: the oldest are forgotten.

    >>> table = Table([("ts_ns", "i8"), ("usd", "f8")], 3)
    >>> for number in range(5):
    ...     table.add((number, 0.5))
    >>> table.rows["ts_ns"].tolist(), table.lost
    ([2, 3, 4], 2)
    """

    def __init__(self, fields: list[tuple[Any, ...]], most: int) -> None:
        self.most = most
        self.lost = 0
        """How many were forgotten because there were too many."""
        self._rows = np.zeros(64, np.dtype(fields))
        self._begin = self._end = 0

    @property
    def rows(self) -> np.ndarray:
        """All of them, oldest first; to be read until the next `add`."""
        return self._rows[self._begin : self._end]

    def __len__(self) -> int:
        return self._end - self._begin

    def add(self, row: tuple[Any, ...]) -> None:
        """Append a record."""
        if self._end == len(self._rows):
            held = self.rows
            room = np.zeros(max(64, 2 * len(held)), self._rows.dtype)
            room[: len(held)] = held
            self._rows, self._begin, self._end = room, 0, len(held)
        self._rows[self._end] = row
        self._end += 1
        if len(self) > self.most:
            self._begin += 1
            self.lost += 1

    def keep(self, which: np.ndarray) -> None:
        """Forget all but those of a mask."""
        held = self.rows[which].copy()
        self._rows, self._begin, self._end = np.concatenate([held, np.zeros(64, held.dtype)]), 0, len(held)

    def packed(self) -> tuple[int, bytes]:
        """What `unpack` takes."""
        return self.lost, self.rows.tobytes()

    def unpack(self, packed: tuple[int, bytes]) -> None:
        """Hold what was packed; `ValueError` where the bytes are no whole records."""
        held = np.frombuffer(packed[1], self._rows.dtype)
        self._rows = np.concatenate([held, np.zeros(64, held.dtype)])
        self.lost, self._begin, self._end = packed[0], 0, len(held)
