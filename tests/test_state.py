import io
import math
import zipfile

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import ConfigError, StepError
from squeeze.market.events import HOUR_NS, MINUTE_NS, Funding, Liquidation, LiquidationSum, OpenInterest, Quality
from squeeze.market.steps import Step
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.spec import FrameSpec, LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from squeeze.state import Degraded, Frame, MarketState, Unhealthy, flag_names

NAN = math.nan
START = 1_000 * 24 * HOUR_NS
MARKET = MarketSpec(
    symbol="S",
    step_seconds=60,
    bars=StreamSpec(venue="v", kinds=("bar_1m",), stale_minutes=3.0),
    mark=StreamSpec(venue="v", kinds=("mark_bar_1m",), stale_minutes=5.0),
    open_interest=StreamSpec(venue="v", kinds=("open_interest",), stale_minutes=10.0),
    funding=StreamSpec(venue="v", kinds=("funding",), stale_minutes=30.0),
    liquidations=StreamSpec(venue="v", kinds=("liquidation",), stale_minutes=20.0),
    warm_up_hours=0.5,
    gap_reset_hours=1.0,
)
FRAME = FrameSpec(
    price_bins=8,
    windows_minutes=(5.0, 15.0),
    sigma_windows_minutes=(5.0, 15.0),
    map_sigma_windows_minutes=(5.0, 15.0),
    open_interest_windows_minutes=(5.0,),
)
SPEC = Spec(
    market=MARKET,
    frame=FRAME,
    label=LabelSpec(name="x", threshold_usd=1.0, horizons_minutes=(60,), every_minutes=1, recorded="rows"),
    signal=SignalSpec(horizon_minutes=60),
)


def step(minute: int, *, price: float = 100.0, **more) -> Step:
    """A full step, closing `minute` minutes after the start; `more` replaces or, as None, removes parts."""
    close_ns = START + minute * MINUTE_NS
    at = {"venue": "v", "symbol": "S", "event_ns": close_ns, "known_at_ns": close_ns}
    wobble = price * (1 + 0.001 * math.sin(minute))
    bar = Candle(price, max(price, wobble) * 1.0005, min(price, wobble) * 0.9995, wobble, close_ns)
    parts = {
        "last": bar,
        "mark": bar,
        "volume_base": 10.0,
        "taker_buy_base": 4.0,
        "open_interest": (OpenInterest(**at, open_interest_base=5e4 + 100 * math.sin(minute)),),
        "funding": (Funding(**at, funding_rate=1e-4),),
        "liquidations": (Liquidation(**at, side=minute % 2, usd=1e4),),
    }
    parts = {name: value for name, value in (parts | more).items() if value is not None}
    return Step("S", close_ns, MINUTE_NS, {"v": VenueStep(**parts)})


def empty(minute: int) -> Step:
    return Step("S", START + minute * MINUTE_NS, MINUTE_NS, {})


def ran(minutes: int, spec: Spec = SPEC, **more) -> tuple[MarketState, Frame]:
    state = MarketState(spec)
    for minute in range(1, minutes + 1):
        frame = state.advance(step(minute, **more))
    return state, frame


def bits(frame: Frame) -> bytes:
    """Everything in a frame, as bytes."""
    arrays = frame.channels.tobytes() + frame.scalars.tobytes() + frame.swept_share.tobytes()
    rest = (frame.symbol, frame.close_ns, frame.mark, frame.bin_width_log, frame.zones, frame.degraded, frame.unhealthy)
    return arrays + msgspec.msgpack.encode(rest)


def market(**more) -> Spec:
    return msgspec.structs.replace(SPEC, market=msgspec.structs.replace(MARKET, **more))


