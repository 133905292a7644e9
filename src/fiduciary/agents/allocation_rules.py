"""Allocation rules: weights from the covariances and means of past returns, long only. skfolio optimises (extra `portfolio`).

Every rule sees the last closes that the world quotes, ignores assets that lack part of that history, do not trade or never
moved, and asks for weights afresh each time it is asked: `Every(rule, 21)` asks once a month and holds in between.
Where nothing can be computed, because no asset has its history or the solver fails, it asks for what is held: cash, at first.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.agents.online_rules import OLMAR, SScore
from fiduciary.agents.weight_rules import MONTH, EqualWeight, Every, FixedMix, HoldWeights, closes, held, point
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, Policy
from fiduciary.data.panel import BARS

RISK_AVERSION = 5.0
"""gamma of the mean-variance utility w'mu - gamma / 2 w'Sigma w, returns per bar."""
Method = Literal[
    "inverse-volatility", "minimum-variance", "mean-variance", "mean-variance-robust", "risk-parity", "hrp",
    "black-litterman", "maximum-diversification",
]  # fmt: skip
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Optimised:
    """Fully invested weights by one of these methods, from the last `lookback` simple returns.

        inverse-volatility       w_i ~ 1 / sigma_i
        minimum-variance         min w'Sigma w                                            (Markowitz 1952)
        mean-variance            max w'mu - gamma / 2 w'Sigma w, mu the sample means      (the same)
        mean-variance-robust     the same, mu shrunk to that of minimum variance           (Jorion 1986: Bayes-Stein)
        risk-parity              equal contributions w_i (Sigma w)_i                      (Maillard, Roncalli, Teiletche 2010)
        hrp                      hierarchical risk parity                                 (López de Prado 2016)
        black-litterman          mean-variance with the posterior mu described below      (He and Litterman 1999)
        maximum-diversification  max w'sigma / sqrt(w'Sigma w)                            (Choueifaty and Coignard 2008)

    Sigma is shrunk as in Ledoit and Wolf (2004), but for inverse volatility; gamma is `RISK_AVERSION`.

    Black-Litterman: no market values are at hand, so the market of the equilibrium prior is equal weight, mu = gamma Sigma 1/N,
    whose optimum is equal weight. The views are momentum: asset i will earn its mean return over the look-back, less its last
    month; tau = 0.05, and views as uncertain as the prior.

    Attributes:
        method: one of the above.
        lookback: returns that weights are computed from.
        short: s of the environment; weights stay long only.
        fields: names of the quotes.

    Raises:
        ConfigError: an unknown method or a look-back too short; when it acts, skfolio is not installed.
    """

    method: Method
    lookback: int = 252
    short: float = 0.0
    fields: tuple[str, ...] = BARS

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError(f"`method` must be one of {', '.join(get_args(Method))}", repr(self.method))
        if self.lookback < 2 * MONTH:
            raise ConfigError(f"`lookback` must be at least {2 * MONTH} returns", str(self.lookback))

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        price, usable = closes(obs, self.lookback + 1, self.fields)
        r = price[:, 1:] / price[:, :-1] - 1.0
        usable = usable & (r.std(1) > 0)  # false for NaN, too
        weights = held(obs)
        # Accounts on one bar have one past: it is optimised once.
        keys = torch.cat((obs.world.bar.unsqueeze(-1), usable.long()), dim=-1)
        cases, of = keys.unique(dim=0, return_inverse=True)
        for case in range(len(cases)):
            rows = (of == case).nonzero().squeeze(-1)
            assets = usable[rows[0]]
            found = _optimal(self.method, r[rows[0]][:, assets].cpu().numpy())
            if found is not None:
                fresh = torch.zeros_like(weights[0])
                fresh[assets] = torch.from_numpy(found).to(fresh)
                weights[rows] = fresh
        return point(weights, self.short), carry


@dataclass(frozen=True)
class TopMomentum:
    """Equal weights in the `top` assets that rose most from bar t - `lookback` to t - `skip` (Jegadeesh and Titman 1993).

    Attributes:
        top: how many.
        lookback, skip: in bars; 252 and 21 are the 12-1 months.
        short: s of the environment; weights stay long only.
        fields: names of the quotes.
    """

    top: int = 2
    lookback: int = 252
    skip: int = 21
    short: float = 0.0
    fields: tuple[str, ...] = BARS

    def __post_init__(self) -> None:
        if not (0 <= self.skip < self.lookback and self.top > 0):
            raise ConfigError(
                "`skip` must lie in [0, lookback) and `top` be positive", f"{self.skip}, {self.lookback}, {self.top}"
            )

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        price, usable = closes(obs, self.lookback + 1, self.fields)
        growth = torch.where(usable, price[:, -1 - self.skip] / price[:, 0], -torch.inf)
        best = growth.topk(min(self.top, growth.shape[-1]), dim=-1).indices
        chosen = torch.zeros_like(growth).scatter(-1, best, 1.0) * usable
        weights = chosen / chosen.sum(-1, keepdim=True).clamp(min=1.0)
        return point(torch.where(usable.any(-1, keepdim=True), weights, held(obs)), self.short), carry


def _optimal(method: Method, r: Floats) -> Floats | None:
    """Weights [N] from returns [L, N]; None where there is no asset, or no solution."""
    if r.shape[1] < 2:
        return np.ones(1) if r.shape[1] else None
    optimiser = _optimiser(method, r)
    from skfolio.exceptions import SkfolioError

    try:
        weights = np.asarray(optimiser.fit(r).weights_, dtype=np.float64)
    except (SkfolioError, ArithmeticError, np.linalg.LinAlgError):
        return None
    return weights if np.isfinite(weights).all() else None


def _optimiser(method: Method, r: Floats) -> Any:
    """skfolio's estimator of a method, not fitted yet."""
    try:
        from skfolio import moments, optimization, prior
    except ImportError as error:
        raise ConfigError(
            f"the rule {method!r} must have skfolio", f"no {error.name}", remedy='pip install "fiduciary[portfolio]"'
        ) from None
    if method == "inverse-volatility":
        return optimization.InverseVolatility()

    def belief(mu: Any = None) -> Any:
        return prior.EmpiricalPrior(mu_estimator=mu, covariance_estimator=moments.LedoitWolf())

    risk_only = {
        "minimum-variance": optimization.MeanRisk, "risk-parity": optimization.RiskBudgeting,
        "hrp": optimization.HierarchicalRiskParity, "maximum-diversification": optimization.MaximumDiversification,
    }  # fmt: skip
    if method in risk_only:
        return risk_only[method](prior_estimator=belief())
    if method == "mean-variance":
        means = belief()
    elif method == "mean-variance-robust":
        shrunk = moments.ShrunkMu(moments.LedoitWolf(), True, moments.ShrunkMuMethods.BAYES_STEIN)
        means = belief(shrunk)
    else:
        equilibrium = belief(moments.EquilibriumMu(RISK_AVERSION, covariance_estimator=moments.LedoitWolf()))
        views = [f"a{i} == {mean:.12f}" for i, mean in enumerate(r[:-MONTH].mean(axis=0))]
        names = [[f"a{i}" for i in range(r.shape[1])]]
        means = prior.BlackLitterman(views, groups=names, prior_estimator=equilibrium)
    return optimization.MeanRisk(
        optimization.ObjectiveFunction.MAXIMIZE_UTILITY, risk_aversion=RISK_AVERSION / 2, prior_estimator=means
    )


ALLOCATION: dict[str, Policy] = {
    "equal-weight": EqualWeight(),
    "hold": HoldWeights(),
    "60-40": Every(FixedMix()),
    **{method: Every(Optimised(method)) for method in get_args(Method)},
    "momentum": Every(TopMomentum()),
    "s-score": SScore(),
    "ucrp": EqualWeight(),
    "olmar": OLMAR(),
}
"""Rules over weights by name, with textbook settings; none was tuned on our data.

"60-40" holds 60 % in equal parts of what trades and 40 % in cash, since no rule can know which asset is a bond: name them with
`mix`. Uniform constant rebalancing ("ucrp", Cover 1991) is equal weight at every bar.
"""
