"""Does a feature look ahead? Everything that became known after a moment is replaced, and nothing before it may change.

    found = leaks(market_features(spec), events, at_ns)    # of this library's own frames: an empty list
    found = leaks(my_features, events, at_ns)              # of yours: feature, first step, how many steps

A feature function takes events in order of `known_at_ns` and gives `Seen`, step by step. The moment should lie where
something is about to become known: at the close of a step, in the middle of a history. What is wrong before the events
are made (a mapping that takes an open for a close, a lag left out) shows when the *files* are replaced after the
moment: `changed` compares any two runs of the same function.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from squeeze.market.events import (
    AnyEvent,
    Bar,
    BookUpdate,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    LiquidationSum,
    Price,
    Quote,
    Trade,
)
from squeeze.market.steps import steps
from squeeze.spec import Spec
from squeeze.state import Frame, MarketState

NOISE, NOTHING, GARBAGE = "noise", "nothing", "a garbage bar"
"""What may stand in place of the future: every later event says something else; there is none; the bars that are still
open at the moment close far away, and all else is as it was.
"""
GARBAGE_MOVE = 1.5
"""Factor of the prices of a garbage bar."""
STEP = "the step itself"
"""Named where a step is missing without the future."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is known at the close of one step: numbers or arrays by name."""

    close_ns: int
    values: Mapping[str, np.ndarray | float]


@dataclass(frozen=True, slots=True)
class Leak:
    """A feature that changed at or before the moment."""

    feature: str
    future: str
    """Which future made it change."""
    first_ns: int
    """Close of the first step that changed."""
    steps: int
    """How many did."""


Features = Callable[[list[AnyEvent]], Iterable[Seen]]
"""Events in order of `known_at_ns` → what was known, step by step."""


def leaks(features: Features, events: Sequence[AnyEvent], at_ns: int, seed: int = 0) -> list[Leak]:
    """Every feature whose value at or before `at_ns` depends on what became known after it; none if it is sound.

    Values are compared bit for bit, NaN with NaN. Raises `ValueError` where the moment leaves no step before it, or no
    event after it, so that an empty list means something.
    """
    events = list(events)
    before = list(features(events))
    if not any(seen.close_ns <= at_ns for seen in before) or not any(e.known_at_ns > at_ns for e in events):
        raise ValueError(f"at_ns: {at_ns} must have steps before it and events after it")
    found = []
    for future, instead in futures(events, at_ns, seed).items():
        after = list(features(instead))
        whole = before
        if future == NOTHING:  # the last step is the one that the last event falls into
            last_ns = max((e.known_at_ns for e in instead), default=0)
            ends = [seen.close_ns for seen in before if last_ns <= seen.close_ns]
            whole = [seen for seen in before if not ends or seen.close_ns <= ends[0]]
        found += changed(whole, after, at_ns, future)
    return found


def changed(before: Iterable[Seen], after: Iterable[Seen], at_ns: int, future: str = NOISE) -> list[Leak]:
    """What differs between two runs at or before `at_ns`, by feature, in the order of the first difference."""
    others = {seen.close_ns: seen.values for seen in after}
    at: dict[str, list[int]] = {}
    for seen in before:
        if seen.close_ns > at_ns:
            continue
        other = others.get(seen.close_ns)
        names = [STEP] if other is None else _different(seen.values, other)
        for name in names:
            at.setdefault(name, []).append(seen.close_ns)
    return [Leak(name, future, closes[0], len(closes)) for name, closes in at.items()]


def _different(one: Mapping[str, np.ndarray | float], other: Mapping[str, np.ndarray | float]) -> list[str]:
    same = {name for name in one.keys() & other.keys() if _bits(one[name]) == _bits(other[name])}
    return [name for name in dict.fromkeys((*one, *other)) if name not in same]


def _bits(value: np.ndarray | float) -> tuple[object, ...]:
    array = np.asarray(value)
    return array.shape, array.dtype.str, np.where(np.isnan(array), np.nan, array).tobytes()


