"""Seconds to judge one learner in full: every figure against 25 rivals, Sharpe tests, stress, power and data snooping, over ten
years of days, 20 accounts and 10 seeds."""

import resource
import time

import numpy as np

from fiduciary.evaluation.inference import judge
from fiduciary.evaluation.metrics import log_returns
from fiduciary.study.evidence import Track, evidence, selection
from rows import Figure, row

YEARS, PER_YEAR, ACCOUNTS, SEEDS, RIVALS, TRIALS = 10, 252, 20, 10, 25, 100
STRESS = ("costs x 0", "costs x 2", "costs x 5", "1 bar later", "2 bars later")


def track(name: str, role: str, seeds: int, market: np.ndarray, rng: np.random.Generator) -> Track:
    """Synthetic accounts that share the market's fat-tailed days and add noise of their own."""
    bars = len(market)
    days = np.arange(np.datetime64("2010-01-01"), np.datetime64("2030-01-01"))[: bars * 7 // 5 + 7]
    days = days[np.is_busday(days)][: bars + 1].astype(np.int64)
    own = market + 0.002 * rng.standard_normal((ACCOUNTS, seeds, bars))
    accounts = 1e6 * np.exp(np.cumsum(np.concatenate((np.zeros((ACCOUNTS, seeds, 1)), own), axis=-1), axis=-1))
    wealth = accounts.sum(axis=0)
    return Track(
        name, role, days, wealth, {s: wealth * (1.0 + 1e-3 * rng.random(wealth.shape)) for s in STRESS}, accounts
    )


def measure() -> Figure:
    rng = np.random.default_rng(0)
    market = 0.01 / 1.29 * rng.standard_t(5, YEARS * PER_YEAR) + 3e-4
    candidate = track("learner", "candidate", SEEDS, market, rng)
    rivals = [track(f"rival {k}", "baseline", 1, market, rng) for k in range(RIVALS)]
    risk_free = np.full(len(market), 1e-4)
    splits = [(k * PER_YEAR, (k + 1) * PER_YEAR) for k in range(YEARS)]
    started = time.perf_counter()
    judge(
        log_returns(candidate.wealth), log_returns(rivals[0].wealth)[0],
        learned=True, per_year=PER_YEAR, trials=TRIALS, rng=rng,
    )  # fmt: skip
    found = evidence(
        candidate, rivals[0], rivals,
        risk_free=risk_free, per_year=PER_YEAR, trials=TRIALS, splits=splits, rng=rng,
    )  # fmt: skip
    selection([candidate, *rivals[1:6]], rivals[0], [candidate, *rivals], risk_free=risk_free, rng=rng)
    seconds = time.perf_counter() - started
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    note = (
        f"verdict, evidence and selection of one learner: {YEARS} years of days, {ACCOUNTS} accounts, {SEEDS} seeds, {RIVALS} "
        f"rivals, {len(found.differences)} differences from 1,000 resamplings each, {len(found.conditions)} conditions, "
        f"{TRIALS} trials; peak memory of the process {gigabytes:.2f} GB"
    )
    return Figure(round(seconds, 1), "s", 60, "lower", 1, note)


if __name__ == "__main__":
    row(4, measure)
