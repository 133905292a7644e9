"""Search of a small policy's parameters by what whole episodes earn: no gradient, no value function, any space.

    fitness(theta) = mean over accounts of sum_t gamma^t r_t      the same worlds for all candidates of a generation

`CMAES` draws candidates from a Gaussian whose mean, step size and covariance adapt (Hansen and Ostermeier 2001; Hansen
2016, arXiv:1604.00772; the `cma` library). `CEM` fits an independent Gaussian to the best of them (Rubinstein 1999; Szita
and Lorincz 2006, section 3, with a constant noise). All candidates and accounts step side by side in one batch, and the
networks of all candidates are one batched network. The finished policy is the mean of the distribution.
"""

import pickle
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fiduciary.agents.nets import MLP, AnyBody, Head, Net
from fiduciary.agents.policies import NetPolicy, Rule, greedy, softmax, squash
from fiduciary.agents.training import Means, Training, build, demand_positive, demand_share, train
from fiduciary.core import trees
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Watch

RULES: dict[str, Rule] = {"discrete": greedy, "box": squash, "simplex": softmax}

MOST = 5_000
"""Parameters beyond which a full covariance takes more memory and time than it is worth."""


class Search(ABC):
    """A distribution over points [n] that moves towards those with the higher fitness."""

    @abstractmethod
    def ask(self) -> Tensor:
        """Candidates [P, n] float64, on the CPU."""

    @abstractmethod
    def tell(self, candidates: Tensor, fitness: Tensor) -> None:
        """Learn the fitness [P] of what `ask` gave."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The middle of the distribution, [n] float64."""

    @property
    @abstractmethod
    def spread(self) -> float:
        """Its standard deviation, on average."""

    @abstractmethod
    def state(self) -> Any:
        """What `load` needs to continue."""

    @abstractmethod
    def load(self, state: Any) -> None:
        """Continue from `state`."""


@dataclass(frozen=True)
class CMAES:
    """Covariance matrix adaptation evolution strategy.

    Attributes:
        net: description of the policy's network; small, since the covariance of n parameters has n^2 entries.
        updates: generations.
        population: candidates of a generation; 0 = 4 + 3 log n, the library's choice.
        accounts: worlds that each candidate lives through.
        sigma: standard deviation of the first candidates around the freshly drawn network.
        diagonal: adapt the variances only (Ros and Hansen 2008): n entries instead of n^2.
        gamma: discount per bar.
        training: checkpoints and validation.

    Raises:
        ConfigError: an option is out of range; at `fit`, the `cma` library is missing or the network too large.
    """

    net: AnyBody = field(default_factory=lambda: MLP((8,), Head((8,))))
    updates: int = 200
    population: int = 0
    accounts: int = 64
    sigma: float = 0.5
    diagonal: bool = False
    gamma: float = 1.0
    training: Training = field(default_factory=lambda: Training(keep_every=50, validate_every=20))

    def __post_init__(self) -> None:
        demand_positive(self, "updates", "accounts", "sigma")
        demand_share(self, "gamma")
        if self.population < 0 or self.population == 1:
            raise ConfigError("`population` must be at least 2, or 0", repr(self.population))

    def search(self, start: Tensor, rng: torch.Generator) -> Search:
        """A fresh distribution around `start` [n]."""
        return _CMA(self, start, rng)

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


@dataclass(frozen=True)
class CEM:
    """Cross-entropy method.

    Attributes are those of `CMAES` but for `diagonal`, and:
        elite: share of the candidates that the next distribution is fitted to.
        jitter: added to their variance, so that the search does not freeze early.

    Raises:
        ConfigError: an option is out of range.
    """

    net: AnyBody = field(default_factory=lambda: MLP((8,), Head((8,))))
    updates: int = 200
    population: int = 50
    accounts: int = 64
    sigma: float = 0.5
    elite: float = 0.2
    jitter: float = 1e-4
    gamma: float = 1.0
    training: Training = field(default_factory=lambda: Training(keep_every=50, validate_every=20))

    def __post_init__(self) -> None:
        demand_positive(self, "updates", "accounts", "sigma", "elite")
        demand_share(self, "gamma", "elite")
        if self.jitter < 0:
            raise ConfigError("`jitter` must not be negative", repr(self.jitter))
        if self.population * self.elite < 2:
            raise ConfigError("`elite` must be two candidates or more", f"{self.elite} of {self.population}")

    def search(self, start: Tensor, rng: torch.Generator) -> Search:
        """A fresh distribution around `start` [n]."""
        return _CEM(self, start, rng)

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


