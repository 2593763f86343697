"""One venue's frames as clean events: each thing once, books in order, holes named.

    frame ─► Venue.decode ─► Session.on_frame ─► events that step builder, lake and live stream take as they are

The adapters have no memory; what needs one is here: what a reconnect sends again, the mark price that values a
liquidation, the number of the last book update, the settlement that a forecast tells of afterwards. Live and replayed
frames go through the same code, so a raw log gives the events again that were acted on.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from squeeze.errors import FrameError
from squeeze.market.books import Chain, Rule, gap
from squeeze.market.events import (
    SECOND_NS,
    AnyEvent,
    BookUpdate,
    Broken,
    Feed,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    OpenInterest,
    Price,
    Quality,
    Trade,
)
from squeeze.market.instruments import Instruments
from squeeze.market.partitions import MAX_SKEW_NS
from squeeze.market.raw_segment import LOST, RawFrame
from squeeze.market.venues import Venue, venue

REMEMBERED = 4096
"""How many trades, and prints, of a symbol are remembered at least: a busy minute of BTC."""
WATCH_NS = 120 * SECOND_NS
"""How long after another connection spoke prints are compared with those remembered. Trades have numbers, and always
are; equal prints without one can be two as long as nothing is sent again."""
MARK_FRESH_NS = 60 * SECOND_NS
"""The age up to which a mark price values a liquidation."""


@dataclass
class Counts:
    """What became of the frames."""

    frames: int = 0
    events: int = 0
    refused: int = 0
    """Frames that could not be read; they have changed nothing."""
    last_refusal: str = ""
    repeated: int = 0
    """Events that had come before, left out."""
    stale_updates: int = 0
    """Book updates older than the book, or before its first snapshot, left out."""
    skewed: int = 0
    """Events stamped later than they were received."""
    gaps: Counter[str] = field(default_factory=Counter)
    """Holes, by reason."""


class Recent:
    """What came lately: the last `REMEMBERED` keys at least, twice as many at most, in two sets that take turns.

    >>> recent = Recent()
    >>> recent.add("a"), recent.add("b"), recent.add("a")
    (True, True, False)
    """

    def __init__(self) -> None:
        self._new: set[Hashable] = set()
        self._old: set[Hashable] = set()

    def add(self, key: Hashable) -> bool:
        """Remember a key; whether it is new."""
        if key in self._new:
            return False
        known = key in self._old
        self._new.add(key)
        if len(self._new) == REMEMBERED:
            self._old, self._new = self._new, set()
        return not known


@dataclass
class _Symbol:
    """What is remembered of one contract."""

    trade_ids: Recent = field(default_factory=Recent)
    prints: Recent = field(default_factory=Recent)
    chains: dict[int, Chain] = field(default_factory=dict)
    """By depth of the feed."""
    book_ns: dict[int, int] = field(default_factory=dict)
    mark: tuple[float, int] = (0.0, 0)
    """Price and when it was known."""
    stamps: dict[type, Recent] = field(default_factory=dict)
    """Of what comes by request, again and again."""
    forecast: tuple[int, float] = (0, 0.0)
    """The settlement that is forecast, and its interval in hours."""
    settling: tuple[int, float] = (0, 0.0)
    """The settlement before, while its rate has not been told."""
    heard_ns: int = 0
    feeds: dict[str, set[Feed]] = field(default_factory=dict)
    """What comes by which connection."""


class Session:
    """One venue's connections, from the first frame on.

    `wants_snapshot` names the symbols whose book waits for one: ask `Venue.snapshot_request`, or subscribe again.
    """

    def __init__(self, adapter: Venue) -> None:
        self.venue = adapter
        self.counts = Counts()
        self._symbols: dict[str, _Symbol] = {}
        self._connections: set[str] = set()
        self._began_ns = 0
        self._watch_until_ns = 0

    @property
    def wants_snapshot(self) -> set[str]:
        """Symbols of which a book has updates and no snapshot that they follow."""
        return {name for name, s in self._symbols.items() if any(chain.waits for chain in s.chains.values())}

    def on_frame(self, frame: bytes, received_ns: int, request: str = "", connection: str = "0") -> list[AnyEvent]:
        """The new events in a frame, all known at `received_ns`, which never falls.

        `FrameError` for a frame that cannot be read, and one stamped more than 10 s after its receipt: nothing has been
        taken from it, and nothing has changed but the counts.
        """
        counts = self.counts
        counts.frames += 1
        try:
            events = self.venue.decode(frame, received_ns, request)
            for event in events:
                if event.event_ns - received_ns > MAX_SKEW_NS:
                    late = (event.event_ns - received_ns) / SECOND_NS
                    raise FrameError(f"{self.venue.name}: stamped {late:.1f} s after its receipt: is the clock right?")
        except FrameError as error:
            counts.refused += 1
            counts.last_refusal = str(error)
            raise
        if request:
            events.sort(key=_event_ns)  # histories come newest first
        elif connection not in self._connections:
            self._connect(connection, received_ns)
        clean: list[AnyEvent] = []
        for event in events:
            if event.event_ns > received_ns:
                counts.skewed += 1
                event = msgspec.structs.replace(event, quality=event.quality | Quality.CLOCK_SKEW)
            self._take(event, clean, connection if not request else "")
        counts.events += len(clean)
        return clean

    def on_disconnect(self, now_ns: int, connection: str = "0") -> list[AnyEvent]:
        """The holes that a lost connection leaves, in what came by it. Its books wait for a snapshot."""
        gaps: list[AnyEvent] = []
        for name, s in self._symbols.items():
            feeds = s.feeds.pop(connection, set())
            if not feeds:
                continue
            if Feed.BOOK in feeds:
                self._lose(s)
            feed = feeds.pop() if len(feeds) == 1 else Feed.ALL
            gaps.append(self._gap(name, feed, min(s.heard_ns, now_ns), now_ns))
        self._connections.discard(connection)
        return gaps

    def forget(self, connection: str) -> None:
        """A connection has ended whose place another has taken: nothing is lost with it."""
        self._connections.discard(connection)
        for s in self._symbols.values():
            s.feeds.pop(connection, None)

    def begin(self, symbols: Iterable[str], now_ns: int) -> list[AnyEvent]:
        """The holes to begin with where a state is taken up again: what it holds of books is of another time."""
        return [self._gap(symbol, Feed.ALL, now_ns, now_ns) for symbol in symbols]

    def lose_book(self, symbol: str) -> None:
        """Have the symbol's books wait for a snapshot: a step builder found one to be wrong (`lost_books`)."""
        if symbol in self._symbols:
            self._lose(self._symbols[symbol])

    def _lose(self, s: _Symbol) -> None:
        for chain in s.chains.values():
            chain.lose()

    def _gap(self, symbol: str, feed: Feed, since_ns: int, now_ns: int) -> Gap:
        self.counts.gaps[Broken.DISCONNECTED.name] += 1
        return Gap(
            venue=self.venue.name,
            symbol=symbol,
            event_ns=since_ns,
            known_at_ns=now_ns,
            quality=int(Quality.GAP_BEFORE),
            feed=feed,
            reason=Broken.DISCONNECTED,
        )

    def _connect(self, connection: str, received_ns: int) -> None:
        if self._began_ns:
            self._watch_until_ns = received_ns + WATCH_NS
        else:
            self._began_ns = received_ns
        self._connections.add(connection)

    def _take(self, event: AnyEvent, clean: list[AnyEvent], connection: str) -> None:
        s = self._symbols.get(event.symbol)
        if s is None:
            s = self._symbols[event.symbol] = _Symbol()
        s.heard_ns = event.known_at_ns
        if connection:
            feeds = s.feeds.get(connection)
            if feeds is None:
                feeds = s.feeds[connection] = set()
            feeds.add(Feed.BOOK if isinstance(event, BookUpdate) else Feed.TRADES)
        if isinstance(event, Trade):
            self._trade(event, s, clean)
        elif isinstance(event, BookUpdate):
            self._book(event, s, clean)
        elif isinstance(event, Liquidation):
            self._liquidation(event, s, clean)
        elif isinstance(event, (OpenInterest, Funding)):
            self._stamp(event, s, clean)
        else:
            if isinstance(event, FundingForecast):
                self._forecast(event, s, clean)
            elif isinstance(event, Price) and event.of == "mark":
                s.mark = event.price, event.known_at_ns
            clean.append(event)

    def _trade(self, trade: Trade, s: _Symbol, clean: list[AnyEvent]) -> None:
        if trade.trade_id == "" or s.trade_ids.add(trade.trade_id):  # without a number nothing tells a repeat
            clean.append(trade)
        else:
            self.counts.repeated += 1

    def _book(self, update: BookUpdate, s: _Symbol, clean: list[AnyEvent]) -> None:
        chain = s.chains.get(update.depth)
        if chain is None:
            chain = s.chains[update.depth] = Chain(Rule(self.venue.name))
        stale = chain.stale
        followed, broken = chain.take(update)
        self.counts.stale_updates += chain.stale - stale
        if broken:
            self.counts.gaps[Broken.MISSED_UPDATE.name] += 1
            clean.append(gap(update, Broken.MISSED_UPDATE, s.book_ns.get(update.depth, 0)))
        for each in followed:
            held = each.known_at_ns != update.known_at_ns  # it waited for the snapshot, and can be used only now
            clean.append(msgspec.structs.replace(each, known_at_ns=update.known_at_ns) if held else each)
        if followed:
            s.book_ns[update.depth] = update.known_at_ns

    def _liquidation(self, event: Liquidation, s: _Symbol, clean: list[AnyEvent]) -> None:
        alike = sum(
            isinstance(e, Liquidation)
            and (e.symbol, e.event_ns, e.side, e.price, e.size_base)
            == (event.symbol, event.event_ns, event.side, event.price, event.size_base)
            for e in clean
        )
        key = (event.event_ns, event.side, event.price, event.size_base, alike)
        if not s.prints.add(key) and event.known_at_ns < self._watch_until_ns:
            self.counts.repeated += 1
            return
        quality = event.quality
        if event.event_ns < self._began_ns:  # OKX begins with what was before it was asked
            quality |= Quality.REPLAYED
        usd = event.usd
        mark, known_ns = s.mark
        if known_ns and event.known_at_ns - known_ns <= MARK_FRESH_NS:
            usd = event.size_base * mark
        clean.append(msgspec.structs.replace(event, usd=usd, quality=quality))

    def _stamp(self, event: OpenInterest | Funding, s: _Symbol, clean: list[AnyEvent]) -> None:
        if s.stamps.setdefault(type(event), Recent()).add(event.event_ns):
            clean.append(event)
        else:
            self.counts.repeated += 1

    def _forecast(self, event: FundingForecast, s: _Symbol, clean: list[AnyEvent]) -> None:
        """A forecast that has moved on to the next settlement says, sooner or later, what the last one was (OKX)."""
        if event.settles_ns > s.forecast[0] > 0:
            s.settling = s.forecast
        if event.settles_ns:
            s.forecast = event.settles_ns, event.interval_hours
        settled_ns, interval_hours = s.settling
        if not settled_ns or math.isnan(event.settled_rate):
            return
        s.settling = (0, 0.0)
        if settled_ns > event.known_at_ns + MAX_SKEW_NS:  # put off, not settled
            return
        funding = Funding(
            venue=event.venue,
            symbol=event.symbol,
            event_ns=settled_ns,
            known_at_ns=event.known_at_ns,
            quality=int(Quality.CLOCK_SKEW) if settled_ns > event.known_at_ns else 0,
            funding_rate=event.settled_rate,
            interval_hours=interval_hours,
        )
        self._stamp(funding, s, clean)


def _event_ns(event: AnyEvent) -> int:
    return event.event_ns


def normalise(
    frames: Iterable[RawFrame], name: str, instruments: Instruments | None = None, session: Session | None = None
) -> Iterator[AnyEvent]:
    """The events of recorded frames, as a live session would have had them.

    A frame that cannot be read is counted (pass a `session` to see its counts) and passed over, as live.
    """
    session = session or Session(venue(name, instruments))
    for frame in frames:
        if frame.request == LOST:
            yield from session.on_disconnect(frame.received_ns, frame.connection)
            continue
        try:
            yield from session.on_frame(frame.data, frame.received_ns, frame.request, frame.connection)
        except FrameError:
            continue
