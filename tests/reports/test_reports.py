"""Everything shown equals the record, nothing shown can act, and an unfinished run shows nothing."""

import json
import math
import re
import shutil
from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console

from fiduciary import reports
from fiduciary.core.errors import RecordError
from fiduciary.evaluation import metrics
from fiduciary.records import Run
from fiduciary.records.paths import total
from fiduciary.records.schema import Estimate, Judgement
from fiduciary.reports import figures, words
from reading import Page, charts, markdown_tables, own_parts
from reading import figures as merged
from sample_run import ACCOUNTS, QUESTION

HOSTILE = '<script>alert("x")</script>|`*_'
SECTIONS = [
    "evidence-0",
    "total",
    "robustness-0",
    "luck",
    "accounts",
    "learning",
    "assumptions",
    "data",
    "definitions",
    "reproduce",
]


@pytest.fixture(scope="module")
def text(run: Run) -> str:
    return reports.html(run).read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(own_parts(text))


def by_hand(name: str, value: float) -> float:
    """What a cell should read, as a number: percents times a hundred."""
    shares = {
        "rate_of_return",
        "annual_return",
        "volatility",
        "annual_volatility",
        "max_drawdown",
        "train_return",
        "exposure",
        "var",
        "cvar",
        "hit_rate",
    }
    return value * 100 if name in shares else value


def numbers(text: str) -> list[float]:
    """Numbers of one cell: the mean, and the bounds if there are any."""
    return [float(each.replace(",", "")) for each in re.findall(r"-?\d[\d,]*\.?\d*", text)]


def agrees(cell: str, name: str, estimate: Estimate) -> bool:
    """A cell shows its estimate to within half of its last digit, with its bounds exactly when there are any."""
    expected = [estimate.mean, estimate.low, estimate.high]
    known = [by_hand(name, x) for x in expected if math.isfinite(x)]
    got = numbers(cell)
    if not known:
        return "n/a" in cell
    digits = [len(each.partition(".")[2]) for each in re.findall(r"-?\d[\d,]*\.?\d*", cell)]
    near = [abs(a - b) <= 0.5 * 10**-d + 1e-9 for a, b, d in zip(got, known, digits, strict=True)]
    return all(near)


NAMES = {figure.label.format(bar="daily"): figure.name for figure in figures.FIGURES}


def test_total_table_equals_the_record(run: Run, page: Page):
    head, *lines = merged(page.within["total"])
    assert head[1:] == ["lstm-dqn|candidate", "buy-and-hold|benchmark", "cash|baseline", "S&P 500|yardstick"]
    assert len(lines) == len(figures.described(run.result))
    for label, *cells in lines:
        name = NAMES[label.split("|")[0]]
        for policy, cell in zip(head[1:], cells, strict=True):
            assert agrees(cell, name, run.figure(name, policy.split("|")[0])), (name, policy, cell)


def test_account_tables_equal_the_record(run: Run, page: Page):
    for place, account in enumerate(ACCOUNTS):
        head, *lines = merged(page.within[f"account-{place}"])
        policies = [each.split("|")[0] for each in head[1:]]
        assert policies == ["lstm-dqn", "buy-and-hold", "cash", "S&P 500"]
        assert len(lines) == len(merged(page.within["total"])) - 1, "every figure of the total stands on every account"
        for label, *cells in lines:
            name = NAMES[label.split("|")[0]]
            for policy, cell in zip(policies, cells, strict=True):
                assert agrees(cell, name, shown_on(run, name, policy, account)), (account, policy, name)


def shown_on(run: Run, name: str, policy: str, account: str) -> Estimate:
    """A yardstick has no accounts: its total stands beside each."""
    return run.figure(name, policy, "total" if policy == "S&P 500" else account)


def test_markdown_equals_the_record(run: Run):
    tables = [t for t in markdown_tables(reports.markdown(run).read_text()) if t[0][0] == "figure"]
    for account, (head, *lines) in zip(("total", *ACCOUNTS), tables, strict=True):
        for label, *cells in lines:
            name = NAMES[label.removesuffix(" (hindsight)")]
            for policy, cell in zip(head[1:], cells, strict=True):
                figure = shown_on(run, name, policy.rpartition(" (")[0], account)
                assert agrees(cell, name, figure), (account, policy, name)


def test_overviews_equal_the_record(run: Run, page: Page):
    tables = markdown_tables(reports.markdown(run).read_text())
    markdown = next(table for table in tables if table[0][0] == "account")
    for head, *lines in (page.within["accounts"][0], markdown):
        policies = [re.split(r"\||\s\(", each)[0] for each in head[1:]]
        for label, (_, *cells) in zip([*ACCOUNTS, "total"], lines, strict=True):
            for policy, cell in zip(policies, cells, strict=True):
                assert agrees(cell, "rate_of_return", run.figure("rate_of_return", policy, label))


