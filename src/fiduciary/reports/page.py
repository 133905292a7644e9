"""A run as one HTML file that needs no network and no programmer."""

import hashlib
import json as json_
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from fiduciary.core.files import write_atomic
from fiduciary.records.run import Run
from fiduciary.records.schema import Cell, Evidence
from fiduciary.reports import charts, evidence_charts, figures, findings, tables, words
from fiduciary.reports.drawing import Chart
from fiduciary.reports.series import Book, window

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
    result = record.result
    book.check()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"join_command": shlex.join, "pretty": _pretty}
    drawn = _charts(book)
    blocks = [_block(book, place, drawn) for place in range(len(result.evidence))]
    learning = _learning(book, drawn)
    return environment.get_template("page.html").render(
        record=record, result=result, words=words, findings=findings, meanings=figures.meanings(result),
        total=tables.total(result), overview=tables.overview(result), accounts=_accounts(book), blocks=blocks,
        learning=learning, rolling=findings.rolling(_window(book), result.bars_per_year), choices=tables.choices(run.cells),
        comparable=charts.comparable(book.in_total), charts=drawn, packed=_packed(drawn), plotly=get_plotlyjs(),
        single=len(result.seeds) == 1,
        # Text from a record cannot know the digest of the record it stands in, so it cannot run as a script.
        nonce=hashlib.sha256(record.model_dump_json().encode()).hexdigest(),
    )  # fmt: skip


def _packed(drawn: dict[str, Chart]) -> dict[str, Any]:
    """Charts with their dates kept once: `x` of a trace is a place in `dates` where it was a list of them."""
    dates: dict[tuple[Any, ...], int] = {}
    packed = {
        name: chart | {"data": [
            trace | {"x": dates.setdefault(tuple(trace["x"]), len(dates))} for trace in chart["data"]
        ]}
        for name, chart in drawn.items()
    }  # fmt: skip
    return {"dates": list(dates), "charts": packed}


def _charts(book: Book) -> dict[str, Chart]:
    """Charts of accounts and splits, by the id of their place on the page."""
    result, everything = book.run.result, book.in_total
    out = {
        "total-wealth": charts.wealth(everything, result.currency, capital=result.capital),
        "total-drawdown": charts.drawdown(everything),
        "total-exposure": charts.exposure(everything),
    }
    if bars := _window(book):
        out["total-rolling"] = charts.rolling(everything, bars, result.bars_per_year)
    if len(result.splits) > 1:
        out["splits"] = evidence_charts.splits(result.splits)
    for place, account in enumerate(result.accounts):
        runs = [(charts.label(cell), cell.test) for cell in _traders(book, account)]
        if runs:
            several = charts.several(runs[0][1])
            out[f"price-{place}"] = charts.positions(runs) if several else charts.trades(runs, result.currency)
        fans = list(book.on(account))
        hidden = charts.comparable(fans)  # a file must not grow with accounts times baselines
        out[f"wealth-{place}"] = charts.wealth([f for f in fans if f.column.policy not in hidden], result.currency)
    return out


def _window(book: Book) -> int:
    """Bars of the rolling figures; 0 where the test is too short for any."""
    return window(min(len(fan.days) for fan in book.in_total) - 1, book.run.result.bars_per_year)


class Block(NamedTuple):
    """What stands behind one verdict: its tables, and the ids and titles of its charts."""

    evidence: Evidence
    against: tables.Against
    figures: list[str]
    conditions: list[str]
    place: int


def _block(book: Book, place: int, drawn: dict[str, Chart]) -> Block:
    """The evidence of one candidate; its charts are added to `drawn`."""
    result = book.run.result
    evidence = result.evidence[place]
    against, shown = tables.against(result, evidence), tables.compared(result, evidence)
    order = [column.policy for column in book.columns if any(column.policy == d.rival for d in evidence.differences)]
    edges = book.edges(evidence.candidate, result.benchmark)
    conditions = dict(findings.conditions(evidence, result))
    drawn |= {f"{kind}-{place}": evidence_charts.conditions(found, kind) for kind, found in conditions.items()}
    if len(order) > 1:
        drawn[f"rivals-{place}"] = evidence_charts.rivals(evidence, shown, order, result.currency)
    if evidence.null and evidence.null[0] < evidence.null[-1]:
        drawn[f"null-{place}"] = evidence_charts.null(evidence)
    if evidence.months:
        drawn[f"months-{place}"] = evidence_charts.months(evidence)
    if len(edges) > 1:
        drawn[f"seeds-{place}"] = evidence_charts.seeds(edges)
    return Block(evidence, against, [figure.label for figure in shown], list(conditions), place)


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


def _learning(book: Book, drawn: dict[str, Chart]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Training curves by figure, as (figure, [(account, chart id)]); their charts are added to `drawn`."""
    out: list[tuple[str, list[tuple[str, str]]]] = []
    candidates = [column.policy for column in book.columns if column.role == "candidate"]
    for curve in CURVES:
        panels = []
        for place, account in enumerate(book.run.result.accounts):
            cells = [(i, cell) for i, name in enumerate(candidates) for cell in book.cells.get((account, name), [])]
            learned = [(i, cell) for i, cell in cells if any(curve in point for point in cell.curve)]
            if learned:
                drawn[f"{curve}-{place}"] = charts.learning(learned, curve)
                panels.append((account, f"{curve}-{place}"))
        out += [(curve, panels)] if panels else []
    return out
