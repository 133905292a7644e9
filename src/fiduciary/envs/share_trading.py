"""Many stocks in one account, traded in whole shares: an order for each stock every bar, paid from one purse.

The problem of Liu et al., "FinRL: A Deep Reinforcement Learning Library for Automated Stock Trading in Quantitative
Finance" (arXiv 2011.09607, section 3): an action in [-1, 1]^N orders trunc(a * max_shares) shares of each of N stocks;
sales are filled first, then purchases while the cash lasts. Departures: orders decided at the close of t are filled at
the open of t+1 (`execution="close"` fills at the close that was seen, as FinRL does); an observation holds fractions of
wealth and scaled factors, not dollars and share counts; an end of data is a truncation, not a termination.

    W_t = cash_t + sum_n shares_tn close_tn
    reward_t = (W_t - W_tm1) / capital      ("wealth"; a whole episode adds up to profit over capital)
    reward_t = log(W_t / W_tm1)             ("log")

When purchases cost more than there is, `priority` decides:

    "prorata"  all shrink alike, q_n -> floor(f q_n) with f = cash / cost of all: no stock comes before another
    "size"     one after another, the largest number of shares first (ties in the order of the symbols), each filled as
               far as the cash then left goes: FinRL's rule

Assumptions: orders are small against the market (no impact beyond `Costs.slippage_bps`); adjusted prices, so dividends
are reinvested; a stock without a bar (suspension, delisting) keeps its last price and cannot be traded.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Alarm, Fold, Ledger, Obs, Source, Spec, Split, Step, View, transition
from fiduciary.data.panel import Panel
from fiduciary.envs.terms import FILLED, FREE, LENT, SEEN, Execution, Range, learnt, longest, standing, stretches
from fiduciary.factors import SIM, Factor, Formula, Scaler, compute
from fiduciary.markets import costs as market_costs
from fiduciary.markets import venue as market_venue
from fiduciary.markets.dynamics import redrawn
from fiduciary.markets.turbulence import last_known, turbulence

WORST = 1e-6
"""Least W_t / W_tm1 that a log reward takes: ruin costs log(1e-6) = -13.8, not infinity."""

Priority = Literal["prorata", "size"]
Reward = Literal["wealth", "log"]
TEN_BP = market_costs.linear(bps=10)
"""FinRL's 0.1 % of every trade."""
_SCARCE = {
    "prorata": "all purchases shrink alike",
    "size": "larger orders come first, ties in the order of the symbols",
}


@dataclass(frozen=True)
class Shorting:
    """Leave to sell shares that are not held.

    Attributes:
        borrow_rate: annual rate on the value borrowed, per calendar day, compounded (0.01 = 1 %).
        limit: shares are sold short as long as all that is short is worth at most this fraction of wealth, at the price
            of the fill. The proceeds may pay for purchases, so gross exposure is at most 1 + 2 `limit` when orders fill.

    Raises:
        ConfigError: a number is negative or no number.
    """

    borrow_rate: float = 0.01
    limit: float = 0.5

    def __post_init__(self) -> None:
        for name in ("borrow_rate", "limit"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"`{name}` must be a number, not negative", str(getattr(self, name)))


@dataclass(frozen=True)
class RiskOff:
    """Sell everything, cover what is short and buy nothing as long as an index stands at `threshold` or above.

    Attributes:
        threshold: in units of the index.
        index: a panel of one symbol whose `close` is the index (VIX, say), read as of each date; None = the turbulence
            of the traded stocks themselves.
        lookback: days behind that turbulence. Before it is known the rule is silent.

    Raises:
        ConfigError: the threshold is no number, or the index is not one symbol with a `close`.
    """

    threshold: float
    index: Panel | None = None
    lookback: int = 252

    def __post_init__(self) -> None:
        if math.isnan(self.threshold):
            raise ConfigError("`threshold` must be a number", "nan")
        if self.index is not None and (len(self.index.symbols) != 1 or "close" not in self.index.fields):
            raise ConfigError(
                "`index` must be a panel of one symbol with a `close`",
                f"{len(self.index.symbols)} symbols with {', '.join(self.index.fields)}",
            )


