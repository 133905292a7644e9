"""Does the stochastic effective horizon predict how many samples SQIRL, PPO and DQN need on small financial problems?

Every learner is fitted anew with budgets that grow (fourfold for SQIRL, twofold for PPO and DQN) until its policy's exact
expected return has closed 99 % of the gap between acting at random and the optimum. Problems are cut to `LONGEST` steps, so
that the row stays short; DQN and PPO are shown the time, which SQIRL knows by construction. Budgets are capped: a learner
that has not made it by then counts as needing more than anyone who did (censored), and their number is printed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from effective_horizon import problems
from fiduciary.agents import DQN, MLP, Head
from fiduciary.agents.ppo import PPO
from fiduciary.agents.sqirl import SQIRL
from fiduciary.core.types import Agent, Policy
from fiduciary.envs.tabular import Tabular
from fiduciary.evaluation.effective_horizon import effective_horizon
from rows import Figure, row

LONGEST = 8
EVERY = 2
"""Of the problems, one in so many."""
SHARE = 0.99
DEPTHS = (1, 2, 3)
EPISODES = tuple(16 * 4**e for e in range(5))
"""Of SQIRL, per step of the problem."""
BUDGETS = tuple(2_000 * 2**e for e in range(6))
"""Environment steps of PPO and DQN."""
DRAWS = 10_000
TABLE, WIDE = MLP((), Head()), MLP((), Head((32,)))


def timed(problem: Tabular) -> Tabular:
    """The same problem of finite horizon whose state (t, s) holds the time: state t S + s; the last one is over."""
    horizon, (states, actions) = problem.horizon, problem.reward.shape
    n = horizon * states + 1
    transition = torch.zeros(n, actions, n, dtype=torch.float64)
    for t in range(horizon - 1):
        here, then = t * states, (t + 1) * states
        transition[here:then, :, then : then + states] = problem.transition
    transition[n - 1 - states :, :, n - 1] = 1.0
    reward = torch.cat((problem.reward.repeat(horizon, 1), torch.zeros(1, actions, dtype=torch.float64)))
    start = torch.cat((problem.initial, torch.zeros(n - states, dtype=torch.float64)))
    return replace(problem, transition=transition, reward=reward, start=start, states=())


def worth(problem: Tabular, policy: Policy) -> float:
    """Exact expected return of the greedy decisions of `policy` over the horizon, by backward induction."""
    s = torch.arange(len(problem.reward))
    obs = problem.observe(problem.init(len(s), torch.Generator())._replace(s=s))
    value = torch.zeros_like(problem.reward[:, 0])
    for t in reversed(range(problem.horizon)):
        action = policy.act(obs, t, None)[0]
        value = problem.reward[s, action] + problem.transition[s, action] @ value
    return float(problem.initial @ value)


# --- how many samples it takes ---------------------------------------------------------------------------------------


class Steps:
    """A watch that keeps the number of environment steps and nothing else."""

    def __init__(self) -> None:
        self.steps = 0.0

    def restore(self) -> None:
        return None

    def keep(self, state: dict[str, Any]) -> None:
        pass

    def progress(self, done: int, total: int, figures: dict[str, float]) -> None:
        self.steps = figures["steps"]


def sqirl() -> Iterator[Agent]:
    """Few episodes first, and with as many the least foresight first: samples do not depend on k."""
    for episodes in EPISODES:
        for k in DEPTHS:
            yield SQIRL(net=TABLE, k=k, episodes=episodes, gradient_steps=100, lr=3e-2)


def ppo() -> Iterator[Agent]:
    for budget in BUDGETS:
        yield PPO(
            net=WIDE, updates=max(1, budget // (64 * LONGEST)), accounts=64, steps=LONGEST, batch=128, epochs=4, gamma=1.0,
            lr=1e-2, entropy=0.01, scale_rewards=True,
        )  # fmt: skip


def dqn() -> Iterator[Agent]:
    for budget in BUDGETS:
        yield DQN(
            net=WIDE, updates=(budget - 512) // 32, accounts=32, batch=128, warm_up=512, copy_every=10, gamma=1.0, lr=1e-2,
            epsilon=0.3, epsilon_last=0.3,
        )  # fmt: skip


LEARNERS: dict[str, Callable[[], Iterator[Agent]]] = {"SQIRL": sqirl, "PPO": ppo, "DQN": dqn}


def needed(agents: Iterator[Agent], env: Tabular, wanted: float) -> float:
    """Environment steps of the first of `agents` whose policy is worth `wanted`; infinite where none is."""
    for agent in agents:
        watch = Steps()
        if worth(env, agent.fit(env, rng=torch.Generator().manual_seed(0), watch=watch)) >= wanted:
            return watch.steps
    return math.inf


# --- what predicts it ------------------------------------------------------------------------------------------------


def ranks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean ranks; equals, and all that are censored, share one."""
    ordered = np.sort(x)
    return (np.searchsorted(ordered, x, "left") + np.searchsorted(ordered, x, "right")) / 2.0


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Rank correlation; NaN where either does not vary."""
    a, b = (ranks(z) - ranks(z).mean() for z in (x, y))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def interval(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap over problems."""
    rng = np.random.default_rng(0)
    draws = [spearman(x[i], y[i]) for i in rng.integers(len(x), size=(DRAWS, len(x)))]
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return float(low), float(high)


def measure() -> Figure:
    torch.set_num_threads(1)
    chosen = {
        name: replace(problem, horizon=min(LONGEST, problem.horizon))
        for name, problem in list(problems().items())[::EVERY]
    }
    found: list[tuple[float, ...]] = []
    print(
        f"{f'problem, cut to {LONGEST} steps':42} {'k':>3} {'stochastic H':>13}"
        + "".join(f"{name:>10}" for name in LEARNERS),
        flush=True,
    )
    for name, problem in chosen.items():
        it = effective_horizon(problem)
        wanted = it.random + SHARE * (it.optimal - it.random)
        steps = [
            needed(make(), problem if who == "SQIRL" else timed(problem), wanted) for who, make in LEARNERS.items()
        ]
        found.append((it.stochastic, *steps))
        print(f"{name:42} {it.k:3d} {it.stochastic:13.1f}" + "".join(f"{n:10.0f}" for n in steps), flush=True)
    horizon, *columns = np.array(found).T
    said = []
    for name, steps in zip(LEARNERS, columns, strict=True):
        low, high = interval(horizon, steps)
        rho, censored = spearman(horizon, steps), int(np.isinf(steps).sum())
        said.append(f"{name} {rho:+.2f} [{low:+.2f}, {high:+.2f}], {censored} of {len(steps)} censored")
    note = (
        "Spearman rank correlation of the stochastic effective horizon with the environment steps that SQIRL needs for "
        f"{SHARE:.0%} of the way from random to optimal, over problems cut to {LONGEST} steps, one seed; "
        + "; ".join(said)
    )
    return Figure(
        spearman(horizon, columns[0]),
        "rank correlation",
        None,
        "higher",
        len(chosen),
        note,
        interval(horizon, columns[0]),
    )


if __name__ == "__main__":
    row(3, measure)
