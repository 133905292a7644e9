"""Violations of two laws: a batch of B equals B batches of one, and equal seeds give equal runs."""

import torch

from fiduciary import data, splits
from fiduciary.core.checks import check_env
from fiduciary.envs import StockTrading
from rows import Figure, row, violated


def measure() -> Figure:
    torch.set_num_threads(1)
    env, trials, violations = StockTrading(data.sample("us-stocks")), 0, 0
    for fold in env.folds(splits.dates(train=("2004-09", "2009"), test=("2010", "2013"))).values():
        for half in (fold.train, fold.test):
            violations += violated(lambda half=half: check_env(half, batch=16, steps=250, blind=1))
            trials += 2 * 16 * min(250, half.spec.horizon)
    return Figure(
        violations, "violations", 0, "lower", trials, "account-steps compared bit for bit, both halves of 4 stocks"
    )


row(2, measure)
