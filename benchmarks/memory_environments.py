"""Memory of 65,536 single-stock accounts: growth of the resident set over 100 steps, at its peak."""

import re
from pathlib import Path

import numpy as np
import torch

from fiduciary.envs import StockTrading
from fiduciary.markets import dynamics
from rows import Figure, row

BATCH, STEPS = 65_536, 100


def _status(entry: str) -> float:
    """VmRSS (resident now) or VmHWM (resident at most) of this process, in MB."""
    kilobytes = re.search(rf"{entry}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
    return int(kilobytes) * 1024 / 1e6


def _live(env: StockTrading, batch: int, steps: int) -> None:
    rng = torch.Generator().manual_seed(0)
    state = env.init(batch, rng)
    for _ in range(steps):
        env.observe(state)
        state, _step = env.step(state, torch.randint(0, 3, (batch,), generator=rng))


def measure() -> Figure:
    torch.set_num_threads(1)
    env = StockTrading(
        dynamics.random_walk(bars=2_500, rng=np.random.default_rng(0)), window=30, starts="random", episode=250
    )
    _live(env, 1, STEPS)  # the world and the library are loaded
    before = _status("VmRSS")
    _live(env, BATCH, STEPS)
    grown = _status("VmHWM") - before
    note = (
        f"peak resident memory less that before, {STEPS} steps of observe and step, windows as indices: "
        f"{grown * 1e6 / BATCH:,.0f} bytes an account"
    )
    return Figure(round(grown, 1), "MB", 1_000, "lower", 1, note)


if __name__ == "__main__":
    row(3, measure)
