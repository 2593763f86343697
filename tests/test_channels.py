"""Channels chosen from the atlas: their names, and the laws over the frames that hold them."""

import itertools

import msgspec
import numpy as np
import pytest

from squeeze.errors import ConfigError
from squeeze.spec import Spec
from squeeze.state import Frame, MarketState, Unhealthy
from tests.test_atlas import mirrored, steps
from tests.venues import VENUES, history, spec

CHOSEN = ("stops", "book_usd_*", "net_4h_b", "taker_*_15m_c", "funding_predicted_?", "volume_1d_a", "liquidation_[bc]")
UNITS = ("unit_5x", "unit_10x", "unit_20x", "unit_50x", "unit_100x")
IN_ORDER = (
    "liquidation_b", "liquidation_c", "volume_1d_a", "book_usd_a", "net_4h_b", "book_usd_b", "book_usd_c",
    "taker_toward_15m_c", "taker_away_15m_c", "stops", "funding_predicted_a", "funding_predicted_b",
    "funding_predicted_c",
)  # fmt: skip
"""What `CHOSEN` means, as the atlas has it."""


def choosing(*channels: str) -> Spec:
    plain = spec()
    return msgspec.structs.replace(plain, frame=msgspec.structs.replace(plain.frame, channels=channels))


def bits(frame: Frame) -> bytes:
    rest = (frame.close_ns, frame.mark, frame.bin_width_log, frame.zones, frame.degraded, frame.unhealthy)
    arrays = (frame.channels, frame.scalars, frame.swept_share)
    return b"".join(array.tobytes() for array in arrays) + msgspec.msgpack.encode(rest)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    state = MarketState(choosing(*CHOSEN))
    return [state.advance(step) for step in steps(260)]


def test_the_channels_are_the_models_own_maps_and_then_the_chosen_in_the_atlas_order():
    assert MarketState(choosing()).channel_names == UNITS
    assert MarketState(choosing(*CHOSEN)).channel_names == UNITS + IN_ORDER
    assert MarketState(choosing(*reversed(CHOSEN), "stops", "s*")).channel_names == UNITS + IN_ORDER
    everything = MarketState(choosing("*"))
    assert everything.channel_names == UNITS + everything.atlas.channels


def test_no_two_scalars_and_no_two_channels_of_a_frame_have_one_name():
    state = MarketState(choosing("*"))
    assert len(state.scalar_names) == 332
    assert len(set(state.scalar_names)) == len(state.scalar_names)
    assert len(set(state.channel_names)) == len(state.channel_names) == 93
    assert {"asymmetry", "pattern_asymmetry", "approach_velocity", "pattern_approach_velocity"} <= set(
        state.scalar_names
    )


def test_a_pattern_that_means_nothing_is_refused_with_what_there_is():
    with pytest.raises(ConfigError, match=r"frame\.channels: no channel is called books_\*; there are liquidation_a, "):
        MarketState(choosing("stops", "books_*"))


def test_channels_without_an_atlas_are_refused():
    with pytest.raises(ValueError, match="it needs an atlas"):
        msgspec.structs.replace(choosing("stops"), atlas=None)
    with pytest.raises(msgspec.ValidationError, match="it needs an atlas"):
        msgspec.convert(msgspec.to_builtins(choosing("stops")) | {"atlas": None}, Spec)
    assert msgspec.structs.replace(choosing(), atlas=None).frame.channels == ()


def test_a_frame_holds_them_beside_what_it_would_hold_without(frames):
    plain, everything = MarketState(spec()), MarketState(choosing("*"))
    at = [everything.channel_names.index(name) for name in IN_ORDER]
    shown = 0
    for step, frame in zip(steps(60), frames, strict=False):
        other, all_shown = plain.advance(step), everything.advance(step)
        assert frame.channels.dtype == np.float32
        assert frame.channels.shape == (2, len(UNITS) + len(IN_ORDER), 16)
        np.testing.assert_array_equal(frame.channels[:, : len(UNITS)], other.channels)
        np.testing.assert_array_equal(frame.scalars, other.scalars)
        assert (frame.unhealthy, frame.degraded) == (other.unhealthy, other.degraded)
        if other.page is not None:
            np.testing.assert_array_equal(frame.channels[:, len(UNITS) :], all_shown.channels[:, at])
            shown += 1
    assert shown > 50


