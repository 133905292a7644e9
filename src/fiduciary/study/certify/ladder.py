"""The rungs, and who climbs them.

Settings were chosen on seeds from 100 on, never on those that are reported (0, 1, 2, ...). An agent claims a rung where its
kind of action fits and its theory promises the optimum; those that no bar binds are reported as they are.
"""

from dataclasses import replace
from typing import Any

import torch

from fiduciary.agents import A2C, CMAES, DDPG, DQN, GORP, MLP, PPO, SAC, TD3, Cloning, ExoQ, Head, Pathwise, Training
from fiduciary.envs import tabular
from fiduciary.envs.almgren_chriss import AlmgrenChriss, Schedule
from fiduciary.envs.merton import Merton
from fiduciary.envs.ou_spread import OUSpread, SScore
from fiduciary.study.certify import decisions
from fiduciary.study.certify.rung import Rung, exact

GAMMA_TABLE, GAMMA_SPREAD = 0.9, 0.95
LINEAR = MLP((), Head(()))
SMALL = MLP((), Head((16,), "tanh"))
WIDE = MLP((), Head((64,)))
DEEP = MLP((), Head((64, 64)))
COSINE = Training(schedule="cosine")
GENTLE = Training(schedule="cosine", clip=1.0)
FALLING = Training(schedule="linear", clip=0.5)


def ladder() -> dict[str, Rung]:
    """All rungs by name, from the easiest on."""
    rungs = [*_tables(), *_portfolios(), *_spreads(), _order(), *decisions.rungs()]
    return {rung.name: rung for rung in rungs}


def _tables() -> list[Rung]:
    """Finite problems, valued exactly."""
    ppo = PPO(net=WIDE, updates=40, gamma=GAMMA_TABLE, lr=3e-3, epochs=4, training=FALLING)
    off_policy: dict[str, Any] = {"net": WIDE, "gamma": GAMMA_TABLE, "updates": 2_000}
    td: dict[str, Any] = {**off_policy, "lr": 2e-3, "epsilon": 0.3, "copy_every": 50}
    a2c = A2C(net=WIDE, updates=1_000, gamma=GAMMA_TABLE, lr=2e-3)
    known = tabular.trading().solve(GAMMA_TABLE).policy
    common: dict[str, Any] = {"bar": 0.01, "judge": exact, "worlds": 1}
    return [
        Rung("chain", tabular.chain(), GAMMA_TABLE, {"PPO": ppo, "DQN": DQN(**td), "A2C": a2c}, **common),
        Rung(
            "trading, tabular", tabular.trading(), GAMMA_TABLE,
            {
                "PPO": replace(ppo, updates=60), "DQN": DQN(**td), "QR-DQN": DQN(**td, quantiles=16), "A2C": a2c,
                "CMA-ES": CMAES(net=MLP((), Head((8,))), updates=60), "Cloning": Cloning(known, net=WIDE, updates=300),
            }, **common,
        ),
        Rung(
            "trading, tabular, mixed", tabular.trading(space="simplex"), GAMMA_TABLE,
            {"DDPG": DDPG(**off_policy), "TD3": TD3(**off_policy), "SAC": SAC(**off_policy)}, **common, short=False,
        ),
        Rung(
            "execution, tabular", tabular.execution(), 1.0,
            {"PPO": replace(ppo, updates=60, gamma=1.0, lr=5e-3, scale_rewards=True), "GORP": GORP(k=4, episodes=16)},
            # Simulated, and by one world, since nothing is left to chance: GORP's policy counts its steps.
            bar=0.01, worlds=1,
        ),
    ]  # fmt: skip


