"""Families of pre-trained scores: the same scores from all, nothing from after the cut, and a student of their mean."""

import msgspec
import numpy as np
import pytest
from small import noised

from squeeze.errors import ConfigError
from training.config import day_ns
from training.prepare import prepare
from training.pretraining.boosting import boost
from training.pretraining.scorers import TEACHER, families, pretrained, scores_over, sequences, student
from training.recipe import BoostingSpec, FineTuneSpec, TeacherSpec
from training.walk import walk, weights_digest

BOOSTING = BoostingSpec(rounds=8, leaves=4, least_leaf=20, most_rows=4000)


@pytest.fixture(scope="module")
def prepared(small, tmp_path_factory):
    config = msgspec.structs.replace(small.config, teachers=TeacherSpec(networks=2, boosted=2, boosting=BOOSTING))
    return prepare(config, small.lake, tmp_path_factory.mktemp("scorers"))


@pytest.fixture(scope="module")
def members(prepared):
    return families(prepared)


def test_every_family_scores_every_seen_step_of_every_series_and_no_other(prepared, members):
    assert [member.name for member in members] == ["pretrained_boosting", "pretrained_networks", TEACHER]
    for member in members:
        for scores, examples in zip(member.scores, prepared.series, strict=True):
            assert scores.shape == (len(examples.closes_ns), 2, 2 * (2 + 2)), (
                "two horizons of two quantiles, two graded"
            )
            assert scores.dtype == np.float32
            assert (np.isfinite(scores).all(axis=(1, 2)) == examples.seen).all()


def test_the_teacher_is_the_mean_of_the_families_whatever_their_seeds(members):
    boosting, networks, teacher = (member.scores[0] for member in members)
    np.testing.assert_allclose(teacher, (boosting + networks) / 2, rtol=1e-5, atol=1e-6)
    assert np.nanstd(boosting - networks) > 0.01


def test_boosted_scores_rank_the_exceedances_they_were_fitted_to(prepared, members):
    data = sequences(prepared, 0)
    (sequence,) = data.train_sequences
    at = sequence.positions[sequence.targets.known[sequence.positions]]
    scores, exceeds = members[0].scores[0][at], sequence.targets.exceeds[at]
    for horizon in range(2):
        for quantile in range(2):
            truth, score = exceeds[:, :, horizon, quantile] > 0, scores[:, :, horizon * 4 + quantile]
            assert score[truth].mean() > score[~truth].mean() + 0.5
    graded = np.corrcoef(scores[:, :, 2].ravel(), sequence.targets.graded[at][:, :, 0, 0].ravel())[0, 1]
    assert graded > 0.4


def test_the_same_seed_gives_the_same_trees_and_another_seed_others(prepared):
    data = sequences(prepared, 0)
    own = prepared.own
    first, again, other = (boost(data, BOOSTING, seed).over(own) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_the_future_changes_no_tree(small, prepared, tmp_path):
    until = day_ns(small.config.pretrain.until)
    lake = noised(small.lake, tmp_path / "noise", until, 5)
    changed = prepare(prepared.config, lake, tmp_path / "out")
    models = [boost(sequences(p, 0), BOOSTING, 1).models for p in (prepared, changed)]
    assert [m.model_to_string() for m in models[0]] == [m.model_to_string() for m in models[1]]
    early = noised(small.lake, tmp_path / "early", until - 3 * 86_400_000_000_000, 5)
    earlier = boost(sequences(prepare(prepared.config, early, tmp_path / "out2"), 0), BOOSTING, 1).models
    assert [m.model_to_string() for m in models[0]] != [m.model_to_string() for m in earlier], "noise before it does"


def test_a_student_comes_nearer_to_its_teacher_than_a_network_that_had_none(prepared, members):
    soft = msgspec.structs.replace(prepared.config.pretrain, epochs=6, patience=6, teacher_weight=1.0)
    plain = msgspec.structs.replace(soft, teacher_weight=0.5)
    config = prepared.config

    def distance(spec, taught_by):
        other = type(prepared)(
            msgspec.structs.replace(config, pretrain=spec), prepared.series, prepared.rows, prepared.positions
        )
        network, _ = student(other, taught_by)
        return np.nanmean((scores_over(network, prepared.own) - members[0].scores[0]) ** 2)

    assert distance(soft, members[:1]) < distance(plain, [])


def test_a_walk_keeps_each_family_beside_the_student_and_exports_the_student(prepared):
    trained = walk(prepared)
    assert list(trained.teachers) == ["pretrained_boosting", "pretrained_networks", TEACHER]
    for walked in trained.teachers.values():
        assert [r.block for r in walked.blocks] == [r.block for r in trained.blocks]
        assert [len(r.rows) for r in walked.validation] == [len(r.rows) for r in trained.validation]
    assert weights_digest(trained.network) != weights_digest(pretrained(prepared)[0])
    assert set(trained.pretraining["teachers"]) == {"pretrained_boosting", "pretrained_networks", TEACHER}


def test_what_only_simulated_markets_have_is_refused_before_anything_is_folded(small, tmp_path):
    for asked in ({"labels": True}, {"labels": True, "fine_tuning": FineTuneSpec()}):
        pretrain = msgspec.structs.replace(small.config.pretrain, **asked)
        with pytest.raises(ConfigError, match=f"pretrain.{list(asked)[-1]}: recordings have no labels before"):
            prepare(msgspec.structs.replace(small.config, pretrain=pretrain), small.lake, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_teachers_that_cannot_be_are_refused():
    for wrong in ({"networks": -1}, {"boosted": -1}):
        with pytest.raises((ConfigError, ValueError), match="not negative"):
            TeacherSpec(**wrong)
    with pytest.raises((ConfigError, ValueError), match="shares"):
        BoostingSpec(row_share=1.5)
