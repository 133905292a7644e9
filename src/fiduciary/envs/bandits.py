"""Bandits: what it costs to learn while deciding. Bernoulli arms, and arms whose mean is linear in what is seen of them.

The account holds the sufficient statistics of all that has been seen, so that a policy without memory can learn within an
episode. The state also holds the pseudo-regret, which no policy sees:

    R_T = sum_t (max_k mu_k,t - mu_a_t,t)

Where the arms' means are drawn from their prior, the best that a policy can do is a dynamic programme over counts (Bellman
1956, "A problem in the sequential design of experiments"); where they are fixed, to know them: no learner does.
"""

import itertools
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Policy, Solution, Spec, Step
from fiduciary.envs.tabular import nothing, paid

CAPITAL = 1.0
LARGEST = 2_000_000
"""Entries of the oracle's table of counts."""


class Pulls(NamedTuple):
    """B gamblers.

    Attributes:
        t: [B] int64, pulls so far.
        mean: [B, K] of the arms.
        uniform: [B, T] what pulls will be decided by.
        counts: [B, K, 2] successes and failures.
        regret: [B] pseudo-regret so far.
        wealth: [B] capital plus rewards.
    """

    t: Tensor
    mean: Tensor
    uniform: Tensor
    counts: Tensor
    regret: Tensor
    wealth: Tensor


@dataclass(frozen=True)
class BernoulliBandit:
    """Pull one of K arms; it pays 1 with its own probability, else 0. An episode ends after `horizon` pulls.

    The account is (share of time left, successes and failures of each arm in turn), as counts.

    Attributes:
        arms: their means; a number = so many arms with means drawn uniformly in every episode.
        horizon: T, pulls.
        shift: [T] added, modulo 1, to what chance decides by. Set by `perturb`.

    Raises:
        ConfigError: there are not at least two arms, a mean is not a probability, or there is no horizon.
    """

    arms: int | tuple[float, ...] = 2
    horizon: int = 10
    shift: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.number < 2 or self.horizon < 1:
            raise ConfigError("a bandit needs at least two arms and one pull", f"{self.number} and {self.horizon}")
        if isinstance(self.arms, tuple) and not all(0 <= mean <= 1 for mean in self.arms):
            raise ConfigError("means of `arms` must lie in [0, 1]", repr(self.arms))

    @property
    def number(self) -> int:
        """K."""
        return self.arms if isinstance(self.arms, int) else len(self.arms)

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        seen = itertools.product(range(self.number), ("successes", "failures"))
        account = ("time left", *(f"{what} of arm {k}" for k, what in seen))
        prior = "drawn uniformly in every episode" if isinstance(self.arms, int) else "the same in every episode"
        return _spec("bernoulli-bandit", self.number, account, self.horizon, f"pays 0 or 1; means are {prior}")

    def init(self, batch: int, rng: torch.Generator) -> Pulls:
        """Draw the means, where they are not fixed, and all that pulls will be decided by."""
        draw = torch.rand((batch, self.number + self.horizon), generator=rng, dtype=torch.float64, device=rng.device)
        mean, uniform = draw[:, : self.number], draw[:, self.number :]
        if isinstance(self.arms, tuple):
            mean = torch.tensor(self.arms, dtype=torch.float64, device=rng.device).expand_as(mean)
        none = torch.zeros_like(uniform[:, 0])
        counts = torch.zeros(batch, self.number, 2, dtype=torch.float64, device=rng.device)
        return Pulls(none.long(), mean, uniform, counts, none, none + CAPITAL)

    def observe(self, state: Pulls) -> Obs:
        """Time left and counts; every arm is legal."""
        left = (1.0 - state.t / self.horizon).unsqueeze(-1)
        account = torch.cat((left, state.counts.flatten(1)), dim=-1).float()
        return Obs(nothing(state.t), account, torch.ones_like(state.mean, dtype=torch.bool))

    def step(self, state: Pulls, action: Tensor) -> tuple[Pulls, Step]:
        """Pull. After the last pull nothing is paid or counted."""
        live, now = state.t < self.horizon, state.t.clamp(max=self.horizon - 1)
        draw = state.uniform.gather(-1, now.unsqueeze(-1)).squeeze(-1)
        if self.shift is not None:
            draw = (draw + self.shift[now]) % 1.0
        mean = state.mean.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        success = draw < mean
        reward = (success & live).double()
        outcome = torch.stack((success & live, ~success & live), dim=-1).double()
        pulled = torch.nn.functional.one_hot(action, self.number).unsqueeze(-1)
        regret = torch.where(live, state.mean.amax(-1) - mean, 0.0)
        t = state.t + live.long()
        after = state._replace(
            t=t, counts=state.counts + pulled * outcome.unsqueeze(1), regret=state.regret + regret,
            wealth=state.wealth + reward,
        )  # fmt: skip
        return after, paid(reward, ended=t >= self.horizon, last=t >= self.horizon)

    def wealth(self, state: Pulls) -> Tensor:
        """Capital plus rewards so far."""
        return state.wealth

    def mark(self, state: Pulls) -> Tensor:
        """One: the unit of money."""
        return torch.ones_like(state.wealth)

    def when(self, state: Pulls) -> Tensor:
        """Pulls so far, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Pulls, rng: torch.Generator) -> "BernoulliBandit":
        """The same problem, in which chance decides otherwise from the present on."""
        return replace(self, shift=_later(state.t, self.horizon, rng))

    # --- the answer --------------------------------------------------------------------------------------------------

    def solve(self, gamma: float) -> Solution:
        """With fixed means: the best arm. With drawn ones: the Bayes-optimal policy, by backward induction over counts:

            V(c) = max_k p_k (1 + gamma V(c + success_k)) + (1 - p_k) gamma V(c + failure_k),  p_k = (s_k + 1) / (n_k + 2)

        Raises:
            ConfigError: the table of counts, (horizon + 1)^(2 arms), would be too large.
        """  # fmt: skip
        if isinstance(self.arms, tuple):
            value = max(self.arms) * sum(gamma**k for k in range(self.horizon))
            return Solution(value, Always(self.arms.index(max(self.arms))))
        shape = (self.horizon + 1,) * (2 * self.number)
        if math.prod(shape) > LARGEST:
            raise ConfigError(
                f"the Bayes-optimal policy needs a table of at most {LARGEST:,} counts", f"{math.prod(shape):,}",
                remedy="a shorter horizon or two arms",
            )  # fmt: skip
        counts = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in shape], indexing="ij")
        goes_on = torch.stack(counts).sum(0) < self.horizon
        success = [(s + 1.0) / (s + f + 2.0) for s, f in zip(counts[::2], counts[1::2], strict=True)]
        table, q = torch.zeros(shape, dtype=torch.float64), torch.empty(0)
        for _ in range(self.horizon):
            after = [gamma * table.roll(-1, axis) for axis in range(2 * self.number)]
            q = torch.stack([p * (1.0 + after[2 * k]) + (1.0 - p) * after[2 * k + 1] for k, p in enumerate(success)])
            table = torch.where(goes_on, q.amax(0), 0.0)
        return Solution(float(table[(0,) * len(shape)]), Counted(q.argmax(0)))


@dataclass(frozen=True)
class Always:
    """Pull one arm for ever.

    Attributes:
        arm: its number.
    """

    arm: int

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The arm."""
        return torch.full_like(obs.world.bar, self.arm), carry


