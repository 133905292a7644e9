"""Rules over weights, cash first, that follow prices bar by bar: on-line portfolio selection and statistical arbitrage."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fiduciary.agents.ops import project_simplex
from fiduciary.agents.weight_rules import closes, held, point
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs
from fiduciary.data.panel import BARS

YEAR = 252.0
"""Bars in a year, as the s-score's source counts them."""


@dataclass(frozen=True)
class OLMAR:
    """On-line moving average reversion (Li and Hoi 2012, algorithms 1 and 2: OLMAR-1).

        x_i = mean of the last `window` closes / P_i                                 the relative that reversion promises
        b' = projection on the simplex of b + lambda (x - mean x),  lambda = max(0, (epsilon - b.x) / |x - mean x|^2)

    b begins uniform and is the portfolio asked for last, not what drift has made of it, as in the paper. Assets without the
    window are left out; without any the rule keeps cash.

    Attributes:
        epsilon: the relative demanded, above 1.
        window: in closes, the present one included.
        short: s of the environment; weights stay long only.
        fields: names of the quotes.
    """

    epsilon: float = 10.0
    window: int = 5
    short: float = 0.0
    fields: tuple[str, ...] = BARS

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights; the carry is b [B, N]."""
        price, usable = closes(obs, self.window, self.fields)
        count = usable.sum(-1, keepdim=True).clamp(min=1)
        b = carry if carry is not None else usable / count.double()
        x = torch.where(usable, price.mean(1) / price[:, -1], 0.0)
        away = torch.where(usable, x - x.sum(-1, keepdim=True) / count, 0.0)
        square = away.square().sum(-1, keepdim=True)
        lack = (self.epsilon - (b * x).sum(-1, keepdim=True)).clamp(min=0.0)
        step = torch.where(square > 0, lack / torch.where(square > 0, square, 1.0), 0.0)
        some = usable.any(-1, keepdim=True)
        aim = project_simplex(torch.where(usable | ~some, b + step * away, -torch.inf))
        b = torch.where(some, aim, 0.0)
        return point(b, self.short), b


@dataclass(frozen=True)
class SScore:
    """Mean reversion of what an asset does beyond common factors (Avellaneda and Lee 2010, sections 2 to 4: PCA).

    Eigenportfolios of the correlations over `lookback` returns explain `explained` of the variance. A regression of each asset
    on them over the last `window` returns leaves residuals, whose running sum X is an Ornstein-Uhlenbeck process:

        X_k+1 = a + b X_k + noise,   kappa = -log(b) 252,   m = a / (1 - b),   sigma_eq = sqrt(var(noise) / (1 - b^2))
        s = -(m - mean of m over assets) / sigma_eq

    A long position of 1/N opens below -`open`, closes above -`close_long`; a short one opens above `open`, closes below
    `close_short`. Positions open only where 1 / kappa is less than half the window. In between they drift.

    Departures: positions are not hedged with the factors (an account without shorts cannot be), so longs carry the risk of
    the market and s only chooses assets; shorts only where the environment lets weights go short, by 1/N or its bound; each
    position is 1/N of wealth, unlevered. As in the paper's section 2.1, factors are counted by explained variance.

    Attributes:
        lookback: returns behind the correlations.
        window: returns behind a score.
        explained: share of the variance that factors explain, 0 to 1; at least one asset's worth is left over.
        open, close_long, close_short: bounds on s.
        short: s of the environment.
        fields: names of the quotes.
    """

    lookback: int = 252
    window: int = 60
    explained: float = 0.55
    open: float = 1.25
    close_long: float = 0.5
    close_short: float = 0.75
    short: float = 0.0
    fields: tuple[str, ...] = BARS

    def __post_init__(self) -> None:
        if not 10 <= self.window <= self.lookback:
            raise ConfigError("`window` must lie between 10 and `lookback`", f"{self.window} with {self.lookback}")

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights; the carry is the side [B, N] of each position: 1 long, 0 none, -1 short."""
        price, usable = closes(obs, self.lookback + 1, self.fields)
        s, quick = self.scores(price[:, 1:] / price[:, :-1] - 1.0, usable)
        side = torch.zeros_like(s) if carry is None else carry
        keep = ((side > 0) & ~(s > -self.close_long)) | ((side < 0) & ~(s < self.close_short))
        opened = (s < -self.open).double() - (s > self.open).double() * (self.short > 0)
        then = torch.where(keep, side, torch.where(quick, opened, 0.0))
        fresh = (then / s.shape[-1]).clamp(min=-self.short)
        kept = (then == side) & (side != 0) & (held(obs) != 0)  # an order that was not filled is given again
        return point(torch.where(kept, held(obs), fresh), self.short), then

    def scores(self, r: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        """s [B, N] of returns r [B, L, N] where `usable` [B, N], NaN elsewhere, and whether it reverts quickly [B, N]."""
        residual = self._residuals(torch.where(usable.unsqueeze(1), r, 0.0))
        path = residual.cumsum(1)
        was, now = path[:, :-1], path[:, 1:]
        spread = was - was.mean(1, keepdim=True)
        b = (spread * now).sum(1) / spread.square().sum(1)
        a = now.mean(1) - b * was.mean(1)
        noise = (now - a.unsqueeze(1) - b.unsqueeze(1) * was).var(1, correction=0)
        known = usable & (b > 0) & (b < 1)
        level = torch.where(known, a / (1.0 - b), torch.nan)
        s = -(level - level.nanmean(-1, keepdim=True)) / (noise / (1.0 - b.square())).sqrt()
        return s, known & (-b.log() * YEAR > 2.0 * YEAR / self.window)

    def _residuals(self, r: Tensor) -> Tensor:
        """[B, W, N] of the regressions, with intercept, on the eigenportfolios F_j = sum_i v_ij r_i / sigma_i."""
        sigma = r.std(1, keepdim=True)
        sigma = torch.where(sigma > 0, sigma, torch.inf)  # what never moved has no part in any factor
        z = (r - r.mean(1, keepdim=True)) / sigma
        values, vectors = torch.linalg.eigh(z.mT @ z)
        values, vectors = values.flip(-1), vectors.flip(-1)
        before = (values.cumsum(-1) - values) / values.sum(-1, keepdim=True).clamp(min=1e-300)
        chosen = before < self.explained
        chosen[:, -1] = False
        recent = r[:, -self.window :]
        factors = (recent / sigma) @ (vectors * chosen.unsqueeze(1))
        centred = recent - recent.mean(1, keepdim=True)
        # Orthonormal columns of the factors; those of factors that were not chosen are 0 and stay so.
        basis, size, _ = torch.linalg.svd(factors - factors.mean(1, keepdim=True), full_matrices=False)
        basis = basis * (size > 1e-12 * size[:, :1]).unsqueeze(1)
        explained: Tensor = basis @ (basis.mT @ centred)
        return centred - explained
