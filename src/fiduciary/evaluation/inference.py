"""What a difference proves: paired stationary bootstrap over days and seeds, and a verdict in words by fixed rules."""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError

Floats = NDArray[np.float64]
Word = Literal["evidence for", "evidence against", "no evidence"]
FEWEST_DRAWS, MOST_DRAWS = 4_000, 200_000
FEWEST_BARS = 30


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
) -> Verdict:
    """Compare log returns [S, T] of a candidate's S seeds with those [T] of its benchmark, day by day.

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
    if learned and len(difference) == 1:
        word, reason = "no evidence", "one seed cannot tell skill from the luck of training"
    return Verdict(word, float(difference.mean() * per_year), low, high, p_value, level, trials, block, reason)


def _word(low: float, high: float, confidence: float) -> tuple[Word, str]:
    if low > 0:
        return "evidence for", f"the whole {confidence:.1%} interval of the difference lies above zero"
    if high < 0:
        return "evidence against", f"the whole {confidence:.1%} interval of the difference lies below zero"
    return "no evidence", f"the {confidence:.1%} interval of the difference holds zero"


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
