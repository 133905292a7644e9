"""Rules for bandits, whose whole memory is the account: they read its counts or moments and learn without a network.

With `rng` None, those that draw use a fixed stream of their own, as `Random` does, and so decide the same each time.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fiduciary.core.types import Obs

HALVINGS = 20
"""Of the interval in which KL-UCB looks for its index."""


# --- arms that pay 0 or 1: the account is (time left, successes and failures of each arm) ---------------------------------


@dataclass(frozen=True)
class Thompson:
    """Draw each arm's mean from its posterior Beta(1 + successes, 1 + failures) and pull the largest (Thompson 1933)."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The arm whose draw is largest."""
        rng, carry = _chance(obs, carry, rng)
        gammas = torch._standard_gamma(1.0 + _counts(obs), generator=rng)
        return (gammas[..., 0] / gammas.sum(-1)).argmax(-1), carry


@dataclass(frozen=True)
class UCB1:
    """Pull every arm once, then the largest mean + sqrt(2 ln t / n) (Auer, Cesa-Bianchi and Fischer 2002, figure 1)."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The arm of the largest index; of equals the lower number."""
        mean, n, log_t = _seen(obs)
        return torch.where(n > 0, mean + (2.0 * log_t / n).sqrt(), torch.inf).argmax(-1), carry


@dataclass(frozen=True)
class KLUCB:
    """Pull every arm once, then the one whose mean could be largest (Garivier and Cappe 2011, algorithm 1, c = 0):

    index = max {q : n kl(mean, q) <= ln t},   kl(p, q) = p ln(p / q) + (1 - p) ln((1 - p) / (1 - q))
    """

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The arm of the largest index, found by bisection; of equals the lower number."""
        mean, n, log_t = _seen(obs)
        low, high = mean, torch.ones_like(mean)
        for _ in range(HALVINGS):
            q = 0.5 * (low + high)
            fits = n * bernoulli_kl(mean, q) <= log_t
            low, high = torch.where(fits, q, low), torch.where(fits, high, q)
        return torch.where(n > 0, low, torch.inf).argmax(-1), carry


def bernoulli_kl(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of Bernoulli(q) from Bernoulli(p), elementwise, q in (0, 1)."""
    return torch.xlogy(p, p / q) + torch.xlogy(1.0 - p, (1.0 - p) / (1.0 - q))


def gittins(successes: int, failures: int, gamma: float, *, depth: int | None = None) -> float:
    """Gittins index of a Bernoulli arm with posterior Beta(`successes`, `failures`), prior counts included.

    The index is the sure payment per pull between which and the arm one is indifferent (Gittins 1979; Gittins, Glazebrook
    and Weber 2011, section 8.4): the root in lambda of V(a, b; lambda) = lambda / (1 - gamma), where

        V(a, b) = max(lambda / (1 - gamma), p + gamma (p V(a + 1, b) + (1 - p) V(a, b + 1))),   p = a / (a + b)

    by bisection to 1e-7, V taken as known after `depth` pulls: max(lambda, p) / (1 - gamma). By default so many that what
    lies beyond is worth 1e-6 of what lies ahead.
    """
    depth = depth or math.ceil(math.log(1e-6) / math.log(gamma))
    low, high = successes / (successes + failures), 1.0
    while high - low > 1e-7:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _worth_pulling(successes, failures, gamma, depth, middle) else (low, middle)
    return 0.5 * (low + high)


def _worth_pulling(successes: int, failures: int, gamma: float, depth: int, payment: float) -> bool:
    """Whether one more pull and the best after it is worth more than the payment for ever."""
    sure, total = payment / (1.0 - gamma), successes + failures
    a = successes + torch.arange(depth + 1, dtype=torch.float64)
    value = (a / (total + depth)).clamp(min=payment) / (1.0 - gamma)
    for n in range(depth - 1, -1, -1):
        p = a[: n + 1] / (total + n)
        pulled = p + gamma * (p * value[1 : n + 2] + (1.0 - p) * value[: n + 1])
        value = pulled.clamp(min=sure)
    return float(pulled[0]) > sure


# --- means linear in what is seen: the account is (contexts [K d], sum of x x' [d d], sum of r x [d]) ---------------------


@dataclass(frozen=True)
class LinUCB:
    """The largest x . theta + alpha sqrt(x' A^-1 x), A = ridge I + sum x x', theta = A^-1 sum r x (Li et al. 2010, alg. 1).

    Attributes:
        alpha: how many standard deviations of hope.
        ridge: lambda.
    """

    alpha: float = 1.0
    ridge: float = 1.0

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The arm of the largest index; of equals the lower number."""
        x, root, theta = _ridge(obs, self.ridge)
        spread = torch.linalg.solve_triangular(root, x.mT, upper=False).norm(dim=-2)
        return ((x @ theta).squeeze(-1) + self.alpha * spread).argmax(-1), carry


@dataclass(frozen=True)
class LinThompson:
    """The largest x . theta, theta drawn from N(A^-1 sum r x, scale^2 A^-1) (Agrawal and Goyal 2013, algorithm 1).

    Attributes:
        scale: v, standard deviation of a draw.
        ridge: lambda of A.
    """

    scale: float = 0.1
    ridge: float = 1.0

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The best arm under the draw."""
        rng, carry = _chance(obs, carry, rng)
        x, root, theta = _ridge(obs, self.ridge)
        z = torch.randn(theta.shape, generator=rng, dtype=theta.dtype, device=theta.device)
        drawn = theta + self.scale * torch.linalg.solve_triangular(root.mT, z, upper=True)
        return (x @ drawn).squeeze(-1).argmax(-1), carry


# --- pieces -------------------------------------------------------------------------------------------------------------


def _chance(obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[torch.Generator, Any]:
    """The generator to draw from, and the carry: a stream of the rule's own where none is given."""
    if rng is not None:
        return rng, carry
    carry = carry if carry is not None else torch.Generator(obs.account.device).manual_seed(0)
    return carry, carry


def _counts(obs: Obs) -> Tensor:
    """Successes and failures [B, K, 2]."""
    counts: Tensor = obs.account[:, 1:].double().unflatten(-1, (-1, 2))
    return counts


def _seen(obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [B, K] (0 where never pulled), pulls [B, K] and ln of all pulls so far [B, 1]."""
    counts = _counts(obs)
    n = counts.sum(-1)
    return counts[..., 0] / n.clamp(min=1.0), n, n.sum(-1, keepdim=True).clamp(min=1.0).log()


def _ridge(obs: Obs, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Contexts [B, K, d], Cholesky root of A [B, d, d] and theta [B, d, 1]."""
    arms, numbers = obs.legal.shape[-1], obs.account.shape[-1]
    d = (math.isqrt((arms + 1) ** 2 + 4 * numbers) - arms - 1) // 2  # K d + d^2 + d numbers
    contexts, gram, moment = obs.account.double().split((arms * d, d * d, d), dim=-1)
    eye = torch.eye(d, dtype=torch.float64, device=gram.device)
    root = torch.linalg.cholesky(gram.unflatten(-1, (d, d)) + ridge * eye)
    return contexts.unflatten(-1, (arms, d)), root, torch.cholesky_solve(moment.unsqueeze(-1), root)
