"""One look of the signal clock: what the tape, the newest frame and the model's newest word come to.

events ─► Tape ────────┐
frames ─► zones, page ─┼─► Lookout.view ─► View
model ──► Word ────────┘
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec

from squeeze.atlas import Page
from squeeze.market.events import AnyEvent
from squeeze.patterns import voids
from squeeze.patterns.catalogue import NAMES
from squeeze.patterns.pattern import Finding
from squeeze.patterns.scene import Scene
from squeeze.signals.staleness import StalenessSpec, is_silent, stale
from squeeze.signals.tape import Tape, TapeState
from squeeze.signals.view import View, VoidView, Word
from squeeze.signals.zone_record import ZoneRecord, ZoneState
from squeeze.spec import Spec
from squeeze.state import Frame, Unhealthy

Voids = tuple[VoidView | None, VoidView | None]
VOIDS = NAMES.index("voids")
BothSides = tuple[tuple[str, ...], tuple[str, ...]]
NO_WORDS: BothSides = ((), ())


class Words(Sequence[tuple[str, ...]]):
    """The flagged patterns in words, by side. They are put into words when they are read: of most steps never."""

    def __init__(self, findings: Callable[[], Iterable[Finding]]) -> None:
        self._findings = findings

    @cached_property
    def both(self) -> BothSides:
        """Of longs and of shorts."""
        words: tuple[list[str], list[str]] = [], []
        for found in self._findings():
            words[found.side].append(found.reason)
        return tuple(words[0]), tuple(words[1])

    def __len__(self) -> int:
        return len(self.both)

    def __getitem__(self, side: Any) -> Any:
        return self.both[side]

    def __repr__(self) -> str:
        return repr(self.both)


class LookoutState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lookout at rest."""

    tape: TapeState
    zones: ZoneState
    patterns: dict[str, tuple[bool, bool]]
    words: BothSides
    map_ns: int
    voids: Voids = (None, None)


class Lookout:
    """Hears events and frames of one symbol; `view` tells what can be seen. All of it was known by then."""

    def __init__(self, spec: Spec, limits: StalenessSpec | None = None) -> None:
        self.tape = Tape(spec, limits)
        self.limits = self.tape.limits
        self.zones = ZoneRecord(spec.map.bin_log, None if spec.atlas is None else spec.atlas.track)
        self.step_ns = spec.market.step_seconds * 1_000_000_000
        self.patterns: dict[str, tuple[bool, bool]] = {}
        self.words: Sequence[tuple[str, ...]] = NO_WORDS
        self.voids: Voids = (None, None)
        self.map_ns = 0
        """When the liquidation map last took something in; 0 for never."""
        self.scene: Scene | None = None
        """Of the newest frame, where there is an atlas; not kept in a snapshot."""

    def on_event(self, event: AnyEvent) -> None:
        """Hear an event; it counts from when it is known. `StepError` for another symbol's."""
        self.tape.on_event(event)

    def on_frame(self, frame: Frame, open_interest_base: float) -> None:
        """Take in what a step has shown; `open_interest_base` is what its shares are of."""
        self.zones.on_frame(frame, open_interest_base)
        page = frame.page
        self.scene = None if page is None else page.scene
        if page is not None:
            flags = page.found["flag"].tolist()
            self.patterns = {name: (bool(long), bool(short)) for name, (long, short) in zip(NAMES, flags, strict=True)}
            self.words = Words(page.findings)
            self.voids = _voids(page)
            self.map_ns = max(self.map_ns, frame.close_ns - int(page.scene.now["map_age_ns"][0]))
        else:
            self.patterns, self.words, self.voids = {}, NO_WORDS, (None, None)
            if frame.mark.event_ns and not frame.unhealthy & Unhealthy.BARS_STALE:
                self.map_ns = frame.close_ns

    def view(self, now_ns: int, word: Word | None, more_stale: tuple[str, ...] = ()) -> View:
        """The view at `now_ns`; `more_stale` names what else is too old to act on. `StepError` for a clock that goes
        back.
        """
        facts: dict[str, Any] = self.tape.facts(now_ns)
        limits, ear = self.limits, self.tape.ear
        venues = sorted(ear.venues.items())
        silent = [name for name, heard in venues if is_silent(heard, now_ns, limits.venue_seconds, limits)]
        too_old = stale(limits, now_ns, ear.marked, ear.venues, self.map_ns, self.step_ns)
        return View(
            **facts,
            word=word,
            zones=self.zones.seen_from(facts["mark"]),
            patterns=self.patterns,
            pattern_words=self.words,
            voids=self.voids,
            map_age_ns=now_ns - self.map_ns,
            stale_venues=tuple(silent),
            stale=(*too_old, *more_stale),
        )

    def snapshot(self) -> LookoutState:
        """The whole state."""
        words, tape, zones = (self.words[0], self.words[1]), self.tape.snapshot(), self.zones.snapshot()
        return LookoutState(tape, zones, self.patterns, words, self.map_ns, self.voids)

    def restore(self, state: LookoutState) -> None:
        """Go on from a snapshot; `StepError` for one of another shape."""
        self.tape.restore(state.tape)
        self.zones.restore(state.zones)
        self.patterns, self.words, self.map_ns, self.scene = dict(state.patterns), state.words, state.map_ns, None
        self.voids = state.voids


def _voids(page: Page) -> Voids:
    below, above = (
        None if edges is None else VoidView(low=math.exp(edges[0]), high=math.exp(edges[1]))
        for edges in voids.nearest_log(page.scene, page.found[VOIDS])
    )
    return below, above
