"""Leaks planted on purpose in the real pipeline: the detector names each, and is silent where there is none."""

from dataclasses import replace
from typing import get_args

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from small import noised

from squeeze.market.events import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    AnyEvent,
    Bar,
    Broken,
    Feed,
    Gap,
    Levels,
    Liquidation,
    OpenInterest,
    Quote,
)
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake, read_events
from squeeze.market.steps import steps
from squeeze.outcomes.rows import rows
from squeeze.state import MarketState
from squeeze.strict import utc_ns
from training.controls.leaks import (
    GARBAGE,
    NOISE,
    NOTHING,
    STEP,
    Seen,
    changed,
    futures,
    leaks,
    market_features,
    noise,
    seen,
)
from training.splits import Block
from training.walk import fit_block

AT = utc_ns("2025-01-11T04:00")
"""A close of a step; bars, a stamp of open interest and a second of prints become known just after."""
FROM, UNTIL = AT - 4 * HOUR_NS, AT + 3 * HOUR_NS


@pytest.fixture(scope="module")
def spec(small):
    """The small market, ready after an hour."""
    market = msgspec.structs.replace(small.config.spec.market, warm_up_hours=1.0)
    return msgspec.structs.replace(small.config.spec, market=market)


@pytest.fixture(scope="module")
def events(small, spec):
    found = list(read_events(small.lake, spec.market, FROM, UNTIL))
    assert {type(e) for e in found} >= {Bar, OpenInterest, Liquidation}
    return found


def features_in(found):
    return {leak.feature for leak in found}


# No leak, no finding


@pytest.mark.parametrize("at_ns", [AT, AT + 100 * SECOND_NS, AT + 15 * MINUTE_NS - 1])
def test_the_real_pipeline_does_not_look_ahead(spec, events, at_ns):
    assert leaks(market_features(spec), events, at_ns) == []


def test_a_moment_at_which_nothing_could_be_found_is_refused(spec, events):
    with pytest.raises(ValueError, match="must have steps before it and events after it"):
        leaks(market_features(spec), events, FROM - HOUR_NS)
    with pytest.raises(ValueError, match="must have steps before it and events after it"):
        leaks(market_features(spec), events, UNTIL + HOUR_NS)


# Planted in the events


def sooner(spec, moved, by):
    """The real pipeline, were these events taken for known that much too soon."""

    def features(events):
        early = [msgspec.structs.replace(e, known_at_ns=e.known_at_ns - by(e)) if moved(e) else e for e in events]
        return market_features(spec)(sorted(early, key=lambda e: e.known_at_ns))

    return features


def test_a_bar_stamped_at_its_open_is_caught(spec, events):
    found = leaks(sooner(spec, lambda e: isinstance(e, Bar), lambda e: e.cadence_ns), events, AT)
    assert {"mark", "volatility_15m", "return_60m", "candle_body", "unit_100x", "expected_sweep"} <= features_in(found)
    assert {leak.future for leak in found} == {NOISE, NOTHING, GARBAGE}
    assert {(leak.first_ns, leak.steps) for leak in found} == {(AT, 1)}
    assert not features_in(found) & {"own_liquidated_10m", "funding_rate_bp", "day_sin", "open_interest_change_60m"}


def test_open_interest_without_its_lag_is_caught(spec, events):
    found = leaks(sooner(spec, lambda e: isinstance(e, OpenInterest), lambda e: SECOND_NS), events, AT)
    assert "open_interest_change_60m" in features_in(found)
    assert "unit_100x" in features_in(found)
    assert {leak.first_ns for leak in found} == {AT}
    assert not features_in(found) & {"volatility_15m", "mark", "own_liquidated_10m"}


def test_prints_that_are_known_too_soon_are_caught(spec, events):
    found = leaks(sooner(spec, lambda e: isinstance(e, Liquidation), lambda e: HOUR_NS), events, AT)
    assert {"own_liquidated_10m", "other_liquidated_60m"} <= features_in(found)
    assert "volatility_15m" not in features_in(found)


# Planted in the frames


def one_late(spec, change):
    """The fold, each frame changed with what the next step brings: `change(frame, state, step, advance)`.

    The state is that of the frame's own close until `advance` is called, which is once for every step.
    """

    def features(events):
        state, before = MarketState(spec), None
        for step in steps(events, spec.market.symbol, state.length_ns, spec.map.bin_log):
            frames = []

            def advance(step=step, frames=frames):
                frames.append(state.advance(step))

            if before is not None:
                yield seen(change(before, state, step, advance), state)
            if not frames:
                advance()
            before = frames[0]

    return features


def shown(frame, state, mark):
    """The frame, with what the map shows about a price."""
    if not (state.map.open_interest_base > 0 and np.isfinite(frame.bin_width_log)):
        return frame
    outward = state.map.outward(mark, frame.bin_width_log, frame.channels.shape[2])
    return replace(frame, channels=(outward / state.map.open_interest_base).astype(np.float32))


