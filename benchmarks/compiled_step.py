"""Account-steps after which compiling the environment's step has paid for its warm-up."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fiduciary.core.checks import random_action
from fiduciary.envs import StockTrading
from fiduciary.markets import costs, dynamics, venue
from rows import Figure, row

os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # what a first run waits for
BATCH, STEPS, REPEATS = 16_384, 60, 7


def measure() -> Figure:
    torch.set_num_threads(1)
    panel = dynamics.random_walk(bars=2_500, rng=np.random.default_rng(0))
    env = StockTrading(panel, costs=costs.CHINA_A, venue=venue.CHINA_A, starts="random", episode=250)
    rng = torch.Generator().manual_seed(0)
    start = env.init(BATCH, rng)
    actions = [random_action("discrete", env.observe(start).legal, rng) for _ in range(8)]
    compiled = torch.compile(env.step)
    began = time.perf_counter()
    compiled(start, actions[0])
    warm_up = time.perf_counter() - began

    def seconds(step: Callable[..., Any]) -> float:
        state, began = start, time.perf_counter()
        for k in range(STEPS):
            state, _ = step(state, actions[k % 8])
        return (time.perf_counter() - began) / (STEPS * BATCH)

    pairs = np.array([(seconds(env.step), seconds(compiled)) for _ in range(REPEATS)])
    eager, fast = np.median(pairs, axis=0)
    note = (
        f"StockTrading, {BATCH:,} accounts, one thread: eager {1 / eager:,.0f} account-steps/s, compiled {1 / fast:,.0f}, "
        f"warm-up {warm_up:.0f} s; therefore off by default"
    )
    paid = warm_up / (eager - fast) if eager > fast else float("inf")
    return Figure(round(paid / 1e6), "million account-steps", None, "lower", REPEATS, note)


row(3, measure)
