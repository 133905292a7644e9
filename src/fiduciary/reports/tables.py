"""A result's rows as tables of text, shared by the page, the files and the terminal."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from fiduciary.records.schema import Cell, Estimate, Result, Row
from fiduciary.reports import words

TOTAL = "total"
ROLES = ("candidate", "benchmark", "baseline", "yardstick")


class Column(NamedTuple):
    """One policy."""

    policy: str
    role: str


class Line(NamedTuple):
    """One figure of all policies of a table."""

    label: str
    cells: list[words.Shown]
    hindsight: bool


class Table(NamedTuple):
    """Figures (lines) of policies (columns) on one account."""

    columns: list[Column]
    lines: list[Line]


def total(result: Result) -> Table:
    """All figures, all accounts together."""
    return _table(total_rows(result), words.described(result), result.currency)


def account(result: Result, name: str) -> Table:
    """All figures on one account, beside the yardsticks."""
    yardsticks = [row for row in total_rows(result) if row.role == "yardstick"]
    rows = _ordered([row for row in result.rows if row.account == name and row.role != "yardstick"] + yardsticks)
    return _table(rows, words.described(result), result.currency)


def total_rows(result: Result) -> list[Row]:
    """The rows of the total, and those of policies that have none, such as an index on an account of its own."""
    summed = [row for row in result.rows if row.account == TOTAL]
    have = {row.policy for row in summed}
    return _ordered(summed + [row for row in result.rows if row.role == "yardstick" and row.policy not in have])


class Overview(NamedTuple):
    """One figure, accounts by policies; an account's cell is None where a policy has no row."""

    columns: list[Column]
    lines: list[tuple[str, list[words.Shown]]]


def overview(result: Result, figure: str = "rate_of_return") -> Overview:
    """One figure of every policy on every account."""
    rows = {(row.account, row.policy): row.figures.get(figure) for row in result.rows}
    columns = [c for c in columns_of(total_rows(result)) if any((a, c.policy) in rows for a in result.accounts)]
    shape = next(f for f in words.FIGURES if f.name == figure)
    lines = [
        (name, [words.estimate(rows.get((name, c.policy)), shape, result.currency) for c in columns])
        for name in [*result.accounts, TOTAL]
    ]
    return Overview(columns, lines)


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


def _table(rows: list[Row], figures: list[words.Figure], currency: str) -> Table:
    lines = []
    for figure in figures:
        values: list[Estimate | None] = [row.figures.get(figure.name) for row in rows]
        if any(value is not None for value in values):
            cells = [words.estimate(value, figure, currency) for value in values]
            lines.append(Line(figure.label, cells, figure.name in words.HINDSIGHT))
    return Table(columns_of(rows), lines)
