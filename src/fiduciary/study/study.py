"""A pre-stated question -> a record and a verdict; the only place where a learner meets a judge.

A study is a grid of cells: every candidate on every account with every seed, and every rule once on every account. A cell
depends on nothing but its own seed, so cells run in any order, in any number of processes, and after a kill only what is
missing is computed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from fiduciary.agents.rules import Cash
from fiduciary.core import seeds as streams
from fiduciary.core.errors import ConfigError, RecordError
from fiduciary.core.types import Agent, Env, Fold, Policy, Prophet, Source, Spec, Split
from fiduciary.evaluation import inference, metrics
from fiduciary.records import Run, identity, schema
from fiduciary.records.folder import Manifest, RunFolder
from fiduciary.study import alarms
from fiduciary.study.book import CASH, TOTAL, Book, Draw, Role
from fiduciary.study.cells import Key, Task, Test
from fiduciary.study.engine import Engine, require
from fiduciary.study.engine import run as run_cells
from fiduciary.study.evidence import evidence, selection
from fiduciary.study.matched import Matched
from fiduciary.study.search import Search
from fiduciary.study.sinks import Sink, closing


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
        candidates: agents that learn, rules, or searches for an agent's settings, by name.
        splits: dates to learn on, to stop or choose by, and to be judged on; or several, such as a walk forward: everything
            is learned afresh for each, and the verdict is on their tests end to end.
        seeds: one training for each.
        baselines: further rules, prophets, and random trading at the first candidate's pace (`Matched`), to show beside, not
            judged; cash is always among them.
        yardsticks: rules on other worlds, such as an index; shown, not judged.
        notes: assumptions that the report must state, beyond those of the environment.

    Raises:
        ConfigError: at construction, when the study cannot mean what it says.
    """

    question: str
    env: Problem
    benchmark: Policy
    candidates: Mapping[str, Agent | Policy]
    splits: Split | Sequence[Split]
    seeds: Sequence[int] = (0, 1, 2)
    baselines: Mapping[str, Policy | Prophet | Matched] = field(default_factory=dict)
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
        if not self.every_split:
            raise ConfigError("a study must have a split", "none")
        for (path, test), (other, later) in pairwise(sorted((split.path, split.test) for split in self.every_split)):
            if path == other and later[0] <= test[1]:
                raise ConfigError(
                    "tests of one pass through history must not overlap", f"{test} and {later}",
                    cause="the same days would count twice", remedy="make the splits by `splits.walk_forward`",
                )  # fmt: skip
        if self.searches and any(split.valid is None for split in self.every_split):
            raise ConfigError(
                "a study that searches must have validation dates", "none", cause="the test may not choose the settings",
                remedy='give the split some, between training and test: valid = ["2009", "2009"]',
            )  # fmt: skip

    @property
    def every_split(self) -> tuple[Split, ...]:
        """All splits, in the order of their tests."""
        return (self.splits,) if isinstance(self.splits, Split) else tuple(self.splits)

    @property
    def searches(self) -> dict[str, Search]:
        """Candidates that look for their own settings."""
        return {name: who for name, who in self.candidates.items() if isinstance(who, Search)}

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

    def run(
        self, folder: str | Path, *, workers: int = 1, engine: Engine = "local", progress: bool = True,
        sinks: Sequence[Sink] = (), arguments: Sequence[str] = (),
    ) -> Run:  # fmt: skip
        """Run what is missing in `folder` and publish the record, which depends on none of the options.

        Args:
            folder: the run's folder; a killed run continues when it is given again.
            workers: processes to train in. More than one needs a script guarded by `if __name__ == "__main__"`, as always
                with multiprocessing.
            engine: "local" trains on this machine; "ray" on the cluster at $RAY_ADDRESS, each of whose nodes must see
                `folder` under the same path, or, where none is named, on a Ray of `workers` CPUs started for the run.
            progress: show a bar on standard error.
            sinks: who else is told of the progress, such as `sinks.TensorBoard`.
            arguments: command line, for the record.

        Raises:
            ConfigError: the engine's library is missing.
            RecordError: the folder holds another study, is busy, or is damaged.
        """
        require(engine)
        store = RunFolder(Path(folder))
        tasks = self._tasks(store.root)
        with store.writing():
            started = time.monotonic()
            manifest = self._manifest(store, arguments)
            missing = self._missing(store, tasks)
            if not missing:
                tasks += self._random(store, tasks)
            if not store.finished() or missing or self._missing(store, tasks):
                store.write_manifest(manifest := manifest.model_copy(update={"sessions": manifest.sessions + 1}))
                with closing(sinks):
                    run_cells(
                        missing, workers=workers, progress=progress, engine=engine,
                        total=sum(task.key.seed is not None for task in tasks),
                        listeners=[sink.progress for sink in sinks],
                    )  # fmt: skip
                    if missing:
                        tasks += self._random(store, tasks)
                    run_cells(self._missing(store, tasks), workers=1, progress=False, total=0)
                    book = self._book(store, tasks)
                    self._conclude(book, sinks)
                wall = time.monotonic() - started
                result = self._alarmed(self._result(book, store.cell_digests(), manifest.trials), book)
                store.write_record(_record(manifest, result, self._versions(), wall))
        return Run(store.root)

    def _manifest(self, store: RunFolder, arguments: Sequence[str]) -> Manifest:
        """Check that the folder is this study's, or make it so."""
        asked, kept = identity.digest(self.effective()), store.manifest()
        # The same question to other code is the same trial, but its cells must not be mixed in one folder.
        mine = identity.digest([asked, identity.code(), self._versions()])
        if kept is None:
            tried = [identity.digest([asked, name]) for name in self.candidates if name not in self.searches]
            # Every setting that a search tries is a chance to be lucky, so each is a trial.
            tried += [identity.digest([asked, name, k]) for name, s in self.searches.items() for k in range(s.trials)]
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

    def _versions(self) -> dict[str, str]:
        """Versions of what shapes the result; a search's proposals are Optuna's."""
        searched = {"optuna": metadata.version("optuna")} if self.searches else {}
        return identity.versions() | searched

    def _tasks(self, root: Path) -> list[Task]:
        """The grid: rules once, learners with every seed, yardsticks on their own worlds; each for every training."""
        fixed = {name: who for name, who in self.baselines.items() if not isinstance(who, Matched)}
        rules = {self.benchmark_name: self.benchmark, **fixed}
        stressed = {*self.candidates, self.benchmark_name}
        tasks: list[Task] = []
        for k, (folds, tests) in enumerate(self._trainings(self.env)):
            if k == 0:
                self._check(folds, rules)
            for account, fold in folds.items():
                cash = Cash(fold.test.spec.space, fold.test.spec.short)
                for name, who in {**self.candidates, **rules, CASH: cash}.items():
                    seeds = self.seeds if isinstance(who, Agent) else (None,)
                    tasks += [
                        _task(
                            root,
                            Key(account, name, seed),
                            fold,
                            who,
                            tests[account],
                            stress=name in stressed,
                            past=name not in fixed,
                        )
                        for seed in seeds
                    ]
        for name, (env, policy) in self.yardsticks.items():
            for folds, tests in self._trainings(env):
                tasks += [_task(root, Key(a, name, None), fold, policy, tests[a]) for a, fold in folds.items()]
        # The rule that never trades goes through every test once.
        bars: dict[str, int] = {}
        for task in tasks:
            if task.key.policy == CASH:
                tested = sum(test.env.spec.horizon for test in task.tests)
                bars[task.key.account] = bars.get(task.key.account, 0) + tested
        if (longest := max(bars.values())) < inference.FEWEST_BARS:
            raise ConfigError(
                f"a verdict needs at least {inference.FEWEST_BARS} bars of test", str(longest), remedy="test longer"
            )
        return [task for task in tasks if task.tests]

    def _trainings(self, env: Problem) -> Iterator[tuple[dict[str, Fold], dict[str, list[Test]]]]:
        """Folds by account, and the tests of all splits that learn on the same dates."""
        groups: dict[Split, list[tuple[int, Split]]] = {}
        for place, split in enumerate(self.every_split):
            groups.setdefault(split._replace(test=("", ""), path=0), []).append((place, split))
        for group in groups.values():
            every = [(place, split.path, env.folds(split)) for place, split in group]
            folds = every[0][2]
            yield folds, {a: [Test(place, path, others[a].test) for place, path, others in every] for a in folds}

    def _check(self, folds: Mapping[str, Fold], rules: Mapping[str, Policy | Prophet]) -> None:
        """Refuse what cannot be judged, before any work."""
        if TOTAL in folds:
            raise ConfigError(
                f"no account may be called {TOTAL!r}", "one", remedy="rename the symbol: reports use the word"
            )
        for name, who in {**self.candidates, **rules}.items():
            if not isinstance(who, Agent | Prophet):
                _refuse_other_actions(name, who, next(iter(folds.values())).test)
        for name, matched in self.baselines.items():
            if isinstance(matched, Matched):
                test = next(iter(folds.values())).test
                _refuse_other_actions(name, matched.like(np.zeros(2), np.ones(3), np.zeros(3), seed=0), test)

    def _random(self, store: RunFolder, tasks: Sequence[Task]) -> list[Task]:
        """Baselines that trade at random as much as the first candidate did: one for each of its finished trainings."""
        candidate = next(iter(self.candidates))
        trained = [task for task in tasks if task.key.policy == candidate]
        out = []
        for name, who in self.baselines.items():
            if isinstance(who, Matched):
                for task in trained:
                    cells = [cell for key in task.keys if (cell := store.cell(*key))]
                    # Luck of its own for every account and split, or a total would not spread it.
                    rule = who.to(cells, streams.child(task.key.seed or 0, *map(str, task.key[:2]), task.key.split))
                    out.append(task._replace(key=task.key._replace(policy=name), who=rule, stress=False, past=False))
        return out

    def _missing(self, store: RunFolder, tasks: Sequence[Task]) -> list[Task]:
        """Tasks with cells to compute: rules, then learners seed by seed, so that a run cut short has whole seeds."""
        order = {seed: place for place, seed in enumerate(self.seeds)}
        missing = [task for task in tasks if any(store.cell(*key) is None for key in task.keys)]
        return sorted(missing, key=lambda task: -1 if task.key.seed is None else order[task.key.seed])

    def _book(self, store: RunFolder, tasks: Sequence[Task]) -> Book:
        own = list(dict.fromkeys(task.key.account for task in tasks if task.key.policy == CASH))
        cells = [cell for task in tasks for key in task.keys if (cell := store.cell(*key))]
        return Book(cells, own, self.roles)

    def _conclude(self, book: Book, sinks: Sequence[Sink]) -> None:
        """Tell the sinks what became of every learner."""
        for cell in book.cells if sinks else ():
            if cell.policy in self.candidates and cell.seed is not None:
                settings = identity.effective(self.candidates[cell.policy])
                for sink in sinks:
                    sink.finish(
                        Key(cell.account, cell.policy, cell.seed), settings,
                        book.figures(cell.account, cell.policy, Draw(cell.seed, cell.path)),
                    )  # fmt: skip

    def _result(self, book: Book, digests: dict[str, str], trials: int) -> schema.Result:
        spec = self.env.spec
        return schema.Result(
            question=self.question, benchmark=self.benchmark_name, judgements=self._judge(book, trials), rows=book.rows(),
            accounts=book.accounts, seeds=list(self.seeds), train=book.train_dates(), valid=book.valid_dates(),
            test=book.test_dates(), splits=list(map(_dates, self.every_split)), currency=spec.currency,
            searched={n: s.trials for n, s in self.searches.items()},
            capital=book.total(CASH).wealth[0], bars_per_year=book.bars_per_year,
            assumptions=[*spec.assumptions, *self.notes], alarms=[],
            evidence=self._evidence(book, trials), selection=self._selection(book),
            data=list(self._data()), effective=self.effective(), cells=digests,
        )  # fmt: skip

    def _alarmed(self, result: schema.Result, book: Book) -> schema.Result:
        """The result with its alarms, which look at everything else in it."""
        found = alarms.ring(self.env, self.every_split, book.parts, book, result)
        return result.model_copy(update={"alarms": [schema.Alarm(**alarm._asdict()) for alarm in found]})

    def _evidence(self, book: Book, trials: int) -> list[schema.Evidence]:
        """All that stands behind each judgement; rivals are all who lived through the same days."""
        tracks = {name: book.track(name) for name in self.roles if book.roles[name] != "yardstick" or book.covers(name)}
        return [
            evidence(
                tracks[name], tracks[self.benchmark_name], [track for who, track in tracks.items() if who != name],
                risk_free=book.risk_free(), per_year=book.bars_per_year, trials=trials, splits=self._windows(book),
                rng=streams.numpy_generator(0, "evidence", name),
            )
            for name in self.candidates
        ]  # fmt: skip

    def _selection(self, book: Book) -> schema.Selection:
        """Candidates against the benchmark, and among all own policies that do not know the future."""
        own = [
            name for name, role in self.roles.items()
            if role != "yardstick" and not isinstance(self.baselines.get(name), Prophet)
        ]  # fmt: skip
        return selection(
            [book.track(name) for name in self.candidates], book.track(self.benchmark_name), [book.track(n) for n in own],
            risk_free=book.risk_free(), rng=streams.numpy_generator(0, "selection"),
        )  # fmt: skip

    def _windows(self, book: Book) -> list[tuple[int, int]]:
        """Bars [start, end) of each test of the first pass through history, counted from the first return; none of one."""
        bounds = [split.test for split in self.every_split if split.path == 0]
        ends = np.array(book.total(CASH).days[1:], dtype="datetime64[D]")
        first, last = (np.array([pair[k] for pair in bounds], dtype="datetime64[D]") for k in (0, 1))
        # The first bar of a test opens its account; the first return ends on the bar after it.
        windows = zip(
            np.searchsorted(ends, first, side="right"), np.searchsorted(ends, last, side="right"), strict=True
        )
        return [(int(a), int(b)) for a, b in windows if a < b] if len(bounds) > 1 else []

    def _data(self) -> Iterator[schema.Data]:
        for name, problem in {"traded": self.env, **{name: each.env for name, each in self.yardsticks.items()}}.items():
            yield from (schema.Data(name=name, **source._asdict()) for source in problem.sources())

    def _judge(self, book: Book, trials: int) -> list[schema.Judgement]:
        (benchmark,) = metrics.log_returns(book.track(self.benchmark_name).wealth)
        out = []
        for name in self.candidates:
            candidate = metrics.log_returns(book.track(name).wealth)
            rng = streams.numpy_generator(0, "verdict", name)
            verdict = inference.judge(
                candidate, benchmark, learned=isinstance(self.candidates[name], Agent), seeds=len(self.seeds),
                per_year=book.bars_per_year, trials=trials, rng=rng,
            )  # fmt: skip
            out.append(schema.Judgement(candidate=name, benchmark=self.benchmark_name, **verdict._asdict()))
        return out


