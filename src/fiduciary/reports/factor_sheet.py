"""An evaluation of factors as pages: a sheet for each factor, and a table over all of them; each one file, without network."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from fiduciary.core.files import write_atomic
from fiduciary.data.panel import position
from fiduciary.evaluation.dependent_means import Mean
from fiduciary.evaluation.factor_findings import Evaluation, Finding
from fiduciary.evaluation.factor_likeness import NEAREST, SPANNED
from fiduciary.factors import Factor, Formula
from fiduciary.records.identity import digest
from fiduciary.reports.drawing import Chart
from fiduciary.reports.factor_charts import charts
from fiduciary.reports.page import _packed
from fiduciary.reports.words import NOTHING, counted, number, p_value, percent

SHEETS = 10
LONGEST_NAME = 120
"""Characters of a page's name; a file system takes 255 bytes."""


@dataclass(frozen=True)
class Definition:
    """What a sheet says of where its numbers come from.

    Attributes:
        text: the formula, or what stands for it.
        sha256: of the definition.
        lookback: bars.
        needs: fields read.
        about: in words, "" where nobody said.
    """

    text: str
    sha256: str
    lookback: int
    needs: tuple[str, ...]
    about: str = ""


@dataclass(frozen=True)
class Origin:
    """Where an evaluation comes from.

    Attributes:
        revision: of the code.
        as_of: when the data were known, in words; "" where the source keeps no such time.
        universe: who could be in a cross-section, in words; "" = everyone.
        command: as typed, "" from Python.
    """

    revision: str
    as_of: str = ""
    universe: str = ""
    command: str = ""


def define(factor: Factor | Formula) -> Definition:
    """Definition of a factor; a function is identified by its instructions, and its twin is its text where it has one."""
    if isinstance(factor, Formula):
        return Definition(str(factor.expr), factor.expr.digest(), factor.lookback, factor.needs, factor.about)
    text = str(factor.twin) if factor.twin is not None else "a Python function"
    return Definition(text, digest(factor.compute), factor.lookback, factor.needs)


def write(
    evaluation: Evaluation,
    folder: Path,
    *,
    factors: Sequence[Factor | Formula],
    origin: Origin,
    sheets: int = SHEETS,
) -> Path:
    """Write index.html over all factors, and the sheets of the `sheets` with the smallest q-values, into `folder`.

    Args:
        evaluation: of the factors.
        folder: made if need be; pages of the same names are replaced, each at once.
        factors: those evaluated.
        origin: of the evaluation.
        sheets: how many; a page weighs about five megabytes, the charts' library.

    Returns:
        The path of index.html.
    """
    definitions = {factor.name: define(factor) for factor in factors}
    linked = [finding.name for finding in ranked(evaluation)[:sheets]]
    for name in linked:
        write_atomic(folder / _file(name), sheet(evaluation, name, definitions[name], origin).encode())
    path = folder / "index.html"
    write_atomic(path, summary(evaluation, origin, linked=linked).encode())
    return path


def sheet(evaluation: Evaluation, name: str, definition: Definition, origin: Origin) -> str:
    """The page of one factor.

    Raises:
        ConfigError: the evaluation has no factor of that name; the nearest is named.
    """
    k = position(name, [finding.name for finding in evaluation.findings], "factor")
    finding = evaluation.findings[k]
    drawn = charts(evaluation, k)
    return _render(
        "factor_sheet.html", evaluation, origin, drawn, finding=finding, definition=definition,
        sentences=sentences(evaluation, finding), horizons=_horizons(evaluation, finding),
        portfolios=_portfolios(finding), beside=_beside(finding),
    )  # fmt: skip


def summary(evaluation: Evaluation, origin: Origin, *, linked: Sequence[str] = ()) -> str:
    """The page over all factors, those `linked` with their sheets."""
    lines = [
        (finding, _file(finding.name) if finding.name in linked else "", cells(evaluation, finding))
        for finding in ranked(evaluation)
    ]
    return _render(
        "factor_summary.html", evaluation, origin, {}, heads=HEADS, lines=lines, headline=headline(evaluation),
        reality=reality(evaluation),
    )  # fmt: skip


def ranked(evaluation: Evaluation) -> list[Finding]:
    """Factors by q-value, equals by the size of t at the judged horizon."""

    def order(finding: Finding) -> tuple[float, float]:
        return finding.foretells.q_value, -np.nan_to_num(abs(finding.look.rank_ic[evaluation.terms.place].t))

    return sorted(evaluation.findings, key=order)


