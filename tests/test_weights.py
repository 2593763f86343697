import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import DataError
from squeeze.heatmaps import weight_rows
from squeeze.heatmaps.weight_rows import gather
from squeeze.heatmaps.weights import FitSpec, WeightFit, fit, fit_blocks, fixed_point, tweedie_deviance
from squeeze.market.events import DAY_NS, MINUTE_NS

TRUE = np.array([0.10, 0.175, 0.175, 0.11, 0.055])
PRIOR = (0.10, 0.15, 0.15, 0.10, 0.05)
LOOSE = FitSpec(least_liquidations=1, least_days=1, least_sweeps=1.0)


def closes(steps: int, every_ns: int = 10 * MINUTE_NS) -> np.ndarray:
    return 1000 * DAY_NS + every_ns * np.arange(1, steps + 1)


def sweeps(rng: np.random.Generator, steps: int, buckets: int = 5, busy: float = 0.3) -> np.ndarray:
    """Mostly nothing; else something in every bucket, more alike than not."""
    common = rng.exponential(size=(steps, 2, 1)) * (rng.random((steps, 2, 1)) < busy)
    return common * np.exp(rng.normal(0, 1, (steps, 2, buckets)))


def tweedie(rng: np.random.Generator, mean: np.ndarray, phi: float, p: float = 1.5) -> np.ndarray:
    """Compound Poisson-gamma of this mean and variance phi · mean^p."""
    jumps = rng.poisson(mean ** (2 - p) / (phi * (2 - p)))
    size = phi * (p - 1) * mean ** (p - 1)
    return np.where(jumps > 0, rng.gamma(np.maximum(jumps, 1) * (2 - p) / (p - 1)) * size, 0.0)


def case(seed: int, steps: int = 6000, buckets: int = 5, true: np.ndarray = TRUE, background: float = 0.01):
    """Swept, observed and times of a market whose weights are known."""
    rng = np.random.default_rng(seed)
    swept = sweeps(rng, steps, buckets)
    return swept, tweedie(rng, swept @ true + background, 0.5), closes(steps)


def strength(value: float, base: FitSpec = LOOSE) -> FitSpec:
    kept = {name: getattr(base, name) for name in base.__struct_fields__}
    return FitSpec(**kept | {"prior_strength": value})


