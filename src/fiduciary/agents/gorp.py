"""GORP, greedy over random policy: try every sequence of k actions, go on at random, keep the best one's first action.

For t = 1..T, from the state that a_1..a_{t-1} led to,

    Q(a_t..a_{t+k-1}) = mean over m random continuations of (r_t + gamma r_{t+1} + ...),      a_t = first of argmax Q

(Laidlaw, Russell and Dragan 2023, "Bridging RL theory and practice with the effective horizon", algorithm 1.) It solves
problems without chance whose effective horizon is short, with T A^k m continuations; the result is a sequence of actions,
played whatever is seen. States are values here, so all A^k m branches of a step start from copies of the present one and
run side by side, where the paper plays every episode from its beginning.

A problem without chance is one that begins and goes on alike for all accounts. A market of which there is only one path is
such a problem, too: the sequence found there is hindsight.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fiduciary.agents.policies import greedy
from fiduciary.agents.training import Means, Training, demand_positive, demand_share, train
from fiduciary.core import trees
from fiduciary.core.checks import random_action
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Watch

TWINS = 32
"""Pairs of accounts that are held to the same fate before any search."""


@dataclass(frozen=True)
class GORP:
    """Searches the best sequence of actions of a problem without chance.

    Attributes:
        k: actions tried in every order before chance takes over; A^k m accounts run side by side.
        episodes: m, random continuations of each sequence.
        gamma: discount per bar; the theory has none.
        training: checkpoints, counted in steps of the episode.

    Raises:
        ConfigError: an option is out of range, or (from `fit`) actions are not discrete or chance has a hand in the problem.
    """

    k: int = 2
    episodes: int = 16
    gamma: float = 1.0
    training: Training = field(default_factory=lambda: Training(keep_every=10))

    def __post_init__(self) -> None:
        demand_positive(self, "k", "episodes")
        demand_share(self, "gamma")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> "OpenLoop":
        """Search on `env`; see `training.train`. Half a sequence is no candidate, so `valid` does not end it early."""
        if env.spec.space != "discrete":
            raise ConfigError("GORP needs discrete actions", f"{env.spec.name} takes a {env.spec.space}")
        _demand_no_chance(env, rng)
        return train(_Run(self, env, rng), env.spec.horizon, self.training, watch=watch)


class Plan(nn.Module):
    """Actions [T] int64, to be taken one after another."""

    def __init__(self, steps: int, device: torch.device) -> None:
        super().__init__()
        none = torch.zeros(steps, dtype=torch.int64, device=device)
        self.actions = nn.Parameter(none, requires_grad=False)


@dataclass(frozen=True, eq=False)
class OpenLoop:
    """Plays a sequence of actions; carries the steps taken. An action that is illegal gives way to the first legal one.

    Attributes:
        net: the sequence; its last action is repeated ever after.
    """

    net: Plan

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The next action; `carry` is the number of steps taken, the same for all accounts."""
        t = carry or 0
        action = self.net.actions[min(t, len(self.net.actions) - 1)]
        wanted = nn.functional.one_hot(action, obs.legal.shape[-1]).float()
        return greedy(wanted.expand(obs.legal.shape), obs, rng), t + 1


class _Run:
    """One search in progress; `present` is the state, of one account, that the plan has led to."""

    def __init__(self, agent: GORP, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.env, self.rng, self.done, self.steps = agent, env, rng, 0, 0
        self.plan = Plan(env.spec.horizon, rng.device)
        self.present = env.init(1, rng)
        self.over = False
        self.means = Means()

    def advance(self) -> None:
        """Decide the next action of the plan; none is needed once the episode is over."""
        if self.over:
            return
        value, action = self._values().max(-1, keepdim=True)
        self.plan.actions[self.done] = action.squeeze(-1)
        self.present, step = self.env.step(self.present, action)
        self.over = bool(step.last)
        self.means.add(value=value)

    def _values(self) -> Tensor:
        """Of each action, the mean return of its best sequence, [A]; -inf where it is illegal."""
        m, actions, left = self.agent.episodes, len(self.env.spec.actions), self.env.spec.horizon - self.done
        depth = min(self.agent.k, left)
        every = torch.cartesian_prod(*[torch.arange(actions, device=self.rng.device)] * depth).view(-1, depth)
        sequence = every.repeat_interleave(m, 0)
        n = len(sequence)
        state = trees.rebuild(self.present, [leaf.repeat_interleave(n, 0) for leaf in trees.leaves(self.present)])
        value = torch.zeros(n, dtype=torch.float64, device=self.rng.device)
        alive, allowed = (torch.ones(n, dtype=torch.bool, device=self.rng.device) for _ in range(2))
        for s in range(left):
            if not (living := int(alive.sum())):
                break
            obs = self.env.observe(state)
            action = random_action("discrete", obs.legal, self.rng)
            if s < depth:
                legal = obs.legal.gather(-1, sequence[:, s : s + 1]).squeeze(-1)
                allowed = allowed & (legal | ~alive)
                action = torch.where(legal, sequence[:, s], action)
            state, step = self.env.step(state, action)
            value = value + self.agent.gamma**s * torch.where(alive, step.reward, 0.0)
            alive, self.steps = alive & ~step.last, self.steps + living
        # Whether a sequence is legal is the same for all its continuations.
        return value.masked_fill(~allowed, -torch.inf).view(actions, -1, m).mean(-1).amax(-1)

    def figures(self) -> dict[str, float]:
        """Mean value of the actions chosen since the last call."""
        return self.means.read()

    def policy(self) -> OpenLoop:
        """What has been decided so far."""
        return OpenLoop(self.plan)

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "plan": self.plan.state_dict(), "present": trees.leaves(self.present), "over": self.over,
            "rng": self.rng.get_state(), "steps": self.steps, "means": self.means.state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.plan.load_state_dict(state["plan"])
        self.present = trees.rebuild(self.present, state["present"])
        self.over, self.steps = state["over"], state["steps"]
        self.rng.set_state(state["rng"])
        self.means.load(state["means"])


def _demand_no_chance(env: Env[Any], rng: torch.Generator) -> None:
    """Let pairs of accounts act alike at random for an episode: they must see and get the same.

    Neighbours make a pair, since a problem of several symbols deals them out in turn.
    """
    state = env.init(2 * TWINS, rng)
    for t in range(env.spec.horizon):
        obs = env.observe(state)
        action = random_action("discrete", obs.legal[::2], rng).repeat_interleave(2)
        state, step = env.step(state, action)
        met = (obs.world.bar, obs.account, obs.legal, step.reward, step.last)
        if not all(torch.equal(x[::2], x[1::2]) for x in met):
            raise ConfigError(
                "GORP needs a problem without chance", f"two episodes of {env.spec.name} that differ at step {t}",
                cause="a random start, random transitions or several symbols", remedy="use SQIRL here",
            )  # fmt: skip
