"""Behaviour cloning: learn to decide as a teacher does, by the likelihood of what it does.

    L = -mean log pi(a_teacher | s)        (Pomerleau 1991; with `mix`, on states that the student visits: Ross et al. 2011)

The states are met while learning and never kept: a simulator has more of them.
"""

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fiduciary.agents.accounts import Accounts
from fiduciary.agents.distributions import family
from fiduciary.agents.nets import MLP, AnyBody, Head
from fiduciary.agents.policies import NetPolicy
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share, train
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Policy, Watch


@dataclass(frozen=True)
class Cloning:
    """Imitates a policy or a rule that carries no memory from bar to bar; decides by the likeliest action.

    Attributes:
        teacher: whom to imitate, asked for its greedy action.
        net: description of the network.
        updates: gradient steps, each on all that `accounts` accounts met in `steps` steps.
        accounts: accounts that step side by side.
        steps: of each account per update.
        mix: probability that the student, not the teacher, decides the next step of an account: it then learns what the
            teacher would do where its own errors lead (DAgger). Its share is constant, the data are not aggregated.
        std: spread of a continuous action at the start.
        lr: Adam's learning rate.
        training: checkpoints, validation, schedule, clipping.

    Raises:
        ConfigError: an option is out of range; in `fit`, if the teacher carries memory.
    """

    teacher: Policy
    _: KW_ONLY
    net: AnyBody = field(default_factory=lambda: MLP(head=Head((64,))))
    updates: int = 1_000
    accounts: int = 64
    steps: int = 4
    mix: float = 0.0
    std: float = 0.5
    lr: float = 1e-3
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        demand_positive(self, "updates", "accounts", "steps", "std", "lr")
        demand_share(self, "mix")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


class _Run:
    """One fit in progress."""

    def __init__(self, agent: Cloning, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.rng, self.spec, self.done = agent, rng, env.spec, 0
        self.family = family(env.spec, std=agent.std).to(rng.device)
        self.actor = build(lambda: agent.net.build(self.spec, self.family.outputs), rng)
        self.nets = nn.ModuleDict({"actor": self.actor, "family": self.family})
        self.optimiser = Optimiser(self.nets, agent.lr, agent.training, updates=agent.updates)
        self.accounts = Accounts(env, agent.accounts, rng, compiled=agent.training.compiled)
        self.means = Means()

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.accounts.steps

    def advance(self) -> None:
        """Watch the teacher for some steps, and make one update."""
        met = [self._meet() for _ in range(self.agent.steps)]
        bar, account, legal, drawn = (torch.cat(column) for column in zip(*met, strict=True))
        with self.agent.training.precision(account.device):
            outputs = self.actor.read(self.accounts.obs.world._replace(bar=bar), account)
        loss = -self.family.log_prob(outputs, legal, drawn).mean()
        self.optimiser.step(loss, account=account, teacher=drawn, outputs=outputs.detach())
        self.means.add(loss=loss)

    @torch.no_grad()
    def _meet(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step of every account: bar, account, legal actions and what the teacher does there."""
        obs = self.accounts.obs
        action, carry = self.agent.teacher.act(obs, None, None)
        if carry is not None:
            raise ConfigError("`teacher` must carry nothing from bar to bar", f"it carries a {type(carry).__name__}")
        step, _ = self.accounts.step(self._mixed(obs, action) if self.agent.mix else action)
        self.means.add(reward=step.reward.mean())
        return obs.world.bar, obs.account, obs.legal, self.family.drawn(action)

    def _mixed(self, obs: Obs, action: Tensor) -> Tensor:
        """The student's actions in a random share of the accounts."""
        own, _ = self.policy().act(obs, None, None)
        draw = torch.rand(len(obs.legal), generator=self.rng, device=self.rng.device)
        lets = (draw < self.agent.mix).reshape(-1, *[1] * (action.dim() - 1))
        return torch.where(lets, own.to(action.dtype), action)

    def figures(self) -> dict[str, float]:
        """Mean loss (nats) and reward since the last call."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """The likeliest action."""
        return NetPolicy(self.actor, self.spec, self.agent.net, self.family.rule, self.family.outputs)

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "nets": self.nets.state_dict(), "optimiser": self.optimiser.state(), "accounts": self.accounts.state(),
            "means": self.means.state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.nets.load_state_dict(state["nets"])
        for part in ("optimiser", "accounts", "means"):
            getattr(self, part).load(state[part])