# --- in words --------------------------------------------------------------------------------------------------------


class Sentence(NamedTuple):
    """A verdict as a page shows it: its word, the sentence, and what it rests on."""

    word: str
    text: str
    basis: str


def headline(evaluation: Evaluation) -> str:
    """How many factors show anything, in one sentence."""
    found = sum(finding.foretells.word != "no evidence" for finding in evaluation.findings)
    paid = sum(finding.pays.word == "evidence for" for finding in evaluation.findings)
    if evaluation.widest < evaluation.terms.fewest:
        return (
            f"No evidence: the widest cross-section holds {counted(evaluation.widest, 'symbol')}, and one needs "
            f"{evaluation.terms.fewest} to say anything."
        )
    of = f"{len(evaluation.findings)} factor{'' if len(evaluation.findings) == 1 else 's'}"
    return (
        f"Of {of}, {found or 'none'} foretell{'s' if found == 1 else ''} returns over "
        f"{counted(evaluation.terms.horizon, 'bar')}, and {paid or 'none'} paid after costs; "
        f"{evaluation.trials} tried, at a false-discovery rate of {percent(evaluation.terms.level, digits=0)}."
    )


def reality(evaluation: Evaluation) -> str:
    """What the best of all portfolios is worth, in one sentence; "" where there is none."""
    if evaluation.reality is None:
        return ""
    return (
        "Is the best of their long-short portfolios, in either direction and after costs, more than luck? "
        f"{p_value(evaluation.reality.spa)} (Hansen 2005), {p_value(evaluation.reality.reality_check)} (White 2000)."
    )


def sentences(evaluation: Evaluation, finding: Finding) -> list[Sentence]:
    """Whether the factor foretells, and whether trading it paid."""
    terms = evaluation.terms
    mean = finding.look.rank_ic[terms.place]
    bars = counted(terms.horizon, "bar")
    opening = {
        "evidence for": f"Evidence that high values of {finding.name} precede higher returns over the next {bars}",
        "evidence against": f"Evidence that high values of {finding.name} precede lower returns over the next {bars}",
        "no evidence": f"No evidence that {finding.name} foretells returns over the next {bars}",
    }[finding.foretells.word]
    known = math.isfinite(mean.p_value)
    facts = f": its mean rank IC was {signed(mean.mean)} ({_interval(mean)}, {q_value(finding.foretells.q_value)})"
    luck = (
        f" Its |t| is {number(abs(mean.t))}; the largest of {counted(evaluation.trials, 'factor')} without any skill would "
        f"be about {number(evaluation.lucky_t)}."
        if known else ""
    )  # fmt: skip
    money = {
        "evidence for": "Evidence that trading it pays after costs",
        "evidence against": "Evidence that trading it loses money after costs",
        "no evidence": "No evidence that trading it pays after costs",
    }[finding.pays.word]
    net = finding.look.long_short.net
    group = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 10: "tenth"}.get(terms.quantiles, "quantile")
    best, worst = ("highest", "lowest")[:: finding.look.direction]
    side = "" if finding.look.direction > 0 else " (the reversed side, chosen on these dates)"
    earned = (
        f": the {best} {group} minus the {worst}{side} earned {signed_percent(net.mean)} a year "
        f"({signed_percent(net.low)} to {signed_percent(net.high)}, {q_value(finding.pays.q_value)})"
    )
    return [
        Sentence(
            finding.foretells.word, f"{opening}{facts if known else ''}.",
            f"{_capital(finding.foretells.reason)}.{luck}",
        ),
        Sentence(
            finding.pays.word, f"{money}{earned if math.isfinite(net.p_value) else ''}.",
            f"{_capital(finding.pays.reason)}. {number(terms.cost_bps, digits=1)} basis points on every unit bought or sold.",
        ),
    ]  # fmt: skip


def q_value(q: float) -> str:
    """0.0123 -> "q = 0.012"."""
    return p_value(q).replace("p", "q", 1)


def _bare(p: float) -> str:
    """0.0123 -> "0.012"."""
    return p_value(p).removeprefix("p ").removeprefix("= ")


def signed(x: float, digits: int = 3) -> str:
    """0.0312 -> "+0.031"."""
    return f"{x:+.{digits}f}" if math.isfinite(x) else NOTHING


def signed_percent(x: float) -> str:
    """0.031 -> "+3.1 %"."""
    return f"{100 * x:+.1f} %" if math.isfinite(x) else NOTHING


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _interval(mean: Mean, write: Any = signed) -> str:
    return f"{write(mean.low)} to {write(mean.high)}" if math.isfinite(mean.low) else ""


