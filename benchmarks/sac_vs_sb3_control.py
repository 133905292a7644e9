"""Final return of our SAC minus that of Stable-Baselines3's on the pendulum, after equal environment steps."""

from typing import Any

import torch
from torch import Tensor

import sac_peer
from fiduciary.agents.training import validate
from fiduciary.core.types import Obs
from fiduciary.envs import Pendulum
from rows import Figure, row

STEPS, SEEDS, GAMMA, EPISODES = 8_000, 3, 0.99, 100


class _Theirs:
    """Their model on our pendulum: the same observation, torques halved to [-1, 1]."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        torque, _ = self.model.predict(obs.account.numpy(), deterministic=True)
        return torch.from_numpy(torque / 2.0), carry


def _pair(seed: int) -> tuple[float, float]:
    """Mean return over the same starts, ours and theirs."""
    env = Pendulum()
    mine = sac_peer.ours(STEPS, gamma=GAMMA).fit(env, rng=sac_peer.generator(seed))
    theirs = _Theirs(sac_peer.theirs("Pendulum-v1", STEPS, gamma=GAMMA, seed=seed))
    return validate(env, mine, accounts=EPISODES), validate(env, theirs, accounts=EPISODES)


def measure() -> Figure:
    torch.set_num_threads(1)
    note = f"{STEPS:,} environment steps of Pendulum-v1 and of its twin here, mean return of {EPISODES} common starts"
    return sac_peer.figure([_pair(seed) for seed in range(SEEDS)], "return", note)


if __name__ == "__main__":
    row(3, measure)
