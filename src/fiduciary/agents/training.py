"""What all learners share: the loop with checkpoints, validation and early stopping, and the optimiser with its guards."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

import torch
from torch import Tensor, nn

from fiduciary.core.errors import ConfigError, NumericsError
from fiduciary.core.types import Env, Obs, Policy, Sweep, Sweepable, View, Watch

Schedule = Literal["constant", "linear", "cosine"]
REPORT_EVERY = 50


@dataclass(frozen=True)
class Training:
    """How to learn, whatever is learned.

    Attributes:
        keep_every: updates between checkpoints.
        validate_every: updates between looks at the validation dates, where there are any.
        patience: looks without a better one before learning stops early.
        schedule: of the learning rate: constant, or falling to 0 over all updates in a line or a half cosine.
        clip: largest gradient norm.
        mixed: compute in bfloat16 where that is faster (CUDA); ignored elsewhere.
        compiled: compile the environment's step by `torch.compile`: after a warm-up of 2 to 35 seconds `StockTrading` steps 1.7
            times as fast (row `compiled_step`). Off, since learners wait for their networks, not for the step.

    Raises:
        ConfigError: an option is out of range.
    """

    keep_every: int = 500
    validate_every: int = 100
    patience: int = 10
    schedule: Schedule = "constant"
    clip: float = 10.0
    mixed: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        demand_positive(self, "keep_every", "validate_every", "patience", "clip")
        if self.schedule not in get_args(Schedule):
            raise ConfigError(f"`schedule` must be one of {', '.join(get_args(Schedule))}", repr(self.schedule))

    def lr(self, share: float) -> float:
        """Factor on the learning rate after `share` of all updates."""
        if self.schedule == "linear":
            return 1.0 - share
        return 0.5 * (1.0 + math.cos(math.pi * share)) if self.schedule == "cosine" else 1.0

    def precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """Context in which losses are computed."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.mixed and device.type == "cuda")


class Learned(Policy, Protocol):
    """A policy whose knowledge is one module."""

    @property
    def net(self) -> nn.Module:
        """What was learned."""
        ...


P = TypeVar("P", bound=Learned)
P_co = TypeVar("P_co", bound=Learned, covariant=True)
N = TypeVar("N", bound=nn.Module)


