"""Selling a large order: fast and dear, or slowly and at the mercy of the price (Almgren and Chriss 2001).

X shares are to be sold over N intervals of length tau = T / N. Selling n_k in interval k leaves x_k, and

    S_k = S_{k-1} + sigma sqrt(tau) xi_k - gamma n_k                     permanent impact            (their equation 1)
    received per share: S_{k-1} - eps - eta n_k / tau                    temporary impact            (equations 2 and 7)

so that the shortfall against X S_0 has, for a schedule fixed in advance,

    E = sum n_k (eps + eta n_k / tau) + gamma sum x_k n_k      V = sigma^2 tau sum x_k^2            (equations 8 and 5)

and E + lambda V is least on x_j = X sinh(kappa (T - t_j)) / sinh(kappa T) (equations 14 to 18). No rule that looks at the
price does better, since the price has no drift and shows nothing of what it will do.
"""

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Ledger, Obs, Solution, Spec, Step
from fiduciary.envs.merton import normals, redrawn, shock
from fiduciary.envs.tabular import nothing


class Order(NamedTuple):
    """Where B orders stand.

    Attributes:
        t: [B] int64, intervals gone by.
        left: [B] float64, shares left to sell.
        price: [B] float64 money.
        cash: [B] float64 money, received so far.
        noise: [B, N] float64, standard normals that will move the price; `observe` never reads them.
    """

    t: Tensor
    left: Tensor
    price: Tensor
    cash: Tensor
    noise: Tensor


class Shortfall(NamedTuple):
    """Expectation and variance of what a schedule falls short of X S_0, in money and money squared."""

    mean: float
    variance: float