def test_what_the_atlas_has_not_recorded_is_nan_and_the_frame_is_as_healthy_as_without(frames):
    healthy = [frame for frame in frames if not frame.unhealthy]
    assert len(healthy) > 200
    assert all(np.isfinite(frame.channels[:, : len(UNITS)]).all() for frame in healthy)
    assert any(np.isnan(frame.channels[:, len(UNITS) :]).any() for frame in healthy)
    forecast = [np.isnan(frame.channels[:, -3:]).all() for frame in frames]
    assert forecast[0], "there is no forecast before the first"
    assert not any(forecast[100:])
    assert not any(np.isinf(frame.channels).any() for frame in frames)


def test_a_step_without_a_bar_blanks_all_of_them(frames):
    state, walk = MarketState(choosing(*CHOSEN)), steps(31)
    for step in walk[:30]:
        state.advance(step)
    blank = state.advance(msgspec.structs.replace(walk[30], venues={}))
    assert blank.channels.shape == frames[0].channels.shape
    assert np.isnan(blank.channels).all()
    assert blank.unhealthy & Unhealthy.BARS_STALE


def test_a_restart_from_a_snapshot_changes_no_channel(frames):
    state, walk = MarketState(choosing(*CHOSEN)), steps(260)
    for step in walk[:150]:
        state.advance(step)
    other = MarketState(choosing(*CHOSEN))
    other.restore(state.snapshot())
    assert [bits(other.advance(step)) for step in walk[150:]] == [bits(frame) for frame in frames[150:]]


def test_the_future_changes_no_channel(frames):
    state = MarketState(choosing(*CHOSEN))
    other = [state.advance(step) for step in [*steps(200), *itertools.islice(history(9), 200, 230)]]
    assert [bits(frame) for frame in other[:200]] == [bits(frame) for frame in frames[:200]]
    assert all(bits(a) != bits(b) for a, b in zip(other[200:], frames[200:], strict=False))


def test_a_mirrored_market_swaps_the_sides_of_every_channel(frames):
    state = MarketState(choosing(*CHOSEN))
    for step, frame in zip(steps(200), frames, strict=False):
        other = state.advance(mirrored(step))
        assert other.unhealthy == frame.unhealthy
        np.testing.assert_allclose(other.channels[::-1], frame.channels, rtol=1e-4, atol=1e-6)


def test_one_venue_named_and_not_read_has_its_channels_and_they_are_unknown():
    whole = choosing("book_usd_*", "liquidation_*")
    silent = tuple(msgspec.structs.replace(venue, kinds=()) for venue in whole.market.venues)
    state = MarketState(msgspec.structs.replace(whole, market=msgspec.structs.replace(whole.market, venues=silent)))
    assert state.channel_names == MarketState(whole).channel_names
    assert state.scalar_names == MarketState(whole).scalar_names
    for step in steps(40):
        frame = state.advance(msgspec.structs.replace(step, venues={"a": step.venues["a"]}))
    known = dict(zip(state.channel_names, np.isfinite(frame.channels).any(axis=(0, 2)).tolist(), strict=True))
    assert [known[f"liquidation_{venue}"] for venue in VENUES] == [True, False, False]
    assert not frame.unhealthy


def test_the_spec_knows_its_channels_after_a_round_trip():
    made = choosing("stops")
    assert msgspec.json.decode(msgspec.json.encode(made), type=Spec) == made
    assert made.digest() != choosing().digest()
