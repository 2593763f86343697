"""The four laws of the design over simulated and recorded markets."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

from squeeze.heatmaps import liquidation
from squeeze.market.events import (
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    AnyEvent,
    Bar,
    Funding,
    Liquidation,
    LiquidationSum,
    OpenInterest,
)
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake, read_events
from squeeze.market.steps import StepBuilder, steps
from squeeze.simulator import SimulatorSpec, simulate, write_recording
from squeeze.spec import FrameSpec, LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from squeeze.state import Frame, MarketState, Unhealthy

CONFIGS = Path(__file__).parents[1] / "configs" / "import"
FRAME = FrameSpec(
    price_bins=24,
    windows_minutes=(15.0, 60.0, 240.0),
    sigma_windows_minutes=(60.0, 240.0),
    map_sigma_windows_minutes=(60.0, 240.0),
    open_interest_windows_minutes=(60.0, 240.0),
    swept_half_lives_minutes=(15.0, 60.0),
)
LABEL = LabelSpec(name="x", threshold_usd=1e6, horizons_minutes=(60,), every_minutes=60, recorded="days")


def spec_of(market: MarketSpec, **map_fields: object) -> Spec:
    return Spec(
        market=market, frame=FRAME, map=MapSpec(**map_fields), label=LABEL, signal=SignalSpec(horizon_minutes=60)
    )


def simulated_market(step_seconds: int, warm_up_hours: float) -> MarketSpec:
    def stream(kind: str, stale: float | None = None) -> StreamSpec:
        return StreamSpec(venue="simulated", kinds=(kind,), stale_minutes=stale)

    return MarketSpec(
        symbol="SIMUSDT",
        step_seconds=step_seconds,
        bars=stream("bar_1m", 10.0),
        mark=stream("mark_bar_1m", 10.0),
        open_interest=stream("open_interest", 10.0),
        funding=stream("funding"),
        liquidations=stream("liquidation"),
        warm_up_hours=warm_up_hours,
    )


RECORDED = MarketSpec(
    symbol="BTCUSDT",
    step_seconds=900,
    bars=StreamSpec(venue="binance", kinds=("bar_15m",), stale_minutes=15.0),
    open_interest=StreamSpec(venue="binance", kinds=("open_interest",), stale_minutes=60.0),
    funding=StreamSpec(venue="binance", kinds=("funding",)),
    liquidations=StreamSpec(venue="binance+bybit+okx", kinds=("liquidation_1h",), stale_minutes=360.0),
    warm_up_hours=48.0,
)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Lake:
    folder = tmp_path_factory.mktemp("simulated")
    mapping = write_recording(simulate(SimulatorSpec(days=3, warm_up_days=2), 11), folder / "files")
    lake = Lake(folder / "lake")
    import_mapping(mapping, folder / "files", lake)
    return lake


@pytest.fixture(scope="module")
def recorded(recordings, tmp_path_factory) -> Lake:
    """Nine days of the shipped mapping; hours of liquidations are missing among them."""
    folder = tmp_path_factory.mktemp("recorded")
    names = ("bars_15m", "open_interest_5m", "funding", "liquidations_1h")
    shipped = yaml.safe_load((CONFIGS / "btc-2026.yaml").read_text())["files"]
    files = [f for f in shipped if Path(f["file"]).stem in names]
    for file in files:
        file |= {"from": date(2026, 2, 27), "until": date(2026, 3, 8)}
    (folder / "mapping.yaml").write_text(yaml.safe_dump({"files": files}))
    lake = Lake(folder / "lake")
    import_mapping(folder / "mapping.yaml", recordings, lake)
    return lake


MINUTES, FIVE_MINUTES = spec_of(simulated_market(60, 4.0)), spec_of(simulated_market(300, 12.0), open_interest="volume")
AGEING = spec_of(RECORDED, ageing_half_life_hours=168.0)


@dataclass
class Market:
    """A spec, the events it reads, and the frames that their history gives."""

    spec: Spec
    events: list[AnyEvent]
    frames: list[Frame]
    lake: Lake


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("simulated", MINUTES), id="simulated-1m"),
        pytest.param(("simulated", FIVE_MINUTES), id="simulated-5m-volume"),
        pytest.param(("recorded", AGEING), id="recorded-15m", marks=pytest.mark.real),
    ],
)
def market(request) -> Market:
    """At one-minute steps fourteen hours are enough."""
    name, spec = request.param
    lake = request.getfixturevalue(name)
    events = list(read_events(lake, spec.market))
    if spec.market.step_seconds == 60:
        events = [e for e in events if e.known_at_ns < events[0].known_at_ns + 14 * HOUR_NS]
    return Market(spec, events, fold(spec, events), lake)


def fold(spec: Spec, events: Iterable[AnyEvent]) -> list[Frame]:
    state = MarketState(spec)
    return [state.advance(s) for s in steps(events, spec.market.symbol, state.length_ns)]


def bits(frame: Frame) -> bytes:
    """Everything in a frame, as bytes."""
    arrays = frame.channels.tobytes() + frame.scalars.tobytes() + frame.swept_share.tobytes()
    rest = (frame.symbol, frame.close_ns, frame.mark, frame.bin_width_log, frame.zones, frame.degraded, frame.unhealthy)
    return arrays + msgspec.msgpack.encode(rest)


def healthy(frames: list[Frame]) -> list[Frame]:
    return [f for f in frames if not f.unhealthy]


# One step


def test_the_markets_show_what_the_laws_are_about(market):
    events, frames = market.events, market.frames
    assert len(healthy(frames)) > 500
    assert {type(e) for e in events} >= {Bar, OpenInterest, Funding}
    assert any(isinstance(e, Liquidation | LiquidationSum) for e in events)
    assert any(f.zones for f in frames)
    assert np.mean([f.swept_share for f in healthy(frames)], axis=0).min() > 0


def test_frames_of_the_lake_are_those_of_the_same_events_one_by_one(market):
    spec, events, history = market.spec, market.events, market.frames
    again = list(read_events(market.lake, spec.market, None, events[-1].known_at_ns + 1))
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(events)
    rng = np.random.default_rng(1)
    state, builder = MarketState(spec), StepBuilder(spec.market.symbol, spec.market.step_seconds * SECOND_NS)
    close_ns = -(-events[0].known_at_ns // state.length_ns) * state.length_ns
    now_ns, at, live = events[0].known_at_ns, 0, []
    while len(live) < len(history):
        # The clock looks now and then: several times in a step, or once in several.
        now_ns += int(rng.exponential(1.5 * state.length_ns)) + 1
        while at < len(events) and events[at].known_at_ns <= now_ns:
            builder.add(events[at])
            at += 1
        while close_ns <= now_ns and len(live) < len(history):
            live.append(state.advance(builder.close(close_ns)))
            close_ns += state.length_ns
    assert [bits(f) for f in live] == [bits(f) for f in history]


@pytest.mark.parametrize("cut_at", [0.3, 0.8])
def test_a_restart_from_a_snapshot_in_the_middle_changes_nothing(market, cut_at):
    spec, events, frames = market.spec, market.events, market.frames
    history = frames
    state, builder = MarketState(spec), StepBuilder(spec.market.symbol, spec.market.step_seconds * SECOND_NS)
    cut = int(cut_at * len(history))
    live, at = [], 0
    for count, frame in enumerate(history):
        while at < len(events) and events[at].known_at_ns <= frame.close_ns + state.length_ns // 2:
            builder.add(events[at])
            at += 1
        if count == cut:
            market_bytes, builder_bytes = state.snapshot(), msgspec.msgpack.encode(builder.snapshot())
            state, builder = MarketState(spec), StepBuilder(spec.market.symbol, state.length_ns)
            state.restore(market_bytes)
            builder.restore(msgspec.msgpack.decode(builder_bytes))
        live.append(state.advance(builder.close(frame.close_ns)))
    assert [bits(f) for f in live] == [bits(f) for f in history]


def test_the_same_events_give_the_same_bits_twice(market):
    spec, events, frames = market.spec, market.events, market.frames
    assert [bits(f) for f in fold(spec, events)] == [bits(f) for f in frames]


# Known-at


def noise(event: AnyEvent, rng: np.random.Generator) -> AnyEvent:
    """The event at its times, saying something else."""
    size = float(rng.lognormal(0, 1))
    match event:
        case Bar():
            low, one, other, high = np.sort(event.close * np.exp(rng.normal(0, 0.05, 4))).tolist()
            prices = {"open": one, "high": high, "low": low, "close": other}
            volumes = {"volume_base": event.volume_base * size, "taker_buy_base": event.taker_buy_base * size}
            return msgspec.structs.replace(event, **prices, **volumes)
        case OpenInterest():
            return msgspec.structs.replace(event, open_interest_base=event.open_interest_base * size)
        case Funding():
            return msgspec.structs.replace(event, funding_rate=float(rng.normal(0, 0.01)))
        case Liquidation():
            return msgspec.structs.replace(event, side=int(rng.integers(2)), usd=event.usd * 10 * size)
        case LiquidationSum():
            return msgspec.structs.replace(event, long_usd=1e7 * size, short_usd=1e7 / size)


def assert_known_at(frames_of: Callable[[list[AnyEvent]], list[Frame]], events: list[AnyEvent], t_ns: int) -> None:
    """Frames up to `t_ns` are the same whatever became known after it: noise, or nothing at all."""
    rng = np.random.default_rng(t_ns)
    events = [e for e in events if e.known_at_ns <= t_ns + 5 * HOUR_NS]  # what lies further ahead has its own moment
    whole = [bits(f) for f in frames_of(events) if f.close_ns <= t_ns]
    noisy = frames_of([e if e.known_at_ns <= t_ns else noise(e, rng) for e in events])
    assert [bits(f) for f in noisy if f.close_ns <= t_ns] == whole, "noise in the future changed the past"
    assert len(noisy) > len(whole) > 0
    cut = frames_of([e for e in events if e.known_at_ns <= t_ns])
    assert [bits(f) for f in cut if f.close_ns <= t_ns] == whole, "the past needs the future"


def moments(spec: Spec, events: list[AnyEvent]) -> list[int]:
    """Closes, and times between two closes, from the middle on."""
    first, last = events[0].known_at_ns, events[-1].known_at_ns
    length = spec.market.step_seconds * SECOND_NS
    closes = [int(first + part * (last - first)) // length * length for part in (0.45, 0.7, 0.95)]
    return [closes[0], closes[1] + length // 3, closes[2] + length - 1]


@pytest.mark.parametrize("which", range(3))
def test_noise_in_the_future_changes_no_past_frame(market, which):
    spec, events = market.spec, market.events
    assert_known_at(lambda es: fold(spec, es), events, moments(spec, events)[which])


def test_noise_bites_in_the_first_step_that_knows_it(market):
    spec, events, frames = market.spec, market.events, market.frames
    t_ns = moments(spec, events)[0]
    rng = np.random.default_rng(0)
    noisy = fold(spec, [e if e.known_at_ns <= t_ns else noise(e, rng) for e in events])
    first = next(i for i, f in enumerate(frames) if f.close_ns > t_ns)
    assert all(bits(a) != bits(b) for a, b in zip(frames[first : first + 100], noisy[first : first + 100], strict=True))


LEAKS = {
    "bars stamped at their open": (
        lambda e: isinstance(e, Bar),
        lambda e: msgspec.structs.replace(e, known_at_ns=e.known_at_ns - e.cadence_ns),
    ),
    "open interest known too soon": (
        lambda e: isinstance(e, OpenInterest),
        lambda e: msgspec.structs.replace(e, known_at_ns=e.known_at_ns - 20 * MINUTE_NS),
    ),
    "sums stamped at their open": (
        lambda e: isinstance(e, LiquidationSum | Liquidation),
        lambda e: msgspec.structs.replace(e, known_at_ns=e.known_at_ns - HOUR_NS),
    ),
}


@pytest.mark.parametrize("leak", list(LEAKS))
def test_a_planted_leak_is_caught(market, leak):
    spec, events = market.spec, market.events
    leaks, sooner = LEAKS[leak]

    def leaky(es: list[AnyEvent]) -> list[Frame]:
        return fold(spec, sorted((sooner(e) if leaks(e) else e for e in es), key=lambda e: e.known_at_ns))

    with pytest.raises(AssertionError, match=r"noise in the future|the past needs"):
        assert_known_at(leaky, events, moments(spec, events)[0])


@pytest.mark.parametrize("lag_s", [0, 1, 60, 61, 119])
def test_an_open_interest_stamp_is_seen_by_the_first_step_after_its_publication(simulated, lag_s):
    events = [e for e in read_events(simulated, MINUTES.market) if not isinstance(e, OpenInterest)]
    events = [e for e in events if e.known_at_ns < events[0].known_at_ns + HOUR_NS]
    stamped_ns = events[0].known_at_ns // MINUTE_NS * MINUTE_NS + 30 * MINUTE_NS
    at = {"venue": "simulated", "symbol": "SIMUSDT"}
    events += [
        OpenInterest(**at, event_ns=ns, known_at_ns=ns + lag, open_interest_base=coins)
        for ns, lag, coins in ((events[0].known_at_ns, 0, 1000.0), (stamped_ns, lag_s * SECOND_NS, 1234.0))
    ]
    state = MarketState(MINUTES)
    seen = []
    for step in steps(sorted(events, key=lambda e: e.known_at_ns), "SIMUSDT", MINUTE_NS):
        state.advance(step)
        if state.map.open_interest_base == 1234.0:
            seen.append(step.close_ns)
    assert seen[0] == stamped_ns + -(-lag_s // 60) * MINUTE_NS


# No number without health


def assert_healthy_is_whole(spec: Spec, frames: list[Frame]) -> None:
    """A frame without a flag has finite channels and price scalars; one that shows nothing has a flag."""
    prices = len(MarketState(spec).price.names)
    for frame in frames:
        whole = np.isfinite(frame.channels).all() and np.isfinite(frame.scalars[:, :prices]).all()
        assert whole or frame.unhealthy, f"{frame.close_ns} is healthy and not finite"
        assert not np.isinf(frame.scalars).any()
        if not frame.unhealthy:
            assert np.isfinite(frame.swept_share).all()
            assert math.isfinite(frame.bin_width_log)
            assert math.isfinite(frame.mark.close)


def test_every_healthy_frame_is_whole(market):
    spec, frames = market.spec, market.frames
    assert_healthy_is_whole(spec, frames)


@pytest.mark.parametrize("seed", range(2))
def test_events_that_are_missing_or_not_finite_never_give_a_healthy_frame_with_holes(market, seed):
    spec, events, frames = market.spec, market.events, market.frames
    rng = np.random.default_rng(seed)
    worse = []
    for event in events:
        fate = rng.random()
        if fate < 0.02:
            continue
        if fate < 0.04:
            match event:
                case Bar() if not event.is_mark:
                    event = msgspec.structs.replace(event, volume_base=math.nan, taker_buy_base=math.nan)
                case OpenInterest():
                    coins = float(rng.choice([np.nan, np.inf, 0.0, -1.0]))
                    event = msgspec.structs.replace(event, open_interest_base=coins)
                case Funding():
                    event = msgspec.structs.replace(event, funding_rate=math.nan)
                case Liquidation():
                    event = msgspec.structs.replace(event, usd=float(rng.choice([np.nan, np.inf])))
                case LiquidationSum():
                    event = msgspec.structs.replace(event, long_usd=math.nan)
        worse.append(event)
    frames = fold(spec, worse)
    assert_healthy_is_whole(spec, frames)
    assert any(Unhealthy.NOT_FINITE in f.unhealthy for f in frames)
    assert len(healthy(frames)) > 200, "one bad event must not silence the rest"


@pytest.mark.parametrize("kind", ["open_interest", "mark"])
def test_a_stream_that_falls_silent_ends_the_healthy_frames(simulated, kind):
    events = list(read_events(simulated, MINUTES.market))
    start_ns = events[0].known_at_ns
    dead_ns, end_ns = start_ns + 20 * HOUR_NS, start_ns + 22 * HOUR_NS

    def kept(e: AnyEvent) -> bool:
        hit = isinstance(e, OpenInterest) if kind == "open_interest" else isinstance(e, Bar) and e.is_mark
        return e.known_at_ns < (dead_ns if hit else end_ns)

    frames = fold(MINUTES, filter(kept, events))
    flag = Unhealthy[f"{kind.upper()}_STALE"]
    assert not any(f.unhealthy & flag for f in frames if start_ns + 15 * MINUTE_NS < f.close_ns < dead_ns)
    assert all(f.unhealthy & flag for f in frames if f.close_ns > dead_ns + 11 * MINUTE_NS)
    assert frames[-1].close_ns > dead_ns + 100 * MINUTE_NS


# Mirror


def mirrored(event: AnyEvent, constant: float) -> AnyEvent:
    """The event of the market turned upside down: price becomes constant / price, longs become shorts."""
    match event:
        case Bar():
            prices = {"open": constant / event.open, "close": constant / event.close}
            prices |= {"high": constant / event.low, "low": constant / event.high}
            return msgspec.structs.replace(event, **prices, taker_buy_base=event.volume_base - event.taker_buy_base)
        case Funding():
            return msgspec.structs.replace(event, funding_rate=-event.funding_rate)
        case Liquidation():
            return msgspec.structs.replace(event, side=1 - event.side)
        case LiquidationSum():
            return msgspec.structs.replace(event, long_usd=event.short_usd, short_usd=event.long_usd)
    return event


def upside_down(spec: Spec, events: list[AnyEvent]) -> list[AnyEvent]:
    """All events mirrored about a price that keeps the grid: the log of the constant is a whole number of bins."""
    price = next(e.close for e in events if isinstance(e, Bar))
    bins = round(2 * math.log(price) / spec.map.bin_log)
    return [mirrored(e, math.exp(bins * spec.map.bin_log)) for e in events]


TRUE_SHIFTS = liquidation.shifts


def mirrored_contract(spec: MapSpec) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the contract that a linear one becomes upside down: each side has minus the other's."""
    distance, deviation = TRUE_SHIFTS(spec)
    return -distance[::-1], deviation[::-1]


