"""A run as Markdown, for people and version control, and as JSON, for programs."""

import json as json_
import shlex
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fiduciary.records.folder import write_atomic
from fiduciary.records.run import Run
from fiduciary.records.schema import Record, Result
from fiduciary.reports import tables, words


def markdown(run: Run) -> Path:
    """Write report.md into the run's folder: what the page says, without charts.

    Raises:
        RecordError: the run is not finished, or its folder is damaged.
    """
    path = run.root / "report.md"
    write_atomic(path, ("\n\n".join(_sections(run)) + "\n").encode())
    return path


def json(run: Run) -> Path:
    """Write report.json into the run's folder: the result, its verdict in words, and the occasion.

    Raises:
        RecordError: the run is not finished, or its folder is damaged.
    """
    path = run.root / "report.json"
    text = json_.dumps(summary(run.record), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (text + "\n").encode())
    return path


def summary(record: Record) -> dict[str, Any]:
    """A record without bulk series, as plain values; keys are those of `Result`, with `verdict` before them."""
    dumped = record.model_dump(mode="json")
    return {
        "format": dumped["format"], "verdict": words.sentence(record.result.judgements[0]), **dumped["result"],
        "identity": dumped["identity"], "occasion": dumped["occasion"],
    }  # fmt: skip


def _sections(run: Run) -> Iterator[str]:
    record, result = run.record, run.result
    yield f"# {_text(result.question)}"
    for judgement in result.judgements:
        yield f"**{_text(words.sentence(judgement))}**"
        yield _text(words.basis(judgement))
    if result.alarms:
        yield "## Alarms"
        yield _list(alarm.text for alarm in result.alarms)
    yield _facts(result)
    yield "## In total"
    yield _figures(tables.total(result))
    yield "## Rate of return by account"
    overview = tables.overview(result)
    yield _table(["account", *_heads(overview.columns)], ([n, *(c.line for c in cells)] for n, cells in overview.lines))
    for name in result.accounts:
        yield f"## {_text(name)}"
        yield _figures(tables.account(result, name))
    if result.searched:
        yield "## Search"
        yield f"{_text(words.searched(result))}. The settings kept:"
        yield _table(["account", "seed", "log growth in validation", "settings"], tables.choices(run.cells))
    yield "## Assumptions"
    yield _list(result.assumptions) or "None stated."
    yield "## Data"
    yield from _data(result)
    yield "## How figures are defined"
    yield "\n".join(f"- **{_text(term)}**: {_text(meaning)}" for term, meaning in words.meanings(result))
    yield "## How to reproduce"
    yield from _reproduce(record)


def _facts(result: Result) -> str:
    capital = words.money(result.capital, result.currency)
    return _list([
        f"Judged on {' to '.join(result.test)}; learned on {words.learned(result)}.",
        f"Capital {capital} in {len(result.accounts)} accounts; {len(result.seeds)} seeds.",
    ])  # fmt: skip


def _figures(table: tables.Table) -> str:
    rows = (
        [f"{line.label} (hindsight)" if line.hindsight else line.label, *(cell.line for cell in line.cells)]
        for line in table.lines
    )
    return _table(["figure", *_heads(table.columns)], rows)


def _data(result: Result) -> Iterator[str]:
    for data in result.data:
        yield f"### {_text(data.name)}"
        yield _list([
            f"Source: {data.source}", f"SHA-256: {data.sha256}", f"{data.first} to {data.last}, in {data.currency}",
            f"Symbols: {', '.join(data.symbols)}", f"Faults found: {'; '.join(data.faults) or 'none'}",
        ])  # fmt: skip


def _reproduce(record: Record) -> Iterator[str]:
    occasion = record.occasion
    yield _list([
        f"Command: {shlex.join(occasion.arguments) or 'started from Python'}",
        f"Code revision: {occasion.revision}", f"Identity: {record.identity}",
        f"Seeds: {', '.join(map(str, record.result.seeds))}", f"Machine: {occasion.machine}",
        f"Versions: {', '.join(f'{name} {version}' for name, version in occasion.versions.items())}",
        f"Started {occasion.started}, finished {occasion.finished}: {occasion.wall_seconds:,.0f} seconds in "
        f"{occasion.sessions} session{'s' if occasion.sessions != 1 else ''}",
    ])  # fmt: skip
    config = json_.dumps(record.result.effective, indent=2, ensure_ascii=False)
    yield f"Effective configuration:\n\n```json\n{config}\n```"


def _heads(columns: Iterable[tables.Column]) -> list[str]:
    return [f"{column.policy} ({column.role})" for column in columns]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---", *["---:"] * (len(head) - 1)]
    lines = [[_text(cell) for cell in head], ruler, *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {_text(item)}" for item in items)


def _text(text: str) -> str:
    """Any text as one line of Markdown that means only itself."""
    plain = escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|~" else c for c in plain)