@dataclass(frozen=True, eq=False)
class Schedule:
    """Sells a fixed share of what is left in each interval.

    Attributes:
        share: [N] in [0, 1].
    """

    share: Tensor

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The share of the present interval, read off the time left, as a number in [-1, 1]."""
        n = len(self.share)
        k = (n * (1.0 - obs.account[:, 1])).round().long().clamp(max=n - 1)
        return 2.0 * self.share[k].unsqueeze(-1) - 1.0, carry


@dataclass(frozen=True, eq=False)
class AlmgrenChriss:
    """Sell `shares` in `steps` intervals; the action in [-1, 1] says which share of what is left: (a + 1) / 2, at the end all.

    The reward is minus the expected cost and lambda times the variance that each interval adds, per share of the order, so
    that an episode adds up to -(E + lambda V) / X. Wealth is cash and the rest of the order at its price.
    Defaults are the paper's table 1, in days.

    Attributes:
        risk_aversion: lambda, per unit of money.
        shares: X.
        steps: N.
        days: T.
        volatility: sigma, money per square root of a day.
        spread: eps, half the bid-ask spread and fees, money per share.
        temporary: eta, money per share and share a day.
        permanent: gamma, money per share and share.
        price: S_0.
        shift: [N] added to the noise. Set by `perturb`.

    Raises:
        ConfigError: a constant has no meaning, or permanent impact outweighs temporary impact (eta <= gamma tau / 2).
    """

    risk_aversion: float = 1e-6
    _: KW_ONLY
    shares: float = 1e6
    steps: int = 5
    days: float = 5.0
    volatility: float = 0.95
    spread: float = 0.0625
    temporary: float = 2.5e-6
    permanent: float = 2.5e-7
    price: float = 50.0
    shift: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("shares", "steps", "days", "volatility", "temporary", "price"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive", repr(getattr(self, name)))
        for name in ("risk_aversion", "spread", "permanent"):
            if getattr(self, name) < 0:
                raise ConfigError(f"`{name}` must not be negative", repr(getattr(self, name)))
        if self._eta <= 0:
            raise ConfigError("eta must exceed gamma tau / 2", f"{self.temporary} <= {self.permanent * self.tau / 2}")

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """One share in [-1, 1], two account features, N steps."""
        return Spec(
            name="almgren-chriss", actions=("share of what is left to sell",), features=(),
            account=("share left", "time left"), window=1, horizon=self.steps, currency="USD",
            assumptions=("impact is linear and known", "what is left is sold in the last interval"), space="box",
        )  # fmt: skip

    def init(self, batch: int, rng: torch.Generator) -> Order:
        """Nothing sold; all that will move the price is drawn."""
        noise = normals((batch, self.steps), rng)
        left = torch.full_like(noise[:, 0], self.shares)
        return Order(
            torch.zeros_like(left, dtype=torch.int64), left, torch.full_like(left, self.price), 0.0 * left, noise
        )

    def observe(self, state: Order) -> Obs:
        """Shares left and time left, as shares of the whole; the price says nothing about the future and is not shown."""
        time_left = 1.0 - state.t / self.steps
        account = torch.stack((state.left / self.shares, time_left.double()), dim=-1).float()
        return Obs(nothing(state.t), account, torch.ones_like(account[:, :1], dtype=torch.bool))

    def step(self, state: Order, action: Tensor) -> tuple[Order, Step]:
        """Sell at the last price less the temporary impact, then let the price move. A finished order stands still."""
        t = state.t + (state.t < self.steps).long()
        last = t >= self.steps
        share = (action[:, 0].double().clamp(-1.0, 1.0) + 1.0) / 2.0
        n = torch.where(last, state.left, share * state.left)
        x = state.left - n
        discount = n * (self.spread + self.temporary * n / self.tau)
        move = self.volatility * math.sqrt(self.tau) * shock(state.noise, state.t, self.shift)
        pnl, impact = x * move, -discount - self.permanent * n * x
        after = Order(
            t, x, state.price + move - self.permanent * n, state.cash + n * state.price - discount, state.noise
        )
        risk = self.risk_aversion * self.volatility**2 * self.tau * x**2
        none = torch.zeros_like(pnl)
        ledger = Ledger(pnl, none, impact, none)
        return after, Step((impact - risk) / self.shares, (~last).double(), last, ledger, -n * state.price)

    def wealth(self, state: Order) -> Tensor:
        """Cash received and the rest of the order at its price."""
        return state.cash + state.left * state.price

    def mark(self, state: Order) -> Tensor:
        """Price of a share."""
        return state.price

    def when(self, state: Order) -> Tensor:
        """Intervals gone by, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Order, rng: torch.Generator) -> "AlmgrenChriss":
        """The same order in a market that moves otherwise from the present on."""
        return replace(self, shift=redrawn(state.t, self.steps, rng))

    # --- the answer --------------------------------------------------------------------------------------------------

    def solve(self, gamma: float = 1.0) -> Solution:
        """The least -(E + lambda V) / X and the schedule that attains it, in closed form.

        Raises:
            ConfigError: `gamma` is not 1, for which no closed form is known.
        """
        if gamma != 1.0:
            raise ConfigError("the closed form is of the undiscounted problem", f"gamma {gamma}", remedy="gamma = 1")
        x = self.trajectory()
        cost = self.shortfall(x)
        value = -(cost.mean + self.risk_aversion * cost.variance) / self.shares
        return Solution(value, Schedule(1.0 - x[1:] / x[:-1]))

    def trajectory(self) -> Tensor:
        """Shares left after each interval on the best schedule, x_0 = X to x_N = 0, [N + 1] float64."""
        rest = 1.0 - torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        # cosh(kappa tau) - 1 = kappa~^2 tau^2 / 2 (equation 17).
        squared = self.risk_aversion * self.volatility**2 / self._eta
        kappa = math.acosh(1.0 + squared * self.tau**2 / 2.0) / self.tau
        if kappa * self.days < 1e-6:  # without risk aversion the hyperbola is a line
            return self.shares * rest
        return self.shares * (kappa * self.days * rest).sinh() / math.sinh(kappa * self.days)

    def shortfall(self, left: Tensor) -> Shortfall:
        """Expectation and variance of the shortfall of the schedule that leaves `left` [N + 1] shares."""
        n, x = -left.diff(), left[1:]
        mean = (n * (self.spread + self.temporary * n / self.tau)).sum() + self.permanent * (x * n).sum()
        return Shortfall(float(mean), float(self.volatility**2 * self.tau * (x**2).sum()))

    @property
    def tau(self) -> float:
        """Length of an interval in days."""
        return self.days / self.steps

    @property
    def _eta(self) -> float:
        return self.temporary - self.permanent * self.tau / 2.0
