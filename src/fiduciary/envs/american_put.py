"""When to exercise a put: an optimal stopping problem, solved on a lattice and by regression on simulated paths.

The holder of a Bermudan put may exercise on dates 0 .. N of a geometric Brownian motion under the pricing measure. With money
discounted to date 0 the value of waiting and the best rule are, for date t and price S,

    V_N(S) = (K - S)+,    C_t(S) = e^(-r dt) E[V_t+1(S_t+1) | S_t = S],    V_t(S) = max(K - S, C_t(S))

exercise once K - S >= C_t(S), that is, at or below a boundary that rises to K (Longstaff and Schwartz 2001, section 2).
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, Solution, Spec, Step, Sweep
from fiduciary.envs.tabular import nothing, paid
from fiduciary.markets.brownian import Brownian

WAIT, EXERCISE = 0, 1
PER_SD = 30
"""Nodes of the oracle's lattice to a standard deviation of one step."""


class Holder(NamedTuple):
    """B holders of one put each.

    Attributes:
        t: [B] int64, date.
        price: [B, N+1] money, of the underlying on all dates; `observe` reads none after t.
        holds: [B] bool, not exercised yet.
        wealth: [B] money of date 0, opening capital included.
    """

    t: Tensor
    price: Tensor
    holds: Tensor
    wealth: Tensor


