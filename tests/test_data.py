"""Lanes of pre-training: every frame once, in order, nothing beyond its borders."""

import collections
import dataclasses

import numpy as np
import pytest
import torch
from test_proxies import MINUTE_NS, examples_of

from squeeze.errors import DataError
from training.config import PretrainSpec
from training.data import Lanes, Sequence, SequenceData
from training.proxies import proxies

SPEC = PretrainSpec(
    until="2025-01-01", quantiles=(0.6, 0.9), exceedance_weights=(1.0, 1.0), chunk=8, lane=32, lanes=5, epochs=1
)  # fmt: skip


def numbered(count, blind=(), offset=0):
    """Frames that carry their own number: `channels` holds (step, side), the first scalar too."""
    made = examples_of(count, blind=blind)
    number = (2 * (np.arange(count)[:, None] + offset) + np.arange(2)).astype(np.float32)
    made.channels[...] = number[:, :, None, None]
    made.scalars[...] = number[:, :, None]
    return made


def sequence(examples):
    targets = proxies(examples, [3], SPEC.quantiles, 10**18)
    return Sequence(examples, targets, np.flatnonzero(examples.seen))


def oriented(batches, total):
    """How often each (step, side) is met, and the lanes as sequences of such numbers."""
    met, lanes = collections.Counter(), []
    for batch in batches:
        own, other = batch.own[:, :, 0, 0].numpy(), batch.other[:, :, 0, 0].numpy()
        filled = own + other > 0
        assert (np.abs(own - other)[filled] == 1).all()
        assert (batch.scalars[:, :, 0].numpy()[filled] == own[filled]).all()
        if batch.fresh:
            lanes += [[] for _ in own]
        for lane, row, here in zip(lanes[-len(own) :], own, filled, strict=True):
            lane += row[here].tolist()
            met.update(row[here].tolist())
    return met, lanes


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("count", [20, 32, 33, 200])
def test_an_epoch_meets_every_frame_once_per_side(shuffle, count):
    lanes = Lanes([sequence(numbered(count, blind=(7, 8)))], SPEC, 0, shuffle)
    for _ in range(3):
        met, found = oriented(list(lanes), count)
        expected = {float(2 * t + side) for t in range(count) if t not in (7, 8) for side in range(2)}
        assert set(met) - {0.0} == expected - {0.0}
        assert set(met.values()) == {1}
        for lane in found:
            assert lane == sorted(lane), "a lane runs forward in time"
            assert len({number % 2 for number in lane}) <= 1, "a lane is of one side"
            assert len(lane) <= SPEC.lane


def test_several_series_are_never_mixed_in_a_lane():
    lanes = Lanes([sequence(numbered(50)), sequence(numbered(60, offset=1000))], SPEC, 0, shuffle=True)
    met, found = oriented(list(lanes), 110)
    assert len(met) >= 2 * 110 - 1
    assert all(max(lane) < 2000 or min(lane) >= 2000 for lane in found if lane)


def test_the_state_is_fresh_where_lanes_begin_and_only_there():
    batches = list(Lanes([sequence(numbered(200))], SPEC, 0, shuffle=False))
    fresh = [batch.fresh for batch in batches]
    # 14 lanes of 32 steps, five at a time, in chunks of 8.
    assert fresh == [True, False, False, False] * 2 + [True, False, False, False]
    assert [len(b.mask) for b in batches if b.fresh] == [5, 5, 4]


def test_the_mask_is_zero_on_padding_and_where_a_target_does_not_exist():
    made = sequence(numbered(45))
    batches = list(Lanes([made], SPEC, 0, shuffle=False))
    known = sum(float(batch.mask.sum()) for batch in batches)
    assert known == 2 * made.targets.known.sum() < 2 * 45
    for batch in batches:
        assert not batch.exceeds[batch.mask == 0].any()
        assert not batch.graded[batch.mask == 0].any()


def test_no_epoch_has_more_batches_than_announced():
    for count in (5, 31, 32, 100, 333):
        lanes = Lanes([sequence(numbered(count)), sequence(numbered(40))], SPEC, 1, shuffle=True)
        assert max(len(list(lanes)) for _ in range(5)) <= lanes.most_batches


def test_the_same_seed_gives_the_same_batches_and_each_epoch_its_own():
    made = sequence(numbered(300))
    one, other, third = (Lanes([made], SPEC, seed, shuffle=True) for seed in (4, 4, 5))
    first, second = list(one), list(one)
    for a, b in zip(first, list(other), strict=True):
        assert all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)[:-1])
    orders = [
        torch.cat([b.own[:, 0, 0, 0] for b in batches if b.fresh]).tolist() for batches in (first, second, list(third))
    ]
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("until", [1500, 1300])
def test_training_never_reaches_into_the_tail_nor_the_tail_past_the_cut(until):
    series, horizon = [numbered(2000, blind=range(10)), numbered(1200)], 20
    until_ns = until * MINUTE_NS
    data = SequenceData(series, (horizon,), SPEC, until_ns, 0)
    ends = [s.examples.closes_ns[s.positions] + horizon * MINUTE_NS for s in data.train_sequences]
    starts = [s.examples.closes_ns[s.positions] for s in data.tail_sequences]
    assert max(e.max() for e in ends) <= min(s.min() for s in starts)
    assert max(s.max() for s in starts) + horizon * MINUTE_NS <= until_ns
    share = sum(map(len, starts)) / (sum(map(len, starts)) + sum(map(len, ends)))
    assert 0.05 < share < 0.25


def test_a_series_that_begins_after_the_cut_is_left_out():
    late = dataclasses.replace(numbered(300), closes_ns=(np.arange(300) + 5000) * MINUTE_NS)
    data = SequenceData([late, numbered(2000)], (20,), SPEC, 1900 * MINUTE_NS, 0)
    assert len(data.train_sequences) == len(data.tail_sequences) == 1


def test_too_little_before_the_cut_is_an_error():
    with pytest.raises(DataError, match="999 usable steps before the cut are too few"):
        SequenceData([numbered(2000)], (20,), SPEC, 1000 * MINUTE_NS, 0)


def test_the_sample_and_the_rates_are_of_training_frames_alone():
    data = SequenceData([numbered(2000)], (20,), SPEC, 1800 * MINUTE_NS, 0)
    (trained,) = data.train_sequences
    assert data.scalar_sample().max() == 2 * trained.positions[-1] + 1
    known = trained.positions[trained.targets.known[trained.positions]]
    np.testing.assert_allclose(data.exceedance_rates(), trained.targets.exceeds[known].mean(axis=(0, 1)))
