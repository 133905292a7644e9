"""Memory of 1,000,000 replayed transitions of the single-stock problem, whose observation is a window of 30 x 10."""

import re
from pathlib import Path

import numpy as np
import torch

from fiduciary.agents.replay import Replay, Transitions
from fiduciary.envs import StockTrading
from fiduciary.markets import dynamics
from rows import Figure, row

TRANSITIONS, ACCOUNTS = 1_000_000, 4_000


def _resident() -> float:
    """What this process holds in memory now, in MB."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6


def _fill(replay: Replay, env: StockTrading) -> None:
    rng = torch.Generator().manual_seed(0)
    state, taken = env.init(ACCOUNTS, rng), 0
    while taken < TRANSITIONS:
        obs, action = env.observe(state), torch.randint(0, 3, (ACCOUNTS,), generator=rng)
        state, step = env.step(state, action)
        then = env.observe(state)
        reward, discount = step.reward.float(), step.discount.float()
        replay.add(
            Transitions(obs.world.bar, obs.account, action, reward, discount, then.world.bar, then.account, then.legal),
            step.last,
        )
        taken += ACCOUNTS


def measure() -> Figure:
    torch.set_num_threads(1)
    env = StockTrading(
        dynamics.random_walk(bars=2_500, rng=np.random.default_rng(0)), window=30, starts="random", episode=250
    )
    _fill(Replay(ACCOUNTS), env)  # the world and the library are loaded
    replay, before = Replay(TRANSITIONS, accounts=ACCOUNTS), _resident()
    _fill(replay, env)
    grown, tensors = _resident() - before, sum(slot.nbytes for slot in replay.ring) / 1e6
    windows = 2 * 30 * 10 * 4 * TRANSITIONS / 1e6
    note = (
        f"growth of resident memory by {len(replay):,} transitions of one account feature and three actions; tensors alone "
        f"{tensors:.0f} MB; both windows of each, stored, would be {windows:,.0f} MB"
    )
    return Figure(round(max(grown, tensors), 1), "MB", 100, "lower", 1, note)


if __name__ == "__main__":
    row(3, measure)
