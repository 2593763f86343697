"""One venue between two closes: what its events add up to, and what is carried on to the next step.

Apart from `steps`, which keeps the clock and the venues. What a step takes of late, repeated and out-of-order events:

- an event belongs to the step in which it became *known*, whenever it happened;
- a trade whose price is not positive and finite, or whose size is not finite or below zero, is left out:
  `impossible`, and the step is partial;
- a trade or a print that became known more than a minute (or a step, if longer) after it happened is left out: `late`;
- trades are put in order of `event_ns` for open and close, and all count for high, low and flow: `out_of_order`;
- a bar or stamp that is not newer than the last one of its kind is left out: `repeated` if of the same time, else
  `out_of_order`;
- a price, quote or forecast older than the last one of its kind is left out: `out_of_order`. Of several of one time the
  last to come counts: exchanges stamp milliseconds.
"""

import math
from collections import Counter
from functools import reduce
from operator import or_
from typing import Any

import msgspec
import numpy as np

from squeeze.arrays import doubles
from squeeze.market.books import Book
from squeeze.market.conventions import completeness
from squeeze.market.depth import BookSummary, summarise
from squeeze.market.events import (
    ALL_DEPTHS,
    MINUTE_NS,
    NAN,
    AnyEvent,
    Bar,
    BookUpdate,
    Broken,
    Feed,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    LiquidationSum,
    OpenInterest,
    Price,
    Quality,
    Quote,
    Trade,
)
from squeeze.market.tally_kernel import fold
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep

FOLD = 256
"""Trades put by before they are added up; bounds what is left to do at the close of a busy minute."""


class Carried(msgspec.Struct):
    """What a venue's next step needs to know of the ones before."""

    newest_ns: dict[str, int] = msgspec.field(default_factory=dict)
    """`event_ns` of the last event used, by kind."""
    last: tuple[float, int] | None = None
    """Price and time of the newest trade; once there was one, bars of the last price are not needed."""
    mark: tuple[float, int] | None = None
    index_price: float = NAN
    forecast: FundingForecast | None = None
    quote: Quote | None = None


class Running(msgspec.Struct):
    """One candle that grows."""

    open: float
    high: float
    low: float
    close: float
    first_ns: int
    last_ns: int

    def extended(self, more: "Running") -> "Running":
        """Both as one candle; of two that begin or end at the same time this one came first."""
        early, late = (
            (more if more.first_ns < self.first_ns else self),
            (more if more.last_ns >= self.last_ns else self),
        )
        high, low = max(self.high, more.high), min(self.low, more.low)
        return Running(early.open, high, low, late.close, early.first_ns, late.last_ns)

    def candle(self) -> Candle:
        """As it stands."""
        return Candle(self.open, self.high, self.low, self.close, self.last_ns)