class _CMA(Search):
    def __init__(self, agent: CMAES, start: Tensor, rng: torch.Generator) -> None:
        if len(start) > MOST and not agent.diagonal:
            raise ConfigError(
                f"a network whose covariance is adapted must have at most {MOST:,} parameters", f"{len(start):,}",
                remedy="make `net` smaller, or set `diagonal`",
            )  # fmt: skip
        # The library draws from NumPy's global stream unless it is given one; this one is pickled with the strategy.
        seed = int(torch.randint(2**32, (), generator=rng, device=rng.device))
        options: dict[str, Any] = {
            "randn": np.random.RandomState(seed).randn, "seed": np.nan, "verbose": -9, "CMA_diagonal": agent.diagonal,
        }  # fmt: skip
        if agent.population:
            options["popsize"] = agent.population
        self.strategy = _cma().CMAEvolutionStrategy(start.numpy(force=True), agent.sigma, options)

    def ask(self) -> Tensor:
        return torch.from_numpy(np.stack(self.strategy.ask()))

    def tell(self, candidates: Tensor, fitness: Tensor) -> None:
        self.strategy.tell(list(candidates.numpy()), (-fitness).tolist())

    @property
    def mean(self) -> Tensor:
        return torch.from_numpy(self.strategy.mean.copy())

    @property
    def spread(self) -> float:
        return float(self.strategy.sigma)

    def state(self) -> Tensor:
        return torch.frombuffer(bytearray(self.strategy.pickle_dumps()), dtype=torch.uint8)

    def load(self, state: Tensor) -> None:
        self.strategy = pickle.loads(state.numpy().tobytes())


class _CEM(Search):
    def __init__(self, agent: CEM, start: Tensor, rng: torch.Generator) -> None:
        self.agent, self.rng = agent, rng
        self.middle = start.double().cpu()
        self.std = torch.full_like(self.middle, agent.sigma)

    def ask(self) -> Tensor:
        shape = (self.agent.population, len(self.middle))
        drawn = torch.randn(shape, generator=self.rng, dtype=torch.float64, device=self.rng.device)
        return self.middle + self.std * drawn.cpu()

    def tell(self, candidates: Tensor, fitness: Tensor) -> None:
        elite = candidates[fitness.topk(int(self.agent.population * self.agent.elite)).indices]
        self.middle, self.std = elite.mean(0), (elite.var(0) + self.agent.jitter).sqrt()

    @property
    def mean(self) -> Tensor:
        return self.middle

    @property
    def spread(self) -> float:
        return float(self.std.mean())

    def state(self) -> Any:
        return {"middle": self.middle, "std": self.std}

    def load(self, state: Any) -> None:
        self.middle, self.std = state["middle"], state["std"]


