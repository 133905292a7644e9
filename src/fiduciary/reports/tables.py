"""A result's rows as tables of text, shared by the page, the files and the terminal."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from fiduciary.records.schema import Cell, Estimate, Evidence, Result, Row
from fiduciary.reports import figures, words

TOTAL = "total"
MANY = 6
"""Above so many policies, tables have them as rows, and charts show baselines only when asked."""
ROLES = ("candidate", "benchmark", "baseline", "yardstick")


class Column(NamedTuple):
    """One policy."""

    policy: str
    role: str


class Line(NamedTuple):
    """One figure of all policies of a table; `further` ones are shown where there is room."""

    label: str
    cells: list[figures.Shown]
    hindsight: bool = False
    further: bool = False


class Turned(NamedTuple):
    """Policies (rows) by figures (columns)."""

    heads: list[Line]
    rows: list[tuple[Column, list[figures.Shown]]]


class Table(NamedTuple):
    """Figures (lines) of policies (columns) on one account."""

    columns: list[Column]
    lines: list[Line]

    @property
    def wide(self) -> bool:
        """So many policies that they are better read as rows."""
        return len(self.columns) > MANY

    def turned(self, width: int = 7) -> list[Turned]:
        """Policies as rows, in tables of so many figures each that a page holds them."""
        parts = [self.lines[i : i + width] for i in range(0, len(self.lines), width)]
        return [
            Turned(part, [(column, [line.cells[i] for line in part]) for i, column in enumerate(self.columns)])
            for part in parts
        ]


class Against(NamedTuple):
    """What a candidate's figures differ by: from its benchmark in full, from every other rival in tables of a page's width."""

    benchmark: list[tuple[str, figures.Gap]]
    rivals: list[tuple[list[str], list[tuple[Column, list[figures.Gap]]]]]


def against(result: Result, evidence: Evidence, width: int = 5) -> Against:
    """The differences of one candidate, as text."""
    by = {(each.rival, each.figure): each for each in evidence.differences}
    shown = compared(result, evidence)
    others = [column for column in columns_of(total_rows(result)) if any(rival == column.policy for rival, _ in by)]
    others = [column for column in others if column.policy != result.benchmark]

    def gaps(rival: str, part: list[figures.Figure]) -> list[figures.Gap]:
        return [figures.gap(by.get((rival, figure.name)), figure, result.currency) for figure in part]

    parts = [shown[i : i + width] for i in range(0, len(shown), width)] if others else []
    return Against(
        list(zip([figure.label for figure in shown], gaps(result.benchmark, shown), strict=True)),
        [([f.label for f in part], [(each, gaps(each.policy, part)) for each in others]) for part in parts],
    )


def compared(result: Result, evidence: Evidence) -> list[figures.Figure]:
    """The figures in which a candidate is compared, in the order of the tables."""
    held = {each.figure for each in evidence.differences}
    return [figure for figure in figures.described(result) if figure.name in held]


def total(result: Result) -> Table:
    """All figures, all accounts together."""
    return _table(total_rows(result), figures.described(result), result.currency)


def account(result: Result, name: str) -> Table:
    """All figures on one account, beside the yardsticks."""
    yardsticks = [row for row in total_rows(result) if row.role == "yardstick"]
    rows = _ordered([row for row in result.rows if row.account == name and row.role != "yardstick"] + yardsticks)
    return _table(rows, figures.described(result), result.currency)


def total_rows(result: Result) -> list[Row]:
    """The rows of the total, and those of policies that have none, such as an index on an account of its own."""
    summed = [row for row in result.rows if row.account == TOTAL]
    have = {row.policy for row in summed}
    return _ordered(summed + [row for row in result.rows if row.role == "yardstick" and row.policy not in have])


def overview(result: Result, figure: str = "rate_of_return") -> Table:
    """One figure of every policy (columns) on every account (lines), the total last; n/a where a policy has no row."""
    rows = {(row.account, row.policy): row.figures.get(figure) for row in result.rows}
    columns = [c for c in columns_of(total_rows(result)) if any((a, c.policy) in rows for a in result.accounts)]
    shape = next(f for f in figures.FIGURES if f.name == figure)
    lines = [
        Line(name, [figures.estimate(rows.get((name, c.policy)), shape, result.currency) for c in columns])
        for name in [*result.accounts, TOTAL]
    ]
    return Table(columns, lines)


class Choice(NamedTuple):
    """What a search ended with, in text: on which account, with which seed, the best value, its settings."""

    account: str
    seed: str
    best: str
    parameters: str


def choices(cells: Iterable[Cell]) -> list[Choice]:
    """The best trial of every cell that searched, the earliest of equals."""
    out = []
    for cell in cells:
        finite = [trial for trial in cell.trials if math.isfinite(trial.value)]
        if finite:
            best = max(finite, key=lambda trial: trial.value)
            out.append(Choice(cell.account, str(cell.seed), words.fine_number(best.value), words.parameters(best)))
    return out


def columns_of(rows: list[Row]) -> list[Column]:
    """One column for each row, in their order."""
    return [Column(row.policy, row.role) for row in rows]


def _ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: ROLES.index(row.role))


def _table(rows: list[Row], shown: list[figures.Figure], currency: str) -> Table:
    lines = []
    for figure in shown:
        values: list[Estimate | None] = [row.figures.get(figure.name) for row in rows]
        if any(value is not None for value in values):
            cells = [figures.estimate(value, figure, currency) for value in values]
            further = figure.name not in {main.name for main in figures.MAIN}
            lines.append(Line(figure.label, cells, figure.name in figures.HINDSIGHT, further))
    return Table(columns_of(rows), lines)
