"""Our statistics against independent implementations on the same numbers: the worst relative difference.

rliable is installed into an environment of its own, where this same file runs with `--inside`.
"""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rows import SCRATCH, Figure, row

PEERS = ("rliable==1.2.0", "arch==7.2.0", "pandas==2.3.3")
DRAWS, BLOCK, SEED = 1_000, 5, 1


class Legacy:
    """numpy's old generator behind the one method that we call: rliable draws from it."""

    def __init__(self) -> None:
        self.random = np.random.RandomState(SEED)

    def integers(self, n: int, size: tuple[int, ...]) -> np.ndarray:
        return self.random.choice(n, size, replace=True)


def measure() -> Figure:
    found = {**sharpe_ratios(), **blocks(), **snooping(), **middle()}
    off = {name: abs(ours - theirs) / max(abs(theirs), 1e-12) for name, (ours, theirs) in found.items()}
    for name, (ours, theirs) in found.items():
        print(f"  {name}: {ours:.10g}, theirs {theirs:.10g}")
    worst = max(off, key=off.__getitem__)
    note = (
        f"worst of {len(found)}, relative: {worst}; same numbers and, where resampled, the same days. Compared: "
        + ", ".join(found)
    )
    return Figure(off[worst], "relative difference", 1e-6, "lower", len(found), note)


def _histories() -> tuple[np.ndarray, np.ndarray]:
    """Two dependent, fat-tailed and correlated return histories of three years."""
    noise = 0.01 * np.random.default_rng(SEED).standard_t(5, (3, 756))
    noise[:, 1:] += 0.2 * noise[:, :-1]
    return 4e-4 + noise[0] + 0.5 * noise[1], 1e-4 + noise[0] + 0.5 * noise[2]


def sharpe_ratios() -> dict[str, tuple[float, float]]:
    """Against statsmodels (Newey-West errors), arch (quadratic spectral kernel) and scipy (moments, normal)."""
    from arch.covariance.kernel import QuadraticSpectral
    from scipy import stats
    from statsmodels.api import OLS

    from fiduciary.evaluation import sharpe

    a, b = _histories()
    of, n = sharpe.moments(a), len(a)
    z = stats.zscore(a)
    score = z - 0.5 * of.sharpe * (z**2 - 1.0)
    newey_west = OLS(score, np.ones(n)).fit(cov_type="HAC", cov_kwds={"maxlags": 6, "use_correction": False}).bse[0]

    x, y = a / a.std(), b / b.std()
    v = np.stack((x, y, x**2, y**2), axis=1)
    centred, above, below = v - v.mean(axis=0), 0.0, 0.0
    for series in centred.T:
        fit = OLS(series[1:], series[:-1]).fit()
        rho, fourth = fit.params[0], np.mean(fit.resid**2) ** 2
        above, below = above + 4 * rho**2 * fourth / (1 - rho) ** 8, below + fourth / (1 - rho) ** 4
    psi = np.asarray(QuadraticSpectral(v, bandwidth=1.3221 * (above / below * n) ** 0.2).cov.long_run) * n / (n - 4)
    (m, k), (gm, gk) = v.mean(axis=0)[:2], v.mean(axis=0)[2:]
    slope = np.array(
        (gm / (gm - m**2) ** 1.5, -gk / (gk - k**2) ** 1.5, -m / 2 / (gm - m**2) ** 1.5, k / 2 / (gk - k**2) ** 1.5)
    )
    error = math.sqrt(slope @ psi @ slope / n)

    ratio = a.mean() / a.std(ddof=1)
    spread = math.sqrt((1 - stats.skew(a) * ratio + (stats.kurtosis(a, fisher=False) - 1) / 4 * ratio**2) / (n - 1))
    near, far = stats.norm.isf(1 / 40), stats.norm.isf(1 / 40 / math.e)
    best = math.sqrt(1 / n) * ((1 - np.euler_gamma) * near + np.euler_gamma * far)
    ours = sharpe.difference(a, b, kernel="qs")
    return {
        "Lo's error (statsmodels)": (sharpe.interval(a, lags=6).error, float(newey_west)),
        "Ledoit-Wolf error (arch)": (ours.error, error),
        "Ledoit-Wolf p-value (scipy)": (ours.p_value, float(2 * stats.norm.sf(abs(ours.value) / error))),
        "PSR (scipy)": (sharpe.probabilistic(of), float(stats.norm.cdf(ratio / spread))),
        "DSR (scipy)": (sharpe.deflated(of, trials=40, variance=1 / n), float(stats.norm.cdf((ratio - best) / spread))),
    }


