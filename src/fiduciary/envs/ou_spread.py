"""Trading a spread that reverts to its mean, at a cost: when to open, when to close, when to let be.

The spread is an Ornstein-Uhlenbeck process, dX = theta (mu - X) dt + sigma dW, known exactly between bars of length 1:

    X_t = mu + (X_tm1 - mu) e^{-theta} + s xi_t        s^2 = sigma^2 (1 - e^{-2 theta}) / (2 theta)

A position p in {-1, 0, 1} held over a bar earns p (X_t - X_tm1), a change of it costs `fee` a unit. The best rule opens outside
of one band around the mean and closes within another; it is found by value iteration on a grid of X. With actions in
[-1, 1] the best rule is the same one: reward and cost are piecewise linear in positions, so that it pays to stand in a corner.
"""

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fiduciary.core import seeds
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Ledger, Obs, Solution, Space, Spec, Step, Sweep, transition
from fiduciary.envs.merton import normals, redrawn, shock
from fiduciary.envs.tabular import CAPITAL, nothing

BARS = 10_000
"""Bars of the world that `sweep` tries every action on."""
GRID = 501
REACH = 5.0
"""The grid of the dynamic program: points, and how many stationary standard deviations it spans to either side."""


class Pair(NamedTuple):
    """Where B spreads and positions stand.

    Attributes:
        t: [B] int64, bars gone by.
        x: [B] float64 money, the spread.
        position: [B] float64, units held.
        wealth: [B] float64 money.
        noise: [B, T] float64, standard normals that will move the spread; `observe` never reads them.
    """

    t: Tensor
    x: Tensor
    position: Tensor
    wealth: Tensor
    noise: Tensor


@dataclass(frozen=True)
class SScore:
    """The textbook rule: open against the spread beyond `open` standard deviations, close within `close` of the mean.

    Avellaneda and Lee (2010, section 3.2), with one threshold for both sides.

    Attributes:
        open, close: in stationary standard deviations.
        space: of the problem's actions.
    """

    open: float = 1.25
    close: float = 0.5
    space: Space = "discrete"

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The position that the score asks for; between the thresholds the present one, if it bets on reversion."""
        held, score = obs.account.unbind(-1)
        side = -score.sign()
        stays = (score.abs() > self.close) & (held * side > 0)
        return _action(torch.where((score.abs() > self.open) | stays, side, 0.0), self.space), carry


@dataclass(frozen=True, eq=False)
class Bands:
    """The position of a table over the score, for each position held.

    Attributes:
        position: [3, G], the best of -1, 0, 1 from each of them at evenly spaced scores from -REACH to REACH.
        space: of the problem's actions.
    """

    position: Tensor
    space: Space = "discrete"

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The position of the nearest score."""
        held, score = obs.account.unbind(-1)
        place = ((score / REACH + 1.0) / 2.0 * (self.position.shape[-1] - 1)).round().long()
        row = self.position[held.round().long() + 1, place.clamp(0, self.position.shape[-1] - 1)]
        return _action(row, self.space), carry


