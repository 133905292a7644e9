"""Rungs of one decision each: how much to hedge, when to exercise, whom to lend to, which arm to pull."""

import math
from dataclasses import replace
from typing import Any

import torch

from fiduciary.agents import A2C, DQN, MLP, PPO, SAC, TD3, ExoQ, Head, Pathwise, Training
from fiduciary.agents.bandits import KLUCB, UCB1, Thompson
from fiduciary.envs.american_put import AmericanPut, Regressed, longstaff_schwartz
from fiduciary.envs.bandits import BernoulliBandit
from fiduciary.envs.hedging import DeltaHedge, Hedging
from fiduciary.envs.loan_granting import LoanGranting
from fiduciary.study.certify.rung import Rung

WIDE, DEEP, BENT = MLP((), Head((32,))), MLP((), Head((32, 32))), MLP((), Head((32, 32), "tanh"))
LINEAR = Training(schedule="linear")
UNCLIPPED = Training(schedule="linear", clip=1e9)
ONLINE = PPO(
    net=BENT, updates=40, accounts=512, steps=10, batch=1024, epochs=5, gamma=1.0, lr=3e-3, scale_rewards=True,
    training=LINEAR,
)  # fmt: skip
VALUES: dict[str, Any] = {
    "net": MLP((), Head((64,))), "accounts": 64, "batch": 256, "lr": 3e-3, "copy_every": 100, "epsilon": 0.3,
    "training": LINEAR,
}  # fmt: skip


def rungs() -> list[Rung]:
    """Hedging, exercising, lending, bandits."""
    return [_hedging(), _put(), _lending(), *_bandits()]


def _hedging() -> Rung:
    """Regret in % of the least entropic risk. Whalley and Wilmott's band is the limit of small costs: a learner may beat it."""
    env = Hedging(steps=10)
    off_policy: dict[str, Any] = {"net": BENT, "gamma": 1.0, "updates": 2_000, "reward_scale": 10.0}
    return Rung(
        "hedging", env, 1.0,
        {
            "Pathwise": Pathwise(
                net=DEEP, utility="reward", updates=250, accounts=256, horizon=env.steps, sequence=False, training=UNCLIPPED
            ),
            "PPO": replace(ONLINE, accounts=1024, batch=2048, trace=0.8, lr=5e-3), "TD3": TD3(**off_policy),
            "SAC": SAC(**off_policy), "Black-Scholes delta": DeltaHedge(env), "Whalley-Wilmott": DeltaHedge(env, banded=True),
        },
        certainty=env.certainty, worlds=10_000,
    )  # fmt: skip


def _put() -> Rung:
    """Regret in % of the Bermudan price. At the money, so that exercising at once is worth nothing."""
    env = AmericanPut(spot=10.0, strike=10.0, rate=0.1, dates=10, paths=2_000)
    paths = env.stock.draw(20_000, torch.Generator().manual_seed(100))
    regressed = longstaff_schwartz(paths, env.strike, discount=math.exp(-env.rate * env.years / env.dates))
    return Rung(
        "american put", env, 1.0,
        {
            "ExoQ": ExoQ(net=DEEP, updates=300, gamma=1.0, sequence=0, training=LINEAR), "PPO": ONLINE,
            "DQN": DQN(**VALUES, gamma=1.0), "Longstaff-Schwartz": Regressed(env, regressed.coefficients),
        },
        worlds=20_000,
    )  # fmt: skip


def _lending() -> Rung:
    """Regret in % of what the exact threshold earns."""
    return Rung(
        "loan granting", LoanGranting(applicants=50_000), 1.0,
        {
            "ExoQ": ExoQ(net=WIDE, updates=200, gamma=0.0, sequence=0, lr=2e-2, training=LINEAR),
            "PPO": replace(ONLINE, net=WIDE, updates=30, accounts=256, steps=16, gamma=0.0, lr=5e-3, scale_rewards=False),
            "DQN": DQN(**VALUES, gamma=0.0), "A2C": A2C(net=WIDE, updates=400, accounts=256, gamma=0.0, lr=5e-3),
        },
        worlds=10_000,
    )  # fmt: skip


def _bandits() -> list[Rung]:
    """Against the Bayes-optimal policy over ten pulls; over two thousand, against knowing the better arm, rules alone."""
    rules: dict[str, Any] = {"Thompson": Thompson(), "UCB1": UCB1(), "KL-UCB": KLUCB()}
    learners: dict[str, Any] = {
        "PPO": replace(ONLINE, net=MLP((), Head((64,), "tanh"))),
        "DQN": DQN(**VALUES, gamma=1.0),
    }
    return [
        Rung("bandit, ten pulls", BernoulliBandit(2, 10), 1.0, learners | rules, worlds=20_000),
        Rung(
            "bandit, two thousand pulls", BernoulliBandit((0.9, 0.8), 2_000), 1.0, rules, bar=None, worlds=200, short=False
        ),
    ]  # fmt: skip
