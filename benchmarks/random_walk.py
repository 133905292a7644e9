"""Verdicts of the whole pipeline on pure random walks: how many of 20 say "no evidence"."""

import tempfile
from pathlib import Path

import numpy as np

from fiduciary.agents import DQN
from fiduciary.agents.rules import BuyAndHold
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.markets import costs, dynamics, venue
from fiduciary.study import Study
from rows import Figure, row

RUNS = 20
AGENT = DQN(updates=1_000)


def verdict(seed: int, folder: Path) -> str:
    """Two stocks, three seeds, the US sample's costs and lengths of training and test."""
    walk = dynamics.random_walk(bars=2_200, symbols=2, volatility=0.018, rng=np.random.default_rng(seed))
    dates = walk.dates
    cut = splits.dates(train=(str(dates[60]), str(dates[1399])), test=(str(dates[1400]), str(dates[-1])))
    env = StockTrading(walk, costs=costs.linear(5), venue=venue.US)
    study = Study(f"Random walk {seed}?", env, BuyAndHold(), {"lstm-dqn": AGENT}, cut)
    judged = study.run(folder, workers=2, progress=False).verdict
    print(f"  walk {seed}: {judged.word}, {judged.difference:+.3f} [{judged.low:+.3f}, {judged.high:+.3f}]", flush=True)
    return judged.word


def measure() -> Figure:
    with tempfile.TemporaryDirectory() as scratch:
        words = [verdict(seed, Path(scratch) / str(seed) / "run") for seed in range(RUNS)]
    counts = {word: words.count(word) for word in sorted(set(words))}
    note = f"verdicts {counts}; 2 stocks x 3 seeds, 5 bp, {AGENT.updates} updates, 800 test days, nominal level 5 % two-sided"
    return Figure(words.count("no evidence"), "of 20 say no evidence", 19, "higher", RUNS, note)


if __name__ == "__main__":
    row(2, measure)
