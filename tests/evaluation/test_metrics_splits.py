"""Metrics against an independent library."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiduciary.evaluation import metrics


@given(st.integers(0, 2**31), st.integers(30, 300))
def test_equal_to_an_independent_library(seed, n):
    import empyrical

    r = np.random.default_rng(seed).normal(0.001, 0.02, n)
    wealth = 1_000 * np.cumprod(np.concatenate(([1.0], 1 + r)))
    days = np.arange(n + 1)
    rf = 0.0001
    per_year = 365.25  # one bar a day
    assert metrics.returns(wealth) == pytest.approx(r, abs=1e-12)
    assert metrics.bars_per_year(days) == pytest.approx(per_year)
    assert metrics.rate_of_return(wealth) == pytest.approx(empyrical.cum_returns_final(r), rel=1e-10)
    assert metrics.annual_return(wealth, days) == pytest.approx(
        empyrical.annual_return(r, annualization=per_year), rel=1e-10
    )
    assert metrics.sharpe(r, rf) * per_year**0.5 == pytest.approx(
        empyrical.sharpe_ratio(r, rf, annualization=per_year), rel=1e-9
    )
    assert metrics.max_drawdown(wealth) == pytest.approx(empyrical.max_drawdown(r), rel=1e-9)
    assert metrics.volatility(r) * per_year**0.5 == pytest.approx(
        empyrical.annual_volatility(r, annualization=per_year), rel=1e-9
    )


def test_figures_of_a_tiny_account_by_hand():
    wealth, days = np.array([100.0, 110, 99, 99]), np.array([0, 1, 2, 3])
    figures = metrics.summary(days, wealth, np.zeros(3), np.array([100.0, 0, -99]), np.array([-1.0, 0, -2]))
    assert figures["rate_of_return"] == pytest.approx(-0.01)
    assert figures["max_drawdown"] == pytest.approx(-0.1)
    assert (figures["trades"], figures["fees"], figures["final_wealth"]) == (2, 3, 99)
    assert figures["turnover"] == pytest.approx(199 / 102 / 3 * 365.25)


def test_the_sharpe_ratio_of_idle_cash_is_undefined_not_huge():
    growth = np.full(50, 1e-4)
    assert np.isnan(metrics.sharpe(growth, growth))
