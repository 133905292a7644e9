"""Small decision problems with known answers: finite Markov decision processes, solved exactly.

    Q(s, a) = r(s, a) + gamma sum_s' P(s' | s, a) max_a' Q(s', a')         (Bellman 1957; Puterman 1994, ch. 6)

A learner that cannot come near value iteration here has no business with a market. The same problem is offered with
discrete actions and with continuous ones: an action of the simplex (or, of two actions, of the box) mixes the discrete
ones, pays their expected reward and follows their mixed kernel. Reward and kernel are linear in the mixture, so some
corner is best and the optimum of the mixed problem is the discrete one.

`chain` and `garnet` are the field's classics; `trading`, `stopping` and `execution` are finance on a grid.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Ledger, Obs, Solution, Space, Spec, Step, View

CAPITAL = 10_000.0
"""Wealth at the start, in units of reward, so that it stays positive."""
TOLERANCE = 1e-12
SWEEPS = 100_000


class Walk(NamedTuple):
    """Where B walks through the process stand.

    Attributes:
        t: [B] int64, steps taken.
        s: [B] int64, state of the process.
        wealth: [B] float64, capital plus rewards received.
        uniform: [B, horizon] float64, what chance will decide by, drawn when the episode began; `observe` never reads it.
    """

    t: Tensor
    s: Tensor
    wealth: Tensor
    uniform: Tensor


@dataclass(frozen=True, eq=False)
class Table:
    """A policy that looks its action up. Reads the state from an account that is its one-hot code.

    Attributes:
        action: [S] int64, or [S, A] float where continuous.
    """

    action: Tensor

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The action of each state."""
        return self.action[obs.account.argmax(-1)], carry


