"""Worst gap between the bound of hindsight and the best of all action sequences, on small random markets."""

from itertools import product
from typing import Any

import numpy as np
import torch

from fiduciary.agents import Hindsight
from fiduciary.envs import PortfolioWeights, StockTrading
from fiduciary.factors import Factor
from fiduciary.markets import costs, dynamics, venue
from rows import Figure, row

LEVEL = (Factor("close", 1, lambda bars: bars["close"], ("close",)),)
FILLS = ("next_open", "next_close", "close")


def stock(rng: np.random.Generator, k: int) -> StockTrading:
    walk = dynamics.random_walk(bars=10, volatility=0.05, rng=rng)
    c = costs.Costs(*rng.uniform(0, 60, size=3), minimum_fee=float(rng.choice([0.0, 30.0])))
    v = venue.Venue(lot=float(rng.choice([0, 1, 40])), hold_days=int(rng.integers(0, 4)), price_limit=0.08)
    rate = float(rng.choice([0.0, 0.5]))
    return StockTrading(walk, LEVEL, cash=10_000, costs=c, venue=v, window=2, execution=FILLS[k % 3], cash_rate=rate)


def portfolio(rng: np.random.Generator, k: int) -> PortfolioWeights:
    walk = dynamics.random_walk(bars=8, symbols=2, volatility=0.03, rng=rng)
    fill = FILLS[k % 3]
    rate = 0.5 if fill == "close" else 0.0
    return PortfolioWeights(
        walk, LEVEL, costs=costs.Costs(*rng.uniform(0, 100, size=3)), window=2, execution=fill, cash_rate=rate
    )


def richest(env: Any) -> float:
    """Of all sequences of actions, or of corners and the middle of the simplex."""
    n = len(env.spec.actions)
    single = torch.arange(n)
    if env.spec.space == "simplex":
        single = torch.cat((torch.eye(n, dtype=torch.float64), torch.full((1, n), 1.0 / n, dtype=torch.float64)))
    every = torch.tensor(list(product(range(len(single)), repeat=env.spec.horizon)))
    state = env.init(len(every), torch.Generator())
    for orders in single[every].unbind(1):
        state, _ = env.step(state, orders)
    return float(env.wealth(state).max())


def attained(env: Any) -> float:
    plan, state, last = Hindsight().foresee(env), env.init(1, torch.Generator()), False
    while not last:
        state, step = env.step(state, plan.act(env.observe(state), None, None)[0])
        last = bool(step.last)
    return float(env.wealth(state))


def measure() -> Figure:
    torch.set_num_threads(1)
    rng, gaps = np.random.default_rng(0), []
    for k in range(150):
        for env in (stock(rng, k), portfolio(rng, k)):
            gaps.append(abs(attained(env) / richest(env) - 1.0))
    return Figure(
        max(gaps), "of wealth", 1e-9, "lower", len(gaps),
        "worst gap to the best of all sequences; random costs, lots, holding days, limits, interest, fills; 1 stock, 2 assets",
    )  # fmt: skip


row(4, measure)
