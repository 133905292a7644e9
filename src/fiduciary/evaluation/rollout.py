"""Let a policy live through an environment and write down what happened."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fiduciary.core.types import Env, Ledger, Obs, Policy, Step

Floats = NDArray[np.float64]


class Trajectory(NamedTuple):
    """One account over T steps; index 0 is the opening.

    Attributes:
        days: [T+1] int64, days since 1970-01-01.
        wealth: [T+1] money.
        mark: [T+1] money, price of one unit held.
        exposure: [T+1] fraction of wealth at risk (first account feature).
        action: [T] int64, or [T, A] where actions are continuous.
        traded: [T] signed money, filled during the step; with several assets, all that changed hands, unsigned.
        fees: [T] money, never positive: commissions, duties and slippage.
        reward: [T].
    """

    days: NDArray[np.int64]
    wealth: Floats
    mark: Floats
    exposure: Floats
    action: NDArray[Any]
    traded: Floats
    fees: Floats
    reward: Floats


def rollout(env: Env[Any], policy: Policy, *, rng: torch.Generator, explore: bool = False) -> Trajectory:
    """Run one episode of `policy`, greedy unless `explore`; `rng` draws the world (and the exploration)."""
    state, carry = env.init(1, rng), None
    obs = env.observe(state)
    snapshots, steps = [_snapshot(env, state, obs)], []
    last = False
    while not last:
        action, carry = policy.act(obs, carry, rng if explore else None)
        state, step = env.step(state, action)
        last, obs = bool(step.last.all()), env.observe(state)
        snapshots.append(_snapshot(env, state, obs))
        steps.append((action[0].tolist(), _traded(step), _charges(step.ledger), float(step.reward)))
    days, wealth, mark, exposure = (np.array(column) for column in zip(*snapshots, strict=True))
    actions, traded, fees, reward = (np.array(column) for column in zip(*steps, strict=True))
    return Trajectory(days, wealth, mark, exposure, actions, traded, fees, reward)


def _snapshot(env: Env[Any], state: Any, obs: Obs) -> tuple[int, float, float, float]:
    return int(env.when(state)), float(env.wealth(state)), float(env.mark(state)), float(obs.account[0, 0])


def _traded(step: Step) -> float:
    return float(step.traded if step.traded.dim() == 1 else step.traded.abs().sum())


def _charges(ledger: Ledger) -> float:
    return float(ledger.fees + ledger.impact)