def test_a_state_is_healthy_from_the_end_of_its_warm_up_on():
    state = MarketState(SPEC)
    for minute in range(1, 60):
        frame = state.advance(step(minute))
        assert flag_names(frame.unhealthy) == (("warming_up",) if minute < 30 else ()), minute
        assert frame.channels.shape == (2, 5, 8)
        assert frame.scalars.shape == (2, len(state.scalar_names))
        assert np.isfinite(frame.channels).all()
    assert len(set(state.scalar_names)) == len(state.scalar_names)
    assert np.isfinite(frame.scalars[:, [not n.startswith("zone_") for n in state.scalar_names]]).all()


def test_bins_are_as_wide_as_the_market_is_wild_unless_their_width_is_fixed():
    width = ran(40)[1].bin_width_log
    fixed = msgspec.structs.replace(SPEC, frame=msgspec.structs.replace(FRAME, bin_log=width))
    assert np.array_equal(ran(40, fixed)[1].channels, ran(40)[1].channels)
    assert ran(41, fixed)[1].bin_width_log == width != ran(41)[1].bin_width_log
    for bad in (0.0, -0.01, 0.1, NAN):
        with pytest.raises((ValueError, ConfigError), match="bin_log lies between"):
            msgspec.structs.replace(FRAME, bin_log=bad)


@pytest.mark.parametrize(
    ("removed", "flag", "limit"),
    [
        ("mark", Unhealthy.MARK_STALE, 5),
        ("open_interest", Unhealthy.OPEN_INTEREST_STALE, 10),
        ("liquidations", Unhealthy.LIQUIDATIONS_STALE, 20),
        ("funding", Unhealthy.FUNDING_STALE, 30),
    ],
)
def test_each_stream_goes_stale_after_its_own_silence_and_recovers(removed, flag, limit):
    state, _ = ran(40)
    for silence in range(1, limit + 4):
        frame = state.advance(step(40 + silence, **{removed: None}))
        assert frame.unhealthy == (flag if silence > limit else Unhealthy.NONE), silence
    assert state.advance(step(44 + limit)).unhealthy == Unhealthy.NONE


@pytest.mark.parametrize("removed", ["mark", "open_interest", "liquidations", "funding"])
def test_a_stream_that_never_spoke_is_stale(removed):
    _, frame = ran(60, **{removed: None})
    assert frame.unhealthy & Unhealthy[f"{removed.upper()}_STALE"]


@pytest.mark.parametrize("removed", ["open_interest", "liquidations", "funding"])
def test_silence_is_no_fault_where_no_limit_is_set(removed):
    stream = msgspec.structs.replace(getattr(MARKET, removed), stale_minutes=None)
    state, _ = ran(40, market(**{removed: stream}))
    for minute in range(41, 90):
        frame = state.advance(step(minute, **{removed: None}))
    assert frame.unhealthy == Unhealthy.NONE


def test_a_step_without_bars_shows_nothing_and_says_why():
    state, _ = ran(40)
    frame = state.advance(empty(41))
    assert frame.unhealthy == Unhealthy.BARS_STALE
    assert np.isnan(frame.channels).all()
    assert np.isnan(frame.scalars).all()
    assert math.isnan(frame.mark.close)
    assert math.isnan(frame.bin_width_log)
    assert frame.zones == ()
    assert state.advance(step(42)).unhealthy == Unhealthy.NONE


def test_bars_that_arrive_but_are_old_are_stale():
    state, _ = ran(40)
    old = Candle(100.0, 100.1, 99.9, 100.0, START + 37 * MINUTE_NS)
    assert not state.advance(step(41, last=msgspec.structs.replace(old, event_ns=START + 38 * MINUTE_NS))).unhealthy
    assert state.advance(step(42, last=msgspec.structs.replace(old, event_ns=START + 38 * MINUTE_NS))).unhealthy == (
        Unhealthy.BARS_STALE
    )


def test_before_open_interest_is_known_there_is_nothing_to_see():
    state, frame = ran(40, open_interest=None)
    assert Unhealthy.NOT_FINITE in frame.unhealthy
    assert np.isnan(frame.channels).all()
    frame = state.advance(step(41))
    assert frame.unhealthy == Unhealthy.NONE
    assert np.isfinite(frame.channels).all()