@dataclass(frozen=True, eq=False)
class OUSpread:
    """Hold -1, 0 or 1 unit of a mean-reverting spread, or any position between, bar by bar.

    The problem is endless and cut off after `horizon` bars (truncated); the last position is marked, not closed.

    Attributes:
        theta: speed of reversion, per bar; half of a deviation is gone after log 2 / theta bars.
        mu: mean of the spread, money.
        sigma: its volatility, money per square root of a bar; the default makes the stationary deviation 1.
        fee: cost of changing the position by one unit, money.
        horizon: longest episode, in bars.
        space: "discrete" (short, flat, long) or "box" (the position itself).
        shift: [T] added to the noise. Set by `perturb`.

    Raises:
        ConfigError: a constant has no meaning.
    """

    theta: float = 0.1
    _: KW_ONLY
    mu: float = 0.0
    sigma: float = math.sqrt(0.2)
    fee: float = 0.1
    horizon: int = 150
    space: Space = "discrete"
    shift: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("theta", "sigma", "horizon"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive", repr(getattr(self, name)))
        if self.fee < 0:
            raise ConfigError("`fee` must not be negative", repr(self.fee))
        if self.space == "simplex":
            raise ConfigError('`space` must be "discrete" or "box"', repr(self.space))

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Three positions or one number; position and score as the account."""
        return Spec(
            name="ou-spread", actions=("short", "flat", "long") if self.space == "discrete" else ("position",),
            features=(), account=("position", "score"), window=1, horizon=self.horizon, currency="units",
            assumptions=("the spread is an Ornstein-Uhlenbeck process", "the last position is marked, not closed"),
            space=self.space,
        )  # fmt: skip

    def init(self, batch: int, rng: torch.Generator) -> Pair:
        """A flat account in front of a spread drawn from its stationary law, and all that will move it."""
        draws = normals((batch, 1 + self.horizon), rng)
        flat = torch.zeros_like(draws[:, 0])
        return Pair(flat.long(), self.mu + self.deviation * draws[:, 0], flat, flat + CAPITAL, draws[:, 1:])

    def observe(self, state: Pair) -> Obs:
        """Units held, and the spread in stationary deviations from its mean; every action is legal."""
        score = (state.x - self.mu) / self.deviation
        legal = torch.ones(len(state.t), len(self.spec.actions), dtype=torch.bool, device=state.t.device)
        return Obs(nothing(state.t), torch.stack((state.position, score), dim=-1).float(), legal)

    def step(self, state: Pair, action: Tensor) -> tuple[Pair, Step]:
        """Trade at the present spread, pay, let it move. An ended account stands still."""
        live = state.t < self.horizon
        position = torch.where(live, self._position(action), state.position)
        x = torch.where(live, self._next(state.x, shock(state.noise, state.t, self.shift)), state.x)
        pnl, fees = position * (x - state.x), -self.fee * (position - state.position).abs()
        t, none = state.t + live.long(), torch.zeros_like(x)
        after = Pair(t, x, position, state.wealth + pnl + fees, state.noise)
        traded = (position - state.position) * state.x
        ledger = Ledger(pnl, fees, none, none)
        return after, transition(pnl + fees, last=t >= self.horizon, ledger=ledger, traded=traded)

    def wealth(self, state: Pair) -> Tensor:
        """Capital and all that was earned, the open position marked."""
        return state.wealth

    def mark(self, state: Pair) -> Tensor:
        """The spread."""
        return state.x

    def when(self, state: Pair) -> Tensor:
        """Bars gone by, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Pair, rng: torch.Generator) -> "OUSpread":
        """The same problem with a spread that moves otherwise from the present on."""
        return replace(self, shift=redrawn(state.t, self.horizon, rng))

    def sweep(self) -> Sweep:
        """Every position tried from every position, at every bar of one long spread, drawn from a stream of its own.

        Raises:
            ConfigError: positions are not discrete.
        """
        if self.space != "discrete":
            raise ConfigError("every action can be tried only where positions are discrete", self.space)
        draws = normals((BARS + 1, 1), seeds.generator(0, "ou-spread", "sweep"))[:, 0]
        path = [self.mu + self.deviation * draws[0]]
        for normal in draws[1:]:
            path.append(self._next(path[-1], normal))
        x, held, shape = torch.stack(path), torch.arange(-1.0, 2.0, dtype=torch.float64), (BARS, 3, 3)
        score = (x[:-1] - self.mu) / self.deviation
        account = torch.stack((held.expand(shape[:2]), score.unsqueeze(-1).expand(shape[:2])), dim=-1)
        reward = held * x.diff()[:, None, None] - self.fee * (held - held.unsqueeze(-1)).abs()
        every = torch.ones(shape, dtype=torch.float64)
        return Sweep(
            torch.zeros(BARS, dtype=torch.int64), account.float(), every.bool(), reward, torch.arange(3).expand(shape),
            every, torch.arange(BARS) < BARS - 1, torch.zeros(1, 0),
        )  # fmt: skip

    # --- the answer --------------------------------------------------------------------------------------------------

    def solve(self, gamma: float) -> Solution:
        """Value of the endless problem from a flat account, over the stationary law, and the bands that attain it.

        Value iteration on a grid of the score z, whose next value is normal:

            Q(q, z, p) = p deviation (e^{-theta} - 1) z - fee |p - q| + gamma E[max_p' Q(p, z', p')]

        Raises:
            ConfigError: `gamma` is not in (0, 1).
        """
        if not 0.0 < gamma < 1.0:
            raise ConfigError("`gamma` of an endless problem must be in (0, 1)", repr(gamma))
        z = torch.linspace(-REACH, REACH, GRID, dtype=torch.float64)
        law, start = _normal(z, self._memory * z, math.sqrt(1.0 - self._memory**2)), _normal(z, 0.0 * z[:1], 1.0)[0]
        held = torch.arange(-1.0, 2.0, dtype=torch.float64)
        earned = held * self.deviation * (self._memory - 1.0) * z.unsqueeze(-1)
        now = earned - self.fee * (held - held[:, None, None]).abs()
        value = torch.zeros(3, GRID, dtype=torch.float64)
        for _ in range(math.ceil(math.log(1e-10) / math.log(gamma))):
            value, best = (now + gamma * law @ value.T).max(-1)
        return Solution(float(start @ value[1]), Bands(held[best], self.space))

    @property
    def deviation(self) -> float:
        """Stationary standard deviation sigma / sqrt(2 theta), money."""
        return self.sigma / math.sqrt(2.0 * self.theta)

    # --- internals ---------------------------------------------------------------------------------------------------

    @property
    def _memory(self) -> float:
        return math.exp(-self.theta)

    def _next(self, x: Tensor, normal: Tensor) -> Tensor:
        spread = self.deviation * math.sqrt(1.0 - self._memory**2)
        return self.mu + (x - self.mu) * self._memory + spread * normal

    def _position(self, action: Tensor) -> Tensor:
        return action.double() - 1.0 if self.space == "discrete" else action[:, 0].double().clamp(-1.0, 1.0)


def _action(position: Tensor, space: Space) -> Tensor:
    """The action that takes `position` [B] of -1, 0 or 1."""
    return position.long() + 1 if space == "discrete" else position.unsqueeze(-1)


def _normal(z: Tensor, mean: Tensor, deviation: float) -> Tensor:
    """Probability of each point of an even grid `z` [G] under normals of `mean` [M], as rows that add up to 1, [M, G]."""
    density = (-0.5 * ((z - mean.unsqueeze(-1)) / deviation) ** 2).exp()
    return density / density.sum(-1, keepdim=True)
