"""Look for an agent's settings on validation dates, never on the test, and count every look.

Settings are proposed by the tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS, section 4) of Optuna. Every
trial trains from the same random stream and is scored on the same validation worlds, so that trials differ by their
settings alone. The proposal of a trial depends on the trials before it and on its number, on nothing else: a search that
was killed proposes what it would have proposed.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple

import torch

from fiduciary.core import seeds
from fiduciary.core.errors import ConfigError, NumericsError, nearest
from fiduciary.core.extras import need
from fiduciary.core.types import Agent, Env, Policy, Watch
from fiduciary.evaluation.rollout import rollout
from fiduciary.records import identity
from fiduciary.records.schema import Trial


class Found(NamedTuple):
    """What a search ends with: the best policy, and every trial in order."""

    policy: Policy
    trials: list[Trial]


@dataclass(frozen=True)
class Search:
    """An agent that first looks for its own settings.

    Attributes:
        agent: the learner (a dataclass); settings that are not searched stay as they are here.
        space: setting -> where to look. A setting below another is named with dots ("net.first"). A tuple is a range: (low,
            high), of whole numbers where the agent's own value is one, or (low, high, "log") to search on a logarithmic
            scale. A list holds choices, unless it is two numbers and "linear" or "log": where there are no tuples, as in
            TOML, that is a range too.
        trials: settings to try; each of them counts as a trial of the study's question.

    Raises:
        ConfigError: a setting is unknown (the nearest is named), the agent refuses an end of its range, or Optuna is missing.
    """

    agent: Agent
    space: Mapping[str, Sequence[Any]]
    trials: int = 20

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError("`trials` of a search must be at least 1", str(self.trials))
        if not self.space:
            raise ConfigError(
                "a search must vary a setting", "an empty `space`", remedy='for example {"lr": (1e-4, 1e-2)}'
            )
        need("optuna", extra="search", what="a search")
        for name, where in self.places().items():
            for value in where[:2] if isinstance(where, _Range) else where:
                changed(self.agent, {name: value})
        # A range and two choices must not look alike in a record.
        plain = {name: (*where, "linear") if isinstance(where, tuple) and len(where) == 2 else where
                 for name, where in self.space.items()}  # fmt: skip
        object.__setattr__(self, "space", plain)

    def places(self) -> "dict[str, _Range | list[Any]]":
        """Where to look, by setting."""
        return {name: _read(name, where, _setting(self.agent, name)) for name, where in self.space.items()}

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> Policy:
        """The policy of the trial that grew wealth most on `valid`; see `search`."""
        return self.search(env, rng=rng, watch=watch, valid=valid).policy

    def search(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> Found:
        """Train `trials` agents on `env` and keep the one whose greedy pass through `valid` has the largest log growth.

        A trial whose settings do not go together, or that ends in NaN, has the value NaN and is counted.

        Raises:
            ConfigError: there are no validation dates.
            NumericsError: not one trial ended with a finite value.
        """
        if valid is None:
            raise ConfigError(
                "a search must have validation dates", "none", cause="the test may not choose the settings",
                remedy='give the split some, between training and test: valid = ["2009", "2009"]',
            )  # fmt: skip
        run = _Run(self, env, valid, rng, watch)
        while len(run.tried) < self.trials:
            run.advance()
        return Found(run.best_policy(), run.trials())


def changed(thing: Any, values: Mapping[str, Any]) -> Any:
    """`thing` (a dataclass) with other settings, all at once, so that they are checked together."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest] = value
    return replace(thing, **{first: _below(getattr(thing, first), group) for first, group in groups.items()})


def _below(part: Any, group: dict[str, Any]) -> Any:
    base, deeper = group.get("", part), {name: value for name, value in group.items() if name}
    return changed(base, deeper) if deeper else base


