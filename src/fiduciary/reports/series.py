"""The bulk of a record, arranged for charts: every policy's accounts by seed, and their totals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import RecordError
from fiduciary.records.paths import total
from fiduciary.records.run import Run
from fiduciary.records.schema import Cell, Path
from fiduciary.reports import tables

Floats = NDArray[np.float64]


class Fan(NamedTuple):
    """One policy on one account, over all its seeds.

    Attributes:
        column: the policy.
        seeds: S of them, or [None] for a rule.
        days: T+1, since 1970-01-01.
        wealth: [S, T+1] money.
    """

    column: tables.Column
    seeds: list[int | None]
    days: NDArray[np.int64]
    wealth: Floats


@dataclass(frozen=True)
class Book:
    """A run's cells by place.

    Raises:
        RecordError: on `check`, when a cell that the result speaks of is missing.
    """

    run: Run

    @cached_property
    def cells(self) -> dict[tuple[str, str], list[Cell]]:
        """Cells by (account, policy), seeds in order."""
        out: dict[tuple[str, str], list[Cell]] = {}
        for cell in sorted(self.run.cells, key=lambda cell: -1 if cell.seed is None else cell.seed):
            out.setdefault((cell.account, cell.policy), []).append(cell)
        return out

    @cached_property
    def columns(self) -> list[tables.Column]:
        """All policies, in the order of the tables."""
        return tables.columns_of(tables.total_rows(self.run.result))

    def check(self) -> None:
        """Refuse to chart fewer seeds than the figures speak of."""
        for row in self.run.result.rows:
            expected = max((figure.n for figure in row.figures.values()), default=0)
            found = len(self.cells.get((row.account, row.policy), []))
            if row.account != tables.TOTAL and found != expected:
                raise RecordError(
                    "a report must show every cell that its figures speak of",
                    f"{found} of {expected} for {row.policy!r} on {row.account!r} in {self.run.root}",
                    cause="cells were deleted or moved after the run",
                    remedy="run the study again with the same folder: only what is missing is computed",
                )  # fmt: skip

    def on(self, account: str) -> Iterator[Fan]:
        """Every policy that has a path on `account`."""
        for column in self.columns:
            if cells := self.cells.get((account, column.policy)):
                yield _fan(column, [cell.seed for cell in cells], [cell.test for cell in cells])

    def in_total(self) -> Iterator[Fan]:
        """Every policy with all its accounts added up."""
        for column in self.columns:
            by_seed: dict[int | None, list[Path]] = {}
            for (_, policy), cells in self.cells.items():
                for cell in cells if policy == column.policy else []:
                    by_seed.setdefault(cell.seed, []).append(cell.test)
            if by_seed:
                yield _fan(column, list(by_seed), [total(paths) for paths in by_seed.values()])


def _fan(column: tables.Column, seeds: list[int | None], paths: Sequence[Path]) -> Fan:
    """Seeds on the union of their days; an account that ended early keeps its last value."""
    days = np.unique(np.concatenate([np.asarray(path.days, dtype=np.int64) for path in paths]))
    known = [np.maximum(np.searchsorted(path.days, days, side="right") - 1, 0) for path in paths]
    wealth = np.stack([np.asarray(path.wealth)[at] for path, at in zip(paths, known, strict=True)])
    return Fan(column, seeds, days, wealth)
