"""One cell of the grid: train (or take the rule), let it live through both ranges of dates, write it down."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fiduciary.core import seeds
from fiduciary.core.types import Agent, Fold, Policy, Saveable
from fiduciary.evaluation.metrics import rate_of_return
from fiduciary.evaluation.rollout import Trajectory, rollout
from fiduciary.records import schema
from fiduciary.records.folder import RunFolder, read_checkpoint, write_checkpoint
from fiduciary.study.search import Search

PACE = "steps/s"
"""Name under which agents report how fast they learn."""


class Key(NamedTuple):
    """Which cell; `seed` is None for rules."""

    account: str
    policy: str
    seed: int | None


class Task(NamedTuple):
    """A cell to compute; picklable, so that any process can."""

    root: Path
    key: Key
    fold: Fold
    who: Agent | Policy


Tell = Callable[[Key, int, int, dict[str, float]], None]
"""Called with (cell, updates done, updates in all, figures)."""


def compute(task: Task, tell: Tell) -> None:
    """Compute a cell, continuing from its checkpoint if there is one, and publish it."""
    folder, key = RunFolder(task.root), task.key
    watch = _CellWatch(folder.cell_folder(*key) / "checkpoint.pt", key, tell)
    # Worlds are drawn from streams that no policy owns, so that all policies meet the same ones.
    fit = seeds.generator(key.seed or 0, key.account, key.policy, "fit")
    fold, who = task.fold, task.who
    trials: list[schema.Trial] = []
    if isinstance(who, Search):
        policy, trials = who.search(fold.train, rng=fit, watch=watch, valid=fold.valid)
    else:
        policy = who.fit(fold.train, rng=fit, watch=watch, valid=fold.valid) if isinstance(who, Agent) else who
    passes = {"train": fold.hindsight, "valid": fold.valid, "test": fold.test}
    lived = {
        name: rollout(env, policy, rng=seeds.generator(0, key.account, name))
        for name, env in passes.items() if env is not None
    }  # fmt: skip
    train, valid = lived["train"], lived.get("valid")
    cell = schema.Cell(
        account=key.account, policy=key.policy, seed=key.seed,
        train_return=rate_of_return(train.wealth), train_days=_ends(train),
        valid_return=None if valid is None else rate_of_return(valid.wealth), valid_days=valid and _ends(valid),
        test=_path(lived["test"]), curve=watch.curve, trials=trials, policy_file=_save(folder, key, policy),
    )  # fmt: skip
    folder.write_cell(cell)


def _ends(t: Trajectory) -> tuple[int, int]:
    return int(t.days[0]), int(t.days[-1])


def _save(folder: RunFolder, key: Key, policy: Policy) -> str:
    if not isinstance(policy, Saveable):
        return ""
    path = folder.cell_folder(*key) / "policy.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    policy.save(str(path))
    return str(path.relative_to(folder.root))


def _path(t: Trajectory) -> schema.Path:
    return schema.Path(
        days=t.days.tolist(), wealth=t.wealth.tolist(), mark=t.mark.tolist(), exposure=t.exposure.tolist(),
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
