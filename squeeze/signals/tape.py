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

from bisect import bisect_right
from collections import Counter
from operator import attrgetter
from typing import Any

import msgspec

from squeeze.errors import StepError
from squeeze.label_spec import CascadeSpec
from squeeze.market.events import SECOND_NS, AnyEvent
from squeeze.signals.staleness import Heard, StalenessSpec
from squeeze.signals.tape_book import Held
from squeeze.signals.tape_ear import Ear
from squeeze.signals.tape_funding import FundingNow
from squeeze.signals.tape_layout import HEARD
from squeeze.signals.tape_seconds import Seconds
from squeeze.spec import Spec

PLAIN = ("mark", "open_interest_base", "looked_low", "looked_high", "long_usd", "short_usd")
_known_at = attrgetter("known_at_ns")


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

    `cascade` says what the onset of a cascade is, that of the label where it is None.
    """

    def __init__(self, spec: Spec, limits: StalenessSpec | None = None, cascade: CascadeSpec | None = None) -> None:
        self.symbol = spec.market.symbol
        self.limits = limits or StalenessSpec()
        self.seconds = Seconds(self.limits, cascade or cascade_of(spec))
        self.ear = Ear(spec.market, self.seconds)
        self.now_ns = 0
        self._pending: list[AnyEvent] = []

    def on_event(self, event: AnyEvent) -> None:
        """Take an event in; it counts from when it is known. `StepError` for another symbol's."""
        if event.symbol != self.symbol:
            raise StepError(f"a {self.symbol} tape got an event of {event.symbol}")
        self._pending.append(event)
        self.ear.expect(event)

    def advance(self, now_ns: int, *, live: bool = True) -> None:
        """Let time go on to `now_ns` and hear what is known by then; `StepError` for a time before the last.

        What is heard while `live` is False is history: its mark leads to no entry.
        """
        if now_ns < self.now_ns:
            raise StepError(f"the tape must not go back: {now_ns} after {self.now_ns}")
        ear, known = self.ear, self._pending
        ear.backfills = not live
        if known:
            known.sort(key=_known_at)
            count = bisect_right(known, now_ns, key=_known_at)
            known, self._pending = known[:count], known[count:]
            for event in known:
                ear.hear(event)
        if self.seconds.running:
            ear.run_to(now_ns // SECOND_NS + 1)
        self.now_ns = now_ns

    def facts(self, now_ns: int) -> dict[str, Any]:
        """The fields of `View` that the tape knows, as of `now_ns`, which becomes the tape's time.

        Ranges of the mark are since the last such look; `StepError` for a time before the tape's.
        """
        self.advance(now_ns)
        ear, running = self.ear, self.seconds.running
        mark_low, mark_high = ear.looked_low, ear.looked_high
        ear.looked_low = ear.looked_high = ear.mark
        bid, ask, spread_bp, depth_usd = ear.book.read()
        known: dict[str, Any] = {
            "now_ns": now_ns, "mark": ear.mark, "live": ear.live,
            "mark_ns": ear.marked.at_ns, "mark_made_ns": ear.marked.made_ns,
            "mark_low": mark_low, "mark_high": mark_high,
            "bid": bid, "ask": ask, "spread_bp": spread_bp, "depth_usd": depth_usd,
            "open_interest_base": ear.open_interest_base, "funding_8h": ear.funding.rate_8h(now_ns),
            "liquidated_total_usd": (ear.long_usd, ear.short_usd),
            "venue_age_ns": {name: now_ns - venue.at_ns for name, venue in sorted(ear.venues.items())},
        }  # fmt: skip
        if not running:
            known["liquidations_suspect"] = True
        elif now_ns % SECOND_NS:
            known |= self.seconds.facts(running, ear.so_far(), ear.mark, ear.open_interest_base)
        else:
            known |= self.seconds.facts(running - 1, None, ear.mark, ear.open_interest_base)
        return known

    def snapshot(self) -> TapeState:
        """The whole state in plain types; the range since the last look is in it too."""
        ear = self.ear
        memory, rings = self.seconds.snapshot()
        return TapeState(
            now_ns=self.now_ns,
            plain={name: getattr(ear, name) for name in PLAIN},
            memory=memory,
            rings=rings,
            heard=ear.heard,
            marked=ear.marked,
            live=ear.live,
            venues=ear.venues,
            newest_ns=ear.newest_ns,
            counts=dict(ear.counts),
            book=ear.book.snapshot(),
            funding=ear.funding,
            pending=self._pending,
        )

    def restore(self, state: TapeState) -> None:
        """Go on from a snapshot; `StepError` for one of another shape, and then nothing has changed."""
        if len(state.heard) != HEARD:
            raise StepError("the snapshot is of a tape of another release")
        # A copy: what is mutable in it must not be shared.
        state = msgspec.convert(msgspec.to_builtins(state), TapeState)
        self.seconds.restore(state.memory, state.rings)
        ear, memory = self.ear, self.seconds.memory
        for name in PLAIN:
            setattr(ear, name, state.plain[name])
        self.now_ns, ear.heard, ear.marked, ear.live = state.now_ns, state.heard, state.marked, state.live
        ear.venues, ear.newest_ns, ear.counts = state.venues, state.newest_ns, Counter(state.counts)
        ear.book.restore(state.book)
        ear.funding, self._pending = state.funding, state.pending
        for event in state.pending:
            ear.expect(event)
        ear.trades, ear.prints = bool(memory["is_trading"][0]), bool(memory["is_watching"][0])


def cascade_of(spec: Spec) -> CascadeSpec:
    """What the onset of a cascade is where the user does not say: as the label has it, or else §5.1's, with the floor
    of BTC for BTC and of DOT for all others.
    """
    if spec.label.onset is not None:
        return spec.label.onset
    return CascadeSpec() if spec.market.symbol.startswith("BTC") else CascadeSpec(floor_usd=20_000.0)
