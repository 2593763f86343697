"""The atlas as a whole: the four laws over every map, zone, wall and pattern at once, and bad parts of a step."""

import itertools
import math
from typing import Any

import msgspec
import numpy as np
import pytest

from squeeze.errors import StepError
from squeeze.market.events import Broken, Feed, Funding, Gap, OpenInterest
from squeeze.market.steps import Step
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep
from squeeze.spec import Spec
from squeeze.state import Degraded, Frame, MarketState
from tests.venues import BIN_LOG, VENUES, history, spec


def all_shown() -> Spec:
    """What listens, with every channel in the frame."""
    plain = spec()
    return msgspec.structs.replace(plain, frame=msgspec.structs.replace(plain.frame, channels=("*",)))


def steps(count: int, seed: int = 0) -> list[Step]:
    return list(itertools.islice(history(seed), count))


def told(frame: Frame) -> bytes:
    """All that the atlas says in a frame; nothing before the first stamp of open interest."""
    page = frame.page
    if page is None:
        return b""
    parts = [page.channels, page.scalars, page.found.view(np.uint8)]
    parts += [array.view(np.uint8) if array.dtype.names else array for array in page.scene]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


@pytest.fixture(scope="module")
def ran() -> tuple[list[Step], list[bytes], MarketState]:
    """A day of it."""
    walk, state = steps(600), MarketState(all_shown())
    return walk, [told(state.advance(step)) for step in walk], state


def test_every_map_of_every_venue_has_its_channels_and_scalars(ran):
    _, _, state = ran
    atlas = state.atlas
    assert atlas is not None
    assert len(set(atlas.channels)) == len(atlas.channels)
    assert len(set(atlas.scalar_names)) == len(atlas.scalar_names)
    for venue in VENUES:
        assert {f"volume_1d_{venue}", f"book_usd_{venue}", f"opened_4h_{venue}"} <= set(atlas.channels)
    assert {"stops", "funding_settled_a"} <= set(atlas.channels)


def test_the_frame_holds_them_after_the_models_own_scalars(ran):
    walk, _, state = ran
    frame = state.advance(next(itertools.islice(history(0), len(walk), None)))
    names = state.atlas.scalar_names
    assert state.scalar_names[-len(names) :] == names
    np.testing.assert_array_equal(frame.scalars[:, -len(names) :], frame.page.scalars.astype(np.float32))
    assert frame.page.channels.shape == (2, len(state.atlas.chosen), 16)


def test_zones_walls_and_patterns_are_found_in_it(ran):
    walk, _, _ = ran
    state, zones, walls, flagged = MarketState(all_shown()), 0, 0, set()
    for step in walk:
        page = state.advance(step).page
        if page is None:
            continue
        zones, walls = zones + len(page.scene.zones), walls + len(page.scene.walls)
        flagged |= {found.pattern for found in page.findings()}
    assert zones > 100
    assert walls > 10
    assert len(flagged) >= 5


def test_the_future_changes_nothing_that_was_said(ran):
    walk, said, _ = ran
    other = [*walk[:300], *itertools.islice(history(9), 300, 400)]
    state = MarketState(all_shown())
    assert [told(state.advance(step)) for step in other[:300]] == said[:300]


def test_going_on_from_a_snapshot_says_the_same_bytes(ran):
    walk, said, _ = ran
    one = MarketState(all_shown())
    for step in walk[:400]:
        one.advance(step)
    other = MarketState(all_shown())
    other.restore(one.snapshot())
    assert [told(other.advance(step)) for step in walk[400:]] == said[400:]


def flip(candle: Candle) -> Candle:
    return Candle(1 / candle.open, 1 / candle.low, 1 / candle.high, 1 / candle.close, candle.event_ns)


def mirrored(step: Step) -> Step:
    """Log price p becomes -p, buys become sells, longs become shorts; amounts in base coins stay."""
    return msgspec.structs.replace(step, venues={name: mirrored_part(part) for name, part in step.venues.items()})


