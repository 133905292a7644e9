"""SQIRL: explore at random, look k steps ahead, decide one step of the episode for good, go on to the next.

For t = 1..T: m episodes follow pi_1..pi_{t-1} and act uniformly at random from t on. On them, one regression after another:

    Q^1     at t+k-1:  y = r_{t+k-1} + gamma r_{t+k} + ...                      the return of acting at random
    Q^{i+1} at t+k-1-i:  y = r + gamma max_a' Q^i(s', a')                       a step of fitted Q-iteration, k-1 times
    pi_t    = argmax_a Q^k(s_t, a)

(Laidlaw, Zhu, Russell and Dragan 2024, arXiv 2312.08369, algorithm 1; towards the end of an episode there are fewer than k
steps, and as many regressions.) Nothing is explored strategically: where the problem is k-QVI-solvable, acting at random
and k steps of foresight suffice, and what episodes it takes is told by the stochastic effective horizon
(`evaluation.effective_horizon`), which is why this learner exists.

The problem is the one of finite horizon: returns count what was received within an episode. An end is an end, cut off or
not, and nothing is bootstrapped beyond it. Each Q^i is read at one time only, so its network need not be told the time, and
the policy has a network for every step. Ours: Q^1..Q^k are k networks that go on from where the step before left them,
since values hardly change from one step to the next; targets are scaled to mean 0 and deviation 1, regression by
regression, so that the unit of money does not matter.
"""

import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fiduciary.agents import ops
from fiduciary.agents.nets import MLP, AnyBody, Net
from fiduciary.agents.policies import greedy
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share, train
from fiduciary.core.checks import random_action
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Watch


@dataclass(frozen=True)
class SQIRL:
    """Learns the steps of an episode one after another; its policy knows how many steps it has taken.

    Attributes:
        net: description of each of the networks.
        k: steps of foresight; the first is the return of acting at random.
        episodes: m, played side by side for each of the horizon's steps.
        gradient_steps: of each regression.
        batch: samples per gradient step; all m, where that is fewer.
        gamma: discount per bar; the theory has none.
        lr: Adam's learning rate; the schedule runs anew in every regression.
        training: checkpoints (counted in steps of the episode), schedule, clipping.

    Raises:
        ConfigError: an option is out of range, or (from `fit`) actions are not discrete.
    """

    net: AnyBody = field(default_factory=MLP)
    k: int = 2
    episodes: int = 1_000
    gradient_steps: int = 200
    batch: int = 256
    gamma: float = 1.0
    lr: float = 1e-3
    training: Training = field(default_factory=lambda: Training(keep_every=10, schedule="linear"))

    def __post_init__(self) -> None:
        demand_positive(self, "k", "episodes", "gradient_steps", "batch", "lr")
        demand_share(self, "gamma")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> "Stepwise":
        """Learn on `env`; see `training.train`. Half a policy is no candidate, so `valid` does not end learning early."""
        if env.spec.space != "discrete":
            raise ConfigError("SQIRL needs discrete actions", f"{env.spec.name} takes a {env.spec.space}")
        return train(_Run(self, env, rng), env.spec.horizon, self.training, watch=watch)


