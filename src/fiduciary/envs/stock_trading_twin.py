"""The slow, readable twin of `StockTrading`: one account, one day at a time, plain Python floats, no batching.

A validator can check the rules here line by line; tests demand that the fast environment keeps identical accounts.
"""

import math
from dataclasses import dataclass

from fiduciary.envs.stock_trading import BUY, SELL, StockTrading


@dataclass
class Twin:
    """One account in the first symbol of `env`, opened on the first bar of its dates."""

    env: StockTrading

    def __post_init__(self) -> None:
        panel, fill = self.env.panel, "open" if self.env.execution == "next_open" else "close"
        own = [t for t in range(len(panel.dates)) if panel.mask[t, 0]]
        self.fills, self.closes, self.volumes = ([panel[f][t, 0] for t in own] for f in (fill, "close", "volume"))
        self.days = [int(panel.dates[t].astype("datetime64[D]").astype(int)) for t in own]
        self.t = int(self.env.world.first[0])
        self.cash = self.env.cash / len(self.env.panel.symbols)
        self.shares = 0.0
        self.bought_on = self.t
        self.returns: list[float] = []

    @property
    def wealth(self) -> float:
        """Cash plus shares at the close."""
        return self.cash + self.shares * float(self.closes[self.t])

    def step(self, action: int) -> float:
        """Live through one day and return the reward."""
        before = self.wealth
        if self.env.execution == "close":
            self._trade(action, bar=self.t)
            self._earn_interest(self.cash)
        else:
            overnight = self.cash
            self._trade(action, bar=self.t + 1)
            self._earn_interest(overnight)
        self.t += 1
        return self._reward((self.wealth - before) / before)

    def _trade(self, action: int, bar: int) -> None:
        if self.volumes[bar] == 0:
            return
        price, previous_close = float(self.fills[bar]), float(self.closes[bar - 1])
        limit = math.inf if self.env.venue.price_limit is None else self.env.venue.price_limit - 0.002
        if action == BUY and self._units(float(self.closes[self.t])) > 0 and price < previous_close * (1 + limit):
            self._buy(price, bar)
        elif (
            action == SELL and bar - self.bought_on >= self.env.venue.hold_days and price > previous_close * (1 - limit)
        ):
            self._sell(price)

    def _units(self, price: float) -> float:
        """Whole lots that the cash pays for; none while something is held."""
        costs = self.env.costs
        commission, slippage = costs.commission_bps * 1e-4, costs.slippage_bps * 1e-4
        by_rate = self.cash / (price * (1.0 + commission + slippage))
        units = max(0.0, min(by_rate, (self.cash - costs.minimum_fee) / (price * (1.0 + slippage))))
        if self.env.venue.lot:
            units = math.floor(units / self.env.venue.lot) * self.env.venue.lot
        return 0.0 if self.shares else units

    def _buy(self, price: float, bar: int) -> None:
        units, costs = self._units(price), self.env.costs
        if units == 0:
            return
        money = units * price
        commission = max(money * (costs.commission_bps * 1e-4), costs.minimum_fee)
        self.cash = self.cash - money - commission - money * (costs.slippage_bps * 1e-4)
        self.shares, self.bought_on = units, bar

    def _sell(self, price: float) -> None:
        if self.shares == 0:
            return
        costs, money = self.env.costs, self.shares * price
        fees = max(money * (costs.commission_bps * 1e-4), costs.minimum_fee) + money * (costs.stamp_duty_bps * 1e-4)
        self.cash = self.cash + money - fees - money * (costs.slippage_bps * 1e-4)
        self.shares = 0.0

    def _earn_interest(self, balance: float) -> None:
        years = (self.days[self.t + 1] - self.days[self.t]) / 365.0
        self.cash += balance * math.expm1(years * math.log1p(self.env.cash_rate))

    def _reward(self, r: float) -> float:
        self.returns.append(r)
        mean_return = sum(self.returns) / len(self.returns)
        utility = r - 0.5 * self.env.risk_aversion * (r - mean_return) ** 2
        mean, std = self.env.utility
        return (utility - mean) / std
