"""The slow, readable twin of `ShareTrading`: one account, one day and one stock at a time, plain Python floats.

A validator can check the rules here line by line; tests demand that the fast environment keeps the same accounts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fiduciary.envs.share_trading import WORST, ShareTrading
from fiduciary.markets.turbulence import turbulence


@dataclass
class Twin:
    """One account of `env`, opened on the first bar of its dates."""

    env: ShareTrading

    def __post_init__(self) -> None:
        self.t = int(self.env.world.first)
        self.cash = self.env.cash
        self.shares = [0.0] * len(self.env.panel.symbols)
        self.stocks = range(len(self.shares))
        self.ruined = False
        risk_off = self.env.risk_off
        own = risk_off is not None and risk_off.index is None
        self.turbulence = turbulence(self.env.panel, lookback=risk_off.lookback) if risk_off and own else None

    @property
    def wealth(self) -> float:
        """Cash plus shares at the last known close."""
        return self.cash + sum(self.shares[n] * self._close(n, self.t) for n in self.stocks)

    def step(self, action: Sequence[float]) -> float:
        """Live through one day and return the reward."""
        before = self.wealth
        if self.env.execution == "close":
            self._trade(action, bar=self.t)
            self._wait_overnight(self.cash, self.shares)
        else:
            cash, shares = self.cash, list(self.shares)
            self._trade(action, bar=self.t + 1)
            self._wait_overnight(cash, shares)
        self.t += 1
        self.ruined = self.wealth <= 0
        if self.env.reward == "wealth":
            return (self.wealth - before) / self.env.cash
        return math.log(max(self.wealth / before, WORST))

    # --- orders ------------------------------------------------------------------------------------------------------

    def _trade(self, action: Sequence[float], bar: int) -> None:
        wanted = {n: self._wanted(n, action[n], bar) for n in self.stocks if self._trades(n, bar)}
        price = {n: self._fill_price(n, bar) for n in wanted}
        self._sell({n: -units for n, units in wanted.items() if units < 0}, price, bar)
        buys = {n: units for n, units in wanted.items() if units > 0}
        if self.env.priority == "prorata":
            self._buy_alike(buys, price)
        else:
            self._buy_in_turn(buys, price)

    def _wanted(self, n: int, action: float, bar: int) -> float:
        """Units ordered, negative for a sale; zero where the bar is locked at its limit."""
        lot, limit = self.env.venue.lot, self.env.venue.price_limit
        units = float(action) * self.env.max_shares
        if lot:
            units = int(float(action) * (self.env.max_shares / lot)) * lot
        if self._risk_off():
            units = -self.shares[n]
        if limit is not None:
            previous, price = self._close(n, bar - 1), self._fill_price(n, bar)
            locked_up = price >= previous * (1 + limit - 0.002)
            locked_down = price <= previous * (1 - (limit - 0.002))
            if (units > 0 and locked_up) or (units < 0 and locked_down):
                return 0.0
        return units

    def _sell(self, wanted: dict[int, float], price: dict[int, float], bar: int) -> None:
        """Sell what is held; of what is not, as much as may be sold short."""
        owned = {n: min(units, max(self.shares[n], 0.0)) for n, units in wanted.items()}
        opened = {n: units - owned[n] for n, units in wanted.items()}
        fraction = 0.0
        if self.env.shorting is not None:
            marks = [self._fill_price(n, bar) for n in self.stocks]
            wealth = self.cash + sum(s * p for s, p in zip(self.shares, marks, strict=True))
            short = sum(-s * p for s, p in zip(self.shares, marks, strict=True) if s < 0)
            room = max(self.env.shorting.limit * wealth - short, 0.0)
            asked = sum(units * price[n] for n, units in opened.items())
            fraction = 1.0 if asked <= room else room / asked
        for n in wanted:
            self._exchange(n, -(owned[n] + self._whole(opened[n] * fraction)), price[n])

    def _buy_alike(self, wanted: dict[int, float], price: dict[int, float]) -> None:
        """All orders shrink by one factor."""
        money, value = max(self.cash, 0.0), sum(units * price[n] for n, units in wanted.items())
        cost = sum(self._cost(units * price[n]) for n, units in wanted.items())
        spare = max(money - len(wanted) * self.env.costs.minimum_fee, 0.0)
        fraction = 1.0 if cost <= money else spare / (value * self._rate)
        for n, units in wanted.items():
            self._exchange(n, self._whole(units * fraction), price[n])

    def _buy_in_turn(self, wanted: dict[int, float], price: dict[int, float]) -> None:
        """The largest number of shares first; each order takes what cash is left."""
        lot, minimum = self.env.venue.lot, self.env.costs.minimum_fee
        for n in sorted(wanted, key=lambda n: (-wanted[n], n)):
            lots = self.cash / (price[n] * lot * self._rate)
            if minimum:
                slip = self.env.costs.slippage_bps * 1e-4
                lots = min(
                    self.cash / (price[n] * lot * self._rate), (self.cash - minimum) / (price[n] * lot * (1 + slip))
                )
            self._exchange(n, min(max(math.floor(lots), 0) * lot, wanted[n]), price[n])

    def _exchange(self, n: int, units: float, price: float) -> None:
        """Fill an order: shares one way, money the other, costs always out."""
        if units:
            self.shares[n] += units
            self.cash -= self._cost(units * price)

    # --- rules -------------------------------------------------------------------------------------------------------

    @property
    def _rate(self) -> float:
        return 1.0 + self.env.costs.commission_bps * 1e-4 + self.env.costs.slippage_bps * 1e-4

    def _cost(self, money: float) -> float:
        """What an order takes from the cash: its money, commission, slippage and, on sales, duty."""
        c, size = self.env.costs, abs(money)
        commission = max(size * (c.commission_bps * 1e-4), c.minimum_fee)
        duty = size * (c.stamp_duty_bps * 1e-4) if money < 0 else 0.0
        return money + commission + duty + size * (c.slippage_bps * 1e-4)

    def _whole(self, units: float) -> float:
        lot = self.env.venue.lot
        return math.floor(units / lot) * lot if lot else units

    def _risk_off(self) -> bool:
        rule = self.env.risk_off
        if rule is None:
            return False
        if self.turbulence is not None:
            return bool(self.turbulence[self.t] >= rule.threshold)
        assert rule.index is not None
        today = self.env.panel.dates[self.t]
        known = [t for t, date in enumerate(rule.index.dates) if date <= today and rule.index.mask[t, 0]]
        return bool(known) and float(rule.index["close"][known[-1], 0]) >= rule.threshold

    def _trades(self, n: int, bar: int) -> bool:
        """Shares change hands on `bar`, and a whole window of the stock's factors is known today."""
        panel = self.env.panel
        moving = "volume" not in panel.fields or panel["volume"][bar, n] > 0
        bars = sum(bool(known) for known in panel.mask[: self.t + 1, n])
        longest = max(factor.lookback for factor in self.env.factors)
        return bool(panel.mask[bar, n]) and bool(moving) and bars - (longest - 1) >= self.env.window

    def _fill_price(self, n: int, bar: int) -> float:
        if not self.env.panel.mask[bar, n]:
            return self._close(n, bar)
        return float(self.env.panel["open" if self.env.execution == "next_open" else "close"][bar, n])

    def _close(self, n: int, t: int) -> float:
        """Last known close; a stock without one is worth nothing, and none is held."""
        while t >= 0 and not self.env.panel.mask[t, n]:
            t -= 1
        return float(self.env.panel["close"][t, n]) if t >= 0 else 0.0

    def _wait_overnight(self, cash: float, shares: Sequence[float]) -> None:
        """Interest on the cash, and the fee for what is borrowed at today's close."""
        dates = self.env.panel.dates.astype("datetime64[D]").astype(int)
        years = float(dates[self.t + 1] - dates[self.t]) / 365.0
        self.cash += cash * ((1 + self.env.cash_rate) ** years - 1)
        if self.env.shorting is not None:
            short = sum(-units * self._close(n, self.t) for n, units in enumerate(shares) if units < 0)
            self.cash -= short * ((1 + self.env.shorting.borrow_rate) ** years - 1)