def _portfolios() -> list[Rung]:
    """Kelly and Merton, with and without costs; regret in % of the oracle's log certainty equivalent."""
    kelly, levels, merton, costs = Merton(), Merton(levels=11), Merton(2.0), Merton(fee=0.02)
    ppo = PPO(
        net=SMALL, updates=120, accounts=1_024, steps=16, batch=4_096, epochs=4, gamma=1.0, trace=0.9, lr=1e-2,
        training=FALLING,
    )  # fmt: skip
    path = Pathwise(net=WIDE, updates=400, accounts=512, horizon=kelly.steps, sequence=False, training=GENTLE)
    # Log utility is myopic (Mossin 1968): the best weight of one step is the best one of all.
    myopic = ExoQ(net=LINEAR, updates=300, gamma=0.0, sequence=0, lr=5e-2, training=GENTLE)
    td3 = TD3(net=WIDE, gamma=1.0, updates=2_000)
    dqn = DQN(net=WIDE, gamma=0.0, updates=2_000, batch=512, replay=200_000, lr=2e-3, training=COSINE)
    common: dict[str, Any] = {"worlds": 10_000}
    return [
        Rung("kelly", kelly, 1.0, {"Pathwise": path, "PPO": ppo, "TD3": td3}, **common),
        Rung("kelly, levels", levels, 1.0, {"ExoQ": myopic, "PPO": ppo, "DQN": dqn}, **common),
        Rung(
            "merton", merton, 1.0, {"Pathwise": replace(path, utility="reward"), "PPO": ppo},
            certainty=merton.log_equivalent, short=False, **common,
        ),
        Rung("kelly, costs", costs, 1.0, {"Pathwise": path, "PPO": ppo, "TD3": td3}, **common),
    ]  # fmt: skip


def _spreads() -> list[Rung]:
    """A mean-reverting spread with costs, in whole positions and in any."""
    ppo = PPO(net=WIDE, updates=80, accounts=128, batch=2_048, epochs=4, gamma=GAMMA_SPREAD, lr=3e-3, training=FALLING)
    exoq = ExoQ(net=WIDE, updates=200, gamma=GAMMA_SPREAD, sequence=0, training=GENTLE)
    dqn = DQN(
        net=WIDE, gamma=GAMMA_SPREAD, updates=4_000, batch=512, replay=200_000, copy_every=100, lr=2e-3, training=COSINE
    )
    a2c = A2C(net=WIDE, updates=1_500, gamma=GAMMA_SPREAD, lr=2e-3)
    path = Pathwise(
        net=DEEP, utility="mean-variance", risk_aversion=0.0, updates=500, accounts=256, horizon=30, sequence=False,
        training=GENTLE,
    )  # fmt: skip
    whole: dict[str, Any] = {"ExoQ": exoq, "PPO": ppo, "DQN": dqn, "A2C": a2c, "s-score rule": SScore()}
    td3 = TD3(net=WIDE, gamma=GAMMA_SPREAD, updates=3_000)
    return [
        Rung("spread", OUSpread(), GAMMA_SPREAD, whole, worlds=10_000),
        # The best positions are corners, which smooth actions only approach: the bar stands, and is hard to meet.
        Rung(
            "spread, any position", OUSpread(space="box"), GAMMA_SPREAD, {"Pathwise": path, "PPO": ppo, "TD3": td3},
            worlds=10_000, short=False,
        ),
    ]  # fmt: skip


def _order() -> Rung:
    """Almgren-Chriss execution."""
    env = AlmgrenChriss(1e-6)
    ppo = PPO(net=WIDE, updates=40, accounts=64, steps=20, batch=320, epochs=5, gamma=1.0, lr=3e-3)
    path = Pathwise(
        net=WIDE, utility="reward", updates=200, accounts=256, horizon=env.steps, sequence=False, training=GENTLE
    )  # fmt: skip
    off_policy: dict[str, Any] = {"net": WIDE, "gamma": 1.0, "updates": 2_000}
    agents: dict[str, Any] = {
        "PPO": ppo,
        "DDPG": DDPG(**off_policy),
        "TD3": TD3(**off_policy),
        "SAC": SAC(**off_policy),
    }
    slices = Schedule(1.0 / torch.arange(env.steps, 0, -1, dtype=torch.float64))
    # One world is enough: the reward is free of chance.
    return Rung("execution", env, 1.0, {"Pathwise": path, **agents, "equal slices": slices}, worlds=1)
