"""To lend or not to lend: applicants whose probability of default is known to us, not to the learner.

Every step one applicant with features x ~ N(0, I) asks for a loan of 1 over one step and defaults with probability

    p(x) = 1 / (1 + exp(-(b_0 + b . x)))

A loan costs its funding f and brings the interest i, or loses the share L in default. It is worth granting, whatever else
happens, if and only if (1 - p) i - p L > f, which is a threshold on the probability of default:

    grant  <=>  p(x) < p* = (i - f) / (i + L)

the rule Q > C of a lender without limits on capital (see Thomas, Crook and Edelman 2017, "Credit Scoring and Its
Applications", section 4.3, on cut-offs). Nothing that is decided moves later applicants, so hindsight knows every outcome.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Ledger, Obs, Solution, Spec, Step, Sweep, transition
from fiduciary.envs.tabular import nothing

REFUSE, GRANT = 0, 1
NODES, REACH = 128, 12.0
"""Of the Gauss-Legendre rule behind the oracle's value, and how many standard deviations it reaches."""


class Desk(NamedTuple):
    """B lending desks.

    Attributes:
        t: [B] int64, applicants answered.
        uniform: [B, T+1, D+1] in (0, 1): what features and, in the last column, default will be decided by.
        wealth: [B] money.
    """

    t: Tensor
    uniform: Tensor
    wealth: Tensor