@dataclass(frozen=True, eq=False)
class Counted:
    """Look the arm up by the counts.

    Attributes:
        arm: [T+1, .., T+1] int64, by successes and failures of each arm in turn.
    """

    arm: Tensor

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The arm of these counts."""
        return self.arm.to(obs.account.device)[obs.account[:, 1:].long().unbind(-1)], carry


# --- linear -------------------------------------------------------------------------------------------------------------


class Choices(NamedTuple):
    """B choosers.

    Attributes:
        t: [B] int64, choices so far.
        theta: [B, d] float64, unknown.
        context: [B, T+1, K, d] float32, of each arm at each time.
        noise: [B, T] of the rewards.
        gram: [B, d, d] sum of x x'.
        moment: [B, d] sum of r x.
        regret: [B] pseudo-regret so far.
        wealth: [B] capital plus rewards.
    """

    t: Tensor
    theta: Tensor
    context: Tensor
    noise: Tensor
    gram: Tensor
    moment: Tensor
    regret: Tensor
    wealth: Tensor


@dataclass(frozen=True)
class LinearBandit:
    """Choose one of K arms by its context: reward x . theta + noise, theta on the unit sphere and shared by all arms.

    Contexts are drawn uniformly on the unit sphere, anew for every arm and time (Abbasi-Yadkori, Pal and Szepesvari 2011;
    Li, Chu, Langford and Schapire 2010). The account is (contexts [K d], sum of x x' [d d], sum of r x [d]).

    Attributes:
        arms: K.
        size: d.
        noise: standard deviation of a reward.
        horizon: T, choices.
        shift: [T] added to the noise, in standard deviations. Set by `perturb`; contexts to come stay.

    Raises:
        ConfigError: there are not at least two arms and two dimensions, or no horizon.
    """

    arms: int = 10
    size: int = 5
    noise: float = 0.1
    horizon: int = 2_000
    shift: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if min(self.arms, self.size) < 2 or self.horizon < 1:
            raise ConfigError("a linear bandit needs at least two arms, two dimensions and a choice", repr(self))

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        d = range(self.size)
        account = (
            *(f"context {i} of arm {k}" for k in range(self.arms) for i in d),
            *(f"sum of x{i} x{j}" for i in d for j in d), *(f"sum of r x{i}" for i in d),
        )  # fmt: skip
        return _spec("linear-bandit", self.arms, account, self.horizon, "means are linear in what is seen of the arms")

    def init(self, batch: int, rng: torch.Generator) -> Choices:
        """Draw the parameter, all contexts and all noise."""
        d, device = self.size, rng.device

        def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.randn((batch, *shape), generator=rng, dtype=dtype, device=device)

        theta, noise = normal(d), self.noise * normal(self.horizon)
        context = normal(self.horizon + 1, self.arms, d, dtype=torch.float32)
        none = torch.zeros_like(theta)
        gram = none.unsqueeze(-1).expand(-1, -1, d)
        return Choices(
            none[:, 0].long(), _unit(theta), _unit(context), noise, gram, none, none[:, 0], none[:, 0] + CAPITAL
        )

    def observe(self, state: Choices) -> Obs:
        """The arms' contexts and the statistics; every arm is legal."""
        statistics = (state.gram.flatten(1), state.moment)
        account = torch.cat((self._context(state).flatten(1), *statistics), dim=-1).float()
        legal = torch.ones(len(state.t), self.arms, dtype=torch.bool, device=state.t.device)
        return Obs(nothing(state.t), account, legal)

    def step(self, state: Choices, action: Tensor) -> tuple[Choices, Step]:
        """Choose. After the last choice nothing is paid or counted."""
        live, now = state.t < self.horizon, state.t.clamp(max=self.horizon - 1)
        every = self._context(state).double()
        means = (every @ state.theta.unsqueeze(-1)).squeeze(-1)
        mean = means.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        noise = state.noise.gather(-1, now.unsqueeze(-1)).squeeze(-1)
        if self.shift is not None:
            noise = noise + self.noise * self.shift[now]
        reward = torch.where(live, mean + noise, 0.0)
        x = every[torch.arange(len(action), device=action.device), action] * live.unsqueeze(-1)
        t = state.t + live.long()
        after = state._replace(
            t=t, gram=state.gram + x.unsqueeze(-1) * x.unsqueeze(-2), moment=state.moment + reward.unsqueeze(-1) * x,
            regret=state.regret + torch.where(live, means.amax(-1) - mean, 0.0), wealth=state.wealth + reward,
        )  # fmt: skip
        return after, paid(reward, ended=t >= self.horizon, last=t >= self.horizon)

    def wealth(self, state: Choices) -> Tensor:
        """Capital plus rewards so far."""
        return state.wealth

    def mark(self, state: Choices) -> Tensor:
        """One: the unit of money."""
        return torch.ones_like(state.wealth)

    def when(self, state: Choices) -> Tensor:
        """Choices so far, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Choices, rng: torch.Generator) -> "LinearBandit":
        """The same problem, in which chance pays otherwise from the present on."""
        return replace(self, shift=_later(state.t, self.horizon, rng))

    def _context(self, state: Choices) -> Tensor:
        """Of all arms now, [B, K, d]."""
        return state.context[torch.arange(len(state.t), device=state.t.device), state.t]


# --- regret -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def regrets(env: Env[Any], policy: Policy, *, runs: int, rng: torch.Generator) -> Tensor:
    """Pseudo-regret [runs, T] of `policy` on either bandit, after each step; `rng` draws worlds and the policy's chance."""
    state, carry, path = env.init(runs, rng), None, []
    for _ in range(env.spec.horizon):
        action, carry = policy.act(env.observe(state), carry, rng)
        state, _step = env.step(state, action)
        path.append(state.regret)
    return torch.stack(path, dim=-1)


def log_slope(regret: Tensor) -> float:
    """Least-squares slope of the mean regret [runs, T] against ln t over the last nine tenths of t.

    For Bernoulli arms no consistent policy does better in the long run than the sum over worse arms of gap / kl(mean, best)
    (Lai and Robbins 1985); `lai_robbins` gives it. A policy that keeps choosing at random has a slope that grows with T.
    """
    first = regret.shape[-1] // 10
    x = torch.arange(1 + first, regret.shape[-1] + 1, dtype=torch.float64, device=regret.device).log()
    y = regret.mean(0)[first:]
    x = x - x.mean()
    return float((x * y).sum() / (x**2).sum())


def lai_robbins(means: tuple[float, ...]) -> float:
    """Sum over worse arms of gap / kl(mean, best), the least slope of regret against ln T for `means` in (0, 1)."""
    best = max(means)
    return sum((best - p) / _kl(p, best) for p in means if p < best)


def _kl(p: float, q: float) -> float:
    return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))


def _spec(name: str, arms: int, account: tuple[str, ...], horizon: int, assumption: str) -> Spec:
    return Spec(
        name=name, actions=tuple(f"arm {k}" for k in range(arms)), features=(), account=account, window=1, horizon=horizon,
        currency="units", assumptions=(assumption, "arms do not change; nothing is seen of an arm that is not chosen"),
    )  # fmt: skip


def _later(t: Tensor, horizon: int, rng: torch.Generator) -> Tensor:
    """Uniform from date `t` [1] on, 0 before, [T]."""
    shift = torch.rand(horizon, generator=rng, dtype=torch.float64, device=rng.device)
    shift[: int(t[0])] = 0.0
    return shift.to(t.device)


def _unit(x: Tensor) -> Tensor:
    unit: Tensor = x / x.norm(dim=-1, keepdim=True)
    return unit