def test_json_is_the_result(run: Run):
    got = json.loads(reports.json(run).read_text())
    assert list(got)[:4] == ["format", "verdict", "findings", "question"]
    assert got["verdict"] == words.sentence(run.verdict)
    for key, value in run.result.model_dump(mode="json").items():
        assert got[key] == value
    assert got["occasion"]["sessions"] == 2


def test_charts_are_valid_and_equal_the_cells(run: Run, text: str):
    import plotly.graph_objects as go

    specs = charts(text)
    for spec in specs.values():
        go.Figure(spec)
    learned = [[c.test for c in run.cells if (c.policy, c.seed) == ("lstm-dqn", seed)] for seed in run.result.seeds]
    paths = [total(each) for each in learned]
    wealth = np.array([path.wealth for path in paths])
    by_name = {trace["name"]: trace["y"] for trace in specs["total-wealth"]["data"] if trace["line"]["width"] > 1}
    np.testing.assert_allclose(by_name["lstm-dqn, mean of 3 seeds"], wealth.mean(axis=0), rtol=1e-6)
    yardstick = next(c.test for c in run.cells if c.policy == "S&P 500")
    np.testing.assert_allclose(by_name["S&amp;P 500"], yardstick.wealth, rtol=1e-6)
    fallen = {trace["name"]: trace["y"] for trace in specs["total-drawdown"]["data"] if trace["line"]["width"] > 1}
    expected = np.mean([metrics.drawdowns(each) for each in wealth], axis=0)
    np.testing.assert_allclose(fallen["lstm-dqn, mean of 3 seeds"], expected, rtol=1e-5, atol=1e-9)


def test_marks_stand_where_orders_were_filled(run: Run, text: str):
    spec, account = charts(text)["price-0"], ACCOUNTS[0]
    marks = [trace for trace in spec["data"] if trace.get("meta") == 1]
    path = next(c.test for c in run.cells if (c.account, c.policy, c.seed) == (account, "lstm-dqn", 1))
    traded = np.array(path.traded)
    for trace, chosen in zip(marks, (traded > 0, traded < 0), strict=True):
        assert not trace["visible"]
        at = np.flatnonzero(chosen) + 1
        days = np.array(trace["x"], dtype="datetime64[D]").astype(int)
        np.testing.assert_array_equal(days, np.array(path.days)[at])
        np.testing.assert_allclose(trace["y"], np.array(path.mark)[at], rtol=1e-6)
        np.testing.assert_allclose(trace["customdata"], np.abs(traded[chosen]), rtol=1e-6)
    assert [t["visible"] for t in spec["data"] if t.get("meta") == 0] == [True, True]


def test_the_page_says_the_verdict_first_and_holds_every_section(run: Run, page: Page):
    places = [page.text.index(each) for each in (words.sentence(run.verdict), "Judged on", "Rate of return")]
    assert places == sorted(places)
    ids = [attrs.get("id") for _, attrs in page.tags if attrs.get("id")]
    assert [each for each in ids if each in SECTIONS] == SECTIONS
    assert all(f"account-{i}" in ids for i in range(len(ACCOUNTS)))
    assert len(ids) == len(set(ids))
    for fact in (run.record.identity, "c0ffee", "2 sessions", "fiduciary run studies/stock-investment.toml", "0, 1, 2"):
        assert fact in page.text
    assert page.stack == []


def test_the_page_needs_no_network(page: Page, text: str):
    for _, attrs in page.tags:
        assert not {"src", "srcset", "data", "action"} & set(attrs)
        assert (attrs.get("href") or "#").startswith("#")
    assert not re.search(r"@import|url\(|https?://", own_parts(text))
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy and policy.startswith("default-src 'none'; script-src 'nonce-")


def test_writing_is_repeatable(run: Run):
    assert reports.write(run) == run.root / "report.html"
    first = {name: (run.root / name).read_bytes() for name in ("report.html", "report.md", "report.json")}
    reports.write(Run(run.root))
    assert first == {name: (run.root / name).read_bytes() for name in first}
    assert not list(run.root.glob(".*part"))


def test_hostile_names_are_text(make: Callable[..., Run]):
    run = make(accounts=("AAPL", HOSTILE), candidate=f"dqn{HOSTILE}", question=f"Does {HOSTILE} pay?",
               alarms=(HOSTILE,), faults=(HOSTILE,), note=HOSTILE)  # fmt: skip
    whole = reports.write(run).read_text()
    mine = Page(own_parts(whole))
    assert "<script>" not in whole
    assert [tag for tag, _ in mine.tags].count("script") == 3
    assert f"Does {HOSTILE} pay?" in mine.text
    assert f"dqn{HOSTILE}|candidate" in mine.within["total"][0][0]
    for spec in charts(whole).values():
        assert not any("<" in trace["name"] for trace in spec["data"])
    written = (run.root / "report.md").read_text()
    prose, config, _ = written.split("```")
    assert "<script>" not in prose
    assert "```" not in config
    assert [table[0][0] for table in markdown_tables(written)].count("figure") == 3
    assert json.loads((run.root / "report.json").read_text())["question"] == f"Does {HOSTILE} pay?"


