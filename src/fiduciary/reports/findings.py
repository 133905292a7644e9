"""What stands behind a verdict, in sentences: how to read each block of evidence, and what it says."""

import math
from collections.abc import Iterator
from itertools import groupby

from fiduciary.records.schema import Condition, Evidence, Judgement, Power, Result, Selection, SharpeTest
from fiduciary.reports.words import NOTHING, confidence, counted, number, p_value, percent, points

LEVEL = 0.05
"""Of the model confidence set: a policy stays in while its p-value is at least this."""
KINDS = {"costs": "Trading costs", "lag": "Later execution", "regime": "Kinds of market", "split": "Single tests"}
AS_JUDGED = {"costs": 1.0, "lag": 0.0}
"""At which value a condition is that of the verdict."""

READ = {
    "comparison": "The candidate's figure minus the benchmark's, on the same days: where the interval holds zero, the "
    "difference may be chance.",
    "rivals": "Each dot is the candidate's figure minus one rival's, each bar its 95 % interval; where the bar crosses the "
    "dashed line, and the dot is pale, the difference may be chance.",
    "null": "The hill is what luck alone would give if there were no skill; the further the line stands from it, the harder "
    "the result is to explain by luck.",
    "rolling": "Each point looks back over {window}; a skill that lasts stays above zero, one that was luck of the period does "
    "not.",
    "drawdown": "How far the account stood below its highest value so far: depth and length say what an owner had to bear.",
    "exposure": "Mean of the last 21 bars: a candidate that is always in or always out took no decision that the "
    "benchmark does not take.",
    "costs": "An edge that is gone at twice the costs depends on cheap trading.",
    "lag": "An edge that is gone when orders come one bar later depends on speed that few have.",
    "regime": "An edge from one kind of market is a bet that this market stays.",
    "split": "Each test alone: an edge that stands in most of them is less likely to be one lucky stretch.",
    "months": "Bars above zero are months in which the candidate grew faster than its benchmark; an edge that rests on one or "
    "two of them is fragile.",
    "seeds": "Each dot is one training with other random numbers; where dots lie on both sides of zero, the luck of training "
    "decides. The bar is the 95 % interval of their mean.",
    "sharpe": "The observed ratio is an estimate: these lines say how far luck, fat tails and many trials could "
    "have carried it.",
    "selection": "The best of many looks good by luck alone; these tests allow for having looked at all of them.",
    "power": "A test that is too short finds nothing even where there is something: no evidence is then no proof of no edge.",
    "splits": "Each row is one split: learned on the blue dates, chosen on the yellow, judged on the dark. No split learns or "
    "chooses on the dates of its own test.",
}  # fmt: skip


def rolling(window: int, per_year: float) -> str:
    """How to read the rolling Sharpe ratio, its window in words."""
    year = abs(window - per_year) <= 1
    return READ["rolling"].format(window="one year" if year else f"{window} bars, since the test is short")


def sharpe(test: SharpeTest, benchmark: str) -> list[tuple[str, str]]:
    """The tests of a Sharpe ratio as (what, finding)."""
    return [
        ("Sharpe ratio a year, seeds in equal parts",
         f"{number(test.sharpe)}{_interval(test.low, test.high)} (Lo 2002)"),
        (f"Differs from that of {benchmark}", f"{p_value(test.ledoit_wolf)} (Ledoit and Wolf 2008)"),
        ("Probability that the true ratio is above zero",
         f"{percent(test.psr)} (probabilistic Sharpe ratio, Bailey and Lopez de Prado 2012)"),
        ("Probability that it is above the luckiest trial",
         f"{percent(test.dsr)} (deflated Sharpe ratio, Bailey and Lopez de Prado 2014); the best of "
         f"{counted(test.trials, 'trial')} without skill would show {number(test.expected_best)} a year"),
    ]  # fmt: skip


def selection(found: Selection, benchmark: str) -> list[tuple[str, str]]:
    """The tests of the best of many as (what, finding)."""
    members = [policy for policy, p in found.confidence_set.items() if p >= LEVEL]
    left = len(found.confidence_set) - len(members)
    spa = f"{p_value(found.spa)}, bounds {number(found.spa_lower, digits=3)} to {number(found.spa_upper, digits=3)}"
    return [
        (f"No candidate beats {benchmark} (reality check)", f"{p_value(found.reality_check)} (White 2000)"),
        (f"No candidate beats {benchmark} (superior predictive ability)", f"{spa} (Hansen 2005)"),
        ("Cannot be told from the best (model confidence set, 95 %)",
         f"{', '.join(members) or 'none'}; {left} left out (Hansen, Lunde and Nason 2011)"),
        ("Probability of backtest overfitting",
         f"{percent(found.pbo)}{_among(found)}: how often the best of one half of the days falls below the median in the other "
         "(Bailey and others 2017)"),
    ]  # fmt: skip


