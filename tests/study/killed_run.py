"""A study in a process of its own, for tests that kill it: `python killed_run.py FOLDER WORKERS [search]`."""

import sys
from dataclasses import replace

import numpy as np

from fiduciary.agents import DQN, LSTM, Training
from fiduciary.agents.rules import BuyAndHold
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.markets import dynamics
from fiduciary.study import Search, Study


def study(*, search: bool = False) -> Study:
    """Two accounts, two seeds, a few seconds in all, a checkpoint every ten updates."""
    walk = dynamics.random_walk(bars=200, symbols=2, rng=np.random.default_rng(0))
    days = walk.dates
    dates = {"train": (30, 99), "valid": (100, 129), "test": (130, 199)}
    cut = splits.dates(**{name: (str(days[first]), str(days[last])) for name, (first, last) in dates.items()})
    agent = DQN(
        net=LSTM(16, 16),
        updates=200,
        accounts=16,
        batch=32,
        warm_up=100,
        copy_every=50,
        training=Training(keep_every=10),
    )
    who = Search(replace(agent, updates=60), {"lr": (1e-4, 1e-2, "log")}, trials=4) if search else agent
    return Study("Killed?", StockTrading(walk, window=10), BuyAndHold(), {"dqn": who}, cut, seeds=(0, 1))


if __name__ == "__main__":
    study(search="search" in sys.argv).run(sys.argv[1], workers=int(sys.argv[2]), progress=False)
