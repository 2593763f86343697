"""Attribution: the parts of a prediction add up to it, what has no influence has no part, and the picture is drawn."""

import argparse
import json

import numpy as np
import pytest
import torch

from squeeze.arrays import SIDES
from squeeze.errors import DataError
from squeeze.state import Unhealthy
from training import runs
from training.config import day_ns, utc
from training.controls import attribution
from training.controls.attribution import LEAST_LOGIT, TOLERANCE, attribute, explain, head_of, log_odds, memory_before
from training.controls.attribution_figure import attribution_figure, largest, parts
from training.controls.views import seen_through

HORIZONS = (15, 60)


@pytest.fixture(scope="module")
def until_ns(small):
    return day_ns(small.config.pretrain.until)


@pytest.fixture(scope="module")
def positions(finished):
    """The likeliest long squeeze and the likeliest short squeeze among the last block's rows."""
    block = finished.trained.blocks[-1]
    rows = np.nanargmax(block.probabilities[:, :, 1], axis=0)
    at = np.searchsorted(finished.prepared.rows.ts_ns, block.rows.ts_ns[rows])
    return finished.prepared.positions[at].tolist()


@pytest.fixture(scope="module")
def model(finished):
    return runs.load_step(finished.run, finished.folder, -1)


@pytest.fixture(scope="module")
def explained(finished, model, positions, until_ns):
    own = finished.prepared.own
    return [attribute(model, own, positions[side], side, HORIZONS, 1, until_ns) for side in range(2)]


@pytest.mark.parametrize("side", range(2))
def test_the_parts_add_up_to_the_difference_of_log_odds(explained, side):
    found = explained[side]
    total = found.bins.sum() + found.scalars.sum() + found.memory
    assert abs(found.difference) > 0.5
    assert total == pytest.approx(found.difference, abs=TOLERANCE * abs(found.difference) + LEAST_LOGIT)
    assert found.difference == pytest.approx(log_odds(found.probability) - log_odds(found.baseline))
    assert sum(value for _, value in parts(found)) == pytest.approx(total)
    assert sum(value for _, value in largest(found, 5)) == pytest.approx(total)
    assert len(largest(found, 5)) == 6


@pytest.mark.parametrize("side", range(2))
def test_what_is_explained_is_the_probability_that_the_run_gave(finished, explained, side):
    block, found = finished.trained.blocks[-1], explained[side]
    row = int(np.flatnonzero(block.rows.ts_ns == found.close_ns)[0])
    assert found.probability == pytest.approx(float(block.probabilities[row, side, 1]), abs=1e-6)
    assert (found.side, found.horizon_minutes) == (SIDES[side], 60)


def test_the_memory_is_that_of_the_steps_one_by_one(finished, model):
    own, position = finished.prepared.own, 700
    state = torch.zeros(2, model.network.state_width)
    for at in np.flatnonzero(own.seen[:position]):
        with torch.no_grad():
            _, state = model(
                torch.from_numpy(np.array(own.channels[at])), torch.from_numpy(np.array(own.scalars[at])), state
            )
    torch.testing.assert_close(memory_before(model.network, own, position), state, atol=1e-5, rtol=1e-4)


def test_nothing_after_the_step_has_a_part(finished, model, explained, positions, until_ns):
    own, position = finished.prepared.own, positions[0]

    def later_is_noise(array):
        def read(at):
            rows = np.array(array[at])
            rows[at > position] = 7.0
            return rows

        return read

    noisy = seen_through(own, later_is_noise(own.channels), later_is_noise(own.scalars))
    found = attribute(model, noisy, position, 0, HORIZONS, 1, until_ns)
    assert found.bins.tobytes() == explained[0].bins.tobytes()
    assert found.scalars.tobytes() == explained[0].scalars.tobytes()


def test_what_was_not_recorded_or_is_masked_has_no_part(finished, model, positions, until_ns):
    own = finished.prepared.own
    missing = own.scalar_names.index("volatility_60m")

    def read(at):
        rows = np.array(own.scalars[at])
        rows[at == positions[0], :, missing] = np.nan
        return rows

    found = attribute(model, seen_through(own, scalars=read), positions[0], 0, HORIZONS, 1, until_ns)
    assert np.isnan(found.scalar_values[missing])
    assert found.scalars[missing] == 0
    silent = [own.scalar_names.index(name) for name in finished.run.masked_scalars]
    assert (found.scalars[silent] == 0).all()
    assert np.isfinite(found.bins).all()


