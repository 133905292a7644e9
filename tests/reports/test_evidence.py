"""What stands behind the verdict reads as the record says, for one rival or twenty-five, and old records need none of it."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fiduciary import reports
from fiduciary.evaluation import metrics
from fiduciary.records import Run
from fiduciary.records.folder import RunFolder
from fiduciary.records.schema import Condition, Dates, Difference, Estimate, Power, Selection, SharpeTest
from fiduciary.reports import evidence_charts, figures, findings, words
from fiduciary.reports.charts import comparable, rolling
from fiduciary.reports.series import Book, Fan, rolling_sharpe, sharpe_error, window
from fiduciary.reports.tables import Column
from reading import Page, charts, markdown_tables, own_parts
from sample_run import COMPARED

HOSTILE = '<script>alert("x")</script>|`*_'


@pytest.fixture(scope="module")
def text(run: Run) -> str:
    return reports.html(run).read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(own_parts(text))


@pytest.fixture(scope="module")
def crowd(many: Run) -> str:
    return reports.html(many).read_text()


@pytest.fixture(scope="module")
def crowded(crowd: str) -> Page:
    return Page(own_parts(crowd))


@pytest.fixture(scope="module")
def drawn(crowd: str) -> dict:
    return charts(crowd)


def dots(chart: dict, place: int = 0) -> dict[str, tuple[float, float, float]]:
    """Value and bounds of every row of an interval chart, by its name."""
    trace, names = chart["data"][place], chart["layout"]["yaxis"]["ticktext"]
    reach = trace["error_x"]
    rows = zip(trace["x"], reach["arrayminus"], reach["array"], strict=True)
    return {
        names[y]: (x, x - (a or 0), x + (b or 0))
        for y, (x, a, b) in zip(trace["y"], rows, strict=True)
        if x is not None
    }


# --- the page --------------------------------------------------------------------------------------------------------


def test_blocks_stand_in_the_order_of_the_argument(crowded: Page):
    titles = ("No evidence that", "Read this first", "lstm-dqn minus buy-and-hold", "If there were no skill", "Rolling Sharpe",
              "Drawdown:", "Exposure:", "Trading costs", "Later execution", "Kinds of market", "Single tests", "Seeds",
              "Months", "24 trials for this question", "Sharpe ratio of", "What this test could have shown",
              "The best of all", "Dates of each split", "By account")  # fmt: skip
    start = crowded.text.index("Study report")
    places = [crowded.text.index(title, start) for title in titles if title != "Seeds"]
    assert places == sorted(places)
    for read in (v for k, v in findings.READ.items() if k != "rolling"):
        assert read in crowded.text


def test_the_comparison_equals_the_evidence(run: Run, page: Page):
    head, *lines = page.within["evidence-0"][0]
    assert head == ["lstm-dqn minus buy-and-hold", "Difference", "95 % interval", "p-value"]
    by = {(each.rival, each.figure): each for each in run.result.evidence[0].differences}
    shown = {figure.label.format(bar="daily"): figure for figure in figures.FIGURES}
    assert len(lines) == len(COMPARED)
    for label, value, interval, p_value in lines:
        each = by["buy-and-hold", shown[label].name]
        scale = 100 if "%" in shown[label].write(1.0) else 1
        assert [float(x) for x in re.findall(r"[+-]?[\d.]+", value)] == [pytest.approx(scale * each.value, abs=0.06)]
        bounds = [float(x) for x in re.findall(r"(?<![\d.])[+-]?[\d.]+", interval)]
        assert bounds == [pytest.approx(scale * each.low, abs=0.06), pytest.approx(scale * each.high, abs=0.06)]
        assert words.p_value(each.p_value).removeprefix("p ").removeprefix("= ") == p_value
        assert ("points" in value) == (scale == 100)


def test_interval_charts_equal_the_evidence(many: Run, drawn: dict):
    (evidence,) = many.result.evidence
    by = {(each.rival, each.figure): each for each in evidence.differences}
    for place, name in enumerate(figure.name for figure in figures.FIGURES if figure.name in COMPARED):
        scale = 100 if name not in {"annual_sharpe", "turnover"} else 1
        shown = dots(drawn["rivals-0"], place)
        held = {rival: each for (rival, figure), each in by.items() if figure == name}
        known = {rival.replace("&", "&amp;") for rival, each in held.items() if math.isfinite(each.value)}
        assert known == set(shown) and len(known) > 20
        for rival, each in held.items():
            if math.isfinite(each.value):
                expected = scale * np.array([each.value, each.low, each.high])
                np.testing.assert_allclose(shown[rival.replace("&", "&amp;")], expected, rtol=1e-5, atol=1e-5)
        assert drawn["rivals-0"]["data"][place]["visible"] == (place == 0)
    for kind in ("costs", "lag", "regime", "split"):
        shown = dots(drawn[f"{kind}-0"])
        for each in evidence.conditions:
            if each.kind == kind:
                expected = 100 * np.array([each.difference, each.low, each.high])
                np.testing.assert_allclose(shown[findings.named(each)], expected, rtol=1e-5, atol=1e-5)
    judged = 100 * np.array([many.verdict.difference, many.verdict.low, many.verdict.high])
    for kind, names in (("costs", ["costs x 0", "as judged", "costs x 2", "costs x 5"]),
                        ("lag", ["as judged", "1 bar later", "2 bars later"])):  # fmt: skip
        assert list(dots(drawn[f"{kind}-0"])) == names
        np.testing.assert_allclose(dots(drawn[f"{kind}-0"])["as judged"], judged, rtol=1e-5)


def test_the_hill_of_luck_holds_nearly_all_of_it_and_the_line_stands_at_the_result(run: Run, text: str):
    hill, mark = charts(text)["null-0"]["data"]
    assert 0.98 - 1e-6 <= sum(hill["y"]) <= 1 + 1e-6  # all but the outermost per cent on either side
    mean = float(np.dot(hill["x"], hill["y"]))
    assert mean == pytest.approx(100 * np.mean(run.result.evidence[0].null), abs=0.1)
    assert mark["x"] == pytest.approx([100 * run.verdict.difference] * 2, rel=1e-6)


def test_a_stray_draw_does_not_flatten_the_hill(run: Run):
    (evidence, *_) = run.result.evidence
    wild = evidence.model_copy(update={"null": [-1e3, *evidence.null[1:-1], 1e3]})
    mild, hill = (evidence_charts.null(each)["data"][0] for each in (evidence, wild))
    assert hill == mild and sum(share > 1e-3 for share in hill["y"]) > 20


def test_a_baseline_that_dwarfs_all_others_waits_to_be_asked_for():
    def fan(policy: str, role: str, high: float) -> Fan:
        wealth = np.array([[1.0, high]])
        return Fan(Column(policy, role), [(None, 0)], np.arange(2), wealth, np.zeros_like(wealth))

    fans = [fan("learner", "candidate", 1.2), fan("hold", "benchmark", 1.5), fan("rule", "baseline", 4.0)]
    assert comparable(fans) == []
    assert comparable([*fans, fan("hindsight", "baseline", 5.0)]) == ["hindsight"]
    assert comparable([*fans, *[fan(f"rule {n}", "baseline", 1.0) for n in range(4)]])[:2] == ["rule", "rule 0"]


def test_interest_has_no_rolling_ratio():
    interest = np.cumprod(1 + 1e-4 * np.array([[1, 1, 1, 1, 3] * 12]), axis=1)
    fans = [Fan(Column(name, "baseline"), [(None, 0)], np.arange(60), interest, np.full_like(interest, held))
            for name, held in (("cash", 0.0), ("bond", 1.0))]  # fmt: skip
    assert {trace["name"] for trace in rolling(fans, 30, 252)["data"]} == {"bond"}


def test_the_seeds_average_to_the_verdict(run: Run, text: str):
    each, mean = charts(text)["seeds-0"]["data"]
    assert len(each["x"]) == 3
    assert np.mean(each["x"]) == pytest.approx(100 * run.verdict.difference, rel=1e-6)
    assert mean["x"] == [pytest.approx(100 * run.verdict.difference, rel=1e-6)]


def test_months_exposures_and_splits_equal_the_record(many: Run, drawn: dict):
    (months,) = drawn["months-0"]["data"]
    held = many.result.evidence[0].months
    assert months["x"] == [f"{month}-01" for month in held]
    np.testing.assert_allclose(months["y"], 100 * np.array(list(held.values())), rtol=1e-5, atol=1e-9)
    fan = next(fan for fan in Book(many).in_total if fan.column.policy == "lstm-dqn")
    line = next(t for t in drawn["total-exposure"]["data"] if t["name"] == "lstm-dqn, mean of 10 seeds")
    held = fan.exposure.mean(axis=0)
    month = [held[max(0, t - 20) : t + 1].mean() for t in range(len(held))]
    np.testing.assert_allclose(line["y"], month, rtol=1e-5, atol=1e-9)
    judged = next(t for t in drawn["splits"]["data"] if t["name"] == "judged on")
    ends = [end for each in many.result.splits for end in (*each.test, None)]
    assert judged["x"] == ends
    assert drawn["splits"]["layout"]["yaxis"]["ticktext"] == [f"split {i}" for i in range(1, 9)]


def test_twenty_five_rivals_stay_readable(many: Run, crowd: str, crowded: Page, drawn: dict):
    assert len(crowd) < 15e6
    policies = [each.policy for each in many.result.rows if each.account == "total"]
    for section in ("total", "account-0", "accounts"):
        for head, *lines in crowded.within[section]:
            assert len(head) <= 8
            assert [line[0].split("|")[0] for line in lines] == [
                p for p in policies if section != "accounts" or p != "S&P 500"
            ]
    shown = [t for t in drawn["total-wealth"]["data"] if t.get("visible", True)]
    asked = [t for t in drawn["total-wealth"]["data"] if not t.get("visible", True)]
    assert {t["name"].split(",")[0] for t in shown} == {"lstm-dqn", "buy-and-hold", "S&amp;P 500"}
    baselines = [row.policy for row in many.result.rows if (row.account, row.role) == ("total", "baseline")]
    assert [t["name"] for t in sorted(asked, key=lambda t: t["meta"])] == baselines
    for name in ("total-wealth", "total-rolling", "total-exposure"):
        for trace in (t for t in drawn[name]["data"] if not t.get("visible", True)):
            assert baselines[trace["meta"]] == trace["name"]
    chosen = [a for t, a in crowded.tags if t == "select" and a["data-chart"] == "total-wealth"]
    assert chosen[0]["class"] == "extra"


def test_charts_of_a_crowd_are_valid(drawn: dict):
    import plotly.graph_objects as go

    for spec in drawn.values():
        go.Figure(spec)


def test_markdown_and_terminal_say_it_too(many: Run):
    written = reports.markdown(many).read_text()
    for head, *lines in markdown_tables(written):
        assert len(head) <= 8 and lines
    plain = written.replace("\\", "")
    for finding in (findings.power(many.result.evidence[0].power), "probability of backtest overfitting".capitalize(),
                    "split | learned on", "- **memorised**: Seed 2 is a copy of cash."):  # fmt: skip
        assert finding in plain
    console = Console(width=80)
    with console.capture() as capture:
        console.print(reports.console(many))
    shown = capture.get()
    assert max(map(len, shown.splitlines())) <= 80
    flat = " ".join(shown.split())
    assert "! memorised: Seed 2 is a copy of cash." in flat
    for line in findings.brief(many.result):
        assert line in flat
    assert [word for word in ("DSR", "Power:", "SPA", "PBO") if word not in flat] == []


def test_old_records_need_no_evidence(make: Callable[..., Run]):
    run = make(judged=False)
    written = reports.write(run).read_text()
    mine = Page(own_parts(written))
    assert not {"evidence-0", "robustness-0", "luck", "splits-of-dates"} & set(mine.within)
    assert "total" in mine.within
    assert not {"null-0", "seeds-0", "splits"} & set(charts(written))
    assert findings.brief(run.result) == []
    assert "Skill or luck" not in (run.root / "report.md").read_text()


def test_several_paths_are_draws(make: Callable[..., Run]):
    run = make(judged=False, paths=2)
    written = reports.html(run).read_text()
    names = [trace["name"] for trace in charts(written)["total-wealth"]["data"]]
    assert "lstm-dqn, mean of 3 seeds on 2 paths" in names
    assert "buy-and-hold, mean of 2 paths" in names
    assert "lstm-dqn, seed 1, path 1" in Page(own_parts(written)).text
    edges = Book(run).edges("lstm-dqn", "buy-and-hold")
    assert set(edges) == {(seed, path) for seed in range(3) for path in range(2)}


def test_further_candidates_are_folded(make: Callable[..., Run]):
    run = make()
    record, judgement, evidence = run.record, run.verdict, run.result.evidence[0]
    second = [judgement, judgement.model_copy(update={"candidate": "cash"})], [
        evidence, evidence.model_copy(update={"candidate": "cash"}),
    ]  # fmt: skip
    result = run.result.model_copy(update=dict(zip(("judgements", "evidence"), second, strict=True)))
    RunFolder(run.root).write_record(record.model_copy(update={"result": result}))
    mine = Page(own_parts(reports.html(Run(run.root)).read_text()))
    ids = [attrs.get("id") for _, attrs in mine.tags if attrs.get("id")]
    assert len(ids) == len(set(ids)) and {"evidence-1", "robustness-1", "null-1"} <= set(ids)
    assert "cash minus buy-and-hold" in mine.text
    assert mine.text.count("cash: Power:") == 0 and len([t for t, _ in mine.tags if t == "summary"]) > 2


def test_hostile_rivals_and_conditions_are_text(make: Callable[..., Run]):
    run = make(candidate=HOSTILE)
    evidence = run.result.evidence[0]
    bad = Condition(kind="regime", name=HOSTILE, value=9, bars=50, difference=0.1, low=math.nan, high=math.nan)
    evidence = evidence.model_copy(update={"conditions": [*evidence.conditions, bad]})
    result = run.result.model_copy(update={"evidence": [evidence]})
    RunFolder(run.root).write_record(run.record.model_copy(update={"result": result}))
    whole = reports.write(Run(run.root)).read_text()
    assert "<script>" not in whole.replace('<script nonce="', "").replace('<script type="application/json"', "")
    for spec in charts(whole).values():
        texts = [*spec["layout"]["yaxis"].get("ticktext", []), *(x for t in spec["data"] for x in t.get("text", []))]
        assert not any("<" in each for each in [*texts, *(t["name"] for t in spec["data"])])
    prose = (run.root / "report.md").read_text().split("```")[0]
    assert "<script>" not in prose
    list(markdown_tables(prose))


# --- series ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(5, 40))
def test_rolling_sharpe_is_that_of_each_window(seed: int, bars: int):
    r = np.random.default_rng(seed).normal(0.001, 0.01, (2, 60))
    wealth = np.concatenate([np.ones((2, 1)), np.cumprod(1 + r, axis=1)], axis=1)
    rolled = rolling_sharpe(wealth, bars, 252.0)
    assert rolled.shape == (2, 61 - bars)
    slow = [[metrics.sharpe(own[end - bars : end]) * 252**0.5 for end in range(bars, 61)] for own in r]
    np.testing.assert_allclose(rolled, slow, rtol=1e-6, atol=1e-9)


def test_an_account_that_never_moves_has_no_sharpe_ratio():
    assert np.isnan(rolling_sharpe(np.ones((1, 40)), 10, 252.0)).all()
    moved_once = np.concatenate([np.cumprod(1 + np.random.default_rng(0).normal(0, 0.02, 500)), np.full(30, 1.7)])
    rolled = rolling_sharpe(moved_once[None], 10, 252.0)[0]
    assert np.isnan(rolled[-20:]).all() and np.isfinite(rolled[:480]).all()


def test_the_sharpe_band_is_that_of_simulation():
    """Lo's error against the spread of ratios of 4,000 simulated years."""
    r = np.random.default_rng(0).normal(0.002, 0.01, (4000, 252))
    found = metrics.sharpe(r) * 252**0.5
    expected = sharpe_error(np.array(0.2 * 252**0.5), 252, 252.0)
    assert found.std() == pytest.approx(float(expected), rel=0.04)


