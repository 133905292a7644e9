"""Account-steps per second through each adapter, beside the environment itself with its windows copied out."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from fiduciary.adapters import GymEnv, GymVectorEnv, SB3VecEnv
from fiduciary.envs import StockTrading
from fiduciary.markets import dynamics
from rows import Figure, row

PAIRS, SECONDS, EPISODE = 9, 0.3, 250
RNG = torch.Generator().manual_seed(0)


def core(env: StockTrading, batch: int) -> Callable[[np.ndarray], None]:
    """The environment itself, its windows gathered at every step; begins again when the last account has ended."""
    state = env.init(batch, RNG)

    def step(action: np.ndarray) -> None:
        nonlocal state
        state, out = env.step(state, torch.from_numpy(action))
        env.observe(state).world.window()
        if bool(out.last.all()):
            state = env.init(batch, RNG)

    return step


def single(env: StockTrading, _batch: int) -> Callable[[np.ndarray], None]:
    door = GymEnv(env)
    door.reset(seed=0)

    def step(action: np.ndarray) -> None:
        _, _, terminated, truncated, _ = door.step(action[0])
        if terminated or truncated:
            door.reset()

    return step


def vector(env: StockTrading, batch: int) -> Callable[[np.ndarray], None]:
    door = GymVectorEnv(env, batch)
    door.reset(seed=0)
    return door.step


def sb3(env: StockTrading, batch: int) -> Callable[[np.ndarray], None]:
    door = SB3VecEnv(env, batch)
    door.reset()
    return door.step


def loop(env: StockTrading, batch: int) -> Callable[[np.ndarray], None]:
    """What a user without a batch would do: Stable-Baselines3's loop over single accounts."""
    door = DummyVecEnv([lambda b=b: GymEnv(env, account=b) for b in range(batch)])
    door.reset()
    return door.step


CONTESTANTS = (
    ("core, 1", core, 1), ("GymEnv", single, 1), ("core, 64", core, 64), ("GymVectorEnv, 64", vector, 64),
    ("SB3VecEnv, 64", sb3, 64), ("DummyVecEnv of 64 GymEnv", loop, 64), ("core, 1024", core, 1024),
    ("GymVectorEnv, 1024", vector, 1024),
)  # fmt: skip


def rate(step: Callable[[np.ndarray], None], actions: np.ndarray) -> float:
    """Account-steps per second over about `SECONDS`."""
    taken, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        step(actions[taken % len(actions)])
        taken += 1
    return taken * actions.shape[1] / (time.perf_counter() - began)


def measure() -> Figure:
    torch.set_num_threads(1)
    walk = dynamics.random_walk(bars=2_500, rng=np.random.default_rng(0))
    env = StockTrading(walk, window=20, starts="random", episode=EPISODE)
    rng = np.random.default_rng(0)
    runs = {name: (make(env, batch), rng.integers(0, 3, (EPISODE, batch))) for name, make, batch in CONTESTANTS}
    rates = {name: [] for name in runs}
    for _ in range(PAIRS):
        for name, run in runs.items():
            rates[name].append(rate(*run))
    figures = {name: median(found) for name, found in rates.items()}
    for name, figure in figures.items():
        print(f"  {name:26} {figure:12,.0f} account-steps/s")
    ours, peer = "SB3VecEnv, 64", "core, 64"
    rest = "; ".join(f"{name}: {figure:,.0f}" for name, figure in figures.items() if name not in (ours, peer))
    note = f"SB3VecEnv of 64 accounts, windows of 20 x {len(env.spec.features)} copied out, one thread, random actions; {rest}"
    spread = (round(min(rates[ours])), round(max(rates[ours])))
    return Figure(
        round(figures[ours]), "account-steps/s", None, "higher", PAIRS, note, spread,
        "the environment itself, 64 accounts, windows copied out", round(figures[peer]),
    )  # fmt: skip


if __name__ == "__main__":
    row(3, measure)
