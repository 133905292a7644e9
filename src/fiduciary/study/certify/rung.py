"""A rung of the ladder: a decision problem whose answer is known, and who claims to find it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

from torch import Tensor

from fiduciary.agents.training import totals
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Agent, Policy

HELD = ("ExoQ", "PPO", "Pathwise")
"""Who must come within the bar where it claims a rung; all others are reported as they are."""
Judge = Callable[[Any, Policy, float, int], Tensor]
"""(environment, policy, gamma, worlds) -> value of the policy in each world, [worlds], or [1] where it is exact."""


def simulated(env: Any, policy: Policy, gamma: float, worlds: int) -> Tensor:
    """Sum of discounted rewards of a greedy episode in each world, [worlds]; the same worlds for every policy."""
    return totals(env, policy, accounts=worlds, gamma=gamma)


def exact(env: Any, policy: Policy, gamma: float, worlds: int) -> Tensor:
    """Exact value of the greedy decisions in a `Tabular` problem without end, [1]."""
    value: Tensor = env.initial @ env.values(policy, gamma)
    return value.unsqueeze(0)


def identity(value: float) -> float:
    """Where the reward is money, its sum is money."""
    return value


@dataclass(frozen=True, eq=False)
class Rung:
    """A problem with a known answer.

    Regret of a policy in %: 100 (c(oracle) - c(policy)) / scale, c the certainty equivalent of the mean value over the same
    worlds; scale = |c(oracle)|, or c(oracle) - c(naive) where a naive policy is given.

    Attributes:
        name: of the rung.
        env: the problem that agents learn on, an `Oracle`; judged on worlds that no agent has seen.
        gamma: discount per step of the value.
        claims: who claims to solve it, by name: agents with their settings, or rules to show beside them.
        bar: largest share of the scale that those in `held` may lose with any seed; None = no bar.
        held: names in `claims` that the bar binds.
        naive: policy that does nothing worth mentioning, for the scale; needed where the oracle's value is near 0.
        certainty: from an expected sum of rewards to money, or another scale on which percents mean something.
        judge: how a policy is valued.
        worlds: of the judge.
        short: part of the short version, with one seed and those in `held` alone.

    Raises:
        ConfigError: nobody claims the rung.
    """

    name: str
    env: Any
    gamma: float
    claims: Mapping[str, Agent | Policy]
    _: KW_ONLY
    bar: float | None = 0.02
    held: tuple[str, ...] = HELD
    naive: Policy | None = None
    certainty: Callable[[float], float] = identity
    judge: Judge = simulated
    worlds: int = 2_000
    short: bool = True

    def __post_init__(self) -> None:
        if not self.claims:
            raise ConfigError(f"somebody must claim the rung {self.name!r}", "nobody")

    def value(self, policy: Policy) -> Tensor:
        """Value of `policy` in each world, [worlds] or [1]."""
        return self.judge(self.env, policy, self.gamma, self.worlds)

    def reference(self) -> "Reference":
        """What every regret on this rung is measured against."""
        return Reference(
            self.value(self.env.solve(self.gamma).policy), None if self.naive is None else self.value(self.naive)
        )

    def regret(self, value: Tensor, reference: "Reference") -> "Regret":
        """Regret of a policy from its `value` in each world, in money and in % of the scale."""
        best, mine = (self.certainty(float(x.mean())) for x in (reference.oracle, value))
        scale = abs(best) if reference.naive is None else best - self.certainty(float(reference.naive.mean()))
        # The difference is of means over the same worlds, so its error is that of the paired differences.
        gap = reference.oracle - value
        error = float(gap.std() / math.sqrt(len(gap))) if len(gap) > 1 else 0.0
        mean = float(value.mean())
        money = abs(self.certainty(mean + error) - self.certainty(mean - error)) / 2.0
        return Regret(mine, best, 100.0 * (best - mine) / scale, 100.0 * money / scale)


class Reference(NamedTuple):
    """Values in each world, [worlds] or [1], of the oracle and, where the scale needs one, of the naive policy."""

    oracle: Tensor
    naive: Tensor | None


class Regret(NamedTuple):
    """How far a policy falls short.

    Attributes:
        value, oracle: certainty equivalents of the policy and of the oracle, on the same worlds.
        regret: in % of the scale; negative where the luck of these worlds favours the policy.
        error: standard error of `regret`, paired over worlds; 0 where values are exact.
    """

    value: float
    oracle: float
    regret: float
    error: float