def power(found: Power) -> str:
    """What the test could have shown, in one sentence."""
    if not math.isfinite(found.detectable):
        return "The power of this test is not known."
    opening = f"A test of this length finds a true edge of {points(found.detectable)} points a year with 80 % power"
    if not found.edge > 0:
        return f"{opening}; no edge was found."
    chance = f"an edge of the size found ({points(found.edge)}) it finds with {percent(found.power, digits=0)}"
    years = f", and to find that with 80 % takes {number(found.years, digits=1)} years"
    return f"{opening}; {chance}{years if math.isfinite(found.years) else ''}."


def seen(judgement: Judgement) -> str:
    """How often the question has been asked so far."""
    return (
        f"{counted(judgement.trials, 'trial')} for this question so far, reruns and searches included. The verdict shares "
        f"its error of {percent(judgement.level, digits=0)} among them: its interval is a {confidence(judgement)} one."
    )


def middle(evidence: Evidence) -> str:
    """The interquartile mean in one sentence, or "" where there is none."""
    found = evidence.middle
    if not math.isfinite(found.mean):
        return ""
    bounds = f" (95 % interval {points(found.low)} to {points(found.high)})" if math.isfinite(found.low) else ""
    return (
        f"The middle half of all seeds and accounts of {evidence.candidate} grew {points(found.mean)} points of log growth a "
        f"year on average{bounds}."
    )


def conditions(evidence: Evidence, result: Result) -> Iterator[tuple[str, list[Condition]]]:
    """Conditions by kind, in order of value; costs and lag hold the judgement itself among them. One alone is no comparison."""
    judgement = next(each for each in result.judgements if each.candidate == evidence.candidate)
    order = list(KINDS)
    for kind, group in groupby(
        sorted(evidence.conditions, key=lambda each: order.index(each.kind)), lambda each: each.kind
    ):
        found = list(group)
        if kind in AS_JUDGED and not any(each.value == AS_JUDGED[kind] for each in found):
            found.append(Condition(
                kind=kind, name="as judged", value=AS_JUDGED[kind], bars=max(each.bars for each in found),
                difference=judgement.difference, low=judgement.low, high=judgement.high,
            ))  # fmt: skip
        if len(found) > 1:
            yield kind, sorted(found, key=lambda each: each.value)


def named(condition: Condition) -> str:
    """A condition; of a kind of market, with the bars that were of it."""
    return f"{condition.name} ({condition.bars:,} bars)" if condition.kind == "regime" else condition.name


def edge(condition: Condition) -> str:
    """A condition's difference with its interval: "+1.2 points (-0.4 to +2.8)"."""
    known = math.isfinite(condition.low) and math.isfinite(condition.high)
    bounds = f" ({points(condition.low)} to {points(condition.high)})" if known else ""
    return f"{points(condition.difference)} points{bounds}"


def brief(result: Result) -> list[str]:
    """One line each for what the judges found beside the verdict, as the terminal shows them."""
    lines = []
    for evidence in result.evidence:
        test, who = evidence.sharpe, f"{evidence.candidate}: " if len(result.evidence) > 1 else ""
        lines += [
            f"{who}DSR {percent(test.dsr)}: probability that the Sharpe ratio of {number(test.sharpe)} a year beats the "
            f"luckiest of {counted(test.trials, 'trial')}; PSR {percent(test.psr)}",
            f"{who}Power: {power(evidence.power)}",
        ]
    if found := result.selection:
        lines.append(f"SPA {p_value(found.spa)}, reality check {p_value(found.reality_check)}: that no candidate beats the "
                     "benchmark")  # fmt: skip
        lines.append(f"PBO {percent(found.pbo)}: probability of backtest overfitting{_among(found)}")
    return lines


def _among(found: Selection) -> str:
    return f" over {found.configurations} configurations" if math.isfinite(found.pbo) else ", too few configurations"


def _interval(low: float, high: float) -> str:
    known = math.isfinite(low) and math.isfinite(high)
    return f", 95 % interval {number(low)} to {number(high)}" if known else f", interval {NOTHING}"
