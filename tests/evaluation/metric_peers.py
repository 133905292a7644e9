"""Every metric as other libraries compute it, where they mean the same: {metric: {library: value}} beside our own."""

from collections.abc import Callable

import numpy as np

from fiduciary.evaluation import metrics

PER_YEAR = 252.0
Peers = dict[str, Callable[[], float]]


def compared(r: np.ndarray, benchmark: np.ndarray, risk_free: float) -> dict[str, tuple[float, Peers]]:
    """Metric -> ours and the peers' for returns r [T], those of a benchmark [T] and one constant rate a bar."""
    import empyrical as e
    import skfolio.measures as s
    from scipy import stats

    n, f, wealth = PER_YEAR, risk_free, metrics.growth(r)
    of_returns = {name: figure(r, f, n) for name, figure in metrics.OF_RETURNS.items()}
    line = stats.linregress(np.arange(len(r)), np.cumsum(np.log1p(r)))
    capm = stats.linregress(benchmark - f, r - f)
    fallen = s.get_drawdowns(r, compounded=True)
    peers: dict[str, tuple[float, Peers]] = {
        "rate_of_return": (metrics.rate_of_return(wealth), {"empyrical": lambda: e.cum_returns_final(r)}),
        "volatility": (metrics.volatility(r), {"skfolio": lambda: s.standard_deviation(r)}),
        "sharpe": (metrics.sharpe(r, f), {"skfolio": lambda: s.mean(r - f) / s.standard_deviation(r - f)}),
        "beta": (metrics.beta(r, benchmark, f), {"empyrical": lambda: e.beta(r, benchmark, f), "scipy": lambda: capm.slope}),
        "alpha": (metrics.alpha(r, benchmark, f), {"scipy": lambda: capm.intercept}),
        "annual_alpha": (
            metrics.against(r, benchmark, f, n)["annual_alpha"],
            {"empyrical": lambda: e.alpha(r, benchmark, f, annualization=n)},
        ),
        "information_ratio": (
            metrics.information_ratio(r, benchmark), {"empyrical": lambda: e.excess_sharpe(r, benchmark)}
        ),
    }  # fmt: skip
    own: dict[str, Peers] = {
        "annual_return": {"empyrical": lambda: e.annual_return(r, annualization=n)},
        "annual_volatility": {"empyrical": lambda: e.annual_volatility(r, annualization=n)},
        "annual_sharpe": {"empyrical": lambda: e.sharpe_ratio(r, f, annualization=n)},
        "sortino": {"skfolio": lambda: s.mean(r - f) / s.semi_deviation(r, min_acceptable_return=f, biased=True)},
        "annual_sortino": {"empyrical": lambda: e.sortino_ratio(r, f, annualization=n)},
        "calmar": {
            "empyrical": lambda: e.calmar_ratio(r, annualization=n),
            "skfolio": lambda: e.annual_return(r, annualization=n) / s.max_drawdown(fallen),
        },
        "omega": {
            "empyrical": lambda: e.omega_ratio(r, f, annualization=1),
            "skfolio": lambda: 1 + s.mean(r - f) / s.first_lower_partial_moment(r, min_acceptable_return=f),
        },
        "var": {"skfolio": lambda: s.value_at_risk(r, beta=0.95)},
        "cvar": {"skfolio": lambda: s.cvar(r, beta=0.95)},
        "max_drawdown": {"empyrical": lambda: e.max_drawdown(r), "skfolio": lambda: -s.max_drawdown(fallen)},
        "hit_rate": {"empyrical": lambda: e.batting_average(r, np.full_like(r, f))["batting average"]},
        "tail_ratio": {"empyrical": lambda: e.tail_ratio(r)},
        "stability": {"empyrical": lambda: e.stability_of_timeseries(r), "scipy": lambda: line.rvalue**2},
        "skew": {"skfolio": lambda: s.skew(r), "scipy": lambda: stats.skew(r)},
        "kurtosis": {"skfolio": lambda: s.kurtosis(r) - 3.0, "scipy": lambda: stats.kurtosis(r)},
    }
    return peers | {name: (of_returns[name], others) for name, others in own.items()}


def worst_difference(r: np.ndarray, benchmark: np.ndarray, risk_free: float) -> tuple[float, str]:
    """Largest difference to any peer, of values above 1 relative to them, and where it is."""
    gaps = {
        f"{name}, {library}": abs(ours - theirs()) / max(1.0, abs(ours))
        for name, (ours, peers) in compared(r, benchmark, risk_free).items()
        for library, theirs in peers.items()
    }
    return max((float(gap), where) for where, gap in gaps.items())
