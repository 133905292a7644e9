"""The verdict: against `arch`, against theory, and by its error rate where nothing is to be found."""

import numpy as np
import pytest
from scipy.stats import t as student

from fiduciary.evaluation import inference


def _ar1(rho, n, rng):
    noise, x = rng.standard_normal(n + 100), np.zeros(n + 100)
    for k in range(1, n + 100):
        x[k] = rho * x[k - 1] + noise[k]
    return x[100:]


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.3, 0.8])
@pytest.mark.parametrize("n", [150, 800])
def test_block_length_equals_arch(rho, n):
    from arch.bootstrap import optimal_block_length

    x = _ar1(rho, n, np.random.default_rng(int(100 * rho + n + 1000)))
    assert inference.block_length(x) == pytest.approx(max(1.0, optimal_block_length(x)["stationary"].iloc[0]), rel=1e-9)


def test_resampled_blocks_have_the_stated_mean_length_and_uniform_days():
    places = inference.stationary_indices(200, 8.0, 400, np.random.default_rng(0))
    joined = (np.diff(places, axis=1) % 200 == 1).mean()
    assert joined == pytest.approx(1 - 1 / 8 + 1 / 8 / 200, abs=0.01)
    counts = np.bincount(places.ravel(), minlength=200)
    assert counts.std() / counts.mean() < 0.15


def test_interval_width_matches_theory_for_independent_days():
    rng = np.random.default_rng(0)
    days = rng.normal(0, 0.01, 1_000)
    verdict = inference.judge(days[None], np.zeros(1_000), learned=False, per_year=1.0, trials=1, rng=rng)
    half = 1.96 * days.std(ddof=1) / np.sqrt(1_000)
    assert (verdict.high - verdict.low) / 2 == pytest.approx(half, rel=0.1)


def test_dependence_between_days_widens_the_interval():
    rng = np.random.default_rng(1)
    independent, persistent = rng.standard_normal(2_000), _ar1(0.9, 2_000, rng)
    width = [
        (v.high - v.low) / x.std()
        for x in (independent, persistent)
        for v in [inference.judge(x[None], np.zeros(2_000), learned=False, per_year=1.0, trials=1, rng=rng)]
    ]
    assert width[1] > 2.5 * width[0]


def test_one_lucky_seed_is_no_evidence():
    rng = np.random.default_rng(2)
    common = rng.normal(0, 0.001, 500)
    lucky = np.stack([common + 0.004, common, common, common, common])
    steady = np.stack([common + 0.0008] * 5)  # the same mean over seeds
    words = [
        inference.judge(x, np.zeros(500), learned=False, per_year=252, trials=1, rng=rng).word for x in (lucky, steady)
    ]
    assert words == ["no evidence", "evidence for"]


def test_words_follow_the_interval_and_trials_widen_it():
    rng = np.random.default_rng(3)
    days = np.tile(rng.normal(0, 0.01, 800), (3, 1))
    days += 0.0009 - days.mean()  # 2.5 standard errors above zero: significant alone, not among fifty
    one, many = (
        inference.judge(days, np.zeros(800), learned=True, per_year=252, trials=k, rng=np.random.default_rng(4))
        for k in (1, 50)
    )
    assert one.word == "evidence for" and one.low > 0
    assert many.word == "no evidence" and many.low < one.low and many.p_value == pytest.approx(one.p_value, rel=0.5)
    against = inference.judge(-days, np.zeros(800), learned=False, per_year=252, trials=1, rng=np.random.default_rng(4))
    assert against.word == "evidence against" and against.difference == pytest.approx(-one.difference)


def test_a_learner_with_one_seed_proves_nothing():
    days = np.random.default_rng(7).normal(0.01, 0.01, (1, 300))
    words = [
        inference.judge(days, np.zeros(300), learned=learned, per_year=252, trials=1, rng=np.random.default_rng(0)).word
        for learned in (True, False)
    ]
    assert words == ["no evidence", "evidence for"]


def test_many_trials_still_have_draws_beyond_their_interval():
    days = np.random.default_rng(8).normal(0, 0.01, (1, 200))
    verdict = inference.judge(days, np.zeros(200), learned=False, per_year=1, trials=100, rng=np.random.default_rng(0))
    half = 3.48 * days.std() / np.sqrt(200)  # the normal quantile at 0.05 / 100 / 2
    assert (verdict.high - verdict.low) / 2 == pytest.approx(half, rel=0.15)


def test_a_copy_of_the_benchmark_is_called_one():
    days = np.random.default_rng(5).normal(size=100)
    verdict = inference.judge(
        np.stack([days, days]), days, learned=False, per_year=252, trials=1, rng=np.random.default_rng(0)
    )
    assert verdict.word == "no evidence" and "copy of the benchmark" in verdict.reason


@pytest.mark.slow
@pytest.mark.parametrize("luck", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_error_rate_where_nothing_is_to_be_found(seeds, luck):
    """At most the nominal 5 % over 300 null worlds with dependent days and persistent luck of training, `luck` daily standard
    errors large; three standard errors of the count are allowed."""
    rng, found, n = np.random.default_rng(6), 0, 500
    for _ in range(300):
        days = _ar1(0.2, n, rng)
        lucky = luck * days.std() / np.sqrt(n) * rng.standard_normal((seeds, 1))
        candidate = days + lucky + 0.3 * rng.standard_normal((seeds, n))
        found += (
            inference.judge(candidate, np.zeros(n), learned=True, per_year=1, trials=1, rng=rng).word != "no evidence"
        )
    assert found / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
def test_error_rate_is_shared_among_trials():
    rng, found = np.random.default_rng(7), 0
    for _ in range(200):
        lucky = 5 / np.sqrt(300) * rng.standard_normal((2, 1))
        candidate = rng.standard_normal(300) + lucky
        found += (
            inference.judge(candidate, np.zeros(300), learned=True, per_year=1, trials=20, rng=rng).word
            != "no evidence"
        )
    assert found <= 3  # 0.25 % of 200 worlds is half a world


@pytest.mark.parametrize("n", [2, 3, 5, 10, 16, 17, 25, 40])
def test_interval_over_seeds_is_students(n):
    x = np.random.default_rng(n).normal(1, 2, n)
    got = inference.over_seeds(x.tolist())
    low, high = student.interval(0.95, n - 1, loc=x.mean(), scale=x.std(ddof=1) / np.sqrt(n))
    assert (got.low, got.high) == pytest.approx((low, high), rel=2e-3)
    assert np.isnan(inference.over_seeds([1.0]).low)
