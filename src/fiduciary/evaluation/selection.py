"""Whether the best of many is more than the luckiest: data snooping, confidence sets and overfitting of the backtest."""

import math
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.evaluation.inference import block_length, long_run_variance, stationary_indices
from fiduciary.evaluation.metrics import NOISE

Floats = NDArray[np.float64]
BLOCKS = 16
_AT_ONCE = 50


class Superiority(NamedTuple):
    """p-values of "none of the candidates is better than the benchmark".

    Attributes:
        reality_check: White's, of plain means.
        spa: Hansen's consistent one, of studentised means.
        lower, upper: his bounds: candidates worse than the benchmark left out altogether, or all counted as equal to it.
        block: mean block length used, in bars.
    """

    reality_check: float
    spa: float
    lower: float
    upper: float
    block: float


def superiority(
    difference: Floats, *, rng: np.random.Generator, block: float | None = None, draws: int = 2_000
) -> Superiority:
    """Does any of K candidates beat the benchmark, all K looked at together?

    With d_k the mean of candidate k, d*_k that of a resampling, and omega_k^2 = `long_run_variance`:

        reality check: P(max_k d*_k - d_k >= max_k d_k)
        SPA:           P(max(0, max_k (d*_k - g_k) / omega_k) >= max(0, max_k d_k / omega_k)),
        g_k = max(d_k, 0) lower | d_k where d_k >= -omega_k sqrt(2 log log T / T), else 0: consistent | d_k upper.

    A candidate that copies the benchmark counts in neither. p = (1 + number of such draws) / (1 + draws).

    Args:
        difference: [K, T] returns of each candidate minus the benchmark's.
        rng: of the days.
        block: mean block length; None = the longest that `block_length` asks for among the candidates.
        draws: of the stationary bootstrap.

    Source: White (2000), A reality check for data snooping, Econometrica 68(5), equation 3.2 on; Hansen (2005), A test for
    superior predictive ability, Journal of Business and Economic Statistics 23(4), section 2.
    """
    difference = difference[np.abs(difference).max(axis=1) > NOISE]
    if not len(difference):
        return Superiority(1.0, 1.0, 1.0, 1.0, 1.0)
    block = max(map(block_length, difference)) if block is None else block
    bars = difference.shape[1]
    mean = difference.mean(axis=1)
    omega = np.maximum(np.sqrt(long_run_variance(difference, block)), NOISE)
    drawn = _means(difference, block, draws, rng)
    quiet = mean >= -omega * math.sqrt(2.0 * math.log(math.log(bars)) / bars)
    best = max(0.0, float((mean / omega).max()))

    def p_value(centre: Floats, scale: Floats | float, statistic: float, least: float) -> float:
        beaten = np.maximum(((drawn - centre) / scale).max(axis=1), least) >= statistic
        return float(1 + beaten.sum()) / (draws + 1)

    spa, lower, upper = (
        p_value(centre, omega, best, 0.0) for centre in (np.where(quiet, mean, 0.0), np.maximum(mean, 0.0), mean)
    )
    return Superiority(p_value(mean, 1.0, float(mean.max()), -math.inf), spa, lower, upper, block)


def _means(x: Floats, block: float, draws: int, rng: np.random.Generator) -> Floats:
    """Means of resampled days of x [K, T], [draws, K]."""
    sizes = [min(_AT_ONCE, draws - done) for done in range(0, draws, _AT_ONCE)]
    return np.concatenate([x[:, stationary_indices(x.shape[1], block, n, rng)].mean(axis=2).T for n in sizes])


