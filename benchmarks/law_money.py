"""Worst relative gap between wealth and ledger, on random actions with all fees and limits."""

import numpy as np
import torch

from fiduciary.envs import StockTrading
from fiduciary.markets import costs, dynamics, venue
from rows import Figure, row


def measure() -> Figure:
    torch.set_num_threads(1)
    worst, steps, rng = 0.0, 0, np.random.default_rng(0)
    for seed in range(30):
        walk = dynamics.random_walk(bars=300, volatility=0.06, rng=rng)
        c = costs.Costs(*rng.uniform(0, 30, size=3), minimum_fee=rng.uniform(0, 20))
        v = venue.Venue(lot=int(rng.choice([0, 1, 100])), hold_days=int(rng.integers(0, 4)), price_limit=0.1)
        execution = ("next_open", "next_close", "close")[seed % 3]
        env = StockTrading(walk, cash=100_000, costs=c, venue=v, execution=execution, window=2, cash_rate=0.04)
        state, stream = env.init(256, torch.Generator()), torch.Generator().manual_seed(seed)
        for _ in range(env.spec.horizon):
            before = env.wealth(state)
            state, step = env.step(state, torch.randint(0, 3, (256,), generator=stream))
            gap = (env.wealth(state) - before - step.ledger.total()).abs() / before
            worst = max(worst, float(gap.nan_to_num(nan=float("inf")).max()))
            steps += 256
    return Figure(
        worst, "of wealth", 1e-9, "lower", steps, "worst gap; random costs, lots, holding days, 10 % limit, 3 fills"
    )


row(2, measure)
