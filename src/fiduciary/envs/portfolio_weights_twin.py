"""The slow, readable twin of `PortfolioWeights`: one account, one day at a time, plain Python floats read from the panel.

The fee equation is solved by bisection. A validator can check the rules here line by line; tests demand that the fast
environment keeps the same accounts.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fiduciary.envs.portfolio_weights import IMPACT_BARS, RUIN, PortfolioWeights


@dataclass
class Twin:
    """One account of `env`, opened on the first bar of its dates; `held` is the money in each asset."""

    env: PortfolioWeights

    def __post_init__(self) -> None:
        panel = self.env.panel
        self.bars = {field: panel[field].T.tolist() for field in panel.fields}  # bars[field][n][t], NaN without a bar
        self.listed = panel.mask.T.tolist()
        self.days = panel.dates.astype("datetime64[D]").astype(int).tolist()
        self.t = self.env.world.first
        self.cash = self.env.cash
        self.held = [0.0] * len(self.env.panel.symbols)

    @property
    def wealth(self) -> float:
        """Cash plus assets at the close."""
        return self.cash + sum(self.held)

    def step(self, p: Sequence[float]) -> float:
        """Live through one day under the action `p`, cash first, and return the reward."""
        before = self.wealth
        if before <= 0:
            return 0.0
        overnight = self.cash, self.held
        self._trade(p)
        after_trade = self.cash, self.held
        fills = self._fills()
        self.held = [
            h * self._close(n, self.t + 1) / f if h else 0.0
            for n, (h, f) in enumerate(zip(self.held, fills, strict=True))
        ]
        self._carry(*(after_trade if self.env.execution == "close" else overnight))
        self.t += 1
        ratio = self.wealth / before
        return math.log(max(ratio, RUIN)) if self.env.reward == "log" else ratio - 1.0

    def _trade(self, p: Sequence[float]) -> None:
        """Size at the close of t, carry the sizes to the fill, pay for the difference."""
        s, wealth, names = self.env.short, self.wealth, range(len(self.held))
        free = [n for n in names if self._filled(n)]
        locked = sum(self.held[n] for n in names if n not in free)
        asked = p[0] + sum(p[n + 1] for n in free)
        fills, closes = self._fills(), [self._close(n, self.t) for n in names]
        move = [f / c if c else 1.0 for f, c in zip(fills, closes, strict=True)]
        self.held = [h * m for h, m in zip(self.held, move, strict=True)]
        if asked <= 0:
            return
        divided = wealth * (1.0 + len(free) * s) - locked
        wanted = {n: (p[n + 1] / asked * divided - s * wealth) * move[n] for n in free}
        whole = p[0] / asked * divided + sum(wanted.values())
        budget = self.cash + sum(self.held[n] for n in free)
        if whole <= 0 or budget <= 0:
            return
        self._settle({n: wanted[n] / whole for n in free}, budget)

    def _settle(self, aim: dict[int, float], budget: float) -> None:
        """Trade so that asset n is the fraction aim[n] of what is left of `budget`."""
        if self.env.turnover_limit is not None:
            size = sum(abs(w * budget - self.held[n]) for n, w in aim.items())
            part = min(1.0, self.env.turnover_limit * (self.cash + sum(self.held)) / size) if size else 1.0
            aim = {n: (self.held[n] + part * (w * budget - self.held[n])) / budget for n, w in aim.items()}

        strength = {n: self._strength(n) for n in aim}

        def cost(n: int, x: float) -> float:
            c = self.env.costs
            rate = c.commission_bps + c.slippage_bps + (c.stamp_duty_bps if x < 0 else 0.0)
            return abs(x) * rate * 1e-4 + strength[n] * abs(x) * math.sqrt(abs(x))

        def gap(left: float) -> float:
            return left + sum(cost(n, w * left - self.held[n]) for n, w in aim.items()) - budget

        left = _largest_root(gap, budget)
        if left <= 0:
            return
        for n, w in aim.items():
            x = w * left - self.held[n]
            self.cash -= x + cost(n, x)
            self.held[n] += x

    def _strength(self, n: int) -> float:
        """Impact of one unit of money in asset n, from its last bars up to the close of t."""
        if not self.env.impact:
            return 0.0
        own = [t for t in range(self.t + 1) if self.listed[n][t]][-IMPACT_BARS - 1 :]
        closes, volumes = ([self.bars[field][n][t] for t in own] for field in ("close", "volume"))
        moves = [math.log(b / a) for a, b in itertools.pairwise(closes)]
        money = statistics.fmean(a * b for a, b in zip(closes[1:], volumes[1:], strict=True))
        return self.env.impact * statistics.pstdev(moves) / math.sqrt(money)

    def _carry(self, cash: float, held: Sequence[float]) -> None:
        years = (self.days[self.t + 1] - self.days[self.t]) / 365.0
        interest = cash * math.expm1(years * math.log1p(self.env.cash_rate))
        self.cash += interest - self.env.borrow_rate * years * sum(-h for h in held if h < 0)

    def _filled(self, n: int) -> bool:
        """Whether an order in asset n, decided at t, is filled."""
        bar = self.t if self.env.execution == "close" else self.t + 1
        known = sum(self.listed[n][: self.t + 1]) > (IMPACT_BARS if self.env.impact else 0)
        return bool(known and self.listed[n][bar] and self.bars["volume"][n][bar] > 0)

    def _fills(self) -> list[float]:
        """Price of each asset where an order decided at t is filled; the last close where there is no bar."""
        names, bar = range(len(self.held)), self.t + 1
        if self.env.execution == "close":
            return [self._close(n, self.t) for n in names]
        if self.env.execution == "next_close":
            return [self._close(n, bar) for n in names]
        return [self.bars["open"][n][bar] if self.listed[n][bar] else self._close(n, self.t) for n in names]

    def _close(self, n: int, t: int) -> float:
        """Last close of asset n up to bar t, 0 before the first."""
        return next((self.bars["close"][n][bar] for bar in range(t, -1, -1) if self.listed[n][bar]), 0.0)


def _largest_root(gap: Callable[[float], float], top: float) -> float:
    """Largest root in [0, top] of a convex function that is not negative at `top`; 0 where there is none."""
    low, high = 0.0, top
    for _ in range(300 if gap(0.0) > 0 else 0):  # to where it is least: negative there, or nowhere
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if gap(a) <= gap(b) else (a, high)
    if gap(low) > 0:
        return 0.0
    high = top
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if gap(middle) <= 0 else (low, middle)
    return low
