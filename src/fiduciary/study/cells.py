"""Cells of the grid: train (or take the rule), let it live through training and test dates, write it down."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fiduciary.core import seeds
from fiduciary.core.types import Agent, Env, Fold, Policy, Prophet, Saveable
from fiduciary.evaluation.metrics import rate_of_return
from fiduciary.evaluation.rollout import Trajectory, rollout
from fiduciary.records import schema
from fiduciary.records.folder import RunFolder, read_checkpoint, write_checkpoint
from fiduciary.study.search import Search
from fiduciary.study.stress import limited, stressed

PACE = "steps/s"
"""Name under which agents report how fast they learn."""


class Key(NamedTuple):
    """Which cell; `seed` is None for rules, `split` counts the tests of a study with several."""

    account: str
    policy: str
    seed: int | None
    split: int = 0


class Test(NamedTuple):
    """One test of what was learned: the place of its split, the pass through history it belongs to, its world."""

    split: int
    path: int
    env: Env[Any]


class Task(NamedTuple):
    """Cells to compute that share one training; picklable, so that any process can.

    Attributes:
        root: the run's folder.
        key: the first cell; the others differ in `split`.
        fold: what to learn on.
        who: learner, rule or prophet.
        tests: a cell for each.
        stress: also live through the tests under other conditions.
        past: also live through the dates of training and validation.
    """

    root: Path
    key: Key
    fold: Fold
    who: Agent | Policy | Prophet
    tests: tuple[Test, ...]
    stress: bool = False
    past: bool = True

    @property
    def keys(self) -> list[Key]:
        """Of all its cells."""
        return [self.key._replace(split=test.split) for test in self.tests]


Tell = Callable[[Key, int, int, dict[str, float]], None]
"""Called with (cell, updates done, updates in all, figures)."""


def compute(task: Task, tell: Tell) -> None:
    """Compute a task's cells, continuing from their checkpoint if there is one, and publish them."""
    folder, key, fold = RunFolder(task.root), task.key, task.fold
    watch = _CellWatch(folder.cell_folder(*key) / "checkpoint.pt", key, tell)
    policy, trials = _learn(task, watch)
    train, valid = (
        _live(key, name, env, policy) if env is not None and task.past else None
        for name, env in (("train", fold.hindsight), ("valid", fold.valid))
    )
    for test in task.tests:
        lived = _live(key, "test", test.env, policy)
        stress = stressed(test.env, policy, _rng(key, "test"), lived=lived) if task.stress else {}
        cell = schema.Cell(
            account=key.account, policy=key.policy, seed=key.seed, split=test.split, path=test.path,
            train_return=math.nan if train is None else float(rate_of_return(train.wealth)),
            train_days=train and _ends(train),
            valid_return=None if valid is None else float(rate_of_return(valid.wealth)), valid_days=valid and _ends(valid),
            test=_path(lived), curve=watch.curve, trials=trials, stress=stress,
            policy_file=_save(folder, key._replace(split=test.split), policy),
        )  # fmt: skip
        folder.write_cell(cell)


def _learn(task: Task, watch: "_CellWatch") -> tuple[Policy | Prophet, list[schema.Trial]]:
    """What the task's learner learned, or its rule; and the trials of a search."""
    key, fold, who = task.key, task.fold, task.who
    fit = seeds.generator(key.seed or 0, key.account, key.policy, "fit", *([key.split] if key.split else []))
    if isinstance(who, Search):
        found = who.search(fold.train, rng=fit, watch=watch, valid=fold.valid)
        return found.policy, found.trials
    return (who.fit(fold.train, rng=fit, watch=watch, valid=fold.valid) if isinstance(who, Agent) else who), []


def _live(key: Key, name: str, env: Env[Any], policy: Policy | Prophet) -> Trajectory:
    return rollout(env, policy.foresee(env) if isinstance(policy, Prophet) else policy, rng=_rng(key, name))


def _rng(key: Key, name: str) -> torch.Generator:
    """Worlds are drawn from streams that no policy owns, so that all policies meet the same ones."""
    return seeds.generator(0, key.account, name)


def _ends(t: Trajectory) -> tuple[int, int]:
    return int(t.days[0]), int(t.days[-1])


def _save(folder: RunFolder, key: Key, policy: Policy | Prophet) -> str:
    if not isinstance(policy, Saveable):
        return ""
    path = folder.cell_folder(*key) / "policy.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    policy.save(str(path))
    return str(path.relative_to(folder.root))


def _path(t: Trajectory) -> schema.Path:
    return schema.Path(
        days=t.days.tolist(), wealth=limited(t.wealth), mark=t.mark.tolist(), exposure=t.exposure.tolist(),
        action=t.action.tolist(), traded=t.traded.tolist(), fees=t.fees.tolist(),
    )  # fmt: skip


@dataclass
class _CellWatch:
    """The Watch of one cell: checkpoints to one file, progress to whoever listens and to the curve."""

    file: Path
    key: Key
    tell: Tell

    def __post_init__(self) -> None:
        self.curve: list[dict[str, float]] = []

    def restore(self) -> dict[str, Any] | None:
        kept = read_checkpoint(self.file)
        if kept is None:
            return None
        self.curve = kept["curve"]
        state: dict[str, Any] = kept["agent"]
        return state

    def keep(self, state: dict[str, Any]) -> None:
        write_checkpoint(self.file, {"agent": state, "curve": self.curve})

    def progress(self, done: int, total: int, figures: dict[str, float]) -> None:
        # The curve belongs to the result, and how fast a machine is does not.
        self.curve.append({"update": float(done), **{name: x for name, x in figures.items() if name != PACE}})
        self.tell(self.key, done, total, figures)