def by_future(found):
    return {name: {leak.feature for leak in found if leak.future == name} for name in (NOISE, NOTHING, GARBAGE)}


def test_a_frame_centred_on_a_later_price_is_caught(spec, events):
    def recentred(frame, state, step, advance):
        mark = step.venue("simulated").mark
        return frame if mark is None else shown(frame, state, mark.close)

    found = leaks(one_late(spec, recentred), events, AT)
    assert by_future(found)[NOISE] >= {"unit_100x", "unit_50x"}
    assert all(name.startswith("unit_") for name in by_future(found)[NOISE])
    assert by_future(found)[NOTHING] == {STEP}, "without the next step there is no such frame"
    assert {(leak.first_ns, leak.steps) for leak in found} == {(AT, 1)}


def test_a_map_swept_with_the_bar_that_is_to_be_predicted_is_caught(spec, events):
    def swept(frame, state, step, advance):
        advance()
        return shown(frame, state, frame.mark.close)

    found = leaks(one_late(spec, swept), events, AT)
    assert by_future(found)[NOISE] >= {"unit_100x"}
    assert by_future(found)[GARBAGE] >= {"unit_100x"}, "what a bar goes through is swept wherever it closes"
    assert all(name.startswith("unit_") for name in by_future(found)[NOISE])


def test_a_feature_that_only_waits_for_the_next_step_is_caught_by_its_absence_alone(spec, events):
    found = leaks(one_late(spec, lambda frame, state, step, advance: frame), events, AT)
    assert [(leak.feature, leak.future) for leak in found] == [(STEP, NOTHING)]


# Planted in what is made of the frames


def columns(spec, events, name):
    frames = list(market_features(spec)(events))
    return frames, np.array([frame.values[name] for frame in frames])


def test_a_scaler_fitted_on_all_data_is_caught(spec, events):
    def scaled(events):
        frames, values = columns(spec, events, "candle_body")
        z = (values - np.nanmean(values)) / np.nanstd(values)
        return [Seen(frame.close_ns, {"candle_body": row}) for frame, row in zip(frames, z, strict=True)]

    found = leaks(scaled, events, AT)
    assert {leak.future for leak in found} == {NOISE, NOTHING, GARBAGE}
    assert min(leak.first_ns for leak in found) < AT - 2 * HOUR_NS, "from the first step on"


def test_a_centred_window_is_caught_where_it_begins_to_look_ahead(spec, events):
    def smoothed(events):
        frames, values = columns(spec, events, "mark")
        mean = np.convolve(values, np.ones(5) / 5, mode="same")
        return [Seen(frame.close_ns, {"smooth": value}) for frame, value in zip(frames, mean, strict=True)]

    noisy = next(leak for leak in leaks(smoothed, events, AT) if leak.future == NOISE)
    assert (noisy.first_ns, noisy.steps) == (AT - 5 * MINUTE_NS, 2)


def test_the_label_taken_for_a_feature_is_caught(spec, small, tmp_path):
    def labelled(lake):
        found = rows(lake, spec)
        return [Seen(int(t), {"label": truth.astype(float)}) for t, truth in zip(found.ts_ns, found.truth, strict=True)]

    at_ns = AT + 30 * MINUTE_NS  # a cascade of longs is half an hour away
    found = changed(labelled(small.lake), labelled(noised(small.lake, tmp_path / "noised", at_ns, 9)), at_ns)
    assert features_in(found) == {"label"}
    assert at_ns - HOUR_NS < found[0].first_ns <= at_ns


# Planted in the import: a mapping that says something false of a file