def test_a_mean_market_has_nothing_to_explain(finished, model, until_ns):
    """At the baseline itself every part is zero, however long its memory."""
    own = finished.prepared.own
    mean = attribution.mean_channels(own, until_ns)

    def channels(at):
        return np.broadcast_to(mean, (len(at), 2, *mean.shape)).copy()

    def scalars(at):
        return np.broadcast_to(model.network.scalars.mean.numpy(), (len(at), 2, len(own.scalar_names))).copy()

    calm = seen_through(own, channels, scalars)
    found = attribute(model, calm, 3000, 1, HORIZONS, 0, until_ns)
    assert found.difference == pytest.approx(0, abs=1e-3)
    assert max(abs(value) for _, value in parts(found)) < 1e-3


def test_a_run_that_is_kept_explains_itself(small, finished, explained):
    own, found = finished.prepared.own, explained[0]
    again = explain(finished.run, finished.folder, small.lake, finished.out / "examples", found.close_ns + 1, [0])[0]
    np.testing.assert_allclose(again.bins, found.bins, atol=1e-9)
    first = int(finished.run.blocks[0].block.test_from_ns)
    assert head_of(finished.run, first) == 0
    with pytest.raises(DataError, match=f"answer from {utc(first)} on"):
        explain(finished.run, finished.folder, small.lake, finished.out / "examples", first - 1, [0])
    with pytest.raises(DataError, match="the frames run from"):
        explain(finished.run, finished.folder, small.lake, finished.out / "examples", int(own.closes_ns[-1]) * 2, [0])
    blind = int(own.closes_ns[np.flatnonzero(own.unhealthy & Unhealthy.BARS_STALE)[-1]])
    with pytest.raises(DataError, match=r"the model abstains: .*bars_stale"):
        explain(finished.run, finished.folder, small.lake, finished.out / "examples", blind, [0])


def test_the_picture_shows_both_maps_and_the_largest_parts(explained, tmp_path):
    figure = attribution_figure(explained[1])
    added, heat, bars = figure.axes
    bins = explained[1].bins.shape[2]
    assert len(added.patches) == len(heat.patches) == 2 * bins
    assert sum(patch.get_height() for patch in added.patches) == pytest.approx(explained[1].bins.sum())
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert names[0].startswith(largest(explained[1])[0][0])
    assert "Short squeeze" in figure.get_suptitle()
    figure.savefig(tmp_path / "explained.png")


def test_a_coarse_sum_that_does_not_add_up_is_refused(finished, model, positions, until_ns, monkeypatch):
    monkeypatch.setattr(attribution, "FEWEST_POINTS", 1)
    monkeypatch.setattr(attribution, "MOST_POINTS", 1)
    monkeypatch.setattr(attribution, "TOLERANCE", 1e-9)
    monkeypatch.setattr(attribution, "LEAST_LOGIT", 1e-9)
    with pytest.raises(attribution.SqueezeError, match="the parts miss the difference"):
        attribute(model, finished.prepared.own, positions[0], 0, HORIZONS, 1, until_ns)


def test_the_verb_draws_one_picture_a_side_and_prints_the_largest_parts(small, finished, explained, capsys):
    from training.verbs.explain import explain as verb

    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    parser.add_argument("--json", action="store_true")
    words = [str(small.config_path), "--out", str(finished.out), "--lake", str(small.lake.root), "--json"]
    verb.run(parser.parse_args([*words, "--at", utc(explained[0].close_ns)]))
    rows = json.loads(capsys.readouterr().out)
    assert {row["side"] for row in rows} == set(SIDES)
    assert sum(row["log_odds"] for row in rows if row["side"] == "long") == pytest.approx(
        explained[0].difference, abs=TOLERANCE * abs(explained[0].difference) + LEAST_LOGIT
    )
    pictures = sorted(path.name for path in (finished.out / "explained").glob("*.png"))
    assert len(pictures) == 2
    assert pictures[0].endswith("-long.png")
