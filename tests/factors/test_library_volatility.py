"""Volatility estimators on simulated Brownian motion, where the truth is known; the absorption ratio in closed form."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from library_market import PRICES, market, panel

from fiduciary.core.errors import ConfigError
from fiduciary.factors import tabulate
from fiduciary.factors.library.fields import realised_variance, with_fundamentals
from fiduciary.factors.library.risk import absorption_ratio
from fiduciary.factors.library.volatility import VOLATILITY

SIGMA, NIGHT = 0.02, 0.3
"""Standard deviation of a day's log return, and the share of its variance that falls into the night."""


def brownian(seed, days, symbols, *, drift=0.0, night=0.0, steps=40):
    """Bars of geometric Brownian motion: highs and lows of the bridge between steps are drawn, so none is missed."""
    rng = np.random.default_rng(seed)
    shape, step = (days, symbols, steps), SIGMA**2 * (1 - night) / steps
    moves = rng.normal(drift / steps, math.sqrt(step), shape)
    after = np.cumsum(moves, axis=-1)
    before = after - moves

    def extreme(sign):
        """The greatest of sign * path over each step: the law of a bridge's maximum."""
        gap = np.sqrt(moves**2 - 2 * step * np.log(rng.random(shape)))
        return sign * (sign * (before + after) / 2 + gap / 2)

    up, down = extreme(1).max(axis=-1), extreme(-1).min(axis=-1)
    overnight = rng.normal(0, SIGMA * math.sqrt(night), (days, symbols))
    opened = np.cumsum(overnight, axis=0) + np.vstack([np.zeros(symbols), np.cumsum(after[..., -1], axis=0)[:-1]])
    logs = {"open": opened, "high": opened + up, "low": opened + down, "close": opened + after[..., -1]}
    return panel({name: np.exp(log) for name, log in logs.items()})


def variances(bars, window=20):
    """{estimator: variances over windows that do not overlap}."""
    formulas = [f for f in VOLATILITY if f.name.endswith(f"_{window}") and not f.name.startswith("realised")]
    table = tabulate(bars, formulas, threads=1)
    return {f.name.removesuffix(f"_{window}"): (table[f.name][window::window] ** 2).ravel() for f in formulas}


def assert_unbiased(sample, truth):
    error = sample.std(ddof=1) / math.sqrt(len(sample))
    assert abs(sample.mean() - truth) < 3 * error, (sample.mean() / truth, error / truth)
    assert error < 0.02 * truth  # the test has power: a bias of 6 % would show


def test_without_drift_and_night_all_are_unbiased():
    for sample in variances(brownian(0, 2020, 10)).values():
        assert_unbiased(sample, SIGMA**2)


def test_with_drift_three_stay_unbiased_and_two_do_not():
    found = variances(brownian(1, 2020, 10, drift=0.02))
    for name in ("close_to_close", "rogers_satchell", "yang_zhang"):
        assert_unbiased(found[name], SIGMA**2)
    assert found["parkinson"].mean() > 1.3 * SIGMA**2
    assert found["garman_klass"].mean() > 1.1 * SIGMA**2


def test_with_a_night_two_see_it():
    found = variances(brownian(2, 2020, 10, night=NIGHT))
    for name, sample in found.items():
        assert_unbiased(sample, SIGMA**2 * (1 if name in ("close_to_close", "yang_zhang") else 1 - NIGHT))


def test_the_range_says_more_than_the_close():
    """Efficiency over close-to-close: 5.2 of Parkinson, 7.4 of Garman-Klass and 6 of Rogers-Satchell in theory."""
    found = variances(brownian(3, 2020, 10))
    efficiency = {name: found["close_to_close"].var() / sample.var() for name, sample in found.items()}
    assert 4.4 < efficiency["parkinson"] < 6.2
    assert 6.2 < efficiency["garman_klass"] < 8.8
    assert efficiency["rogers_satchell"] > 5
    assert efficiency["yang_zhang"] > 5


def test_equal_to_the_equations():
    bars = market(6, 60, 1, fields=())
    o, h, lo, c = (np.log(bars[name][:, 0]) for name in PRICES[:4])
    n, t = 20, 41
    night, day = (o[1:] - c[:-1])[t - n : t], (c - o)[t - n + 1 : t + 1]
    up, down = (h - o)[t - n + 1 : t + 1], (lo - o)[t - n + 1 : t + 1]
    rs = np.mean(up * (up - day) + down * (down - day))
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    expected = {
        "close_to_close": np.var(np.diff(c)[t - n : t], ddof=1), "parkinson": np.mean((up - down) ** 2) / (4 * math.log(2)),
        "garman_klass": np.mean((up - down) ** 2 / 2 - (2 * math.log(2) - 1) * day**2), "rogers_satchell": rs,
        "yang_zhang": np.var(night, ddof=1) + k * np.var(day, ddof=1) + (1 - k) * rs,
    }  # fmt: skip
    table = tabulate(bars, [f for f in VOLATILITY if "realised" not in f.name], threads=1)
    for name, variance in expected.items():
        assert table[f"{name}_20"][t, 0] ** 2 == pytest.approx(variance, rel=1e-12)


def test_realised_variance_of_minutes():
    first = datetime(2020, 1, 6, 14, 30, tzinfo=UTC)
    times = [first + timedelta(days=day, minutes=k) for day in range(30) for k in range(5)]
    close = 10 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.001, 150)))
    opened = np.concatenate([[10], close[:-1]])
    frame = pl.DataFrame(
        {"symbol": "S0", "event_time": times, "known_time": [t + timedelta(minutes=1) for t in times], "open": opened,
         "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close, "volume": 1.0}
    )  # fmt: skip
    rows = realised_variance(frame)
    moves = np.log(close / opened).reshape(30, 5)
    np.testing.assert_allclose(rows["value"], (moves**2).sum(axis=1), rtol=1e-9)
    assert rows["known_time"][0] == first + timedelta(minutes=5)
    bars = panel({name: np.ones((30, 1)) for name in PRICES}, first="2020-01-06")
    realised = [f for f in VOLATILITY if f.name == "realised_20"]
    known = tabulate(with_fundamentals(bars, rows, until=timedelta(days=1)), realised, threads=1)["realised_20"][-1, 0]
    assert known == pytest.approx(math.sqrt((moves[-20:] ** 2).sum() / 20))
    before = tabulate(with_fundamentals(bars, rows), realised, threads=1)["realised_20"][-1, 0]
    assert before == pytest.approx(math.sqrt((moves[-21:-1] ** 2).sum() / 20))


def test_absorption_of_one_common_factor_and_of_none():
    rng = np.random.default_rng(0)
    common, own = rng.normal(0, 0.01, (300, 1)), rng.normal(0, 0.01, (300, 10))

    def ratio(returns):
        return absorption_ratio(panel({"close": np.cumprod(1 + returns, axis=0)}), lookback=250)

    one, many, none = ratio(np.repeat(common, 10, axis=1)), ratio(common + own), ratio(own)
    assert np.isnan(one[:250]).all()
    assert np.isfinite(one[250:]).all()
    assert one[-1] == pytest.approx(1)
    assert many[-1] == pytest.approx(11 / 20 + 1 / 20, abs=0.06)  # eigenvalues 11 s, and nine of s, of a trace of 20 s
    assert none[-1] == pytest.approx(0.2, abs=0.1)
    with pytest.raises(ConfigError, match="`lookback` must be at least 2"):
        absorption_ratio(panel({"close": np.ones((3, 1))}), lookback=1)
