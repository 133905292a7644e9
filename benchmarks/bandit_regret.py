"""Regret of the bandit rules against reference regrets, in joint standard errors, and its slope against ln T."""

import math

import torch

from fiduciary.agents.bandits import KLUCB, UCB1, LinUCB, Thompson, gittins
from fiduciary.agents.rules import Random
from fiduciary.envs.bandits import BernoulliBandit, LinearBandit, lai_robbins, log_slope, regrets
from rows import Figure, row

RUNS = 200
TWO, TEN = (0.9, 0.8), (0.1, 0.05, 0.05, 0.05, 0.02, 0.02, 0.02, 0.01, 0.01, 0.01)
CASES = [
    (TWO, 2_000, Thompson(), 7.1, 0.4), (TWO, 2_000, UCB1(), 39.3, 0.5), (TWO, 2_000, KLUCB(), 9.4, 0.6),
    (TEN, 5_000, Thompson(), 70.3, 0.9), (TEN, 5_000, UCB1(), 276.4, 0.6), (TEN, 5_000, KLUCB(), 94.7, 1.4),
]  # fmt: skip
"""Means, pulls, rule, reference regret over 200 runs and its standard error."""
GITTINS = {
    0.9: {(1, 1): 0.7029, (1, 2): 0.5001, (2, 1): 0.8001, (2, 2): 0.6346, (3, 1): 0.8452},
    0.99: {(1, 1): 0.8699, (1, 2): 0.7005, (2, 1): 0.9102, (2, 2): 0.7844, (3, 1): 0.9285},
}


def measure() -> dict[str, Figure]:
    torch.set_num_threads(1)
    gaps, shown, slopes = [], [], []
    for means, horizon, rule, wanted, error in CASES:
        path = regrets(BernoulliBandit(means, horizon), rule, runs=RUNS, rng=torch.Generator().manual_seed(0))
        gap, words = against(path[:, -1], wanted, error)
        name = f"{type(rule).__name__}, {len(means)} arms"
        gaps.append(gap)
        shown.append(f"{name} {words}")
        slopes.append(
            (log_slope(path) / lai_robbins(means), f"{name} {log_slope(path):.1f} of {lai_robbins(means):.1f}")
        )
    linear = regrets(LinearBandit(), LinUCB(1.0), runs=RUNS, rng=torch.Generator().manual_seed(0))
    gap, words = against(linear[:, -1], 2.88, 0.26)
    chance = regrets(LinearBandit(), Random(), runs=RUNS, rng=torch.Generator().manual_seed(0))[:, -1]
    gaps.append(gap)
    shown.append(f"LinUCB {words}, slope {log_slope(linear):.2f}; random {float(chance.mean()):.1f} (1332.4)")
    indices = [
        abs(gittins(*state, gamma) - index) for gamma, table in GITTINS.items() for state, index in table.items()
    ]
    kl = [(ratio, words) for ratio, words in slopes if "UCB1" not in words]
    return {
        "worst": Figure(
            max(gaps), "standard errors", 3.0, "lower", len(gaps),
            f"largest deviation from the reference regrets, {RUNS} runs each; ours (reference): " + "; ".join(shown),
        ),
        "slope": Figure(
            max(ratio for ratio, _words in kl), "times Lai and Robbins", None, "lower", len(kl),
            "slope of regret against ln T over the last nine tenths, Thompson and KL-UCB, of the least possible; all: "
            + "; ".join(words for _ratio, words in slopes),
        ),
        "gittins": Figure(max(indices), "of a reward", 5.1e-5, "lower", len(indices), "largest gap to four-digit indices"),
    }  # fmt: skip


def against(regret: torch.Tensor, wanted: float, error: float) -> tuple[float, str]:
    """Deviation in joint standard errors, and in words."""
    mean, se = float(regret.mean()), float(regret.std()) / math.sqrt(len(regret))
    return abs(mean - wanted) / math.hypot(se, error), f"{mean:.2f} ({wanted:g})"


if __name__ == "__main__":
    row(4, measure)
