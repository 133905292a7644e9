"""Our PPO against Stable-Baselines3's on CartPole and Pendulum: final score at equal steps, networks and hyper-parameters.

Each learner trains on its own implementation of the problem (ours, Gymnasium's); both are judged greedily on ours, on the
same first positions. The score is normalised: 0 = what random actions earn (20 in CartPole, -1200 in Pendulum), 1 = what is
commonly called solved (500 and -150). The row is the worse of both problems' mean differences, ours minus theirs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.env_util import make_vec_env

from fiduciary.agents.nets import MLP, Head
from fiduciary.agents.ppo import PPO
from fiduciary.agents.training import Training, validate
from fiduciary.envs.classic import CartPole, Pendulum
from fiduciary.evaluation.inference import over_seeds
from rows import Figure, row

SEEDS = 5
BODY = MLP((), Head((64, 64), "tanh"))
HOW = Training(clip=0.5)
# Of the tuned hyper-parameters of RL Baselines3 Zoo, without what only one side has (state-dependent noise, falling clip).
PROBLEMS = {
    "CartPole-v1": (
        CartPole(), (20.0, 500.0),
        PPO(net=BODY, accounts=8, steps=32, batch=256, epochs=20, gamma=0.98, trace=0.8, lr=1e-3, updates=390, training=HOW),
    ),
    "Pendulum-v1": (
        Pendulum(), (-1200.0, -150.0),
        PPO(
            net=BODY, accounts=4, steps=1024, batch=64, epochs=10, gamma=0.9, trace=0.95, lr=1e-3, updates=24, std=1.0,
            training=HOW,
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Greedy:
    """SB3's actor in our policy slot; its actions are in the units of Gymnasium's problem."""

    model: stable_baselines3.PPO
    scale: float

    def act(self, obs: Any, carry: Any, rng: Any) -> tuple[torch.Tensor, Any]:
        action = torch.from_numpy(self.model.predict(obs.account.numpy(), deterministic=True)[0])
        return (action / self.scale).double() if self.scale else action.long(), carry


def _theirs(name: str, same: PPO, seed: int) -> stable_baselines3.PPO:
    env = make_vec_env(name, same.accounts, seed=seed)
    model = stable_baselines3.PPO(
        "MlpPolicy", env, n_steps=same.steps, batch_size=same.batch, n_epochs=same.epochs, gamma=same.gamma,
        gae_lambda=same.trace, learning_rate=same.lr, ent_coef=same.entropy, seed=seed, device="cpu",
    )  # fmt: skip
    return model.learn(same.updates * same.accounts * same.steps)


def _scores(name: str, seed: int) -> tuple[float, float]:
    problem, (worst, best), agent = PROBLEMS[name]
    ours = agent.fit(problem, rng=torch.Generator().manual_seed(seed))
    theirs = _Greedy(_theirs(name, agent, seed), 2.0 if problem.spec.space == "box" else 0.0)
    one, other = ((validate(problem, policy, accounts=64) - worst) / (best - worst) for policy in (ours, theirs))
    return one, other


def measure() -> Figure:
    torch.set_num_threads(1)
    worst, words = None, []
    for name, (_, _, agent) in PROBLEMS.items():
        ours, theirs = np.array([_scores(name, seed) for seed in range(SEEDS)]).T
        gap = over_seeds((ours - theirs).tolist())
        steps = f"{agent.updates * agent.accounts * agent.steps:,} steps"
        words.append(
            f"{name} {ours.mean():.3f} against {theirs.mean():.3f} after {steps}, difference {gap.low:+.3f} to {gap.high:+.3f}"
        )
        if worst is None or gap.mean < worst[0].mean:
            worst = gap, float(theirs.mean())
    gap, peer = worst
    note = f"mean of {SEEDS} paired seeds, 64 greedy episodes each, 95 % intervals: {'; '.join(words)}"
    return Figure(
        gap.mean, "of the way from random to solved", 0.0, "higher", SEEDS, note, (gap.low, gap.high),
        "Stable-Baselines3 PPO", peer,
    )  # fmt: skip


if __name__ == "__main__":
    row(3, measure)
