"""What the tape hears of each event, and the second that runs while it does."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from squeeze.market.events import (
    MINUTE_NS,
    NAN,
    SECOND_NS,
    AnyEvent,
    Bar,
    BookUpdate,
    Feed,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    OpenInterest,
    Price,
    Quality,
    Quote,
    Trade,
)
from squeeze.signals.staleness import Heard
from squeeze.signals.tape_book import BestPrices
from squeeze.signals.tape_funding import FundingNow
from squeeze.signals.tape_layout import (
    BUYS,
    DEPTH,
    EW_BUYS,
    EW_SELLS,
    HIGH,
    INTEREST,
    LONG_USD,
    LONGS,
    LOW,
    MARK,
    SELLS,
    SPREAD,
    VOLUME,
    WORST,
)
from squeeze.signals.tape_seconds import Seconds
from squeeze.spec import MarketSpec

TICKS = (Trade, Price, Quote, BookUpdate)
"""Events of a source that tells what changes within a second."""
KEPT = 0.5 ** (1 / 30)
"""Of what takers did a second ago, in the imbalance."""
JUMP_SHARE = 0.45
"""A stamp this far from the last is a change of counting (`MapSpec.jump_share`)."""


class Ear:
    """Hears events in the order in which they are known. What a second has heard goes to `seconds` at its end.

    `counts` has what was left out: `late`, `repeated`, `out_of_order` and `impossible`.
    """

    def __init__(self, market: MarketSpec, seconds: Seconds) -> None:
        self.seconds = seconds
        self._flow_venue = market.bars.venue
        self._mark_venue = market.bars.venue if market.mark is None else market.mark.venue
        self._mark_is_last = market.mark is None
        told = market.liquidations
        self._print_venue = told.venue if told is not None and "liquidation" in told.kinds else None
        self.mark = self.open_interest_base = self.looked_low = self.looked_high = NAN
        self.long_usd = self.short_usd = NAN
        """Liquidated since the feed began to speak."""
        self.marked = Heard()
        """When the mark was heard."""
        self.live = False
        """Whether the newest mark came live."""
        self.backfills = False
        """Whether what is heard now is history."""
        self.venues: dict[str, Heard] = {}
        self.counts: Counter[str] = Counter()
        self.book = BestPrices()
        self.funding = FundingNow()
        self.newest_ns: dict[str, int] = {}
        self.trades = self.prints = False
        """Whether a trade was heard, and whether the feed of liquidations speaks: from then on silence is zero."""
        self.heard = self._silence()
        flow, interest, funding = self._flow_venue, market.open_interest, market.funding
        takes: list[tuple[str | None, type, Callable[[Any], None]]] = [
            (flow, Trade, self._trade), (flow, Bar, self._bar), (self._mark_venue, Bar, self._bar),
            (None if self._mark_is_last else self._mark_venue, Price, self._price),
            (flow, Quote, self._quote), (flow, BookUpdate, self.book.update),
            (self._print_venue, Liquidation, self._print),
            (None if interest is None else interest.venue, OpenInterest, self._stamp),
            (None if funding is None else funding.venue, Funding, self._settle),
            (None if funding is None else funding.venue, FundingForecast, self._foretell),
        ]  # fmt: skip
        self._take = {(venue, kind): take for venue, kind, take in takes if venue is not None}
        """What each event is for, by its venue and kind; of others only that they came."""

    def expect(self, event: AnyEvent) -> None:
        """Be told of an event as it comes, whenever it will be known."""
        book = self.book
        if event.known_at_ns > book.settles_ns:
            book.settle()
        if event.venue == self._flow_venue and isinstance(event, BookUpdate | Gap) and _tells_book(event):
            book.expect(event)

    def hear(self, event: AnyEvent) -> None:
        """Take in an event that is known now, in the second that runs then."""
        second = -(-event.known_at_ns // SECOND_NS)
        if second > self.seconds.running:
            self.run_to(second)
        name, kind = event.venue, type(event)
        venue = self.venues.get(name)
        if venue is None:
            venue = self.venues[name] = Heard()
        if isinstance(event, Gap):
            self._lose(event, venue)
            return
        venue.hears(event.known_at_ns, event.cadence_ns if isinstance(event, Bar) else 0, kind in TICKS)
        if not self.prints and name == self._print_venue:
            self.prints = True
            self.seconds.prints()
            self.heard[LONG_USD : LONG_USD + 4] = [0.0] * 4
            self.long_usd = self.short_usd = 0.0
        take = self._take.get((name, kind))
        if take is not None:
            take(event)

    def run_to(self, second: int) -> None:
        """Close the seconds before one, and begin it; nothing where it runs already, or is over."""
        seconds = self.seconds
        if second <= seconds.running:
            return
        if seconds.running:
            heard = self.heard
            _, _, heard[SPREAD], heard[DEPTH] = self.book.read()
            heard[WORST] = _worse(heard[WORST], heard[SPREAD])
            seconds.end(heard, second)
        else:
            seconds.begin(second)
        self.heard = self._silence()

    def so_far(self) -> list[float]:
        """What the running second has heard: a copy, as what is closed must not depend on looks."""
        shown = [*self.heard]
        _, _, shown[SPREAD], shown[DEPTH] = self.book.read()
        return shown

    def _silence(self) -> list[float]:
        """What a second in which nothing is heard has."""
        traded, printed = (0.0 if self.trades else NAN), (0.0 if self.prints else NAN)
        _, _, spread_bp, depth_usd = self.book.read()
        return [
            NAN, NAN, NAN, traded, traded, traded, printed, printed, printed, printed,
            spread_bp, spread_bp, depth_usd, 0.0, 0.0, self.open_interest_base,
        ]  # fmt: skip

    def _trade(self, event: Trade) -> None:
        if event.quality & Quality.OFF_BOOK or self._is_late(event):
            return
        usd = event.price * event.size_base
        if not (0 < event.price < math.inf and 0 <= usd < math.inf):
            self.counts["impossible"] += 1
            return
        heard = self.heard
        if not self.trades:
            self.trades = True
            self.seconds.trades()
            heard[VOLUME] = heard[BUYS] = heard[SELLS] = 0.0
        heard[VOLUME] += usd
        heard[BUYS if event.taker_buys else SELLS] += usd
        heard[EW_BUYS if event.taker_buys else EW_SELLS] += usd
        if self._mark_is_last:
            is_newest = event.event_ns >= self.newest_ns.get("last", 0)
            if is_newest:
                self.newest_ns["last"] = event.event_ns
            self._moves(event, event.price, event.price, event.price if is_newest else NAN, 0)

    def _bar(self, event: Bar) -> None:
        if event.venue != (self._mark_venue if event.is_mark else self._flow_venue):
            return
        if not event.is_mark and self.trades:
            self.counts["repeated"] += 1
            return
        edges = event.low, event.open, event.close
        if not (0 < event.low == min(edges) and max(edges) <= event.high < math.inf):
            self.counts["impossible"] += 1
        elif self._is_newer("mark" if event.is_mark else "last", event.event_ns):
            if event.is_mark != self._mark_is_last:
                self._moves(event, event.low, event.high, event.close, max(1, event.cadence_ns // SECOND_NS))
            if not event.is_mark:
                self._cover(event)

    def _cover(self, event: Bar) -> None:
        """Spread what a bar traded over its seconds."""
        last, seconds = event.event_ns // SECOND_NS, max(1, event.cadence_ns // SECOND_NS)
        price = (event.high + event.low + event.close) / 3
        volume, buys = event.volume_base * price / seconds, event.taker_buy_base * price / seconds
        sells = volume - buys
        heard, running = self.heard, self.seconds.running
        self.seconds.cover(last, seconds, volume, buys, sells)
        if last >= running:  # it closes just when it is known
            heard[VOLUME], heard[BUYS], heard[SELLS] = volume, buys, sells
        if math.isfinite(volume) and math.isfinite(buys):
            weight = KEPT ** max(0, running - last) * (1 - KEPT**seconds) / (1 - KEPT)
            heard[EW_BUYS] += buys * weight
            heard[EW_SELLS] += sells * weight

    def _price(self, event: Price) -> None:
        if event.of != "mark":
            return
        if not 0 < event.price < math.inf:
            self.counts["impossible"] += 1
        elif self._is_newer("mark", event.event_ns, ties=True):
            self._moves(event, event.price, event.price, event.price, 0)

    def _moves(self, event: AnyEvent, low: float, high: float, close: float, bar_seconds: int) -> None:
        """Hear the mark; a close of NaN belongs to a trade that came after a newer one."""
        heard = self.heard
        heard[LOW] = _least(heard[LOW], math.log(low))
        heard[HIGH] = -_least(-heard[HIGH], -math.log(high))
        self.looked_low, self.looked_high = _least(self.looked_low, low), -_least(-self.looked_high, -high)
        self.marked.hears(event.known_at_ns, bar_seconds * SECOND_NS, not bar_seconds)
        if close == close:
            self.mark, self.marked.made_ns = close, event.event_ns
            self.live = not (self.backfills or event.quality & Quality.REPLAYED)
            self.seconds.marks(bar_seconds)
        heard[MARK] = math.log(self.mark)

    def _quote(self, event: Quote) -> None:
        if self._is_newer("quote", event.event_ns, ties=True):
            self.heard[WORST] = _worse(self.heard[WORST], self.book.quoted(event))

    def _print(self, event: Liquidation) -> None:
        if self._is_late(event):
            return
        if event.side not in (0, 1) or not 0 <= event.usd < math.inf:
            self.counts["impossible"] += 1
            return
        self.heard[LONG_USD + event.side] += event.usd
        self.heard[LONGS + event.side] += 1
        if event.side == 0:
            self.long_usd += event.usd
        else:
            self.short_usd += event.usd

    def _stamp(self, event: OpenInterest) -> None:
        coins, before = event.open_interest_base, self.open_interest_base
        if not 0 < coins < math.inf:
            self.counts["impossible"] += 1
        elif self._is_newer("open_interest", event.event_ns):
            if abs(coins - before) >= JUMP_SHARE * before:
                self.seconds.recounted(coins / before)
            self.open_interest_base = self.heard[INTEREST] = coins

    def _settle(self, event: Funding) -> None:
        if math.isfinite(event.funding_rate) and self._is_newer("funding", event.event_ns):
            self.funding.settles(event)

    def _foretell(self, event: FundingForecast) -> None:
        if self._is_newer("forecast", event.event_ns, ties=True):
            self.funding.foretold(event)

    def _lose(self, event: Gap, venue: Heard) -> None:
        """A hole: what was taken for silence in it was not recorded."""
        first, heard = -(-event.event_ns // SECOND_NS), self.heard
        is_flow = event.venue == self._flow_venue
        if is_flow and _tells_book(event):
            self.book.lose(event)
            heard[WORST] = NAN
        if event.feed != Feed.BOOK and is_flow and self.trades:
            self.seconds.lose_flow(first)
            heard[VOLUME] = heard[BUYS] = heard[SELLS] = NAN
            heard[EW_BUYS] = heard[EW_SELLS] = 0.0
        if event.feed == Feed.ALL:
            venue.breaks(event.event_ns)
            if event.venue == self._mark_venue:
                self.marked.breaks(event.event_ns)
            if self.prints and event.venue == self._print_venue:
                self.seconds.lose_prints(first)
                heard[LONG_USD : LONG_USD + 4] = [NAN] * 4

    def _is_late(self, event: Trade | Liquidation) -> bool:
        late = event.known_at_ns - event.event_ns > MINUTE_NS
        self.counts["late"] += late
        return late

    def _is_newer(self, kind: str, event_ns: int, ties: bool = False) -> bool:
        """Whether an event is newer than the last of its kind, or with `ties` of the same time; counted if not."""
        newest = self.newest_ns.get(kind, 0)
        if event_ns > newest or (ties and event_ns == newest):
            self.newest_ns[kind] = event_ns
            return True
        self.counts["repeated" if event_ns == newest else "out_of_order"] += 1
        return False


def _tells_book(event: BookUpdate | Gap) -> bool:
    """Whether an event of the venue of the books changes them."""
    return not isinstance(event, Gap) or event.feed != Feed.TRADES


def _least(one: float, other: float) -> float:
    """The smaller of those that are known."""
    return one if one < other or other != other else other


def _worse(one: float, other: float) -> float:
    """The greater, NaN where either is not known."""
    return max(one, other) if one == one and other == other else NAN
