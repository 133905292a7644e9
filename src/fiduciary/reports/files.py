"""A run as Markdown, for people and version control, and as JSON, for programs."""

import json as json_
import shlex
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fiduciary.core.files import write_atomic
from fiduciary.records.run import Run
from fiduciary.records.schema import Evidence, Record, Result
from fiduciary.reports import figures, findings, tables, words


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
    """A record without bulk series, as plain values; keys are those of `Result`, with `verdict` and `findings`, both
    in words, before them."""
    dumped = record.model_dump(mode="json")
    return {
        "format": dumped["format"], "verdict": words.sentence(record.result.judgements[0]),
        "findings": findings.brief(record.result), **dumped["result"],
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
        yield _pairs((alarm.kind or "alarm", alarm.text) for alarm in result.alarms)
    yield _facts(result)
    for evidence in result.evidence:
        yield f"## {_text(evidence.candidate)} against its rivals"
        yield from _against(result, evidence)
    yield "## In total"
    yield from _figures(tables.total(result))
    for evidence in result.evidence:
        yield f"## How the edge of {_text(evidence.candidate)} holds up"
        yield from _conditions(result, evidence)
    if result.evidence or result.selection:
        yield "## Skill or luck"
        yield from _luck(result)
    if len(result.splits) > 1:
        yield "## Splits"
        yield _table(["split", "learned on", "chosen on", "judged on"], _splits(result))
    yield "## Rate of return by account"
    yield from _figures(tables.overview(result), "account")
    for name in result.accounts:
        yield f"## {_text(name)}"
        yield from _figures(tables.account(result, name))
    if result.searched:
        yield "## Search"
        yield f"{_text(words.searched(result))}. The settings kept:"
        yield _table(["account", "seed", "log growth in validation", "settings"], tables.choices(run.cells))
    yield "## Assumptions"
    yield _list(result.assumptions) or "None stated."
    yield "## Data"
    yield from _data(result)
    yield "## How figures are defined"
    yield _pairs(figures.meanings(result))
    yield "## How to reproduce"
    yield from _reproduce(record)


def _facts(result: Result) -> str:
    capital = words.money(result.capital, result.currency)
    return _list([
        f"Judged on {' to '.join(result.test)}; learned on {words.learned(result)}.",
        f"Capital {capital} in {len(result.accounts)} accounts; {len(result.seeds)} seeds.",
    ])  # fmt: skip


def _figures(table: tables.Table, first: str = "figure") -> Iterator[str]:
    if table.wide:
        for part in table.turned():
            rows = ([_head(column), *(cell.line for cell in cells)] for column, cells in part.rows)
            yield _table(["policy", *map(_label, part.heads)], rows)
        return
    yield _table(
        [first, *map(_head, table.columns)],
        ([_label(line), *(cell.line for cell in line.cells)] for line in table.lines),
    )


def _against(result: Result, evidence: Evidence) -> Iterator[str]:
    against = tables.against(result, evidence)
    yield _text(findings.READ["comparison"])
    yield _table(
        [f"{evidence.candidate} minus {result.benchmark}", "difference", "95 % interval", "p-value"],
        ([label, gap.value, gap.interval or words.NOTHING, gap.p_value] for label, gap in against.benchmark),
    )
    for labels, rows in against.rivals:
        lines = ([_head(column), *(gap.line for gap in gaps)] for column, gaps in rows)
        yield _table([f"{evidence.candidate} minus", *labels], lines)


def _conditions(result: Result, evidence: Evidence) -> Iterator[str]:
    for kind, found in findings.conditions(evidence, result):
        yield f"{findings.KINDS[kind]}: {_text(findings.READ[kind])}"
        yield _table(
            [findings.KINDS[kind], "edge a year (95 % interval)"],
            ([findings.named(each), findings.edge(each)] for each in found),
        )
    yield _text(findings.middle(evidence))


def _luck(result: Result) -> Iterator[str]:
    yield _text(findings.seen(result.judgements[0]))
    for evidence in result.evidence:
        yield f"### Sharpe ratio of {_text(evidence.candidate)}"
        yield _pairs(findings.sharpe(evidence.sharpe, result.benchmark))
        yield _text(findings.power(evidence.power))
    if result.selection:
        yield "### The best of all that were compared"
        yield _pairs(findings.selection(result.selection, result.benchmark))


def _splits(result: Result) -> Iterator[list[str]]:
    for place, dates in enumerate(result.splits, start=1):
        chosen = " to ".join(dates.valid) if dates.valid else words.NOTHING
        holes = f" without {', '.join(' to '.join(hole) for hole in dates.without)}" if dates.without else ""
        yield [str(place), f"{' to '.join(dates.train)}{holes}", chosen, " to ".join(dates.test)]


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


def _head(column: tables.Column) -> str:
    return f"{column.policy} ({column.role})"


def _label(line: tables.Line) -> str:
    return f"{line.label} (hindsight)" if line.hindsight else line.label


def _pairs(items: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{_text(term)}**: {_text(meaning)}" for term, meaning in items)


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