def _cma() -> Any:
    """The library, on first use.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that it cannot plot
            import cma
    except ModuleNotFoundError:
        remedy = "pip install 'fiduciary[search]'"
        raise ConfigError("CMAES needs the library cma", "an environment without it", remedy=remedy) from None
    return cma


class _Run:
    """One fit in progress."""

    def __init__(self, agent: CMAES | CEM, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.env, self.rng, self.spec, self.done, self.steps = agent, env, rng, env.spec, 0, 0
        self.rule = RULES[env.spec.space]
        self.net: Net = build(lambda: agent.net.build(env.spec, len(env.spec.actions)), rng)
        self.population = Population(self.net)
        start = nn.utils.parameters_to_vector(self.net.parameters()).detach()
        self.search: Search = agent.search(start, rng)
        self.means = Means()

    def advance(self) -> None:
        """One generation."""
        candidates = self.search.ask()
        fitness = self.fitness(candidates)
        self.search.tell(candidates, fitness.cpu())
        nn.utils.vector_to_parameters(self.search.mean.to(self.rng.device).float(), self.net.parameters())
        self.means.add(fitness=fitness.mean(), best=fitness.max(), spread=torch.tensor(self.search.spread))

    @torch.no_grad()
    def fitness(self, candidates: Tensor) -> Tensor:
        """Mean over accounts of the discounted sum of rewards, [P], of candidates [P, n] in the same worlds."""
        count, batch = len(candidates), self.agent.accounts
        parameters = self.population.split(candidates.to(self.rng.device).float())
        opening = self.env.init(batch, self.rng)
        state = trees.rebuild(opening, [leaf.repeat(count, *[1] * (leaf.dim() - 1)) for leaf in trees.leaves(opening)])
        total = torch.zeros(count * batch, dtype=torch.float64, device=self.rng.device)
        weight = torch.ones_like(total)  # gamma^t, 0 once the episode is over
        while weight.any():
            obs = self.env.observe(state)
            action = self.rule(self.population(parameters, obs), obs, None)
            state, step = self.env.step(state, action)
            total += torch.where(weight > 0, weight * step.reward, 0.0)
            self.steps += count * batch
            weight = torch.where(step.last, 0.0, self.agent.gamma * weight)
        return total.view(count, batch).mean(-1)

    def figures(self) -> dict[str, float]:
        """Means since the last call: fitness of all candidates and of the best, spread of the search."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """The network in the middle of the distribution."""
        return NetPolicy(self.net, self.spec, self.agent.net, self.rule, len(self.spec.actions))

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "net": self.net.state_dict(), "search": self.search.state(), "steps": self.steps,
            "means": self.means.state(), "rng": self.rng.get_state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.net.load_state_dict(state["net"])
        self.search.load(state["search"])
        self.means.load(state["means"])
        self.rng.set_state(state["rng"])
        self.steps = state["steps"]


class Population:
    """P networks of one shape as one: candidate p decides for accounts p B to (p + 1) B - 1."""

    def __init__(self, net: Net) -> None:
        self.reader = _Reader(net)
        # Fused recurrent cells and attention cannot be batched over their parameters: these networks run one by one.
        self.batched = not any(isinstance(layer, nn.RNNBase | nn.MultiheadAttention) for layer in net.modules())

    def split(self, candidates: Tensor) -> dict[str, Tensor]:
        """Parameters [P, ...] by name, of candidates [P, n]."""
        names, shapes = zip(*((name, each.shape) for name, each in self.reader.named_parameters()), strict=True)
        parts = candidates.split([shape.numel() for shape in shapes], dim=-1)
        return {name: part.unflatten(-1, shape) for name, part, shape in zip(names, parts, shapes, strict=True)}

    def __call__(self, parameters: dict[str, Tensor], obs: Obs) -> Tensor:
        """Outputs [P * B, O]; each distinct bar is gathered once, and encoded once by each candidate."""
        count = len(next(iter(parameters.values())))
        if obs.world.bars.shape[-1]:
            bars, place = torch.unique(obs.world.bar, return_inverse=True)
            window = obs.world._replace(bar=bars).window()
        else:
            window, place = obs.world.bars.new_zeros(1, obs.world.length, 0), torch.zeros_like(obs.world.bar)
        place, account = place.unflatten(0, (count, -1)), obs.account.unflatten(0, (count, -1))
        if self.batched:
            outputs = torch.vmap(self._one, in_dims=(0, None, 0, 0))(parameters, window, place, account)
        else:
            each = ({name: part[p] for name, part in parameters.items()} for p in range(count))
            outputs = torch.stack([self._one(own, window, place[p], account[p]) for p, own in enumerate(each)])
        return outputs.flatten(0, 1)

    def _one(self, parameters: dict[str, Tensor], window: Tensor, place: Tensor, account: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.reader, parameters, (window, place, account))
        return outputs


class _Reader(nn.Module):
    """A network that encodes windows [U, W, F] and reads encoding `place` [B] for each account."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, window: Tensor, place: Tensor, account: Tensor) -> Tensor:
        return self.net.head(self.net.encode(window)[place], account)