class Tally:
    """One venue's events since the last close. `take` adds one, `close` gives the venue's part of the step."""

    def __init__(self, venue: str, length_ns: int, bin_log: float, counts: Counter[str]) -> None:
        self.venue = venue
        self.length_ns = length_ns
        self.late_ns = max(MINUTE_NS, length_ns)
        self.bin_log = bin_log
        self.counts = counts
        self.carried = Carried()
        self.books: dict[int, Book] = {}
        self._begin()

    def _begin(self) -> None:
        self.heard = False
        self.quality = 0
        self.trades: list[Trade] = []
        self.flow: dict[int, tuple[float, float]] = {}
        self.last: Running | None = None
        self.mark: Running | None = None
        self.bars: list[Bar] = []
        self.stamps: list[AnyEvent] = []
        self.gaps: list[Gap] = []

    def take(self, event: AnyEvent) -> None:
        """Add an event that is known in this step."""
        if isinstance(event, Trade):
            self.trades.append(event)
            if len(self.trades) == FOLD:
                self._fold()
            return
        self.quality |= event.quality
        if isinstance(event, BookUpdate):
            self.heard = True
            book = self.books.get(event.depth)
            if book is None:
                book = self.books[event.depth] = Book()
            book.apply(event)
        elif isinstance(event, Price):
            self._price(event)
        elif isinstance(event, Gap):
            self._gap(event)
        elif isinstance(event, Quote):
            if self._is_newer("quote", event.event_ns, ties=True):
                self.carried.quote = event
        elif isinstance(event, FundingForecast):
            if self._is_newer("forecast", event.event_ns, ties=True):
                self.carried.forecast = joined(self.carried.forecast, event)
        elif isinstance(event, Bar):
            self.bars.append(event)
        elif isinstance(event, Liquidation) and event.known_at_ns - event.event_ns > self.late_ns:
            self.counts["late"] += 1
        else:
            self.heard = True
            self.stamps.append(event)

    def _fold(self) -> None:
        """Add up the trades that have been put by. So many at once cost a fraction of one by one."""
        trades, self.trades = self.trades, []
        if not trades:
            return
        self.heard = True
        trades = self._usable(trades)
        count = len(trades)
        if not count:
            return
        prices = doubles(*[t.price for t in trades])
        coins = doubles(*[t.size_base if t.taker_buys else -t.size_base for t in trades])
        event_ns = np.fromiter([t.event_ns for t in trades], np.int64, count)
        last_ns = -1 if self.last is None else self.last.last_ns
        opens, closes, high, low, out_of_order, first_bin, sides = fold(prices, coins, event_ns, self.bin_log, last_ns)
        self.counts["out_of_order"] += out_of_order
        self._add_flow(first_bin, *sides.tolist())
        opened, closed = trades[opens], trades[closes]
        ran = Running(opened.price, high, low, closed.price, opened.event_ns, closed.event_ns)
        self.last = ran if self.last is None else self.last.extended(ran)

    def _usable(self, trades: list[Trade]) -> list[Trade]:
        """Without block trades, late and impossible ones; what else is wrong with them is noted."""
        flags = [t.quality for t in trades if t.quality]
        if flags:
            trades = [t for t in trades if not t.quality & Quality.OFF_BOOK]
            self.quality |= reduce(or_, flags) & ~Quality.OFF_BOOK
        late_ns = self.late_ns
        usable = [t for t in trades if t.known_at_ns - t.event_ns <= late_ns]
        self.counts["late"] += len(trades) - len(usable)
        possible = [t for t in usable if 0 < t.price < math.inf and 0 <= t.size_base < math.inf]
        if len(possible) < len(usable):
            self.counts["impossible"] += len(usable) - len(possible)
            self.quality |= Quality.PARTIAL
        return possible

    def _add_flow(self, first_bin: int, bought: list[float], sold: list[float]) -> None:
        flow = self.flow
        for bin_, (buys, sells) in enumerate(zip(bought, sold, strict=True), first_bin):
            if buys or sells:
                had = flow.get(bin_)
                flow[bin_] = (buys, sells) if had is None else (had[0] + buys, had[1] + sells)

    def _price(self, event: Price) -> None:
        self.heard = True
        if event.of == "last" or not self._is_newer(event.of, event.event_ns, ties=True):
            return
        if event.of == "index":
            self.carried.index_price = event.price
        else:
            at = Running(event.price, event.price, event.price, event.price, event.event_ns, event.event_ns)
            self.mark = at if self.mark is None else self.mark.extended(at)

    def _gap(self, event: Gap) -> None:
        self.gaps.append(event)
        if event.feed != Feed.BOOK:
            self.quality |= Quality.PARTIAL
        if event.feed != Feed.TRADES:
            for depth, book in self.books.items():
                if event.depth in (ALL_DEPTHS, depth):
                    book.lose()

    def _is_newer(self, kind: str, event_ns: int, ties: bool = False) -> bool:
        """Whether an event is newer than the last of its kind; it is counted if not, and remembered if so.

        With `ties` one of the same time counts as newer: several quotes of one millisecond come in their order.
        """
        self.heard = True
        newest = self.carried.newest_ns.get(kind, 0)
        if event_ns > newest or (ties and event_ns == newest):
            self.carried.newest_ns[kind] = event_ns
            return True
        self.counts["repeated" if event_ns == newest else "out_of_order"] += 1
        return False

    def close(self, symbol: str, close_ns: int) -> VenueStep | None:
        """The venue's part of the step, and the start of the next; None for a venue that said nothing."""
        self._fold()
        stamps = sorted(self.stamps, key=_order)
        bars = sorted(self.bars, key=_order)
        if not (self.heard or stamps or bars or self.gaps):
            return None
        kept = self._fresh_bars(bars)
        last_bars, mark_bars = [b for b in kept if not b.is_mark], [b for b in kept if b.is_mark]
        if last_bars and sum(b.cadence_ns for b in last_bars) != self.length_ns:
            self.quality |= Quality.PARTIAL
        book = self._book(symbol, close_ns)  # before `quality` and `gaps`, which a crossed one adds to
        step = VenueStep(
            last=self._last() or candle(last_bars),
            mark=self._mark() or candle(mark_bars),
            volume_base=self._volume(last_bars),
            taker_buy_base=self._taker_buys(last_bars),
            open_interest=tuple(e for e in stamps if isinstance(e, OpenInterest) and self._is_new_stamp(e)),
            funding=tuple(e for e in stamps if isinstance(e, Funding) and self._is_new_stamp(e)),
            liquidations=tuple(e for e in stamps if isinstance(e, (Liquidation, LiquidationSum))),
            quality=self.quality,
            flow=price_flow(self.flow, self.bin_log),
            index_price=self.carried.index_price,
            forecast=self.carried.forecast,
            quote=self.carried.quote,
            book=book,
            liquidations_completeness=completeness(self.venue, close_ns - 1),
            gaps=tuple(self.gaps),
        )
        self._begin()
        return step

    def _last(self) -> Candle | None:
        """The candle of the trades; in a step without one the last price stands still, as long as the venue speaks."""
        running = self.last
        if running is not None:
            self.carried.last = running.close, running.last_ns
            return running.candle()
        if self.carried.last is None or not self.heard:
            return None
        price, at_ns = self.carried.last
        return Candle(price, price, price, price, at_ns)

    def _mark(self) -> Candle | None:
        """The candle of the mark price, which venues send when it changes."""
        running = self.mark
        if running is not None:
            self.carried.mark = running.close, running.last_ns
            return running.candle()
        if self.carried.mark is None or not self.heard:
            return None
        price, at_ns = self.carried.mark
        return Candle(price, price, price, price, at_ns)

    def _volume(self, bars: list[Bar]) -> float:
        if self.carried.last is not None:
            return sum((buys + sells for buys, sells in self.flow.values()), 0.0) if self.heard else NAN
        return sum(b.volume_base for b in bars) if bars else NAN

    def _taker_buys(self, bars: list[Bar]) -> float:
        if self.carried.last is not None:
            return sum((buys for buys, _ in self.flow.values()), 0.0) if self.heard else NAN
        return sum(b.taker_buy_base for b in bars) if bars else NAN

    def _fresh_bars(self, bars: list[Bar]) -> list[Bar]:
        """The bars that are newer than all before them; those of a last price that trades give are repeats."""
        kept = []
        traded = self.last is not None or self.carried.last is not None
        for bar in bars:
            if traded and not bar.is_mark:
                self.counts["repeated"] += 1
            elif self._is_newer(f"bar_{bar.is_mark}", bar.event_ns):
                kept.append(bar)
        return kept

    def _is_new_stamp(self, event: OpenInterest | Funding) -> bool:
        return self._is_newer("open_interest" if isinstance(event, OpenInterest) else "funding", event.event_ns)

    def _book(self, symbol: str, close_ns: int) -> BookSummary | None:
        """The summary of the deepest book; a crossed one is emptied, and the hole noted."""
        for depth in sorted(self.books, key=lambda depth: depth or np.inf, reverse=True):
            book = self.books[depth]
            summary = summarise(book, self.bin_log)
            if summary is not None:
                return summary
            if book.valid and book.crossed:
                book.lose()
                self.counts["crossed"] += 1
                self.quality |= Quality.GAP_BEFORE
                self.gaps.append(
                    Gap(
                        venue=self.venue,
                        symbol=symbol,
                        event_ns=min(book.event_ns, close_ns),
                        known_at_ns=close_ns,
                        quality=int(Quality.GAP_BEFORE),
                        feed=Feed.BOOK,
                        reason=Broken.CROSSED,
                        depth=depth,
                    )
                )
        return None

    def snapshot(self) -> dict[str, Any]:
        """What the tally holds, in plain types."""
        held = {name: msgspec.to_builtins(getattr(self, name)) for name in HELD}
        flows = {"flow": [(number, *sizes) for number, sizes in self.flow.items()]}
        books = [(depth, book.snapshot()) for depth, book in self.books.items()]
        return held | flows | {"heard": self.heard, "quality": int(self.quality), "books": books}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        for name, kind in HELD.items():
            setattr(self, name, msgspec.convert(snapshot[name], kind))
        self.flow = {int(number): (float(buys), float(sells)) for number, buys, sells in snapshot["flow"]}
        self.heard, self.quality = bool(snapshot["heard"]), int(snapshot["quality"])
        self.books = {}
        for depth, book in snapshot["books"]:
            self.books[depth] = Book()
            self.books[depth].restore(book)