class Account(NamedTuple):
    """State of B accounts.

    Attributes:
        t: [B] int64, present bar, an index into the calendar.
        end: [B] int64, last bar of the episode; the present one once wealth is lost.
        cash: [B] float64 money.
        shares: [B, N] float64 units, negative where short.
        value: [B, N] float64 money, the shares at the last known close of t; kept, because every step and every
            observation needs it and looking prices up is what a step spends its time on.
    """

    t: Tensor
    end: Tensor
    cash: Tensor
    shares: Tensor
    value: Tensor


class World(NamedTuple):
    """The common calendar of T bars and N stocks, shared by all accounts and never written.

    Tables of T+1 rows hold what happens between the decision at t and the close of t+1; in the last row, which accounts
    that have ended live in, nothing does.

    Attributes:
        bars: [T, N, F] float32, scaled factors, the last known ones on days without a bar; 0 before the first.
        close: [T, N] float64 money, last known; 1 before the first.
        mark: [T] float64 money, mean of the known closes.
        day: [T] int64, days since 1970-01-01.
        legal: [T, N] bool, the stock traded that day and its window is full.
        fill: [T+1, N] float64 money, price at which orders decided at t are filled.
        reach: [T+1, N] float32 lots that a full action orders; 0 where no order is filled.
        rising, falling: [T+1, N] bool, locked at the upper or lower limit: no purchase, no sale.
        years: [T+1] float64, calendar time to the next bar.
        off: [T+1] bool, risk-off.
        quotes: [T, N, P] float64, the panel's own fields; NaN where a stock has no bar.
        first, last: of the longest stretch of bars on which an episode may stand.
        begin, end: [S] int64, every bar on which an episode may begin, and the last bar of its stretch.
    """

    bars: Tensor
    close: Tensor
    mark: Tensor
    day: Tensor
    legal: Tensor
    fill: Tensor
    reach: Tensor
    rising: Tensor
    falling: Tensor
    years: Tensor
    off: Tensor
    quotes: Tensor
    first: Tensor
    last: Tensor
    begin: Tensor
    end: Tensor