class Learning(Protocol[P_co]):
    """One fit in progress: everything that changes, and how it is kept and continued.

    Attributes:
        done: updates so far; `train` counts them.
    """

    done: int

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        ...

    def advance(self) -> None:
        """Collect what is needed and make one update."""
        ...

    def figures(self) -> dict[str, float]:
        """Means since the last call, such as loss and reward; functions of the seed alone, since records keep them."""
        ...

    def policy(self) -> P_co:
        """What has been learned so far; shares its network with the learner."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers: tensors and plain values."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        ...


class Goal(Protocol):
    """What validation looks at."""

    def __call__(self, env: Env[Any], policy: Policy, *, device: torch.device) -> float:
        """A figure of the greedy policy on `env` that is better when larger; the same one every time."""
        ...


def train(
    run: Learning[P],
    updates: int,
    how: Training,
    *,
    watch: Watch | None = None,
    valid: Env[Any] | None = None,
    goal: Goal | None = None,
) -> P:
    """Advance `run` to `updates`, or until validation has not improved for long; return the best policy.

    Continues from `watch.restore()`, and then ends with the numbers of an unbroken run. With `valid`, the policy that did
    best there is returned, else the last one; best by `goal`, `validate` where none is given.

    Raises:
        NumericsError: a loss, a gradient or a figure became NaN or infinite.
    """
    kept = watch.restore() if watch else None
    best = _Best(run, how.patience, goal or validate)
    if kept:
        run.load(kept["run"])
        run.done = kept["done"]
        best.load(kept["best"])
    while run.done < updates and not best.exhausted:
        run.advance()
        run.done += 1
        end = run.done == updates
        if valid is not None and (run.done % how.validate_every == 0 or end):
            best.look(valid)
        if run.done % REPORT_EVERY == 0 or end or best.exhausted:
            _report(run, updates, best, watch)
        if watch and run.done % how.keep_every == 0 and not end:
            watch.keep({"done": run.done, "run": run.state(), "best": best.state()})
    return best.policy()


def _report(run: Learning[Any], updates: int, best: "_Best[Any]", watch: Watch | None) -> None:
    figures = {**run.figures(), **best.figures(), "steps": float(run.steps)}
    for name, value in figures.items():
        if not math.isfinite(value):
            raise explosion(name, f"{value} after {run.done} updates")
    if watch:
        # An early end counts as all of it, so that a progress bar comes to rest.
        watch.progress(run.done, run.done if best.exhausted else updates, figures)


class _Best(Generic[P]):
    """The weights that did best on the validation dates, and how long ago that was."""

    def __init__(self, run: Learning[P], patience: int, goal: Goal) -> None:
        self.run, self.patience, self.goal = run, patience, goal
        self.score, self.looks = -math.inf, 0
        self.weights: dict[str, Tensor] = {}

    def look(self, valid: Env[Any]) -> None:
        policy = self.run.policy()
        device = next(policy.net.parameters()).device
        if (score := self.goal(valid, policy, device=device)) > self.score:
            self.score, self.looks, self.weights = score, 0, copy.deepcopy(policy.net.state_dict())
        else:
            self.looks += 1

    @property
    def exhausted(self) -> bool:
        return self.looks >= self.patience

    def figures(self) -> dict[str, float]:
        return {"valid": self.score} if self.weights else {}

    def policy(self) -> P:
        policy = self.run.policy()
        if self.weights:
            policy.net.load_state_dict(self.weights)
        return policy

    def state(self) -> dict[str, Any]:
        return {"score": self.score, "looks": self.looks, "weights": self.weights}

    def load(self, state: dict[str, Any]) -> None:
        self.score, self.looks, self.weights = state["score"], state["looks"], state["weights"]


def validate(env: Env[Any], policy: Policy, *, accounts: int = 16, device: torch.device | str = "cpu") -> float:
    """Mean over `accounts` episodes of the sum of rewards of the greedy policy; the same worlds every time, on `device`.

    Where every account state can be tried, the policy is asked about all of them at once (it must carry nothing).
    """
    if isinstance(env, Sweepable):
        return _follow(Sweep(*(part.to(device) for part in env.sweep())), env.spec.window, policy)
    return float(totals(env, policy, accounts=accounts, device=device).mean())


@torch.no_grad()
def totals(
    env: Env[Any], policy: Policy, *, accounts: int = 16, gamma: float = 1.0, device: torch.device | str = "cpu"
) -> Tensor:
    """Discounted sum of rewards of the greedy policy over an episode of each of `accounts` accounts, [accounts]."""
    state, carry = env.init(accounts, torch.Generator(device).manual_seed(0)), None
    total = torch.zeros(accounts, dtype=torch.float64, device=device)
    alive = torch.ones(accounts, dtype=torch.bool, device=device)
    for k in range(env.spec.horizon):
        action, carry = policy.act(env.observe(state), carry, None)
        state, step = env.step(state, action)
        total += torch.where(alive, gamma**k * step.reward, 0.0)
        alive &= ~step.last
        if not alive.any():
            break
    return total


def _follow(sweep: Sweep, window: int, policy: Policy) -> float:
    """Mean over the sweep's chains of the sum of rewards of the greedy policy that begins each in account state 0."""
    shape = sweep.legal.shape
    bar = sweep.bar.unsqueeze(-1).expand(shape[:2]).flatten()
    obs = Obs(View(sweep.bars, bar, window), sweep.account.flatten(0, 1), sweep.legal.flatten(0, 1))
    action = policy.act(obs, None, None)[0].reshape(*shape[:2], 1)
    reward, following = (table.gather(-1, action).squeeze(-1).tolist() for table in (sweep.reward, sweep.following))
    total, state = 0.0, 0
    for reward_t, following_t, chained in zip(reward, following, sweep.chained.tolist(), strict=True):
        total += reward_t[state]
        state = following_t[state] if chained else 0
    return total / int((~sweep.chained).sum())


