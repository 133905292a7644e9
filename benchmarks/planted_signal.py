"""Share of the best achievable log growth that LSTM-DQN collects out of sample on planted-signal panels."""

import numpy as np
import torch

from fiduciary.agents import DQN
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from rows import Figure, row

MARKETS = SEEDS = 3


def _share(market_seed: int, seed: int) -> float:
    market = dynamics.planted(bars=1_900, rng=np.random.default_rng(market_seed))
    dates = market.panel.dates
    env = StockTrading(market.panel, costs=costs.linear(5), venue=venue.Venue(lot=0))
    cut = splits.dates(train=(str(dates[60]), str(dates[1399])), test=(str(dates[1400]), str(dates[-1])))
    fold = env.folds(cut)["PLANTED"]
    policy = DQN().fit(fold.train, rng=torch.Generator().manual_seed(seed))
    path, world = rollout(fold.test, policy, rng=torch.Generator()), fold.test.world
    best = market.best_log_growth(int(world.first), int(world.last), 5)
    return float(np.log(path.wealth[-1] / path.wealth[0]) / best)


def measure() -> Figure:
    torch.set_num_threads(1)
    shares = [_share(market, seed) for market in range(MARKETS) for seed in range(SEEDS)]
    note = (
        f"worst of {MARKETS} markets x {SEEDS} seeds, mean {np.mean(shares):.3f}; default agent, ten paper factors, 5 bp; "
        "best = closed form after costs"
    )
    return Figure(min(shares), "of the best log growth", 0.9, "higher", len(shares), note, (min(shares), max(shares)))


row(2, measure)