@dataclass(frozen=True, eq=False)
class ShareTrading:
    """One account that holds all stocks of `panel` side by side.

    Attributes:
        panel: prices; `close` always, `open` too when orders are filled there.
        factors: what a policy observes of each stock, causal, each with a declared look-back.
        cash: capital, in the panel's currency.
        costs: what a trade costs.
        venue: lots and price limits. There is one order a stock and bar, so `hold_days` of one always holds; more are
            refused.
        max_shares: k, shares that an action of 1 buys and one of -1 sells.
        window: W, bars in an observation.
        execution: when orders are filled.
        priority: which purchases are filled when the cash does not pay for all.
        reward: "wealth", change of wealth as a fraction of `cash`, or "log", growth.
        shorting: leave to sell short, None = long only.
        risk_off: when to leave the market, None = never.
        cash_rate: annual rate on cash, per calendar day, compounded; paid where cash is negative.
        dates: first and last date on which an episode may stand; windows may look back before the first.
        without: ranges within `dates` on which no episode may stand. Episodes end with their stretch; windows may look
            back over a gap. Set by `folds`.
        starts: "first" opens every account on the first date of the longest stretch, "random" draws one of all dates for
            each (training).
        episode: longest episode in steps; None = to the last date.
        train_episode: the same, for the training half of `folds`.
        scaler: feature scaler fitted on training dates, None = raw factors. Set by `folds`.

    Raises:
        ConfigError: at construction or first use, if an option is unknown, a number is out of range, the window does not
            fit or a field is missing.
    """

    panel: Panel
    factors: Sequence[Factor | Formula] = SIM
    _: KW_ONLY
    cash: float = 1_000_000.0
    costs: market_costs.Costs = TEN_BP
    venue: market_venue.Venue = market_venue.US
    max_shares: float = 100
    window: int = 1
    execution: Execution = "next_open"
    priority: Priority = "prorata"
    reward: Reward = "wealth"
    shorting: Shorting | None = None
    risk_off: RiskOff | None = None
    cash_rate: float = 0.0
    dates: Range = (None, None)
    without: tuple[tuple[str, str], ...] = ()
    starts: Literal["first", "random"] = "first"
    episode: int | None = None
    train_episode: int | None = 250
    scaler: Scaler | None = None

    def __post_init__(self) -> None:
        options = (("execution", Execution), ("priority", Priority), ("reward", Reward))
        for name, known in options:
            if (value := getattr(self, name)) not in get_args(known):
                raise ConfigError(f"`{name}` must be one of {', '.join(get_args(known))}", repr(value))
        for name in ("cash", "max_shares", "window", "episode", "train_episode"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise ConfigError(f"`{name}` must be positive", repr(value))
        if not (math.isfinite(self.cash_rate) and self.cash_rate > -1):
            raise ConfigError(
                "`cash_rate` must be a number above -1", repr(self.cash_rate), remedy="0.01 means 1 % a year"
            )
        if self.venue.hold_days > 1:
            raise ConfigError("`venue.hold_days` must be 0 or 1 here", str(self.venue.hold_days))
        if self.priority == "size" and not self.venue.lot:
            raise ConfigError(
                '`priority="size"` must have whole lots', "venue.lot = 0", remedy='use "prorata" for fractions'
            )
        if self.venue.lot > self.max_shares:
            raise ConfigError("`max_shares` must be a lot at least", f"{self.max_shares:g} < {self.venue.lot:g}")

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        most = int(self.world.last - self.world.first)
        symbols = self.panel.symbols
        return Spec(
            name="share-trading",
            actions=symbols,
            features=tuple(factor.name for factor in self.factors),
            account=("exposure", *(f"weight of {symbol}" for symbol in symbols)),
            window=self.window,
            horizon=min(most, self.episode or most),
            currency=self.panel.currency,
            assumptions=self._assumptions(),
            alarms=self._alarms(),
            space="box",
            assets=symbols,
            quotes=self.panel.fields,
        )

    def sources(self) -> list[Source]:
        """The panel and, where there is one, the index of the risk-off rule, for the record."""
        index = self.risk_off.index if self.risk_off else None
        return [
            Source(
                panel.source, panel.currency, panel.digest(), panel.symbols,
                str(panel.dates[0]), str(panel.dates[-1]), tuple(map(str, panel.faults)),
            )
            for panel in (self.panel, index) if panel is not None
        ]  # fmt: skip

    def init(self, batch: int, rng: torch.Generator) -> Account:
        """Open `batch` accounts with the capital and no stock, on the device of `rng`."""
        world = self._on(rng.device)
        first, end = world.first.expand(batch).clone(), world.last.expand(batch).clone()
        if self.starts == "random":
            share = torch.rand(batch, generator=rng, dtype=torch.float64, device=rng.device)
            place = (share * len(world.begin)).long()
            first, end = world.begin[place], world.end[place]
        end = end if self.episode is None else torch.minimum(end, first + self.episode)
        cash = torch.full((batch,), self.cash, dtype=torch.float64, device=rng.device)
        nothing = cash.new_zeros(batch, len(self.panel.symbols))
        return Account(first, end, cash, nothing, nothing)

    def observe(self, state: Account) -> Obs:
        """Window of scaled factors up to t, exposure and weights as fractions of wealth, and the stocks that trade."""
        world, wealth = self._on(state.t.device), self.wealth(state)
        account = torch.empty(len(wealth), 1 + state.value.shape[-1], dtype=torch.float32, device=wealth.device)
        # A ruined account has no fractions.
        torch.mul(state.value, torch.where(wealth > 0, 1.0 / wealth, 0.0).unsqueeze(-1), out=account[:, 1:])
        account[:, 0] = account[:, 1:].abs().sum(-1)
        view = View(world.bars, state.t, self.window, world.quotes)
        return Obs(view, account, world.legal.index_select(0, state.t))

    def step(self, state: Account, action: Tensor) -> tuple[Account, Step]:
        """Sell, buy while the cash lasts, move one bar, book it. An account that has ended stands still.

        Wealth of zero or less ends an episode with a discount of zero. No gradient reaches the action: orders are rounded.
        """
        world, now = self._on(state.t.device), state.t
        alive = now < state.end
        then, row = now + alive, torch.where(alive, now, len(world.day))
        close = world.close.index_select(0, then)
        price = close if self.execution == "next_close" else world.fill.index_select(0, row)

        sells, buys = self._sides(self._wanted(world, row, state, action), state, price)
        sold, net_sold, fees, impact = self._fill(sells, price)
        money = state.cash - net_sold - fees - impact
        buys = self._affordable(buys, price, money.clamp(min=0.0))
        bought, net_bought, more_fees, more_impact = self._fill(buys, price)
        money = money - net_bought - more_fees - more_impact

        shares = sells.add_(state.shares).add_(buys)
        # What waits overnight earns interest: the old account if the fill comes tomorrow, the new one if it came now.
        overnight = state if self.execution != "close" else Account(now, now, money, shares, shares * price)
        carry = self._carry(world, row, overnight)
        after = Account(then, state.end, money + carry, shares, shares * close)
        pnl = after.value.sum(-1) - state.value.sum(-1) - net_sold - net_bought
        ledger = Ledger(pnl, -fees - more_fees, -impact - more_impact, carry)
        return self._book(state, after, ledger, sold.add_(bought))

    def _book(self, before: Account, after: Account, ledger: Ledger, traded: Tensor) -> tuple[Account, Step]:
        """Reward and end of a step; a loss of all wealth is the only termination."""
        reward = ledger.total() / self.cash if self.reward == "wealth" else self._growth(before, after)
        if not self._can_fail:
            return after, transition(reward, last=after.t >= after.end, ledger=ledger, traded=traded)
        ruined = self.wealth(after) <= 0
        after = after._replace(end=torch.where(ruined, after.t, after.end))
        return after, Step(reward, 1.0 - ruined.double(), after.t >= after.end, ledger, traded)

    def wealth(self, state: Account) -> Tensor:
        """Cash plus shares at the last known close."""
        return state.cash + state.value.sum(-1)

    def mark(self, state: Account) -> Tensor:
        """Mean of the known closes of t."""
        return self._on(state.t.device).mark[state.t]

    def when(self, state: Account) -> Tensor:
        """Date of bar t, in days since 1970-01-01."""
        return self._on(state.t.device).day[state.t]

    def perturb(self, state: Account, rng: torch.Generator) -> "ShareTrading":
        """Redraw every bar after the present, those of the risk-off index too."""
        after = int(self.when(state)[0])
        risk_off = self.risk_off
        if risk_off is not None and risk_off.index is not None:
            risk_off = replace(risk_off, index=redrawn(risk_off.index, after, rng))
        return replace(self, panel=redrawn(self.panel, after, rng), risk_off=risk_off)

    # --- splitting ---------------------------------------------------------------------------------------------------

    def folds(self, split: Split) -> dict[str, Fold]:
        """One fold, one account; the scaler is fitted on the training dates alone, over all stocks together.

        Training episodes start on random dates and last `train_episode` steps; the test runs once through all its dates.
        """
        raw = replace(self, dates=split.train, without=split.without, scaler=None)
        seen = learnt(raw.world.begin, raw.world.end, of="an account")
        known = compute(self.panel, self.factors)
        scaler = Scaler.fit(known.values[seen][known.mask[seen]])
        hindsight = replace(raw, scaler=scaler, starts="first", episode=None)
        train = replace(hindsight, starts="random", episode=self.train_episode)
        whole = replace(hindsight, without=())
        valid = None if split.valid is None else replace(whole, dates=split.valid)
        return {"portfolio": Fold(train, hindsight, replace(whole, dates=split.test), valid)}

    def at_costs(self, multiple: float) -> "ShareTrading":
        """The same problem with every cost of trading times `multiple`; borrowing costs what it did."""
        return replace(self, costs=self.costs.times(multiple))

    # --- orders ------------------------------------------------------------------------------------------------------

    def _wanted(self, world: World, row: Tensor, state: Account, action: Tensor) -> Tensor:
        """[B, N] units ordered in stocks that trade: whole lots of the action, or everything out."""
        reach = world.reach.index_select(0, row)
        lots = action.detach().clamp(-1.0, 1.0).mul_(reach)
        # Through integers, which truncate as int() does; torch.trunc takes several times as long on a CPU.
        wanted = lots.int().double() if self.venue.lot else lots.double()
        if self.venue.lot not in (0, 1):
            wanted.mul_(self.venue.lot)
        if self.risk_off is not None:
            leave = torch.where(reach > 0, -state.shares, 0.0)
            wanted = torch.where(world.off[row].unsqueeze(-1), leave, wanted)
        if self.venue.price_limit is not None:
            rising, falling = world.rising.index_select(0, row), world.falling.index_select(0, row)
            wanted.masked_fill_((rising & (wanted > 0)) | (falling & (wanted < 0)), 0.0)
        return wanted

    def _sides(self, wanted: Tensor, state: Account, price: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N] units sold, not positive, which are filled, and bought, not negative, which still must be paid."""
        buys = wanted.clamp(min=0.0)
        if self.shorting is None:
            return torch.maximum(wanted, -state.shares).sub_(buys), buys
        sells = wanted - buys
        owned = torch.maximum(sells, -state.shares.clamp(min=0.0))
        opened, value = owned - sells, state.shares * price
        # What is sold short shrinks alike to the room that is left under the limit.
        room = (self.shorting.limit * (state.cash + value.sum(-1)) + value.clamp(max=0.0).sum(-1)).clamp(min=0.0)
        asked = (opened * price).sum(-1)
        fraction = torch.where(asked > room, room / asked, 1.0)
        return owned - self._whole(opened * fraction.unsqueeze(-1)), buys

    def _affordable(self, buys: Tensor, price: Tensor, money: Tensor) -> Tensor:
        """[B, N] units of `buys` that `money` [B] pays for, by the rule of `priority`."""
        return (
            self._alike(buys, price, money) if self.priority == "prorata" else self._largest_first(buys, price, money)
        )

    def _alike(self, buys: Tensor, price: Tensor, money: Tensor) -> Tensor:
        """[B, N] units bought of `buys` when all shrink by one factor."""
        asked = buys * price
        at_rate = asked.sum(-1) * self._rate
        cost, spare = at_rate, money
        if self.costs.minimum_fee:
            cost = (asked + self.costs.fees(asked) + self.costs.impact(asked)).sum(-1)
            # Shrunk orders may fall under the minimum: it is set aside for each, beside the commission at its rate.
            spare = (money - (buys > 0).sum(-1) * self.costs.minimum_fee).clamp(min=0.0)
        fraction = torch.where(cost > money, spare / at_rate, 1.0)
        return self._whole(buys.mul_(fraction.unsqueeze(-1)))

    def _largest_first(self, buys: Tensor, price: Tensor, money: Tensor) -> Tensor:
        """[B, N] units bought of `buys` when the largest order is filled first, each as far as `money` [B] then lasts.

        Orders are sorted as integers, size above place, so that one sort without indices yields both; what is left is a
        pass over N positions, each for the whole batch.
        """
        (batch, n), lot, device = buys.shape, self.venue.lot, buys.device
        bits = (n - 1).bit_length()
        kind = torch.int32 if max(self.max_shares / lot * 2**bits, batch * n) < 2**31 else torch.int64
        lots = (buys if lot == 1 else buys / lot).to(kind)
        keys = _sorted((lots << bits).neg_().add_(torch.arange(n, dtype=kind, device=device))).T.contiguous()
        # Position-first from here: place in the flat [B, N] tables, price and order of each account's first, second, ...
        place = (
            (keys & ((1 << bits) - 1)).add_(torch.arange(0, batch * n, n, dtype=kind, device=device)).long().view(-1)
        )
        asked = (keys >> bits).neg_().double()
        lot_price = price.reshape(-1).index_select(0, place).view(n, batch)
        filled = self._in_turn(asked, lot_price if lot == 1 else lot_price.mul_(lot), money)
        if lot != 1:
            filled.mul_(lot)
        return (
            torch.empty(batch * n, dtype=buys.dtype, device=device).scatter_(0, place, filled.view(-1)).view(batch, n)
        )

    def _in_turn(self, asked: Tensor, lot_price: Tensor, money: Tensor) -> Tensor:
        """[N, B] lots bought of `asked` [N, B], row after row, each paid before the next."""
        none, filled = torch.zeros_like(money), torch.empty_like(asked)
        if not self.costs.minimum_fee:
            cost, left, spent = lot_price.mul_(self._rate), money.clone(), torch.empty_like(money)
            for lots, most, each in zip(filled, asked, cost, strict=True):
                torch.clamp(torch.div(left, each, out=lots).floor_(), min=none, max=most, out=lots)
                left -= torch.mul(lots, each, out=spent)
            return filled
        for lots, most, each in zip(filled, asked, lot_price, strict=True):
            torch.clamp(self.costs.affordable(money, each).floor_(), min=none, max=most, out=lots)
            spent = lots * each
            money = money - spent - self.costs.fees(spent) - self.costs.impact(spent)
        return filled

    # --- money -------------------------------------------------------------------------------------------------------

    @property
    def _rate(self) -> float:
        """What a purchase takes from the cash for one unit of money bought, minimum fees apart."""
        return 1.0 + self.costs.commission_bps * 1e-4 + self.costs.slippage_bps * 1e-4

    @property
    def _can_fail(self) -> bool:
        """Whether wealth may be lost altogether: by short sales, or by fees larger than the sale."""
        return self.shorting is not None or self.costs.minimum_fee > 0

    def _fill(self, units: Tensor, price: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Money of orders of one side [B, N], and over the stocks: money, fees and slippage [B]."""
        traded = units * price
        total = traded.sum(-1)
        if self.costs.minimum_fee:
            return traded, total, self.costs.fees(traded).sum(-1), self.costs.impact(traded).sum(-1)
        # Proportional costs of the sum are the sum of the costs.
        return traded, total, self.costs.fees(total), self.costs.impact(total)

    def _carry(self, world: World, row: Tensor, overnight: Account) -> Tensor:
        """[B] money: interest on the cash that waits overnight, less the fee for what is borrowed, at the close of t."""
        years = world.years[row]
        carry = overnight.cash * torch.expm1(years * math.log1p(self.cash_rate))
        if self.shorting is None:
            return carry
        short = overnight.value.clamp(max=0.0).sum(-1)
        return carry + short * torch.expm1(years * math.log1p(self.shorting.borrow_rate))

    def _growth(self, before: Account, after: Account) -> Tensor:
        """[B] log growth of wealth; nothing for an account that had lost it before."""
        was = self.wealth(before)
        return torch.where(was > 0, self.wealth(after) / was, 1.0).clamp(min=WORST).log()

    def _whole(self, units: Tensor) -> Tensor:
        return units.floor_() if self.venue.lot == 1 else self.venue.whole_lots(units)

    # --- the world ---------------------------------------------------------------------------------------------------

    @cached_property
    def world(self) -> World:
        """Lay calendar and stocks out as tensors; done once for each environment."""
        panel, table = self.panel, compute(self.panel, self.factors)
        values = table.values if self.scaler is None else self.scaler.transform(table.values)
        # A window is full W known bars after a stock's first one, whatever the dates between them.
        full = np.cumsum(table.mask, axis=0) >= self.window
        volume = panel["volume"] if "volume" in panel.fields else np.ones(panel.mask.shape)
        traded = panel.mask & (np.nan_to_num(volume) > 0)
        known = last_known(panel["close"])
        close = np.nan_to_num(known, nan=1.0)
        runs = self._stretches(full)
        day = panel.dates.astype("datetime64[D]").astype(np.int64)
        arrays = (
            np.nan_to_num(last_known(values)).astype(np.float32), close, _mean_known(known), day, traded & full,
            *self._fills(close, traded, full), np.append(np.diff(day) / 365.0, (0.0, 0.0)), np.append(self._off(), False),
            panel.values.copy(), *map(np.array, longest(runs)),
        )  # fmt: skip
        tables = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
        return World._make((*tables, *standing(runs)))

    def _fills(
        self, close: NDArray[np.float64], traded: NDArray[np.bool_], full: NDArray[np.bool_]
    ) -> tuple[NDArray[np.generic], ...]:
        """Fill, reach, rising and falling of `World`, by the bar of the decision."""
        here = slice(0, -1)
        bar = here if self.execution == "close" else slice(1, None)
        price = self.panel["open" if self.execution == "next_open" else "close"][bar]
        fill = np.where(self.panel.mask[bar], price, close[bar])
        previous = np.concatenate((close[:1], close[:-1]))[bar]
        lots = self.max_shares / (self.venue.lot or 1.0)
        reach = np.where(traded[bar] & full[here], lots, 0.0).astype(np.float32)
        fills, befores = torch.from_numpy(np.ascontiguousarray(fill)), torch.from_numpy(previous.copy())
        rising, falling = (~rule(fills, befores).numpy() for rule in (self.venue.buyable, self.venue.sellable))
        still = np.zeros((2, close.shape[1]))
        reach, rising, falling = (np.vstack((table, still)) for table in (reach, rising, falling))
        return np.vstack((fill, close[-1:], close[-1:])), reach.astype(np.float32), rising > 0, falling > 0

    def _off(self) -> NDArray[np.bool_]:
        """[T] bool: the risk-off index, as of each date, stands at its threshold or above."""
        rule = self.risk_off
        if rule is None:
            return np.zeros(len(self.panel.dates), dtype=bool)
        if rule.index is None:
            return turbulence(self.panel, lookback=rule.lookback) >= rule.threshold
        place = np.searchsorted(rule.index.dates, self.panel.dates, side="right") - 1
        level = last_known(rule.index["close"][:, 0])
        return np.asarray((place >= 0) & (level[place.clip(min=0)] >= rule.threshold))

    def _stretches(self, full: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """First and last bar of each stretch on which an episode may stand: some stock's window is full."""
        dates, some = self.panel.dates, np.asarray(full.any(axis=1))
        ready = int(np.argmax(some)) if some.any() else len(dates)
        if self.execution == "close" and self.venue.price_limit is not None:
            ready = max(ready, 1)  # the price limit needs the previous close
        return stretches(dates, self.dates, self.without, ready=ready, of="some stock")

    @cached_property
    def _elsewhere(self) -> dict[torch.device, World]:
        return {}

    def _on(self, device: torch.device) -> World:
        """The world on `device`, copied there once."""
        if device.type == "cpu":
            return self.world
        if device not in self._elsewhere:
            self._elsewhere[device] = World(*(tensor.to(device) for tensor in self.world))
        return self._elsewhere[device]

    # --- words -------------------------------------------------------------------------------------------------------

    def _alarms(self) -> tuple[Alarm, ...]:
        ring = {
            SEEN: self.execution == "close",
            FREE: self.costs == market_costs.Costs(),
            LENT: self.shorting is not None and not self.shorting.borrow_rate,
        }
        return tuple(alarm for alarm, rings in ring.items() if rings)

    def _assumptions(self) -> tuple[str, ...]:
        c, v, short, off = self.costs, self.venue, self.shorting, self.risk_off
        lot = f"lots of {v.lot:g}" if v.lot else "fractions of a share allowed"
        limit = "no daily price limit" if v.price_limit is None else f"a {v.price_limit:.0%} daily limit"
        borrowed = (
            "Long only; purchases end where the cash does."
            if short is None
            else f"Short sales up to {short.limit:.0%} of wealth, borrowed at {short.borrow_rate:.2%} a year; proceeds earn "
            "the cash rate and may pay for purchases; no margin call before wealth is lost, which ends the episode."
        )
        index = "turbulence" if off is None or off.index is None else off.index.symbols[0]
        return (
            f"Orders are {FILLED[self.execution]}.",
            f"An action of 1 buys {self.max_shares:g} shares and -1 sells as many; {lot}, {limit}.",
            f"Sales come first, then purchases while the cash lasts; when it does not, {_SCARCE[self.priority]}.",
            borrowed,
            *([f"Everything is sold, nothing bought, while {index} is {off.threshold:g} or more."] if off else []),
            f"Commission {c.commission_bps:g} bp each way, stamp duty {c.stamp_duty_bps:g} bp on sales, slippage "
            f"{c.slippage_bps:g} bp each way, at least {c.minimum_fee:g} an order; every policy pays the same.",
            "Orders are small against the market: no impact beyond the slippage above.",
            "Prices are adjusted for splits and dividends where the source says so, so dividends are reinvested; cash "
            f"earns {self.cash_rate:.2%} a year.",
            "A bar without volume fills no order. A stock without a bar keeps its last price and cannot be traded.",
            "The scaler was fitted on the training dates only, over all stocks together.",
        )


def _sorted(keys: Tensor) -> Tensor:
    """Sort rows of integers [B, N] in place; NumPy sorts short rows ten times as fast as torch does on a CPU."""
    if keys.device.type != "cpu":
        return keys.sort(-1).values
    keys.numpy().sort(axis=-1)
    return keys


def _mean_known(close: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T] mean over the columns of [T, N] that are not NaN; 1 where none is."""
    known = np.isfinite(close)
    return np.where(known.any(-1), np.nan_to_num(close).sum(-1) / known.sum(-1).clip(min=1), 1.0)
