"""The funding rate of one venue for eight hours: as forecast while that holds, else as last settled."""

import math

import msgspec

from squeeze.heatmaps.funding import FundingSpec
from squeeze.market.events import HOUR_NS, NAN, Funding, FundingForecast
from squeeze.market.tally import joined

LONGEST_INTERVAL_HOURS = FundingSpec().longest_interval_hours
"""Two settlements further apart do not show an interval: one between them may have been missed."""


class FundingNow(msgspec.Struct):
    """What is remembered of it."""

    forecast: FundingForecast | None = None
    settled: Funding | None = None
    interval_hours: float = NAN
    """As last said, or as two settlements in a row have shown."""

    def foretold(self, event: FundingForecast) -> None:
        """Take a forecast that is not older than the last."""
        self.forecast = joined(self.forecast, event)
        if event.interval_hours > 0:
            self.interval_hours = event.interval_hours

    def settles(self, event: Funding) -> None:
        """Take a settlement that is newer than the last."""
        before = self.settled
        if event.interval_hours > 0:
            self.interval_hours = event.interval_hours
        elif before is not None:
            hours = round((event.event_ns - before.event_ns) / HOUR_NS)
            if 1 <= hours <= LONGEST_INTERVAL_HOURS:
                self.interval_hours = float(hours)
        self.settled = event

    def rate_8h(self, now_ns: int) -> float:
        """Per eight hours, positive where longs pay; NaN while a rate or its interval is not known.

        >>> told = FundingNow(interval_hours=4.0)
        >>> at = {"venue": "v", "symbol": "s", "known_at_ns": 0}
        >>> told.settles(Funding(**at, event_ns=0, funding_rate=0.0001))
        >>> told.foretold(FundingForecast(**at, event_ns=0, funding_rate=0.0003, settles_ns=4 * HOUR_NS))
        >>> told.rate_8h(4 * HOUR_NS), told.rate_8h(4 * HOUR_NS + 1)
        (0.0006, 0.0002)
        """
        foretold, settled = self.forecast, self.settled
        if foretold is not None and now_ns <= foretold.settles_ns and math.isfinite(foretold.funding_rate):
            return foretold.funding_rate * 8 / self.interval_hours
        return NAN if settled is None else settled.funding_rate * 8 / self.interval_hours
