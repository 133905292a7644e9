"""Hedging a short call in the Black-Scholes world, with proportional costs: the problem of deep hedging, solved exactly.

A bank has sold a call (K - S)- and received no premium. On dates 0 .. T-1 it chooses how much of the underlying to hold; an
order of |h_t - h_tm1| units costs c S_t |h_t - h_tm1|, and nothing is sold off at expiry. Profit and loss, without interest:

    P = sum_t h_t (S_t+1 - S_t) - c sum_t S_t |h_t - h_tm1| - (S_T - K)+

The reward adds up to the exponential utility u(P) = (1 - exp(-a P)) / a, so that the best mean reward is the least entropic
risk (1 / a) ln E exp(-a P) (Buehler, Gonon, Teichmann and Wood 2019, "Deep hedging", section 3). Under this utility the past
profit does not matter for what comes, and the best holding solves, for date t, price S and holding h, in money

    v_T(S, h) = (S - K)+,    v_t(S, h) = min_h' g_t(S, h') + c S |h' - h|
    g_t(S, h') = (1 / a) ln E[exp(a v_t+1(S', h') - a h' (S' - S))]

(Hodges and Neuberger 1989; Davis, Panas and Zariphopoulou 1993): go to the nearest edge of a band, stay within it. The band of
Whalley and Wilmott (1997) is the limit of small costs, so a learner may do better than it, but not better than the oracle.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Ledger, Obs, Solution, Spec, Step
from fiduciary.envs.tabular import nothing
from fiduciary.markets.brownian import Brownian, Lattice, call

PER_SD, HOLDINGS = 6, 101
"""Nodes of the oracle's grids: prices to a standard deviation of one step, holdings from 0 to 1."""


class Book(NamedTuple):
    """B books, each short one call.

    Attributes:
        t: [B] int64, date.
        price: [B, T+1] money, of the underlying on all dates; `observe` reads none after t.
        held: [B] units of the underlying.
        cash: [B] money, opening capital included.
    """

    t: Tensor
    price: Tensor
    held: Tensor
    cash: Tensor


