"""How far ahead must one look? The effective horizon of a finite decision problem, by exact dynamic programming.

Let Q^1 be the action values of the policy that chooses uniformly at random, over T steps without discount, and

    Q^{k+1}_t(s, a) = r(s, a) + sum_s' P(s' | s, a) max_a' Q^k_{t+1}(s', a').

A problem is k-QVI-solvable if every policy that is greedy in Q^k is optimal (Laidlaw, Russell and Dragan 2023, "Bridging
RL theory and practice with the effective horizon", NeurIPS; arXiv 2312.08369 for random transitions). With k = 1 it is
enough to know how well acting at random goes on; Q^T = Q*, so that k never exceeds T.

How many episodes it takes to see it is a matter of the gap between the best and the bad actions, relative to what
returns can differ by at all:

    d_k = min over (t, s) of (max_a Q^k_t(s, a) - max_{bad a} Q^k_t(s, a)) / (best return from there - worst return)
    m_k = ceil(2 ln(4 T A^k) / d_k^2)                            H = min_k k + log_A m_k
                                                                 stochastic H = min_k k + log_A(1 / d_k^2)

over the states that are met from the start when only actions better than every bad one in Q^k are taken; an action is bad
if Q*_t(s, a) < V*_t(s). Where transitions are deterministic H is T at most: A^T sequences, tried once.

The form k + log_A m_k is the paper's (section 5). Its m_k is the least number of episodes with which greedy search over
random rollouts (GORP) succeeds half the time; ours is what Hoeffding's inequality says suffices: each of the A^k sequences
of every step is tried m_k times, T A^k means must all lie within half a gap, so that T A^k 2 exp(-m d^2 / 2) <= 1/2. It is
a bound where transitions are deterministic and a measure of difficulty elsewhere; there the stochastic H, which leaves
constants and logarithms out, is the one to read.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

TOLERANCE = 1e-9
"""Values nearer than this, relative to the largest, are equal."""


class Finite(Protocol):
    """A finite problem of `horizon` steps; `envs.tabular.Tabular` is one."""

    @property
    def transition(self) -> Tensor:
        """[S, A, S] float64, P(s' | s, a)."""
        ...

    @property
    def reward(self) -> Tensor:
        """[S, A] float64."""
        ...

    @property
    def initial(self) -> Tensor:
        """[S] float64, distribution of the first state."""
        ...

    @property
    def horizon(self) -> int:
        """T, steps."""
        ...


class EffectiveHorizon(NamedTuple):
    """How hard a problem is.

    Attributes:
        k: the smallest k for which the problem is k-QVI-solvable.
        horizon: H, in steps; A^H measures the episodes needed per step.
        stochastic: the same without constants and logarithms.
        gap: d_k at the k that attains `horizon`; infinite where no action is bad.
        episodes: m_k at that k.
        optimal, random: expected return of the best policy and of choosing at random, from the start.
    """

    k: int
    horizon: float
    stochastic: float
    gap: float
    episodes: int
    optimal: float
    random: float


def effective_horizon(problem: Finite) -> EffectiveHorizon:
    """k, H and the stochastic H of `problem`, as defined above; all 1 where no action is bad."""
    best, q = optimal_values(problem), random_values(problem)
    returns = [float((problem.initial * v).sum()) for v in (best[0].amax(-1), q[0].mean(-1))]
    actions, spread = q.shape[-1], _spread(problem)
    exact = bool(((problem.transition == 0) | (problem.transition == 1)).all())
    horizon, gap, episodes = (
        float(problem.horizon) if exact else math.inf,
        _relative_gap(problem, best, best, spread),
        1,
    )
    k, stochastic = 0, math.inf
    for depth in range(1, problem.horizon + 1):
        if k and depth > horizon:
            break  # no later bound is shorter than its k
        k = k or (depth if solved(problem, q, best) else 0)
        if (d := _relative_gap(problem, q, best, spread)) > 0.0:
            m = max(1, math.ceil(2.0 * math.log(4.0 * problem.horizon * actions**depth) / d**2))
            stochastic = min(stochastic, depth + _log(max(1.0, d**-2), actions))
            if (bound := depth + _log(m, actions)) < horizon:
                horizon, gap, episodes = bound, d, m
        q = backup(problem, q)
    return EffectiveHorizon(k, horizon, stochastic, gap, episodes, *returns)


def random_values(problem: Finite) -> Tensor:
    """Q^1, action values when every later action is uniform, [T, S, A]."""
    return _backward(problem, lambda q: q.mean(-1))


def optimal_values(problem: Finite) -> Tensor:
    """Q*, [T, S, A]."""
    return _backward(problem, lambda q: q.amax(-1))


def backup(problem: Finite, q: Tensor) -> Tensor:
    """Q^{k+1} from `q` = Q^k [T, S, A]: one Bellman step at every time at once."""
    following = torch.cat((q[1:].amax(-1), torch.zeros_like(q[:1, :, 0])))
    return problem.reward + torch.einsum("sap,tp->tsa", problem.transition, following)


def solved(problem: Finite, q: Tensor, best: Tensor) -> bool:
    """Whether every policy greedy in `q` is optimal from the start on; `best` is Q*; both [T, S, A]."""
    greedy = q >= q.amax(-1, keepdim=True) - _tolerance(best)
    return not bool((_met(problem, greedy).unsqueeze(-1) & greedy & _bad(best)).any())


# --- internals -------------------------------------------------------------------------------------------------------


def _backward(problem: Finite, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Action values [T, S, A] from the last step back, where a state is worth `value` of its action values."""
    q = [problem.reward]
    for _ in range(problem.horizon - 1):
        q.append(problem.reward + problem.transition @ value(q[-1]))
    return torch.stack(q[::-1])


def _tolerance(best: Tensor) -> Tensor:
    return TOLERANCE * best.abs().amax().clamp(min=1.0)


def _bad(best: Tensor) -> Tensor:
    """Actions that no optimal policy takes there, [T, S, A] bool."""
    return best < best.amax(-1, keepdim=True) - _tolerance(best)


def _met(problem: Finite, taken: Tensor) -> Tensor:
    """States that can be met at each time when only `taken` [T, S, A] actions are, [T, S] bool."""
    possible, met = problem.transition > 0, [problem.initial > 0]
    for chosen in taken[:-1]:
        met.append((possible & (met[-1].unsqueeze(-1) & chosen).unsqueeze(-1)).any(0).any(0))
    return torch.stack(met)


def _relative_gap(problem: Finite, q: Tensor, best: Tensor, spread: Tensor) -> float:
    """d_k: the smallest gap met, over the spread of returns there; not positive where bad actions look as good as any."""
    worst_bad = torch.where(_bad(best), q, -math.inf).amax(-1)
    better = q > worst_bad.unsqueeze(-1) + _tolerance(best)
    met = _met(problem, better) & worst_bad.isfinite()
    gap = q.amax(-1) - worst_bad
    # A state in which nothing is better than a bad action ends the search: what follows it is not even met.
    relative = torch.where(gap > _tolerance(best), gap / spread, 0.0)
    return float(torch.where(met, relative, math.inf).amin())


def _spread(problem: Finite) -> Tensor:
    """Best minus worst return on any possible path from (t, s), [T, S]."""
    possible, reward = problem.transition > 0, problem.reward
    high, low, out = torch.zeros_like(reward[:, 0]), torch.zeros_like(reward[:, 0]), []
    for _ in range(problem.horizon):
        high = (reward + torch.where(possible, high, -math.inf).amax(-1)).amax(-1)
        low = (reward + torch.where(possible, low, math.inf).amin(-1)).amin(-1)
        out.append(high - low)
    return torch.stack(out[::-1])


def _log(x: float, base: int) -> float:
    return math.log(x, base) if base > 1 else 0.0
