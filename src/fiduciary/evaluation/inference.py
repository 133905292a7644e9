"""What a difference proves: paired stationary bootstrap over days and seeds, a verdict in words by fixed rules, and what a
test of that length could have shown."""

import math
import os
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.evaluation.metrics import NOISE

Floats = NDArray[np.float64]
Word = Literal["evidence for", "evidence against", "no evidence"]
FEWEST_DRAWS, MOST_DRAWS = 4_000, 200_000
FEWEST_BARS = 30
QUANTILES = 201
_CHUNK = 500_000
"""Returns resampled at once: few enough for the processor's cache."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; NaN bounds when one observation allows none."""

    mean: float
    low: float
    high: float
    n: int


class Verdict(NamedTuple):
    """What the study may say.

    Attributes:
        word: "evidence for", "evidence against" or "no evidence".
        difference: annual log growth of the candidate minus the benchmark's, mean over seeds.
        low, high: interval of `difference` at confidence 1 - level / trials.
        p_value: two-sided, of one trial.
        level: nominal error of the whole question.
        trials: configurations tried for the same question; the level is shared among them (Bonferroni).
        block: mean block length of the bootstrap, in bars.
        reason: the rule that gave the word.
    """

    word: Word
    difference: float
    low: float
    high: float
    p_value: float
    level: float
    trials: int
    block: float
    reason: str


def judge(
    candidate: Floats,
    benchmark: Floats,
    *,
    learned: bool,
    per_year: float,
    trials: int,
    rng: np.random.Generator,
    level: float = 0.05,
    seeds: int = 0,
) -> Verdict:
    """Compare log returns [S, T] of a candidate's S seeds with those [T] of its benchmark, day by day.

    `seeds` are those of training, where a row is not one for each: passes of one seed through history count as rows; 0 = S.

    The rule, fixed before any run: "evidence for" when the whole interval of the mean difference lies above zero,
    "evidence against" when it lies below, else "no evidence". Each draw is the mean over resampled blocks of days (Politis
    and Romano 1994, so that dependence between days counts) plus the luck of training: the standard error over seeds times a
    draw of Student's t with S - 1 degrees of freedom, which is wide where seeds are few. A learner with a single seed proves
    nothing.

    Raises:
        ConfigError: fewer than `FEWEST_BARS` bars: blocks of them say nothing.
    """
    difference = candidate - benchmark
    if difference.shape[1] < FEWEST_BARS:
        raise ConfigError(
            f"a verdict needs at least {FEWEST_BARS} bars of test", str(difference.shape[1]), remedy="test longer"
        )
    if not np.any(difference):
        return Verdict("no evidence", 0.0, 0.0, 0.0, 1.0, level, trials, 1.0, "the policy is a copy of the benchmark")
    block = block_length(difference.mean(axis=0))
    tail = level / trials / 2
    draws = int(np.clip(20 / tail, FEWEST_DRAWS, MOST_DRAWS))
    means = (_day_means(difference.mean(axis=0), block, draws, rng) + _seed_luck(difference, draws, rng)) * per_year
    low, high = (float(x) for x in np.quantile(means, (tail, 1 - tail)))
    p_value = min(1.0, 2 * (1 + float(min((means <= 0).sum(), (means >= 0).sum()))) / (draws + 1))
    word, reason = _word(low, high, 1 - level / trials)
    if tail * draws < 20:  # so many trials that no resampling reaches their tail: a normal one, where it is wider
        reach = statistics.NormalDist().inv_cdf(1 - tail) * float(means.std())
        low, high = min(low, float(means.mean()) - reach), max(high, float(means.mean()) + reach)
        word, reason = _word(low, high, 1 - level / trials)
    if learned and (seeds or len(difference)) == 1:
        word, reason = "no evidence", "one seed cannot tell skill from the luck of training"
    return Verdict(word, float(difference.mean() * per_year), low, high, p_value, level, trials, block, reason)


