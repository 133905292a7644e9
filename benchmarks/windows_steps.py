"""Whole steps of StockTrading with windows of 30 x 10 float32 copied out, against a plain copy of the same bytes."""

import time
from statistics import median

import numpy as np
import torch

from fiduciary.envs import StockTrading
from fiduciary.markets import dynamics
from rows import Figure, row

BATCH, STEPS, PAIRS = 65_536, 10, 15


def measure() -> Figure:
    torch.set_num_threads(1)
    env = StockTrading(
        dynamics.random_walk(bars=2_500, rng=np.random.default_rng(0)), window=30, starts="random", episode=250
    )
    rng = torch.Generator().manual_seed(0)
    start, actions = env.init(BATCH, rng), torch.randint(0, 3, (STEPS, BATCH), generator=rng)
    out, same = torch.empty(BATCH, 30, 10), torch.rand(BATCH, 30, 10)

    def steps() -> float:
        began, state = time.perf_counter(), start
        for action in actions:
            env.observe(state).world.window(out=out)
            state, _step = env.step(state, action)
        return BATCH * STEPS / (time.perf_counter() - began)

    def copy() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            out.copy_(same)
        return BATCH * STEPS / (time.perf_counter() - began)

    steps(), copy()  # warm
    pairs = [(steps(), copy()) for _ in range(PAIRS)]
    ratios = sorted(ours / plain for ours, plain in pairs)
    ours, plain = (median(rates) for rates in zip(*pairs, strict=True))
    note = (
        f"observe, windows into one preallocated tensor, and step, {BATCH:,} accounts (79 MB of windows: more than the caches "
        f"hold), one thread: {ours:,.0f} account-steps/s"
    )
    spread = (round(ratios[0], 2), round(ratios[-1], 2))
    return Figure(
        round(median(ratios), 2),
        "of a memory copy",
        0.5,
        "higher",
        PAIRS,
        note,
        spread,
        "torch.Tensor.copy_",
        round(plain),
    )


if __name__ == "__main__":
    row(3, measure)
