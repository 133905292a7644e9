"""What both SAC rows share: ours and Stable-Baselines3's with the same networks, hyper-parameters and environment steps."""

from typing import Any

import numpy as np
import torch

from fiduciary.agents.nets import MLP, Head
from fiduciary.agents.sac import SAC
from rows import Figure

HIDDEN = (64, 64)
WARM_UP, BATCH, LR, TAU = 100, 256, 1e-3, 0.005
T_95 = {3: 4.303, 4: 3.182, 5: 2.776}


def ours(steps: int, *, gamma: float, reward_scale: float = 1.0) -> SAC:
    """One gradient step for each environment step after the warm-up, by four accounts side by side."""
    return SAC(
        net=MLP((), Head(HIDDEN)), updates=steps - WARM_UP, accounts=4, updates_per_step=4, batch=BATCH, warm_up=WARM_UP,
        gamma=gamma, tau=TAU, lr=LR, reward_scale=reward_scale,
    )  # fmt: skip


def theirs(env: Any, steps: int, *, gamma: float, seed: int) -> Any:
    """Their defaults are the rest: one step, one gradient step, automatic temperature from 1, target entropy -A."""
    import stable_baselines3 as sb3

    model = sb3.SAC(
        "MlpPolicy", env, learning_rate=LR, batch_size=BATCH, tau=TAU, gamma=gamma, learning_starts=WARM_UP, seed=seed,
        policy_kwargs={"net_arch": list(HIDDEN)}, device="cpu",
    )  # fmt: skip
    return model.learn(steps)


def figure(pairs: list[tuple[float, float]], unit: str, note: str) -> Figure:
    """Mean of our score minus theirs, seed by seed, with a t interval; met when it is not below 0."""
    mine, peer = np.array(pairs).T
    gap = mine - peer
    half = T_95[len(gap)] * gap.std(ddof=1) / len(gap) ** 0.5
    note = f"{note}; ours {mine.mean():.4g} ({', '.join(f'{x:.4g}' for x in mine)}), paired by seed, t interval"
    interval = (float(gap.mean() - half), float(gap.mean() + half))
    return Figure(
        float(gap.mean()), unit, 0.0, "higher", len(gap), note, interval, "Stable-Baselines3 SAC", peer.mean()
    )


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
