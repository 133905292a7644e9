"""Agents as a user may bring them, in a module of their own."""

from dataclasses import dataclass

from fiduciary.agents.rules import Random
from fiduciary.core.errors import ConfigError


@dataclass(frozen=True)
class Guesser:
    """Learns nothing, on any problem."""

    def fit(self, env, *, rng, watch=None, valid=None):
        return Random(env.spec.space)


@dataclass(frozen=True)
class Picky:
    """Refuses whatever is not discrete."""

    def fit(self, env, *, rng, watch=None, valid=None):
        if env.spec.space != "discrete":
            raise ConfigError("actions must be discrete", env.spec.space)
        return Random(env.spec.space)


READY = Guesser()
NOTHING = 3


@dataclass(frozen=True)
class Demanding:
    """Cannot be built without being told how."""

    patience: int

    def fit(self, env, *, rng, watch=None, valid=None):
        return Random(env.spec.space)
