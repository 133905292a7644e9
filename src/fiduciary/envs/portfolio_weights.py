"""Portfolio weights: split one account among cash and N assets, anew at every bar.

The action p is a point of the simplex, cash first. Weights drift with prices between decisions, and the wealth after a
trade solves the fee equation exactly: what is bought is paid for, costs included, out of the same account.

    w_0 = (1 + N s) p_0,  w_i = (1 + N s) p_i - s          s: the largest short weight; s = 0: w = p
    V'  = V - C(V' w' - h)                                   h: [N] money held at the fill, V: cash + sum(h)
    C(x) = sum_i  b max(x_i, 0) + c max(-x_i, 0) + k sigma_i |x_i| sqrt(|x_i| / A_i)

b and c are the rates of purchases and sales, sigma_i the daily volatility and A_i the average money traded in a day, both
over the last `IMPACT_BARS` bars of the asset, known when the order is given. The last term is the square-root law of
impact (Tóth et al. 2011, Phys. Rev. X 1, 021006); k takes in that the average price of an order is better than its last.
The equation of proportional costs is that of Jiang, Xu and Liang (arXiv:1706.10059, section 2.3), who iterate it.

w' is w carried to the fill: an order is sized at the close that the policy has seen, and drifts to its fill like any
holding, so whoever asks for the weights that are held trades nothing, whatever happens overnight.

Suspended assets (no bar, or no volume) keep their holding; the wealth that is not locked in them is divided among cash
and the other assets in proportion to their p, within the same bound on short weights. `step` is differentiable in the
action; the wealth after costs by the implicit function theorem.

Assumptions: fractions of a share; no minimum fee; dividends reinvested where prices are adjusted; proceeds of short sales
are cash and earn `cash_rate`; an asset that leaves the panel keeps its last price for ever; impact is paid, and moves
no later price.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Alarm, Fold, Ledger, Obs, Source, Spec, Split, Step, View
from fiduciary.data.panel import Panel
from fiduciary.envs.terms import FREE, LENT, SEEN, Execution, Range, learnt, longest, standing, stretches
from fiduciary.factors import SIM_RELATIVE, Factor, Formula, Scaler, compute
from fiduciary.markets import costs as market_costs
from fiduciary.markets.dynamics import redrawn

IMPACT_BARS = 20
ROUNDS = 100
ROUNDING = 1e-15
DEFAULT_COSTS = market_costs.linear(5)
RUIN = 1e-6
"""Log growth counts a loss of more than all but this fraction of wealth as a loss of all but this fraction."""

Floats = NDArray[np.float64]
Row = TypeVar("Row", bound=np.generic)
Reward = Literal["log", "simple"]
_WORDS = {
    "next_open": "sized and decided at the close of day t, filled at the open of day t+1",
    "next_close": "sized and decided at the close of day t, filled at the close of day t+1",
    "close": "decided and filled at the close of day t: the price is in the observation (optimistic)",
}


class Portfolio(NamedTuple):
    """State of B accounts.

    Attributes:
        t: [B] int64, present bar, an index into the world.
        end: [B] int64, last bar of the episode.
        cash: [B] float64 money.
        held: [B, N] float64 money in each asset at the close of t; negative = short.
    """

    t: Tensor
    end: Tensor
    cash: Tensor
    held: Tensor


class World(NamedTuple):
    """T bars of N assets, shared by all accounts and never written. Rows of the moves belong to the bar of the decision.

    Attributes:
        features: [T, N, F] float32, scaled factors; the last known ones where an asset has no bar, 0 before its first.
        legal: [T, N+1] bool, has traded on that bar; cash always.
        mark: [T] float64 money, mean close of the assets known by then.
        day: [T] int64, days since 1970-01-01.
        to_fill: [T, N] float64, price at the fill of an order decided at t over the close of t.
        to_close: [T, N] float64, the next close over that price.
        free: [T, N] float64, 1 where such an order is filled, else 0.
        free_to_fill: [T, N] float64, their product.
        interest: [T] float64, interest on one unit of cash until the next bar.
        years: [T] float64, until the next bar.
        impact: [T, N] float64, coefficient of |x|^1.5, money^-0.5.
        quotes: [T, N, P] float64, the panel's own fields; NaN where an asset has no bar.
        first, last: of the longest stretch of bars on which an episode may stand.
        begin, end: [S] int64, every bar on which an episode may begin, and the last bar of its stretch.

    The last row of the moves is a bar on which nothing happens: accounts that have ended stand there.
    """

    features: Tensor
    legal: Tensor
    mark: Tensor
    day: Tensor
    to_fill: Tensor
    to_close: Tensor
    free: Tensor
    free_to_fill: Tensor
    interest: Tensor
    years: Tensor
    impact: Tensor
    quotes: Tensor
    first: int
    last: int
    begin: Tensor
    end: Tensor


@dataclass(frozen=True, eq=False)
class PortfolioWeights:
    """Accounts that hold cash and the N assets of `panel` in the proportions that a policy asks for at every bar.

    Attributes:
        panel: prices; `close` always, `open` when orders are filled there, `volume` when there is impact.
        factors: what a policy observes of each asset, causal with a declared look-back.
        cash: capital, in the panel's currency.
        costs: proportional costs; slippage is booked as impact. A minimum fee is refused.
        impact: k, coefficient of the square-root law; 0 = none, about 1 in published estimates.
        window: W, bars in an observation.
        execution: when orders are filled.
        short: s, largest short weight of one asset, asked for; drift may carry it further. 0 = long only.
        borrow_rate: annual rate paid on what is short, per calendar day, simple (0.01 = 1 %).
        turnover_limit: most money bought and sold in a step, before costs, as a fraction of wealth; an order beyond it is
            filled in part, all assets alike. None = no limit.
        cash_rate: annual rate earned on idle cash, per calendar day, compounded.
        reward: "log" = log growth of wealth, "simple" = return.
        dates: first and last date on which an episode may stand; windows may look back before the first.
        without: ranges within `dates` on which no episode may stand. Episodes end with their stretch; windows may look
            back over a gap. Set by `folds`.
        starts: "first" opens every account on the first date of the longest stretch, "random" draws one of all dates for
            each (training).
        episode: longest episode in steps; None = to the last date.
        train_episode: the same, for the training half of `folds`.
        scaler: one feature scaler for all assets, fitted on training dates, None = raw factors. Set by `folds`.

    Raises:
        ConfigError: an option that cannot mean what it says; at first use, a window that does not fit or a missing field.
    """

    panel: Panel
    factors: Sequence[Factor | Formula] = SIM_RELATIVE
    _: KW_ONLY
    cash: float = 1_000_000.0
    costs: market_costs.Costs = DEFAULT_COSTS
    impact: float = 0.0
    window: int = 20
    execution: Execution = "next_open"
    short: float = 0.0
    borrow_rate: float = 0.0
    turnover_limit: float | None = None
    cash_rate: float = 0.0
    reward: Reward = "log"
    dates: Range = (None, None)
    without: tuple[tuple[str, str], ...] = ()
    starts: Literal["first", "random"] = "first"
    episode: int | None = None
    train_episode: int | None = 250
    scaler: Scaler | None = None

    def __post_init__(self) -> None:
        for name, options in (("execution", Execution), ("reward", Reward)):
            if getattr(self, name) not in get_args(options):
                raise ConfigError(f"`{name}` must be one of {', '.join(get_args(options))}", repr(getattr(self, name)))
        if not (math.isfinite(self.cash_rate) and self.cash_rate > -1):
            raise ConfigError(
                "`cash_rate` must be a number above -1", repr(self.cash_rate), remedy="0.01 means 1 % a year"
            )
        for name in ("impact", "short", "borrow_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"`{name}` must be a number, not negative", repr(getattr(self, name)))
        for name in ("cash", "window", "turnover_limit", "episode", "train_episode"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ConfigError(f"`{name}` must be positive", repr(value))
        if self.costs.minimum_fee:
            raise ConfigError(
                "`costs.minimum_fee` must be 0 where weights are traded", repr(self.costs.minimum_fee),
                cause="a minimum per order makes the fee equation jump", remedy="raise `commission_bps` instead",
            )  # fmt: skip

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        symbols, most = self.panel.symbols, self.world.last - self.world.first
        return Spec(
            name="portfolio-weights",
            actions=("cash", *symbols),
            features=tuple(factor.name for factor in self.factors),
            account=("exposure", *(f"weight of {symbol}" for symbol in symbols)),
            window=self.window,
            horizon=min(most, self.episode or most),
            currency=self.panel.currency,
            assumptions=self._assumptions(),
            alarms=self._alarms(),
            space="simplex",
            assets=symbols,
            short=self.short,
            quotes=self.panel.fields,
        )

    def sources(self) -> list[Source]:
        """The panel, for the record."""
        panel = self.panel
        first, last, faults = str(panel.dates[0]), str(panel.dates[-1]), tuple(map(str, panel.faults))
        return [Source(panel.source, panel.currency, panel.digest(), panel.symbols, first, last, faults)]

    def init(self, batch: int, rng: torch.Generator) -> Portfolio:
        """Open `batch` accounts that hold cash alone, on the device of `rng`."""
        device = rng.device
        world = self._world(device)
        first, end = (torch.full((batch,), bar, device=device) for bar in (world.first, world.last))
        if self.starts == "random":
            share = torch.rand(batch, generator=rng, dtype=torch.float64, device=device)
            place = (share * len(world.begin)).long()
            first, end = world.begin[place], world.end[place]
        end = end if self.episode is None else torch.minimum(end, first + self.episode)
        cash = torch.full((batch,), self.cash, dtype=torch.float64, device=device)
        return Portfolio(first, end, cash, cash.new_zeros(batch, len(self.panel.symbols)))

    def observe(self, state: Portfolio) -> Obs:
        """Bars up to t, gross exposure and drifted weights (zeros for a ruined account), and who has traded on bar t."""
        world, wealth = self._world(state.t.device), self.wealth(state)
        weights = (state.held / torch.where(wealth > 0, wealth, math.inf).unsqueeze(-1)).float()
        account = torch.cat((weights.abs().sum(-1, keepdim=True), weights), dim=-1)
        view = View(world.features, state.t, self.window, world.quotes)
        return Obs(view, account, _rows(world.legal, state.t))

    def step(self, state: Portfolio, action: Tensor) -> tuple[Portfolio, Step]:
        """Trade towards the weights asked for, move one bar, book it. An ended or ruined account stands still."""
        world, before = self._world(state.t.device), self.wealth(state)
        alive = (state.t < state.end) & (before > 0)
        row = torch.where(alive, state.t, len(world.years) - 1)

        held = state.held * _rows(world.to_fill, row)  # at the prices of the fill
        x, fees, impact = self._trade(state, action.double(), held, row)
        bought, net = held + x, x.sum(-1)
        cash = state.cash - net - fees - impact
        following = bought * _rows(world.to_close, row)
        # What waits overnight earns and owes: the old balance if the fill comes tomorrow, the new one if it came now.
        carry = self._carry(*((cash, bought) if self.execution == "close" else state[2:]), row)

        after = Portfolio(state.t + alive, state.end, cash + carry, following)
        wealth = self.wealth(after)
        pnl = (wealth - after.cash) - (before - state.cash) - net
        ratio = torch.where(alive, wealth, 1.0) / torch.where(alive, before, 1.0)
        reward = ratio.clamp(min=RUIN).log() if self.reward == "log" else ratio - 1.0
        ruined = wealth <= 0
        last, ledger = ruined | (after.t >= state.end), Ledger(pnl, -fees, -impact, carry)
        return after, Step(reward, (~ruined).double(), last, ledger, x)

    def wealth(self, state: Portfolio) -> Tensor:
        """Cash plus assets at the close."""
        return state.cash + state.held.sum(-1)

    def mark(self, state: Portfolio) -> Tensor:
        """Mean close of the assets known at t."""
        return self._world(state.t.device).mark[state.t]

    def when(self, state: Portfolio) -> Tensor:
        """Date of bar t, in days since 1970-01-01."""
        return self._world(state.t.device).day[state.t]

    def perturb(self, state: Portfolio, rng: torch.Generator) -> "PortfolioWeights":
        """Redraw every bar after the present: prices leave on another path, volumes are reshuffled in size."""
        return replace(self, panel=redrawn(self.panel, int(self.when(state)[0]), rng))

    # --- splitting ---------------------------------------------------------------------------------------------------

    def folds(self, split: Split) -> dict[str, Fold]:
        """One fold, "portfolio"; the scaler is fitted on the training dates alone, over all assets.

        Training episodes start on random dates and last `train_episode` steps; the test runs once through all its dates.
        """
        raw = replace(self, dates=split.train, without=split.without, scaler=None)
        seen = learnt(raw.world.begin, raw.world.end, of="a portfolio")
        table = compute(self.panel, self.factors)
        scaler = Scaler.fit(table.values[seen][table.mask[seen]])
        hindsight = replace(raw, scaler=scaler, starts="first", episode=None)
        train = replace(hindsight, starts="random", episode=self.train_episode)
        whole = replace(hindsight, without=())
        valid = None if split.valid is None else replace(whole, dates=split.valid)
        return {"portfolio": Fold(train, hindsight, replace(whole, dates=split.test), valid)}

    def at_costs(self, multiple: float) -> "PortfolioWeights":
        """The same problem with every cost of trading, impact too, times `multiple`; borrowing costs what it did."""
        return replace(self, costs=self.costs.times(multiple), impact=self.impact * multiple)

    # --- trading -----------------------------------------------------------------------------------------------------

    def _trade(self, state: Portfolio, p: Tensor, held: Tensor, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Money bought (sold: negative) [B, N], fees [B] and impact [B], at the fill prices, where [B, N] is `held`."""
        world = self._world(row.device)
        loose = held * _rows(world.free, row)
        aim, able = self._aim(state, p, row)
        budget = state.cash.unsqueeze(-1) + loose.sum(-1, keepdim=True)  # wealth that is not locked in
        able = able & (budget > 0)
        budget = torch.where(able, budget, 1.0)
        if self.turnover_limit is not None:
            way = aim * budget - loose
            most = self.turnover_limit * (state.cash.unsqueeze(-1) + held.sum(-1, keepdim=True))
            part = (most / way.abs().sum(-1, keepdim=True).clamp(min=1e-300)).clamp(max=1.0)
            aim = (loose + part * way) / budget
        rates = self._rates(_rows(world.impact, row) if self.impact else None)
        budget_after = after_costs(aim, loose, budget, rates)
        x = (aim * budget_after - loose) * (able & (budget_after > 0))
        impact = self.costs.impact(x)
        if rates.impact is not None:
            impact = impact + rates.impact * _three_halves(x.abs())
        return x, self.costs.fees(x).sum(-1), impact.sum(-1)

    def _aim(self, state: Portfolio, p: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Weights asked for, of the wealth that is not locked in, carried to the fill [B, N]; whether they exist [B, 1]."""
        world = self._world(row.device)
        share, idle = p[:, 1:], p[:, :1]
        if self.short:
            free = _rows(world.free, row)
            share = share * free
            wealth = self.wealth(state).unsqueeze(-1)
            locked = (state.held * (1.0 - free)).sum(-1, keepdim=True) / torch.where(wealth > 0, wealth, 1.0)
            total = idle + share.sum(-1, keepdim=True)
            scale = (1.0 + self.short * free.sum(-1, keepdim=True) - locked) / torch.where(total > 0, total, 1.0)
            share, idle = share * scale - self.short * free, idle * scale
        share = share * _rows(world.free_to_fill, row)
        total = idle + share.sum(-1, keepdim=True)
        able = total > 0
        return share / torch.where(able, total, 1.0), able

    def _rates(self, impact: Tensor | None) -> "Rates":
        c = self.costs
        buy, sell = (c.commission_bps + c.slippage_bps) * 1e-4, c.stamp_duty_bps * 1e-4
        return Rates(buy + sell / 2, -sell / 2, impact)

    def _carry(self, cash: Tensor, held: Tensor, row: Tensor) -> Tensor:
        world = self._world(row.device)
        earned = cash * world.interest[row]
        if not (self.short and self.borrow_rate):
            return earned
        return earned + held.clamp(max=0.0).sum(-1) * world.years[row] * self.borrow_rate

    # --- the world ---------------------------------------------------------------------------------------------------

    @cached_property
    def world(self) -> World:
        """Lay the bars out as tensors, on the CPU; done once for each environment."""
        panel = self.panel
        close = _carried(panel["close"])
        volume = panel["volume"] if "volume" in panel.fields else np.ones_like(close)
        trading = panel.mask & (volume > 0)
        impact = _impact(panel, self.impact) if self.impact else np.zeros_like(close)
        listed, known, following = np.isfinite(close), np.isfinite(close) & np.isfinite(impact), _next(close)
        if self.execution == "close":
            fill, filled = close, trading
        else:
            price = panel["open"] if self.execution == "next_open" else panel["close"]
            fill, filled = _next(np.where(panel.mask, price, close)), _next(trading)
        free, to_fill, to_close = known & filled, fill / close, following / fill
        free[-1], to_fill[-1], to_close[-1] = False, 1.0, 1.0
        to_fill, to_close = (np.where(listed, move, 1.0) for move in (to_fill, to_close))
        days = _days(panel)
        years = (_next(days) - days) / 365.0
        runs = self._stretches()
        (first, last), (begin, end) = longest(runs), standing(runs)
        return World(
            features=torch.from_numpy(self._features()),
            legal=torch.from_numpy(np.column_stack((np.ones(len(close), dtype=bool), trading))),
            mark=torch.from_numpy(np.where(listed, close, 0.0).sum(-1) / listed.sum(-1)),
            day=torch.from_numpy(days),
            to_fill=torch.from_numpy(to_fill),
            to_close=torch.from_numpy(to_close),
            free=torch.from_numpy(free.astype(np.float64)),
            free_to_fill=torch.from_numpy(free * to_fill),
            interest=torch.from_numpy(np.expm1(years * np.log1p(self.cash_rate))),
            years=torch.from_numpy(years),
            impact=torch.from_numpy(np.nan_to_num(impact)),
            quotes=torch.from_numpy(panel.values.copy()),
            first=first,
            last=last,
            begin=begin,
            end=end,
        )

    @cached_property
    def _copies(self) -> dict[torch.device, World]:
        return {torch.device("cpu"): self.world}

    def _world(self, device: torch.device) -> World:
        """The world on `device`, copied there once."""
        if device not in self._copies:
            moved = (part.to(device) if isinstance(part, Tensor) else part for part in self.world)
            self._copies[device] = World._make(moved)
        return self._copies[device]

    def _features(self) -> NDArray[np.float32]:
        """[T, N, F] scaled factors, carried over days without a bar, 0 before the first."""
        values = compute(self.panel, self.factors).values
        scaled = values if self.scaler is None else self.scaler.transform(values)
        return np.nan_to_num(_carried(scaled)).astype(np.float32)

    def _stretches(self) -> list[tuple[int, int]]:
        """First and last bar of each stretch on which an episode may stand."""
        dates, lookback = self.panel.dates, max(factor.lookback for factor in self.factors)
        lookback = max(lookback, IMPACT_BARS + 1 if self.impact else 1)
        filled = self.panel.mask.cumsum(0).max(-1) >= lookback
        ready = int(np.argmax(filled)) + self.window - 1 if filled.any() else len(dates)
        return stretches(dates, self.dates, self.without, ready=ready, of="some asset")

    def _alarms(self) -> tuple[Alarm, ...]:
        ring = {
            SEEN: self.execution == "close",
            FREE: self.costs == market_costs.Costs() and not self.impact,
            LENT: self.short > 0 and not self.borrow_rate,
        }
        return tuple(alarm for alarm, rings in ring.items() if rings)

    def _assumptions(self) -> tuple[str, ...]:
        c = self.costs
        side = (
            "Long only."
            if not self.short
            else f"Short weights of at most {self.short:.2%} an asset when ordered, at {self.borrow_rate:.2%} a year."
        )
        pace = "" if self.turnover_limit is None else f" At most {self.turnover_limit:.2%} of wealth traded a step."
        law = f"square-root impact with coefficient {self.impact:g}" if self.impact else "no impact beyond the slippage"
        return (
            f"Orders are {_WORDS[self.execution]}; fractions of a share.",
            side + pace,
            f"Commission {c.commission_bps:g} bp each way, stamp duty {c.stamp_duty_bps:g} bp on sales, slippage "
            f"{c.slippage_bps:g} bp each way, {law}; every policy pays the same, and no later price moves.",
            "Prices are adjusted for splits and dividends where the source says so, so dividends are reinvested; idle cash, "
            f"proceeds of short sales included, earns {self.cash_rate:.2%} a year.",
            f"One account of {self.cash:,.0f} in {', '.join(self.panel.symbols)}.",
            "An asset without a bar or without volume is not traded and keeps its last value, for ever if it never returns.",
            "The scaler was fitted on the training dates only.",
        )


class Rates(NamedTuple):
    """C(x) = sum_i mean |x_i| + skew x_i + impact_i |x_i|^1.5: what an order of x [B, N] money costs.

    Attributes:
        mean: of the rates of purchases and sales.
        skew: half their difference.
        impact: [B, N] money^-0.5, or None.
    """

    mean: float
    skew: float
    impact: Tensor | None = None


def after_costs(aim: Tensor, held: Tensor, budget: Tensor, rates: Rates) -> Tensor:
    """Money left when `held` [B, N] becomes the fractions `aim` [B, N] of what is left: the root U [B, 1] of

        g(U) = U + C(aim U - held) = budget

    Differentiable in all three tensors by the implicit function theorem: dU = (dbudget - dg) / g'(U).

    g is convex and g(budget) >= budget, so Newton's method from `budget` falls monotonically to the largest root. With
    proportional costs g is piecewise linear, and the method ends after as many rounds as it crosses corners.

    Args:
        aim: fractions of assets, cash being the rest.
        held: money in each asset before the order.
        budget: [B, 1] money, cash included, before the order.
        rates: what orders cost.

    Returns:
        [B, 1] money; 0 where no positive root exists: the order would cost more than there is.
    """
    with torch.no_grad():
        root, total = budget.detach(), aim.sum(-1, keepdim=True)
        for _ in range(ROUNDS):
            x = aim * root - held
            # Each account stands still once it is there, so that its bits do not depend on its neighbours.
            excess = _excess(x, root, budget, rates)
            moving = (excess > ROUNDING * budget) & (root > 0)
            if not moving.any():
                break
            slope = _slope(x, aim, total, rates)
            newton = torch.where(slope > 0, root - excess / slope, 0.0).clamp(min=0.0)
            root = torch.where(moving, newton, root)
    if not (torch.is_grad_enabled() and any(part.requires_grad for part in (aim, held, budget))):
        return root
    x = aim * root - held
    slope, graph = _slope(x, aim, total, rates).detach(), _excess(x, root, budget, rates)
    return root - (graph - graph.detach()) / torch.where(slope > 0, slope, math.inf)


def _excess(x: Tensor, root: Tensor, budget: Tensor, rates: Rates) -> Tensor:
    """g(root) - budget, [B, 1], where x = aim root - held."""
    size = x.abs()
    cost = rates.mean * size.sum(-1, keepdim=True)
    if rates.skew:
        cost = cost + rates.skew * x.sum(-1, keepdim=True)
    if rates.impact is not None:
        cost = cost + (rates.impact * _three_halves(size)).sum(-1, keepdim=True)
    return root - budget + cost


def _slope(x: Tensor, aim: Tensor, total: Tensor, rates: Rates) -> Tensor:
    """g'(root), [B, 1], where x = aim root - held and `total` is the sum of `aim`."""
    side = aim * x.sign()
    slope = 1.0 + rates.mean * side.sum(-1, keepdim=True) + rates.skew * total
    if rates.impact is not None:
        slope = slope + 1.5 * (rates.impact * x.abs().sqrt() * side).sum(-1, keepdim=True)
    return slope


def _three_halves(size: Tensor) -> Tensor:
    """size^1.5, whose derivative at 0 is 0, not NaN."""
    return size * size.clamp(min=1e-300).sqrt()


def _rows(table: Tensor, row: Tensor) -> Tensor:
    """Rows of `table` [T, ...], [B, ...]; several times faster than indexing."""
    return table.index_select(0, row)


def _days(panel: Panel) -> NDArray[np.int64]:
    return panel.dates.astype("datetime64[D]").astype(np.int64)


def _next(rows: NDArray[Row]) -> NDArray[Row]:
    """Row t+1 in place t; the last row stays."""
    return np.concatenate((rows[1:], rows[-1:]))


def _carried(values: Floats) -> Floats:
    """The last known value of each column [T, ...]; NaN before the first."""
    known = np.isfinite(values)
    shape = (-1, *[1] * (values.ndim - 1))
    place = np.maximum.accumulate(np.where(known, np.arange(len(values)).reshape(shape), 0), axis=0)
    return np.take_along_axis(values, place, axis=0)


def _impact(panel: Panel, coefficient: float) -> Floats:
    """[T, N] coefficient x volatility / sqrt(average money traded), of the last bars of each asset; NaN until known."""
    out = np.full(panel.mask.shape, np.nan)
    for n in range(len(panel.symbols)):
        rows = np.flatnonzero(panel.mask[:, n])
        close, volume = panel["close"][rows, n], panel["volume"][rows, n]
        if len(rows) > IMPACT_BARS:
            moves = np.lib.stride_tricks.sliding_window_view(np.diff(np.log(close)), IMPACT_BARS)
            money = np.lib.stride_tricks.sliding_window_view((close * volume)[1:], IMPACT_BARS).mean(-1)
            volatility = moves.std(-1)
            out[rows[IMPACT_BARS:], n] = np.divide(
                coefficient * volatility, np.sqrt(money), out=np.full_like(money, np.nan), where=money > 0
            )
    return _carried(out)
