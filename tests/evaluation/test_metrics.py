"""Metrics by law, against independent libraries, in closed form and by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_peers import compared, worst_difference

from fiduciary.evaluation import metrics

PER_YEAR = 252.0


def _series(seed: int, n: int) -> np.ndarray:
    return 0.0005 + 0.01 * np.random.default_rng(seed).standard_t(4, size=n).clip(-20, 20)


series = st.builds(_series, st.integers(0, 2**31), st.integers(30, 400))


# --- laws ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(3, 60))
def test_a_batch_of_histories_equals_each_alone(seed, n):
    r = np.random.default_rng(seed).normal(0.001, 0.02, (2, 3, n))
    risk_free = np.random.default_rng(seed).normal(1e-4, 1e-5, n)
    for name, figure in metrics.OF_RETURNS.items():
        batch = figure(r, risk_free, PER_YEAR)
        assert batch.shape == (2, 3), name
        assert batch[1, 2] == pytest.approx(figure(r[1, 2], risk_free, PER_YEAR), rel=1e-12, nan_ok=True), name
    batch, alone = metrics.against(r, r[0, 0], 0.0, PER_YEAR), metrics.against(r[1, 2], r[0, 0], 0.0, PER_YEAR)
    assert {name: values[1, 2] for name, values in batch.items()} == pytest.approx(alone, rel=1e-12)


@given(series, st.floats(0.1, 3.0))
def test_what_more_of_the_same_does(r, k):
    """Scaling returns scales risk and leaves ratios and shapes as they are."""
    for figure in (metrics.volatility, metrics.var, metrics.cvar):
        assert figure(k * r) == pytest.approx(k * figure(r), rel=1e-9)
    for figure in (metrics.sharpe, metrics.sortino, metrics.omega, metrics.skew, metrics.kurtosis, metrics.tail_ratio,
                   metrics.hit_rate):  # fmt: skip
        assert figure(k * r) == pytest.approx(figure(r), rel=1e-9), figure
    assert metrics.beta(k * r, r) == pytest.approx(k)


@given(series)
def test_order_matters_to_paths_and_to_nothing_else(r):
    shuffled = np.random.default_rng(0).permutation(r)
    for name in set(metrics.OF_RETURNS) - {"max_drawdown", "calmar", "stability"}:
        figure = metrics.OF_RETURNS[name]
        assert figure(shuffled, 0.0, PER_YEAR) == pytest.approx(figure(r, 0.0, PER_YEAR), rel=1e-9, abs=1e-12), name
    falls_first, rises_first = np.sort(r), np.sort(r)[::-1]
    assert metrics.max_drawdown(metrics.growth(rises_first)) == pytest.approx(
        metrics.max_drawdown(metrics.growth(falls_first)), rel=1e-9
    )
    # Fall and rise alternating, the deepest fall is shallower than all falls in a row.
    assert metrics.max_drawdown(metrics.growth(r)) >= metrics.max_drawdown(metrics.growth(falls_first)) - 1e-12


@given(series)
def test_tails_are_ordered_and_everything_lies_within_its_range(r):
    assert metrics.cvar(r) >= metrics.var(r) >= -r.max()
    assert metrics.cvar(r, 1.0 - 1e-9) == pytest.approx(-r.mean(), abs=1e-9)
    assert metrics.cvar(r, 1e-9) == pytest.approx(-r.min())
    days = np.arange(len(r) + 1)
    figures = metrics.summary(days, 100 * metrics.growth(r), np.zeros(len(r)), r[:3], np.zeros(len(r)))
    for name, (low, high) in metrics.RANGE.items():
        assert low <= figures.get(name, low) <= high, name
    assert set(metrics.OF_RETURNS) < set(figures)


@given(series)
def test_money_has_no_unit(r):
    days, zero = np.arange(len(r) + 1), np.zeros(len(r))
    one, many = (metrics.summary(days, k * metrics.growth(r), zero, k * r, zero) for k in (1.0, 1e6))
    assert {**many, "final_wealth": 0} == pytest.approx({**one, "final_wealth": 0}, rel=1e-9, nan_ok=True)


# --- independent implementations -------------------------------------------------------------------------------------


@given(series, st.integers(0, 2**31), st.sampled_from([0.0, 1e-4]))
def test_equal_to_independent_libraries(r, seed, risk_free):
    benchmark = 0.5 * r + np.random.default_rng(seed).normal(0, 0.01, len(r))
    gap, where = worst_difference(r, benchmark, risk_free)
    assert gap < 1e-10, where


def test_every_metric_has_a_peer():
    assert set(metrics.OF_RETURNS) < set(compared(_series(0, 50), _series(1, 50), 0.0))


def test_where_libraries_define_a_figure_otherwise():
    """Each difference that docs/metrics.md names, as the formula that leads from ours to theirs."""
    import empyrical
    import skfolio.measures as skfolio

    r = _series(3, 250)
    wealth = metrics.growth(r)
    # Interpolated quantile, and a return rather than a loss.
    assert empyrical.value_at_risk(r) == pytest.approx(np.quantile(r, 0.05)) != pytest.approx(-metrics.var(r))
    # The mean of the int((T - 1) * 5 %) + 1 lowest, whole bars only: the same where 5 % of T is whole.
    assert empyrical.conditional_value_at_risk(r) == pytest.approx(np.sort(r)[:13].mean())
    assert empyrical.conditional_value_at_risk(r) != pytest.approx(-metrics.cvar(r))
    assert empyrical.conditional_value_at_risk(r[:200]) == pytest.approx(-metrics.cvar(r[:200]))
    # Not in excess of the normal's 3.
    assert skfolio.kurtosis(r) == pytest.approx(metrics.kurtosis(r) + 3.0)
    # Falls of the sum of returns, by default, instead of compounded wealth; positive.
    added = np.cumsum(r)
    assert skfolio.max_drawdown(skfolio.get_drawdowns(r)) == pytest.approx((np.maximum.accumulate(added) - added).max())
    assert skfolio.max_drawdown(skfolio.get_drawdowns(r, compounded=True)) == pytest.approx(
        -metrics.max_drawdown(wealth)
    )
    # Semi-deviation below the mean and unbiased, by default.
    below = np.minimum(r - r.mean(), 0.0)
    assert skfolio.semi_deviation(r) == pytest.approx(np.sqrt((below**2).sum() / (len(r) - 1)))
    # An account without risk: theirs is infinite, ours undefined.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isinf(empyrical.sharpe_ratio(np.full(50, 1e-4)))
    assert np.isnan(metrics.sharpe(np.full(50, 1e-4)))


@given(st.integers(0, 2**31), st.integers(2, 60))
def test_the_length_of_the_deepest_fall_equals_a_plain_loop(seed, n):
    rng = np.random.default_rng(seed)
    wealth, days = 100 * metrics.growth(rng.normal(0, 0.02, n)), np.cumsum(rng.integers(1, 4, n + 1))
    high, start, deepest, lasted = -1.0, 0, 0.0, 0
    for t, now in enumerate(wealth):
        if now >= high:
            high, start = now, t
        elif now / high - 1.0 < deepest:
            deepest = now / high - 1.0
            back = next((u for u in range(t, n + 1) if wealth[u] >= high), n)
            lasted = int(days[back] - days[start])
    assert metrics.max_drawdown_days(days, wealth) == lasted


# --- closed forms and figures by hand --------------------------------------------------------------------------------


def test_figures_of_a_tiny_account_by_hand():
    wealth, days = np.array([100.0, 110, 99, 99]), np.array([0, 1, 2, 3])
    figures = metrics.summary(days, wealth, np.zeros(3), np.array([100.0, 0, -99]), np.array([-1.0, 0, -2]))
    assert figures["rate_of_return"] == pytest.approx(-0.01)
    assert figures["annual_return"] == pytest.approx(0.99 ** (365.25 / 3) - 1)
    assert figures["max_drawdown"] == pytest.approx(-0.1)
    assert figures["max_drawdown_days"] == 2
    assert (figures["trades"], figures["fees"], figures["final_wealth"]) == (2, 3, 99)
    assert figures["turnover"] == pytest.approx(199 / 102 / 3 * 365.25)
    assert figures["hit_rate"] == pytest.approx(1 / 3)
    assert figures["omega"] == pytest.approx(1.0)
    assert figures["var"] == figures["cvar"] == pytest.approx(0.1)


def test_two_equal_steps_up_and_one_down():
    r = np.array([0.01, 0.01, -0.01, -0.03])
    assert metrics.sortino(r) == pytest.approx(-0.005 / np.sqrt((0.01**2 + 0.03**2) / 4))
    assert metrics.omega(r) == pytest.approx(0.02 / 0.04)
    assert metrics.var(r, 0.5) == pytest.approx(-0.01)  # the smallest loss that half of the bars keep to
    assert metrics.cvar(r, 0.5) == pytest.approx(0.02)
    assert metrics.cvar(r, 0.375) == pytest.approx((0.03 + 0.5 * 0.01) / 1.5)


def test_a_straight_line_is_stable_and_a_market_is_its_own_benchmark():
    r = _series(1, 100)
    assert metrics.stability(np.expm1(np.full(100, 0.001))) == pytest.approx(1.0)
    assert metrics.beta(r, r) == pytest.approx(1.0) and metrics.alpha(r, r) == pytest.approx(0.0, abs=1e-15)
    assert metrics.alpha(0.002 + 2 * r, r) == pytest.approx(0.002)
    assert metrics.sharpe(np.array([0.02, 0.0])) == pytest.approx(0.01 / np.sqrt(2e-4))


def test_normal_returns_have_the_moments_of_the_normal():
    r = np.random.default_rng(0).normal(0.0, 0.01, 400_000)
    assert metrics.var(r) == pytest.approx(0.01645, rel=0.01)
    assert metrics.cvar(r) == pytest.approx(0.02063, rel=0.01)
    assert abs(metrics.skew(r)) < 0.02 and abs(metrics.kurtosis(r)) < 0.04
    assert metrics.omega(r) == pytest.approx(1.0, abs=0.02) and metrics.tail_ratio(r) == pytest.approx(1.0, abs=0.02)


def test_what_is_undefined_is_nan_and_says_nothing_on_the_way():
    idle = np.full(50, 1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Cash earned what cash earns: no risk, no loss, no fall.
        for name in ("annual_sharpe", "annual_sortino", "omega", "calmar", "skew", "kurtosis"):
            assert np.isnan(metrics.OF_RETURNS[name](idle, idle, PER_YEAR)), name
        assert metrics.hit_rate(idle, idle) == 0.0
        assert np.isnan(metrics.stability(np.zeros(50))) and np.isnan(metrics.tail_ratio(np.zeros(50)))
        assert np.isnan(metrics.information_ratio(idle, idle)) and np.isnan(metrics.beta(_series(0, 50), idle))


@given(st.floats(0.01, 0.5), st.lists(st.floats(1e3, 1e6), min_size=1, max_size=20), st.floats(0.2, 2.0))
def test_at_its_capacity_an_accounts_impact_is_its_edge(edge, traded, k):
    fills, wealth, years, sigma, volume = np.array(traded), 1e6, 2.0, 0.02, 1e8
    most = metrics.capacity(edge, fills, wealth=wealth, years=years, volatility=sigma, volume=volume, k=k)
    orders = fills * most / wealth
    paid = (orders * k * sigma * np.sqrt(orders / volume)).sum()
    assert paid / most / years == pytest.approx(edge)


def test_no_edge_has_no_capacity_and_no_trade_no_limit():
    rest = {"wealth": 1.0, "years": 1.0, "volatility": 0.02, "volume": 1e6}
    assert metrics.capacity(-0.01, np.ones(3), **rest) == 0.0
    assert metrics.capacity(0.01, np.zeros(3), **rest) == np.inf