def test_the_synthetic_amounts_have_the_mean_and_variance_they_claim():
    y = tweedie(np.random.default_rng(0), np.full(400_000, 0.7), 0.5)
    assert y.mean() == pytest.approx(0.7, rel=0.01)
    assert y.var() == pytest.approx(0.5 * 0.7**1.5, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_known_weights_are_recovered_within_their_errors(seed):
    swept, observed, times = case(seed, 20_000)
    found = fit(swept, observed, times, [0.11] * 5, spec=strength(0.0), draws=60, seed=seed)
    off = (found.weights - TRUE) / found.standard_errors
    # Five z-values: 4 in any, or 22 in their sum of squares, happen less than once in 1,000.
    assert np.abs(off).max() < 4
    assert (off**2).sum() < 22
    assert found.background[0] == pytest.approx(0.01, rel=0.2)
    assert found.dispersion == pytest.approx(0.5, rel=0.15)
    assert found.deviance < 0.7 * found.null_deviance
    # The bootstrap and the Fisher information of the model that is true here agree, but for what others share.
    assert (found.standard_errors > 0.6 / np.sqrt(found.information)).all()
    assert (found.standard_errors < 3.0 / np.sqrt(found.information)).all()


def test_a_prior_of_ordinary_strength_shrinks_but_little():
    swept, observed, times = case(0, 20_000)
    found = fit(swept, observed, times, PRIOR)
    assert np.abs(found.weights - TRUE).max() < 0.02
    assert np.abs(found.weights - TRUE).sum() < np.abs(np.array(PRIOR) - TRUE).sum()
    assert found.converged
    assert found.unspoken == ()
    assert found.share == 1.0
    assert found.share_known
    np.testing.assert_array_equal(found.from_prior, found.weights - PRIOR)


def slow_objective(w, background, swept, observed, prior, alpha, p):
    """The words of domain.md §3.6, by row."""
    total = alpha * sum(w[k] - (prior[k] * math.log(w[k]) if prior[k] else 0.0) for k in range(len(w)))
    for t, s in np.ndindex(observed.shape):
        if not math.isnan(observed[t, s]):
            mu = float(swept[t, s] @ w) + background
            total += observed[t, s] * mu ** (1 - p) / (p - 1) + mu ** (2 - p) / (2 - p)
    return total


def slow_alpha(swept, observed, prior, n0, p):
    """n0 × the median bucket's pull, at the prior and a tenth of the mean amount."""
    known = ~np.isnan(observed)
    mu = swept @ prior + 0.1 * observed[known].mean()
    pull = [(swept[..., k] * mu ** (1 - p))[known].sum() for k in range(len(prior))]
    return n0 * float(np.median([v for v in pull if v > 0]))


@pytest.mark.parametrize("p", [1.2, 1.5, 1.8])
@pytest.mark.parametrize(("seed", "true"), [(1, [0.2, 0.3, 0.1]), (2, [0.0, 0.4, 0.05]), (3, [0.9, 0.6, 0.5])])
def test_the_fit_is_where_a_general_optimiser_goes(seed, true, p):
    optimize = pytest.importorskip("scipy.optimize")
    swept, observed, times = case(seed, 150, 3, np.array(true))
    observed[np.random.default_rng(seed).random(observed.shape) < 0.1] = math.nan
    prior = np.array([0.2, 0.3, 0.1])
    spec = FitSpec(power=p, least_liquidations=1, least_days=1, least_sweeps=1.0, tolerance=1e-9)
    found = fit(swept, observed, times, prior.tolist(), spec=spec)
    alpha = slow_alpha(swept, observed, prior, spec.prior_strength, p)

    def value(x):
        return slow_objective(x[:3], x[3], swept, observed, prior, alpha, p)

    best = optimize.minimize(
        value,
        np.array([0.2, 0.3, 0.1, 0.05]),
        method="SLSQP",
        bounds=[(1e-9, 1.0)] * 3 + [(1e-9, None)],
        constraints=[{"type": "ineq", "fun": lambda x: 1 - x[:3].sum()}],
        options={"ftol": 1e-13, "maxiter": 500},
    )
    ours = value(np.array([*found.weights, *found.background]))
    assert ours == pytest.approx(best.fun, rel=1e-7)
    assert ours <= best.fun + 1e-6
    np.testing.assert_allclose(found.weights, best.x[:3], atol=2e-3)
    assert found.background[0] == pytest.approx(best.x[3], rel=0.02, abs=1e-5)


@given(
    st.integers(0, 10_000),
    st.sampled_from([1.0, 1.3, 1.5, 1.9]),
    st.floats(0.001, 1),
    st.booleans(),
    st.floats(0.01, 9),
)
@settings(max_examples=30, deadline=None)
def test_weights_stay_on_the_simplex_and_the_objective_never_rises(seed, power, n0, known, level):
    swept, observed, times = case(seed, 120, 4, np.full(4, level / 4))
    spec = FitSpec(power=power, prior_strength=n0, least_liquidations=0, least_days=1, least_sweeps=0.0)
    if not (observed > 0).any():
        return
    prior = np.array([0.4, 0.1, 0.0, 0.3])
    problem = gather(swept, observed, times, prior, 1.0 if known else None, None, spec)[0]
    params, values = problem.start, []
    for _ in range(25):  # each plain update, and then the rounds of the accelerated fit
        params, before = problem.update(params)
        values.append(before)
        assert (params >= 0).all()
        assert not known or params[:4].sum() <= 1 + 1e-12
    values.append(problem.objective(params))
    found = fit(swept, observed, times, prior.tolist(), share=1.0 if known else None, spec=spec)
    for trail in (np.array(values), found.objective):
        assert (np.diff(trail) <= 1e-12 * np.abs(trail).max()).all()
    assert (found.weights >= 0).all()
    assert found.weights.sum() <= 1 + 1e-12


def test_one_update_is_that_of_the_formula():
    swept, observed, times = case(0, 200, 2, np.array([0.2, 0.1]))
    prior, p, n0 = np.array([0.1, 0.2]), 1.5, 0.1
    problem = gather(swept, observed, times, prior, 1.0, None, LOOSE)[0]
    alpha = slow_alpha(swept, observed, prior, n0, p)
    w, background = np.array([0.3, 0.05]), 0.02
    mu = swept @ w + background
    expected = [
        w[k]
        * ((swept[..., k] * observed * mu**-p).sum() + alpha * prior[k] / w[k]) ** (1 / p)
        / ((swept[..., k] * mu ** (1 - p)).sum() + alpha) ** (1 / p)
        for k in range(2)
    ]
    expected.append(background * ((observed * mu**-p).sum() / (mu ** (1 - p)).sum()) ** (1 / p))
    np.testing.assert_allclose(problem.update(np.array([*w, background]))[0], expected, rtol=1e-10)


def test_a_full_simplex_is_a_true_optimum_not_a_scaled_one():
    swept, observed, times = case(5, 3000, 2, np.array([1.2, 0.4]))
    found = fit(swept, observed, times, [0.3, 0.3], spec=strength(0.0))
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-9)
    problem = gather(swept, observed, times, np.array([0.3, 0.3]), 1.0, None, strength(0.0))[0]
    best = problem.objective(np.array([*found.weights, *found.background]))
    for move in (0.01, -0.01):  # along the border
        aside = found.weights + np.array([move, -move])
        assert problem.objective(np.array([*aside, *found.background])) > best


