"""Violations of future-blindness: redraw everything after a random day and compare what policies and factors see."""

from dataclasses import replace

import numpy as np
import torch

from fiduciary import data, splits
from fiduciary.core.checks import check_env
from fiduciary.envs import StockTrading
from fiduciary.factors import SIM, SIM_RELATIVE, compute
from rows import Figure, row, violated

TRIALS = 200


def _factors_moved(panel, factors, rng) -> bool:
    cut = int(rng.integers(30, len(panel.dates) - 1))
    values = panel.values.copy()
    values[cut + 1 :] *= rng.lognormal(0, 0.1, size=values[cut + 1 :].shape)
    before, after = compute(panel, factors), compute(replace(panel, values=values), factors)
    return not np.array_equal(before.values[: cut + 1], after.values[: cut + 1], equal_nan=True)


def measure() -> Figure:
    torch.set_num_threads(1)
    panel, rng = data.sample("us-stocks"), np.random.default_rng(0)
    violations = sum(_factors_moved(panel, factors, rng) for factors in (SIM, SIM_RELATIVE) for _ in range(TRIALS))
    trials = 2 * TRIALS
    for execution in ("next_open", "next_close", "close"):
        env = StockTrading(panel, execution=execution)
        for fold in env.folds(splits.dates(train=("2004-09", "2009"), test=("2010", "2013"))).values():
            for half in (fold.train, fold.test):
                violations += violated(lambda half=half: check_env(half, batch=1, steps=100, blind=25))
                trials += 25
    note = f"observations that moved: {2 * TRIALS} redraws for the 20 factors, the rest for both halves of 4 stocks x 3 fills"
    return Figure(violations, "violations", 0, "lower", trials, note)


row(2, measure)