def futures(events: list[AnyEvent], at_ns: int, seed: int = 0) -> dict[str, list[AnyEvent]]:
    """The events with each future in place of what became known after `at_ns`."""
    rng = np.random.default_rng(seed)
    known = [e for e in events if e.known_at_ns <= at_ns]
    return {
        NOISE: [e if e.known_at_ns <= at_ns else noise(e, rng) for e in events],
        NOTHING: known,
        GARBAGE: [_garbage(e) if e.known_at_ns > at_ns and _is_open(e, at_ns) else e for e in events],
    }


def _is_open(event: AnyEvent, at_ns: int) -> bool:
    """Whether a bar is the one that runs at a moment, or closes right then and is not known yet."""
    return isinstance(event, Bar) and event.event_ns - event.cadence_ns <= at_ns


def _garbage(bar: AnyEvent) -> AnyEvent:
    if not isinstance(bar, Bar):
        return bar
    prices = {name: getattr(bar, name) * GARBAGE_MOVE for name in ("open", "high", "low", "close")}
    return msgspec.structs.replace(bar, **prices, volume_base=bar.volume_base * 100)


def noise(event: AnyEvent, rng: np.random.Generator) -> AnyEvent:
    """The event at its times, saying something else that could be; a hole stays a hole."""
    size, move, rate = float(rng.lognormal(0, 1)), math.exp(rng.normal(0, 0.05)), float(rng.normal(0, 0.01))
    match event:
        case Bar():
            low, one, other, high = np.sort(event.close * np.exp(rng.normal(0, 0.05, 4))).tolist()
            says = {"open": one, "high": high, "low": low, "close": other}
            says |= {"volume_base": event.volume_base * size, "taker_buy_base": event.taker_buy_base * size}
        case Funding() | FundingForecast():
            says = {"funding_rate": rate}
        case Liquidation():
            says = {"side": 1 - event.side, "usd": event.usd * 10 * size}
        case LiquidationSum():
            says = {"long_usd": 1e7 * size, "short_usd": 1e7 / size}
        case Trade():
            says = {
                "price": event.price * move,
                "size_base": event.size_base * size,
                "taker_buys": not event.taker_buys,
            }
        case Price():
            says = {"price": event.price * move}
        case Quote():
            says = {"bid": event.bid * move, "ask": event.ask * move, "bid_size_base": event.bid_size_base * size}
        case BookUpdate():
            says = {
                name: [(price * move, coins * size) for price, coins in getattr(event, name)]
                for name in ("bids", "asks")
            }
        case Gap():
            says = {}
        case _:
            amounts = ("open_interest_base", "depth_base", "notional_usd")
            says = {name: getattr(event, name) * size for name in amounts if hasattr(event, name)}
    return msgspec.structs.replace(event, **says)


def market_features(spec: Spec) -> Features:
    """This library's own frames, as `leaks` takes them."""

    def features(events: list[AnyEvent]) -> Iterator[Seen]:
        state = MarketState(spec)
        for step in steps(events, spec.market.symbol, state.length_ns, spec.map.bin_log):
            yield seen(state.advance(step), state)

    return features


def seen(frame: Frame, state: MarketState) -> Seen:
    """Everything in a frame by name: scalars (side,), channels (side, price), and the rest."""
    values: dict[str, np.ndarray | float] = {
        "mark": frame.mark.close,
        "bin_width_log": frame.bin_width_log,
        "swept_share": frame.swept_share,
        "zones_in_reach": float(len(frame.zones)),
        "unhealthy": float(frame.unhealthy),
        "degraded": float(frame.degraded),
    }
    values |= {name: frame.scalars[:, i] for i, name in enumerate(state.scalar_names)}
    values |= {name: frame.channels[:, i] for i, name in enumerate(state.channel_names)}
    return Seen(frame.close_ns, values)
