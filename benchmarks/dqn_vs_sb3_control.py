"""CartPole after equal environment steps: our DQN on our batched CartPole, Stable-Baselines3's DQN on Gymnasium's."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch

from fiduciary.agents import DQN
from fiduciary.agents.nets import MLP, Head
from fiduciary.agents.training import validate
from fiduciary.envs.classic import CartPole
from rows import Figure, row

STEPS, SEEDS, EPISODES, WIDTHS = 50_000, 5, 100, (64, 64)
WARM_UP, BATCH, LR = 1_000, 64, 2.3e-3
STEPS_PER_UPDATE, COPY_EVERY = 2, 128  # gradient steps: one for every second environment step
EXPLORING, EPSILON = 0.16, 0.04  # share of the steps over which exploration falls from 1 to EPSILON

UPDATES = (STEPS - WARM_UP) // STEPS_PER_UPDATE


@dataclass(frozen=True)
class _Greedy:
    """An SB3 Q-network in our policy slot: both are judged by the same episodes."""

    q_net: Any

    @torch.no_grad()
    def act(self, obs: Any, carry: Any, rng: Any) -> tuple[Any, Any]:
        return self.q_net(obs.account).argmax(-1), carry


def _ours(seed: int) -> Any:
    agent = DQN(
        net=MLP((), Head(WIDTHS)), double=True, updates=UPDATES, accounts=STEPS_PER_UPDATE, batch=BATCH, warm_up=WARM_UP,
        lr=LR, epsilon=1.0, epsilon_last=EPSILON, epsilon_decay=int(EXPLORING * UPDATES), copy_every=COPY_EVERY,
    )  # fmt: skip
    return agent.fit(CartPole(), rng=torch.Generator().manual_seed(seed))


def _theirs(seed: int) -> Any:
    """Hyperparameters that RL Baselines3 Zoo tuned for this problem and this library."""
    model = stable_baselines3.DQN(
        "MlpPolicy", gymnasium.make("CartPole-v1"), learning_rate=LR, buffer_size=100_000, learning_starts=WARM_UP,
        batch_size=BATCH, gamma=0.99, train_freq=256, gradient_steps=128, target_update_interval=10, seed=seed, device="cpu",
        exploration_fraction=EXPLORING, exploration_final_eps=EPSILON, policy_kwargs={"net_arch": list(WIDTHS)},
    )  # fmt: skip
    return _Greedy(model.learn(STEPS).q_net)


def measure() -> Figure:
    torch.set_num_threads(1)
    ours, theirs = (
        np.array([validate(CartPole(), fit(seed), accounts=EPISODES) for seed in range(SEEDS)])
        for fit in (_ours, _theirs)
    )
    gap = ours - theirs
    half = 2.776 * gap.std(ddof=1) / SEEDS**0.5  # Student's t, 4 degrees of freedom
    note = (
        f"ours minus theirs, mean of {EPISODES} greedy episodes after {STEPS} steps, {SEEDS} paired seeds: ours "
        f"{ours.round().tolist()}, theirs {theirs.round().tolist()}; both {WIDTHS}, batch {BATCH}, lr {LR}, one gradient step "
        f"for two steps, as tuned by RL Zoo for SB3; ours double"
    )
    interval = (float(gap.mean() - half), float(gap.mean() + half))
    return Figure(
        float(gap.mean()), "mean return", 0.0, "higher", SEEDS, note, interval, "SB3 DQN", float(theirs.mean())
    )


if __name__ == "__main__":
    row(3, measure)
