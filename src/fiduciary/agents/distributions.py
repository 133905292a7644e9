"""Distributions over actions, one family for each space: what stochastic policies draw from and are scored by.

discrete   categorical over the legal actions
box        independent Gaussians, cut off at the walls; their spread is learned and is the same in every state
simplex    Dirichlet with concentrations 1 + softplus, so that a likeliest portfolio always exists
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from fiduciary.agents import ops
from fiduciary.agents.policies import Rule, categorical, clamp, dirichlet_mode
from fiduciary.core.types import Spec

LOG_STD = (-5.0, 2.0)
"""Bounds of the logarithm of a Gaussian's spread."""
FLOOR = 1e-6
"""Smallest weight of a draw from a Dirichlet distribution, so that its logarithm stays finite."""


class Family(nn.Module, ABC):
    """A family of distributions over actions; the network's outputs [..., O] choose the member.

    A draw is what the distribution is over, an action what the environment is given: they differ at the walls of a box.

    Attributes:
        rule: how a finished policy decides: the likeliest action.
        outputs: O.
    """

    rule: Rule

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    @abstractmethod
    def draw(self, outputs: Tensor, legal: Tensor, rng: torch.Generator) -> Tensor:
        """One draw for each row: [B] int64 or [B, A]."""

    @abstractmethod
    def log_prob(self, outputs: Tensor, legal: Tensor, drawn: Tensor) -> Tensor:
        """Logarithm of the probability, or of the density, of `drawn`, [B]."""

    @abstractmethod
    def entropy(self, outputs: Tensor, legal: Tensor) -> Tensor:
        """Entropy in nats, [B]; of densities, the differential one."""

    def action(self, drawn: Tensor) -> Tensor:
        """What the environment is given."""
        return drawn

    def drawn(self, action: Tensor) -> Tensor:
        """The draw that `action` stands for: `action(drawn(a)) == a`, but for the floor of weights."""
        return action


def family(spec: Spec, *, std: float) -> Family:
    """The family of a problem's space; `std` is the spread of Gaussians at the start."""
    if spec.space == "discrete":
        return Categorical(len(spec.actions))
    return Gaussian(len(spec.actions), std) if spec.space == "box" else Dirichlet(len(spec.actions))


class Categorical(Family):
    """Outputs are logits; illegal actions have probability 0."""

    rule = staticmethod(categorical)

    def draw(self, outputs: Tensor, legal: Tensor, rng: torch.Generator) -> Tensor:
        """By Gumbel's trick, at half the cost of `multinomial`: argmax(p / e), e exponential."""
        race = torch.empty_like(outputs).exponential_(generator=rng)
        return ops.mask_illegal(outputs - race.log(), legal).argmax(-1)

    def log_prob(self, outputs: Tensor, legal: Tensor, drawn: Tensor) -> Tensor:
        """log softmax over the legal actions."""
        return ops.mask_illegal(outputs, legal).log_softmax(-1).gather(-1, drawn.unsqueeze(-1)).squeeze(-1)

    def entropy(self, outputs: Tensor, legal: Tensor) -> Tensor:
        """-sum p log p over the legal actions."""
        log_p = ops.mask_illegal(outputs, legal).log_softmax(-1)
        return -(log_p.exp() * log_p.masked_fill(~legal, 0.0)).sum(-1)


class Gaussian(Family):
    """Outputs are means. Components that the market does not let through move nothing, so they count for nothing.

    The environment is given the draw cut off at the walls, the probability is that of the draw itself (as in
    Stable-Baselines3): an unbiased gradient of a policy whose walls belong to the environment.

    Attributes:
        log_std: [A] learned.
    """

    rule = staticmethod(clamp)

    def __init__(self, outputs: int, std: float) -> None:
        super().__init__(outputs)
        self.log_std = nn.Parameter(torch.full((outputs,), math.log(std)))

    def draw(self, outputs: Tensor, legal: Tensor, rng: torch.Generator) -> Tensor:
        """Mean plus spread times a standard normal."""
        return outputs + self._log_std().exp() * torch.empty_like(outputs).normal_(generator=rng)

    def log_prob(self, outputs: Tensor, legal: Tensor, drawn: Tensor) -> Tensor:
        """-(z^2 + log 2 pi) / 2 - log std, added up."""
        log_std = self._log_std()
        z = (drawn - outputs) * (-log_std).exp()
        return ((-0.5 * z**2 - (log_std + 0.5 * math.log(2.0 * math.pi))) * legal).sum(-1)

    def entropy(self, outputs: Tensor, legal: Tensor) -> Tensor:
        """log std + log(2 pi e) / 2, added up."""
        return ((self._log_std() + 0.5 * math.log(2.0 * math.pi * math.e)) * legal).sum(-1)

    def action(self, drawn: Tensor) -> Tensor:
        """Cut off at the walls."""
        return drawn.clamp(-1.0, 1.0)

    def drawn(self, action: Tensor) -> Tensor:
        """The action, in the precision of networks."""
        return action.float()

    def _log_std(self) -> Tensor:
        return self.log_std.clamp(*LOG_STD)


class Dirichlet(Family):
    """Outputs give the concentrations alpha = 1 + softplus; computed in float64, since log-gammas cancel."""

    rule = staticmethod(dirichlet_mode)

    def draw(self, outputs: Tensor, legal: Tensor, rng: torch.Generator) -> Tensor:
        """Gamma variates over their sum, [B, A] float64."""
        return self.drawn(torch._standard_gamma(_concentration(outputs), generator=rng))

    def log_prob(self, outputs: Tensor, legal: Tensor, drawn: Tensor) -> Tensor:
        """log Gamma(sum alpha) - sum log Gamma(alpha) + sum (alpha - 1) log w."""
        alpha = _concentration(outputs)
        return ((alpha - 1.0) * drawn.log()).sum(-1) - _log_beta(alpha)

    def entropy(self, outputs: Tensor, legal: Tensor) -> Tensor:
        """log B(alpha) + (alpha_0 - A) psi(alpha_0) - sum (alpha - 1) psi(alpha), alpha_0 = sum alpha."""
        alpha = _concentration(outputs)
        whole = alpha.sum(-1)
        spread = (whole - alpha.shape[-1]) * whole.digamma() - ((alpha - 1.0) * alpha.digamma()).sum(-1)
        return _log_beta(alpha) + spread

    def drawn(self, action: Tensor) -> Tensor:
        """Weights kept off the edges, [B, A] float64."""
        weight = (action.double() / action.sum(-1, keepdim=True)).clamp(min=FLOOR)
        return weight / weight.sum(-1, keepdim=True)


def _concentration(outputs: Tensor) -> Tensor:
    return 1.0 + nn.functional.softplus(outputs.double())


def _log_beta(alpha: Tensor) -> Tensor:
    return alpha.lgamma().sum(-1) - alpha.sum(-1).lgamma()