@pytest.mark.parametrize("share", [1.0, None])
def test_a_bucket_never_swept_keeps_its_prior(share):
    swept, observed, times = case(0)
    swept[..., 0] = 0.0
    found = fit(swept, observed, times, PRIOR, share=share)
    if share is not None:
        assert found.weights[0] == pytest.approx(PRIOR[0], rel=1e-3)
    assert found.data_share[0] == pytest.approx(0.0, abs=1e-9 if share else 0.05)
    assert found.unspoken == (0,)
    assert found.sweeps[0] == found.information[0] == 0.0


def test_buckets_that_look_alike_are_told_apart_by_the_prior_alone():
    swept, observed, times = case(0)
    swept[..., 1] = swept[..., 0]
    found = fit(swept, observed, times, PRIOR)
    assert found.weights[1] / found.weights[0] == pytest.approx(PRIOR[1] / PRIOR[0], rel=1e-3)
    assert found.data_share[:2].max() < found.data_share[2:].min()


def test_scaling_all_amounts_scales_the_background_alone():
    swept, observed, times = case(1)
    found, scaled = fit(swept, observed, times, PRIOR), fit(1e6 * swept, 1e6 * observed, times, PRIOR)
    np.testing.assert_allclose(scaled.weights, found.weights, rtol=1e-6)
    np.testing.assert_allclose(scaled.background, 1e6 * found.background, rtol=1e-6)
    np.testing.assert_allclose(scaled.data_share, found.data_share, rtol=1e-6)


def test_with_no_known_share_scaling_what_is_observed_scales_share_and_background_alone():
    swept, observed, times = case(1)
    found, scaled = (fit(swept, c * observed, times, PRIOR, share=None) for c in (1.0, 3e4))
    np.testing.assert_allclose(scaled.weights, found.weights, rtol=1e-6)
    np.testing.assert_allclose(scaled.background, 3e4 * found.background, rtol=1e-6)
    assert scaled.share == pytest.approx(3e4 * found.share)
    assert not found.share_known
    assert found.weights.sum() == pytest.approx(sum(PRIOR))


def test_a_known_share_is_taken_out_and_an_unknown_one_leaves_the_mix():
    rng = np.random.default_rng(4)
    swept = sweeps(rng, 20_000)
    observed = tweedie(rng, 0.4 * (swept @ TRUE) + 0.01, 0.5)
    told = fit(swept, observed, closes(20_000), PRIOR, share=0.4)
    guessed = fit(swept, observed, closes(20_000), PRIOR, share=None, draws=20)
    assert told.weights.sum() == pytest.approx(TRUE.sum(), rel=0.05)
    assert guessed.level == pytest.approx(0.4 * TRUE.sum(), rel=0.05)
    assert abs(guessed.level - 0.4 * TRUE.sum()) < 4 * guessed.level_error
    assert guessed.mix.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(guessed.mix, TRUE / TRUE.sum(), atol=0.04)


