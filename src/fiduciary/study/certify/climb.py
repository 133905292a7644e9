"""Let agents climb: one file for every (rung, agent, seed), so that what is done once is never repeated."""

import importlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from fiduciary.core import seeds as streams
from fiduciary.core.errors import ConfigError, FiduciaryError, nearest
from fiduciary.core.types import Agent, Policy
from fiduciary.records import identity
from fiduciary.records.folder import read_json, write_atomic
from fiduciary.records.schema import Strict
from fiduciary.study.certify.ladder import ladder
from fiduciary.study.certify.rung import Reference, Rung
from fiduciary.study.threads import one_thread

SEEDS = 3


class Climb(Strict):
    """One agent on one rung with one seed.

    Attributes:
        rung, agent, seed: which; rules, which learn nothing, have seed 0.
        digest: SHA-256 of the problem, the settings, the code and the versions: what must agree to be kept.
        value, oracle: certainty equivalents on the same worlds.
        regret, error: in % of the rung's scale, and its standard error over worlds.
        seconds: of learning.
        refused: why the agent does not claim the rung, or "".
    """

    rung: str
    agent: str
    seed: int
    digest: str
    value: float = 0.0
    oracle: float = 0.0
    regret: float = 0.0
    error: float = 0.0
    seconds: float = 0.0
    refused: str = ""


class Standing(Strict):
    """One agent on one rung, over its seeds.

    Attributes:
        rung, agent: which.
        value, oracle, regret, seconds: means over seeds; regret in % of the scale.
        error: standard error of the mean regret, %: over worlds, which all seeds share, and over seeds.
        worst: largest regret of a seed, %.
        seeds: how many.
        bar: largest regret allowed, %, or None.
        refused: why the agent does not claim the rung, or "".
    """

    rung: str
    agent: str
    value: float
    oracle: float
    regret: float
    error: float
    worst: float
    seconds: float
    seeds: int
    bar: float | None
    refused: str

    @property
    def passed(self) -> bool | None:
        """Whether every seed is within the bar; None where there is none."""
        return None if self.bar is None or self.refused else self.worst <= self.bar


class Certificate(Strict):
    """What the ladder showed.

    Attributes:
        standings: in the order of the ladder.
        wall_seconds: of this session.
        code: revision of the code.
        machine: in words.
    """

    standings: list[Standing]
    wall_seconds: float
    code: str
    machine: str

    @property
    def passed(self) -> bool:
        """Whether every bar was met."""
        return all(standing.passed is not False for standing in self.standings)


class Task(NamedTuple):
    """A climb to make; picklable, so that any process can."""

    rung: Rung
    agent: str
    who: Agent | Policy
    seed: int
    reference: Reference
    blank: Climb


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
        short: the short version: rungs marked so, one seed, and those that a bar binds.
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
    every = ladder() if among is None else among
    chosen = {name: rung for name, rung in _choose(every, rungs, "rung").items() if rung.short or not short}
    own = {name: _own(name) for name in agents or () if ":" in name}
    _choose({who: who for rung in chosen.values() for who in rung.claims}, [a for a in agents or () if ":" not in a], "agent")
    entries = [
        (rung, name, who, seed)
        for rung in chosen.values()
        for name, who in _climbers(rung, agents, own, held_only=short and not agents).items()
        for seed in (list(seeds if seeds is not None else range(1 if short else SEEDS)) if isinstance(who, Agent) else [0])
    ]
    climbs = _climb(entries, None if folder is None else Path(folder), workers, progress)
    result = Certificate(
        standings=_standings(climbs, chosen), wall_seconds=time.monotonic() - started, code=identity.revision(),
        machine=identity.machine(),
    )  # fmt: skip
    if folder is not None:
        write_atomic(Path(folder) / "certificate.json", result.model_dump_json(indent=1).encode())
    return result


# --- who climbs what -------------------------------------------------------------------------------------------------