@pytest.mark.parametrize(("bars", "expected"), [(2000, 252), (378, 252), (377, 188), (250, 125), (60, 30), (59, 0)])
def test_short_tests_have_a_shorter_window(bars: int, expected: int):
    assert window(bars, 252.0) == expected


day = st.integers(0, 3000).map(lambda d: str(np.datetime64("2010-01-01") + d))


@given(st.lists(day, min_size=2, max_size=8, unique=True))
def test_pieces_and_holes_make_up_the_training(days: list[str]):
    ordered = sorted(days)
    inner = ordered[1:-1]
    holes = list(zip(inner[::2], inner[1::2], strict=False))
    dates = Dates(train=(ordered[0], ordered[-1]), test=("2030-01-01", "2031-01-01"), without=holes[::-1])

    def length(ranges: list[tuple[str, str]]) -> int:
        return sum(int((np.datetime64(b) - np.datetime64(a)).astype(int)) for a, b in ranges)

    pieces = evidence_charts.pieces(dates)
    assert length(pieces) + length(holes) == length([dates.train])
    assert all(end <= first or last <= start for start, end in pieces for first, last in holes)


# --- words -----------------------------------------------------------------------------------------------------------


@given(st.floats(-5, 5), st.floats(0, 2))
def test_differences_carry_their_sign_and_their_unit(value: float, reach: float):
    each = Difference(rival="b", figure="f", value=value, low=value - reach, high=value + reach, p_value=0.2)
    percent, plain, money = (
        figures.gap(each, figures.Figure("f", "F", write, "", money), "USD")
        for write, money in ((words.percent, False), (words.number, False), (words.money, True))
    )
    assert percent.value.endswith(" points") and money.value.endswith(" USD")
    for gap, scale, near in ((percent, 100, 0.051), (plain, 1, 0.0051)):
        first = gap.value.split(" ")[0]
        assert float(first.replace(",", "")) == pytest.approx(scale * value, abs=near)
        assert first.startswith("+") == (value > 0)
        assert gap.line == f"{gap.value} ({gap.interval}, p = 0.20)"