def _word(low: float, high: float, confidence: float) -> tuple[Word, str]:
    if low > 0:
        return "evidence for", f"the whole {100 * confidence:.4g} % interval of the difference lies above zero"
    if high < 0:
        return "evidence against", f"the whole {100 * confidence:.4g} % interval of the difference lies below zero"
    return "no evidence", f"the {100 * confidence:.4g} % interval of the difference holds zero"


def _day_means(x: Floats, block: float, draws: int, rng: np.random.Generator) -> Floats:
    """Means of `draws` resamplings of x [T] in blocks of days."""
    parts = [min(250, draws - done) for done in range(0, draws, 250)]
    return np.concatenate([x[stationary_indices(len(x), block, size, rng)].mean(axis=1) for size in parts])


def _seed_luck(difference: Floats, draws: int, rng: np.random.Generator) -> Floats | float:
    """Draws of how far the mean over S seeds lies from that over all seeds; resampling two or three could not tell."""
    seeds = len(difference)
    if seeds == 1:
        return 0.0
    standard_error = difference.mean(axis=1).std(ddof=1) / math.sqrt(seeds)
    return np.asarray(standard_error * rng.standard_t(seeds - 1, size=draws))


# --- every figure against every rival --------------------------------------------------------------------------------


class Difference(NamedTuple):
    """A figure of the candidate minus that of `rival`, with interval and two-sided p-value."""

    rival: str
    figure: str
    value: float
    low: float
    high: float
    p_value: float


def differences(
    candidate: Floats,
    rivals: Mapping[str, Floats],
    figures: Mapping[str, Callable[[Floats, Floats | float, float], Floats]],
    *,
    risk_free: Floats,
    per_year: float,
    rng: np.random.Generator,
    block: float | None = None,
    draws: int = 1_000,
    level: float = 0.05,
) -> list[Difference]:
    """Every figure of a candidate's S seeds minus that of each rival, paired: all live through the same resampled days.

    As in `judge`, a draw is the difference on resampled blocks of days plus the luck of seeds, of either side: the standard
    error over seeds of the figure, times a draw of Student's t with S - 1 degrees of freedom. The interval is that of the
    draws' percentiles; p-values are of one comparison each. Both are NaN where a figure is not defined in some draw.

    Args:
        candidate: [S, T] simple returns.
        rivals: name -> [R, T] simple returns of the same bars, each with seeds of its own.
        figures: name -> function of (returns [..., T], risk-free [..., T], bars per year), such as `metrics.OF_RETURNS`.
        risk_free: [T] returns of idle cash.
        per_year: bars in a year.
        rng: of days and luck.
        block: mean block length in bars; None = the longest that `block_length` asks for among the rivals.
        draws: of the bootstrap.
        level: nominal error of each interval.
    """
    sides = (candidate, *rivals.values())
    tracks, starts = np.concatenate(sides), np.cumsum([0, *map(len, sides[:-1])])
    seeds = np.array([len(side) for side in sides])
    if block is None:
        block = max(block_length(candidate.mean(axis=0) - rival.mean(axis=0)) for rival in rivals.values())
    found = _figures(tracks, risk_free, figures, per_year)
    drawn = _resampled(tracks, risk_free, figures, per_year, block=block, draws=draws, rng=rng)
    mean, resampled = (np.add.reduceat(x, starts, axis=-1) / seeds for x in (found, drawn))  # [F, 1 + R], [D, F, 1 + R]
    off = found - np.repeat(mean, seeds, axis=-1)
    error = np.sqrt(np.add.reduceat(off**2, starts, axis=-1) / np.maximum(seeds - 1, 1) / seeds)
    resampled += error * rng.standard_t(np.maximum(seeds - 1, 1), size=(draws, 1, len(seeds)))
    gaps = (x[..., :1] - x[..., 1:] for x in (mean, resampled))
    value, around = (np.where(np.abs(gap) < NOISE, 0.0, gap) for gap in gaps)  # a copy differs by rounding alone
    low, high = np.quantile(around, (level / 2, 1 - level / 2), axis=0)
    nearer = np.minimum((around <= 0).sum(axis=0), (around >= 0).sum(axis=0))
    p_value = np.where(np.isnan(low), np.nan, np.minimum(1.0, 2 * (1 + nearer) / (draws + 1)))
    return [
        Difference(rival, figure, *(float(x[f, r]) for x in (value, low, high, p_value)))
        for r, rival in enumerate(rivals)
        for f, figure in enumerate(figures)
    ]