def test_rows_that_were_not_recorded_change_nothing():
    swept, observed, times = case(2, 3000)
    rng = np.random.default_rng(9)
    x = rng.exponential(size=(3000, 2, 1))
    observed[rng.random(observed.shape) < 0.3] = math.nan
    noised, noise = swept.copy(), x.copy()
    noised[np.isnan(observed)] = rng.normal(0, 1e6, (int(np.isnan(observed).sum()), 5))
    noise[np.isnan(observed)] = math.nan
    for first, again in ((None, None), (x, noise)):
        found = fit(swept, observed, times, PRIOR, regressors=first, draws=3)
        other = fit(noised, observed, times, PRIOR, regressors=again, draws=3)
        np.testing.assert_array_equal(found.weights, other.weights)
        np.testing.assert_array_equal(found.background, other.background)
        np.testing.assert_array_equal(found.standard_errors, other.standard_errors)
        assert found.rows == np.isfinite(observed).sum()


def test_not_recorded_is_not_zero():
    swept, observed, times = case(2, 3000)
    holes = np.random.default_rng(0).random(observed.shape) < 0.5
    masked, zeroed = (fit(swept, np.where(holes, v, observed), times, PRIOR) for v in (math.nan, 0.0))
    assert masked.weights.sum() == pytest.approx(TRUE.sum(), rel=0.1)
    assert zeroed.weights.sum() < 0.7 * TRUE.sum()


def test_a_regressor_takes_what_the_map_does_not_explain():
    rng = np.random.default_rng(3)
    swept, x = sweeps(rng, 10_000), rng.exponential(size=(10_000, 2, 1))
    observed = tweedie(rng, swept @ TRUE + 0.01 + 0.05 * x[..., 0], 0.5)
    found = fit(swept, observed, closes(10_000), PRIOR, regressors=x)
    assert found.background == pytest.approx([0.01, 0.05], rel=0.3)
    mu = found.expected(swept, x)
    assert mu.sum() == pytest.approx(observed.sum(), rel=0.05)
    assert tweedie_deviance(observed, mu, 1.5) == pytest.approx(found.deviance)


def test_putting_quiet_rows_together_changes_no_fit(monkeypatch):
    swept, observed, times = case(6, 2000)
    together = fit(swept, observed, times, PRIOR)
    monkeypatch.setattr(weight_rows, "_together", lambda design, y, block, apart: (design, y, np.ones(y.size), block))
    apart = fit(swept, observed, times, PRIOR)
    np.testing.assert_allclose(together.weights, apart.weights, rtol=1e-9)
    np.testing.assert_allclose(together.background, apart.background, rtol=1e-9)
    assert together.objective[-1] == pytest.approx(apart.objective[-1], rel=1e-12)


def test_later_rows_change_no_earlier_block():
    swept, observed, times = case(7, 4000)
    known = times + 30 * MINUTE_NS
    cuts = [int(times[1500]), int(times[3000])]
    blocks = fit_blocks(swept, observed, times, PRIOR, cuts, known_ns=known, purge_ns=60 * MINUTE_NS)
    rng = np.random.default_rng(0)
    for cut, block in zip(cuts, blocks, strict=True):
        late = known > cut - 60 * MINUTE_NS
        other, mass = observed.copy(), swept.copy()
        other[late], mass[late] = rng.exponential(size=(int(late.sum()), 2)), math.nan
        early = [c for c in cuts if c <= cut]
        again = fit_blocks(mass, other, times, PRIOR, early, known_ns=known, purge_ns=60 * MINUTE_NS)[-1]
        np.testing.assert_array_equal(again.fit.weights, block.fit.weights)
        assert again.last_ns == block.last_ns == cut - 90 * MINUTE_NS
        # The row before the border does count.
        border = int(np.flatnonzero(~late)[-1])
        changed = observed.copy()
        changed[border] += 50.0
        moved = fit_blocks(swept, changed, times, PRIOR, early, known_ns=known, purge_ns=60 * MINUTE_NS)[-1]
        assert not np.array_equal(moved.fit.weights, block.fit.weights)


def test_a_block_with_too_little_is_named():
    swept, observed, times = case(7, 1000)
    with pytest.raises(DataError, match=r"^before the cut at 1972-09-27T01:50:00Z: too little to fit weights"):
        fit_blocks(swept, observed, times, PRIOR, [int(times[10])])