def test_names_that_look_like_markup_reach_the_terminal(make: Callable[..., Run]):
    shown = printed(make(candidate="[bold]dqn[/bold]"))
    assert "[bold]dqn[/bold]" in shown


def test_a_single_seed_has_no_interval(make: Callable[..., Run]):
    run = make(seeds=(7,))
    mine = Page(own_parts(reports.write(run).read_text()))
    assert "One seed was trained, so no figure has an interval" in mine.text
    assert all(len(numbers(cell)) <= 1 for row in mine.within["total"][0][1:] for cell in row[1:])
    assert "nan" not in mine.text.lower().split()
    assert "NaN" not in (run.root / "report.json").read_text()
    assert "lstm-dqn, seed 7" in mine.text
    assert "95 % interval over" not in printed(run)


def test_alarms_come_before_figures_and_many_faults_are_folded(make: Callable[..., Run]):
    mine = Page(own_parts(reports.html(make(alarms=("Seed 2 is a copy of cash",), faults=("gap",) * 6)).read_text()))
    assert mine.text.index("Seed 2 is a copy of cash") < mine.text.index("Judged on")
    assert "6 faults" in mine.text
    assert "details" in [tag for tag, _ in mine.tags]


def test_an_unfinished_run_shows_nothing(make: Callable[..., Run]):
    run = make()
    (run.root / "record.json").unlink()
    for show in (reports.write, reports.html, reports.markdown, reports.json, reports.console):
        with pytest.raises(RecordError, match="not finished"):
            show(Run(run.root))
    assert not list(run.root.glob("report.*"))


def test_a_lost_cell_is_not_passed_over(make: Callable[..., Run]):
    run = make()
    shutil.rmtree(run.root / "cells" / "IBM" / "lstm-dqn" / "seed-1")
    with pytest.raises(RecordError, match="2 of 3 for 'lstm-dqn' on 'IBM'"):
        reports.write(run)
    assert not list(run.root.glob("report.*"))


def printed(run: Run, width: int = 100) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(reports.console(run))
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_says_the_verdict_first(run: Run, width: int):
    shown = printed(run, width)
    assert " ".join(shown.split()).startswith(words.sentence(run.verdict))
    for value in ("lstm-dqn", "buy-and-hold", "Sharpe ratio", *ACCOUNTS):
        assert value in shown
    figure = run.figure("rate_of_return", "buy-and-hold")
    assert f"{figure.mean:.1%}".replace("%", " %") in shown


def judgement(**parts: object) -> Judgement:
    base = {"candidate": "a", "benchmark": "b", "word": "no evidence", "difference": -0.031,
            "low": -0.12, "high": 0.059, "p_value": 0.48, "level": 0.05, "trials": 1, "block": 3.0,
            "reason": "r"}  # fmt: skip
    return Judgement.model_validate(base | parts)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, "No evidence that a beats b: its annual log growth was 3.1 points lower "
             "(95 % interval -12.0 to +5.9, p = 0.48; 1 trial)."),
        ({"word": "evidence for", "difference": 0.2, "low": 0.1, "high": 0.3, "p_value": 0.0005, "trials": 3},
         "Evidence that a beats b: its annual log growth was 20.0 points higher "
         "(98.33 % interval +10.0 to +30.0, p < 0.001; 3 trials)."),
        ({"word": "evidence against", "difference": -0.2, "low": -0.3, "high": -0.1, "p_value": 0.012},
         "Evidence that a does worse than b: its annual log growth was 20.0 points lower "
         "(95 % interval -30.0 to -10.0, p = 0.012; 1 trial)."),
        ({"difference": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0},
         "No evidence that a beats b: its annual log growth was the same "
         "(95 % interval +0.0 to +0.0, p = 1.00; 1 trial)."),
        ({"low": None, "high": None},
         "No evidence that a beats b: its annual log growth was 3.1 points lower "
         "(95 % interval n/a to n/a, p = 0.48; 1 trial)."),
    ],
)  # fmt: skip
def test_verdicts_read_as_sentences(parts: dict[str, object], expected: str):
    assert words.sentence(judgement(**parts)) == expected


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (words.percent(0.1234), "12.3 %"), (words.percent(math.nan), "n/a"),
        (words.money(512345.6, "USD"), "512,346 USD"),
        (words.money(12.5, "EUR"), "12.50 EUR"), (words.money(0.0, "EUR"), "0 EUR"), (words.money(-2e6), "-2,000,000"),
        (words.money(math.nan, "USD"), "n/a"), (words.count(12.0), "12"), (words.count(12.34), "12.3"),
        (words.times(3.14), "3.1 x"), (words.times(math.nan), "n/a"), (words.fine_number(0.0567), "0.057"),
    ],
)  # fmt: skip
def test_numbers_read_well(got: str, expected: str):
    assert got == expected


def test_the_question_is_the_title(page: Page):
    assert QUESTION in page.text
