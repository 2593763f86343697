"""Lanes of pre-training: every frame once, in order, nothing beyond its borders."""

import collections
import dataclasses

import msgspec
import numpy as np
import pytest
import torch
from test_proxies import MINUTE_NS, examples_of

from squeeze.errors import DataError
from training.networks.device import OnDevice, place
from training.pretraining.data import SequenceData
from training.pretraining.lanes import Lanes, OnDisk, Sequence
from training.pretraining.proxies import proxies
from training.recipe import PretrainSpec

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


def same(a, b):
    """Whether two batches hold the same, to the bit."""
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


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
        assert same(a, b)
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


LABELLED = msgspec.structs.replace(SPEC, labels=True)


def labels_of(examples, rate=0.2, seed=0):
    rng = np.random.default_rng(seed)
    count = len(examples.closes_ns)
    return rng.random((count, 2, 1)) < rate, rng.random(count) < 0.8


def teacher_of(examples, width, seed=1):
    scores = np.random.default_rng(seed).normal(size=(len(examples.closes_ns), 2, width)).astype(np.float32)
    scores[100:110] = np.nan
    return scores


def test_labels_and_teacher_travel_with_their_frames():
    examples = [numbered(900), numbered(700, offset=5000)]
    labels, teacher = [labels_of(examples[0]), None], [None, teacher_of(examples[1], 5)]
    data = SequenceData(examples, (20,), LABELLED, 880 * MINUTE_NS, 0, labels=labels, teacher=teacher)
    met = collections.Counter()
    for batch in data.training:
        step, side = np.divmod(batch.own[:, :, 0, 0].numpy().astype(int), 2)
        first = (step < 5000) & (batch.own + batch.other).flatten(2).any(-1).numpy()
        second = step >= 5000
        assert not batch.labelled[~first].any()
        assert not batch.taught[~second].any()
        truth, known = labels[0]
        np.testing.assert_array_equal(batch.truth[first].numpy(), truth[step[first], side[first]])
        np.testing.assert_array_equal(batch.labelled[first].numpy(), known[step[first]])
        expected = teacher[1][step[second] - 5000, side[second]]
        np.testing.assert_array_equal(batch.taught[second].numpy(), np.isfinite(expected).all(axis=-1))
        np.testing.assert_array_equal(batch.teacher[second].numpy(), np.nan_to_num(expected))
        met.update(labelled=int(batch.labelled.sum()), taught=int(batch.taught.sum()))
    assert min(met.values()) > 500


def test_a_teacher_or_labels_of_another_shape_are_refused():
    examples = numbered(2000)
    with pytest.raises(DataError, match=r"teacher must be \(step, side, score\) \(2000, 2, 4\), got \(2000, 2, 5\)"):
        SequenceData([examples], (20,), SPEC, 1900 * MINUTE_NS, 0, teacher=[teacher_of(examples, 5)])
    truth, known = labels_of(examples)
    with pytest.raises(
        DataError, match=r"labels must be .* \(2000, 2, 1\) and \(step,\) \(2000,\), got \(1999, 2, 1\)"
    ):
        SequenceData([examples], (20,), LABELLED, 1900 * MINUTE_NS, 0, labels=[(truth[1:], known)])


@pytest.mark.parametrize(("rate", "said"), [(0.0, "never true"), (1.0, "always true")])
def test_a_constant_label_is_refused(rate, said):
    examples = numbered(2000)
    labels = [labels_of(examples, rate)]
    with pytest.raises(DataError, match=f"the labelled truth within 20 minutes is {said}"):
        SequenceData([examples], (20,), LABELLED, 1900 * MINUTE_NS, 0, labels=labels)


def test_labels_that_are_asked_for_and_not_there_are_missed():
    with pytest.raises(DataError, match="the labelled truth within 20 minutes is known nowhere"):
        SequenceData([numbered(2000)], (20,), LABELLED, 1900 * MINUTE_NS, 0)