@dataclass(frozen=True, eq=False)
class Stepwise:
    """Greedy in a network for every step of an episode; carries the steps taken. The last network serves ever after.

    Attributes:
        nets: one for each step, in order.
    """

    nets: tuple[Net, ...]

    @property
    def net(self) -> nn.ModuleList:
        """All networks."""
        return nn.ModuleList(self.nets)

    @torch.no_grad()
    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The best action of this step; `carry` is the number of steps taken, the same for all accounts."""
        t = carry or 0
        net = self.nets[min(t, len(self.nets) - 1)]
        return greedy(net.read(obs.world, obs.account), obs, rng), t + 1


class Slice(NamedTuple):
    """What m accounts saw, did and got at one time.

    Attributes:
        obs: what they saw.
        action: [m] int64.
        reward: [m] float64; in the last slice the return from there on.
        discount: [m] float64 of the value that follows; 0 where nothing does, and in the last slice.
        alive: [m] bool, whether the episode had not ended before.
    """

    obs: Obs
    action: Tensor
    reward: Tensor
    discount: Tensor
    alive: Tensor


class _Run:
    """One fit in progress; `q` holds Q^1..Q^k, `found` the networks of the steps decided so far."""

    def __init__(self, agent: SQIRL, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.env, self.rng, self.done, self.steps = agent, env, rng, 0, 0
        outputs = len(env.spec.actions)
        depth = min(agent.k, env.spec.horizon)
        self.q: list[Net] = [build(lambda: agent.net.build(env.spec, outputs), rng) for _ in range(depth)]
        self.found: list[Net] = []
        self.means = Means()

    def advance(self) -> None:
        """Decide the next step of the episode."""
        slices = self._episodes()
        v_t = torch.zeros(self.agent.episodes, dtype=torch.float64, device=self.rng.device)
        for net, at in zip(self.q, reversed(slices), strict=False):
            q = self._regress(net, at, at.reward + at.discount * v_t)
            v_t = torch.where(at.alive, ops.mask_illegal(q, at.obs.legal).amax(-1), 0.0)
        # Where no episode lasts that long, nothing was learned and the networks of the step before go on.
        self.found.append(copy.deepcopy(self.q[max(0, len(slices) - 1)]))

    @torch.no_grad()
    def _episodes(self) -> list[Slice]:
        """Up to k slices from the first step that is not decided yet."""
        agent, t, state = self.agent, len(self.found), self.env.init(self.agent.episodes, self.rng)
        alive = torch.ones(agent.episodes, dtype=torch.bool, device=self.rng.device)
        total = torch.zeros(agent.episodes, dtype=torch.float64, device=self.rng.device)
        slices: list[Slice] = []
        factor = 1.0
        for s in range(self.env.spec.horizon):
            if not (living := int(alive.sum())):
                break
            obs = self.env.observe(state)
            state, step = self.env.step(state, action := self._action(s, obs))
            reward, still = torch.where(alive, step.reward, 0.0), alive & ~step.last
            if t <= s < t + len(self.q):
                slices.append(Slice(obs, action, reward, agent.gamma * still.double(), alive))
            elif s >= t:
                factor *= agent.gamma
                slices[-1] = slices[-1]._replace(reward=slices[-1].reward + factor * reward)
            total, alive, self.steps = total + reward, still, self.steps + living
        self.means.add(reward=total.mean())
        return [*slices[:-1], *(last._replace(discount=torch.zeros_like(last.discount)) for last in slices[-1:])]

    def _action(self, s: int, obs: Obs) -> Tensor:
        """Decided up to now, random from now on."""
        if s >= len(self.found):
            return random_action("discrete", obs.legal, self.rng)
        return greedy(self.found[s].read(obs.world, obs.account), obs, None)

    def _regress(self, net: Net, at: Slice, y: Tensor) -> Tensor:
        """Fit `net` to targets y [m] where accounts are alive; returns its values in their unit, [m, A] float64."""
        agent, (world, account, _) = self.agent, at.obs
        rows = at.alive.nonzero().squeeze(-1)
        mean, std = y[rows].mean(), y[rows].std(correction=0)
        std = torch.where(std > 1e-9 * y[rows].abs().amax(), std, 1.0)
        z = ((y - mean) / std).float()
        optimiser = Optimiser(net, agent.lr, agent.training, updates=agent.gradient_steps)
        for _ in range(agent.gradient_steps):
            row = self._draw(rows)
            q = net.read(world._replace(bar=world.bar[row]), account[row])
            loss = ops.squared_td_loss(q, at.action[row], z[row])
            optimiser.step(loss, account=account[row], target=z[row], q=q.detach())
            self.means.add(loss=loss)
        with torch.no_grad():
            return mean + std * net.read(world, account).double()

    def _draw(self, rows: Tensor) -> Tensor:
        """A batch of `rows`, all of them where they are fewer."""
        if len(rows) <= self.agent.batch:
            return rows
        return rows[torch.randint(len(rows), (self.agent.batch,), generator=self.rng, device=self.rng.device)]

    def figures(self) -> dict[str, float]:
        """Mean loss (share of the variance of targets) and mean sum of rewards of an episode since the last call."""
        return self.means.read()

    def policy(self) -> Stepwise:
        """What has been decided so far."""
        return Stepwise(tuple(self.found))

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "q": [net.state_dict() for net in self.q], "found": [net.state_dict() for net in self.found],
            "rng": self.rng.get_state(), "steps": self.steps, "means": self.means.state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.found = [copy.deepcopy(self.q[0]) for _ in state["found"]]
        for net, weights in zip([*self.q, *self.found], [*state["q"], *state["found"]], strict=True):
            net.load_state_dict(weights)
        self.rng.set_state(state["rng"])
        self.steps = state["steps"]
        self.means.load(state["means"])