HELD: dict[str, Any] = {
    "carried": Carried,
    "last": Running | None,
    "mark": Running | None,
    "trades": list[Trade],
    "bars": list[Bar],
    "stamps": list[AnyEvent],
    "gaps": list[Gap],
}
"""The parts of a tally that a snapshot holds as they are."""


def candle(bars: list[Bar]) -> Candle | None:
    """The candle that spans bars given in order of time; None for none.

    >>> from functools import partial
    >>> bar = partial(Bar, venue="v", symbol="s", cadence_ns=1)
    >>> first = bar(event_ns=1, known_at_ns=1, open=10.0, high=12.0, low=9.0, close=11.0)
    >>> candle([first, bar(event_ns=2, known_at_ns=2, open=11.0, high=11.5, low=8.0, close=8.5)])
    Candle(open=10.0, high=12.0, low=8.0, close=8.5, event_ns=2)
    """
    if not bars:
        return None
    if len(bars) == 1:
        (only,) = bars
        return Candle(only.open, only.high, only.low, only.close, only.event_ns)
    high, low = max(b.high for b in bars), min(b.low for b in bars)
    return Candle(bars[0].open, high, low, bars[-1].close, bars[-1].event_ns)


def price_flow(flow: dict[int, tuple[float, float]], bin_log: float) -> PriceFlow | None:
    """Bought and sold by bin, without holes; None without trades.

    >>> price_flow({923: (3.0, 0.0), 921: (3.0, 4.0)}, 0.005)
    PriceFlow(bin_log=0.005, first_bin=921, buys_base=(3.0, 0.0, 3.0), sells_base=(4.0, 0.0, 0.0))
    """
    if not flow:
        return None
    numbers = range(min(flow), max(flow) + 1)
    buys, sells = zip(*(flow.get(number, (0.0, 0.0)) for number in numbers), strict=True)
    return PriceFlow(bin_log, numbers.start, buys, sells)


def joined(before: FundingForecast | None, now: FundingForecast) -> FundingForecast:
    """A forecast with the parts that it leaves out taken from the one before: venues send what has changed."""
    if before is None:
        return now
    names = ("funding_rate", "interval_hours", "following_rate", "settled_rate")
    rates = {n: getattr(before, n) for n in names if np.isnan(getattr(now, n))}
    return msgspec.structs.replace(now, **rates, settles_ns=now.settles_ns or before.settles_ns)


def _order(event: AnyEvent) -> tuple[int, int]:
    return event.event_ns, event.known_at_ns