@dataclass(frozen=True)
class AmericanPut:
    """Wait or exercise; on the last date a put in the money is exercised by itself, so the last decision is on date N - 1.

    The reward is what exercising pays, discounted at the risk-free rate to date 0, so that a discount of 1 per step gives
    the price of the put. The account is (1 if held, ln(S / K) / (sigma sqrt(years)), share of time left).

    Attributes:
        spot, strike: money.
        sigma: volatility, per square root of a year.
        rate: r, continuously compounded, per year.
        years: until expiry.
        dates: N, dates on which the put may be exercised after date 0.
        paths: worlds of a sweep.
        capital: money at the start.
        world: of prices; None = drawn from the above. Set by `perturb`.

    Raises:
        ConfigError: an attribute is out of range.
    """

    spot: float = 36.0
    strike: float = 40.0
    sigma: float = 0.2
    rate: float = 0.06
    years: float = 1.0
    dates: int = 50
    paths: int = 1_000
    capital: float = 100.0
    world: Brownian | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("strike", "years", "dates", "paths", "capital"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive", repr(getattr(self, name)))
        _ = self._unmoved  # whose own options are checked when it is made

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        return Spec(
            name="american-put", actions=("wait", "exercise"), features=(), account=("held", "log-moneyness", "time left"),
            window=1, horizon=self.dates, currency="units",
            assumptions=(
                "the underlying is a geometric Brownian motion whose drift is the risk-free rate; no dividends",
                f"exercise on {self.dates} dates, at the price just seen; on the last one by itself if it pays",
                "money is discounted to the first date",
            ),
        )  # fmt: skip

    def init(self, batch: int, rng: torch.Generator) -> Holder:
        """Draw the prices of all dates."""
        price = self.stock.draw(batch, rng)
        t = torch.zeros(batch, dtype=torch.int64, device=price.device)
        return Holder(t, price, torch.ones_like(t, dtype=torch.bool), torch.full_like(price[:, 0], self.capital))

    def observe(self, state: Holder) -> Obs:
        """The account of the class; who holds nothing can only wait."""
        account = self._account(self.mark(state), state.t, state.holds)
        return Obs(nothing(state.t), account, torch.stack((torch.ones_like(state.holds), state.holds), dim=-1))

    def step(self, state: Holder, action: Tensor) -> tuple[Holder, Step]:
        """Exercise at today's price, or move to the next date; there, on the last one, exercise if it pays."""
        early = state.holds & (action == EXERCISE)
        waits = state.holds & ~early
        t = state.t + waits.long()
        expires = waits & (t == self.dates)
        reward = torch.where(early | expires, self._payoff(self.stock.at(state.price, t), t), 0.0)
        after = Holder(t, state.price, waits & ~expires, state.wealth + reward)
        return after, paid(reward, ended=~after.holds, last=~after.holds)

    def wealth(self, state: Holder) -> Tensor:
        """Capital plus what exercising paid."""
        return state.wealth

    def mark(self, state: Holder) -> Tensor:
        """Price of the underlying on date t."""
        return self.stock.at(state.price, state.t)

    def when(self, state: Holder) -> Tensor:
        """Dates passed, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Holder, rng: torch.Generator) -> "AmericanPut":
        """The same problem, in which the price leaves on another path after the present."""
        return replace(self, world=self.stock.redrawn(state.t, rng))

    def sweep(self) -> Sweep:
        """Both actions on every date of `paths` worlds, the same ones every time; account states: 0 held, 1 exercised.

        Each world ends with a row on date N, when nothing is left to decide.
        """
        price = self.stock.draw(self.paths, torch.Generator().manual_seed(0))
        t = torch.arange(self.dates + 1).expand_as(price)
        here, now = price.flatten(), t.flatten()
        then = torch.roll(here, -1)
        over, last = now == self.dates, now == self.dates - 1
        wait = torch.where(last, self._payoff(then, now + 1), 0.0)
        none = torch.zeros_like(here)
        held = torch.stack((wait, torch.where(over, 0.0, self._payoff(here, now))), dim=-1)
        yes, no = torch.ones_like(over), torch.zeros_like(over)
        goes_on = torch.stack((torch.stack((~(last | over), no), -1), torch.stack((no, no), -1)), dim=1)
        return Sweep(
            torch.zeros_like(now), torch.stack([self._account(here, now, at) for at in (~over, no)], dim=1),
            legal=torch.stack((torch.stack((yes, ~over), -1), torch.stack((yes, no), -1)), dim=1),
            reward=torch.stack((held, torch.stack((none, none), -1)), dim=1),
            following=(~goes_on).long(), discount=goes_on.double(), chained=~over, bars=torch.empty(1, 0),
        )  # fmt: skip

    # --- the answer --------------------------------------------------------------------------------------------------

    def solve(self, gamma: float) -> Solution:
        """Price and exercise boundary by backward induction on a lattice; exact to about 1e-5 of the strike.

        `gamma` discounts once more for every date that passes; 1 for the price.
        """
        lattice = self._unmoved.lattice(PER_SD)
        price = lattice.log_price.exp()
        exercise = self.strike - price
        value, boundary = exercise.clamp(min=0.0), []
        for _ in range(self.dates):
            wait = gamma * math.exp(-self.rate * self._dt) * lattice.expected(value)
            # Both fall in the price and wait falls more slowly: exercise wins up to one price and nowhere above.
            wins = (exercise >= wait) & (exercise > 0)
            boundary.append(_crossing(price, exercise - wait, int(wins.sum())))
            value = torch.maximum(wait, exercise)
        return Solution(
            float(value[len(price) // 2]), Boundary(self, torch.tensor(boundary[::-1], dtype=torch.float64))
        )

    # --- internals ---------------------------------------------------------------------------------------------------

    @property
    def _dt(self) -> float:
        return self.years / self.dates

    @cached_property
    def _unmoved(self) -> Brownian:
        return Brownian(self.spot, self.sigma, self.rate, self._dt, self.dates)

    @property
    def stock(self) -> Brownian:
        """The world of prices."""
        return self.world or self._unmoved

    def _payoff(self, price: Tensor, t: Tensor) -> Tensor:
        """(K - S)+ of date t, in money of date 0."""
        return (self.strike - price).clamp(min=0.0) * torch.exp(-self.rate * self._dt * t)

    def _account(self, price: Tensor, t: Tensor, holds: Tensor) -> Tensor:
        moneyness = (price / self.strike).log() / (self.sigma * math.sqrt(self.years))
        return torch.stack((holds.double(), moneyness, 1.0 - t / self.dates), dim=-1).float()

    def read(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """Price and date from the account."""
        moneyness, left = obs.account[:, 1].double(), obs.account[:, 2]
        t = ((1.0 - left) * self.dates).round().long().clamp(max=self.dates - 1)
        return self.strike * (moneyness * self.sigma * math.sqrt(self.years)).exp(), t


# --- policies ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Boundary:
    """Exercise at or below a price that depends on the date.

    Attributes:
        env: the problem.
        price: [N] money.
    """

    env: AmericanPut
    price: Tensor

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Exercise, where something is held."""
        spot, t = self.env.read(obs)
        return ((spot <= self.price.to(spot.device)[t]) & obs.legal[:, EXERCISE]).long(), carry


class Regression(NamedTuple):
    """What least squares on simulated paths found.

    Attributes:
        price: mean over the paths that the regression has seen: biased upwards.
        error: its standard error.
        coefficients: [N - 1, d + 1] of 1, x, .., x^d, x = S / K, on dates 1 .. N - 1; 0 where no path was in the money.
    """

    price: float
    error: float
    coefficients: Tensor


def longstaff_schwartz(price: Tensor, strike: float, *, discount: float, degree: int = 3) -> Regression:
    """Value of a put by least-squares Monte Carlo (Longstaff and Schwartz 2001, section 1).

    From the last date back, what waiting brought along each path that is in the money is regressed on powers of S / K; a path
    is exercised where the payoff is at least the fitted value of waiting. Solved by QR, since normal equations square a
    condition number that is large already. Not exercised on date 0.

    Args:
        price: [B, N+1] money, paths under the pricing measure.
        strike: K.
        discount: e^(-r dt), factor per date.
        degree: d of the polynomial.
    """
    payoff = (strike - price).clamp(min=0.0)
    dates = price.shape[1] - 1
    cash, rows = payoff[:, -1], []
    for t in range(dates - 1, 0, -1):
        cash = discount * cash
        row = price.new_zeros(degree + 1)
        paths = payoff[:, t].nonzero().squeeze(-1)
        if len(paths) > degree:
            basis = _powers(price[paths, t] / strike, degree)
            row = torch.linalg.lstsq(basis, cash[paths].unsqueeze(-1), driver="gels").solution.squeeze(-1)
            now = payoff[paths, t]
            cash = cash.index_copy(0, paths, torch.where(now >= basis @ row, now, cash[paths]))
        rows.append(row)
    value = discount * cash
    return Regression(float(value.mean()), float(value.std() / math.sqrt(len(value))), torch.stack(rows[::-1]))


@dataclass(frozen=True, eq=False)
class Regressed:
    """Exercise where the payoff is at least the regressed value of waiting.

    Attributes:
        env: the problem.
        coefficients: as in `Regression`.
    """

    env: AmericanPut
    coefficients: Tensor

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Exercise, where something is held, in the money, from date 1 on."""
        spot, t = self.env.read(obs)
        rows = self.coefficients.to(spot.device)[(t - 1).clamp(min=0)]
        wait = (rows * _powers(spot / self.env.strike, rows.shape[-1] - 1)).sum(-1)
        payoff = self.env.strike - spot
        wins = (t > 0) & (payoff > 0) & (payoff >= wait) & rows.any(-1) & obs.legal[:, EXERCISE]
        return wins.long(), carry


def _powers(x: Tensor, degree: int) -> Tensor:
    """1, x, .., x^d, [..., d + 1]."""
    return x.unsqueeze(-1) ** torch.arange(degree + 1, device=x.device)


def _crossing(price: Tensor, gain: Tensor, wins: int) -> float:
    """Where the gain of exercising becomes negative, in a line between node `wins` - 1 and the next; 0 if it never wins."""
    if not wins:
        return 0.0
    a, b = gain[wins - 1], gain[wins]
    return float(torch.lerp(price[wins - 1], price[wins], a / (a - b)))
