"""Proximal policy optimisation: improve a stochastic policy on what it has just lived through, in small steps.

    L = -mean min(rho A, clamp(rho, 1 - eps, 1 + eps) A) + c_v mean (V - y)^2 - c_e mean entropy

(Schulman et al. 2017, equation 9), rho the ratio of the probabilities of the action, A generalised advantages (Schulman et
al. 2016), y = A + V_old. Actor and critic are two networks of one description (Andrychowicz et al. 2021, section 3.2). The
family of distributions follows from the problem's space; see `distributions`. A truncated episode bootstraps from its own
last state, a terminated one does not. Networks stand still while accounts live, so each bar is encoded once per rollout.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fiduciary.agents import ops
from fiduciary.agents.accounts import Accounts
from fiduciary.agents.distributions import family
from fiduciary.agents.nets import MLP, AnyBody, Encodings, Head, Net
from fiduciary.agents.policies import NetPolicy
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share, train
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, View, Watch


@dataclass(frozen=True)
class PPO:
    """Learns a stochastic policy from its own experience; decides by the likeliest action.

    Attributes:
        net: description of the actor and of the critic.
        updates: rollouts, each learned from in `epochs` passes.
        accounts: B, accounts that step side by side.
        steps: T, steps of each account in a rollout.
        batch: transitions per gradient step, of the B T of a rollout.
        epochs: passes through a rollout.
        gamma: discount per bar.
        trace: lambda of the advantages.
        clip_ratio: eps, how far probabilities may move per rollout before nothing more is gained.
        clip_value: the same for values, or None.
        entropy: c_e, worth of a nat of entropy.
        value_weight: c_v.
        normalize: scale the advantages of each gradient step to mean 0 and standard deviation 1.
        scale_rewards: divide rewards by the running standard deviation of the discounted return (Engstrom et al. 2020).
        target_kl: end the passes once the new policy is further than this from the old one (in nats), or None.
        orthogonal: orthogonal first weights, an almost constant policy at the start (Engstrom et al. 2020).
        std: spread of a continuous action at the start.
        sequence: encode each account's bars in one pass from the start of its rollout, instead of window by window. Several
            times faster with recurrent bodies; at step k of a rollout the memory then holds W + k bars where the policy that
            acts sees W. Whole accounts share a gradient step.
        lr: Adam's learning rate.
        training: checkpoints, validation, schedule, clipping of gradients (0.5 by default here).

    Raises:
        ConfigError: an option is out of range.
    """

    net: AnyBody = field(default_factory=lambda: MLP(head=Head((64,), "tanh")))
    updates: int = 200
    accounts: int = 64
    steps: int = 64
    batch: int = 512
    epochs: int = 10
    gamma: float = 0.99
    trace: float = 0.95
    clip_ratio: float = 0.2
    clip_value: float | None = None
    entropy: float = 0.0
    value_weight: float = 0.5
    normalize: bool = True
    scale_rewards: bool = False
    target_kl: float | None = None
    orthogonal: bool = True
    std: float = 0.5
    sequence: bool = False
    lr: float = 3e-4
    training: Training = field(default_factory=lambda: Training(keep_every=50, validate_every=10, clip=0.5))

    def __post_init__(self) -> None:
        demand_positive(self, "updates", "accounts", "steps", "batch", "epochs", "clip_ratio", "std", "lr")
        demand_share(self, "gamma", "trace")
        for name in ("entropy", "value_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"`{name}` must not be negative", repr(getattr(self, name)))
        for name in ("clip_value", "target_kl"):
            if getattr(self, name) is not None:
                demand_positive(self, name)
        if self.batch > self.accounts * self.steps:
            whole = f"{self.accounts} accounts x {self.steps} steps"
            raise ConfigError("`batch` must fit into a rollout", f"{self.batch} > {whole}")
        if self.sequence and self.parts > self.accounts:
            raise ConfigError("`batch` must hold a whole rollout of an account", f"{self.batch} < {self.steps} steps")

    @property
    def parts(self) -> int:
        """Gradient steps per pass."""
        return round(self.accounts * self.steps / self.batch)

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        if self.sequence and not env.spec.features:
            raise ConfigError("`sequence` needs a world that shows something", f"{env.spec.name} has no features")
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


class Rollout(NamedTuple):
    """T steps of B accounts, each leading from t-1 to t; [T, B, ...].

    Attributes:
        bar_tm1: [T, B] int64.
        account_tm1: [T, B, K].
        legal_tm1: [T, B, A] bool.
        outputs_tm1: [T, B, O] of the actor that acted.
        a_tm1: [T, B] or [T, B, A], what it drew.
        r_t: [T, B] float32.
        discount_t: [T, B] float32, 0 where the step terminated.
        last_t: [T, B] bool, the episode ended with the step.
    """

    bar_tm1: Tensor
    account_tm1: Tensor
    legal_tm1: Tensor
    outputs_tm1: Tensor
    a_tm1: Tensor
    r_t: Tensor
    discount_t: Tensor
    last_t: Tensor


class Samples(NamedTuple):
    """What gradient steps read, [T B, ...]; time by time, account by account.

    Attributes:
        bar, account, legal, drawn: as in `Rollout`.
        start: [T B] int64, the first bar in this rollout of the episode that the sample belongs to.
        log_prob: [T B] of what was drawn, before learning.
        value: [T B] before learning.
        advantage: [T B]
    """

    bar: Tensor
    account: Tensor
    legal: Tensor
    drawn: Tensor
    start: Tensor
    log_prob: Tensor
    value: Tensor
    advantage: Tensor


class _Run:
    """One fit in progress."""

    def __init__(self, agent: PPO, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.rng, self.spec, self.done = agent, rng, env.spec, 0
        self.family = family(env.spec, std=agent.std).to(rng.device)
        self.actor = build(lambda: self._net(self.family.outputs, gain=0.01), rng)
        self.critic = build(lambda: self._net(1, gain=1.0), rng)
        self.nets = nn.ModuleDict({"actor": self.actor, "critic": self.critic, "family": self.family})
        total = agent.updates * agent.epochs * agent.parts
        self.optimiser = Optimiser(self.nets, agent.lr, agent.training, updates=total, eps=1e-5)
        self.accounts = Accounts(env, agent.accounts, rng, compiled=agent.training.compiled)
        world = self.accounts.obs.world
        self.acting, self.judging = Encodings(self.actor, world), Encodings(self.critic, world)
        self.scale = RewardScale(agent.gamma, agent.accounts, rng.device)
        self.rollout: Rollout | None = None
        self.means = Means()

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.accounts.steps

    def advance(self) -> None:
        """One rollout, and all passes through it."""
        samples = self._collect()
        for _ in range(self.agent.epochs):
            for rows in self._parts():
                far = self._descend(Samples(*(part.index_select(0, rows) for part in samples)))
                if self.agent.target_kl is not None and far > self.agent.target_kl:
                    return

    def _net(self, outputs: int, *, gain: float) -> Net:
        net = self.agent.net.build(self.spec, outputs)
        return orthogonal(net, gain) if self.agent.orthogonal else net

    # --- living ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _collect(self) -> Samples:
        self.acting.refresh()
        self.judging.refresh()
        ends = []
        for t in range(self.agent.steps):
            obs = self.accounts.obs
            outputs = self.acting.read(obs.world.bar, obs.account)
            drawn = self.family.draw(outputs, obs.legal, self.rng)
            step, after = self.accounts.step(self.family.action(drawn))
            outcome = (step.reward.float(), step.discount.float(), step.last)
            self._write(t, Rollout(obs.world.bar, obs.account, obs.legal, outputs, drawn, *outcome))
            if after is not self.accounts.obs:  # some episodes ended: what they led to is seen here only
                ends.append((after.world.bar[step.last], after.account[step.last]))
        return self._digest(self.rollout, ends)  # type: ignore[arg-type]

    def _write(self, t: int, now: Rollout) -> None:
        """Copy a step into the rollout, whose memory is taken once."""
        if self.rollout is None:
            self.rollout = Rollout(*(part.new_empty((self.agent.steps, *part.shape)) for part in now))
        for row, part in zip(self.rollout, now, strict=True):
            row[t] = part

    def _digest(self, rollout: Rollout, ends: list[tuple[Tensor, Tensor]]) -> Samples:
        """Values, advantages and probabilities, before anything is learned from them."""
        agent, obs = self.agent, self.accounts.obs
        self.means.add(reward=rollout.r_t.mean())
        reward = self.scale(rollout.r_t, rollout.last_t) if agent.scale_rewards else rollout.r_t
        bars = torch.cat((rollout.bar_tm1, obs.world.bar.unsqueeze(0)))
        values = self._judge(bars, torch.cat((rollout.account_tm1, obs.account.unsqueeze(0))))
        v_tm1, v_t = values[:-1], values[1:].clone()
        if ends:
            bars, accounts = (torch.cat(column) for column in zip(*ends, strict=True))
            v_t[rollout.last_t] = self._judge(bars, accounts)
        advantage = ops.gae(reward, agent.gamma * rollout.discount_t, v_tm1, v_t, rollout.last_t, trace=agent.trace)
        seen = (rollout.bar_tm1, rollout.account_tm1, rollout.legal_tm1, rollout.a_tm1)
        rows = (*seen, _starts(rollout), v_tm1, v_tm1, advantage)
        samples = Samples(*(part.flatten(0, 1) for part in rows))
        outputs = self._read(self.actor, samples) if agent.sequence else rollout.outputs_tm1.flatten(0, 1)
        return samples._replace(log_prob=self.family.log_prob(outputs, samples.legal, samples.drawn))

    def _judge(self, bar: Tensor, account: Tensor) -> Tensor:
        """Values [...] of bars [...] and accounts [..., K]."""
        return self.judging.read(bar.flatten(), account.flatten(0, -2)).reshape(bar.shape)

    # --- learning ----------------------------------------------------------------------------------------------------

    def _parts(self) -> Iterator[Tensor]:
        """Rows of the samples of each gradient step of one pass; of whole accounts, in a sequence."""
        agent, device = self.agent, self.rng.device
        units = agent.accounts if agent.sequence else agent.accounts * agent.steps
        moments = agent.accounts * torch.arange(agent.steps, device=device).unsqueeze(-1)
        for chosen in torch.randperm(units, generator=self.rng, device=device).tensor_split(agent.parts):
            yield (moments + chosen).flatten() if agent.sequence else chosen

    def _descend(self, now: Samples) -> Tensor:
        """One gradient step; returns an estimate of the distance to the policy that acted, in nats (Schulman 2020)."""
        agent = self.agent
        with agent.training.precision(now.value.device):
            outputs, value = self._read(self.actor, now), self._read(self.critic, now).squeeze(-1)
        log_ratio = self.family.log_prob(outputs, now.legal, now.drawn) - now.log_prob
        gain = _standard(now.advantage) if agent.normalize else now.advantage
        target = now.advantage + now.value
        if agent.clip_value is None:
            value_loss = nn.functional.mse_loss(value, target)
        else:
            value_loss = ops.clipped_value_loss(value, now.value, target, agent.clip_value)
        entropy = self.family.entropy(outputs, now.legal).mean()
        surrogate = ops.clipped_surrogate(log_ratio, gain, agent.clip_ratio)
        loss = surrogate + agent.value_weight * value_loss - agent.entropy * entropy
        self.optimiser.step(loss, account=now.account, target=target, outputs=outputs.detach(), value=value.detach())
        moved = log_ratio.detach()
        far = (torch.expm1(moved) - moved).mean()
        self.means.add(loss=loss, value_loss=value_loss, entropy=entropy, kl=far)
        return far

    def _read(self, net: Net, now: Samples) -> Tensor:
        """Outputs [R, O] of a network that learns."""
        world = self.accounts.obs.world
        if self.agent.sequence:
            return read_stretches(net, world, now)
        return net.read(world._replace(bar=now.bar), now.account)

    # --- the rest of the contract ------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Means since the last call: loss, value loss, entropy and distance moved (nats), training reward."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """The likeliest action of the actor."""
        return NetPolicy(self.actor, self.spec, self.agent.net, self.family.rule, self.family.outputs)

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "nets": self.nets.state_dict(), "optimiser": self.optimiser.state(), "accounts": self.accounts.state(),
            "scale": self.scale.state(), "means": self.means.state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.nets.load_state_dict(state["nets"])
        for part in ("optimiser", "accounts", "scale", "means"):
            getattr(self, part).load(state[part])


class RewardScale:
    """Divides rewards by the running standard deviation of the discounted return (Engstrom et al. 2020, section 3).

    Attributes:
        total: [B] the discounted return of each account so far in its episode.
        moments: [3] count, mean and sum of squared deviations of all returns seen, float64.
    """

    def __init__(self, gamma: float, accounts: int, device: torch.device) -> None:
        self.gamma, self.total = gamma, torch.zeros(accounts, device=device)
        self.moments = torch.zeros(3, dtype=torch.float64, device=device)

    def __call__(self, r_t: Tensor, last_t: Tensor) -> Tensor:
        """[T, B] -> [T, B]; the rewards given are taken into account first."""
        returns = torch.empty_like(r_t)
        for r, last, row in zip(r_t, last_t, returns, strict=True):
            row.copy_(self.total.mul_(self.gamma).add_(r))
            self.total.masked_fill_(last, 0.0)
        self._merge(returns.double())
        return r_t / (self.moments[2] / self.moments[0] + 1e-8).sqrt().float()

    def _merge(self, x: Tensor) -> None:
        """Moments of both samples together (Chan, Golub and LeVeque 1983)."""
        count, mean, squares = self.moments
        total, delta = count + x.numel(), x.mean() - mean
        deviations = squares + ((x - x.mean()) ** 2).sum() + delta**2 * count * x.numel() / total
        self.moments = torch.stack((total, mean + delta * x.numel() / total, deviations))

    def state(self) -> dict[str, Any]:
        """What `load` needs to continue."""
        return {"total": self.total, "moments": self.moments}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.total, self.moments = state["total"], state["moments"]


def read_stretches(net: Net, world: View, now: Samples) -> Tensor:
    """Outputs [R, O], each stretch of bars encoded in one pass from W - 1 bars before its start."""
    start, place = torch.unique(now.start, return_inverse=True)
    passed = now.bar - now.start
    reach = torch.arange(1 - world.length, int(passed.max()) + 1, device=start.device)
    # Beyond the last bar of a stretch may lie another symbol's, whose look-back is not filled: NaN would reach the gradient.
    last = torch.zeros_like(start).scatter_reduce_(0, place, passed, "amax").unsqueeze(-1)
    bars = world.bars[start.unsqueeze(-1) + torch.minimum(reach, last)]
    return net.head(net.stretch(bars, world.length)[place, passed], now.account)


def orthogonal(net: Net, gain: float) -> Net:
    """Orthogonal dense layers without bias, sqrt(2) apart from the last, which gets `gain` (Engstrom et al. 2020)."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight, gain if layer is layers[-1] else 2.0**0.5)
        nn.init.zeros_(layer.bias)
    return net


def _starts(rollout: Rollout) -> Tensor:
    """[T, B] the first bar, in this rollout, of the episode that each step belongs to."""
    begins = torch.zeros_like(rollout.bar_tm1)
    begins[1:] = torch.arange(1, len(begins), device=begins.device).unsqueeze(-1) * rollout.last_t[:-1]
    return rollout.bar_tm1.gather(0, begins.cummax(0).values)


def _standard(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.std(correction=min(1, len(x) - 1)) + 1e-8)  # a single sample has no spread
