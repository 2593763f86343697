"""What holds for all trades together: one risk for each direction, a rest after each exit, and an end to a bad day."""

from collections.abc import Iterable
from typing import Literal

import msgspec


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Risk that is open, and what the UTC day has brought so far."""

    buy_percent: float = 0.0
    """Of equity, lost if the stops of all open trades that bet on a rise are hit."""
    sell_percent: float = 0.0
    day_r: float = 0.0
    """Realised today, in multiples of each trade's own risk."""

    def of(self, order: Literal["buy", "sell"]) -> float:
        """The open risk in one direction."""
        return self.buy_percent if order == "buy" else self.sell_percent


ALONE = Standing()
"""No other symbol is traded."""


def together(standings: Iterable[Standing]) -> Standing:
    """The sum: what one symbol's machine has to know of all the others.

    >>> together([Standing(buy_percent=1.0), Standing(buy_percent=0.5, day_r=-1.0)])
    Standing(buy_percent=1.5, sell_percent=0.0, day_r=-1.0)
    """
    every = list(standings)
    return Standing(
        buy_percent=sum(s.buy_percent for s in every),
        sell_percent=sum(s.sell_percent for s in every),
        day_r=sum(s.day_r for s in every),
    )