# --- tables ----------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A number and its interval, as text."""

    mean: str
    interval: str = ""


HEADS = (
    "Foretells", "Pays", "Rank IC", "t", "q", "q if independent", "Long-short net, a year", "Turnover a year", "Most like",
    "Rank IC of its own", "Coverage",
)  # fmt: skip


def cells(evaluation: Evaluation, finding: Finding) -> list[Cell]:
    """One line of the table over all factors, under `HEADS`."""
    mean = finding.look.rank_ic[evaluation.terms.place]
    like = f"{finding.nearest} {signed(finding.nearest_correlation, 2)}" if finding.nearest else NOTHING
    return [
        Cell(finding.foretells.word), Cell(finding.pays.word), Cell(signed(mean.mean), _interval(mean)),
        Cell(signed(mean.t, 1)), *(Cell(_bare(q)) for q in finding.foretells[1:3]),
        Cell(signed_percent(finding.look.long_short.net.mean), _interval(finding.look.long_short.net, signed_percent)),
        Cell(f"{number(finding.look.long_short.turnover, digits=0)} x"), Cell(like),
        Cell(signed(finding.residual.mean), _interval(finding.residual)), Cell(percent(finding.look.coverage, digits=0)),
    ]  # fmt: skip


def _horizons(evaluation: Evaluation, finding: Finding) -> list[tuple[str, list[Cell]]]:
    return [
        (
            f"{counted(h, 'bar')}{', judged' if h == evaluation.terms.horizon else ''}",
            [
                Cell(signed(rank.mean), _interval(rank)), Cell(signed(rank.t, 1)), Cell(number(rank.ratio)),
                Cell(percent(rank.positive, digits=0)), Cell(signed(ic.mean), _interval(ic)), Cell(f"{rank.n:,}"),
            ],
        )
        for h, rank, ic in zip(evaluation.terms.horizons, finding.look.rank_ic, finding.look.ic, strict=True)
    ]  # fmt: skip


def _portfolios(finding: Finding) -> list[tuple[str, list[Cell]]]:
    names = ("Best minus worst", "Best minus the whole cross-section")
    return [
        (
            name,
            [
                Cell(signed_percent(each.gross)), Cell(percent(each.cost)),
                Cell(signed_percent(each.net.mean), _interval(each.net, signed_percent)),
                Cell(_bare(each.net.p_value)),
                Cell(percent(each.drawdown)), Cell(f"{number(each.turnover, digits=1)} x"),
            ],
        )
        for name, each in zip(names, (finding.look.long_short, finding.look.long_only), strict=True)
    ]  # fmt: skip


def _beside(finding: Finding) -> list[tuple[str, str]]:
    """What the factor is beside the others, as (what, finding)."""
    rest = f"{signed(finding.residual.mean)} ({_interval(finding.residual)}, {p_value(finding.residual.p_value)})"
    spanned = f"nothing is left: others say at least {percent(1 - SPANNED)} of what it says"
    alone = "the only factor here"
    return [
        ("Most like", f"{finding.nearest}, {signed(finding.nearest_correlation, 2)}" if finding.nearest else alone),
        (f"Rank IC of what its {NEAREST} nearest leave of it", rest if finding.residual.n else spanned),
        ("Correlation of its ranks with those of the bar before", number(finding.look.autocorrelation)),
        ("Share of the quantile bought that is new each bar", percent(finding.look.replaced)),
        ("Share of the cross-section whose value is known", percent(finding.look.coverage)),
    ]


# --- pages -----------------------------------------------------------------------------------------------------------


def _render(template: str, evaluation: Evaluation, origin: Origin, drawn: dict[str, Chart], **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    nonce = hashlib.sha256(f"{evaluation.data} {sorted(values)} {origin}".encode()).hexdigest()
    return environment.get_template(template).render(
        evaluation=evaluation, terms=evaluation.terms, origin=origin, charts=drawn, packed=_packed(drawn),
        plotly=get_plotlyjs() if drawn else "", nonce=nonce, first=str(evaluation.dates[0])[:10],
        last=str(evaluation.dates[-1])[:10], number=number, signed=signed, signed_percent=signed_percent, **values,
    )  # fmt: skip


def _file(name: str) -> str:
    quoted = quote(name, safe="")
    if len(quoted) > LONGEST_NAME:  # a formula is named by its text
        quoted = f"{quoted[: LONGEST_NAME - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{quoted}.html"