def _dates(split: Split) -> schema.Dates:
    return schema.Dates(train=split.train, valid=split.valid, test=split.test, without=list(split.without))


def _task(
    root: Path, key: Key, fold: Fold, who: Agent | Policy | Prophet, tests: Sequence[Test], *, stress: bool = False,
    past: bool = True,
) -> Task:  # fmt: skip
    """The cells of one training; a rule goes through history once, whatever the splits."""
    own = tuple(test for test in tests if isinstance(who, Agent) or test.path == 0)
    return Task(root, key._replace(split=own[0].split if own else 0), fold, who, own, stress, past)


def _refuse_other_actions(name: str, policy: Policy, env: Env[Any]) -> None:
    """Let a rule decide once: a rule for discrete actions says nothing about weights, and the other way round."""
    obs = env.observe(env.init(1, streams.generator(0, "decide")))
    action, _ = policy.act(obs, None, None)
    shape = (1,) if env.spec.space == "discrete" else tuple(obs.legal.shape)
    if tuple(action.shape) != shape:
        raise ConfigError(
            f"`{name}` must act as {env.spec.name} asks ({env.spec.space}): one account, actions of shape {list(shape)}",
            f"{list(action.shape)}", cause="the rule was made for another kind of actions",
            remedy="give one made for this kind; `weight_rules` holds those for weights",
        )  # fmt: skip


def _record(manifest: Manifest, result: schema.Result, versions: dict[str, str], wall: float) -> schema.Record:
    occasion = schema.Occasion(
        arguments=manifest.arguments, revision=identity.revision(), versions=versions,
        machine=identity.machine(), started=manifest.started, sessions=manifest.sessions, wall_seconds=wall,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    return schema.Record(identity=manifest.identity, result=result, occasion=occasion)
