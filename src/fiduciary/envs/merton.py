"""How much of one's wealth to hold in a risky asset: Kelly (1956) and Merton (1969), with and without costs of trading.

The asset is a geometric Brownian motion, cash earns r; after a trade to the weight w, with Delta = 1 / per_year,

    R_t = exp((mu - sigma^2 / 2) Delta + sigma sqrt(Delta) xi_t)      W_t = W+_tm1 (w R_t + (1 - w) e^{r Delta})

The best weight for the utility U(W) = W^{1 - A} / (1 - A) (log W for A = 1) is, in continuous time and without costs, constant:
w* = (mu - r) / (A sigma^2). With costs in proportion to what is traded it is best to leave the weight alone within a band
around it (Magill and Constantinides 1976; Davis and Norman 1990); that problem is solved by backward induction.
"""

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fiduciary.core import seeds
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Ledger, Obs, Solution, Space, Spec, Step, Sweep
from fiduciary.envs.tabular import nothing

GRID = 401
"""Weights on which the dynamic program works."""
NODES = 21
"""Of the Gauss-Hermite quadrature over one step."""
BARS = 10_000
"""Steps of the world that `sweep` tries every action on."""


class Portfolio(NamedTuple):
    """Where B portfolios stand.

    Attributes:
        t: [B] int64, steps taken.
        weight: [B] float64, share of wealth in the asset, as the market has left it.
        wealth: [B] float64, 1 at the start.
        price: [B] float64 of the asset, 1 at the start.
        noise: [B, T] float64, standard normals that will move the asset; `observe` never reads them.
    """

    t: Tensor
    weight: Tensor
    wealth: Tensor
    price: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False)