def _choose(among: Mapping[str, Any], names: Sequence[str] | None, what: str) -> dict[str, Any]:
    for name in names or ():
        if name not in among:
            near = nearest(name, among)
            raise ConfigError(
                f"`{what}s` must be on the ladder", repr(name), cause=f"did you mean {near!r}?" if near else "",
                remedy=f"one of {', '.join(among)}",
            )  # fmt: skip
    return {name: among[name] for name in (among if names is None else names)}


def _climbers(
    rung: Rung, agents: Sequence[str] | None, own: Mapping[str, Agent], *, held_only: bool
) -> dict[str, Agent | Policy]:
    claims = {name: who for name, who in rung.claims.items() if agents is None or name in agents}
    return {**{name: who for name, who in claims.items() if not held_only or name in rung.held}, **own}


def _own(place: str) -> Agent:
    """The agent at "module:name"; a class is built with its defaults.

    Raises:
        ConfigError: there is no such module or name, or it is no agent.
    """
    module, _, name = place.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current directory, as `python -m` would have it
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            "an own agent must be module:name, importable from the current directory", f"no module {error.name!r}"
        ) from None
    except AttributeError:
        raise ConfigError(f"module {module!r} must have {name!r}", "no such name in it") from None
    agent = found() if isinstance(found, type) else found
    if not isinstance(agent, Agent):
        raise ConfigError(
            f"{place} must be an agent", f"{type(agent).__name__} without `fit`",
            remedy="give it fit(env, *, rng, watch=None, valid=None) -> Policy",
        )  # fmt: skip
    return agent


# --- climbing --------------------------------------------------------------------------------------------------------


def _climb(
    entries: Sequence[tuple[Rung, str, Agent | Policy, int]], folder: Path | None, workers: int, progress: bool
) -> list[Climb]:
    """A climb for every entry, in their order: kept ones as they are, the others made and kept."""
    ground = identity.digest([identity.code(), identity.versions()])
    known: dict[tuple[str, str, int], Climb] = {}
    missing: list[tuple[Rung, str, Agent | Policy, Climb]] = []
    for rung, name, who, seed in entries:
        digest = identity.digest([ground, rung.env, rung.gamma, rung.worlds, rung.naive, who])
        kept = _kept(folder, rung.name, name, seed)
        if kept is not None and kept.digest == digest:
            known[rung.name, name, seed] = kept
        else:
            missing.append((rung, name, who, Climb(rung=rung.name, agent=name, seed=seed, digest=digest)))
    with _bar(len(entries), len(known), enabled=progress) as tell:
        for climb in _made(_tasks(missing), min(workers, len(missing))):
            if folder is not None:
                write_atomic(_place(folder, climb.rung, climb.agent, climb.seed), climb.model_dump_json().encode())
            known[climb.rung, climb.agent, climb.seed] = climb
            tell(climb)
    return [known[rung.name, name, seed] for rung, name, _who, seed in entries]


def _tasks(missing: Sequence[tuple[Rung, str, Agent | Policy, Climb]]) -> Iterator[Task]:
    references: dict[str, Reference] = {}
    for rung, name, who, blank in missing:
        if rung.name not in references:
            references[rung.name] = rung.reference()
        yield Task(rung, name, who, blank.seed, references[rung.name], blank)


def _made(tasks: Iterable[Task], workers: int) -> Iterator[Climb]:
    if workers <= 1:
        yield from map(climb, tasks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = [pool.submit(climb, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def climb(task: Task) -> Climb:
    """Learn, where there is something to learn, and be judged."""
    rung, who = task.rung, task.who
    # Learning draws from a stream of its own, so that nobody has seen the worlds that it is judged on.
    rng = streams.generator(task.seed, rung.name, task.agent, "fit")
    with one_thread():
        started = time.monotonic()
        try:
            policy = who.fit(rung.env, rng=rng) if isinstance(who, Agent) else who
        except ConfigError as error:
            return task.blank.model_copy(update={"refused": str(error)})
        seconds = time.monotonic() - started
        value, oracle, percent, error = rung.regret(rung.value(policy), task.reference)
    figures = {"value": value, "oracle": oracle, "regret": percent, "error": error, "seconds": seconds}
    return task.blank.model_copy(update=figures)