@dataclass(frozen=True, eq=False)
class Tabular:
    """A finite Markov decision process. The account is the one-hot code of the state; the world shows nothing.

    An episode is cut off after `horizon` steps (truncated, discount 1): the problem itself is the endless one. It ends
    (discount 0) in an absorbing state, one that no action leaves and in which none is paid.
    Rewards are differentiable in continuous actions, the next state is not.

    Attributes:
        transition: [S, A, S] float64, P(s' | s, a).
        reward: [S, A] float64, in units of money.
        start: [S] distribution of the first state; None = uniform.
        horizon: longest episode, in steps.
        space: "discrete"; "simplex", a distribution over the A actions; "box" for A = 2, where (a + 1) / 2 is the
            probability of the second.
        name: of the problem.
        actions, states: their names; none = their numbers.
        shift: [horizon] added, modulo 1, to what chance decides by. Set by `perturb`.

    Raises:
        ConfigError: if shapes do not agree, a distribution is none, or a box is asked for other than two actions.
    """

    transition: Tensor
    reward: Tensor
    _: KW_ONLY
    start: Tensor | None = None
    horizon: int = 100
    space: Space = "discrete"
    name: str = "tabular"
    actions: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    shift: Tensor | None = None

    def __post_init__(self) -> None:
        s, a = self.reward.shape
        if self.transition.shape != (s, a, s):
            raise ConfigError("`transition` must be [S, A, S] for `reward` [S, A]", f"{tuple(self.transition.shape)}")
        for name, rows in (("transition", self.transition), ("start", self.initial)):
            if not (bool((rows >= 0).all()) and bool(((rows.sum(-1) - 1.0).abs() < 1e-9).all())):
                raise ConfigError(f"rows of `{name}` must not be negative and add up to 1", "other rows")
        if self.initial.shape != (s,):
            raise ConfigError("`start` must be [S]", f"{tuple(self.initial.shape)}")
        if not bool(self.reward.isfinite().all()):
            raise ConfigError("`reward` must be finite", "NaN or infinity")
        if self.horizon < 1:
            raise ConfigError("`horizon` must be positive", str(self.horizon))
        if self.space == "box" and a != 2:
            raise ConfigError("a box mixes two actions", f"{a}", remedy='space="simplex" mixes any number')
        for name, names, n in (("actions", self.actions, a), ("states", self.states, s)):
            if names and len(names) != n:
                raise ConfigError(f"`{name}` must name all {n}", f"{len(names)} names")

    # --- the contract ------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""
        s, a = self.reward.shape
        actions = self.actions or tuple(f"action {k}" for k in range(a))
        return Spec(
            name=self.name,
            actions=(f"{actions[1]} rather than {actions[0]}",) if self.space == "box" else actions,
            features=(),
            account=self.states or tuple(f"state {k}" for k in range(s)),
            window=1,
            horizon=self.horizon,
            currency="units",
            assumptions=("the state is known", "a mixed action pays its expected reward"),
            space=self.space,
        )

    def init(self, batch: int, rng: torch.Generator) -> Walk:
        """Draw the first states and all that chance will decide by."""
        draws = torch.rand((batch, 1 + self.horizon), generator=rng, dtype=torch.float64, device=rng.device)
        draws = draws.to(self.reward.device)
        s = invert(cumulate(self.initial), draws[:, 0])
        return Walk(torch.zeros_like(s), s, torch.full_like(draws[:, 0], CAPITAL), draws[:, 1:])

    def observe(self, state: Walk) -> Obs:
        """The one-hot code of the state; every action is legal."""
        account = torch.nn.functional.one_hot(state.s, len(self.reward)).float()
        return Obs(nothing(state.s), account, self._legal.expand(len(state.s), -1))

    def step(self, state: Walk, action: Tensor) -> tuple[Walk, Step]:
        """Pay, and move on by the inverse of the distribution function. An ended walk stands still, unpaid."""
        live = (state.t < self.horizon) & ~self.absorbing[state.s]
        reward, cdf = self._outcome(state.s, action)
        reward = torch.where(live, reward, 0.0)
        draw = state.uniform.gather(-1, state.t.clamp(max=self.horizon - 1).unsqueeze(-1)).squeeze(-1)
        if self.shift is not None:
            draw = (draw + self.shift[state.t.clamp(max=self.horizon - 1)]) % 1.0
        s, t = torch.where(live, invert(cdf, draw), state.s), state.t + live.long()
        ended = self.absorbing[s]
        step = paid(reward, ended=ended, last=ended | (t >= self.horizon))
        return Walk(t, s, state.wealth + reward, state.uniform), step

    def wealth(self, state: Walk) -> Tensor:
        """Capital plus rewards received so far."""
        return state.wealth

    def mark(self, state: Walk) -> Tensor:
        """One: the unit of money."""
        return torch.ones_like(state.wealth)

    def when(self, state: Walk) -> Tensor:
        """Steps taken, as days since 1970-01-01."""
        return state.t

    def perturb(self, state: Walk, rng: torch.Generator) -> "Tabular":
        """The same process in which chance decides otherwise from the present on."""
        shift = torch.rand(self.horizon, generator=rng, dtype=torch.float64, device=rng.device).to(state.t.device)
        shift[: int(state.t[0])] = 0.0
        return replace(self, shift=shift)

    # --- the answer --------------------------------------------------------------------------------------------------

    def solve(self, gamma: float) -> Solution:
        """Value of the endless problem from `start`, and its best policy (the first of equals), by value iteration."""
        best = value_iteration(self.transition, self.reward, gamma).argmax(-1)
        policy = Table(self._pure(best))
        return Solution(float(self.initial @ self.values(policy, gamma)), policy)

    def values(self, policy: Any, gamma: float) -> Tensor:
        """Exact value of the greedy decisions of `policy` in the endless problem, from each state, [S] float64.

        The policy is asked once, in all states together, with a fresh carry: of a policy with memory this is the value
        of its first decision taken for ever. `gamma` = 1 needs a policy that surely ends.
        """
        n = len(self.reward)
        every = torch.arange(n, device=self.reward.device)
        rest = torch.zeros_like(every)
        state = Walk(rest, every, rest.double(), rest.double().unsqueeze(-1).expand(n, self.horizon))
        weight = self._weight(policy.act(self.observe(state), None, None)[0])
        kernel = torch.einsum("sa,sap->sp", weight, self.transition) * (~self.absorbing).unsqueeze(-1)
        system = torch.eye(n, dtype=torch.float64, device=kernel.device) - gamma * kernel
        value: Tensor = torch.linalg.solve(system, (weight * self.reward).sum(-1))
        return value

    # --- internals ---------------------------------------------------------------------------------------------------

    @cached_property
    def initial(self) -> Tensor:
        """Distribution of the first state, [S]."""
        return torch.full_like(self.reward[:, 0], 1.0 / len(self.reward)) if self.start is None else self.start

    @cached_property
    def absorbing(self) -> Tensor:
        """States that no action leaves and in which none is paid, [S] bool."""
        stays = self.transition.diagonal(dim1=0, dim2=2).T == 1.0
        return (stays & (self.reward == 0.0)).all(-1)

    @cached_property
    def _cdf(self) -> Tensor:
        return cumulate(self.transition)

    @cached_property
    def _legal(self) -> Tensor:
        return torch.ones(1, len(self.spec.actions), dtype=torch.bool, device=self.reward.device)

    def _outcome(self, s: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Reward [B] and distribution function of the next state [B, S]."""
        if self.space == "discrete":
            return self.reward[s, action], self._cdf[s, action]
        weight = self._weight(action)
        cdf = (weight.unsqueeze(-1) * self._cdf[s]).sum(-2)
        return (weight * self.reward[s]).sum(-1), cdf / cdf[:, -1:]

    def _weight(self, action: Tensor) -> Tensor:
        """Probability of each discrete action, [B, A] float64."""
        if self.space == "discrete":
            return torch.nn.functional.one_hot(action, self.reward.shape[1]).double()
        action = action.double()
        if self.space == "box":
            second = (action.clamp(-1.0, 1.0) + 1.0) / 2.0
            return torch.cat((1.0 - second, second), dim=-1)
        return action / action.sum(-1, keepdim=True)

    def _pure(self, action: Tensor) -> Tensor:
        """The discrete `action` [S] in this problem's space."""
        if self.space == "discrete":
            return action
        if self.space == "box":
            return 2.0 * action.unsqueeze(-1).double() - 1.0
        return torch.nn.functional.one_hot(action, self.reward.shape[1]).double()


# --- shared pieces ---------------------------------------------------------------------------------------------------


def nothing(like: Tensor) -> View:
    """A world that shows nothing to each of `like` [B]: one bar without features."""
    return View(torch.empty(1, 0, device=like.device), torch.zeros_like(like, dtype=torch.int64), 1)


def paid(reward: Tensor, *, ended: Tensor, last: Tensor) -> Step:
    """A step whose reward [B] is money; where `ended` [B], the problem is over, elsewhere a `last` step is a cut-off."""
    none = torch.zeros_like(reward)
    return Step(reward, (~ended).to(reward.dtype), last, Ledger(reward, none, none, none), none)


def cumulate(rows: Tensor) -> Tensor:
    """Distribution functions of `rows` [..., S], exactly 1 from the last possible state on."""
    cdf = rows.cumsum(-1)
    return cdf / cdf[..., -1:]


def invert(cdf: Tensor, draw: Tensor) -> Tensor:
    """The first state whose distribution function [..., S] exceeds `draw` [B] in [0, 1), [B] int64; never an impossible one."""
    return (cdf <= draw.unsqueeze(-1)).sum(-1)


def value_iteration(transition: Tensor, reward: Tensor, gamma: float) -> Tensor:
    """Q* of the endless problem, [S, A], to 1e-12 (Puterman 1994, section 6.3).

    Args:
        transition: [S, A, S] float64.
        reward: [S, A] float64.
        gamma: discount per step; 1 where every good policy ends in states that nothing leaves and that pay nothing.

    Raises:
        ConfigError: if values still move after 100,000 sweeps.
    """
    value, scale = torch.zeros_like(reward[:, 0]), TOLERANCE * (1.0 - gamma if gamma < 1.0 else 1.0)
    for _ in range(SWEEPS):
        q = reward + gamma * transition @ value
        value, change = q.amax(-1), (q.amax(-1) - value).abs().max()
        # Once the change is down to rounding, no further sweep can improve.
        if change <= max(scale, 2e-16 * float(value.abs().max())):
            return q
    raise ConfigError(
        "values must settle", f"a change of {float(change):.3g} after {SWEEPS} sweeps, `gamma` {gamma}",
        cause="a discount of 1 without an end", remedy="lower `gamma`",
    )  # fmt: skip


# --- problems --------------------------------------------------------------------------------------------------------


def chain(states: int = 5, *, slip: float = 0.2, horizon: int = 100, space: Space = "discrete") -> Tabular:
    """Forward is unpaid until the last state, where it pays 1; back pays 0.2 at once and returns to the first.

    With probability `slip` the other action happens. The chain of Dearden, Friedman and Russell (1998, section 5), with
    rewards 10 and 2 divided by 10. Without slip the value of the first state is gamma^(S - 1) / (1 - gamma), or
    0.2 / (1 - gamma) where that is more.
    """
    here = torch.arange(states)
    move = torch.zeros(states, 2, states, dtype=torch.float64)
    move[here, 0, (here + 1).clamp(max=states - 1)] = 1.0
    move[:, 1, 0] = 1.0
    pay = torch.zeros(states, 2, dtype=torch.float64)
    pay[-1, 0], pay[:, 1] = 1.0, 0.2
    return Tabular(
        (1.0 - slip) * move + slip * move.flip(1), (1.0 - slip) * pay + slip * pay.flip(1),
        start=_only(0, states), horizon=horizon, space=space, name="chain", actions=("forward", "back"),
    )  # fmt: skip


def garnet(
    states: int, actions: int, branching: int, rng: torch.Generator, *, horizon: int = 100, space: Space = "discrete"
) -> Tabular:
    """A random process: from every (s, a) `branching` states can be reached, rewards are uniform on [0, 1].

    Probabilities are the gaps between sorted uniforms (Archibald, McKinnon and Thomas 1995; Bhatnagar et al. 2009).
    """
    reached = torch.rand(states, actions, states, generator=rng, dtype=torch.float64).argsort(-1)[..., :branching]
    cuts = torch.rand(states, actions, branching - 1, generator=rng, dtype=torch.float64).sort(-1).values
    edge = torch.zeros(states, actions, 1, dtype=torch.float64)
    gaps = torch.cat((cuts, edge + 1.0), -1) - torch.cat((edge, cuts), -1)
    transition = torch.zeros(states, actions, states, dtype=torch.float64).scatter(-1, reached, gaps)
    reward = torch.rand(states, actions, generator=rng, dtype=torch.float64)
    return Tabular(transition, reward, horizon=horizon, space=space, name="garnet")


def trading(
    drift: Sequence[float] = (1.0, -1.0),
    *,
    persistence: float = 0.9,
    cost: float = 0.5,
    horizon: int = 100,
    space: Space = "discrete",
) -> Tabular:
    """Hold, buy or sell one unit whose expected gain depends on a regime that anyone can see.

    r(s, a) = drift[regime] position' - cost |position' - position|, with position' after the order. The regime stays with
    probability `persistence`, else moves to any other one alike. Buying what is held, or selling what is not, does
    nothing. State 2 k + p: regime k, position p.

    Args:
        drift: expected gain per step of one unit held, money, regime by regime (at least two).
        persistence: probability that the regime stays.
        cost: money per trade.
        horizon: longest episode, in steps.
        space: of the actions.
    """
    n = len(drift)
    regime = torch.full((n, n), (1.0 - persistence) / (n - 1), dtype=torch.float64).fill_diagonal_(persistence)
    after = torch.tensor([[0, 1, 0], [1, 1, 0]])  # [position, action] -> position
    gain = torch.tensor(drift, dtype=torch.float64)
    traded = (after - torch.arange(2).unsqueeze(-1)).abs()
    reward = gain.view(n, 1, 1) * after - cost * traded
    held = torch.nn.functional.one_hot(after, 2).double()
    transition = torch.einsum("kl,paq->kpalq", regime, held)
    return Tabular(
        transition.reshape(2 * n, 3, 2 * n), reward.reshape(2 * n, 3), horizon=horizon, space=space, name="trading",
        actions=("hold", "buy", "sell"),
        states=tuple(f"regime {k}, {word}" for k in range(n) for word in ("flat", "long")),
    )  # fmt: skip


def stopping(
    levels: int = 11,
    *,
    up: float = 0.5,
    step: float = 0.1,
    strike: float = 1.0,
    horizon: int = 100,
    space: Space = "discrete",
) -> Tabular:
    """When to exercise a put: wait, or stop and receive (strike - price)+.

    The price is exp(step j), j = -m..m on 2 m + 1 = `levels` levels (odd), moves one level up with probability `up`, else
    down, and stays where it would leave the grid. It starts in the middle; stopping leads to the last state, where
    all is over. Far from the edges the perpetual put has a closed form (Cox, Ross and Rubinstein 1979 lattice).
    """
    j = torch.arange(levels)
    transition = torch.zeros(levels + 1, 2, levels + 1, dtype=torch.float64)
    transition[j, 0, (j + 1).clamp(max=levels - 1)] += up
    transition[j, 0, (j - 1).clamp(min=0)] += 1.0 - up
    transition[:, 1, levels] = 1.0
    transition[levels, 0, levels] = 1.0
    reward = torch.zeros(levels + 1, 2, dtype=torch.float64)
    price = torch.exp(step * (j - levels // 2).double())
    reward[:levels, 1] = (strike - price).clamp(min=0.0)
    return Tabular(
        transition, reward, start=_only(levels // 2, levels + 1), horizon=horizon, space=space, name="stopping",
        actions=("wait", "stop"), states=(*(f"price {p:.3f}" for p in price.tolist()), "over"),
    )  # fmt: skip


def execution(
    lots: int = 6, steps: int = 4, *, impact: float = 1.0, risk: float = 0.0, space: Space = "discrete"
) -> Tabular:
    """Sell `lots` within `steps`: selling a lots at once costs impact a^2, holding q lots over a step risk q^2.

    The discrete problem of Almgren and Chriss (2001, sections 1 and 2) on whole lots. Action a sells a lots, or what is
    left if that is less; the last step sells all. Without risk it is best to sell evenly: lots^2 / steps times the impact,
    where `steps` divides `lots`. State k (lots + 1) + q: k steps taken, q lots left; the last state is over.
    """
    n = steps * (lots + 1) + 1
    transition = torch.zeros(n, lots + 1, n, dtype=torch.float64)
    reward = torch.zeros(n, lots + 1, dtype=torch.float64)
    k, q, a = (
        axis.reshape(-1) for axis in torch.meshgrid(*map(torch.arange, (steps, lots + 1, lots + 1)), indexing="ij")
    )
    sold = torch.where(k == steps - 1, q, torch.minimum(a, q))
    here, left = k * (lots + 1) + q, q - sold
    transition[here, a, torch.where(left == 0, n - 1, here + lots + 1 - sold)] = 1.0
    transition[n - 1, :, n - 1] = 1.0
    reward[here, a] = -impact * sold.double() ** 2 - risk * left.double() ** 2
    return Tabular(
        transition, reward, start=_only(lots, n), horizon=steps, space=space, name="execution",
        actions=tuple(f"sell {m}" for m in range(lots + 1)),
    )  # fmt: skip


def _only(state: int, states: int) -> Tensor:
    return torch.eye(states, dtype=torch.float64)[state]
