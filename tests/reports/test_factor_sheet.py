"""Factor sheets: every number is one of the evaluation, the page stands alone, and little evidence is called so."""

import json
import re
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import Panel
from fiduciary.evaluation.factor_evaluation import Terms, evaluate
from fiduciary.factors import Factor, Formula, parse, tabulate
from fiduciary.reports import factor_sheet

ORIGIN = factor_sheet.Origin("revision-1", "2024-03-01", "members of an index", "fiduciary factor evaluate prices.csv")
FORMULAS = (
    Formula("reversal", parse("-delta(close, 1) / ref(close, 1)"), "what fell lately"),
    Formula("same", parse("cs_rank(-delta(close, 1) / ref(close, 1))")),
    Formula("<b>noise</b>", parse("ts_std(close, 20)")),
)


@pytest.fixture(scope="module")
def judged():
    """Prices that come back: the reversal knows something."""
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.standard_normal((300, 40))
    close = 50 * np.exp(np.cumsum(0.01 * rng.standard_normal((300, 40)), axis=0) + noise)
    opened = np.roll(close, 1, axis=0)  # fills at the last close
    values = np.stack([opened, close], axis=-1)
    days = np.datetime64("2022-01-03") + np.arange(300)
    panel = Panel(
        days, tuple(f"s{n}" for n in range(40)), ("open", "close"), values, np.ones((300, 40), bool), source="made up"
    )
    return evaluate(panel, tabulate(panel, FORMULAS), Terms(horizons=(1, 5), horizon=1))


@pytest.fixture(scope="module")
def page(judged):
    return factor_sheet.sheet(judged, "reversal", factor_sheet.define(FORMULAS[0]), ORIGIN)


def shown(page: str) -> str:
    """Text without code, markup and line breaks."""
    text = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("\u00a0", " ").split())


def charts(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)[1])


def test_sheet_says_what_was_found(judged, page):
    text, found = shown(page), judged.findings[0]
    assert found.foretells.word == "evidence for"
    mean = found.look.rank_ic[0]
    assert (
        f"Evidence that high values of reversal precede higher returns over the next 1 bar: its mean rank IC was "
        f"{mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f}, q &lt; 0.001)." in text
    )
    for number in (
        f"{mean.t:+.1f}", f"{found.look.rank_ic[1].mean:+.3f}", f"{found.look.ic[0].mean:+.3f}",
        f"{100 * found.look.long_short.net.mean:+.1f} %", f"{100 * found.look.long_only.gross:+.1f} %",
        f"same, {found.nearest_correlation:+.2f}", "nothing is left: others say at least 99.9 % of what it says",
    ):  # fmt: skip
        assert number in text
    definition = factor_sheet.define(FORMULAS[0])
    assert definition.text == "-(close - ref(close, 1)) / ref(close, 1)"
    for word in (definition.text, "what fell lately", "2 bars", definition.sha256[:12], judged.data[:12], "revision-1",
                 "2024-03-01", "members of an index", "fiduciary factor evaluate prices.csv", "made up"):  # fmt: skip
        assert word in text


