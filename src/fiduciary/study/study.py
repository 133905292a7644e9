"""A pre-stated question -> a record and a verdict; the only place where a learner meets a judge.

A study is a grid of cells: every candidate on every account with every seed, and every rule once on every account. A cell
depends on nothing but its own seed, so cells run in any order, in any number of processes, and after a kill only what is
missing is computed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from fiduciary.agents.rules import Cash
from fiduciary.core import seeds as streams
from fiduciary.core.errors import ConfigError, RecordError
from fiduciary.core.types import Agent, Fold, Policy, Source, Spec, Split
from fiduciary.evaluation import inference, metrics
from fiduciary.records import Run, identity, schema
from fiduciary.records.folder import Manifest, RunFolder
from fiduciary.study import engine
from fiduciary.study.book import CASH, TOTAL, Book, Role
from fiduciary.study.cells import Key, Task, compute


class Problem(Protocol):
    """An environment that can be split by date into independent accounts."""

    def folds(self, split: Split) -> dict[str, Fold]:
        """One fold per account; everything fitted is fitted on the training dates."""
        ...

    @property
    def spec(self) -> Spec:
        """Currency and assumptions."""
        ...

    def sources(self) -> list[Source]:
        """The data behind it."""
        ...


class Yardstick(NamedTuple):
    """A world of its own to compare with, such as an index, and the rule followed there."""

    env: Problem
    policy: Policy


@dataclass(frozen=True)
class Study:
    """A question, fixed before the first run.

    Attributes:
        question: in words; trials of the same question add up across runs that share a parent folder.
        env: the decision problem.
        benchmark: the policy to beat, under the same costs, on the same days. No benchmark, no study.
        candidates: agents that learn, or rules, by name.
        splits: dates to learn on and to be judged on.
        seeds: one training for each.
        baselines: further rules to show beside, not judged; cash is always among them.
        yardsticks: rules on other worlds, such as an index; shown, not judged.
        notes: assumptions that the report must state, beyond those of the environment.

    Raises:
        ConfigError: at construction, when the study cannot mean what it says.
    """

    question: str
    env: Problem
    benchmark: Policy
    candidates: Mapping[str, Agent | Policy]
    splits: Split
    seeds: Sequence[int] = (0, 1, 2)
    baselines: Mapping[str, Policy] = field(default_factory=dict)
    yardsticks: Mapping[str, Yardstick] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ConfigError("a study must ask a question", "none")
        if not self.candidates:
            raise ConfigError("a study must judge at least one candidate", "none")
        if len(set(self.seeds)) != len(self.seeds) or not len(self.seeds):
            raise ConfigError("`seeds` must be distinct and at least one", repr(list(self.seeds)))
        names = [*self.candidates, *self.baselines, *self.yardsticks, CASH, self.benchmark_name]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError("every policy must have a name of its own", f"{sorted(twice)} twice", remedy="rename one")

    @property
    def benchmark_name(self) -> str:
        """The benchmark's class name in words: `BuyAndHold` -> "buy-and-hold"."""
        name = type(self.benchmark).__name__
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")

    @property
    def roles(self) -> dict[str, Role]:
        """Every policy's role, in the order in which a report shows them."""
        return {
            **dict.fromkeys(self.candidates, "candidate"), self.benchmark_name: "benchmark",
            **dict.fromkeys(self.baselines, "baseline"), CASH: "baseline", **dict.fromkeys(self.yardsticks, "yardstick"),
        }  # fmt: skip

    def effective(self) -> dict[str, Any]:
        """Everything that shapes the result, as plain values."""
        parts = ("question", "env", "benchmark", "candidates", "splits", "seeds", "baselines", "yardsticks", "notes")
        return {name: identity.effective(getattr(self, name)) for name in parts}

    def run(self, folder: str | Path, *, workers: int = 1, progress: bool = True, arguments: Sequence[str] = ()) -> Run:
        """Run what is missing in `folder` and publish the record.

        Args:
            folder: the run's folder; a killed run continues when it is given again.
            workers: processes to train in. The result does not depend on it. More than one needs a script guarded by
                `if __name__ == "__main__"`, as always with multiprocessing.
            progress: show a bar on standard error.
            arguments: command line, for the record.

        Raises:
            RecordError: the folder holds another study, is busy, or is damaged.
        """
        store = RunFolder(Path(folder))
        tasks = self._tasks(store.root)
        with store.writing():
            started = time.monotonic()
            manifest = self._manifest(store, arguments)
            if not store.finished() or not all(store.cell(*task.key) for task in tasks):
                store.write_manifest(manifest := manifest.model_copy(update={"sessions": manifest.sessions + 1}))
                self._compute(store, tasks, workers, progress)
                wall = time.monotonic() - started
                store.write_record(_record(manifest, self._result(store, tasks, manifest.trials), wall))
        return Run(store.root)

    def _manifest(self, store: RunFolder, arguments: Sequence[str]) -> Manifest:
        """Check that the folder is this study's, or make it so."""
        asked, kept = identity.digest(self.effective()), store.manifest()
        # The same question to other code is the same trial, but its cells must not be mixed in one folder.
        mine = identity.digest([asked, identity.code(), identity.versions()])
        if kept is None:
            tried = [identity.digest([asked, name]) for name in self.candidates]
            kept = Manifest(
                identity=mine, question=self.question, arguments=list(arguments),
                trials=identity.count_trials(store.root.parent / "trials.jsonl", self.question, tried),
                started=datetime.now(UTC).isoformat(timespec="seconds"),
            )  # fmt: skip
            store.write_manifest(kept)
        elif kept.identity != mine:
            raise RecordError(
                "a run folder must keep to one study", f"another one in {store.root} (question: {kept.question!r})",
                cause="data, settings, seeds, code or packages have changed since it was started",
                remedy="give another folder",
            )  # fmt: skip
        return kept

    def _tasks(self, root: Path) -> list[Task]:
        """The grid: rules once, learners with every seed, yardsticks on their own worlds."""
        rules = {self.benchmark_name: self.benchmark, **self.baselines, CASH: Cash()}
        tasks, folds = [], self.env.folds(self.splits)
        if TOTAL in folds:
            raise ConfigError(
                f"no account may be called {TOTAL!r}", "one", remedy="rename the symbol: reports use the word"
            )
        if (longest := max(fold.test.spec.horizon for fold in folds.values())) < inference.FEWEST_BARS:
            raise ConfigError(
                f"a verdict needs at least {inference.FEWEST_BARS} bars of test", str(longest), remedy="test longer"
            )
        for account, fold in folds.items():
            for name, who in {**self.candidates, **rules}.items():
                seeds = self.seeds if isinstance(who, Agent) else (None,)
                tasks += [Task(root, Key(account, name, seed), fold, who) for seed in seeds]
        for name, (env, policy) in self.yardsticks.items():
            tasks += [Task(root, Key(a, name, None), fold, policy) for a, fold in env.folds(self.splits).items()]
        return tasks

    def _compute(self, store: RunFolder, tasks: Sequence[Task], workers: int, progress: bool) -> None:
        missing = [task for task in tasks if store.cell(*task.key) is None]
        for task in missing:
            if task.key.seed is None:
                compute(task, lambda *_: None)
        learners = [task for task in missing if task.key.seed is not None]
        # Seed by seed rather than account by account: a run cut short has whole seeds to look at.
        learners.sort(key=lambda task: list(self.seeds).index(task.key.seed or 0))
        total = sum(task.key.seed is not None for task in tasks)
        engine.run(learners, workers=workers, total=total, progress=progress)

    def _result(self, store: RunFolder, tasks: Sequence[Task], trials: int) -> schema.Result:
        cells = [cell for task in tasks if (cell := store.cell(*task.key))]
        own = list(dict.fromkeys(task.key.account for task in tasks if task.key.policy == CASH))
        book, spec = Book(cells, own, self.roles), self.env.spec
        return schema.Result(
            question=self.question, benchmark=self.benchmark_name, judgements=self._judge(book, trials), rows=book.rows(),
            accounts=own, seeds=list(self.seeds), train=book.train_dates(), test=book.test_dates(), currency=spec.currency,
            capital=book.total(CASH, None).wealth[0], bars_per_year=book.bars_per_year,
            assumptions=[*spec.assumptions, *self.notes], alarms=[*spec.alarms, *book.alarms(self.benchmark_name)],
            data=list(self._data()), effective=self.effective(), cells=store.cell_digests(),
        )  # fmt: skip

    def _data(self) -> Iterator[schema.Data]:
        for name, problem in {"traded": self.env, **{name: each.env for name, each in self.yardsticks.items()}}.items():
            yield from (schema.Data(name=name, **source._asdict()) for source in problem.sources())

    def _judge(self, book: Book, trials: int) -> list[schema.Judgement]:
        benchmark = metrics.log_returns(np.array(book.total(self.benchmark_name, None).wealth))
        out = []
        for name in self.candidates:
            totals = [book.total(name, seed).wealth for seed in book.seeds(name)]
            candidate = np.stack([metrics.log_returns(np.array(wealth)) for wealth in totals])
            rng = streams.numpy_generator(0, "verdict", name)
            verdict = inference.judge(
                candidate, benchmark, learned=isinstance(self.candidates[name], Agent),
                per_year=book.bars_per_year, trials=trials, rng=rng,
            )  # fmt: skip
            out.append(schema.Judgement(candidate=name, benchmark=self.benchmark_name, **verdict._asdict()))
        return out


def _record(manifest: Manifest, result: schema.Result, wall: float) -> schema.Record:
    occasion = schema.Occasion(
        arguments=manifest.arguments, revision=identity.revision(), versions=identity.versions(),
        machine=identity.machine(), started=manifest.started, sessions=manifest.sessions, wall_seconds=wall,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    return schema.Record(identity=manifest.identity, result=result, occasion=occasion)