def test_the_fixed_point_is_found_and_its_rounds_are_told():
    swept, observed, times = case(8)

    def fold(w):
        return swept * (1 - 0.3 * w.sum())  # the more is thought liquidated, the less there is left

    def refit(mass) -> WeightFit:
        return fit(mass, observed, times, PRIOR)

    found = fixed_point(fold, refit, np.array(PRIOR), 1e-6, 60)
    assert found.converged
    assert found.changes[-1] <= 1e-6 < found.changes[0]
    np.testing.assert_allclose(refit(fold(found.fit.weights)).weights, found.fit.weights, atol=1e-6)
    short = fixed_point(fold, refit, np.array(PRIOR), 1e-6, 2)
    assert not short.converged
    assert short.changes == found.changes[:2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, y, t: (s, np.full_like(y, math.nan), t), "all amounts are NaN"),
        (lambda s, y, t: (s, y - 1e9 * (y == y.max()), t), "observed: 1 of 2000 recorded values are negative"),
        (lambda s, y, t: (s, np.where(y == y.max(), math.inf, y), t), "observed: 1 of 2000 recorded values"),
        (lambda s, y, t: (-s, y, t), "swept: "),
        (lambda s, y, t: (s * math.nan, y, t), "swept: 10000 of 10000 recorded values"),
        (lambda s, y, t: (s, 0.0 * y, t), r"0 steps with a liquidation \(at least 50\)"),
        (lambda s, y, t: (0.0 * s, y, t), r"0.0 effective steps with sweeps \(30\), unit mass swept 0 \(over 0\)"),
        (lambda s, y, t: (s, y, np.full_like(t, t[0])), r"1 days \(3\)"),
    ],
)
def test_too_little_and_the_impossible_are_refused_in_one_line(change, message):
    with pytest.raises(DataError, match=message) as refused:
        fit(*change(*case(0, 1000)), PRIOR)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["least_liquidations", "least_days", "least_sweeps", "least_swept"])
def test_each_stated_least_amount_refuses_by_itself_and_at_its_border(name):
    swept, observed, times = case(0, 1000)
    found = fit(swept, observed, times, PRIOR, spec=LOOSE)
    held = {
        "least_liquidations": found.liquidations,
        "least_days": found.days,
        "least_sweeps": float(found.sweeps.max()) * (1 - 1e-9),
        "least_swept": float(swept.sum()) / 5 * (1 - 1e-9),
    }[name]
    loose = {field: getattr(LOOSE, field) for field in LOOSE.__struct_fields__}
    fit(swept, observed, times, PRIOR, spec=FitSpec(**loose | {name: held}))
    more = held + 1 if isinstance(held, int) else held * (1 + 1e-6)
    with pytest.raises(DataError, match="too little to fit weights"):
        fit(swept, observed, times, PRIOR, spec=FitSpec(**loose | {name: more}))


@pytest.mark.parametrize("prior", [[0.5], [0.1, 0.1, 0.1, 0.1, -0.1], [0.3] * 5, [0.0] * 5, [math.nan] * 5])
def test_an_impossible_prior_is_refused(prior):
    with pytest.raises(DataError, match="prior: expected 5 weights"):
        fit(*case(0, 1000), prior)


def test_an_impossible_share_or_number_of_draws_is_refused():
    with pytest.raises(DataError, match="share"):
        fit(*case(0, 1000), PRIOR, share=1.5)
    with pytest.raises(DataError, match="share: with none known"):
        fit(*case(0, 1000), PRIOR, share=None, spec=strength(0.0))
    with pytest.raises(DataError, match="draws"):
        fit(*case(0, 1000), PRIOR, draws=1)
    with pytest.raises(ValueError, match="power"):
        FitSpec(power=2.0)


def test_the_same_data_and_seed_give_the_same_fit():
    first, again = (fit(*case(3, 2000), PRIOR, draws=4, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.weights, again.weights)
    np.testing.assert_array_equal(first.standard_errors, again.standard_errors)
    assert not np.array_equal(first.standard_errors, fit(*case(3, 2000), PRIOR, draws=4, seed=2).standard_errors)
    assert first.level == again.level


def test_a_fit_that_is_cut_short_says_so():
    found = fit(*case(0), PRIOR, spec=FitSpec(most_updates=3))
    assert not found.converged
    assert found.iterations <= 4
