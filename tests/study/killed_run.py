"""A study in a process of its own, for tests that kill it: `python killed_run.py FOLDER WORKERS`."""

import sys

import numpy as np

from fiduciary.agents import DQN, LSTM, Training
from fiduciary.agents.rules import BuyAndHold
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.markets import dynamics
from fiduciary.study import Study


def study() -> Study:
    """Two accounts, two seeds, a few seconds in all, a checkpoint every ten updates."""
    walk = dynamics.random_walk(bars=200, symbols=2, rng=np.random.default_rng(0))
    days = walk.dates
    cut = splits.dates(train=(str(days[30]), str(days[129])), test=(str(days[130]), str(days[-1])))
    agent = DQN(
        net=LSTM(16, 16),
        updates=200,
        accounts=16,
        batch=32,
        warm_up=100,
        copy_every=50,
        training=Training(keep_every=10),
    )
    return Study("Killed?", StockTrading(walk, window=10), BuyAndHold(), {"dqn": agent}, cut, seeds=(0, 1))


if __name__ == "__main__":
    study().run(sys.argv[1], workers=int(sys.argv[2]), progress=False)