@dataclass(frozen=True)
class LoanGranting:
    """Refuse or grant; an episode is cut off after `horizon` applicants. The account is the applicant's features.

    Attributes:
        intercept: b_0.
        weights: b, one for each feature.
        interest: i, share of the loan, when it is repaid.
        loss: L, share of the loan that is lost in default.
        funding: f, share of the loan, paid whatever happens.
        horizon: T, applicants of an episode.
        applicants: of a sweep.
        capital: money at the start; lending is not limited by it.
        shift: [T+1, D+1] added, modulo 1, to what chance decides by. Set by `perturb`.

    Raises:
        ConfigError: there is no feature, no horizon, or no threshold between 0 and 1.
    """

    intercept: float = -2.5
    weights: tuple[float, ...] = (1.0, -0.8, 0.6)
    interest: float = 0.12
    loss: float = 0.6
    funding: float = 0.03
    horizon: int = 50
    applicants: int = 20_000
    capital: float = 100.0
    shift: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not any(self.weights) or self.horizon < 1 or self.applicants < 2:
            raise ConfigError("loan granting needs a feature that counts, a horizon and applicants", repr(self))
        if not 0 < self.interest - self.funding < self.interest + self.loss:
            raise ConfigError(
                "some applicants must be worth a loan and some not, which takes `interest` above `funding` above -`loss`",
                f"{self.interest:g}, {self.funding:g} and {-self.loss:g}",
            )  # fmt: skip

    @property
    def threshold(self) -> float:
        """p*, probability of default from which a loan is not worth granting."""
        return (self.interest - self.funding) / (self.interest + self.loss)

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        return Spec(
            name="loan-granting", actions=("refuse", "grant"), features=(),
            account=tuple(f"feature {k}" for k in range(len(self.weights))), window=1, horizon=self.horizon, currency="units",
            assumptions=(
                "loans of one unit over one step; what is decided moves no later applicant",
                "the outcome of a refused applicant is known to hindsight, as it is not in life",
                "lending is not limited by capital",
            ),
        )  # fmt: skip

    def init(self, batch: int, rng: torch.Generator) -> Desk:
        """Draw all applicants and what becomes of them."""
        shape = (batch, self.horizon + 1, len(self.weights) + 1)
        uniform = torch.rand(shape, generator=rng, dtype=torch.float64, device=rng.device)
        none = torch.zeros_like(uniform[:, 0, 0])
        return Desk(none.long(), uniform, none + self.capital)

    def observe(self, state: Desk) -> Obs:
        """The features of the applicant at the desk; both answers are legal."""
        legal = torch.ones(len(state.t), 2, dtype=torch.bool, device=state.t.device)
        return Obs(nothing(state.t), _features(self._draw(state)).float(), legal)

    def step(self, state: Desk, action: Tensor) -> tuple[Desk, Step]:
        """Answer, and see the loan through. After the last applicant a desk stands still, unpaid."""
        draw = self._draw(state)
        granted = (action == GRANT) & (state.t < self.horizon)
        pnl = torch.where(granted, self._outcome(draw), 0.0)
        none = torch.zeros_like(pnl)
        carry = torch.where(granted, -self.funding, none)
        t = state.t + (state.t < self.horizon).long()
        after = Desk(t, state.uniform, state.wealth + pnl + carry)
        ledger = Ledger(pnl, none, none, carry)
        return after, transition(pnl + carry, last=t >= self.horizon, ledger=ledger, traded=granted.double())

    def wealth(self, state: Desk) -> Tensor:
        """Capital plus all earnings so far."""
        return state.wealth

    def mark(self, state: Desk) -> Tensor:
        """One: a loan."""
        return torch.ones_like(state.wealth)

    def when(self, state: Desk) -> Tensor:
        """Applicants answered, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Desk, rng: torch.Generator) -> "LoanGranting":
        """The same problem, in which other applicants come next and the one at the desk may end otherwise."""
        now = int(state.t[0])
        shift = torch.rand(state.uniform.shape[1:], generator=rng, dtype=torch.float64, device=rng.device)
        shift[:now], shift[now, :-1] = 0.0, 0.0
        return replace(self, shift=shift.to(state.t.device))

    def sweep(self) -> Sweep:
        """Both answers to each of `applicants` applicants, the same ones every time; the account has one state."""
        rng = torch.Generator().manual_seed(0)
        draw = torch.rand((self.applicants, len(self.weights) + 1), generator=rng, dtype=torch.float64)
        bar = torch.zeros(self.applicants, dtype=torch.int64)
        reward = torch.stack((torch.zeros_like(draw[:, 0]), self._outcome(draw) - self.funding), dim=-1).unsqueeze(1)
        return Sweep(
            bar, _features(draw).float().unsqueeze(1), torch.ones_like(reward, dtype=torch.bool), reward,
            torch.zeros_like(reward, dtype=torch.int64), torch.ones_like(reward),
            chained=torch.arange(self.applicants) < self.applicants - 1, bars=torch.empty(1, 0),
        )  # fmt: skip

    # --- the answer --------------------------------------------------------------------------------------------------

    def solve(self, gamma: float) -> Solution:
        """The threshold on p(x), and its value over an episode by numerical integration, to 1e-12 of an applicant's.

        b . x is normal with standard deviation |b|, so the value of an applicant is one integral up to the threshold.
        """
        norm = math.hypot(*self.weights)
        cut = (math.log(self.threshold / (1.0 - self.threshold)) - self.intercept) / norm
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        z = 0.5 * (cut + REACH) * (nodes + 1.0) - REACH
        density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
        p = 1.0 / (1.0 + np.exp(-(self.intercept + norm * z)))
        gain = self.interest - self.funding - p * (self.interest + self.loss)
        each = float((weights * density * gain).sum()) * 0.5 * (cut + REACH)
        return Solution(each * sum(gamma**k for k in range(self.horizon)), Scorecard(self))

    def default_probability(self, features: Tensor) -> Tensor:
        """p(x) [...] of features [..., D]."""
        weights = torch.tensor(self.weights, dtype=torch.float64, device=features.device)
        return torch.sigmoid(self.intercept + features.double() @ weights)

    # --- internals ---------------------------------------------------------------------------------------------------

    def _draw(self, state: Desk) -> Tensor:
        """What chance decides by now, [B, D+1]."""
        draw = state.uniform[torch.arange(len(state.t), device=state.t.device), state.t]
        return draw if self.shift is None else (draw + self.shift[state.t]) % 1.0

    def _outcome(self, draw: Tensor) -> Tensor:
        """Interest, or the loss of a default, of loans granted to `draw` [B, D+1]."""
        defaults = draw[..., -1] < self.default_probability(_features(draw))
        return self.interest - (self.interest + self.loss) * defaults.double()


@dataclass(frozen=True)
class Scorecard:
    """Grant where the true probability of default is below the threshold.

    Attributes:
        env: the problem.
    """

    env: LoanGranting

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Grant or refuse."""
        return (self.env.default_probability(obs.account) < self.env.threshold).long(), carry


def _features(draw: Tensor) -> Tensor:
    """Standard normals [..., D] of uniforms [..., D+1]."""
    features: Tensor = torch.special.ndtri(draw[..., :-1].clamp(1e-12, 1.0 - 1e-12))
    return features
