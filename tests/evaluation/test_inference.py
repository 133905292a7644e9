"""The verdict: against `arch`, against theory, and by its error rate where nothing is to be found."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, trim_mean
from scipy.stats import t as student

from fiduciary.evaluation import inference, metrics


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


# --- every figure against every rival --------------------------------------------------------------------------------

FIGURES = {
    "mean": lambda r, f, n: (r - f).mean(axis=-1) * n,
    "ratio": metrics.OF_RETURNS["annual_sharpe"],
}


def _differences(candidate, rivals, seed=0, **options):
    calm = {"risk_free": np.zeros(candidate.shape[1]), "per_year": 1.0, "rng": np.random.default_rng(seed)}
    found = inference.differences(candidate, rivals, FIGURES, **(calm | options))
    return {(x.rival, x.figure): x for x in found}


def test_difference_of_means_is_that_of_the_verdict():
    """The one figure that both compute; the same blocks, so that only the draws differ."""
    rng = np.random.default_rng(0)
    market = _ar1(0.2, 600, rng)
    learner, rival = market + 0.1 + 0.5 * rng.standard_normal((4, 600)), market[None]
    got = _differences(learner, {"hold": rival}, draws=4_000)["hold", "mean"]
    verdict = inference.judge(learner, market, learned=True, per_year=1.0, trials=1, rng=rng)
    assert got.value == pytest.approx(verdict.difference)
    width = verdict.high - verdict.low
    assert (got.low, got.high) == pytest.approx((verdict.low, verdict.high), abs=0.05 * width)
    assert got.p_value == pytest.approx(verdict.p_value, abs=0.01)


def test_days_are_paired_and_a_copy_is_no_difference():
    rng = np.random.default_rng(1)
    market = rng.normal(0.0, 1.0, (1, 400))
    near = market + rng.normal(0.0, 0.01, (1, 400))
    got = _differences(near, {"copy": near, "near": market, "far": rng.normal(0.0, 1.0, (1, 400))})
    assert got["copy", "ratio"][2:] == (0.0, 0.0, 0.0, 1.0)
    thrice = _differences(np.vstack([near] * 3), {"copy": near})
    assert all(x[2:] == (0.0, 0.0, 0.0, 1.0) for x in thrice.values())
    assert got["near", "ratio"].high - got["near", "ratio"].low < 0.02 * (
        got["far", "ratio"].high - got["far", "ratio"].low
    )


def test_both_sides_pay_for_the_luck_of_their_seeds():
    rng = np.random.default_rng(2)
    days = rng.normal(0.0, 1.0, 300)
    same, lucky = np.stack([days] * 3), days + np.array([-1.0, 0.0, 1.0])[:, None]
    one, other, both = (
        _differences(candidate, {"x": rival}, draws=4_000)["x", "mean"]
        for candidate, rival in ((lucky, same), (same, lucky), (lucky, lucky))
    )
    half = student.ppf(0.975, 2) / np.sqrt(3)  # the standard error over seeds is 1 / sqrt(3)
    assert (one.high, -other.low) == pytest.approx((half, half), rel=0.15)
    assert both.high > 1.1 * half


def test_cash_is_resampled_with_the_days():
    rng = np.random.default_rng(3)
    cash = np.abs(rng.normal(0.0, 1.0, 300))
    got = _differences(cash[None], {"nothing": np.zeros((1, 300))}, risk_free=cash)["nothing", "mean"]
    days = _differences(cash[None], {"nothing": np.zeros((1, 300))})["nothing", "mean"]
    assert got[2:] == pytest.approx(days[2:])  # (cash - cash) - (0 - cash) on every draw


def test_differences_depend_on_the_generator_alone(monkeypatch):
    rng = np.random.default_rng(4)
    candidate, rivals = rng.normal(0, 1, (2, 300)), {"a": rng.normal(0, 1, (1, 300)), "b": rng.normal(0, 1, (3, 300))}
    first = _differences(candidate, rivals, draws=200)
    monkeypatch.setattr(inference.os, "cpu_count", lambda: 1)
    assert _differences(candidate, rivals, draws=200) == first
    assert _differences(candidate, rivals, draws=200, seed=5) != first


def test_a_figure_that_is_not_defined_is_nan():
    got = _differences(np.random.default_rng(5).normal(0, 1, (1, 100)), {"cash": np.zeros((1, 100))})
    assert all(np.isnan(x) for x in got["cash", "ratio"][2:]) and np.isfinite(got["cash", "mean"].p_value)


def test_interval_of_a_ratio_covers_as_often_as_it_says():
    """Of 150 histories; four standard errors of the count, and a little for the bootstrap of 300 days."""
    rng, held = np.random.default_rng(6), 0
    for _ in range(150):
        x = _ar1(0.2, 300, rng)[None] + 0.1
        rival = rng.standard_normal((1, 300))
        got = inference.differences(
            x, {"x": rival}, {"mean": FIGURES["mean"]}, risk_free=np.zeros(300), per_year=1.0, rng=rng, draws=300
        )[0]
        held += got.low <= 0.1 <= got.high
    assert abs(held / 150 - 0.95) < 4 * np.sqrt(0.05 * 0.95 / 150) + 0.02


@pytest.mark.slow
def test_p_values_of_differences_are_uniform_under_the_null():
    """400 worlds without a difference, three seeds each: at most the stated errors, and not far fewer."""
    rng, p = np.random.default_rng(7), []
    for _ in range(400):
        market = _ar1(0.2, 400, rng)
        candidate, rival = (market + 0.5 * rng.standard_normal((seeds, 400)) for seeds in (3, 1))
        p.append([x.p_value for x in _differences(candidate, {"x": rival}, rng=rng, draws=400).values()])
    for column in np.array(p).T:
        assert 0.005 < (column < 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


# --- what the test could have shown ----------------------------------------------------------------------------------


def test_null_is_centred_and_as_wide_as_the_verdict():
    rng = np.random.default_rng(8)
    d = rng.normal(0.3, 1.0, (3, 500))
    got = inference.null(d, per_year=1.0, rng=rng)
    verdict = inference.judge(d, np.zeros(500), learned=True, per_year=1.0, trials=1, rng=rng)
    assert len(got) == 201 and (np.diff(got) >= 0).all() and got[100] == pytest.approx(0.0, abs=0.005)
    assert (got[195] + got[196] - got[4] - got[5]) / 2 == pytest.approx(verdict.high - verdict.low, rel=0.1)


def _centred(seeds, bars, seed):
    d = np.random.default_rng(seed).standard_normal((seeds, bars)) + _ar1(0.3, bars, np.random.default_rng(seed + 1))
    return d - d.mean()


@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
@pytest.mark.parametrize("trials", [1, 50])
def test_the_detectable_edge_is_found_with_the_wanted_power_in_a_test_of_this_length(seeds, trials):
    d = _centred(seeds, 500, seeds)
    detectable = inference.power(d, per_year=250.0, trials=trials).detectable
    got = inference.power(d + detectable / 250.0, per_year=250.0, trials=trials)
    assert got.edge == pytest.approx(got.detectable) == pytest.approx(detectable)
    assert got.power == pytest.approx(0.8) and got.years == pytest.approx(2.0)


def test_noise_of_days_shrinks_with_the_length_of_the_test_also_where_seeds_differ_by_it():
    years = []
    for seed in range(9):
        d = _centred(10, 1_000, 20 + 2 * seed)
        half = inference.power(d, per_year=250.0).detectable / 2
        years.append(inference.power(d + half / 250.0, per_year=250.0).years)
    assert np.median(years) == pytest.approx(4 * 4.0, rel=0.1)


def test_power_of_one_long_independent_series_is_that_of_the_z_test():
    d = np.random.default_rng(9).standard_normal((1, 4_000))
    got = inference.power(d - d.mean() + 0.05, per_year=1.0)
    error = np.sqrt(inference.long_run_variance(d[0], inference.block_length(d[0])) / 4_000)
    assert got.power == pytest.approx(norm.cdf(0.05 / error - norm.ppf(0.975)), rel=1e-6)
    assert got.detectable == pytest.approx((norm.ppf(0.975) + norm.ppf(0.8)) * error)


def test_power_rises_with_the_edge_and_falls_with_trials():
    d = _centred(3, 400, 10)
    powers = [inference.power(d + e, per_year=1.0).power for e in (-0.1, 0.0, 0.1, 0.2, 0.4)]
    assert powers == sorted(powers) and powers[0] < 0.025 < powers[-1]
    trials = [inference.power(d + 0.2, per_year=1.0, trials=k).power for k in (1, 10, 100)]
    assert trials == sorted(trials, reverse=True)


def test_no_length_finds_what_is_not_there_or_is_drowned_in_luck():
    d = _centred(3, 400, 11)
    assert np.isnan(inference.power(d - 0.1, per_year=1.0).years)
    lucky = d + np.array([-1.0, 0.0, 1.1])[:, None]
    assert np.isnan(inference.power(lucky, per_year=1.0).years)
    assert inference.power(np.zeros((2, 100)), per_year=1.0)[:3] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("of_days", "of_seeds", "freedom", "tail"), [(1, 1, 1, 0.025), (4, 0.01, 2, 1e-4), (0.01, 1, 9, 0.025)]
)
def test_threshold_is_the_quantile_of_normal_plus_student(of_days, of_seeds, freedom, tail):
    h = inference._threshold(of_days, of_seeds, freedom, tail)
    beyond = quad(
        lambda z: norm.pdf(z) * student.sf((h - np.sqrt(of_days) * z) / np.sqrt(of_seeds), freedom), -9, 9, limit=500
    )[0]
    assert beyond == pytest.approx(tail, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 5])
def test_power_is_how_often_the_verdict_finds_an_edge(seeds):
    """300 worlds with the edge that should be found in 80 % of them; the estimate of every world is within the margin."""
    rng, found, bars = np.random.default_rng(12), 0, 500
    edge = inference.power(_worlds(seeds, bars, rng), per_year=1.0).detectable
    for _ in range(300):
        d = _worlds(seeds, bars, rng) + edge
        found += (
            inference.judge(d, np.zeros(bars), learned=False, per_year=1.0, trials=1, rng=rng).word == "evidence for"
        )
    assert found / 300 == pytest.approx(0.8, abs=0.12)


def _worlds(seeds, bars, rng):
    luck = 0.5 / np.sqrt(bars) * rng.standard_normal((seeds, 1)) if seeds > 1 else 0.0
    return rng.standard_normal(bars) + luck + 0.3 * rng.standard_normal((seeds, bars))


# --- the middle of seeds and accounts --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(10, 20), (3, 1), (5, 7), (1, 30)])
def test_interquartile_mean_equals_scipy(shape):
    scores = np.random.default_rng(13).standard_cauchy(shape)
    got = inference.middle(scores, rng=np.random.default_rng(0))
    assert got.mean == pytest.approx(trim_mean(scores, 0.25, axis=None))
    assert got.n == shape[0] and np.isnan(got.low) == (shape[0] == 1)


def test_middle_ignores_outliers_and_resamples_seeds_within_accounts():
    rng = np.random.default_rng(14)
    scores = rng.normal(0.0, 1.0, (8, 1)) + np.zeros((8, 50)) + 100.0 * np.arange(50)
    # Accounts differ by far more than seeds: were they resampled too, the interval would span hundreds.
    got = inference.middle(scores, rng=rng)
    assert got.low <= got.mean <= got.high and got.high - got.low < 2.0
    wild = scores.copy()
    wild[0, -1] = 1e9
    assert inference.middle(wild, rng=rng).mean == pytest.approx(got.mean)
