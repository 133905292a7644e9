"""A finished run, as readers see it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fiduciary.records.folder import RunFolder
from fiduciary.records.paths import chained
from fiduciary.records.schema import Cell, Estimate, Judgement, Record, Result, Row


@dataclass(frozen=True)
class Run:
    """Read access to a run folder; every attribute is read from disk once."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

    @cached_property
    def record(self) -> Record:
        """The whole record."""
        return RunFolder(self.root).record()

    @property
    def result(self) -> Result:
        """Its deterministic part."""
        return self.record.result

    @cached_property
    def cells(self) -> list[Cell]:
        """Every account's path, by policy, seed and pass through history; the tests of all splits end to end."""
        return chained(RunFolder(self.root).cells(self.result.cells))

    @property
    def verdict(self) -> Judgement:
        """On the first candidate; all of them are in `result.judgements`."""
        return self.result.judgements[0]

    def row(self, policy: str, account: str = "total") -> Row:
        """The figures of one policy on one account."""
        return next(row for row in self.result.rows if (row.policy, row.account) == (policy, account))

    def figure(self, name: str, policy: str, account: str = "total") -> Estimate:
        """One figure, such as `figure("rate_of_return", "lstm-dqn")`."""
        return self.row(policy, account).figures[name]
