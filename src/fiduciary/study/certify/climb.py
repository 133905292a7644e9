"""Let agents climb: one file for every (rung, agent, seed), so that what is done once is never repeated."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from fiduciary.core import seeds as streams
from fiduciary.core.errors import ConfigError
from fiduciary.core.files import write_atomic
from fiduciary.core.types import Agent, Policy
from fiduciary.records import identity
from fiduciary.records.folder import read_json
from fiduciary.study.certify.certificate import Climb
from fiduciary.study.certify.rung import Reference, Rung
from fiduciary.study.threads import one_thread


class Entry(NamedTuple):
    """Who is to climb what."""

    rung: Rung
    agent: str
    who: Agent | Policy
    seed: int


class Task(NamedTuple):
    """A climb to make; picklable, so that any process can."""

    entry: Entry
    reference: Reference
    digest: str


def climbs(entries: Sequence[Entry], folder: Path | None, *, workers: int, progress: bool) -> list[Climb]:
    """The climb of every entry, in their order: kept ones as they are, the others made and kept."""
    ground = identity.digest([identity.code(), identity.versions()])
    digests = [identity.digest([ground, *_shaping(entry)]) for entry in entries]
    done = [_kept(folder, entry, digest) for entry, digest in zip(entries, digests, strict=True)]
    missing = [k for k, kept in enumerate(done) if kept is None]
    tasks = _tasks([entries[k] for k in missing], [digests[k] for k in missing])
    with _bar(len(entries), len(entries) - len(missing), enabled=progress) as tell:
        for k, climb in _made(zip(missing, tasks, strict=True), min(workers, len(missing))):
            if folder is not None:
                write_atomic(_place(folder, entries[k]), climb.model_dump_json(indent=1).encode())
            done[k] = climb
            tell(climb)
    return [climb for climb in done if climb is not None]


def make(task: Task) -> Climb:
    """Learn, where there is something to learn, and be judged."""
    rung, agent, who, seed = task.entry
    climb = Climb(rung=rung.name, agent=agent, seed=seed, digest=task.digest)
    # Learning draws from a stream of its own, so that nobody has seen the worlds that it is judged on.
    rng = streams.generator(seed, rung.name, agent, "fit")
    with one_thread():
        started = time.monotonic()
        try:
            policy = who.fit(rung.env, rng=rng) if isinstance(who, Agent) else who
        except ConfigError as error:
            return climb.model_copy(update={"refused": str(error)})
        seconds = time.monotonic() - started
        if not isinstance(policy, Policy):
            raise ConfigError("`fit` of an agent must return a policy", f"{type(policy).__name__} from {agent}")
        regret = rung.regret(rung.value(policy), task.reference)
    return climb.model_copy(update={**regret._asdict(), "seconds": seconds})


# --- helpers ---------------------------------------------------------------------------------------------------------


def _shaping(entry: Entry) -> tuple[object, ...]:
    rung = entry.rung
    return rung.env, rung.gamma, rung.worlds, rung.naive, rung.certainty, rung.judge, entry.who


def _place(folder: Path, entry: Entry) -> Path:
    rung, agent = (quote(name, safe=" ") for name in (entry.rung.name, entry.agent))
    return folder / "climbs" / rung / agent / f"seed-{entry.seed}.json"


def _kept(folder: Path | None, entry: Entry, digest: str) -> Climb | None:
    """The climb kept in the folder, unless it was of another problem, other settings or other code."""
    if folder is None or not (path := _place(folder, entry)).exists():
        return None
    climb = read_json(path, Climb)
    return climb if climb.digest == digest else None


def _tasks(entries: Sequence[Entry], digests: Sequence[str]) -> Iterator[Task]:
    references: dict[str, Reference] = {}
    for entry, digest in zip(entries, digests, strict=True):
        if (name := entry.rung.name) not in references:
            references[name] = entry.rung.reference()
        yield Task(entry, references[name], digest)


def _made(tasks: Iterable[tuple[int, Task]], workers: int) -> Iterator[tuple[int, Climb]]:
    if workers <= 1:
        yield from ((k, make(task)) for k, task in tasks)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(make, task): k for k, task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _bar(total: int, done: int, *, enabled: bool) -> Iterator[Callable[[Climb], None]]:
    """Rich progress on standard error: climbs done, time left, the latest regret."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    columns = (TextColumn("climbing"), *Progress.get_default_columns()[1:], TextColumn("{task.fields[latest]}"))
    with Progress(*columns, console=Console(stderr=True), disable=not enabled) as bar:
        task = bar.add_task("", total=total, completed=done, latest="")

        def tell(climb: Climb) -> None:
            told = "does not claim" if climb.refused else f"regret {climb.regret:.2f} %"
            bar.update(task, advance=1, latest=f"{climb.rung} · {climb.agent} seed {climb.seed}: {told}")

        yield tell
