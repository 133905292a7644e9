"""A run in the terminal: the verdict first, then two tables."""

from typing import TYPE_CHECKING

from fiduciary.records.run import Run
from fiduciary.reports import tables, words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

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
    alarms = [Text(f"! {alarm.text}", "yellow") for alarm in result.alarms]
    gap, total = Text(""), _total(tables.total(result), len(result.seeds))
    return Group(*verdicts, *alarms, gap, total, gap, _overview(tables.overview(result)))


def _total(table: tables.Table, seeds: int) -> "Table":
    from rich.text import Text

    intervals = any(cell.interval for line in table.lines for cell in line.cells)
    note = f"; below it, 95 % interval over {seeds} seeds" if intervals else ""
    grid = _grid(f"In total{note}", "", table.columns)
    for line in table.lines:
        label = f"{line.label} (hindsight)" if line.hindsight else line.label
        cells = [Text(cell.mean).append(f"\n{cell.interval}" if cell.interval else "", "dim") for cell in line.cells]
        grid.add_row(Text(label), *cells)
    return grid


def _overview(overview: tables.Overview) -> "Table":
    from rich.text import Text

    grid = _grid("Rate of return", "account", overview.columns)
    for name, cells in overview.lines:
        grid.add_row(Text(name), *(Text(cell.mean) for cell in cells), style="bold" if name == tables.TOTAL else "")
    return grid


def _grid(title: str, first: str, columns: list[tables.Column]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column(first)
    for column in columns:
        grid.add_column(Text(column.policy).append(f"\n{column.role}", "dim"), justify="right")
    return grid
