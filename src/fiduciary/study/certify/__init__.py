"""Certification: a ladder of decision problems with known answers, which every agent climbs as far as it claims to.

    regret in % = 100 (c(oracle) - c(agent)) / scale        on the same worlds, with the standard error of the pairs

c is the certainty equivalent of the mean sum of discounted rewards; see `Rung` for the scale. A learner that fails here
deserves no trust on a market, where nobody knows the answer.
"""

import importlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiduciary.core.errors import ConfigError, nearest
from fiduciary.core.files import write_atomic
from fiduciary.core.types import Agent
from fiduciary.records import identity
from fiduciary.study.certify.certificate import COLUMNS, Certificate, Climb, Standing, cells, standings, table
from fiduciary.study.certify.climb import Entry, climbs
from fiduciary.study.certify.rung import HELD, Reference, Regret, Rung, exact, simulated

__all__ = [
    "COLUMNS", "Certificate", "Climb", "HELD", "Reference", "Regret", "Rung", "Standing", "cells", "certify", "exact",
    "simulated", "table",
]  # fmt: skip
SEEDS = 3


def certify(
    agents: Sequence[str] | None = None, rungs: Sequence[str] | None = None, *, short: bool = False,
    seeds: Sequence[int] | None = None, workers: int = 1, folder: str | Path | None = None, progress: bool = True,
    among: Mapping[str, Rung] | None = None,
) -> Certificate:  # fmt: skip
    """Let agents climb the ladder.

    Args:
        agents: names of those on the ladder, or an own one as "module:name" (a class or an object, imported from the current
            directory), which tries every rung with its defaults; None = all that claim a rung.
        rungs: names; None = all.
        short: the short version: rungs marked so (or named), one seed, and those that a bar binds.
        seeds: one fit for each; None = 0, 1, 2 (0 in the short version).
        workers: processes. More than one needs a script guarded by `if __name__ == "__main__"`.
        folder: where climbs are kept; those found there are not repeated. None = nowhere.
        progress: show a bar on standard error.
        among: another ladder than ours.

    Raises:
        ConfigError: no rung or agent has that name, or an own agent cannot be had.
        RecordError: a kept climb is damaged.
    """
    started = time.monotonic()
    if among is None:
        from fiduciary.study.certify.ladder import ladder  # the rungs need this module

        among = ladder()
    named = [name for name in agents or () if ":" not in name]
    own = {name: _own(name) for name in agents or () if ":" in name}
    chosen = {name: among[name] for name in _known(rungs, among, "rungs") if rungs or among[name].short or not short}
    _known(named, {who: None for rung in chosen.values() for who in rung.claims}, "agents")
    tried = range(1 if short else SEEDS) if seeds is None else seeds
    entries = [
        Entry(rung, name, who, seed)
        for rung in chosen.values()
        for name, who in [*((name, rung.claims[name]) for name in _asked(rung, agents, short)), *own.items()]
        for seed in (tried if isinstance(who, Agent) else [0])
    ]
    made = climbs(entries, None if folder is None else Path(folder), workers=workers, progress=progress)
    result = Certificate(
        standings=standings(made, chosen), wall_seconds=time.monotonic() - started, code=identity.revision(),
        machine=identity.machine(),
    )  # fmt: skip
    if folder is not None:
        write_atomic(Path(folder) / "certificate.json", result.model_dump_json(indent=1).encode())
    return result


def _asked(rung: Rung, agents: Sequence[str] | None, short: bool) -> list[str]:
    """Names of those that are to climb `rung`."""
    among = agents if agents is not None else rung.held if short else list(rung.claims)
    return [name for name in rung.claims if name in among]


def _known(names: Sequence[str] | None, among: Mapping[str, Any], what: str) -> Sequence[str]:
    """The names, all of `among` where there are none; each must be one of them."""
    for name in names or ():
        if name not in among:
            near = nearest(name, among)
            raise ConfigError(
                f"`{what}` must be on the ladder", repr(name), cause=f"did you mean {near!r}?" if near else "",
                remedy=f"one of {'; '.join(among)}",
            )  # fmt: skip
    return list(among) if names is None else names


def _own(place: str) -> Agent:
    """The agent at "module:name"; a class is built with its defaults.

    Raises:
        ConfigError: there is no such module or name, or it is no agent.
    """
    module, _, name = place.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current directory, as `python -m` would have it
    try:
        found = getattr(importlib.import_module(module), name, None)
        agent = found() if isinstance(found, type) else found
    except ModuleNotFoundError as error:
        raise ConfigError(
            "an own agent must be module:name, importable from the current directory", f"no module {error.name!r}"
        ) from None
    except TypeError as error:
        raise ConfigError(
            f"{place} must be built without arguments", str(error), remedy="name an object instead"
        ) from error
    if found is None:
        raise ConfigError(f"module {module!r} must have {name!r}", "no such name in it")
    if not isinstance(agent, Agent):
        raise ConfigError(
            f"{place} must be an agent", f"{type(agent).__name__} without `fit`",
            remedy="give it fit(env, *, rng, watch=None, valid=None) -> Policy",
        )  # fmt: skip
    return agent
