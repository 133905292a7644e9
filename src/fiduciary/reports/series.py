"""The bulk of a record, arranged for charts: every policy's accounts by seed, and their totals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import RecordError
from fiduciary.records.paths import total
from fiduciary.records.run import Run
from fiduciary.records.schema import Cell, Path
from fiduciary.reports import tables, words

Floats = NDArray[np.float64]
Draw = tuple[int | None, int]


class Fan(NamedTuple):
    """One policy on one account, over all its draws: a seed (None for a rule) on a path through history.

    Attributes:
        column: the policy.
        draws: D of them, as (seed, path).
        days: T+1, since 1970-01-01.
        wealth: [D, T+1] money.
        exposure: [D, T+1] share of wealth in positions.
    """

    column: tables.Column
    draws: list[Draw]
    days: NDArray[np.int64]
    wealth: Floats
    exposure: Floats

    @property
    def many(self) -> str:
        """Its draws in words: "3 seeds", "3 seeds on 5 paths"; "" for a single one."""
        seeds, paths = (len(set(part)) for part in zip(*self.draws, strict=True))
        parts = [words.counted(n, noun) for n, noun in ((seeds, "seed"), (paths, "path")) if n > 1]
        return " on ".join(parts)


@dataclass(frozen=True)
class Book:
    """A run's cells by place.

    Raises:
        RecordError: on `check`, when a cell that the result speaks of is missing.
    """

    run: Run

    @cached_property
    def cells(self) -> dict[tuple[str, str], list[Cell]]:
        """Cells by (account, policy), seeds in order, then paths."""
        out: dict[tuple[str, str], list[Cell]] = {}
        for cell in sorted(self.run.cells, key=lambda cell: (-1 if cell.seed is None else cell.seed, cell.path)):
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
            cells = self.cells.get((row.account, row.policy), [])
            found = len(cells)
            # A figure is a mean over draws or, where several paths were first averaged, over seeds.
            if row.account != tables.TOTAL and expected not in (found, len({cell.seed for cell in cells})):
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
                yield _fan(column, {(cell.seed, cell.path): cell.test for cell in cells})

    @cached_property
    def in_total(self) -> list[Fan]:
        """Every policy with all its accounts added up."""
        out = []
        for column in self.columns:
            by_draw: dict[Draw, list[Path]] = {}
            for (_, policy), cells in self.cells.items():
                for cell in cells if policy == column.policy else []:
                    by_draw.setdefault((cell.seed, cell.path), []).append(cell.test)
            if by_draw:
                out.append(_fan(column, {draw: total(paths) for draw, paths in by_draw.items()}))
        return out

    def edges(self, candidate: str, benchmark: str) -> dict[Draw, float]:
        """Annual log growth of every draw of a candidate over the benchmark on the same path, all accounts together."""
        growth = {fan.column.policy: self._growth(fan) for fan in self.in_total}
        rival = {path: value for (_, path), value in growth[benchmark].items()}
        return {draw: value - rival[draw[1]] for draw, value in growth[candidate].items() if draw[1] in rival}

    def _growth(self, fan: Fan) -> dict[Draw, float]:
        years = (len(fan.days) - 1) / self.run.result.bars_per_year
        return dict(zip(fan.draws, np.log(fan.wealth[:, -1] / fan.wealth[:, 0]) / years, strict=True))


def _fan(column: tables.Column, paths: Mapping[Draw, Path]) -> Fan:
    """Draws on the union of their days; an account that ended early keeps its last value."""
    days = np.unique(np.concatenate([np.asarray(path.days, dtype=np.int64) for path in paths.values()]))
    known = [np.maximum(np.searchsorted(path.days, days, side="right") - 1, 0) for path in paths.values()]
    wealth, exposure = (
        np.stack([np.asarray(getattr(path, part))[at] for path, at in zip(paths.values(), known, strict=True)])
        for part in ("wealth", "exposure")
    )
    return Fan(column, list(paths), days, wealth, exposure)


FEWEST = 30
"""Bars of the shortest window over which a rolling figure says anything."""


def window(bars: int, per_year: float) -> int:
    """Bars of the rolling figures of a test: a year, or half of a test too short for that; 0 where even that is too short."""
    year = round(per_year)
    chosen = year if bars >= 1.5 * year else bars // 2
    return chosen if chosen >= FEWEST else 0


def trailing(x: Floats, bars: int) -> Floats:
    """Mean of the last `bars` values, of fewer at the start; [..., T] -> [..., T]."""
    sums = np.cumsum(x, axis=-1)
    sums[..., bars:] -= sums[..., :-bars].copy()
    return np.asarray(sums / np.minimum(np.arange(1, x.shape[-1] + 1), bars))


def rolling_sharpe(wealth: Floats, window: int, per_year: float) -> Floats:
    """Annual mean(r) / std(r) over the last `window` bars; wealth [D, T+1] -> [D, T+1 - window].

    Cash is not deducted, since a record does not hold what it earned; NaN where the account did not move.
    """
    r = wealth[:, 1:] / wealth[:, :-1] - 1.0
    middle, whole = r.mean(axis=1, keepdims=True), r.std(axis=1, keepdims=True)
    off, square = (trailing((r - middle) ** k, window)[:, window - 1 :] for k in (1, 2))
    spread = np.sqrt(np.maximum(square - off**2, 0.0) * window / (window - 1))
    moved = spread > 1e-6 * whole  # below it lies the rounding of sums
    ratio = np.divide(off + middle, spread, out=np.full(spread.shape, np.nan), where=moved)
    return np.asarray(ratio * per_year**0.5)


def sharpe_error(sharpe: Floats, window: int, per_year: float) -> Floats:
    """Standard error of an annual Sharpe ratio, sqrt((per_year + SR^2 / 2) / n), for independent returns (Lo 2002)."""
    return np.asarray(np.sqrt((per_year + sharpe**2 / 2) / window))
