"""Environment steps per second while learning, on thirty stocks with a signal each: our PPO over Stable-Baselines3's, both on
our `ShareTrading`.

FinRL's problem and, for Stable-Baselines3, FinRL's hyper-parameters (one account; through our adapter). Ours keeps many
accounts side by side and takes more steps, so that it scores at least as well where it learned; without that the row is
void. CPU seconds on one thread, since other work on the machine does not move them.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import stable_baselines3
import torch

from fiduciary.adapters.sb3 import SB3Policy, SB3VecEnv
from fiduciary.agents.nets import MLP, Head
from fiduciary.agents.ppo import PPO
from fiduciary.agents.training import Training, validate
from fiduciary.core.types import Fold
from fiduciary.data import Panel
from fiduciary.envs import ShareTrading
from fiduciary.evaluation import splits
from fiduciary.markets import dynamics
from rows import Figure, row

STOCKS, BARS, SEEDS = 30, 1_300, 3
THEIR_STEPS = 16 * 2_048
FINRL = {"n_steps": 2_048, "ent_coef": 0.01, "learning_rate": 0.00025, "batch_size": 128}
AGENT = PPO(
    net=MLP((64,), Head((64,), "tanh")), accounts=512, steps=8, batch=2_048, epochs=8, updates=12, gamma=0.9, lr=5e-3,
    std=1.0, scale_rewards=True, training=Training(clip=0.5),
)  # fmt: skip
OUR_STEPS = AGENT.updates * AGENT.accounts * AGENT.steps


class Fit(NamedTuple):
    """Steps per CPU second, CPU seconds, and profit over capital of one pass through the training dates."""

    rate: float
    seconds: float
    score: float


def _fold(seed: int) -> Fold:
    one = [dynamics.planted(bars=BARS, rng=np.random.default_rng((seed, n))).panel for n in range(STOCKS)]
    values, mask = (np.concatenate([getattr(p, part) for p in one], axis=1) for part in ("values", "mask"))
    names, dates = tuple(f"S{n:02d}" for n in range(STOCKS)), one[0].dates
    env = ShareTrading(Panel(dates, names, one[0].fields, values, mask, source="planted signals"))
    cut = splits.dates(train=(str(dates[60]), str(dates[999])), test=(str(dates[1_000]), str(dates[-1])))
    return env.folds(cut)["portfolio"]


def _timed(steps: int, fold: Fold, fit: Callable[[], Any]) -> Fit:
    started = time.process_time()
    policy = fit()
    seconds = time.process_time() - started
    return Fit(steps / seconds, seconds, validate(fold.hindsight, policy, accounts=1))


def _pair(seed: int) -> tuple[Fit, Fit]:
    fold = _fold(seed)

    def theirs() -> SB3Policy:
        model = stable_baselines3.PPO("MlpPolicy", SB3VecEnv(fold.train, 1), seed=seed, device="cpu", **FINRL)
        return SB3Policy(model.learn(THEIR_STEPS), fold.train.spec)

    ours = _timed(OUR_STEPS, fold, lambda: AGENT.fit(fold.train, rng=torch.Generator().manual_seed(seed)))
    return ours, _timed(THEIR_STEPS, fold, theirs)


def measure() -> Figure:
    torch.set_num_threads(1)
    ours, theirs = zip(*(_pair(seed) for seed in range(SEEDS)), strict=True)
    mine, other = (float(np.mean([fit.score for fit in side])) for side in (ours, theirs))
    if mine < other:
        raise SystemExit(f"ours must score at least as well: {mine:.2f} against {other:.2f} of the capital")
    ratios = [one.rate / other.rate for one, other in zip(ours, theirs, strict=True)]
    sooner = np.median([other.seconds / one.seconds for one, other in zip(ours, theirs, strict=True)])
    note = (
        f"median of {SEEDS} seeds, ours {np.median([f.rate for f in ours]):,.0f} steps per CPU second, one thread. Ours "
        f"{OUR_STEPS:,} steps with {AGENT.accounts} accounts, batch {AGENT.batch}, theirs {THEIR_STEPS:,} with FinRL's "
        f"hyper-parameters; mean profit over capital {mine:.2f} against {other:.2f}, reached in {sooner:.1f} "
        f"times fewer CPU seconds; both (64, 64)"
    )
    return Figure(
        round(float(np.median(ratios)), 1), "times the environment steps per second", 10, "higher", SEEDS, note,
        (round(min(ratios), 1), round(max(ratios), 1)), "Stable-Baselines3 PPO on our ShareTrading",
        round(float(np.median([f.rate for f in theirs])), 1),
    )  # fmt: skip


if __name__ == "__main__":
    row(3, measure)