def test_a_market_that_never_sweeps_teaches_nothing():
    still = dataclasses.replace(numbered(2000), swept=np.zeros((2000, 2)))
    with pytest.raises(DataError, match=r"swept mass over its 0\.6 quantile within 20 minutes is never true"):
        SequenceData([still], (20,), SPEC, 1900 * MINUTE_NS, 0)


@pytest.mark.parametrize("name", ["channels", "swept"])
def test_a_frame_that_is_not_finite_is_named(name):
    examples = numbered(2000, blind=(7,))
    examples.channels[7] = np.nan  # a step that shows nothing may hold anything
    getattr(examples, name)[1234, 1] = np.nan
    with pytest.raises(DataError, match=r"S: the frame of step 1234 \(1970-01-01T20:35:00Z\) counts as seen, but"):
        SequenceData([examples], (20,), SPEC, 1900 * MINUTE_NS, 0)


def test_a_further_channel_may_be_missing():
    examples = numbered(2000)
    channels = np.concatenate([examples.channels, np.full((2000, 2, 1, 8), np.nan, np.float32)], axis=2)
    wide = dataclasses.replace(examples, channels=channels, channel_names=(*examples.channel_names, "book_v"))
    data = SequenceData([wide], (20,), SPEC, 1900 * MINUTE_NS, 0)
    assert data.channel_sample(2).isnan().all()
    assert data.channel_sample(0, most=100)[:, :2].isfinite().all()


@pytest.mark.parametrize("shuffle", [True, False])
def test_frames_on_the_device_make_the_same_batches(shuffle):
    first, second = numbered(300, blind=(7, 8, 40)), numbered(50, offset=1000)
    first.scalars[20:30] = np.nan
    truth, known = labels_of(first)
    made = [
        dataclasses.replace(sequence(e), truth=truth[: len(e.closes_ns)], labelled=known[: len(e.closes_ns)])
        for e in (first, second)
    ]
    on_disk, on_device = Lanes(made, SPEC, 3, shuffle), Lanes(made, SPEC, 3, shuffle)
    assert place(on_device, torch.device("cpu"), most_bytes=10**6)
    assert isinstance(on_device.store, OnDevice)
    for a, b in zip(on_disk, on_device, strict=True):
        assert same(
            dataclasses.replace(a, scalars=a.scalars.nan_to_num(-9)),
            dataclasses.replace(b, scalars=b.scalars.nan_to_num(-9)),
        )


def test_frames_that_do_not_fit_stay_where_they_are():
    lanes = Lanes([sequence(numbered(300))], SPEC, 3, shuffle=True)
    # A step: 2 x 2 x 8 channels, 2 x 2 scalars, 2 x 2 exceedances, 2 x 2 graded, 1 mask, in four bytes each.
    needed = 300 * 4 * (32 + 4 + 4 + 4 + 1)
    assert not place(lanes, torch.device("cpu"), most_bytes=needed - 1)
    assert isinstance(lanes.store, OnDisk)
    assert place(lanes, torch.device("cpu"), most_bytes=needed)


def test_processes_share_every_batch_and_keep_in_step():
    made = [sequence(numbered(200)), sequence(numbered(60, offset=1000))]
    whole = oriented(list(Lanes(made, SPEC, 2, shuffle=True)), 260)[0]
    for processes in (2, 7):
        parts = [list(Lanes(made, SPEC, 2, shuffle=True).batches(rank, processes)) for rank in range(processes)]
        assert len({len(part) for part in parts}) == 1
        met = sum((oriented(part, 260)[0] for part in parts), collections.Counter())
        assert met == whole


def test_a_digest_tells_what_is_trained_on():
    def data(examples, until=1900, **options):
        return SequenceData([examples], (20,), SPEC, until * MINUTE_NS, 0, **options).digest()

    plain = numbered(2000)
    assert data(plain) == data(numbered(2000))
    other = dataclasses.replace(plain, channels=plain.channels + 1)  # as a control does, under the same address
    taught = data(plain, teacher=[teacher_of(plain, 4)])
    assert len({data(plain), data(plain, until=1899), data(other), taught}) == 4