def blocks() -> dict[str, tuple[float, float]]:
    """The stationary bootstrap against arch: how long its blocks should be, and what variance they give a mean."""
    from arch.bootstrap import SPA, optimal_block_length

    from fiduciary.evaluation import inference

    a, _ = _histories()
    theirs = SPA(np.zeros(len(a)), -a, block_size=BLOCK)
    theirs._compute_variance()
    return {
        "block length (arch)": (inference.block_length(a), float(optimal_block_length(a)["stationary"].iloc[0])),
        "stationary bootstrap variance (arch)": (
            float(inference.long_run_variance(a, BLOCK)), float(theirs._loss_diff_var.ravel()[0])
        ),
    }  # fmt: skip


def snooping() -> dict[str, tuple[float, float]]:
    """Reality check, SPA and confidence set against arch on the very same resampled days.

    arch does not divide its statistic by its standard deviation; SPA is that of differences so divided beforehand.
    """
    from arch.bootstrap import MCS, SPA, StationaryBootstrap

    from fiduciary.evaluation import selection

    rng = np.random.default_rng(SEED)
    d = 0.01 * rng.standard_normal((6, 500)) + 3e-4 * np.arange(-3, 3)[:, None]
    resampler = StationaryBootstrap(BLOCK, d.T, seed=SEED)
    days = iter(np.split(np.array([resampler.index.copy() for _ in resampler.bootstrap(DRAWS)]), range(50, DRAWS, 50)))
    before, selection.stationary_indices = selection.stationary_indices, lambda *_: next(days)
    try:
        ours = selection.superiority(d, rng=rng, block=BLOCK, draws=DRAWS)
    finally:
        selection.stationary_indices = before
    omega = np.sqrt(selection.long_run_variance(d, BLOCK))[:, None]
    plain, scaled = (SPA(np.zeros(500), -x.T, block_size=BLOCK, reps=DRAWS, seed=SEED) for x in (d, d / omega))
    plain.compute()
    scaled.compute()
    pairs = {
        "reality check (arch)": (ours.reality_check, plain.pvalues["upper"]),
        "SPA (arch)": (ours.spa, scaled.pvalues["consistent"]),
        "SPA lower (arch)": (ours.lower, scaled.pvalues["lower"]),
        "SPA upper (arch)": (ours.upper, scaled.pvalues["upper"]),
    }
    found = {name: ((p * (DRAWS + 1) - 1) / DRAWS, float(theirs)) for name, (p, theirs) in pairs.items()}
    members = MCS(-d.T, size=0.05, reps=DRAWS, block_size=BLOCK, seed=np.random.default_rng(SEED))
    members.compute()
    p = selection.confidence_set(d[::-1], rng=np.random.default_rng(SEED), block=BLOCK, draws=DRAWS)[::-1]
    found["confidence set (arch)"] = float(p.sum()), float(members.pvalues["Pvalue"].sum())
    return found


def middle() -> dict[str, tuple[float, float]]:
    """The interquartile mean against scipy and rliable, its interval on the same resampled seeds."""
    from scipy.stats import trim_mean

    from fiduciary.evaluation import inference

    scores = np.random.default_rng(SEED).standard_t(3, (10, 20))
    ours: Any = inference.middle(scores, rng=Legacy(), draws=DRAWS)
    done = subprocess.run(
        [_python(), "-W", "ignore", __file__, "--inside"], check=True, capture_output=True, text=True, timeout=600,
        input=json.dumps(scores.tolist()),
    )  # fmt: skip
    point, low, high = json.loads(done.stdout.splitlines()[-1])
    return {
        "interquartile mean (scipy)": (ours.mean, float(trim_mean(scores, 0.25, axis=None))),
        "interquartile mean (rliable)": (ours.mean, point),
        "its lower bound (rliable)": (ours.low, low),
        "its upper bound (rliable)": (ours.high, high),
    }


def _python() -> Path:
    """The Python of rliable's environment; made at first use."""
    folder = SCRATCH / "rliable-venv"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        (folder / "ready").touch()
    return python


def inside() -> None:
    """In the environment of rliable: scores on standard input, interquartile mean and interval on standard output."""
    from rliable import library, metrics

    scores = np.array(json.loads(sys.stdin.read()))
    np.random.seed(SEED)
    points, intervals = library.get_interval_estimates(
        {"ours": scores}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=DRAWS
    )
    print(json.dumps([float(points["ours"][0]), *map(float, intervals["ours"][:, 0])]))


if __name__ == "__main__":
    inside() if "--inside" in sys.argv else row(4, measure)
