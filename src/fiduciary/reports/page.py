"""A run as one HTML file that needs no network and no programmer."""

import hashlib
import json as json_
import shlex
from pathlib import Path
from typing import Any

from fiduciary.records.folder import write_atomic
from fiduciary.records.run import Run
from fiduciary.records.schema import Cell
from fiduciary.reports import charts, tables, words
from fiduciary.reports.series import Book

CURVES = ("loss", "reward", "utility")


def html(run: Run) -> Path:
    """Write report.html into the run's folder.

    Raises:
        RecordError: the run is not finished, or its folder is damaged.
    """
    path = run.root / "report.html"
    write_atomic(path, render(run).encode())
    return path


def render(run: Run) -> str:
    """The page's text; a function of the record and its cells alone."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    record, book = run.record, Book(run)
    book.check()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"join_command": shlex.join, "pretty": _pretty}
    figures = _charts(book)
    return environment.get_template("page.html").render(
        record=record, result=record.result, words=words, total=tables.total(record.result),
        overview=tables.overview(record.result), accounts=_accounts(book), learning=_learning(book, figures),
        choices=tables.choices(run.cells), charts=figures, plotly=get_plotlyjs(), single=len(record.result.seeds) == 1,
        # Text from a record cannot know the digest of the record it stands in, so it cannot run as a script.
        nonce=hashlib.sha256(record.model_dump_json().encode()).hexdigest(),
    )  # fmt: skip


def _charts(book: Book) -> dict[str, charts.Chart]:
    """All charts but those of training, by the id of their place on the page."""
    result = book.run.result
    everything = list(book.in_total())
    out = {
        "total-wealth": charts.wealth(everything, result.currency, capital=result.capital),
        "total-drawdown": charts.drawdown(everything),
    }
    for place, account in enumerate(result.accounts):
        runs = [(charts.label(cell), cell.test) for cell in _traders(book, account)]
        if runs:
            several = charts.several(runs[0][1])
            out[f"price-{place}"] = charts.positions(runs) if several else charts.trades(runs, result.currency)
        out[f"wealth-{place}"] = charts.wealth(book.on(account), result.currency)
    return out


def _traders(book: Book, account: str) -> list[Cell]:
    """Cells whose fills can be shown: candidates first, then the benchmark."""
    columns = [column for column in book.columns if column.role in ("candidate", "benchmark")]
    return [cell for column in columns for cell in book.cells.get((account, column.policy), [])]


def _accounts(book: Book) -> list[dict[str, Any]]:
    result = book.run.result
    out = []
    for name in result.accounts:
        cells = _traders(book, name)
        several = any(charts.several(cell.test) for cell in cells[:1])
        out.append({
            "name": name, "table": tables.account(result, name), "traders": [charts.label(cell) for cell in cells],
            "caption": "Share in positions, and traded, of" if several else "Price, with the buys and sells of",
            "marked": not several,
        })  # fmt: skip
    return out


def _pretty(value: Any) -> str:
    return json_.dumps(value, indent=2, ensure_ascii=False)


def _learning(book: Book, figures: dict[str, charts.Chart]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Training curves by figure, as (figure, [(account, chart id)]); their charts are added to `figures`."""
    out: list[tuple[str, list[tuple[str, str]]]] = []
    candidates = [column.policy for column in book.columns if column.role == "candidate"]
    for curve in CURVES:
        panels = []
        for place, account in enumerate(book.run.result.accounts):
            cells = [(i, cell) for i, name in enumerate(candidates) for cell in book.cells.get((account, name), [])]
            learned = [(i, cell) for i, cell in cells if any(curve in point for point in cell.curve)]
            if learned:
                figures[f"{curve}-{place}"] = charts.learning(learned, curve)
                panels.append((account, f"{curve}-{place}"))
        out += [(curve, panels)] if panels else []
    return out
