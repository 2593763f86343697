"""What a step holds of one venue: candles, taker flow by price, stamps, the book, and how complete it all is."""

import msgspec

from squeeze.market.depth import BookSummary
from squeeze.market.events import (
    NAN,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    LiquidationSum,
    OpenInterest,
    Quality,
    Quote,
)


class Candle(msgspec.Struct, frozen=True, gc=False):
    """Open, high, low, close in quote currency, and the close time (`event_ns`) of the newest bar or trade in it."""

    open: float
    high: float
    low: float
    close: float
    event_ns: int


class PriceFlow(msgspec.Struct, frozen=True, gc=False):
    """Base coins that takers bought and sold in each price bin; bin `first_bin + i` is floor(ln(price) / bin_log)."""

    bin_log: float
    first_bin: int
    buys_base: tuple[float, ...]
    sells_base: tuple[float, ...]


class VenueStep(msgspec.Struct, frozen=True):
    """One venue's part of a step; every part may be missing."""

    last: Candle | None = None
    mark: Candle | None = None
    volume_base: float = NAN
    taker_buy_base: float = NAN
    open_interest: tuple[OpenInterest, ...] = ()
    funding: tuple[Funding, ...] = ()
    liquidations: tuple[Liquidation | LiquidationSum, ...] = ()
    quality: int = Quality.GOOD
    flow: PriceFlow | None = None
    """By price, where there were trades."""
    index_price: float = NAN
    forecast: FundingForecast | None = None
    """The newest, its parts of different age put together."""
    quote: Quote | None = None
    """The newest best bid and ask."""
    book: BookSummary | None = None
    """At the close; None while there is no book that can be trusted."""
    liquidations_completeness: int | None = None
    """`Quality.GOOD` where the venue's feed gives every print, SAMPLED or UNDERCOUNTED where not; None if not known."""
    gaps: tuple[Gap, ...] = ()
    """Holes that were noticed in this step."""
