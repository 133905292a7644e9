"""Log growth out of sample of our SAC minus that of Stable-Baselines3's on a planted signal, after equal steps."""

import numpy as np
import torch

import sac_peer
from fiduciary.agents.training import validate
from fiduciary.core.types import Fold
from fiduciary.envs import PortfolioWeights
from fiduciary.evaluation import splits
from fiduciary.markets import costs, dynamics
from rows import Figure, row

STEPS, SEEDS, GAMMA, SCALE = 6_000, 3, 0.9, 100.0


def _market(seed: int) -> tuple[Fold, float]:
    """The problem and the log growth of the best policy on its test dates."""
    market = dynamics.planted(bars=1_900, rng=np.random.default_rng(seed))
    dates = market.panel.dates
    env = PortfolioWeights(market.panel, costs=costs.linear(5), window=5)
    cut = splits.dates(train=(str(dates[60]), str(dates[1399])), test=(str(dates[1400]), str(dates[-1])))
    fold = env.folds(cut)["portfolio"]
    return fold, market.best_log_growth(fold.test.world.first, fold.test.world.last, 5)


def _pair(seed: int) -> tuple[float, float]:
    """Share of the best log growth on the test dates, ours and theirs."""
    from gymnasium.wrappers import TransformReward

    from fiduciary.adapters import GymEnv, SB3Policy

    fold, best = _market(seed)
    mine = sac_peer.ours(STEPS, gamma=GAMMA, reward_scale=SCALE).fit(fold.train, rng=sac_peer.generator(seed))
    env = TransformReward(GymEnv(fold.train), lambda reward: SCALE * float(reward))
    theirs = SB3Policy(sac_peer.theirs(env, STEPS, gamma=GAMMA, seed=seed), fold.test.spec)
    return validate(fold.test, mine, accounts=1) / best, validate(fold.test, theirs, accounts=1) / best


def measure() -> Figure:
    torch.set_num_threads(1)
    note = f"{STEPS:,} environment steps, {SEEDS} markets, cash and one asset, 5 bp; rewards of both times {SCALE:g}"
    return sac_peer.figure([_pair(seed) for seed in range(SEEDS)], "of the best log growth", note)


if __name__ == "__main__":
    row(3, measure)