def test_a_volume_that_was_not_recorded_is_not_taken_for_none():
    _, frame = ran(40, volume_base=NAN, taker_buy_base=NAN)
    assert Unhealthy.NOT_FINITE in frame.unhealthy


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"mark": None}, Degraded.MARK_IS_LAST),
        ({"taker_buy_base": None}, Degraded.TAKER_FLOW_HALF),
        ({"quality": Quality.PARTIAL}, Degraded.PARTIAL_BAR),
        ({"quality": Quality.GAP_BEFORE}, Degraded.NONE),
    ],
)
def test_a_poorer_step_says_what_was_replaced(more, flag):
    state, frame = ran(40)
    assert frame.degraded == Degraded.VOLUME_UNIFORM
    assert state.advance(step(41, **more)).degraded == Degraded.VOLUME_UNIFORM | flag
    assert state.advance(step(42)).degraded == Degraded.VOLUME_UNIFORM


@pytest.mark.parametrize(
    ("spec", "flag"),
    [
        (market(mark=None), Degraded.MARK_IS_LAST),
        (msgspec.structs.replace(SPEC, map=MapSpec(open_interest="volume")), Degraded.OPEN_INTEREST_FROM_VOLUME),
        (market(liquidations=StreamSpec(venue="v+w", kinds=("liquidation_1h",))), Degraded.LIQUIDATIONS_MERGED),
    ],
)
def test_a_poorer_spec_says_so_in_every_frame(spec, flag):
    state = MarketState(spec)
    assert all(state.advance(s).degraded == Degraded.VOLUME_UNIFORM | flag for s in (step(1), empty(2), step(3)))


def test_a_map_that_outgrew_open_interest_says_so_in_that_frame():
    believing = msgspec.structs.replace(SPEC, map=msgspec.structs.replace(SPEC.map, jump_share=None))
    assert flags_at_a_collapse(believing) == [Degraded.NONE, Degraded.OPEN_INTEREST_RESCALED]


def test_open_interest_that_jumps_is_counted_otherwise_and_said_so_in_that_frame():
    assert flags_at_a_collapse(SPEC) == [Degraded.NONE, Degraded.OPEN_INTEREST_JUMPED]


def flags_at_a_collapse(spec: Spec) -> list[Degraded]:
    """What is said of the map in two minutes with open interest of 50,000 and then 10 coins."""
    state, _ = ran(40, spec)
    flags = []
    for minute, coins in ((41, 5e4), (42, 10.0)):
        now = START + minute * MINUTE_NS
        stamp = OpenInterest(venue="v", symbol="S", event_ns=now, known_at_ns=now, open_interest_base=coins)
        frame = state.advance(step(minute, open_interest=(stamp,)))
        flags.append(frame.degraded & (Degraded.OPEN_INTEREST_RESCALED | Degraded.OPEN_INTEREST_JUMPED))
    return flags


BAD_CANDLES = {
    "nan close": {"close": NAN},
    "nan open": {"open": NAN},
    "nan high": {"high": NAN},
    "nan low": {"low": NAN},
    "infinite": {"high": math.inf},
    "zero": {"low": 0.0},
    "negative": {"low": -1.0},
    "high below low": {"high": 99.0, "low": 101.0},
    "close above high": {"close": 103.0},
    "open below low": {"open": 90.0},
}