def test_differences_that_do_not_exist_are_not_invented():
    nothing = Difference(rival="b", figure="f", value=math.nan, low=math.nan, high=math.nan, p_value=math.nan)
    for each in (None, nothing):
        gap = figures.gap(each, figures.FIGURES[0], "USD")
        assert gap.line == "n/a"
    single = Difference(rival="b", figure="f", value=0.1, low=math.nan, high=math.nan, p_value=0.5)
    assert figures.gap(single, figures.FIGURES[0], "USD").line == "+10.0 points (p = 0.50)"


def test_power_reads_as_one_sentence():
    full = Power(edge=0.021, power=0.31, detectable=0.055, years=13.72)
    assert findings.power(full) == (
        "A test of this length finds a true edge of +5.5 points a year with 80 % power; an edge of the size found (+2.1) "
        "it finds with 31 %, and to find that with 80 % takes 13.7 years."
    )
    assert findings.power(Power(edge=-0.02, power=0.01, detectable=0.055, years=math.nan)) == (
        "A test of this length finds a true edge of +5.5 points a year with 80 % power; no edge was found."
    )
    unknown = Power(edge=0.1, power=math.nan, detectable=math.nan, years=math.nan)
    assert findings.power(unknown) == "The power of this test is not known."


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0.001, 1), st.floats(0.1, 500) | st.just(math.nan))
def test_power_never_speaks_of_nan(edge: float, power: float, detectable: float, years: float):
    said = findings.power(Power(edge=edge, power=power, detectable=detectable, years=years))
    assert said.endswith(".") and said.count(". ") == 0
    assert "nan" not in said and "n/a" not in said
    assert ("no edge was found" in said) == (not edge > 0)


