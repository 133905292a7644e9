"""Our PPO against Stable-Baselines3's on planted-signal markets through our adapter: growth out of sample, at equal steps."""

import numpy as np
import stable_baselines3
import torch

from fiduciary.adapters.sb3 import SB3Policy, SB3VecEnv
from fiduciary.agents.nets import MLP, Head
from fiduciary.agents.ppo import PPO
from fiduciary.agents.training import Training
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.evaluation.inference import over_seeds
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from rows import Figure, row

SEEDS, STEPS = 5, 10 * 2_048
# One set of hyper-parameters for both sides; networks of (64, 64), tanh: ours reads the window, then joins the account.
AGENT = PPO(
    net=MLP((64,), Head((64,), "tanh")), accounts=16, steps=128, batch=128, epochs=10, updates=STEPS // 2_048,
    entropy=0.01, training=Training(clip=0.5),
)  # fmt: skip


def _theirs(env: StockTrading, seed: int) -> SB3Policy:
    model = stable_baselines3.PPO(
        "MlpPolicy", SB3VecEnv(env, AGENT.accounts), n_steps=AGENT.steps, batch_size=AGENT.batch, n_epochs=AGENT.epochs,
        gamma=AGENT.gamma, gae_lambda=AGENT.trace, learning_rate=AGENT.lr, ent_coef=AGENT.entropy, seed=seed, device="cpu",
    )  # fmt: skip
    return SB3Policy(model.learn(STEPS), env.spec)


def _shares(seed: int) -> tuple[float, float]:
    market = dynamics.planted(bars=1_900, rng=np.random.default_rng(seed))
    dates = market.panel.dates
    env = StockTrading(market.panel, costs=costs.linear(5), venue=venue.Venue(lot=0))
    cut = splits.dates(train=(str(dates[60]), str(dates[1399])), test=(str(dates[1400]), str(dates[-1])))
    fold = env.folds(cut)["PLANTED"]
    best = market.best_log_growth(int(fold.test.world.first), int(fold.test.world.last), 5)
    policies = AGENT.fit(fold.train, rng=torch.Generator().manual_seed(seed)), _theirs(fold.train, seed)
    paths = [rollout(fold.test, policy, rng=torch.Generator()) for policy in policies]
    one, other = (float(np.log(path.wealth[-1] / path.wealth[0])) / best for path in paths)
    return one, other


def measure() -> Figure:
    torch.set_num_threads(1)
    ours, theirs = np.array([_shares(seed) for seed in range(SEEDS)]).T
    gap = over_seeds((ours - theirs).tolist())
    note = (
        f"share of the best log growth out of sample after {STEPS:,} steps, ours {ours.mean():.3f} minus theirs "
        f"{theirs.mean():.3f}; {SEEDS} markets and seeds in pairs, 95 % interval; equal hyper-parameters; best = closed form"
    )
    return Figure(
        gap.mean, "of the best log growth", 0.0, "higher", SEEDS, note, (gap.low, gap.high),
        "Stable-Baselines3 PPO", float(theirs.mean()),
    )  # fmt: skip


if __name__ == "__main__":
    row(3, measure)