def refused_steps() -> dict[str, Step]:
    good = step(41)
    bar = Candle(100.0, 101.0, 99.0, 100.5, good.close_ns)
    bad = {name: msgspec.structs.replace(bar, **change) for name, change in BAD_CANDLES.items()}
    return {
        "wrong symbol": Step("T", good.close_ns, good.length_ns, good.venues),
        "wrong length": Step("S", good.close_ns, 2 * MINUTE_NS, good.venues),
        "off the grid": Step("S", good.close_ns + 1, good.length_ns, good.venues),
        "out of order": step(39),
        "repeated": step(40),
        "skipped": step(42),
        "negative volume": step(41, volume_base=-1.0),
        "infinite volume": step(41, volume_base=math.inf),
        "negative taker volume": step(41, taker_buy_base=-1.0),
        **{f"last: {name}": step(41, last=candle) for name, candle in bad.items()},
        **{f"mark: {name}": step(41, mark=candle) for name, candle in bad.items()},
    }


@pytest.mark.parametrize("cause", list(refused_steps()))
def test_a_refused_step_leaves_the_state_as_it_was(cause):
    state, _ = ran(40)
    twin, _ = ran(40)
    before = state.snapshot()
    with pytest.raises(StepError):
        state.advance(refused_steps()[cause])
    assert state.snapshot() == before
    assert bits(state.advance(step(41))) == bits(twin.advance(step(41)))


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf, -5.0, 0.0])
def test_an_impossible_stamp_or_record_counts_as_not_recorded(value):
    close_ns = START + 41 * MINUTE_NS
    at = {"venue": "v", "symbol": "S", "event_ns": close_ns, "known_at_ns": close_ns}
    state, _ = ran(40)
    twin, _ = ran(40)
    silent = {"open_interest": None, "liquidations": None, "funding": None}
    odd = {
        "open_interest": (OpenInterest(**at, open_interest_base=value),),
        "liquidations": (
            Liquidation(**at, side=0, usd=value),
            LiquidationSum(**at, cadence_ns=1, long_usd=value, short_usd=1.0),
        ),
        "funding": (Funding(**at, funding_rate=value),),
    }
    if math.isfinite(value):  # funding may have any sign
        odd["funding"] = ()
    if value == 0.0:  # nothing was liquidated: a fact
        odd["liquidations"] = ()
    assert bits(state.advance(step(41, **odd))) == bits(twin.advance(step(41, **silent)))
    assert state.snapshot() == twin.snapshot()


def test_a_stamp_or_rate_that_comes_late_does_not_replace_a_newer_one():
    state, frame = ran(40)
    old = {"venue": "v", "symbol": "S", "event_ns": START + 20 * MINUTE_NS, "known_at_ns": START + 41 * MINUTE_NS}
    late = {
        "open_interest": (OpenInterest(**old, open_interest_base=1.0),),
        "funding": (Funding(**old, funding_rate=0.5),),
    }
    after = state.advance(step(41, **late))
    rate = state.scalar_names.index("funding_rate_bp")
    assert after.scalars[0, rate] == frame.scalars[0, rate] == np.float32(1.0)
    assert state.map.open_interest_base > 1000


def test_more_taker_buys_than_volume_are_no_negative_sales():
    state, _ = ran(40)
    frame = state.advance(step(41, volume_base=10.0, taker_buy_base=10.0 + 1e-9))
    assert (state.map.store >= 0).all()
    assert np.isfinite(frame.channels).all()


@pytest.mark.parametrize(("hole", "reset"), [(59, False), (60, True), (200, True)])
def test_a_hole_longer_than_the_limit_empties_the_map_and_starts_the_warm_up_again(hole, reset):
    state, _ = ran(40)
    held = (state.map.total * state.map.scale[:, None]).sum()
    assert held > 0
    for minute in range(41, 41 + hole):
        assert Unhealthy.BARS_STALE in state.advance(empty(minute)).unhealthy
    frame = state.advance(step(41 + hole))
    assert (Unhealthy.WARMING_UP in frame.unhealthy) is reset
    assert bool((state.map.total * state.map.scale[:, None]).sum() < held / 100) is reset
    if reset:
        for minute in range(42 + hole, 42 + hole + 40):
            frame = state.advance(step(minute))
            assert (Unhealthy.WARMING_UP in frame.unhealthy) is (minute - 40 - hole < 30)