def rewritten(small, folder, at_ns, seed):
    """The recording with every row that was public only after a moment saying something else."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    public = {"bars_1m": MINUTE_NS, "mark_bars_1m": MINUTE_NS, "open_interest": SECOND_NS, "liquidations": SECOND_NS}
    for path in small.mapping.parent.glob("*.parquet"):
        table = pq.read_table(path)
        table = table.filter(table.column("ts").to_numpy() >= np.datetime64(FROM, "ns"))
        table = table.filter(table.column("ts").to_numpy() < np.datetime64(UNTIL, "ns"))
        later = table.column("ts").to_numpy().astype(np.int64) + public.get(path.stem, 0) > at_ns
        factor = np.where(later & (seed > 0), np.exp(rng.normal(0, 0.02, len(later))), 1.0)
        for i, name in enumerate(table.column_names):
            if pa.types.is_floating(table.schema.field(name).type) and name != "interval_hours":
                table = table.set_column(i, name, pa.array(table.column(name).to_numpy() * factor))
        pq.write_table(table, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def recordings_(small, tmp_path_factory):
    """The recording, and the same with noise for a future."""
    folder = tmp_path_factory.mktemp("rewritten")
    return [rewritten(small, folder / f"{seed}", AT, seed) for seed in (0, 1)]


def imported(small, spec, folder, lakes, **false):
    """Frames of a folder of files, read by a mapping in which something may be false."""
    said = yaml.safe_load(small.mapping.read_text())
    for file in said["files"]:
        if file["kind"] in false:
            file |= false[file["kind"]]
    path = folder / f"{'-'.join(false) or 'true'}.yaml"
    path.write_text(yaml.safe_dump(said))
    lake = Lake(lakes / f"{folder.name}-{path.stem}")
    import_mapping(path, folder, lake)
    return list(market_features(spec)(list(read_events(lake, spec.market))))


FALSE = {
    "nothing false": ({}, set()),
    "a bar stamped at its open": (
        {"bar": {"ts": {"column": "ts", "means": "close", "unit": "datetime"}}},
        {"volume_surprise_15m", "unit_100x"},
    ),
    "a mark stamped at its open": (
        {"mark_bar": {"ts": {"column": "ts", "means": "close", "unit": "datetime"}}},
        {"mark", "volatility_15m", "unit_100x"},
    ),
    "open interest without its lag": (
        {"open_interest": {"publication_lag": "0s"}},
        {"open_interest_change_60m", "unit_100x"},
    ),
}


@pytest.mark.parametrize("what", FALSE)
def test_a_mapping_that_is_false_about_time_is_caught_and_a_true_one_is_not(small, spec, recordings_, tmp_path, what):
    false, named = FALSE[what]
    before, after = (imported(small, spec, folder, tmp_path, **false) for folder in recordings_)
    found = changed(before, after, AT)
    assert named <= features_in(found)
    assert bool(found) == bool(named)
    assert {leak.first_ns for leak in found} <= {AT}
    assert changed(before, after, AT + 5 * MINUTE_NS), "the noise is there, a step later"


# Planted in training: what a block is fitted on


def test_a_head_that_saw_its_own_test_rows_is_caught(finished):
    """Truth after the training end is replaced: the real block's answers stay, a leaky block's do not."""
    prepared, real = finished.prepared, finished.trained.blocks[-1].block
    leaky = Block(real.index, real.test_until_ns, real.test_from_ns, real.test_until_ns)
    later = prepared.rows.ts_ns > real.train_until_ns
    truth = prepared.rows.truth ^ (
        later[:, None, None] & (np.random.default_rng(0).random(prepared.rows.truth.shape) < 0.5)
    )
    truth[:, :, 1] |= truth[:, :, 0]
    noisy = replace(prepared, rows=replace(prepared.rows, truth=truth))

    def answers(prepared, block):
        found = fit_block(prepared, finished.trained.scores, block)
        return [Seen(int(t), {"p": p}) for t, p in zip(found.rows.ts_ns, found.probabilities, strict=True)]

    everything = 1 << 62
    assert changed(answers(prepared, real), answers(noisy, real), everything) == []
    assert features_in(changed(answers(prepared, leaky), answers(noisy, leaky), everything)) == {"p"}


# The detector itself


def test_noise_keeps_times_and_kinds_and_changes_what_is_said():
    at = {"venue": "v", "symbol": "s", "event_ns": 5, "known_at_ns": 7}
    rng = np.random.default_rng(0)
    numbers = {int: 1, float: 2.0, bool: True, str: "x", Levels: [(99.0, 1.0)], Feed: Feed.BOOK, Broken: Broken.CROSSED}
    for kind in get_args(AnyEvent):
        needed = {
            field.name: numbers[field.type] if field.type in numbers else get_args(field.type)[0]
            for field in msgspec.structs.fields(kind)
            if field.required and field.name not in at
        }
        event = kind(**at | needed)
        found = noise(event, rng)
        assert (type(found), found.event_ns, found.known_at_ns) == (kind, 5, 7)
        assert (found != event) == (kind is not Gap)
        if kind is Bar:
            assert 0 < found.low <= min(found.open, found.close) <= max(found.open, found.close) <= found.high
        if kind is Quote:
            assert found.bid <= found.ask


def test_a_garbage_future_touches_the_open_bar_alone(events):
    found = futures(events, AT)[GARBAGE]
    touched = [e for e, old in zip(found, events, strict=True) if e != old]
    assert {(type(e), e.event_ns) for e in touched} == {(Bar, AT + MINUTE_NS)}
    assert len(touched) == 2, "the last price's and the mark's"
    assert all(e.known_at_ns <= AT for e in futures(events, AT)[NOTHING])


def test_differences_are_told_by_feature_and_step_and_nan_equals_nan():
    one = [Seen(t * DAY_NS, {"a": np.array([1.0, np.nan]), "b": 2.0}) for t in range(4)]
    other = [Seen(t * DAY_NS, {"a": np.array([1.0, np.nan]), "b": 2.0 + (t > 0)}) for t in range(3)]
    found = changed(one, other, 3 * DAY_NS)
    assert [(leak.feature, leak.first_ns // DAY_NS, leak.steps) for leak in found] == [("b", 1, 2), (STEP, 3, 1)]
    assert changed(one, other, 0) == []
    renamed = [Seen(0, {"c": 2.0})]
    assert [leak.feature for leak in changed(one[:1], renamed, 0)] == ["a", "b", "c"]
