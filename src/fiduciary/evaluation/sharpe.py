"""What a Sharpe ratio is worth: its standard error, its difference to another's, and what many trials take away from it.

All ratios are per bar, of returns over idle cash ("excess"), x = mean(r - f) / std(r - f); times sqrt(bars per year) they are
annual. Skew is m_3 / m_2^1.5, kurtosis m_4 / m_2^2, 3 for a normal distribution.
"""

import math
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.evaluation import metrics

Floats = NDArray[np.float64]
EULER = 0.5772156649015329
_NORMAL = NormalDist()
FEWEST_BLOCKS = 4
_AT_ONCE = 100


class Ratio(NamedTuple):
    """An estimate, its standard error and its interval."""

    value: float
    error: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A difference of two Sharpe ratios, its standard error and two-sided p-value."""

    value: float
    error: float
    p_value: float


class Moments(NamedTuple):
    """What the probabilistic ratios read of a track record of `bars` returns."""

    sharpe: float
    bars: int
    skew: float = 0.0
    kurtosis: float = 3.0


def moments(excess: Floats) -> Moments:
    """Moments of excess returns [T]; NaN where they never move."""
    ratio, skew, kurtosis = (float(figure(excess)) for figure in (metrics.sharpe, metrics.skew, metrics.kurtosis))
    return Moments(ratio, len(excess), skew, kurtosis + 3.0)


# --- one ratio (Lo 2002) ---------------------------------------------------------------------------------------------


def iid_error(sharpe: float, bars: int) -> float:
    """sqrt((1 + x^2 / 2) / T): standard error for independent normal returns.

    Source: Lo (2002), The statistics of Sharpe ratios, Financial Analysts Journal 58(4), equation 9 and table 1.
    """
    return math.sqrt((1.0 + 0.5 * sharpe**2) / bars)


def interval(excess: Floats, *, lags: int | None = None, level: float = 0.05) -> Ratio:
    """Sharpe ratio of returns [T] with an interval that holds for dependent, skewed and fat-tailed returns.

    With z_t = (r_t - mean) / std, the ratio is asymptotically the mean of g_t = z_t - x / 2 (z_t^2 - 1), so that its variance
    is (Gamma_0 + 2 sum_{j <= m} (1 - j / (m + 1)) Gamma_j) / T with autocovariances Gamma_j of g (Newey and West 1987).

    Args:
        excess: [T] returns over idle cash.
        lags: m; None = floor(4 (T / 100)^(2 / 9)) (Newey and West 1994). 0 = independent, though not normal.
        level: nominal error, two-sided.

    Source: Lo (2002), section "IID returns" and appendix A (GMM estimator).
    """
    n = len(excess)
    ratio = float(metrics.sharpe(excess))
    if math.isnan(ratio):
        return Ratio(ratio, ratio, ratio, ratio)
    m = math.floor(4.0 * (n / 100.0) ** (2.0 / 9.0)) if lags is None else lags
    z = (excess - excess.mean()) / excess.std()
    g = z - 0.5 * ratio * (z**2 - 1.0)
    error = math.sqrt(float(_hac(g[:, None], 1.0 - np.arange(m + 1) / (m + 1.0))[0, 0]) / n)
    half = -_NORMAL.inv_cdf(level / 2.0) * error
    return Ratio(ratio, error, ratio - half, ratio + half)


# --- two ratios (Ledoit and Wolf 2008) -------------------------------------------------------------------------------


def difference(a: Floats, b: Floats, *, kernel: Literal["parzen", "qs"] = "parzen") -> Comparison:
    """Difference of the Sharpe ratios of paired excess returns a, b [T], with the kernel standard error.

    With v = (mu_a, mu_b, gamma_a, gamma_b) the means of (a, b, a^2, b^2), the difference is f(v) = mu_a / sqrt(gamma_a -
    mu_a^2) - mu_b / sqrt(gamma_b - mu_b^2), its error sqrt(grad f' Psi grad f / T), and Psi the kernel estimate of the long-run
    covariance, with Andrews' automatic bandwidth (AR(1), 1991) and T / (T - 4). The returns are scaled to unit variance first:
    that leaves f alone, and the bandwidth no longer depends on the unit of returns.

    Args:
        a, b: [T] returns over idle cash of the same bars.
        kernel: "parzen" or "qs" (quadratic spectral).

    Source: Ledoit and Wolf (2008), Robust performance hypothesis testing with the Sharpe ratio, Journal of Empirical Finance
    15(5), section 3.1. NaN where one of the two never moves; a copy has p-value 1.
    """
    v, n = _powers(a, b), len(a)
    mean = v.mean(axis=0)
    value = float(_contrast(mean))
    if math.isnan(value):
        return Comparison(value, value, value)
    centred = v - mean
    psi = _hac(centred, _weights(kernel, _bandwidth(kernel, centred), n)) * n / (n - 4.0)
    slope = _gradient(mean)
    error = math.sqrt(max(0.0, float(slope @ psi @ slope)) / n)
    return Comparison(value, error, 2.0 * _NORMAL.cdf(-abs(value) / error) if error > metrics.NOISE else 1.0)


def bootstrap_difference(
    a: Floats, b: Floats, *, block: float, rng: np.random.Generator, draws: int = 2_000,
    kernel: Literal["parzen", "qs"] = "parzen",
) -> Comparison:  # fmt: skip
    """The same difference, with the p-value of the studentised circular block bootstrap: what the paper recommends.

    Each draw joins l = floor(T / c) blocks of c bars; with f* its difference and s* the error from its own block sums,

        Psi* = 1 / l sum_j zeta_j zeta_j',  zeta_j = c^-1/2 sum_{t in block j} (v*_t - mean v*),

    the p-value is (1 + #{|f* - f| / s* >= |f| / s}) / (1 + draws).

    Args:
        a, b: [T] returns over idle cash of the same bars.
        block: block length in bars, rounded to c.
        rng: of the blocks.
        draws: of the bootstrap.
        kernel: of s.

    Raises:
        ConfigError: fewer than 4 blocks fit: their sums have no covariance worth the name.

    Source: Ledoit and Wolf (2008), section 3.2.2, equations 8 and 9.
    """
    n, c = len(a), max(1, round(block))
    if n // c < FEWEST_BLOCKS:
        raise ConfigError(
            f"the bootstrap needs at least {FEWEST_BLOCKS} blocks", f"{n} bars in blocks of {c}", remedy="test longer"
        )
    test = difference(a, b, kernel=kernel)
    if not test.error > metrics.NOISE:
        return test
    v = _powers(a, b)
    sums = np.concatenate((np.zeros((1, 4)), np.cumsum(np.concatenate((v, v[: c - 1])), axis=0)))
    means = (sums[c:] - sums[:-c]) / c  # [T, 4] of the block that starts at each bar

    def extreme(size: int) -> int:
        blocks = means[rng.integers(n, size=(size, n // c))]
        mean = blocks.mean(axis=1)
        along = np.einsum("dlk,dk->dl", blocks - mean[:, None], _gradient(mean))
        error = np.sqrt(np.square(along).mean(axis=1) * c / n)
        return int((np.abs(_contrast(mean) - test.value) * test.error >= abs(test.value) * error).sum())

    count = sum(extreme(min(_AT_ONCE, draws - done)) for done in range(0, draws, _AT_ONCE))
    return test._replace(p_value=(1 + count) / (draws + 1))


def _powers(a: Floats, b: Floats) -> Floats:
    """v_t [T, 4], of returns in units of their own standard deviation; NaN where one of the two never moves."""
    x, y = (x / (x.std() if x.std() > metrics.NOISE else math.nan) for x in (a, b))
    return np.stack((x, y, x**2, y**2), axis=1)


def _contrast(mean: Floats) -> Floats:
    """f(v) of means [..., 4] -> [...]."""
    ratio = mean[..., :2] / np.sqrt(mean[..., 2:] - mean[..., :2] ** 2)
    return np.asarray(ratio[..., 0] - ratio[..., 1])


def _gradient(mean: Floats) -> Floats:
    """df / dv at means [..., 4] -> [..., 4]."""
    mu, gamma = mean[..., :2], mean[..., 2:]
    cubed = (gamma - mu**2) ** 1.5
    sign = np.array((1.0, -1.0))
    return np.concatenate((sign * gamma / cubed, -0.5 * sign * mu / cubed), axis=-1)


# --- kernels ---------------------------------------------------------------------------------------------------------


def _hac(centred: Floats, weights: Floats) -> Floats:
    """Gamma_0 + sum_j w_j (Gamma_j + Gamma_j'), Gamma_j = 1 / T sum_t x_t x_{t-j}'; x [T, K], w [L] from w_0 on -> [K, K]."""
    n = len(centred)
    total = centred.T @ centred
    for j, w in enumerate(weights[1:n], start=1):
        lagged = centred[j:].T @ centred[: n - j]
        total = total + w * (lagged + lagged.T)
    return np.asarray(total / n)


def _bandwidth(kernel: str, centred: Floats) -> float:
    """Andrews' (1991) bandwidth for AR(1) series [T, K], equations 6.2 and 6.4, all K weighted alike."""
    before, after = centred[:-1], centred[1:]
    rho = np.clip((before * after).sum(axis=0) / np.square(before).sum(axis=0), -0.97, 0.97)
    fourth = np.square(np.square(after - rho * before).mean(axis=0))
    alpha = (4.0 * rho**2 * fourth / (1.0 - rho) ** 8).sum() / (fourth / (1.0 - rho) ** 4).sum()
    return float({"parzen": 2.6614, "qs": 1.3221}[kernel] * (alpha * len(centred)) ** 0.2)


def _weights(kernel: str, bandwidth: float, n: int) -> Floats:
    """k(j / bandwidth) for j = 0, 1, ... (Andrews 1991, equation 2.7)."""
    if kernel == "parzen":
        x = np.arange(min(n, math.ceil(bandwidth) + 1)) / max(bandwidth, metrics.NOISE)
        return np.where(x <= 0.5, 1.0 - 6.0 * x**2 + 6.0 * x**3, 2.0 * np.maximum(1.0 - x, 0.0) ** 3)
    y = 1.2 * math.pi * np.arange(1, n) / max(bandwidth, metrics.NOISE)
    return np.concatenate(([1.0], 3.0 / y**2 * (np.sin(y) / y - np.cos(y))))


# --- probability and trials (Bailey and Lopez de Prado) --------------------------------------------------------------


def probabilistic(of: Moments, threshold: float = 0.0) -> float:
    """PSR: probability that the true ratio exceeds `threshold`.

    Phi((x - x*) sqrt(T - 1) / sqrt(1 - g_3 x + (g_4 - 1) / 4 x^2)), with skew g_3, kurtosis g_4 and the threshold x*.

    Source: Bailey and Lopez de Prado (2012), The Sharpe ratio efficient frontier, Journal of Risk 15(2), equation 11.
    """
    z = (of.sharpe - threshold) * math.sqrt((of.bars - 1) / _inflation(of))
    return math.nan if math.isnan(z) else _NORMAL.cdf(z)


def track_record(of: Moments, threshold: float = 0.0, *, confidence: float = 0.95) -> float:
    """MinTRL: bars after which PSR reaches `confidence`; infinite where the ratio does not exceed `threshold`.

    1 + (1 - g_3 x + (g_4 - 1) / 4 x^2) (z / (x - x*))^2. Source: the same, equation 13.
    """
    if of.sharpe <= threshold:
        return math.inf
    return 1.0 + _inflation(of) * (_NORMAL.inv_cdf(confidence) / (of.sharpe - threshold)) ** 2


def expected_best(trials: int, variance: float) -> float:
    """Expected largest of `trials` estimated ratios without any skill, whose variance among trials is `variance`; 0 for one.

    sqrt(V) ((1 - e) Phi^-1(1 - 1 / N) + e Phi^-1(1 - 1 / (N exp 1))) with Euler's constant e. Source: Bailey and Lopez de Prado
    (2014), The deflated Sharpe ratio, Journal of Portfolio Management 40(5), equation 1.
    """
    if trials < 2:
        return 0.0
    # Phi^-1(1 - p) = -Phi^-1(p), and small p is exact where 1 - p is not.
    near, far = (-_NORMAL.inv_cdf(p) for p in (1.0 / trials, 1.0 / (trials * math.e)))
    return math.sqrt(variance) * ((1.0 - EULER) * near + EULER * far)


def deflated(of: Moments, *, trials: int, variance: float) -> float:
    """DSR: the probabilistic ratio against the best that `trials` without skill would have shown.

    Args:
        of: the selected track record.
        trials: N, independent trials among which it was selected.
        variance: of the estimated ratios among the trials, per bar.

    Source: Bailey and Lopez de Prado (2014), equation 2.
    """
    return probabilistic(of, expected_best(trials, variance))


def _inflation(of: Moments) -> float:
    """1 - g_3 x + (g_4 - 1) / 4 x^2, what the shape of returns makes of the variance of the ratio (Mertens 2002)."""
    return 1.0 - of.skew * of.sharpe + (of.kurtosis - 1.0) / 4.0 * of.sharpe**2
