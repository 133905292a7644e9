"""The same policy through the same test at other costs and with late orders: whether an edge survives them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.agents.rules import Cash
from fiduciary.core.types import Env, Obs, Policy, Prophet, Repriced
from fiduciary.evaluation.rollout import Trajectory, rollout

COSTS = (0.0, 2.0, 5.0)
"""Multiples of the study's own costs; once is the test itself."""
LAGS = (1, 2)
"""Bars by which every order comes later than it was decided."""
RUIN = 1e-6
"""Share of its capital that an account keeps whatever it lost: growth of what is gone has no logarithm."""


@dataclass(frozen=True)
class Late:
    """Gives the orders of another policy `bars` bars after it decided them; until the first comes, it does nothing.

    The policy sees the account as it is, which its late orders have made, and not what it still has under way. A late
    order that is no longer legal is dropped.

    Attributes:
        policy: who decides.
        bars: of delay.
        idle: who acts in the meantime.
    """

    policy: Policy
    bars: int
    idle: Policy

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The action decided `bars` calls ago."""
        inner, queue = carry or (None, ())
        action, inner = self.policy.act(obs, inner, rng)
        queue = (*queue, action)
        idle, _ = self.idle.act(obs, None, None)
        if len(queue) <= self.bars:
            return idle, (inner, queue)
        due, queue = queue[0], queue[1:]
        if due.dim() == 1:
            due = torch.where(obs.legal.gather(-1, due.unsqueeze(-1)).squeeze(-1), due, idle)
        return due, (inner, queue)


def name_of_costs(multiple: float) -> str:
    """2.0 -> "costs x 2"."""
    return f"costs x {multiple:g}"


def name_of_lag(bars: int) -> str:
    """1 -> "1 bar later"."""
    return f"{bars} bar{'s' if bars != 1 else ''} later"


def limited(wealth: NDArray[np.float64]) -> list[float]:
    """Wealth of an owner who cannot lose more than all but a millionth of it: what lies below is the lender's."""
    floored: list[float] = np.maximum(wealth, RUIN * wealth[0]).tolist()
    return floored


def stressed(
    env: Env[Any], policy: Policy | Prophet, rng: torch.Generator, *, lived: Trajectory
) -> dict[str, list[float]]:
    """Wealth [T+1] of `policy` in `env` under every condition, by its name; costs only where `env` can be repriced.

    Args:
        env: the test.
        policy: who lived through it; prophets are not stressed.
        rng: draws the same world each time.
        lived: the test at its own costs, of T steps; an account that ends earlier keeps its last value.
    """
    if isinstance(policy, Prophet):
        return {}
    variants: dict[str, tuple[Env[Any], Policy]] = {
        name_of_lag(bars): (env, Late(policy, bars, Cash(env.spec.space, env.spec.short))) for bars in LAGS
    }
    # Where trades cost nothing, any multiple of that is the test itself.
    free = bool(lived.traded.any()) and not lived.fees.any()
    out = {name_of_costs(multiple): limited(lived.wealth) for multiple in COSTS if free}
    if isinstance(env, Repriced) and not free:
        variants |= {name_of_costs(multiple): (env.at_costs(multiple), policy) for multiple in COSTS}
    seed = rng.get_state()
    for name, (world, who) in variants.items():
        rng.set_state(seed)
        wealth = limited(rollout(world, who, rng=rng).wealth)
        out[name] = (wealth + wealth[-1:] * len(lived.reward))[: len(lived.wealth)]
    return out