@dataclass(frozen=True)
class Hedging:
    """Hold between 0 and 1 unit against a short call. The action a in [-1, 1] orders a holding of (a + 1) / 2.

    The book is marked to the Black-Scholes price of the call. The reward of a step is the change of utility at that mark; the
    first also books the call sold for nothing, so that rewards add up to u(P). The account is
    (units held, ln(S / K) / (sigma sqrt(years)), share of time left, a times profit since the opening mark).

    Attributes:
        spot, strike: money.
        sigma: volatility, per square root of a year.
        steps: T, rebalancing dates and steps.
        years: until expiry.
        fee_bps: cost of an order in basis points of its value, 1e4 c.
        risk_aversion: a, per unit of money.
        capital: money at the start; what the utility is of does not depend on it.
        world: of prices; None = drawn from the above. Set by `perturb`.

    Raises:
        ConfigError: an attribute is out of range.
    """

    spot: float = 1.0
    strike: float = 1.0
    sigma: float = 0.2
    steps: int = 20
    years: float = 20 / 250
    fee_bps: float = 10.0
    risk_aversion: float = 50.0
    capital: float = 1.0
    world: Brownian | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("strike", "steps", "years", "risk_aversion", "capital"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive", repr(getattr(self, name)))
        if self.fee_bps < 0:
            raise ConfigError("`fee_bps` must not be negative", repr(self.fee_bps))
        _ = self._unmoved  # whose own options are checked when it is made

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        return Spec(
            name="hedging", actions=("holding",), features=(),
            account=("units held", "log-moneyness", "time left", "utility of profit"),
            window=1, horizon=self.steps, currency="units", space="box",
            assumptions=(
                "the underlying is a geometric Brownian motion without drift, interest or dividends",
                f"orders are filled at the price just seen, for {self.fee_bps:g} bp; holdings are not sold off at expiry",
                "the call is sold for nothing and marked to its Black-Scholes price",
            ),
        )  # fmt: skip

    def init(self, batch: int, rng: torch.Generator) -> Book:
        """Draw the prices of all dates."""
        price = self.stock.draw(batch, rng)
        none = torch.zeros_like(price[:, 0])
        return Book(none.long(), price, none, none + self.capital)

    def observe(self, state: Book) -> Obs:
        """The account of the class; every holding is legal."""
        scale = self.sigma * math.sqrt(self.years)
        profit = self.risk_aversion * (self.wealth(state) - self._opening)
        moneyness = (self.mark(state) / self.strike).log() / scale
        left = 1.0 - state.t / self.steps
        account = torch.stack((state.held, moneyness, left, profit), dim=-1).float()
        return Obs(nothing(state.t), account, torch.ones_like(state.t, dtype=torch.bool).unsqueeze(-1))

    def step(self, state: Book, action: Tensor) -> tuple[Book, Step]:
        """Trade at today's price, move to the next date, mark. An expired book stands still, unpaid."""
        live = state.t < self.steps
        spot = self.mark(state)
        holding = 0.5 * (action[:, 0].double().clamp(-1.0, 1.0) + 1.0)
        traded = torch.where(live, holding - state.held, 0.0) * spot
        fees = 1e-4 * self.fee_bps * traded.abs()
        held = torch.where(live, holding, state.held)
        after = Book(state.t + live.long(), state.price, held, state.cash - traded - fees)
        before, now = self.wealth(state), self.wealth(after)
        reward = self._utility(now) - torch.where(state.t > 0, self._utility(before), 0.0)
        ledger = Ledger(now - before + fees, -fees, torch.zeros_like(fees), torch.zeros_like(fees))
        last = after.t >= self.steps
        return after, Step(torch.where(live, reward, 0.0), (~last).double(), last, ledger, traded)

    def wealth(self, state: Book) -> Tensor:
        """Cash and holding, less the call at its Black-Scholes price (at expiry: what is owed)."""
        spot = self.mark(state)
        return state.cash + state.held * spot - self._call(spot, state.t)[0]

    def mark(self, state: Book) -> Tensor:
        """Price of the underlying on date t."""
        return self.stock.at(state.price, state.t)

    def when(self, state: Book) -> Tensor:
        """Dates passed, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Book, rng: torch.Generator) -> "Hedging":
        """The same problem, in which the price leaves on another path after the present."""
        return replace(self, world=self.stock.redrawn(state.t, rng))

    # --- the answer --------------------------------------------------------------------------------------------------

    def solve(self, gamma: float) -> Solution:
        """Value and band of the dynamic programme above, on grids of prices and holdings; exact to about 1e-5 of the spot.

        Raises:
            ConfigError: `gamma` is not 1, or `risk_aversion` is too large for double precision.
        """
        if gamma != 1.0:
            raise ConfigError(
                "hedging is solved for a discount of 1", repr(gamma), cause="utility is of the profit at expiry"
            )
        lattice = self._unmoved.lattice(PER_SD)
        price = lattice.log_price.exp()
        held = torch.linspace(0.0, 1.0, HOLDINGS, dtype=torch.float64).unsqueeze(-1)
        if self.risk_aversion * float(price[-1] - price[0]) > 700.0:
            raise ConfigError("exp(a S) must be finite on the oracle's grid", f"`risk_aversion` {self.risk_aversion:g}")
        fee = 1e-4 * self.fee_bps * price * held
        gain = torch.exp(-self.risk_aversion * held * (price - self.spot))
        cost, edges = (price - self.strike).clamp(min=0.0).expand(HOLDINGS, -1), []
        for _ in range(self.steps):
            g = (lattice.expected(gain * torch.exp(self.risk_aversion * cost)) / gain).log() / self.risk_aversion
            edges.append(torch.stack((_lowest(g + fee), _lowest(g - fee))) / (HOLDINGS - 1))
            # The best of buying up to more, and of selling down to less, from every holding at once.
            more = (g + fee).flip(0).cummin(0).values.flip(0) - fee
            cost = torch.minimum(more, (g - fee).cummin(0).values + fee)
        risk = float(cost[0, len(price) // 2])
        value = -math.expm1(self.risk_aversion * risk) / self.risk_aversion
        return Solution(value, Band(self, lattice, torch.stack(edges[::-1], dim=1)))

    def certainty(self, value: float) -> float:
        """Money whose utility is `value`, -(1 / a) ln(1 - a value): minus the entropic risk."""
        return -math.log1p(-self.risk_aversion * value) / self.risk_aversion

    # --- internals ---------------------------------------------------------------------------------------------------

    @cached_property
    def _unmoved(self) -> Brownian:
        return Brownian(self.spot, self.sigma, 0.0, self.years / self.steps, self.steps)

    @property
    def stock(self) -> Brownian:
        """The world of prices."""
        return self.world or self._unmoved

    @cached_property
    def _opening(self) -> float:
        """Wealth at the opening mark."""
        spot, start = torch.tensor(self.spot, dtype=torch.float64), torch.tensor(0)
        return self.capital - float(self._call(spot, start)[0])

    def _call(self, spot: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Price, delta and gamma of the call on date t."""
        years = self.years * (1.0 - t / self.steps)
        return call(spot, self.strike, sigma=self.sigma, years=years.double())

    def _utility(self, wealth: Tensor) -> Tensor:
        return -torch.expm1(-self.risk_aversion * (wealth - self.capital)) / self.risk_aversion


# --- policies ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Band:
    """Trade to the nearest edge of a band that depends on date and price; within it, do nothing.

    Attributes:
        env: the problem.
        lattice: log prices on which the edges are known; in between they are interpolated in a line.
        edges: [2, T, n] lower and upper holding.
    """

    env: Hedging
    lattice: Lattice
    edges: Tensor

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The holding within the band, as an action."""
        held, spot, t = _read(self.env, obs)
        x = self.lattice.log_price.to(spot.device)
        place = ((spot.log() - x[0]) / (x[1] - x[0])).clamp(0.0, len(x) - 1.000001)
        left = place.long()
        edges = self.edges.to(spot.device)
        low, high = torch.lerp(edges[:, t, left], edges[:, t, left + 1], place - left)
        return _order(held.clamp(low, high)), carry


@dataclass(frozen=True)
class DeltaHedge:
    """Black-Scholes delta, or the band of Whalley and Wilmott (1997) around it, half as wide as

        w = (3/2 c Gamma^2 S / a)^(1/3)

    in units of the underlying. Without costs, delta hedging is best but for the discreteness of dates.

    Attributes:
        env: the problem.
        banded: leave the holding alone within w of the delta; else hold the delta.
    """  # fmt: skip

    env: Hedging
    banded: bool = False

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The delta or the nearest edge of the band, as an action."""
        held, spot, t = _read(self.env, obs)
        _price, delta, gamma = self.env._call(spot, t)
        width = half_width(gamma, spot, fee_bps=self.env.fee_bps, risk_aversion=self.env.risk_aversion)
        width = width if self.banded else torch.zeros_like(width)
        return _order(held.clamp(delta - width, delta + width).clamp(0.0, 1.0)), carry


def half_width(gamma: Tensor, spot: Tensor, *, fee_bps: float, risk_aversion: float) -> Tensor:
    """w of `DeltaHedge`, units, for the option's gamma [B] and the spot [B]."""
    return (1.5e-4 * fee_bps * gamma**2 * spot / risk_aversion) ** (1.0 / 3.0)


def _read(env: Hedging, obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
    """Units held, price and date from the account."""
    held, moneyness, left, _profit = obs.account.double().unbind(-1)
    t = ((1.0 - left) * env.steps).round().long().clamp(max=env.steps - 1)
    return held, env.strike * (moneyness * env.sigma * math.sqrt(env.years)).exp(), t


def _order(holding: Tensor) -> Tensor:
    return (2.0 * holding - 1.0).unsqueeze(-1)


def _lowest(cost: Tensor) -> Tensor:
    return cost.argmin(0).double()