def _figures(r: Floats, risk_free: Floats, figures: Mapping[str, Callable[..., Floats]], per_year: float) -> Floats:
    """All figures of returns r [N, ..., T], [F, ..., N]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.moveaxis(np.stack([figure(r, risk_free, per_year) for figure in figures.values()]), 1, -1)


def _resampled(
    tracks: Floats, risk_free: Floats, figures: Mapping[str, Callable[..., Floats]], per_year: float,
    *, block: float, draws: int, rng: np.random.Generator,
) -> Floats:  # fmt: skip
    """Figures of tracks [N, T] on resampled days, [draws, F, N]; a few draws at a time, on every core."""

    def part(seed: np.random.SeedSequence, size: int) -> Floats:
        days = stationary_indices(tracks.shape[1], block, size, np.random.default_rng(seed))
        return np.moveaxis(_figures(np.take(tracks, days, axis=1), risk_free[days], figures, per_year), 0, 1)

    # Every part has a stream of its own, so that the result does not depend on the cores.
    size = max(1, _CHUNK // tracks.size)
    sizes = [min(size, draws - done) for done in range(0, draws, size)]
    seeds = np.random.SeedSequence(rng.integers(2**63, size=2).tolist()).spawn(len(sizes))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(part, seeds, sizes)))


# --- what the test could have shown ----------------------------------------------------------------------------------


def null(difference: Floats, *, per_year: float, rng: np.random.Generator, draws: int = FEWEST_DRAWS) -> Floats:
    """201 evenly spaced quantiles (0 to 100 %) of the annual mean of d [S, T] if there were no skill.

    d: candidate minus benchmark, log returns. The draws are those of `judge`, of days centred on their own mean.
    """
    x = difference.mean(axis=0)
    means = _day_means(x - x.mean(), block_length(x), draws, rng) + _seed_luck(difference, draws, rng)
    return np.quantile(means * per_year, np.linspace(0.0, 1.0, QUANTILES))


class Power(NamedTuple):
    """What a test of this length can show.

    Attributes:
        edge: annual mean difference found.
        power: probability of "evidence for" if that were the true one.
        detectable: smallest true edge found with the wanted power.
        years: shortest test that finds an edge of the size found with that power; NaN where none does.
    """

    edge: float
    power: float
    detectable: float
    years: float


def power(difference: Floats, *, per_year: float, trials: int = 1, level: float = 0.05, wanted: float = 0.8) -> Power:
    """Power of the rule of `judge` on differences d [S, T] of log returns, by normal approximation.

    The estimated edge is normal around the true one with variance v = v_days + v_seeds, where v_days = per_year^2 omega^2 / T
    (`long_run_variance`) and v_seeds is the squared standard error over seeds. "Evidence for" needs an estimate above h, the
    1 - level / trials / 2 quantile of the rule's own draws: a normal of variance v_days plus Student's t times sqrt(v_seeds).
    Then power(e) = Phi((e - h) / sqrt(v)), detectable = h + z sqrt(v) with z = Phi^-1(wanted), and with h / sqrt(v) kept

        years = T / per_year  (v - v_luck) / ((e / (h / sqrt(v) + z))^2 - v_luck):

    longer tests quieten the days, those on which seeds differ included, but not v_luck, what v_seeds holds beyond them.
    """
    from scipy.special import ndtr, ndtri

    x, (seeds, bars) = difference.mean(axis=0), difference.shape
    edge = float(x.mean()) * per_year
    of_days = per_year**2 * float(long_run_variance(x, block_length(x))) / bars
    of_seeds = luck = 0.0
    if seeds > 1:
        of_seeds = float(difference.mean(axis=1).var(ddof=1)) * per_year**2 / seeds
        own_days = long_run_variance(difference - x, block_length(x)).sum() / (seeds - 1)
        luck = max(0.0, of_seeds - per_year**2 * float(own_days) / bars / seeds)
    if of_days + of_seeds <= 0.0:
        return Power(edge, 0.0, 0.0, math.nan)
    error, z = math.sqrt(of_days + of_seeds), float(ndtri(wanted))
    threshold = _threshold(of_days, of_seeds, seeds - 1, level / trials / 2)
    left = (edge / (threshold / error + z)) ** 2 - luck
    years = bars / per_year * (error**2 - luck) / left if edge > 0.0 and left > 0.0 else math.nan
    return Power(edge, float(ndtr((edge - threshold) / error)), threshold + z * error, years)


def _threshold(of_days: float, of_seeds: float, freedom: int, tail: float) -> float:
    """h with P(sqrt(of_days) N + sqrt(of_seeds) t > h) = tail; t has `freedom` degrees of freedom.

    Given the chi-square c in the denominator of t the sum is normal with variance of_days + of_seeds freedom / c; the integral
    over log c is a trapezoidal sum.
    """
    from scipy.optimize import brentq
    from scipy.special import chdtri, ndtr, ndtri
    from scipy.stats import chi2

    if of_seeds == 0.0:
        return -float(ndtri(tail)) * math.sqrt(of_days)
    c = np.geomspace(chi2.ppf(1e-12, freedom), chdtri(freedom, 1e-12), 2_000)
    weight = chi2.pdf(c, freedom) * c * math.log(c[1] / c[0])
    spread = np.sqrt(of_days + of_seeds * freedom / c)
    highest = -float(ndtri(tail / 2.0)) * float(spread[0])
    return float(brentq(lambda h: float(weight @ ndtr(-h / spread)) - tail, 0.0, highest, xtol=1e-12, rtol=1e-10))


def middle(scores: Floats, *, rng: np.random.Generator, draws: int = 2_000, level: float = 0.05) -> Interval:
    """Interquartile mean of scores [S, A], S seeds on A accounts: the mean without the lowest and the highest quarter.

    The interval resamples seeds within every account (stratified bootstrap, percentiles); NaN for one seed. Source: Agarwal
    et al. (2021), Deep reinforcement learning at the edge of the statistical precipice, NeurIPS, section 4.3.
    """
    seeds, accounts = scores.shape
    found = float(_interquartile(scores.ravel()))
    if seeds == 1:
        return Interval(found, math.nan, math.nan, 1)
    places = rng.integers(seeds, size=(draws, seeds, accounts))
    means = _interquartile(scores[places, np.arange(accounts)].reshape(draws, -1))
    low, high = np.quantile(means, (level / 2, 1 - level / 2))
    return Interval(found, float(low), float(high), seeds)


def _interquartile(x: Floats) -> Floats:
    """Mean along the last axis without the lowest and the highest floor(n / 4)."""
    cut, n = x.shape[-1] // 4, x.shape[-1]
    return np.asarray(np.sort(x, axis=-1)[..., cut : n - cut].mean(axis=-1))


# --- days in blocks --------------------------------------------------------------------------------------------------


def long_run_variance(x: Floats, block: float) -> Floats:
    """T times the variance of the mean of x [..., T] under the stationary bootstrap, in closed form -> [...].

    gamma_0 + 2 sum_j kappa_j gamma_j with kappa_j = (1 - j / T) (1 - p)^j + j / T (1 - p)^(T - j), p = 1 / block. Source:
    Politis and Romano (1994), The stationary bootstrap, JASA 89(428), lemma 1.
    """
    n = x.shape[-1]
    spectrum = np.abs(np.fft.rfft(x - x.mean(axis=-1, keepdims=True), 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum, 2 * n)[..., :n] / n
    j, stay = np.arange(1, n), 1.0 - 1.0 / block
    kappa = (1.0 - j / n) * stay**j + j / n * stay ** (n - j)
    return np.asarray(np.maximum(covariance[..., 0] + 2.0 * covariance[..., 1:] @ kappa, 0.0))


def stationary_indices(n: int, block: float, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[draws, n] indices of the stationary bootstrap: blocks of geometric length with mean `block`, wrapped around."""
    fresh = rng.random((draws, n)) < 1.0 / block
    fresh[:, 0] = True
    starts = rng.integers(n, size=(draws, n))
    position = np.arange(n)
    opened = np.maximum.accumulate(np.where(fresh, position, 0), axis=1)
    return (np.take_along_axis(starts, opened, axis=1) + position - opened) % n