def test_the_sharpe_ratio_is_explained():
    test = SharpeTest(
        sharpe=0.81, low=0.1, high=1.52, ledoit_wolf=0.412, psr=0.987, dsr=0.6, trials=24, expected_best=0.7
    )
    assert findings.sharpe(test, "hold") == [
        ("Sharpe ratio a year, seeds in equal parts", "0.81, 95 % interval 0.10 to 1.52 (Lo 2002)"),
        ("Differs from that of hold", "p = 0.41 (Ledoit and Wolf 2008)"),
        ("Probability that the true ratio is above zero",
         "98.7 % (probabilistic Sharpe ratio, Bailey and Lopez de Prado 2012)"),
        ("Probability that it is above the luckiest trial",
         "60.0 % (deflated Sharpe ratio, Bailey and Lopez de Prado 2014); the best of 24 trials without skill would show "
         "0.70 a year"),
    ]  # fmt: skip


def test_selection_is_explained():
    found = Selection(reality_check=0.3, spa=0.2, spa_lower=0.15, spa_upper=0.25, pbo=0.4, configurations=12,
                      confidence_set={"a": 1.0, "b": 0.049, "c": 0.05})  # fmt: skip
    said = dict(findings.selection(found, "hold"))
    assert said["No candidate beats hold (reality check)"] == "p = 0.30 (White 2000)"
    assert said["No candidate beats hold (superior predictive ability)"] == (
        "p = 0.20, bounds 0.150 to 0.250 (Hansen 2005)"
    )
    assert said["Cannot be told from the best (model confidence set, 95 %)"].startswith("a, c; 1 left out")
    assert said["Probability of backtest overfitting"].startswith("40.0 % over 12 configurations")
    alone = found.model_copy(update={"pbo": math.nan})
    assert dict(findings.selection(alone, "hold"))["Probability of backtest overfitting"].startswith("n/a, too few")