class Optimiser:
    """Adam with a clipped gradient norm, a learning-rate schedule and a guard that names the first bad tensor.

    Args:
        net: whose parameters are learned.
        lr: learning rate at the start.
        how: schedule and clipping.
        updates: steps over which the schedule runs.
        eps: Adam's epsilon.
    """

    def __init__(self, net: nn.Module, lr: float, how: Training, *, updates: int, eps: float = 1e-8) -> None:
        self.net, self.how, self.updates, self.done = net, how, updates, 0
        parameters = list(net.parameters())
        self.adam = torch.optim.Adam(parameters, lr=lr, eps=eps, fused=parameters[0].device.type in ("cpu", "cuda"))
        self.lr = lr

    def step(self, loss: Tensor, **inputs: Tensor) -> None:
        """Descend `loss`; `inputs` are the tensors that it was computed from, in order, for the guard.

        On a GPU nothing is looked at here, since looking waits: `train` finds out at its next report.

        Raises:
            NumericsError: the gradient or its norm is NaN or infinite; names the first tensor that is. Nothing was changed.
        """
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = dict(_gradients(self.net))
        norm = nn.utils.get_total_norm(gradients.values())
        if norm.device.type == "cpu" and not bool(norm.isfinite()):
            raise_first_bad({**inputs, "loss": loss.detach(), **gradients, "the gradient's norm": norm}, self.done)
        nn.utils.clip_grads_with_norm_(self.net.parameters(), self.how.clip, norm)
        for group in self.adam.param_groups:
            group["lr"] = self.lr * self.how.lr(min(1.0, self.done / self.updates))
        self.adam.step()
        self.done += 1

    def state(self) -> dict[str, Any]:
        """What `load` needs to continue."""
        return {"adam": self.adam.state_dict(), "done": self.done}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.adam.load_state_dict(state["adam"])
        self.done = state["done"]


def raise_first_bad(tensors: Mapping[str, Tensor], update: int) -> None:
    """Name the first tensor that is not finite, in the order of computation.

    Raises:
        NumericsError: one is not.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            bad = tensor[~tensor.isfinite()]
            raise explosion(
                name, f"{len(bad)} of {tensor.numel()} values not finite ({float(bad[0])}) in update {update}"
            )


def explosion(name: str, fact: str) -> NumericsError:
    """The error of a tensor or figure `name` that is not finite."""
    return NumericsError(
        f"{name} must stay finite while learning", fact,
        cause="too large a learning rate, or a feature that is not finite", remedy="lower `lr` or run `check`",
    )  # fmt: skip


def _gradients(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in net.named_parameters():
        if parameter.grad is not None:
            yield f"the gradient of {name}", parameter.grad


class Means:
    """Running means of named figures between two reports; sums stay on their device until they are read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, **values: Tensor) -> None:
        """Take note of scalars."""
        for name, value in values.items():
            held = self.sums.get(name)
            self.sums[name] = value.detach().double() if held is None else held + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """Means since the last call; forgets them."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def state(self) -> dict[str, Any]:
        """What `load` needs to continue."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


def build(make: Callable[[], N], rng: torch.Generator) -> N:
    """A network initialised from the stream `rng` and from nothing else, on its device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=rng, device=rng.device)))
        return make().to(rng.device)


def demand_positive(options: object, *names: str) -> None:
    """Raise a ConfigError unless every named attribute is above zero."""
    for name in names:
        if not getattr(options, name) > 0:
            raise ConfigError(f"`{name}` must be positive", repr(getattr(options, name)))


def demand_share(options: object, *names: str) -> None:
    """Raise a ConfigError unless every named attribute lies in [0, 1]."""
    for name in names:
        if not 0 <= getattr(options, name) <= 1:
            raise ConfigError(f"`{name}` must lie in [0, 1]", repr(getattr(options, name)))