def mirrored_part(part: VenueStep) -> VenueStep:
    flow, shown = part.flow, part.book
    assert flow is not None
    last_bin = flow.first_bin + len(flow.buys_base) - 1
    changes: dict[str, Any] = {
        "last": flip(part.last),
        "mark": flip(part.mark),
        "taker_buy_base": part.volume_base - part.taker_buy_base,
        "flow": PriceFlow(flow.bin_log, -last_bin - 1, flow.sells_base[::-1], flow.buys_base[::-1]),
        "funding": tuple(msgspec.structs.replace(f, funding_rate=-f.funding_rate) for f in part.funding),
        "liquidations": tuple(msgspec.structs.replace(x, side=1 - x.side) for x in part.liquidations),
    }
    if part.forecast is not None:
        changes["forecast"] = msgspec.structs.replace(part.forecast, funding_rate=-part.forecast.funding_rate)
    if shown is not None:
        last_bin = shown.first_bin + len(shown.bids_usd) - 1
        changes["book"] = msgspec.structs.replace(
            shown, bid=1 / shown.ask, ask=1 / shown.bid, first_bin=-last_bin - 1,
            bid_depth_usd=shown.ask_depth_usd, ask_depth_usd=shown.bid_depth_usd,
            imbalance=tuple(-x for x in shown.imbalance), buy_cost_bps=shown.sell_cost_bps,
            sell_cost_bps=shown.buy_cost_bps, bids_usd=shown.asks_usd[::-1], asks_usd=shown.bids_usd[::-1],
        )  # fmt: skip
    return msgspec.structs.replace(part, **changes)


