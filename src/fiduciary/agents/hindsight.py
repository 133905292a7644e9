"""The best that could have been done with the future known, costs included: the bound that no policy can pass.

Exact, by dynamic programming through `Env.step` itself: at every bar all accounts worth keeping try every action, and of those
that end up in the same place only the richest goes on. Final wealth, at the last mark, is what is maximised; its logarithm is
maximal with it.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from fiduciary.core import trees
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Policy, Sweepable

SELL = 2


@runtime_checkable
class _Proportional(Protocol):
    """A problem in weights, whose costs are proportional where these say so."""

    impact: float
    short: float
    turnover_limit: float | None
    cash_rate: float
    execution: str


@dataclass(frozen=True)
class Hindsight:
    """The policy of largest final wealth on exactly the world that `env` opens, among all sequences of legal actions.

    Hold, buy or sell all of one stock (`Sweepable`, actions hold, buy, sell). An account in cash can do whatever a poorer one
    can, and more lots of any trade worth making, so of accounts in cash only the richest is kept. Holders are kept one for
    each bar of purchase, since neither shares nor change need be ordered: T^2 / 2 account-steps for T bars. Exact with
    lots, minimum fees, holding days, price limits and interest.

    Weights, long only, proportional costs, no impact and no limit on turnover. A coin in asset i at t becomes g_ij coins in
    asset j at t+1, whatever the other coins do, and netting sales against purchases of one asset saves only what coins that
    stay would not have paid. Final wealth is thus a flow with gains through a graph of (bar, asset), linear and without
    capacities: the best flow from one source is one path, all money in one asset, or in cash, at every bar. So only the N + 1
    corners of the simplex are tried, from the richest account in each: T (N + 1)^2 account-steps.

    Interest is refused in weights unless orders are filled at the same close: the balance that waits overnight would earn it
    while it buys, and leave money beside the path.
    """

    def foresee(self, env: Env[Any]) -> Policy:
        """The best policy of the account that `env` opens, alone, on its first date (not with random starts).

        Raises:
            ConfigError: the problem is neither of the two, or has impact, shorts, a limit on turnover, or interest as above.
        """
        _demand(env)
        state = env.init(1, torch.Generator())
        first, trail, last = int(env.observe(state).world.bar), [], False
        while not last:
            state, parent, action, last = _advance(env, state)
            trail.append((parent, action))
        return Plan(first, _path(trail, int(env.wealth(state).argmax())))


@dataclass(frozen=True, eq=False)
class Plan:
    """Actions fixed beforehand.

    Attributes:
        first: the bar of the first one, as in `View.bar`.
        actions: [T] int64, or [T, A] float64, one for each bar from there on.
    """

    first: int
    actions: Tensor

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B] int64 or [B, A] float64; before and after the plan, what it says first and last."""
        place = (obs.world.bar - self.first).clamp(0, len(self.actions) - 1)
        return self.actions.to(place.device)[place], carry


class _Advance(NamedTuple):
    """One bar further.

    Attributes:
        state: of the K accounts that go on.
        parent: [K] int64, which account each was before.
        action: [K] int64 or [K, A] float64, what it did.
        last: whether the episode has ended.
    """

    state: Any
    parent: Tensor
    action: Tensor
    last: bool


def _advance(env: Env[Any], state: Any) -> _Advance:
    """Let every account try every legal order, or every corner; keep the richest in each place."""
    legal = env.observe(state).legal
    weights = env.spec.space == "simplex"
    # An asset that does not trade at the close may trade at the fill: every corner is worth a try.
    parent, order = (torch.ones_like(legal) if weights else legal).nonzero().unbind(-1)
    action = torch.eye(legal.shape[-1], dtype=torch.float64)[order] if weights else order
    after, step = env.step(_rows(state, parent), action)
    obs, wealth = env.observe(after), env.wealth(after)
    keep = _corners(obs, wealth) if weights else _holders(obs, wealth, action)
    return _Advance(_rows(after, keep), parent[keep], action[keep], bool(step.last.all()))


def _corners(obs: Obs, wealth: Tensor) -> Tensor:
    """The richest account in each corner of the simplex, [K] rows."""
    held = obs.account[:, 1:]
    corner = torch.cat((1.0 - held.sum(-1, keepdim=True), held), dim=-1).argmax(-1, keepdim=True)
    table = torch.full((len(wealth), held.shape[-1] + 1), -torch.inf, dtype=wealth.dtype)
    best = table.scatter(-1, corner, wealth.unsqueeze(-1)).max(0)
    return best.indices[best.values > -torch.inf]


def _holders(obs: Obs, wealth: Tensor, action: Tensor) -> Tensor:
    """The richest account in cash, and every holder once: a sale that was not filled is the same as waiting. [K] rows."""
    holds = obs.account[:, 0] > 0
    richest = torch.where(holds, -torch.inf, wealth).argmax()
    keep = holds & (action != SELL)
    keep[richest] |= ~holds[richest]
    return keep.nonzero().squeeze(-1)


def _path(trail: list[tuple[Tensor, Tensor]], end: int) -> Tensor:
    """The actions that led to account `end` of the last bar, [T] or [T, A]."""
    actions = []
    for parent, action in reversed(trail):
        actions.append(action[end])
        end = int(parent[end])
    return torch.stack(actions[::-1])


def _rows(state: Any, rows: Tensor) -> Any:
    return trees.rebuild(state, [leaf[rows] for leaf in trees.leaves(state)])


def _demand(env: Env[Any]) -> None:
    """Refuse problems for which the bound would not be exact."""
    if isinstance(env, Sweepable) and env.spec.actions == ("hold", "buy", "sell"):
        return
    if env.spec.space != "simplex" or not isinstance(env, _Proportional):
        raise ConfigError(
            "hindsight must know the problem: hold, buy and sell one stock, or weights of a portfolio", env.spec.name
        )
    lagged = env.cash_rate if env.execution != "close" else 0.0
    bends = {"impact": env.impact, "short": env.short, "turnover_limit": env.turnover_limit, "cash_rate": lagged}
    for name, value in bends.items():
        if value:
            raise ConfigError(
                f"`{name}` must be 0 or None for the bound of hindsight", repr(value),
                cause="it is exact for proportional costs, long only, without interest on a balance that waits overnight",
                remedy=f"take the bound of the same problem without `{name}`",
            )  # fmt: skip