def block_length(x: Floats) -> float:
    """Mean block length that minimises the variance estimate's error; at least 1. x: [T], T >= 9.

    Politis and White (2004), corrected by Patton, Politis and White (2009), for the stationary bootstrap. As in Patton's own
    code the bandwidth is twice the first lag of the first run of insignificant autocorrelations.
    """
    n = len(x)
    centred = x - x.mean()
    if not np.any(np.abs(centred) > 1e-15):
        return 1.0
    run = max(5, int(math.log10(n)))
    most = math.ceil(math.sqrt(n)) + run
    covariance = np.array([centred[k:] @ centred[: n - k] for k in range(most + 1)]) / n
    bandwidth = min(2 * _first_quiet_lag(centred, most, run), most)
    lag = np.arange(1, bandwidth + 1)
    weight = np.minimum(1.0, 2.0 * (1.0 - lag / bandwidth))
    g = 2.0 * float((weight * lag * covariance[1 : bandwidth + 1]).sum())
    spectrum = covariance[0] + 2.0 * float((weight * covariance[1 : bandwidth + 1]).sum())
    cap = math.ceil(min(3 * math.sqrt(n), n / 3))
    return float(np.clip((g**2 / spectrum**2 * n) ** (1 / 3), 1.0, cap))


def _first_quiet_lag(centred: Floats, most: int, run: int) -> int:
    """First lag from which `run` autocorrelations in a row are insignificant; `most` when there is none."""
    n = len(centred)
    bound = 2 * math.sqrt(math.log10(n) / n)
    loud = np.array([abs(_correlation(centred, k)) >= bound for k in range(1, most)])
    quiet = (m for m in range(1, most - run + 1) if not loud[m - 1 : m - 1 + run].any())
    return next(quiet, most)


def _correlation(centred: Floats, k: int) -> float:
    ahead, behind = centred[k + 1 :], centred[: -(k + 1)]
    return float(centred[k:] @ centred[: len(centred) - k] / math.sqrt((ahead @ ahead) * (behind @ behind)))


_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t quantile at 97.5 % for 1 to 15 degrees of freedom."""


def over_seeds(values: list[float], within: tuple[float, float] = (-math.inf, math.inf)) -> Interval:
    """Mean of one figure over seeds with Student's 95 % interval, cut to the range `within` which the figure can take.

    Seeds are independent; days are not resampled here.
    """
    x = np.asarray(values, dtype=np.float64)
    mean, n = float(x.mean()), len(x)
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    # Beyond 15 degrees of freedom the Cornish-Fisher term is exact to three digits.
    t = _T975[n - 2] if n - 2 < len(_T975) else 1.959964 + 2.3723 / (n - 1) + 2.8225 / (n - 1) ** 2
    half = t * float(x.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, max(mean - half, within[0]), min(mean + half, within[1]), n)