def symmetric_contract(spec: MapSpec) -> tuple[np.ndarray, np.ndarray]:
    """A contract whose shorts are liquidated just as far above as its longs below."""
    distance, deviation = TRUE_SHIFTS(spec)
    return np.stack([distance[0], -distance[0]]), np.stack([deviation[0]] * 2)


def assert_mirrored(frames: list[Frame], turned: list[Frame]) -> None:
    """Sides swap, nothing else changes.

    Tolerance: constant / price and its logarithm round at 2e-16 of a number near 10 and a bin is 5e-4, so a border
    moves by about 1e-11 of a bin. Sums of masses keep that relative error, logarithms too; float32 then rounds at
    6e-8, and small differences of large numbers (an acceleration, a distance of 0 to an extreme) at 1e-7 of them.
    """
    assert len(frames) == len(turned)
    for frame, other in zip(frames, turned, strict=True):
        assert (frame.unhealthy, frame.degraded) == (other.unhealthy, other.degraded)
        np.testing.assert_allclose(other.channels[::-1], frame.channels, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(other.scalars[::-1], frame.scalars, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(other.swept_share[::-1], frame.swept_share, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(other.bin_width_log, frame.bin_width_log, rtol=1e-9)
        both = [[(z.side, z.near_log, z.mass_share) for z in f.zones] for f in (frame, other)]
        swapped = sorted((1 - side, near, mass) for side, near, mass in both[1])
        np.testing.assert_allclose(np.array(swapped), np.array(sorted(both[0])), rtol=1e-7, atol=1e-12)


def test_a_market_upside_down_swaps_the_sides_if_its_contract_is_mirrored_too(market, monkeypatch):
    spec, events, frames = market.spec, market.events, market.frames
    monkeypatch.setattr(liquidation, "shifts", mirrored_contract)
    assert_mirrored(frames, fold(spec, upside_down(spec, events)))


def test_a_market_upside_down_swaps_the_sides_of_a_symmetric_contract(market, monkeypatch):
    spec, events = market.spec, market.events
    monkeypatch.setattr(liquidation, "shifts", symmetric_contract)
    assert_mirrored(fold(spec, events), fold(spec, upside_down(spec, events)))


def test_the_mirror_law_can_fail(market):
    """A linear contract is no mirror of itself: if it stays the same, the check fails, in the map alone."""
    spec, events, frames = market.spec, market.events, market.frames
    turned = fold(spec, upside_down(spec, events))
    with pytest.raises(AssertionError):
        assert_mirrored(frames, turned)
    state = MarketState(spec)
    untouched = [n for n in state.scalar_names if n not in state.heat.names]
    at = [state.scalar_names.index(n) for n in untouched]
    for frame, other in zip(frames, turned, strict=True):
        np.testing.assert_allclose(other.scalars[::-1][:, at], frame.scalars[:, at], rtol=1e-5, atol=1e-6)


def test_how_far_a_linear_contract_is_from_its_mirror():
    """Bins that a short's liquidation price is nearer than a long's: much at 5x, less than a bin from 50x on."""
    distance, _ = TRUE_SHIFTS(MapSpec())
    nearer = dict(zip(MapSpec().leverages, (-distance[0] - distance[1]).round(2), strict=True))
    assert nearer == {5.0: 81.6, 10.0: 20.06, 20.0: 4.97, 50.0: 0.76, 100.0: 0.16}