def confidence_set(
    returns: Floats, *, rng: np.random.Generator, block: float | None = None, draws: int = 1_000
) -> Floats:
    """p-value [K] of each of K strategies: those above a level form the set that holds the best with 1 - that level.

    The range statistic over all pairs, with elimination of the worst (`arch.bootstrap.MCS`); strategies that return the same
    share one p-value.

    Args:
        returns: [K, T], higher is better.
        rng: of the days.
        block: mean block length, rounded; None = the longest that `block_length` asks for among returns less their mean.
        draws: of the stationary bootstrap.

    Source: Hansen, Lunde and Nason (2011), The model confidence set, Econometrica 79(2), section 3.1.2.
    """
    from arch.bootstrap import MCS

    distinct, which = np.unique(returns, axis=0, return_inverse=True)
    if len(distinct) == 1:
        return np.ones(len(returns))
    block = max(map(block_length, distinct - distinct.mean(axis=0))) if block is None else block
    found = MCS(-distinct.T, size=0.05, reps=draws, block_size=max(1, round(block)), method="R", seed=rng)
    found.compute()
    return np.asarray(found.pvalues["Pvalue"].sort_index().to_numpy(dtype=float)[which.ravel()])


class Overfitting(NamedTuple):
    """What choosing the best of N configurations on one half of history is worth on the other.

    Attributes:
        pbo: share of halves in which the best is below the median (or at it) of the other half.
        logits: [C] log(w / (1 - w)) of the best one's relative rank w in the other half.
        slope: of its performance there on that in the half where it was chosen; below 0, better looks are worse.
        loss: share of halves in which it then performs below zero.
    """

    pbo: float
    logits: Floats
    slope: float
    loss: float


def overfitting(
    returns: Floats, *, blocks: int = BLOCKS, performance: Literal["sharpe", "mean"] = "sharpe"
) -> Overfitting:
    """Probability of backtest overfitting by combinatorially symmetric cross-validation.

    History is cut into S blocks; each of the C(S, S / 2) choices of half of them elects the configuration that performs best
    there, whose rank (1 = worst, ties shared) in the other half is w (N + 1). PBO is the share of choices with log(w /
    (1 - w)) <= 0.

    Args:
        returns: [N, T] of the configurations.
        blocks: S, even; T need not be a multiple: blocks differ by one bar at most.
        performance: "sharpe" or "mean" of the returns given.

    Raises:
        ConfigError: fewer than two configurations, an odd number of blocks, or blocks of fewer than two bars.

    Source: Bailey, Borwein, Lopez de Prado and Zhu (2017), The probability of backtest overfitting, Journal of Computational
    Finance 20(4), section 2.
    """
    n, bars = returns.shape
    if n < 2 or blocks % 2 or not 2 <= blocks <= bars // 2:
        raise ConfigError(
            "overfitting needs two configurations or more, and an even number of blocks of two bars or more",
            f"{n} of {bars} bars in {blocks} blocks", remedy="compare more configurations, or use fewer blocks",
        )  # fmt: skip
    centre = returns.mean(axis=1)
    starts = np.arange(blocks) * bars // blocks
    off = returns - centre[:, None]
    sums, squares = (np.add.reduceat(x, starts, axis=1).T for x in (off, off**2))
    sizes = np.diff([*starts, bars])
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks))
    np.put_along_axis(chosen, np.array(list(combinations(range(blocks), blocks // 2))), 1.0, axis=1)

    def performed(half: Floats) -> Floats:  # [C, S] -> [C, N]
        count = (half @ sizes)[:, None]
        mean = half @ sums / count
        if performance == "mean":
            return np.asarray(mean + centre)
        spread = np.sqrt(np.maximum(half @ squares - count * mean**2, 0.0) / (count - 1.0))
        return np.where(spread > NOISE, (mean + centre) / np.maximum(spread, NOISE), 0.0)

    inside = performed(chosen)
    outside = inside[::-1]  # in their order, the k-th choice from the end is what the k-th leaves out
    best = inside.argmax(axis=1)[:, None]
    elected, later = (np.take_along_axis(x, best, axis=1) for x in (inside, outside))
    rank = (outside < later).sum(axis=1) + ((outside == later).sum(axis=1) + 1) / 2.0
    logits = np.log(rank / (n + 1 - rank))
    x, y = elected.ravel() - elected.mean(), later.ravel()
    slope = float(x @ y / (x @ x)) if x @ x > 0.0 else math.nan
    return Overfitting(float((logits <= 0.0).mean()), logits, slope, float((y < 0.0).mean()))