class _Run:
    """One search in progress: everything that changes, and how it is kept and continued."""

    def __init__(
        self, search: Search, env: Env[Any], valid: Env[Any], rng: torch.Generator, watch: Watch | None
    ) -> None:
        self.search, self.env, self.valid, self.watch = search, env, valid, watch
        self.optuna = need("optuna", extra="search", what="a search")
        self.optuna.logging.set_verbosity(self.optuna.logging.ERROR)
        self.places = search.places()
        self.where = {name: _distribution(self.optuna, where) for name, where in self.places.items()}
        kept = watch.restore() if watch else None
        state = kept or {
            "seed": int(torch.randint(2**62, (1,), generator=rng)),
            "tried": [],
            "inner": None,
            "best": None,
        }
        self.seed: int = state["seed"]
        self.tried: list[tuple[dict[str, Any], float]] = [(drawn, value) for drawn, value in state["tried"]]
        # Last states kept by the trial in progress and by the best one; the best policy is rebuilt from the latter.
        self.inner: dict[str, Any] | None = state["inner"]
        self.best: dict[str, Any] | None = state["best"]
        self.policy: Policy | None = None

    def advance(self) -> None:
        """Propose, train, score."""
        drawn = self._proposal()
        policy, value = self._trial(drawn)
        if value > max((value for _, value in self.tried if math.isfinite(value)), default=-math.inf):
            self.policy, self.best = policy, self.inner
        self.tried.append((drawn, value))
        self.inner = None
        self.keep()

    def best_policy(self) -> Policy:
        """Of the trial with the largest value, the earliest of equals; trained to its end again if a kill came between."""
        drawn, value = max(self.tried, key=lambda one: one[1] if math.isfinite(one[1]) else -math.inf)
        if not math.isfinite(value):
            raise NumericsError(
                "some trial of a search must end with a finite value", f"none in {len(self.tried)}",
                cause="every setting tried lost all wealth, diverged or was refused", remedy="narrow `space`",
            )  # fmt: skip
        return self._fit(self._agent(drawn), _Again(self.best)) if self.policy is None else self.policy

    def trials(self) -> list[Trial]:
        """All trials, for the record."""
        return [Trial(parameters=identity.effective(self._values(drawn)), value=value) for drawn, value in self.tried]

    def keep(self) -> None:
        """Keep the search as it stands."""
        if self.watch:
            self.watch.keep({"seed": self.seed, "tried": self.tried, "inner": self.inner, "best": self.best})

    def _proposal(self) -> dict[str, Any]:
        optuna, number = self.optuna, len(self.tried)
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seeds.child(self.seed, "propose", number) % 2**32),
        )
        for drawn, value in self.tried:
            told = {"value": value} if math.isfinite(value) else {"state": optuna.trial.TrialState.FAIL}
            study.add_trial(optuna.trial.create_trial(params=drawn, distributions=self.where, **told))
        return dict(study.ask(self.where).params)

    def _trial(self, drawn: dict[str, Any]) -> tuple[Policy | None, float]:
        """The policy learned with `drawn` and its log growth on the validation dates, NaN where it came to nothing."""
        try:
            agent = self._agent(drawn)
        except ConfigError:
            return None, math.nan  # each setting can be, but not all of these together
        try:
            policy = self._fit(agent, _TrialWatch(self) if self.watch else None)
        except NumericsError:
            return None, math.nan
        wealth = rollout(self.valid, policy, rng=seeds.generator(self.seed, "valid")).wealth
        growth = float(wealth[-1] / wealth[0])
        return policy, math.log(growth) if 0 < growth < math.inf else math.nan

    def _fit(self, agent: Agent, watch: Watch | None) -> Policy:
        return agent.fit(self.env, rng=seeds.generator(self.seed, "fit"), watch=watch, valid=self.valid)

    def _agent(self, drawn: dict[str, Any]) -> Agent:
        agent: Agent = changed(self.search.agent, self._values(drawn))
        return agent

    def _values(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """What was drawn as settings: choices were drawn by number."""
        places = self.places
        return {n: x if isinstance(where := places[n], _Range) else where[x] for n, x in drawn.items()}


@dataclass(frozen=True)
class _TrialWatch:
    """The Watch of one trial: its state within the search's, its progress as a share of the search's."""

    run: _Run

    def restore(self) -> dict[str, Any] | None:
        return self.run.inner

    def keep(self, state: dict[str, Any]) -> None:
        # The agent goes on writing to the tensors that it hands over.
        self.run.inner = copy.deepcopy(state)
        self.run.keep()

    def progress(self, done: int, total: int, figures: dict[str, float]) -> None:
        if self.run.watch:
            number, trials = len(self.run.tried), self.run.search.trials
            self.run.watch.progress(number * total + done, trials * total, {"trial": number + 1.0, **figures})


class _Again(NamedTuple):
    """Repeats the end of a trial that was watched before."""

    state: dict[str, Any] | None

    def restore(self) -> dict[str, Any] | None:
        return self.state

    def keep(self, state: dict[str, Any]) -> None:
        """Nothing: a kill repeats the repetition."""

    def progress(self, done: int, total: int, figures: dict[str, float]) -> None:
        """Nothing: this progress was reported before."""


# --- the space -------------------------------------------------------------------------------------------------------


class _Range(NamedTuple):
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool
    whole: bool


def _setting(agent: Any, name: str) -> Any:
    """The agent's own value of the setting `name`."""
    value = agent
    for depth, part in enumerate(parts := name.split(".")):
        known = [field.name for field in fields(value) if field.init] if is_dataclass(value) else []
        if part not in known:
            above = "".join(f"{each}." for each in parts[:depth])
            near = nearest(part, known)
            raise ConfigError(
                f"a search may vary only settings of {type(agent).__name__}", f"`{name}`",
                remedy=f"did you mean `{above}{near}`?" if near else f"known here: {', '.join(known) or 'none'}",
            )  # fmt: skip
        value = getattr(value, part)
    return value


def _read(name: str, where: Sequence[Any], own: Any) -> _Range | list[Any]:
    """A range, or the choices, of a setting whose own value is `own`."""
    if not isinstance(where, list | tuple) or not where:
        raise ConfigError(f"`{name}` of a search must be a range or a list of choices", repr(where))
    low, high, scale = where if len(where) == 3 else (*where, "linear") if len(where) == 2 else (None, None, "")
    proper = _number(low) and _number(high) and scale in ("linear", "log")
    if isinstance(where, list) and not (proper and len(where) == 3):
        _refuse_other_kinds(name, where, own)
        return where
    if not proper:
        raise ConfigError(
            f"a range of `{name}` must be (low, high) or (low, high, scale) with linear or log for a scale", repr(where),
            remedy="choices are a list",
        )  # fmt: skip
    if not (math.isfinite(high - low) and low < high and (scale == "linear" or low > 0)):
        rule = "run from a positive number to a larger one" if scale == "log" else "run from a number to a larger one"
        raise ConfigError(f"`{name}` of a search must {rule}", f"{low} to {high}")
    whole = isinstance(own, int)
    if whole and not (isinstance(low, int) and isinstance(high, int)):
        raise ConfigError(f"`{name}` is a whole number, and so must the ends of its range be", f"{low} to {high}")
    return _Range(low, high, scale == "log", whole)


def _refuse_other_kinds(name: str, choices: list[Any], own: Any) -> None:
    """Where the agent's own value is a number or a part, so is every choice; nothing (None) may be one, too."""
    part = is_dataclass(own)
    for choice in choices:
        if (part and not is_dataclass(choice)) or (_number(own) and not _number(choice) and choice is not None):
            raise ConfigError(
                f"choices of `{name}` must be of the kind of its own value {own!r}", repr(choice),
                remedy="name what lies below it: `net.first`" if part else "a range ends in linear or log",
            )  # fmt: skip


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _distribution(optuna: Any, where: _Range | list[Any]) -> Any:
    """Choices are drawn by number, so that they may be anything."""
    if not isinstance(where, _Range):
        return optuna.distributions.CategoricalDistribution(tuple(range(len(where))))
    kind = optuna.distributions.IntDistribution if where.whole else optuna.distributions.FloatDistribution
    return kind(where.low, where.high, log=where.log)