def test_trials_and_the_middle_are_said_in_words(run: Run):
    judgement = run.verdict.model_copy(update={"trials": 20})
    assert findings.seen(judgement) == (
        "20 trials for this question so far, reruns and searches included. The verdict shares its error of 5 % among them: "
        "its interval is a 99.75 % one."
    )
    evidence = run.result.evidence[0].model_copy(update={"middle": Estimate(mean=0.05, low=0.01, high=0.09, n=12)})
    assert findings.middle(evidence) == (
        "The middle half of all seeds and accounts of lstm-dqn grew +5.0 points of log growth a year on average "
        "(95 % interval +1.0 to +9.0)."
    )
    nothing = evidence.model_copy(update={"middle": Estimate(mean=math.nan, low=math.nan, high=math.nan, n=0)})
    assert findings.middle(nothing) == ""


def test_a_single_condition_of_a_kind_is_left_out(run: Run):
    one = Condition(kind="split", name="all", value=0, bars=250, difference=0.1, low=0.0, high=0.2)
    evidence = run.result.evidence[0].model_copy(update={"conditions": [one]})
    assert list(findings.conditions(evidence, run.result)) == []
    assert findings.edge(one) == "+10.0 points (+0.0 to +20.0)"
    assert findings.edge(one.model_copy(update={"low": math.nan})) == "+10.0 points"
    assert findings.rolling(252, 252.0).startswith("Each point looks back over one year;")
    assert "125 bars, since the test is short" in findings.rolling(125, 252.0)
