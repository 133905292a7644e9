"""Accounts that differ from the plain per-step Python twin, over 1,000 random action sequences."""

import numpy as np
import torch

from fiduciary.envs import StockTrading
from fiduciary.envs.stock_trading_twin import Twin
from fiduciary.markets import costs, dynamics, venue
from rows import Figure, row

SEQUENCES, BATCH = 1_000, 50


def _different(seed: int) -> int:
    rng = np.random.default_rng(seed)
    walk = dynamics.random_walk(bars=150, volatility=0.05, rng=rng)
    c = costs.CHINA_A if seed % 2 else costs.Costs(*rng.uniform(0, 30, size=3), minimum_fee=5)
    v = venue.CHINA_A if seed % 2 else venue.Venue(lot=int(rng.choice([0, 1, 100])), hold_days=int(rng.integers(0, 4)))
    execution = ("next_open", "next_close", "close")[seed % 3]
    env = StockTrading(walk, cash=100_000, costs=c, venue=v, execution=execution, window=2, cash_rate=0.03)
    actions = torch.randint(0, 3, (env.spec.horizon, BATCH), generator=torch.Generator().manual_seed(seed))
    state, twins = env.init(BATCH, torch.Generator()), [Twin(env) for _ in range(BATCH)]
    same = np.ones(BATCH, dtype=bool)
    for action in actions:
        state, step = env.step(state, action)
        for b, twin in enumerate(twins):
            reward = twin.step(int(action[b]))
            same[b] &= (twin.cash, twin.shares) == (float(state.cash[b]), float(state.shares[b]))
            same[b] &= abs(reward - float(step.reward[b])) < 1e-12
    return int((~same).sum())


def measure() -> Figure:
    torch.set_num_threads(1)
    different = sum(_different(seed) for seed in range(SEQUENCES // BATCH))
    return Figure(
        different, "accounts differ", 0, "lower", SEQUENCES, "cash and shares bit for bit on every day, reward to 1e-12"
    )


row(2, measure)
