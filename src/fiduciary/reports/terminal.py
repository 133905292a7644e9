"""A run in the terminal: the verdict first, then alarms, tables, and a line for each of the other judges."""

from typing import TYPE_CHECKING

from fiduciary.records.run import Run
from fiduciary.reports import findings, tables, words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SHORT = {
    "Annual return": "return a year", "Annual volatility": "volatility", "Sharpe ratio, annualised": "Sharpe",
    "Maximum drawdown": "drawdown", "Turnover a year": "turnover",
}  # fmt: skip
"""Figures that fit beside the names of many policies."""
COLOURS = {"evidence for": "bold green", "evidence against": "bold red", "no evidence": "bold"}


def console(run: Run) -> "RenderableType":
    """Verdicts, alarms, the table of totals and one line per account, to be printed by rich.

    Raises:
        RecordError: the run is not finished, or its folder is damaged.
    """
    from rich.console import Group
    from rich.text import Text

    result = run.result
    verdicts = [Text(words.sentence(each), COLOURS[each.word]) for each in result.judgements]
    alarms = [Text(f"! {f'{alarm.kind}: ' if alarm.kind else ''}{alarm.text}", "yellow") for alarm in result.alarms]
    gap, total = Text(""), tables.total(result)
    few = [_total(total, len(result.seeds)), gap, _overview(tables.overview(result))]
    grids = [_turned(total)] if total.wide else few
    brief = [Text(line) for line in findings.brief(result)]
    return Group(*verdicts, *alarms, gap, *grids, *([gap] if brief else []), *brief)


def _turned(table: tables.Table) -> "Table":
    """Policies as rows, with the few figures that a terminal holds."""
    from rich.text import Text

    lines = [line for line in table.lines if line.label in SHORT]
    grid = _frame("In total")
    for line in lines:
        grid.add_column(Text(SHORT[line.label]), justify="right")
    for place, column in enumerate(table.columns):
        style = "bold" if column.role in ("candidate", "benchmark") else ""
        name = Text(column.policy).append(f" {column.role}", "dim")
        grid.add_row(name, *(Text(line.cells[place].mean) for line in lines), style=style)
    return grid


def _total(table: tables.Table, seeds: int) -> "Table":
    from rich.text import Text

    intervals = any(cell.interval for line in table.lines for cell in line.cells)
    note = f"; below it, 95 % interval over {seeds} seeds" if intervals else ""
    grid = _grid(f"In total{note}", "", table.columns)
    for line in (each for each in table.lines if not each.further):
        label = f"{line.label} (hindsight)" if line.hindsight else line.label
        cells = [Text(cell.mean).append(f"\n{cell.interval}" if cell.interval else "", "dim") for cell in line.cells]
        grid.add_row(Text(label), *cells)
    return grid


def _overview(overview: tables.Table) -> "Table":
    from rich.text import Text

    grid = _grid("Rate of return", "account", overview.columns)
    for name, cells, *_ in overview.lines:
        grid.add_row(Text(name), *(Text(cell.mean) for cell in cells), style="bold" if name == tables.TOTAL else "")
    return grid


def _grid(title: str, first: str, columns: list[tables.Column]) -> "Table":
    from rich.text import Text

    grid = _frame(title, first)
    for column in columns:
        grid.add_column(Text(column.policy).append(f"\n{column.role}", "dim"), justify="right")
    return grid


def _frame(title: str, first: str = "") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column(first)
    return grid
