"""Seconds until 90 % of the known optimum is collected out of sample: DQN in sequence mode, ExoQ and Pathwise, all in one run
with Stable-Baselines3's DQN, once as it comes and once tuned to this problem."""

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
from fiduciary.agents import DQN, LSTM, ExoQ, Pathwise
from fiduciary.agents.dqn import _Run as DQNRun
from fiduciary.agents.exoq import _Run as ExoQRun
from fiduciary.agents.pathwise import _Run as PathwiseRun
from fiduciary.core.types import Fold, Policy
from fiduciary.envs import PortfolioWeights, StockTrading
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.factors import SIM
from fiduciary.markets import costs, dynamics, venue
from rows import Figure, row

SHARE, SEEDS, CAP = 0.9, (20, 21, 22), 120.0
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
EXOQ = ExoQ(net=LSTM(16, 8), lr=3e-2, gamma=0.5, sequence=128)
PATHWISE = Pathwise(net=LSTM(16, 8), lr=3e-2, horizon=2, accounts=128)


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


def problem(seed: int, *, weights: bool = False) -> Problem:
    """The market of a seed, traded all in or all out, or by weights for who needs a gradient; worlds are laid out."""
    market = dynamics.planted(bars=1_900, rng=np.random.default_rng(seed))
    dates, cost = market.panel.dates, costs.linear(5)
    shares = StockTrading(market.panel, SIM, costs=cost, venue=venue.Venue(lot=0))
    cut = splits.dates(train=(str(dates[60]), str(dates[1399])), test=(str(dates[1400]), str(dates[-1])))
    (fold,) = (PortfolioWeights(market.panel, SIM, costs=cost) if weights else shares).folds(cut).values()
    assert fold.train.world and fold.test.world
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


def ours(at: Problem, run: Any, clock: Clock, *, look_every: int = 1) -> float:
    """Seconds until the share is reached."""
    while True:
        for _ in range(look_every):
            run.advance()
            run.done += 1
        if clock.stop() > CAP or at.share(run.policy()) >= SHARE:
            return float(clock.seconds[0])
        clock.go()


def dqn(seed: int) -> float:
    at, rng = problem(seed), torch.Generator().manual_seed(seed)
    clock = Clock()
    return ours(at, DQNRun(AGENT, at.fold.train, rng), clock, look_every=10)


def exoq(seed: int) -> float:
    at, rng = problem(seed), torch.Generator().manual_seed(seed)
    clock = Clock()
    return ours(at, ExoQRun(EXOQ, at.fold.train.sweep(), at.fold.train.spec, rng), clock)


def pathwise(seed: int) -> float:
    at, rng = problem(seed, weights=True), torch.Generator().manual_seed(seed)
    clock = Clock()
    return ours(at, PathwiseRun(PATHWISE, at.fold.train, rng), clock)


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


def theirs(seed: int, options: dict[str, Any], *, look_every: int = 250) -> float:
    """Seconds until the share is reached, or the cap."""
    at, clock = problem(seed), Clock()
    spec = at.fold.train.spec
    network = {
        "features_extractor_class": Joined, "net_arch": [],
        "features_extractor_kwargs": {"window": spec.window, "features": len(spec.features)},
    }  # fmt: skip
    model = stable_baselines3.DQN(
        "MlpPolicy", GymEnv(at.fold.train), policy_kwargs=network, seed=seed, device="cpu", **options
    )
    clock.go()
    model.learn(100_000, callback=Look(at, clock, look_every))
    return float(clock.seconds[0])


def measure() -> dict[str, Figure]:
    torch.set_num_threads(1)
    exoq(SEEDS[0]), pathwise(SEEDS[0])  # warm
    taken = {name: np.array([run(seed) for seed in SEEDS]) for name, run in OURS.items()}
    rows = {}
    for kind, options in THEIRS.items():
        peer = np.array([theirs(seed, options) for seed in SEEDS])
        capped = (
            f"; {int((peer > CAP).sum())} of SB3's runs stopped at {CAP:g} s: a lower bound" if peer.max() > CAP else ""
        )
        for name, mine in taken.items():
            ratios = peer / mine
            note = (
                f"SB3 {kind}; median of {len(SEEDS)} paired seeds, each a market of its own, none used to tune; seconds of "
                f"learning, judging left out: ours {mine.round(2).tolist()}, SB3 {peer.round(1).tolist()}{capped}; {HOW[name]}"
            )
            interval = (float(ratios.min()), float(ratios.max()))
            rows[f"{name}_{kind.split()[0]}"] = Figure(
                round(float(np.median(ratios)), 1), "times faster", TARGETS[name], "higher", len(SEEDS), note, interval,
                "SB3 DQN", float(np.median(peer)),
            )  # fmt: skip
    return rows


OURS = {"dqn": dqn, "exoq": exoq, "pathwise": pathwise}
TARGETS = {"dqn": 10.0, "exoq": 200.0, "pathwise": 100.0}
HOW = {
    "dqn": "the same network on both sides (LSTM 64, 32 and a linear head over h, account and their product), gamma 0.99",
    "exoq": "ours LSTM 16, 8, gamma 0.5, lr 0.03; SB3 LSTM 64, 32",
    "pathwise": "ours LSTM 16, 8 on the weights of the same market, lr 0.03; SB3 LSTM 64, 32 on all in, all out",
}
THEIRS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "tuned (batch 64, lr 1e-2, an update every 4 steps, a copy every 200, constant exploration)": {
        "learning_rate": LR, "buffer_size": 100_000, "learning_starts": WARM_UP, "batch_size": 64, "gamma": GAMMA,
        "train_freq": 4, "gradient_steps": 1, "target_update_interval": 200, "exploration_fraction": 1e-9,
        "exploration_final_eps": EPSILON,
    },
}  # fmt: skip

if __name__ == "__main__":
    row(3, measure)
