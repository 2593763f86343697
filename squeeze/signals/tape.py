"""The tape: what a market has done in the last seconds, minutes and days, for the signal machine's fast clock.

    events ─► Tape.on_event ─► (wait until known) ─► the running second ─► rings, bars, histograms ─► Tape.facts

Prices are those of the model's mark, volume and book those of the venue of its bars, liquidations and open interest
those of the venues that the spec names for them. Where there are no trades, bars of the last price give volume and
takers, spread evenly over their seconds; where there are no ticks of the mark, its bars give range and close once they
are known. What the state is depends on events and time alone, not on how often it was looked at.

Late, repeated and out-of-order events are treated as in `market.tally`: a trade or a print that became known more than
a minute after it happened is left out, as is a price, quote, bar or stamp that is older than the last of its kind. An
event that comes after the clock has passed its known-at time belongs to the second that runs.
"""

import math
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from squeeze.errors import StepError
from squeeze.label_spec import CascadeSpec
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
from squeeze.signals import tape_kernel as kernel
from squeeze.signals.staleness import Heard, StalenessSpec, is_suspect
from squeeze.signals.tape_book import BestPrices, Held
from squeeze.signals.tape_funding import FundingNow
from squeeze.signals.tape_kernel import (
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
from squeeze.spec import Spec

TICKS = (Trade, Price, Quote, BookUpdate)
"""Events of a source that tells what changes within a second."""
KEPT = 0.5 ** (1 / 30)
"""Of what takers did a second ago, in the imbalance."""
JUMP_SHARE = 0.45
"""A stamp this far from the last is a change of counting (`MapSpec.jump_share`)."""
PLAIN = ("mark", "open_interest_base", "looked_low", "looked_high", "long_usd", "short_usd")
PAIRS = (
    ("liquidated_10s_usd", "long_10s", "short_10s"),
    ("prints_10s", "longs_10s", "shorts_10s"),
    ("liquidated_60s_usd", "long_60s", "short_60s"),
    ("prints_60s", "longs_60s", "shorts_60s"),
    ("liquidated_10s_usual_usd", "long_usual", "short_usual"),
    ("onset_usd", "long_onset", "short_onset"),
)
"""Fields of `View` by side, and what the kernel calls them."""


class TapeState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tape at rest."""

    now_ns: int
    plain: dict[str, float]
    memory: bytes
    rings: bytes
    heard: list[float]
    marked: Heard
    live: bool
    venues: dict[str, Heard]
    newest_ns: dict[str, int]
    counts: dict[str, int]
    book: Held
    funding: FundingNow
    pending: list[AnyEvent]


class Tape:
    """Hears one symbol's events; `facts` tells what they come to.

    `cascade` says what the onset of a cascade is, that of the label where it is None. `counts` has what was left out:
    `late`, `repeated`, `out_of_order` and `impossible`.
    """

    def __init__(self, spec: Spec, limits: StalenessSpec | None = None, cascade: CascadeSpec | None = None) -> None:
        market = spec.market
        self.symbol = market.symbol
        self.limits = limits or StalenessSpec()
        self.cascade = cascade or cascade_of(spec)
        self._flow_venue = market.bars.venue
        self._mark_venue = market.bars.venue if market.mark is None else market.mark.venue
        self._mark_is_last = market.mark is None
        told = market.liquidations
        self._print_venue = told.venue if told is not None and "liquidation" in told.kinds else None
        self._interest_venue = None if market.open_interest is None else market.open_interest.venue
        self._funding_venue = None if market.funding is None else market.funding.venue
        days = max(1, min(kernel.DAYS, round(self.cascade.trailing_days)))
        self.memory, self.rings = kernel.blank(days, self.cascade.quantile, 1440 * self.cascade.least_days)
        self.now_ns = 0
        self.mark = self.open_interest_base = self.looked_low = self.looked_high = NAN
        self.long_usd = self.short_usd = NAN
        """Liquidated since the feed began to speak."""
        self.marked = Heard()
        """When the mark was heard."""
        self.live = False
        """Whether the newest mark came live."""
        self.venues: dict[str, Heard] = {}
        self.counts: Counter[str] = Counter()
        self.book = BestPrices()
        self.funding = FundingNow()
        self._newest_ns: dict[str, int] = {}
        self._pending: list[AnyEvent] = []
        self._second, self._trades, self._prints, self._backfills = 0, False, False, False
        self._heard = self._silence()
        self._facts = np.zeros(1, kernel.FACTS)
        self._medians = (0, NAN, NAN)
        self._take: dict[type, Callable[[Any], None]] = {
            Trade: self._trade, Bar: self._bar, Price: self._price, Quote: self._quote, BookUpdate: self._update,
            Liquidation: self._print, OpenInterest: self._stamp, Funding: self._settle, FundingForecast: self._foretell,
        }  # fmt: skip

    def on_event(self, event: AnyEvent) -> None:
        """Take an event in; it counts from when it is known. `StepError` for another symbol's."""
        if event.symbol != self.symbol:
            raise StepError(f"a {self.symbol} tape got an event of {event.symbol}")
        self._pending.append(event)

    def advance(self, now_ns: int, *, live: bool = True) -> None:
        """Let time go on to `now_ns` and hear what is known by then; `StepError` for a time before the last.

        What is heard while `live` is False is history: its mark leads to no entry.
        """
        if now_ns < self.now_ns:
            raise StepError(f"the tape must not go back: {now_ns} after {self.now_ns}")
        self._backfills = not live
        known = self._pending
        known.sort(key=_known_at)
        count = bisect_right(known, now_ns, key=_known_at)
        known, self._pending = known[:count], known[count:]
        for event in known:
            self._run_to(-(-event.known_at_ns // SECOND_NS))
            self._hear(event)
        if self._second:
            self._run_to(now_ns // SECOND_NS + 1)
        self.now_ns = now_ns

    def _run_to(self, second: int) -> None:
        """Close the seconds before one, and begin it; nothing where it runs already, or is over."""
        if second <= self._second:
            return
        if self._second:
            heard = self._heard
            _, _, heard[SPREAD], heard[DEPTH] = self.book.read()
            heard[WORST] = _worse(heard[WORST], heard[SPREAD])
            kernel.close(self.memory[0], self.rings, tuple(heard), second)
        else:
            kernel.begin(self.memory[0], second)
        self._second, self._heard = second, self._silence()

    def _silence(self) -> list[float]:
        """What a second in which nothing is heard has."""
        traded, printed = (0.0 if self._trades else NAN), (0.0 if self._prints else NAN)
        _, _, spread_bp, depth_usd = self.book.read()
        mark, flow, prints = (NAN,) * 3, (traded,) * 3, (printed,) * 4
        return [*mark, *flow, *prints, spread_bp, spread_bp, depth_usd, 0.0, 0.0, self.open_interest_base]

    def _hear(self, event: AnyEvent) -> None:
        venue = self.venues.get(event.venue)
        if venue is None:
            venue = self.venues[event.venue] = Heard()
        if isinstance(event, Gap):
            self._lose(event, venue)
            return
        kind = type(event)
        venue.hears(event.known_at_ns, event.cadence_ns if isinstance(event, Bar) else 0, kind in TICKS)
        if not self._prints and event.venue == self._print_venue:
            self._prints = True
            self.memory["is_watching"] = 1
            self._heard[LONG_USD : LONG_USD + 4] = [0.0] * 4
            self.long_usd = self.short_usd = 0.0
        take = self._take.get(kind)
        if take is not None:
            take(event)

    def _trade(self, event: Trade) -> None:
        if event.venue != self._flow_venue or event.quality & Quality.OFF_BOOK or self._is_late(event):
            return
        usd = event.price * event.size_base
        if not (0 < event.price < math.inf and 0 <= usd < math.inf):
            self.counts["impossible"] += 1
            return
        heard = self._heard
        if not self._trades:
            self._trades = True
            self.memory["is_trading"] = 1
            heard[VOLUME] = heard[BUYS] = heard[SELLS] = 0.0
        heard[VOLUME] += usd
        heard[BUYS if event.taker_buys else SELLS] += usd
        heard[EW_BUYS if event.taker_buys else EW_SELLS] += usd
        if self._mark_is_last:
            is_newest = event.event_ns >= self._newest_ns.get("last", 0)
            if is_newest:
                self._newest_ns["last"] = event.event_ns
            self._moves(event, event.price, event.price, event.price if is_newest else NAN, 0)

    def _bar(self, event: Bar) -> None:
        if event.venue != (self._mark_venue if event.is_mark else self._flow_venue):
            return
        if not event.is_mark and self._trades:
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
        memory, heard = self.memory[0], self._heard
        kernel.cover(memory, self.rings, last - seconds + 1, last, volume, buys, sells)
        if last >= self._second:  # it closes just when it is known
            heard[VOLUME], heard[BUYS], heard[SELLS] = volume, buys, sells
        memory["covered"], memory["bar_seconds"] = last, seconds
        if math.isfinite(volume) and math.isfinite(buys):
            weight = KEPT ** max(0, self._second - last) * (1 - KEPT**seconds) / (1 - KEPT)
            heard[EW_BUYS] += buys * weight
            heard[EW_SELLS] += sells * weight

    def _price(self, event: Price) -> None:
        if event.of != "mark" or self._mark_is_last or event.venue != self._mark_venue:
            return
        if not 0 < event.price < math.inf:
            self.counts["impossible"] += 1
        elif self._is_newer("mark", event.event_ns, ties=True):
            self._moves(event, event.price, event.price, event.price, 0)

    def _moves(self, event: AnyEvent, low: float, high: float, close: float, bar_seconds: int) -> None:
        """Hear the mark; a close of NaN belongs to a trade that came after a newer one."""
        heard = self._heard
        heard[LOW] = _least(heard[LOW], math.log(low))
        heard[HIGH] = -_least(-heard[HIGH], -math.log(high))
        self.looked_low, self.looked_high = _least(self.looked_low, low), -_least(-self.looked_high, -high)
        self.marked.hears(event.known_at_ns, bar_seconds * SECOND_NS, not bar_seconds)
        if close == close:
            self.mark, self.marked.made_ns = close, event.event_ns
            self.live = not (self._backfills or event.quality & Quality.REPLAYED)
            self.memory["mark_seconds"] = bar_seconds
        heard[MARK] = math.log(self.mark)

    def _quote(self, event: Quote) -> None:
        if event.venue == self._flow_venue and self._is_newer("quote", event.event_ns, ties=True):
            self._heard[WORST] = _worse(self._heard[WORST], self.book.quoted(event))

    def _update(self, event: BookUpdate) -> None:
        if event.venue == self._flow_venue:
            self.book.update(event)

    def _print(self, event: Liquidation) -> None:
        if event.venue != self._print_venue or self._is_late(event):
            return
        if event.side not in (0, 1) or not 0 <= event.usd < math.inf:
            self.counts["impossible"] += 1
            return
        self._heard[LONG_USD + event.side] += event.usd
        self._heard[LONGS + event.side] += 1
        if event.side == 0:
            self.long_usd += event.usd
        else:
            self.short_usd += event.usd

    def _stamp(self, event: OpenInterest) -> None:
        if event.venue != self._interest_venue:
            return
        coins, before = event.open_interest_base, self.open_interest_base
        if not 0 < coins < math.inf:
            self.counts["impossible"] += 1
        elif self._is_newer("open_interest", event.event_ns):
            if abs(coins - before) >= JUMP_SHARE * before:
                self.memory["minute_interest"] *= coins / before
            self.open_interest_base = self._heard[INTEREST] = coins

    def _settle(self, event: Funding) -> None:
        is_told = event.venue == self._funding_venue and math.isfinite(event.funding_rate)
        if is_told and self._is_newer("funding", event.event_ns):
            self.funding.settles(event)

    def _foretell(self, event: FundingForecast) -> None:
        if event.venue == self._funding_venue and self._is_newer("forecast", event.event_ns, ties=True):
            self.funding.foretold(event)

    def _lose(self, event: Gap, venue: Heard) -> None:
        """A hole: what was taken for silence in it was not recorded."""
        memory, first, heard = self.memory[0], -(-event.event_ns // SECOND_NS), self._heard
        is_flow = event.venue == self._flow_venue
        if event.feed != Feed.TRADES and is_flow:
            self.book.lose(event)
            heard[WORST] = NAN
        if event.feed != Feed.BOOK and is_flow and self._trades:
            kernel.lose(memory, self.rings, VOLUME, 3, first)
            memory["buys"] = memory["sells"] = 0.0
            heard[VOLUME] = heard[BUYS] = heard[SELLS] = NAN
            heard[EW_BUYS] = heard[EW_SELLS] = 0.0
        if event.feed == Feed.ALL:
            venue.breaks(event.event_ns)
            if event.venue == self._mark_venue:
                self.marked.breaks(event.event_ns)
            if self._prints and event.venue == self._print_venue:
                kernel.lose(memory, self.rings, LONG_USD, 4, first)
                heard[LONG_USD : LONG_USD + 4] = [NAN] * 4

    def _is_late(self, event: Trade | Liquidation) -> bool:
        late = event.known_at_ns - event.event_ns > MINUTE_NS
        self.counts["late"] += late
        return late

    def _is_newer(self, kind: str, event_ns: int, ties: bool = False) -> bool:
        """Whether an event is newer than the last of its kind, or with `ties` of the same time; counted if not."""
        newest = self._newest_ns.get(kind, 0)
        if event_ns > newest or (ties and event_ns == newest):
            self._newest_ns[kind] = event_ns
            return True
        self.counts["repeated" if event_ns == newest else "out_of_order"] += 1
        return False

    def facts(self, now_ns: int) -> dict[str, Any]:
        """The fields of `View` that the tape knows, as of `now_ns`, which becomes the tape's time.

        Ranges of the mark are since the last such look; `StepError` for a time before the tape's.
        """
        self.advance(now_ns)
        mark_range = self.looked_low, self.looked_high
        self.looked_low = self.looked_high = self.mark
        bid, ask, spread_bp, depth_usd = self.book.read()
        known: dict[str, Any] = {
            "now_ns": now_ns, "mark": self.mark, "live": self.live,
            "mark_ns": self.marked.at_ns, "mark_made_ns": self.marked.made_ns,
            "mark_low": mark_range[0], "mark_high": mark_range[1],
            "bid": bid, "ask": ask, "spread_bp": spread_bp, "depth_usd": depth_usd,
            "open_interest_base": self.open_interest_base, "funding_8h": self.funding.rate_8h(now_ns),
            "liquidated_total_usd": (self.long_usd, self.short_usd),
            "venue_age_ns": {name: now_ns - venue.at_ns for name, venue in sorted(self.venues.items())},
        }  # fmt: skip
        if not self._second:
            return known | {"liquidations_suspect": True}
        last = self._second - 1
        if now_ns % SECOND_NS:
            last = self._second
            shown = [*self._heard]  # a copy: what is closed must not depend on looks
            _, _, shown[SPREAD], shown[DEPTH] = self.book.read()
            kernel.show(self.memory[0], self.rings, tuple(shown))
        return known | self._summed(last)

    def _summed(self, last: int) -> dict[str, Any]:
        """What the seconds up to `last` come to."""
        limits, cascade, end = self.limits, self.cascade, last // 10 * 10
        if self._medians[0] != end:
            medians = (kernel.median(self.rings, column, end) for column in (SPREAD, DEPTH))
            self._medians = (end if end < self._second else 0, *medians)  # of the second that runs more may come
        log_mark = math.log(self.mark) if self.mark == self.mark else NAN
        kernel.read(
            self.memory[0], self.rings, last, log_mark, self.open_interest_base, cascade.open_interest_share,
            cascade.floor_usd, round(60 * limits.suspect_minutes), self._facts,
        )  # fmt: skip
        told = dict(zip(kernel.FACTS.names or (), self._facts[0].item(), strict=True))
        pairs = {name: (told.pop(long), told.pop(short)) for name, long, short in PAIRS}
        moved, prints = told.pop("return_suspect_log"), told.pop("prints_suspect")
        suspect = is_suspect(limits, moved, prints, self._sigma_before(last) if prints == 0 else NAN)
        _, spread_bp, depth_usd = self._medians
        medians_told = {"spread_median_60m_bp": spread_bp, "depth_median_60m_usd": depth_usd}
        return told | pairs | medians_told | {"liquidations_suspect": suspect}

    def _sigma_before(self, last: int) -> float:
        """Deviation of a minute without the minutes in which a move would be suspect: it would hide behind itself."""
        memory = self.memory[0]
        newest = int(memory["returned"]) // 60
        variance, weight = float(memory["variance_1h"]), float(memory["weight_1h"])
        for minute in range(last // 60 - math.ceil(self.limits.suspect_minutes) + 1, newest + 1):
            kept = 0.5 ** ((newest - minute) / 60)
            variance -= kept * float(memory["square"][minute % 60])
            weight -= kept * float(memory["square_minutes"][minute % 60])
        return math.sqrt(max(0.0, variance) / weight) if weight >= 10 else NAN

    def snapshot(self) -> TapeState:
        """The whole state in plain types; the medians and the range since the last look are in it too."""
        return TapeState(
            now_ns=self.now_ns,
            plain={name: getattr(self, name) for name in PLAIN},
            memory=zlib.compress(self.memory.tobytes(), 1),
            rings=zlib.compress(self.rings.tobytes(), 1),
            heard=self._heard,
            marked=self.marked,
            live=self.live,
            venues=self.venues,
            newest_ns=self._newest_ns,
            counts=dict(self.counts),
            book=self.book.snapshot(),
            funding=self.funding,
            pending=self._pending,
        )

    def restore(self, state: TapeState) -> None:
        """Go on from a snapshot; `StepError` for one of another shape, and then nothing has changed."""
        try:
            memory, rings = zlib.decompress(state.memory), zlib.decompress(state.rings)
        except zlib.error as error:
            raise StepError(f"not a tape's snapshot: {error}") from None
        if len(memory) != self.memory.nbytes or len(rings) != self.rings.nbytes or len(state.heard) != len(self._heard):
            raise StepError("the snapshot is of a tape of another release")
        state = msgspec.convert(
            msgspec.to_builtins(state), TapeState
        )  # a copy: what is mutable in it must not be shared
        self.memory[...] = np.frombuffer(memory, kernel.TAPE)
        self.rings[...] = np.frombuffer(rings).reshape(self.rings.shape)
        for name in PLAIN:
            setattr(self, name, state.plain[name])
        self.now_ns, self._heard, self.marked, self.live = state.now_ns, list(state.heard), state.marked, state.live
        self.venues, self._newest_ns, self.counts = state.venues, state.newest_ns, Counter(state.counts)
        self.book.restore(state.book)
        self.funding, self._pending = state.funding, state.pending
        self._second = int(self.memory["second"][0])
        self._trades, self._prints = bool(self.memory["is_trading"][0]), bool(self.memory["is_watching"][0])
        self._medians = (0, NAN, NAN)


def cascade_of(spec: Spec) -> CascadeSpec:
    """What the onset of a cascade is where the user does not say: as the label has it, or else §5.1's, with the floor
    of BTC for BTC and of DOT for all others.
    """
    if spec.label.onset is not None:
        return spec.label.onset
    return CascadeSpec() if spec.market.symbol.startswith("BTC") else CascadeSpec(floor_usd=20_000.0)


def _known_at(event: AnyEvent) -> int:
    return event.known_at_ns


def _least(one: float, other: float) -> float:
    """The smaller of those that are known."""
    return one if one < other or other != other else other


def _worse(one: float, other: float) -> float:
    """The greater, NaN where either is not known."""
    return max(one, other) if one == one and other == other else NAN
