"""Single-stock trading in shares: hold, buy with all cash, sell everything.

Implements the problem of card 1.1 (LSTM-DQN stock investment management, Comput. Intell. Neurosci. 2022). Departures:
the order decided at the close of t is filled at the open of t+1 (the paper's fill at the observed close is
`execution="close"`); returns are fractions of wealth, not money per trade, so that the risk aversion A means the same at
every price; the utility is taken in incremental form and normalised by what holding the stock earned on training dates.

    r_t = (W_t - W_tm1) / W_tm1
    u_t = r_t - 0.5 A (r_t - rbar_t)^2              rbar_t: running mean of r over the episode
    reward_t = (u_t - mean(u_hold)) / std(u_hold)    both over training dates

Assumptions: the order is small against the market (no impact beyond `Costs.slippage_bps`); adjusted prices, so dividends
are reinvested; on days without a bar (suspension) nothing is decided, and an order waits for the next bar's open; orders
that meet a bar locked at its limit are not filled.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Alarm, Fold, Ledger, Obs, Source, Spec, Split, Step, Sweep, View, transition
from fiduciary.data.panel import Panel, span
from fiduciary.envs.terms import FILLED, FREE, SEEN, Execution, Range, learnt, longest, standing, stretches
from fiduciary.factors import SIM, Factor, Formula, Scaler, compute
from fiduciary.markets import costs as market_costs
from fiduciary.markets import venue as market_venue
from fiduciary.markets.dynamics import redrawn

HOLD, BUY, SELL = 0, 1, 2


class Account(NamedTuple):
    """State of B accounts.

    Attributes:
        t: [B] int64, present bar, an index into the world.
        end: [B] int64, last bar of the episode.
        cash: [B] float64 money.
        shares: [B] float64 units.
        bought: [B] int64, bar of the last purchase.
        steps: [B] float64, steps since the episode began.
        mean_return: [B] float64, running mean of the account's returns.
    """

    t: Tensor
    end: Tensor
    cash: Tensor
    shares: Tensor
    bought: Tensor
    steps: Tensor
    mean_return: Tensor


class World(NamedTuple):
    """Every symbol's own bars laid end to end, M in all; shared by all accounts and never written.

    Attributes:
        features: [M, F] float32, scaled factors; NaN where the look-back is not filled.
        fill: [M] float64 money, price at which orders are filled on that bar.
        close: [M] float64 money.
        day: [M] int64, days since 1970-01-01.
        buyable, sellable: [M] bool, that bar fills a purchase, a sale: it has volume and is not locked at its limit.
        interest: [M] float64, earned by idle cash since the bar before, as a fraction of it.
        quotes: [M, P] float64, the panel's own fields.
        since: [M] int64, first bar of the same symbol.
        first, last: [N] int64, first and last bar of each symbol's longest stretch on which an episode may stand.
        begin, end: [S] int64, every bar on which an episode may begin, and the last bar of its stretch.
        offset: [N+1] int64, where each symbol's begin, and the last one's end, in `begin`.
    """

    features: Tensor
    fill: Tensor
    close: Tensor
    day: Tensor
    buyable: Tensor
    sellable: Tensor
    interest: Tensor
    quotes: Tensor
    since: Tensor
    first: Tensor
    last: Tensor
    begin: Tensor
    end: Tensor
    offset: Tensor


@dataclass(frozen=True, eq=False)
class StockTrading:
    """N independent accounts of equal capital, each trading one stock of `panel`.

    Attributes:
        panel: prices; `close` always, `open` too when orders are filled there.
        factors: what a policy observes, each causal with a declared look-back.
        cash: capital, in the panel's currency, shared equally among its symbols.
        costs: what a trade costs.
        venue: lots, holding days, price limits.
        window: W, bars in an observation.
        execution: when orders are filled.
        risk_aversion: A in the utility.
        cash_rate: annual rate earned on idle cash, per calendar day, compounded (0.01 = 1 %).
        dates: first and last date on which an episode may stand; windows may look back before the first.
        without: ranges within `dates` on which no episode may stand. Episodes end with their stretch; windows may look
            back over a gap. Set by `folds`.
        starts: "first" opens every account on the first date of its longest stretch, "random" draws one of all dates for
            each (training).
        episode: longest episode in steps; None = to the last date.
        train_episode: the same, for the training half of `folds`.
        scaler: feature scaler fitted on training dates, None = raw factors. Set by `folds`.
        utility: mean and standard deviation of the utility of holding on training dates. Set by `folds`.

    Raises:
        ConfigError: at first use, if the window does not fit, a field is missing or an option is unknown.
    """

    panel: Panel
    factors: Sequence[Factor | Formula] = SIM
    _: KW_ONLY
    cash: float = 500_000.0
    costs: market_costs.Costs = market_costs.CHINA_A
    venue: market_venue.Venue = market_venue.CHINA_A
    window: int = 20
    execution: Execution = "next_open"
    risk_aversion: float = 0.2
    cash_rate: float = 0.0
    dates: Range = (None, None)
    without: tuple[tuple[str, str], ...] = ()
    starts: Literal["first", "random"] = "first"
    episode: int | None = None
    train_episode: int | None = 250
    scaler: Scaler | None = None
    utility: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.execution not in get_args(Execution):
            raise ConfigError(f"`execution` must be one of {', '.join(get_args(Execution))}", repr(self.execution))
        if not (math.isfinite(self.cash_rate) and self.cash_rate > -1):
            raise ConfigError(
                "`cash_rate` must be a number above -1", repr(self.cash_rate), remedy="0.01 means 1 % a year"
            )
        for name, least in (("cash", 0.0), ("window", 0), ("episode", 0), ("train_episode", 0)):
            if (value := getattr(self, name)) is not None and not value > least:
                raise ConfigError(f"`{name}` must be positive", repr(value))

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        most = int((self.world.last - self.world.first).max())
        return Spec(
            name="stock-trading",
            actions=("hold", "buy", "sell"),
            features=tuple(factor.name for factor in self.factors),
            account=("position",),
            window=self.window,
            horizon=min(most, self.episode or most),
            currency=self.panel.currency,
            assumptions=self._assumptions(),
            alarms=self._alarms(),
            quotes=self.panel.fields,
        )

    def sources(self) -> list[Source]:
        """The panel, for the record."""
        panel = self.panel
        first, last, faults = str(panel.dates[0]), str(panel.dates[-1]), tuple(map(str, panel.faults))
        return [Source(panel.source, panel.currency, panel.digest(), panel.symbols, first, last, faults)]

    def init(self, batch: int, rng: torch.Generator) -> Account:
        """Open `batch` accounts on the device of `rng`, symbol after symbol in turn, each with its share of the capital."""
        world, symbol = self._on(rng.device), torch.arange(batch, device=rng.device) % len(self.panel.symbols)
        first, last = world.first[symbol], world.last[symbol]
        if self.starts == "random":
            share = torch.rand(batch, generator=rng, dtype=torch.float64, device=rng.device)
            offset = world.offset[symbol]
            place = offset + (share * (world.offset[symbol + 1] - offset)).long()
            first, last = world.begin[place], world.end[place]
        end = last if self.episode is None else torch.minimum(last, first + self.episode)
        cash = torch.full((batch,), self.cash / len(self.panel.symbols), dtype=torch.float64, device=rng.device)
        nothing = torch.zeros_like(cash)
        return Account(first, end, cash, nothing, first, nothing, nothing)

    def observe(self, state: Account) -> Obs:
        """Window of scaled factors up to t, the position as a fraction of wealth, and the legal actions."""
        world = self._on(state.t.device)
        close = _at(world.close, state.t)
        worth = state.shares * close
        can_buy, can_sell = self._can_buy(state, close), self._settled(state) & (state.shares > 0)
        legal = torch.stack((torch.ones_like(can_buy), can_buy, can_sell), dim=-1)
        position = worth / (state.cash + worth)
        since = _at(world.since, state.t) if len(world.first) > 1 else None
        view = View(world.features, state.t, self.window, world.quotes, since)
        return Obs(view, position.unsqueeze(-1).float(), legal)

    def step(self, state: Account, action: Tensor) -> tuple[Account, Step]:
        """Fill what can be filled, move one bar, book it. An illegal action holds; an ended account stands still."""
        world = self._on(state.t.device)
        now, then, live = state.t, torch.minimum(state.t + 1, state.end), state.t < state.end
        bar = then if self._lag else now
        close, next_close, price = (_at(world.close, now), _at(world.close, then), _at(world.fill, bar))

        buys = live & (action == BUY) & _at(world.buyable, bar) & self._can_buy(state, close)
        sells = live & (action == SELL) & _at(world.sellable, bar) & self._settled(state)
        lots = self.venue.whole_lots(self.costs.affordable(state.cash, price))
        order = torch.where(buys, lots, torch.where(sells, -state.shares, 0.0))
        traded = order * price
        fees, impact = self.costs.fees(traded), self.costs.impact(traded)
        shares, cash = state.shares + order, state.cash - traded - fees - impact
        # Cash that waits overnight earns interest: the old balance if the fill comes tomorrow, the new one if it came now.
        carry = self._interest(state.cash if self._lag else cash, then, live)
        cash = cash + carry
        pnl = state.shares * (price - close) + shares * (next_close - price)

        before = state.cash + state.shares * close
        r = (cash + shares * next_close - before) / before
        steps = state.steps + 1
        mean_return = state.mean_return + (r - state.mean_return) / steps
        u = r - 0.5 * self.risk_aversion * (r - mean_return) ** 2
        reward = (u - self.utility[0]) / self.utility[1]

        after = Account(then, state.end, cash, shares, torch.where(order > 0, bar, state.bought), steps, mean_return)
        ledger = Ledger(pnl, -fees, -impact, carry)
        return after, transition(reward, last=then >= state.end, ledger=ledger, traded=traded)

    def wealth(self, state: Account) -> Tensor:
        """Cash plus shares at the close."""
        return state.cash + state.shares * self.mark(state)

    def mark(self, state: Account) -> Tensor:
        """Close of t."""
        return _at(self._on(state.t.device).close, state.t)

    def when(self, state: Account) -> Tensor:
        """Date of bar t, in days since 1970-01-01."""
        return _at(self._on(state.t.device).day, state.t)

    def perturb(self, state: Account, rng: torch.Generator) -> "StockTrading":
        """Redraw every bar after the present: prices leave on another path, volumes are reshuffled in size."""
        return replace(self, panel=redrawn(self.panel, int(self.when(state)[0]), rng))

    def sweep(self) -> Sweep:
        """Every action at every bar for an account in cash and for holders, by `step` itself; P = 2 + bars of a wait.

        Account states: 0 in cash; 1 + k all in stock, bought k bars ago (the last k stands for all later ones, which may
        sell). The running mean of returns in the utility is taken as 0: it moves a reward by A (r rbar - rbar^2 / 2) at most.
        Cash left over by lots is not carried from bar to bar.
        """
        bar, end = self.world.begin, self.world.end
        ages = range(1 + max(0, self.venue.hold_days - self._lag))
        capital = torch.full(bar.shape, self.cash / len(self.panel.symbols), dtype=torch.float64)
        none = torch.zeros_like(capital)
        long_ago = torch.full_like(none, torch.inf)
        held = capital / self.world.close[bar]
        grid = [Account(bar, end, capital, none, bar, long_ago, none)]
        grid += [Account(bar, end, none, held, bar - age, long_ago, none) for age in ages]
        seen = [self.observe(state) for state in grid]
        outcomes = [[self.step(state, torch.full_like(bar, a)) for a in (HOLD, BUY, SELL)] for state in grid]

        def place(state: Account) -> Tensor:
            return torch.where(state.shares > 0, 1 + (state.t - state.bought).clamp(max=len(ages) - 1), 0)

        def table(of: Callable[[Account, Step], Tensor]) -> Tensor:
            return torch.stack([torch.stack([of(*each) for each in row], -1) for row in outcomes], 1)

        return Sweep(
            bar, torch.stack([obs.account for obs in seen], 1), torch.stack([obs.legal for obs in seen], 1),
            reward=table(lambda _, step: step.reward), following=table(lambda after, _: place(after)),
            discount=table(lambda _, step: step.discount), chained=bar + 1 < end, bars=self.world.features,
        )  # fmt: skip

    # --- splitting ---------------------------------------------------------------------------------------------------

    def folds(self, split: Split) -> dict[str, Fold]:
        """One fold per symbol; scaler and utility are fitted on the training dates of that symbol alone.

        Training episodes start on random dates and last `train_episode` steps; the test runs once through all its dates.
        """
        return {symbol: self._fold(symbol, split) for symbol in self.panel.symbols}

    def _fold(self, symbol: str, split: Split) -> Fold:
        alone = replace(self, panel=self.panel.select([symbol]), cash=self.cash / len(self.panel.symbols))
        raw = replace(alone, dates=split.train, without=split.without, scaler=None, utility=(0.0, 1.0))
        world = raw.world
        scaler = Scaler.fit(world.features[learnt(world.begin, world.end, of=symbol)].numpy())
        utility = _holding_utility(world.close[world.begin + 1] / world.close[world.begin] - 1.0, self.risk_aversion)
        hindsight = replace(raw, scaler=scaler, utility=utility, starts="first", episode=None)
        train = replace(hindsight, starts="random", episode=self.train_episode)
        whole = replace(hindsight, without=())
        valid = None if split.valid is None else replace(whole, dates=split.valid)
        return Fold(train, hindsight, replace(whole, dates=split.test), valid)

    # --- internals ---------------------------------------------------------------------------------------------------

    @property
    def _lag(self) -> int:
        return 0 if self.execution == "close" else 1

    def _can_buy(self, state: Account, close: Tensor) -> Tensor:
        """[B] bool: nothing is held and the cash pays for a lot at the close."""
        return self.venue.enough(self.costs.affordable(state.cash, close)) & (state.shares == 0)

    def _settled(self, state: Account) -> Tensor:
        """[B] bool: a sale ordered now would be filled enough bars after the purchase."""
        return state.t - state.bought >= self.venue.hold_days - self._lag

    def _interest(self, balance: Tensor, then: Tensor, live: Tensor) -> Tensor:
        """[B] money earned by `balance` up to bar `then`; an ended account earns nothing."""
        if self.cash_rate == 0:
            return torch.zeros_like(balance)
        return balance * torch.where(live, _at(self._on(then.device).interest, then), 0.0)

    def _on(self, device: torch.device) -> World:
        """The world on `device`, copied there once."""
        if device not in self._copies:
            self._copies[device] = World(*(part.to(device) for part in self.world))
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, World]:
        return {}

    @cached_property
    def world(self) -> World:
        """Lay the bars out as tensors; done once for each environment."""
        table = compute(self.panel, self.factors)
        fill_field = "open" if self.execution == "next_open" else "close"
        fill, close = self.panel[fill_field], self.panel["close"]
        volume = self.panel["volume"] if "volume" in self.panel.fields else np.ones_like(close)
        parts, runs, offset = [], [], [0]
        for n, symbol in enumerate(self.panel.symbols):
            rows = np.flatnonzero(self.panel.mask[:, n])
            own = self._stretches(symbol, self.panel.dates[rows], table.mask[rows, n])
            runs.append([(offset[-1] + a, offset[-1] + b) for a, b in own])
            offset.append(offset[-1] + len(rows))
            columns = (table.values, fill, close, volume, self.panel.values)
            parts.append((*(column[rows, n] for column in columns), self.panel.dates[rows]))
        features, fills, closes, volumes, quotes, dates = map(np.concatenate, zip(*parts, strict=True))
        scaled = features if self.scaler is None else self.scaler.transform(features)
        days = torch.from_numpy(dates.astype("datetime64[D]").astype(np.int64))
        table32 = torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))
        fill_t, close_t, trading = (torch.from_numpy(column) for column in (fills, closes, volumes > 0))
        # What the market lets through and what cash earns depend on the bar alone, so no step works them out again.
        buyable = trading & self.venue.buyable(fill_t, close_t.roll(1))
        sellable = trading & self.venue.sellable(fill_t, close_t.roll(1))
        years = days.diff(prepend=days[:1]).double() / 365.0
        interest = torch.expm1(years * float(np.log1p(self.cash_rate)))
        since = torch.tensor(offset[:-1]).repeat_interleave(torch.tensor(offset).diff())
        first, last = torch.tensor([longest(own) for own in runs]).T
        begin, end = standing([run for own in runs for run in own])
        starts = [0, *np.cumsum([sum(b - a for a, b in own) for own in runs])]
        return World(
            table32, fill_t, close_t, days, buyable, sellable, interest, torch.from_numpy(quotes), since,
            first, last, begin, end, torch.tensor(starts),
        )  # fmt: skip

    def at_costs(self, multiple: float) -> "StockTrading":
        """The same problem with every cost of trading times `multiple`."""
        return replace(self, costs=self.costs.times(multiple))

    def _alarms(self) -> tuple[Alarm, ...]:
        return (*([SEEN] if self.execution == "close" else []), *([FREE] if self.costs == market_costs.Costs() else []))

    def _assumptions(self) -> tuple[str, ...]:
        c, v = self.costs, self.venue
        limit = (
            "no daily price limit"
            if v.price_limit is None
            else f"orders at the {v.price_limit:.0%} daily limit unfilled"
        )
        lot = f"lots of {v.lot:g}" if v.lot else "fractions of a share allowed"
        wait = (
            f"a sale at least {v.hold_days} trading day(s) after its purchase" if v.hold_days else "sales at any time"
        )
        return (
            f"Orders are {FILLED[self.execution]}.",
            f"All in, all out, long only, one order a day and stock; {lot}, {wait}, {limit}.",
            f"Commission {c.commission_bps:g} bp each way, stamp duty {c.stamp_duty_bps:g} bp on sales, slippage "
            f"{c.slippage_bps:g} bp each way, at least {c.minimum_fee:g} an order; every policy pays the same.",
            "Orders are small against the market: no impact beyond the slippage above.",
            "Prices are adjusted for splits and dividends where the source says so, so dividends are reinvested; idle cash "
            f"earns {self.cash_rate:.2%} a year.",
            f"Equal accounts out of {self.cash:,.0f} for {', '.join(self.panel.symbols)}, never rebalanced; one agent each.",
            "A bar without volume fills no order. On days without a bar an account keeps its last value and orders wait.",
            "Scaler and reward normalisation were fitted on the training dates only.",
        )

    def _stretches(self, symbol: str, dates: NDArray[np.datetime64], known: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """First and last bar, counted within the symbol, of each stretch on which an episode may stand."""
        try:
            span(dates, *self.dates)
        except ConfigError as error:
            raise ConfigError(
                f"{symbol} must have bars from {self.dates[0] or 'the start'} to {self.dates[1] or 'the end'}",
                f"bars from {dates[0]} to {dates[-1]}" if len(dates) else "none at all",
                remedy="leave the symbol out, move the dates or load more history",
            ) from error
        ready = int(np.argmax(known)) + self.window - 1 if known.any() else len(dates)
        if self.execution == "close":
            ready = max(ready, 1)  # the price limit needs the previous close
        return stretches(dates, self.dates, self.without, ready=ready, of=symbol)


def _at(column: Tensor, bar: Tensor) -> Tensor:
    """`column[bar]`, [B], at a third of its cost: there is no index to broadcast."""
    return column.index_select(0, bar)


def _holding_utility(r: Tensor, risk_aversion: float) -> tuple[float, float]:
    """Mean and standard deviation of the incremental utility of holding a stock that returns `r` [T]."""
    mean_return = r.cumsum(0) / torch.arange(1, len(r) + 1)
    u = r - 0.5 * risk_aversion * (r - mean_return) ** 2
    return float(u.mean()), float(u.std()) or 1.0
