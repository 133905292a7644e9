"""Environment steps per second while learning: our PPO on our `ShareTrading` over Stable-Baselines3's on FinRL's environment.

Thirty stocks, 2,500 days, eight indicators, FinRL's rule of filling orders; networks of (64, 64) and, for
Stable-Baselines3, FinRL's hyper-parameters. FinRL runs unchanged in an environment of its own, made by `share_env_finrl`.
Prices are noise: the row is about speed alone, `ppo_speed_ours` compares scores. CPU seconds on one thread.
"""

import contextlib
import io
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

import share_env_finrl as shares

REPEATS, THEIR_STEPS, UPDATES = 5, 2 * 2_048, 12
FINRL = {"n_steps": 2_048, "ent_coef": 0.01, "learning_rate": 0.00025, "batch_size": 128}


def peer(seed: int) -> None:
    """Learn in FinRL's process, and print steps per CPU second; rollouts and the passes through them, no set-up."""
    import stable_baselines3
    import torch

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        env, _arrays = shares._finrl(shares.market())
        model = stable_baselines3.PPO("MlpPolicy", env, seed=seed, device="cpu", **FINRL)
        started = time.process_time()
        model.learn(THEIR_STEPS)
    print(json.dumps(THEIR_STEPS / (time.process_time() - started)))


def ours(seed: int) -> float:
    """Steps per CPU second."""
    import torch

    from fiduciary.agents.nets import MLP, Head
    from fiduciary.agents.ppo import PPO
    from fiduciary.agents.training import Training

    agent = PPO(
        net=MLP((64,), Head((64,), "tanh")), accounts=1_024, steps=8, batch=4_096, epochs=4, updates=UPDATES, lr=3e-3,
        std=1.0, scale_rewards=True, training=Training(clip=0.5),
    )  # fmt: skip
    env = shares.ours("size", "close", "random")
    started = time.process_time()
    agent.fit(env, rng=torch.Generator().manual_seed(seed))
    return UPDATES * agent.accounts * agent.steps / (time.process_time() - started)


def measure() -> Any:
    import torch

    from rows import Figure

    torch.set_num_threads(1)
    with shares.finrl() as ask:  # makes the environment where there is none
        ask("account")
    pairs = [(ours(seed), _theirs(seed)) for seed in range(REPEATS)]
    ratios = [one / other for one, other in pairs]
    note = (
        f"median of {REPEATS} pairs, ours {np.median([one for one, _ in pairs]):,.0f} steps per CPU second, one thread; ours "
        f"with 1,024 accounts, batch 4,096, 4 passes, theirs with FinRL's hyper-parameters (1 account, batch 128, 10 "
        f"passes); both (64, 64)"
    )
    return Figure(
        round(float(np.median(ratios)), 1), "times the environment steps per second", 100, "higher", REPEATS, note,
        (round(min(ratios), 1), round(max(ratios), 1)), "Stable-Baselines3 PPO on FinRL 0.3.7 StockTradingEnv",
        round(float(np.median([other for _, other in pairs])), 1),
    )  # fmt: skip


def _theirs(seed: int) -> float:
    command = [shares.PLACE / "bin" / "python", __file__, "peer", str(seed)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


if __name__ == "__main__":
    if sys.argv[1:2] == ["peer"]:
        peer(int(sys.argv[2]))
    else:
        from rows import row

        row(3, measure)
