"""Seconds until an LSTM-DQN collects 90 % of the known optimum out of sample: ours in sequence mode, Stable-Baselines3's."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from fiduciary.adapters.gymnasium import GymEnv
from fiduciary.adapters.sb3 import SB3Policy
from fiduciary.agents import DQN, LSTM
from fiduciary.agents.dqn import _Run
from fiduciary.core.types import Fold, Policy
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from rows import Figure, row

SHARE, SEEDS, CAP = 0.9, 3, 300.0
GAMMA, EPSILON, LR, WARM_UP = 0.99, 0.15, 1e-2, 500
AGENT = DQN(
    net=LSTM(64, 32),
    gamma=GAMMA,
    epsilon=EPSILON,
    updates=5_000,
    batch=128,
    sequence=32,
    lr=LR,
    copy_every=20,
    warm_up=WARM_UP,
    accounts=32,
)


@dataclass(frozen=True)
class Problem:
    """A market whose volume tells the direction of the next bar, cut into training and test dates."""

    market: dynamics.Planted
    fold: Fold

    def share(self, policy: Policy) -> float:
        """Log growth on the test dates, as a share of the closed-form best after costs."""
        path, world = rollout(self.fold.test, policy, rng=torch.Generator()), self.fold.test.world
        best = self.market.best_log_growth(int(world.first), int(world.last), 5)
        return float(np.log(path.wealth[-1] / path.wealth[0]) / best)


def problem(seed: int) -> Problem:
    market = dynamics.planted(bars=1_900, rng=np.random.default_rng(seed))
    dates = market.panel.dates
    env = StockTrading(market.panel, costs=costs.linear(5), venue=venue.Venue(lot=0))
    cut = splits.dates(train=(str(dates[60]), str(dates[1399])), test=(str(dates[1400]), str(dates[-1])))
    fold = env.folds(cut)["PLANTED"]
    _ = fold.train.world, fold.test.world  # laid out once, off the clocks
    return Problem(market, fold)


class Clock:
    """Wall and CPU seconds of learning; it stands still while a policy is judged."""

    def __init__(self) -> None:
        self.seconds = np.zeros(2)
        self.go()

    def stop(self) -> float:
        self.seconds += np.array((time.perf_counter(), time.process_time())) - self.since
        return float(self.seconds[0])

    def go(self) -> None:
        self.since = np.array((time.perf_counter(), time.process_time()))


def ours(seed: int, *, look_every: int = 10) -> tuple[np.ndarray, int]:
    """Wall and CPU seconds, and environment steps, until the share is reached or wall time is up."""
    at, clock = problem(seed), Clock()
    run = _Run(AGENT, at.fold.train, torch.Generator().manual_seed(seed))
    while True:
        for _ in range(look_every):
            run.advance()
        if clock.stop() > CAP or at.share(run.policy()) >= SHARE:
            return clock.seconds, run.steps
        clock.go()


class Joined(BaseFeaturesExtractor):
    """Our network's two LSTM layers over the window, beside the account and the product of both, as our head reads them."""

    def __init__(self, observation_space: Any, window: int, features: int) -> None:
        self.window, self.width = window, features
        account = observation_space.shape[0] - window * features
        super().__init__(observation_space, 32 + account + 32 * account)
        self.first = torch.nn.LSTM(features, 64, batch_first=True)
        self.second = torch.nn.LSTM(64, 32, batch_first=True)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        cut = self.window * self.width
        window, account = observations[:, :cut], observations[:, cut:]
        h = self.second(self.first(window.unflatten(-1, (self.window, self.width)))[0])[0][:, -1]
        return torch.cat((h, account, (h.unsqueeze(-1) * account.unsqueeze(-2)).flatten(1)), dim=-1)


class Look(BaseCallback):
    """Judges between steps, off the clock; ends learning at the share or at the cap."""

    def __init__(self, at: Problem, clock: Clock, look_every: int) -> None:
        super().__init__()
        self.at, self.clock, self.look_every = at, clock, look_every

    def _on_step(self) -> bool:
        if self.num_timesteps % self.look_every:
            return True
        self.clock.stop()
        policy = SB3Policy(self.model, self.at.fold.test.spec)
        more = self.clock.seconds[0] <= CAP and self.at.share(policy) < SHARE
        self.clock.go()
        return more


def theirs(seed: int, *, look_every: int = 250) -> tuple[np.ndarray, int]:
    """The same of Stable-Baselines3."""
    at, clock = problem(seed), Clock()
    spec = at.fold.train.spec
    network = {
        "features_extractor_class": Joined, "net_arch": [],
        "features_extractor_kwargs": {"window": spec.window, "features": len(spec.features)},
    }  # fmt: skip
    model = stable_baselines3.DQN(
        "MlpPolicy", GymEnv(at.fold.train), learning_rate=LR, buffer_size=100_000, learning_starts=WARM_UP, batch_size=64,
        gamma=GAMMA, train_freq=4, gradient_steps=1, target_update_interval=200, exploration_fraction=1e-9,
        exploration_final_eps=EPSILON, policy_kwargs=network, seed=seed, device="cpu",
    )  # fmt: skip
    clock.go()
    model.learn(10_000_000, callback=Look(at, clock, look_every))
    return clock.seconds, model.num_timesteps


def measure() -> Figure:
    torch.set_num_threads(1)
    # The first pair pays for what a process loads once, and is thrown away.
    pairs = [(ours(seed), theirs(seed)) for seed in (0, *range(SEEDS))][1:]
    seconds = np.array([[mine[0], peer[0]] for mine, peer in pairs])  # [seeds, ours or theirs, wall or CPU]
    ratio = seconds[:, 1] / seconds[:, 0]
    note = (
        f"median of {SEEDS} paired seeds, each a market of its own; wall seconds of learning, judging left out: ours "
        f"{seconds[:, 0, 0].round(2).tolist()}, SB3 {seconds[:, 1, 0].round(2).tolist()}; in CPU seconds "
        f"{np.median(ratio[:, 1]):.1f} times; environment steps {[mine[1] for mine, _ in pairs]}, "
        f"{[peer[1] for _, peer in pairs]}; "
        f"LSTM 64, 32 and a linear head over (h, account, h x account), gamma {GAMMA}, epsilon {EPSILON}, lr {LR}, warm-up "
        f"{WARM_UP} on both; ours: batch {AGENT.batch} in stretches of {AGENT.sequence}; SB3, tuned for this problem: "
        f"batch 64, an update for 4 steps, a copy for 200"
    )
    if capped := int((seconds[:, 1, 0] > CAP).sum()):
        note += f"; {capped} of SB3's runs stopped at {CAP:g} s: a lower bound"
    interval = (float(ratio[:, 0].min()), float(ratio[:, 0].max()))
    value, peer_value = float(np.median(ratio[:, 0])), float(np.median(seconds[:, 1, 0]))
    return Figure(value, "times faster", 10.0, "higher", SEEDS, note, interval, "SB3 DQN, s", peer_value)


if __name__ == "__main__":
    row(2, measure)
