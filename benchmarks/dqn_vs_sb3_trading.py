"""Out-of-sample score after equal environment steps on planted-signal markets: our DQN and Stable-Baselines3's."""

import numpy as np
import stable_baselines3
import torch

from fiduciary.adapters.gymnasium import GymEnv
from fiduciary.adapters.sb3 import SB3Policy
from fiduciary.agents import DQN, LSTM
from rows import Figure, row
from time_to_optimum import EPSILON, GAMMA, Joined, problem

STEPS, SEEDS = 3_000, 5
WARM_UP, ACCOUNTS, LR, BATCH = 500, 4, 3e-3, 64
UPDATES = (STEPS - WARM_UP) // ACCOUNTS


def ours(seed: int) -> float:
    at = problem(seed)
    agent = DQN(
        net=LSTM(64, 32), gamma=GAMMA, epsilon=EPSILON, updates=UPDATES, accounts=ACCOUNTS, warm_up=WARM_UP, lr=LR, batch=BATCH,
        copy_every=50,
    )  # fmt: skip
    return at.share(agent.fit(at.fold.train, rng=torch.Generator().manual_seed(seed)))


def theirs(seed: int) -> float:
    at = problem(seed)
    spec = at.fold.train.spec
    network = {
        "features_extractor_class": Joined, "net_arch": [],
        "features_extractor_kwargs": {"window": spec.window, "features": len(spec.features)},
    }  # fmt: skip
    model = stable_baselines3.DQN(
        "MlpPolicy", GymEnv(at.fold.train), learning_rate=LR, buffer_size=100_000, learning_starts=WARM_UP, batch_size=BATCH,
        gamma=GAMMA, train_freq=ACCOUNTS, gradient_steps=1, target_update_interval=200, exploration_fraction=1e-9,
        exploration_final_eps=EPSILON, policy_kwargs=network, seed=seed, device="cpu",
    )  # fmt: skip
    return at.share(SB3Policy(model.learn(STEPS), at.fold.test.spec))


def measure() -> Figure:
    torch.set_num_threads(1)
    mine, peer = (np.array([fit(seed) for seed in range(SEEDS)]) for fit in (ours, theirs))
    gap = mine - peer
    half = 2.776 * gap.std(ddof=1) / SEEDS**0.5  # Student's t, 4 degrees of freedom
    note = (
        f"share of the best log growth after costs, ours minus theirs, {STEPS} steps, {SEEDS} paired seeds, each a "
        f"market of its own: ours {mine.round(3).tolist()}, SB3 {peer.round(3).tolist()}; windowed LSTM 64, 32 and "
        f"equal heads, batch {BATCH}, lr {LR}, one update for {ACCOUNTS} steps, a copy for 200 steps on both"
    )
    interval = (float(gap.mean() - half), float(gap.mean() + half))
    return Figure(
        float(gap.mean()), "of the best log growth", 0.0, "higher", SEEDS, note, interval, "SB3 DQN", float(peer.mean())
    )


if __name__ == "__main__":
    row(3, measure)