class Rebalance:
    """Trades to a target that depends on time and on the present weight.

    Attributes:
        target: [T, G] target weight for each step and each of G evenly spaced present weights; int64 actions where discrete.
    """

    target: Tensor

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The target of the nearest weight on the grid."""
        steps, grid = self.target.shape
        k = (steps * (1.0 - obs.account[:, 1])).round().long().clamp(max=steps - 1)
        target = self.target[k, (obs.account[:, 0] * (grid - 1)).round().long()]
        return (target if target.dtype == torch.int64 else torch.stack((1.0 - target, target), dim=-1)), carry


@dataclass(frozen=True, eq=False)
class Merton:
    """Choose the weight of a risky asset step by step, for the utility of wealth at the end.

    The action is the weight: (cash, risky) on the simplex, or one of `levels` evenly spaced risky weights from 0 to 1. The
    reward is the step's gain in utility, so that an episode adds up to U(W_T) - U(1).

    Attributes:
        risk_aversion: A, relative risk aversion; 1 = log utility, the Kelly bettor.
        mu, sigma, r: a year, of the asset and of cash.
        fee: proportional cost of what is bought or sold.
        per_year: steps a year.
        steps: T.
        levels: 0 = any weight (simplex), else the number of discrete ones.
        shift: [T] added to the noise. Set by `perturb`.

    Raises:
        ConfigError: a constant has no meaning.
    """

    risk_aversion: float = 1.0
    _: KW_ONLY
    mu: float = 0.24
    sigma: float = 0.6
    r: float = 0.0
    fee: float = 0.0
    per_year: float = 4.0
    steps: int = 8
    levels: int = 0
    shift: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("risk_aversion", "sigma", "per_year", "steps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive", repr(getattr(self, name)))
        if not 0 <= self.fee < 1:
            raise ConfigError("`fee` must be a share in [0, 1)", repr(self.fee), remedy="0.001 means 0.1 %")
        if self.levels < 0 or self.levels == 1:
            raise ConfigError("`levels` must be 0 (any weight) or at least 2", str(self.levels))

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Weights as actions; weight, time left and, where it matters to utility, log wealth as the account."""
        weights = tuple(f"{100 * w:g} %" for w in np.linspace(0, 1, self.levels).round(4))
        space: Space = "discrete" if self.levels else "simplex"
        return Spec(
            name="merton", actions=weights or ("cash", "risky"), features=(), window=1, horizon=self.steps,
            account=("risky weight", "time left", *(() if self.risk_aversion == 1.0 else ("log wealth",))),
            currency="units", space=space,
            assumptions=("the asset is a geometric Brownian motion", "no borrowing, no short sale"),
        )  # fmt: skip

    def init(self, batch: int, rng: torch.Generator) -> Portfolio:
        """All in cash; all that will move the asset is drawn."""
        noise = normals((batch, self.steps), rng)
        one = torch.ones_like(noise[:, 0])
        return Portfolio(torch.zeros_like(one, dtype=torch.int64), 0.0 * one, one, one, noise)

    def observe(self, state: Portfolio) -> Obs:
        """What the market has made of the portfolio, and the time left; every weight is legal."""
        seen = (state.weight, 1.0 - state.t / self.steps, state.wealth.log())[: len(self.spec.account)]
        legal = torch.ones(len(state.t), len(self.spec.actions), dtype=torch.bool, device=state.t.device)
        return Obs(nothing(state.t), torch.stack(seen, dim=-1).float(), legal)

    def step(self, state: Portfolio, action: Tensor) -> tuple[Portfolio, Step]:
        """Trade at the present price, pay the fee out of the portfolio, let the asset move. A finished one stands still."""
        live = state.t < self.steps
        weight = torch.where(live, self._weight(action), state.weight)
        paid = state.wealth * self._kept(state.weight, weight)
        asset = torch.where(live, self._growth(shock(state.noise, state.t, self.shift)), 1.0)
        cash = torch.where(live, math.exp(self.r / self.per_year), 1.0)
        risky, safe = paid * weight * asset, paid * (1.0 - weight) * cash
        wealth, t = risky + safe, state.t + live.long()
        last, none = t >= self.steps, torch.zeros_like(wealth)
        ledger = Ledger(risky - paid * weight, paid - state.wealth, none, safe - paid * (1.0 - weight))
        reward = self.utility(wealth) - self.utility(state.wealth)
        after = Portfolio(t, risky / wealth, wealth, state.price * asset, state.noise)
        traded = paid * weight - state.wealth * state.weight
        return after, Step(reward, (~last).double(), last, ledger, traded)

    def wealth(self, state: Portfolio) -> Tensor:
        """Cash and asset."""
        return state.wealth

    def mark(self, state: Portfolio) -> Tensor:
        """Price of the asset."""
        return state.price

    def when(self, state: Portfolio) -> Tensor:
        """Steps taken, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Portfolio, rng: torch.Generator) -> "Merton":
        """The same problem in a market that moves otherwise from the present on."""
        return replace(self, shift=redrawn(state.t, self.steps, rng))

    def sweep(self) -> Sweep:
        """Every weight tried from every weight, over steps of one long world, drawn from a stream of its own.

        The second half of the world mirrors the first (antithetic normals), so that its drift is the true one.

        Raises:
            ConfigError: weights are not discrete; or trading costs or utility is not logarithmic, where what follows depends
                on a weight between the levels, or on wealth.
        """
        if not self.levels or self.fee or self.risk_aversion != 1.0:
            raise ConfigError(
                "every action can be tried only of discrete weights, free trades and log utility",
                f"`levels` {self.levels}, `fee` {self.fee}, `risk_aversion` {self.risk_aversion}",
            )  # fmt: skip
        levels = torch.linspace(0.0, 1.0, self.levels, dtype=torch.float64)
        half = normals((BARS // 2, 1), seeds.generator(0, "merton", "sweep"))
        asset = self._growth(torch.cat((half, -half)))
        reward = (levels * asset + (1.0 - levels) * math.exp(self.r / self.per_year)).log()
        shape = (BARS, self.levels, self.levels)
        left = 1.0 - torch.arange(BARS) % self.steps / self.steps
        account = torch.stack((levels.expand(shape[:2]), left.unsqueeze(-1).expand(shape[:2])), dim=-1)
        every = torch.ones(shape, dtype=torch.float64)
        chained = torch.arange(BARS) < BARS - 1
        return Sweep(
            torch.zeros(BARS, dtype=torch.int64), account.float(), every.bool(), reward.unsqueeze(1).expand(shape),
            torch.arange(self.levels).expand(shape), every, chained, torch.zeros(1, 0),
        )  # fmt: skip

    # --- the answer --------------------------------------------------------------------------------------------------

    @property
    def fraction(self) -> float:
        """Merton's weight (mu - r) / (A sigma^2): the best one in continuous time without costs (Merton 1969, section 4)."""
        return (self.mu - self.r) / (self.risk_aversion * self.sigma**2)

    def solve(self, gamma: float = 1.0) -> Solution:
        """Best expected U(W_T) - U(1) from cash, and its policy, by backward induction over a grid of weights.

        Utility scales with wealth, so the state is the weight w alone: with k(w, w+) the share of wealth that a trade leaves,
        G the growth of a step and w' the weight after it,

            J_t(w) = max_{w+} log k + E[log G + J_{t+1}(w')]    or    max_{w+} k^{1-A} E[G^{1-A} J_{t+1}(w')]

        Raises:
            ConfigError: `gamma` is not 1: what counts is wealth at the end.
        """
        if gamma != 1.0:
            raise ConfigError("utility of final wealth is not discounted", f"gamma {gamma}", remedy="gamma = 1")
        held = torch.linspace(0.0, 1.0, GRID, dtype=torch.float64)
        choice = torch.linspace(0.0, 1.0, self.levels or GRID, dtype=torch.float64)
        kept = self._kept(held.unsqueeze(-1), choice)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        asset, chance = self._growth(torch.from_numpy(nodes)), torch.from_numpy(weights / weights.sum())
        risky = choice.unsqueeze(-1) * asset
        grown = risky + (1.0 - choice.unsqueeze(-1)) * math.exp(self.r / self.per_year)
        power, value, targets = 1.0 - self.risk_aversion, self.utility(torch.ones_like(held)), []
        for _ in range(self.steps):
            ahead = _interpolate(value, risky / grown)
            scaled = kept**power * ((grown**power * ahead) @ chance)
            q = scaled if power else kept.log() + (grown.log() + ahead) @ chance
            value, best = q.max(-1)
            targets.append(best if self.levels else choice[best])
        start = value[0] - self.utility(torch.ones_like(held))[0]
        return Solution(float(start), Rebalance(torch.stack(targets[::-1])))

    def utility(self, wealth: Tensor) -> Tensor:
        """U(W) of `wealth`, of its shape."""
        power = 1.0 - self.risk_aversion
        return wealth**power / power if power else wealth.log()

    def log_equivalent(self, value: float) -> float:
        """Logarithm of the certain final wealth that is worth an expected U(W_T) - U(1) of `value`."""
        power = 1.0 - self.risk_aversion
        return math.log1p(power * value) / power if power else value

    # --- internals ---------------------------------------------------------------------------------------------------

    def _weight(self, action: Tensor) -> Tensor:
        if self.levels:
            return action.double() / (self.levels - 1)
        action = action.double()
        return action[:, 1] / action.sum(-1)

    def _kept(self, before: Tensor, after: Tensor) -> Tensor:
        """Share of wealth left after a trade between weights whose fee the portfolio pays itself."""
        signed = self.fee * (after - before).sign()
        return (1.0 + signed * before) / (1.0 + signed * after)

    def _growth(self, normal: Tensor) -> Tensor:
        """Growth of the asset over one step that a standard normal brings about."""
        step = 1.0 / self.per_year
        return ((self.mu - self.sigma**2 / 2.0) * step + self.sigma * math.sqrt(step) * normal).exp()