def test_a_mirrored_market_has_a_mirrored_atlas():
    one, other = MarketState(all_shown()), MarketState(all_shown())
    names = one.atlas.scalar_names
    # Crowded longs and crowded shorts have thresholds of their own, and so have what follows from them.
    crowded = ("pattern_funding_extreme", "pattern_funding_asymmetry")
    alike = [i for i, n in enumerate(names) if not n.startswith(crowded)]
    for step in steps(250, 3):
        here, there = one.advance(step).page, other.advance(mirrored(step)).page
        if here is None or there is None:
            assert here is there
            continue
        np.testing.assert_allclose(there.channels[::-1], here.channels, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(there.scalars[::-1][:, alike], here.scalars[:, alike], rtol=1e-5, atol=1e-6)


def test_steps_without_a_mark_leave_the_maps_standing_and_the_page_empty():
    state = MarketState(all_shown())
    walk = steps(120, 4)
    for step in walk[:100]:
        state.advance(step)
    silent = [msgspec.structs.replace(step, venues={}) for step in walk[100:110]]
    for step in silent:
        frame = state.advance(step)
        assert frame.page is None
        assert np.isnan(frame.scalars).all()
    assert state.advance(walk[110]).page is not None


def crossed(part: VenueStep) -> VenueStep:
    assert part.book is not None
    return msgspec.structs.replace(part, book=msgspec.structs.replace(part.book, bid=part.book.ask * 2))


def negative(part: VenueStep) -> VenueStep:
    assert part.flow is not None
    return msgspec.structs.replace(part, flow=PriceFlow(BIN_LOG, part.flow.first_bin, (-1.0,), (1.0,)))


def falling(part: VenueStep) -> VenueStep:
    return msgspec.structs.replace(part, mark=Candle(1.0, 0.5, 2.0, 1.0, part.mark.event_ns))


@pytest.mark.parametrize("spoil", [crossed, negative, falling], ids=["a crossed book", "negative coins", "no candle"])
def test_what_makes_no_sense_of_another_venue_is_left_out_and_flagged(spoil):
    state, whole = MarketState(all_shown()), MarketState(all_shown())
    for step in steps(60, 5):
        bad = step
        if "b" in step.venues and step.venues["b"].book is not None:
            bad = msgspec.structs.replace(step, venues=step.venues | {"b": spoil(step.venues["b"])})
        frame, sound = state.advance(bad), whole.advance(step)
        assert bool(frame.degraded & Degraded.PART_LEFT_OUT) == (bad is not step)
        assert not sound.degraded & Degraded.PART_LEFT_OUT
        assert (frame.page is None) == (sound.page is None)


def test_a_jump_of_open_interest_and_another_funding_interval_are_flagged_once():
    state, flags = MarketState(all_shown()), []
    for i, step in enumerate(steps(40, 6)):
        part = step.venues["a"]
        at = {"venue": "a", "symbol": "S", "event_ns": step.close_ns, "known_at_ns": step.close_ns}
        stamp = OpenInterest(**at, open_interest_base=1e5 if i < 20 else 0.5e5)
        rate = Funding(**at, funding_rate=1e-4, interval_hours=8.0 if i < 30 else 4.0)
        changed = msgspec.structs.replace(part, open_interest=(stamp,), funding=(rate,), forecast=None)
        frame = state.advance(msgspec.structs.replace(step, venues={"a": changed}))
        flags.append(frame.degraded & (Degraded.OPEN_INTEREST_JUMPED | Degraded.FUNDING_INTERVAL_CHANGED))
    assert flags[20] == Degraded.OPEN_INTEREST_JUMPED
    assert flags[30] == Degraded.FUNDING_INTERVAL_CHANGED
    assert not any(flags[:20] + flags[21:30] + flags[31:])


@pytest.mark.parametrize("field", ["last", "mark"])
def test_a_bad_candle_of_the_first_venue_is_refused_and_changes_nothing(field):
    state = MarketState(all_shown())
    walk = steps(52, 7)
    for step in walk[:50]:
        state.advance(step)
    before = state.snapshot()
    bad = msgspec.structs.replace(walk[50].venues["a"], **{field: Candle(1.0, 0.5, 2.0, 1.0, walk[50].close_ns)})
    with pytest.raises(StepError, match="candle"):
        state.advance(msgspec.structs.replace(walk[50], venues=walk[50].venues | {"a": bad}))
    negative_volume = negative(walk[50].venues["a"])
    with pytest.raises(StepError, match="taker flow"):
        state.advance(msgspec.structs.replace(walk[50], venues=walk[50].venues | {"a": negative_volume}))
    with pytest.raises(StepError, match="does not follow"):
        state.advance(walk[49])
    assert state.snapshot() == before
    assert state.advance(walk[50]).page is not None


def test_one_venue_by_itself_is_an_atlas_too():
    state = MarketState(spec(("a",)))
    for step in itertools.islice(history(8, ("a",)), 100):
        frame = state.advance(step)
    page = frame.page
    assert page is not None
    np.testing.assert_allclose(page.scene.venue_heat[0], page.scene.heat)
    score = page.scalars[0, state.atlas.scalar_names.index("pattern_venue_divergence")]
    assert math.isnan(score)


def test_a_restored_state_goes_through_an_empty_step_as_the_one_it_was_taken_from():
    one, other, walk = MarketState(all_shown()), MarketState(all_shown()), steps(203, 9)
    for step in walk[:200]:
        one.advance(step)
    other.restore(one.snapshot())
    walk[200] = msgspec.structs.replace(walk[200], venues={"b": VenueStep(funding=walk[200].venues["b"].funding)})
    for step in walk[200:]:
        assert told(one.advance(step)) == told(other.advance(step))


def overlapping(part: VenueStep) -> VenueStep:
    usd = [0.0] * len(part.book.bids_usd)
    usd[25] = 1e6
    return msgspec.structs.replace(part, book=msgspec.structs.replace(part.book, bids_usd=tuple(usd)))


def of_other_bands(part: VenueStep) -> VenueStep:
    return msgspec.structs.replace(part, book=msgspec.structs.replace(part.book, bid_depth_usd=(1.0,)))


@pytest.mark.parametrize("spoil", [crossed, overlapping, of_other_bands])
def test_a_bad_book_of_the_first_venue_is_left_out_too_and_the_next_step_is_sound(spoil):
    state = MarketState(all_shown())
    for step in steps(100, 10):
        if step.venues["a"].book is None:
            continue
        bad = msgspec.structs.replace(step, venues=step.venues | {"a": spoil(step.venues["a"])})
        assert state.advance(bad).degraded & Degraded.PART_LEFT_OUT
        return
    raise AssertionError("no step has a book")


def test_a_venue_that_fell_silent_is_no_part_of_what_all_add_up_to():
    state, walk = MarketState(all_shown()), steps(200, 11)
    for step in walk[:120]:
        whole = state.advance(step).page.scene if step.close_ns > walk[20].close_ns else state.advance(step)
    for step in walk[120:]:
        rest = {name: part for name, part in step.venues.items() if name != "b"}
        page = state.advance(msgspec.structs.replace(step, venues=rest)).page
    assert np.isfinite(whole.venue_heat[1]).all()
    assert np.isnan(page.scene.venue_heat[1]).all()
    assert math.isnan(page.scene.venues["open_interest_base"][1])
    total = np.nansum(page.scene.venues["open_interest_base"])
    assert page.scene.now["open_interest_base"][0] == pytest.approx(total)


def test_liquidations_of_a_silent_venue_are_unknown_and_those_of_a_broken_feed_not_complete():
    state, walk = MarketState(all_shown()), steps(40, 12)
    for step in walk[:38]:
        state.advance(step)
    part = walk[38].venues["b"]
    gap = Gap(
        venue="b", symbol="S", event_ns=walk[38].close_ns, known_at_ns=walk[38].close_ns, feed=Feed.ALL,
        reason=Broken.DISCONNECTED,
    )  # fmt: skip
    broken = msgspec.structs.replace(part, gaps=(gap,))
    told_ = state.advance(msgspec.structs.replace(walk[38], venues=walk[38].venues | {"b": broken})).page.scene.venues
    assert told_["complete"].tolist() == [1, 0, 1]
    silent = {name: p for name, p in walk[39].venues.items() if name != "b"}
    told_ = state.advance(msgspec.structs.replace(walk[39], venues=silent)).page.scene.venues
    assert math.isnan(told_["long_usd"][1])
    assert not math.isnan(told_["long_usd"][0])
