"""Sharpe ratios: published examples, statsmodels, arch, a readable twin, and error rates where nothing is to be found."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from fiduciary.core.errors import ConfigError
from fiduciary.evaluation import sharpe
from fiduciary.evaluation.sharpe import Moments

RATIOS = some.floats(-0.5, 0.5)
SHAPES = some.tuples(some.floats(-2.0, 2.0), some.floats(0.0, 10.0)).map(lambda x: (x[0], x[0] ** 2 + 1.0 + x[1]))


def _returns(n, rng, mean=0.0005, rho=0.0):
    """Fat tails, dependent where `rho` says so."""
    x = rng.standard_t(6, n + 50) * 0.01
    for k in range(1, n + 50):
        x[k] += rho * x[k - 1]
    return x[50:] + mean


# --- published examples ----------------------------------------------------------------------------------------------


def test_lo_2002_table_1():
    """Standard errors of ratios of 0.5, 1.5 and 3 for 12 to 60 independent returns."""
    bars = (12, 24, 36, 48, 60)
    expected = {
        0.5: (0.306, 0.217, 0.177, 0.153, 0.137),
        1.5: (0.421, 0.298, 0.243, 0.210, 0.188),
        3.0: (0.677, 0.479, 0.391, 0.339, 0.303),
    }
    for ratio, errors in expected.items():
        assert [sharpe.iid_error(ratio, n) for n in bars] == pytest.approx(errors, abs=5e-4)


def test_bailey_lopez_de_prado_2014_numerical_example():
    """Annual ratio 2.5 over 1250 days (250 a year), skew -3, kurtosis 10, annual variance among trials 1/2."""
    of = Moments(2.5 / math.sqrt(250), 1250, -3.0, 10.0)
    assert sharpe.expected_best(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)
    assert sharpe.deflated(of, trials=100, variance=0.5 / 250) == pytest.approx(0.9004, abs=5e-5)
    assert sharpe.deflated(of, trials=46, variance=0.5 / 250) == pytest.approx(0.9505, abs=5e-5)
    normal = of._replace(skew=0.0, kurtosis=3.0)
    assert sharpe.deflated(normal, trials=88, variance=0.5 / 250) == pytest.approx(0.9505, abs=5e-5)


def test_bailey_lopez_de_prado_2012_hedge_fund_and_track_records():
    """Months with a ratio of 0.458 (the paper cuts off 0.9535); years until an annual ratio of 2 is above 1 with 95 %."""
    assert sharpe.probabilistic(Moments(0.458, 36, -2.448, 10.164)) == pytest.approx(0.953, abs=1e-3)
    assert sharpe.probabilistic(Moments(0.458, 24, -2.448, 10.164)) == pytest.approx(0.913, abs=5e-4)
    assert sharpe.probabilistic(Moments(0.458, 24)) == pytest.approx(0.982, abs=5e-4)
    for per_year, skew, kurtosis, years in (
        (250, 0, 3, 2.73),
        (52, 0, 3, 2.83),
        (12, 0, 3, 3.24),
        (12, -0.72, 5.78, 4.99),
    ):
        of = Moments(2 / math.sqrt(per_year), 0, skew, kurtosis)
        assert sharpe.track_record(of, 1 / math.sqrt(per_year)) / per_year == pytest.approx(years, abs=5e-3)


def test_bailey_et_al_2014_pseudo_mathematics():
    """Ten trials show a ratio of 1.57; five years of an annual ratio of 1 are what 45 trials show."""
    assert sharpe.expected_best(10, 1.0) == pytest.approx(1.57, abs=5e-3)
    assert sharpe.expected_best(45, 1.0) ** 2 == pytest.approx(5.0, abs=0.05)


# --- laws ------------------------------------------------------------------------------------------------------------


@given(RATIOS, SHAPES, some.floats(-0.3, 0.3), some.floats(0.01, 0.3))
def test_psr_falls_with_the_threshold_and_rises_with_the_ratio_of_normal_returns(ratio, shape, threshold, more):
    of = Moments(ratio, 500, *shape)
    assert sharpe.probabilistic(of, threshold + more) <= sharpe.probabilistic(of, threshold)
    normal = Moments(ratio, 500)
    if ratio > threshold:
        assert sharpe.probabilistic(normal._replace(bars=1000), threshold) >= sharpe.probabilistic(normal, threshold)


@given(RATIOS, SHAPES, some.integers(1, 10_000), some.integers(1, 10_000))
def test_dsr_never_rises_with_trials_and_is_psr_for_one(ratio, shape, trials, more):
    of = Moments(ratio, 500, *shape)
    assert sharpe.deflated(of, trials=trials + more, variance=0.002) <= sharpe.deflated(
        of, trials=trials, variance=0.002
    )
    assert sharpe.deflated(of, trials=1, variance=0.002) == sharpe.probabilistic(of)


@given(some.floats(0.01, 0.5), SHAPES, some.floats(0.6, 0.99))
def test_track_record_is_the_length_at_which_psr_reaches_the_confidence(ratio, shape, confidence):
    of = Moments(ratio, 2, *shape)
    bars = sharpe.track_record(of, confidence=confidence)
    assert sharpe.probabilistic(of._replace(bars=bars)) == pytest.approx(confidence)
    assert sharpe.track_record(of, ratio + 0.1) == math.inf


def test_expected_best_is_near_the_mean_of_the_largest_of_so_many_normals():
    draws = np.random.default_rng(0).standard_normal((20_000, 50)).max(axis=1)
    assert sharpe.expected_best(50, 1.0) == pytest.approx(draws.mean(), abs=0.03)


def test_scale_and_copies_change_nothing():
    rng = np.random.default_rng(1)
    a, b = _returns(400, rng), _returns(400, rng)
    test, scaled = sharpe.difference(a, b), sharpe.difference(3.0 * a, 0.5 * b)
    assert tuple(scaled) == pytest.approx(tuple(test), rel=1e-7)
    assert sharpe.difference(b, a).value == pytest.approx(-test.value)
    for copy in (sharpe.difference(a, a), sharpe.bootstrap_difference(a, a, block=2.0, rng=rng)):
        assert (copy.value, copy.p_value) == (0.0, 1.0)


def test_what_never_moves_has_no_ratio():
    flat, other = np.full(100, 1e-4), _returns(100, np.random.default_rng(2))
    assert math.isnan(sharpe.interval(flat).value) and math.isnan(sharpe.probabilistic(sharpe.moments(flat)))
    blocks = sharpe.bootstrap_difference(flat, other, block=1.0, rng=np.random.default_rng(0))
    for test in (sharpe.difference(flat, other), blocks):
        assert math.isnan(test.value) and math.isnan(test.p_value)


def test_blocks_that_do_not_fit_are_refused():
    a = _returns(100, np.random.default_rng(3))
    with pytest.raises(ConfigError, match="at least 4 blocks, got 100 bars in blocks of 30"):
        sharpe.bootstrap_difference(a, -a, block=30.0, rng=np.random.default_rng(0))


# --- independent implementations -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lags", [0, 4, 11])
def test_interval_equals_statsmodels_newey_west(lags):
    from statsmodels.api import OLS

    x = _returns(700, np.random.default_rng(4), rho=0.3)
    z = stats.zscore(x)
    got = sharpe.interval(x, lags=lags)
    score = z - 0.5 * got.value * (z**2 - 1)
    fit = OLS(score, np.ones(700)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    assert got.error == pytest.approx(fit.bse[0], rel=1e-9)
    assert (got.high - got.low) / 2 == pytest.approx(1.959964 * got.error)


def test_kernels_equal_arch():
    from arch.covariance.kernel import Parzen, QuadraticSpectral

    v = np.random.default_rng(5).standard_normal((300, 3)).cumsum(axis=0) % 1.0
    centred = v - v.mean(axis=0)
    for name, theirs in (("parzen", Parzen(v, bandwidth=11)), ("qs", QuadraticSpectral(v, bandwidth=12.0))):
        ours = sharpe._hac(centred, sharpe._weights(name, 12.0, 300))
        assert ours == pytest.approx(np.asarray(theirs.cov.long_run), rel=1e-9)


@pytest.mark.parametrize("kernel", ["parzen", "qs"])
def test_difference_equals_a_readable_twin(kernel):
    rng = np.random.default_rng(6)
    market = _returns(250, rng, rho=0.2)
    a, b = market + 0.3 * _returns(250, rng), market + 0.5 * _returns(250, rng)
    got = sharpe.difference(a, b, kernel=kernel)
    a, b = a / a.std(), b / b.std()
    n, v = 250, np.stack((a, b, a * a, b * b), axis=1)
    centred = v - v.mean(axis=0)
    above = below = 0.0
    for x in centred.T:
        rho = np.linalg.lstsq(x[:-1, None], x[1:], rcond=None)[0][0]
        s4 = np.mean((x[1:] - rho * x[:-1]) ** 2) ** 2
        above, below = above + 4 * rho**2 * s4 / (1 - rho) ** 8, below + s4 / (1 - rho) ** 4
    width = {"parzen": 2.6614, "qs": 1.3221}[kernel] * (above / below * n) ** 0.2
    psi = np.zeros((4, 4))
    for i in range(n):
        for j in range(n):
            psi += _kernel(kernel, abs(i - j) / width) * np.outer(centred[i], centred[j]) / (n - 4)

    def contrast(m):
        return m[0] / np.sqrt(m[2] - m[0] ** 2) - m[1] / np.sqrt(m[3] - m[1] ** 2)

    m = v.mean(axis=0)
    slope = np.array([(contrast(m + h) - contrast(m - h)) / 2e-9 for h in 1e-9 * np.eye(4)])
    error = np.sqrt(slope @ psi @ slope / n)
    assert got.value == pytest.approx(a.mean() / a.std() - b.mean() / b.std())
    assert got.error == pytest.approx(error, rel=1e-4)
    assert got.p_value == pytest.approx(2 * stats.norm.sf(abs(got.value) / error), rel=1e-3)


def _kernel(name, x):
    if name == "parzen":
        return 1 - 6 * x**2 + 6 * x**3 if x <= 0.5 else 2 * max(0.0, 1 - x) ** 3
    y = 6 * math.pi * x / 5
    return 1.0 if x == 0 else 25 / (12 * math.pi**2 * x**2) * (math.sin(y) / y - math.cos(y))


def test_independent_normal_moments_give_equation_9():
    """Returns with skew 0 and kurtosis 3 exactly: without lags the general error is the formula for normal ones."""
    x = np.tile([-math.sqrt(3), 0, 0, 0, 0, math.sqrt(3)], 100) + 1.25
    got = sharpe.interval(x, lags=0)
    assert got.error == pytest.approx(sharpe.iid_error(1.25, 600), rel=2e-3)


def test_bootstrap_and_kernel_agree_where_days_are_independent():
    rng = np.random.default_rng(7)
    for edge in (0.0002, 0.0008):
        a, b = rng.normal(edge, 0.01, 2_000), rng.normal(0.0, 0.01, 2_000)
        kernel, blocks = sharpe.difference(a, b), sharpe.bootstrap_difference(a, b, block=1.0, rng=rng, draws=4_000)
        assert blocks.p_value == pytest.approx(kernel.p_value, abs=0.03)


# --- error rates -----------------------------------------------------------------------------------------------------


def test_lo_interval_covers_as_often_as_it_says():
    """Of 400 dependent, fat-tailed histories; four standard errors of the count, and a little for the asymptotics."""
    rng, ratio, held = np.random.default_rng(8), 0.1, 0
    for _ in range(400):
        noise = rng.standard_t(8, 601) / np.sqrt(8 / 6)
        x = (noise[1:] + 0.3 * noise[:-1]) / np.sqrt(1.09) + ratio
        low, high = sharpe.interval(x)[2:]
        held += low <= ratio <= high
    assert abs(held / 400 - 0.95) < 4 * np.sqrt(0.05 * 0.95 / 400) + 0.01


def test_ledoit_wolf_p_values_are_uniform_where_ratios_are_equal():
    rng = np.random.default_rng(9)
    p = []
    for _ in range(300):
        market, own = rng.standard_normal(400), rng.standard_normal((2, 400))
        p.append(sharpe.difference(*(0.05 + market + own)).p_value)
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert np.mean(np.array(p) < 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
def test_bootstrap_p_values_are_uniform_where_dependent_ratios_are_equal():
    rng = np.random.default_rng(10)
    p = []
    for _ in range(400):
        noise = rng.standard_normal((3, 301))
        market, a, b = noise[:, 1:] + 0.3 * noise[:, :-1]
        p.append(sharpe.bootstrap_difference(market + a, market + b, block=4.0, rng=rng, draws=500).p_value)
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert np.mean(np.array(p) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