# --- shared pieces: worlds that standard normals drive ---------------------------------------------------------------


def normals(shape: tuple[int, int], rng: torch.Generator) -> Tensor:
    """Standard normals of `shape`, float64, on the device of `rng`."""
    return torch.randn(shape, generator=rng, dtype=torch.float64, device=rng.device)


def shock(noise: Tensor, t: Tensor, shift: Tensor | None) -> Tensor:
    """The normal that moves the world over the step after `t` [B], out of `noise` [B, T], moved by `shift` [T] if any."""
    place = t.clamp(max=noise.shape[-1] - 1)
    drawn = noise.gather(-1, place.unsqueeze(-1)).squeeze(-1)
    return drawn if shift is None else drawn + shift[place]


def redrawn(t: Tensor, steps: int, rng: torch.Generator) -> Tensor:
    """A shift [steps] that redraws everything after the present of one account, `t` [1]."""
    shift = normals((1, steps), rng)[0].to(t.device)
    shift[: int(t[0])] = 0.0
    return shift


def _interpolate(value: Tensor, at: Tensor) -> Tensor:
    """`value` on an even grid over [0, 1], read between its points at `at`, linearly; of the shape of `at`."""
    place = at * (len(value) - 1)
    low = place.floor().long().clamp(0, len(value) - 2)
    return torch.lerp(value[low], value[low + 1], place - low)