def test_sheet_stands_alone(page):
    text = re.sub(r"<script nonce.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"https?://|src=|@import|url\(", text)
    assert "default-src 'none'" in text
    assert 4_000_000 < len(page) < 6_500_000


def test_charts_hold_the_numbers_of_the_evaluation(judged, page):
    drawn, found = charts(page)["charts"], judged.findings[0]
    assert set(drawn) == {"ic", "sum", "decay", "years", "money", "quantiles", "others", "coverage"}
    for name in drawn:
        assert f'id="{name}"' in page
    x = charts(page)["dates"][drawn["decay"]["data"][0]["x"]]
    assert x == pytest.approx([mean.mean for mean in found.look.rank_ic], rel=1e-6)
    assert drawn["quantiles"]["data"][0]["y"] == pytest.approx(1e4 * found.look.by_quantile, rel=1e-6)
    assert drawn["sum"]["data"][0]["y"][-1] == pytest.approx(np.nansum(found.look.daily_rank_ic), rel=1e-6)
    assert drawn["money"]["data"][0]["y"][-1] == pytest.approx(np.nansum(found.look.long_short.daily), rel=1e-6)


def test_names_are_text_and_not_markup(judged, tmp_path):
    noise = factor_sheet.sheet(judged, "<b>noise</b>", factor_sheet.define(FORMULAS[2]), ORIGIN)
    assert "<b>noise" not in noise
    assert "&lt;b&gt;noise" in noise
    path = factor_sheet.write(judged, tmp_path / "out", factors=FORMULAS, origin=ORIGIN)
    assert "<b>noise" not in path.read_text()
    links = re.findall(r'<a href="([^"]+)"', path.read_text())
    assert len(links) == 3
    assert {p.name for p in path.parent.iterdir()} == {"index.html", *map(unquote, links)}


def test_a_formula_named_by_its_long_text_has_a_page(judged, tmp_path):
    name = " + ".join(["ts_mean(close, 5)"] * 60)
    named = replace(judged, findings=(judged.findings[0]._replace(name=name),))
    path = factor_sheet.write(named, tmp_path, factors=[replace(FORMULAS[0], name=name)], origin=ORIGIN)
    (link,) = re.findall(r'<a href="([^"]+)"', path.read_text())
    assert name in shown((tmp_path / unquote(link)).read_text())


def test_summary_has_every_factor_and_links_the_best(judged, tmp_path):
    path = factor_sheet.write(judged, tmp_path, factors=FORMULAS, origin=ORIGIN, sheets=1)
    page = path.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", f"{factor_sheet.ranked(judged)[0].name}.html"]
    text = shown(page)
    assert "Of 3 factors, 2 foretell returns over 1 bar" in text
    assert "at a false-discovery rate of 5 %" in text
    for finding in judged.findings[:2]:
        assert (
            f"{finding.name} {finding.foretells.word} {finding.pays.word} {finding.look.rank_ic[0].mean:+.3f}" in text
        )
    assert len(page) < 40_000
    assert "<script" not in page


def test_directions_and_costs_are_spoken(judged):
    reversal, same, noise = judged.findings
    assert all(s.text.count("  ") == 0 for finding in judged.findings for s in factor_sheet.sentences(judged, finding))
    _, second = factor_sheet.sentences(judged, reversal)
    assert second.text.startswith({
        "evidence for": "Evidence that trading it pays", "evidence against": "Evidence that trading it loses",
        "no evidence": "No evidence that trading it pays",
    }[reversal.pays.word])  # fmt: skip
    assert "the highest fifth minus the lowest earned" in second.text
    assert "10 basis points" in second.basis
    assert same.look.direction == 1
    turned = factor_sheet.sentences(judged, noise)
    assert turned[0].word == noise.foretells.word


def test_four_symbols_make_a_page_that_says_so():
    rng = np.random.default_rng(1)
    values = 50 + rng.random((60, 4, 2))
    days = np.datetime64("2022-01-03") + np.arange(60)
    panel = Panel(days, ("a", "b", "c", "d"), ("open", "close"), values, np.ones((60, 4), bool))
    judged = evaluate(panel, tabulate(panel, FORMULAS[:1]), Terms())
    page = factor_sheet.sheet(judged, "reversal", factor_sheet.define(FORMULAS[0]), ORIGIN)
    assert "No evidence that reversal foretells returns over the next 5 bars." in shown(page)
    assert "No date has 20 symbols with a value." in shown(page)
    assert charts(page)["charts"] == {}
    assert "nan" not in shown(page)
    summary = factor_sheet.summary(judged, ORIGIN)
    assert "No evidence: the widest cross-section holds 4 symbols, and one needs 20 to say anything." in shown(summary)


def test_a_function_is_told_by_its_instructions():
    first, again = (
        Factor("a", 1, function, ("close",)) for function in (lambda b: b["close"], lambda b: b["close"] + 1)
    )
    assert factor_sheet.define(first).text == "a Python function"
    assert factor_sheet.define(first).sha256 != factor_sheet.define(again).sha256


def test_an_unknown_factor_names_the_nearest(judged):
    with pytest.raises(ConfigError, match="did you mean 'reversal'"):
        factor_sheet.sheet(judged, "reversl", factor_sheet.define(FORMULAS[0]), ORIGIN)