def test_memories_of_liquidations_outlive_a_reset():
    state, frame = ran(40)
    own = state.scalar_names.index("own_liquidated_60m")
    for minute in range(41, 141):
        state.advance(empty(minute))
    after = state.advance(step(141, liquidations=()))
    faded = np.expm1(frame.scalars[:, own].astype(float)) * 0.5 ** (101 / 60)
    # Silent for 101 minutes, more than the stream's limit: kept, but not shown.
    assert np.isnan(after.scalars[:, own]).all()
    np.testing.assert_allclose(state.flow.liquidated_usd[:, 0] / 1e5, faded, rtol=1e-5)


@settings(max_examples=6, deadline=None)
@given(cut=st.integers(0, 90))
def test_a_restored_state_goes_on_bit_for_bit(cut):
    def at(minute):
        return empty(minute) if minute % 17 == 3 else step(minute, price=100.0 + 5 * math.sin(minute / 9))

    whole, first, second = (MarketState(SPEC) for _ in range(3))
    for minute in range(1, 101):
        expected = whole.advance(at(minute))
        if minute == cut + 1:
            for other in range(1, 5):
                second.advance(step(other, price=3.0))  # what a state held before makes no difference
            second.restore(first.snapshot())
        got = (first if minute <= cut else second).advance(at(minute))
        assert bits(got) == bits(expected)
    assert second.snapshot() == whole.snapshot()


def test_a_snapshot_does_not_depend_on_when_it_is_taken():
    state, _ = ran(40)
    assert state.snapshot() == state.snapshot() == ran(40)[0].snapshot()


def test_a_snapshot_of_another_spec_is_refused_and_changes_nothing():
    state, _ = ran(40)
    before = state.snapshot()
    other, _ = ran(30, market(warm_up_hours=2.0))
    with pytest.raises(StepError, match="taken under spec"):
        state.restore(other.snapshot())
    assert state.snapshot() == before


def damaged(snapshot: bytes, name: str, change) -> bytes:
    """The snapshot with one array replaced, or with None left out."""
    with np.load(io.BytesIO(snapshot)) as stored:
        arrays = dict(stored)
    arrays[name] = change(arrays[name])
    out = io.BytesIO()
    np.savez_compressed(out, **{n: a for n, a in arrays.items() if a is not None})
    return out.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def as_zip(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(name, content)
    return out.getvalue()


def header(text: bytes):
    return lambda array: np.frombuffer(text, np.uint8)


GARBAGE = {
    "nothing": lambda s: b"",
    "text": lambda s: b"not a snapshot",
    "a pickle": lambda s: b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
    "the first half": lambda s: s[: len(s) // 2],
    "the second half": lambda s: s[len(s) // 2 :],
    "a zip's magic and no more": lambda s: s[:4],
    "one byte changed in the middle": lambda s: s[: len(s) // 2] + bytes([s[len(s) // 2] ^ 255]) + s[len(s) // 2 + 1 :],
    "an array": lambda s: as_npy(np.zeros(3)),
    "a zip of something else": lambda s: as_zip("header.npy", b"abc"),
    "an archive without a header": lambda s: damaged(s, "header", lambda a: None),
    "a header that is no JSON": lambda s: damaged(s, "header", header(b"{")),
    "a header that is a number": lambda s: damaged(s, "header", header(b"5")),
    "a header that is a list": lambda s: damaged(s, "header", header(b"[1, 2]")),
    "a missing array": lambda s: damaged(s, "map.store", lambda a: None),
    "an array of another shape": lambda s: damaged(s, "bars.ring", lambda a: a[:, :-1]),
}


@pytest.mark.parametrize("kind", list(GARBAGE))
def test_what_is_no_snapshot_is_refused_and_changes_nothing(kind):
    state, _ = ran(40)
    before = state.snapshot()
    with pytest.raises(StepError):
        state.restore(GARBAGE[kind](before))
    assert state.snapshot() == before
