"""How a report speaks: numbers as text, verdicts as sentences, and what each figure means."""

import math
from collections.abc import Callable
from typing import NamedTuple

from fiduciary.records.schema import Estimate, Judgement, Result, Trial

NOTHING = "n/a"


def percent(x: float, *, digits: int = 1) -> str:
    """0.1234 -> "12.3 %"."""
    return f"{x:,.{digits}%}".replace("%", " %") if math.isfinite(x) else NOTHING


def money(x: float, currency: str = "") -> str:
    """512345.6, "USD" -> "512,346 USD"; amounts below a hundred keep their cents."""
    if not math.isfinite(x):
        return NOTHING
    return f"{x:,.{2 if 0 < abs(x) < 100 else 0}f} {currency}".strip()


def number(x: float, *, digits: int = 2) -> str:
    """1234.567 -> "1,234.57"; whole numbers stay whole."""
    if not math.isfinite(x):
        return NOTHING
    return f"{x:,.0f}" if digits == 0 or (digits == 1 and x == round(x)) else f"{x:,.{digits}f}"


class Figure(NamedTuple):
    """How one figure of the record is shown.

    Attributes:
        name: key in `Row.figures`.
        label: in the table.
        write: its number as text, without a currency.
        meaning: definition in words.
        money: the number is an amount of the study's currency.
    """

    name: str
    label: str
    write: Callable[[float], str]
    meaning: str
    money: bool = False


def fine_percent(x: float) -> str:
    """0.01234 -> "1.23 %"; daily figures are small."""
    return percent(x, digits=2)


def fine_number(x: float) -> str:
    """0.0567 -> "0.057"."""
    return number(x, digits=3)


def count(x: float) -> str:
    """12.0 -> "12"; a mean of counts keeps one digit."""
    return number(x, digits=1)


def times(x: float) -> str:
    """3.14 -> "3.1 x"."""
    return f"{number(x, digits=1)} x" if math.isfinite(x) else NOTHING


FIGURES = (
    Figure("rate_of_return", "Rate of return", percent,
           "Final account value over starting value, minus one, over the whole test period."),
    Figure("annual_return", "Annual return", percent,
           "The constant yearly rate that would have given the rate of return (geometric, 365.25 days a year)."),
    Figure("volatility", "Standard deviation, {bar}", fine_percent,
           "Sample standard deviation of the {bar} returns of the account."),
    Figure("annual_volatility", "Annual volatility", percent,
           "Standard deviation of the {bar} returns times the square root of {bars:.0f} bars a year."),
    Figure("sharpe", "Sharpe ratio, {bar}", fine_number,
           "Mean of the {bar} returns above those of cash, over their standard deviation (Sharpe 1994). "
           "n/a for an account that never differs from cash."),
    Figure("annual_sharpe", "Sharpe ratio, annualised", number,
           "The {bar} Sharpe ratio times the square root of {bars:.0f} bars a year."),
    Figure("max_drawdown", "Maximum drawdown", percent,
           "The deepest fall of the account from any earlier high."),
    Figure("exposure", "Mean exposure", percent, "Mean share of the account that was in positions rather than in cash."),
    Figure("turnover", "Turnover a year", times,
           "Money bought plus money sold, over the mean account value, per year."),
    Figure("trades", "Trades", count,
           "Orders filled, buys and sells; of an account with several assets, the bars on which it traded. "
           "A mean over seeds need not be whole."),
    Figure("fees", "Costs paid", money,
           "Commissions, duties and slippage paid; every other figure is after them.", money=True),
    Figure("final_wealth", "Final account value", money, "Cash plus positions at the last price.", money=True),
    Figure("train_return", "Return in training", percent,
           "Rate of return on the dates it learned from. Hindsight: it says what was memorised, not what to expect."),
    Figure("valid_return", "Return in validation", percent,
           "Rate of return on the dates by which it was chosen. Hindsight: the best of several looks there is partly luck."),
)  # fmt: skip
HINDSIGHT = ("train_return", "valid_return")


class Shown(NamedTuple):
    """One estimate as text; `interval` is "" where there is none, as for rules and single seeds."""

    mean: str
    interval: str = ""

    @property
    def line(self) -> str:
        """Both in one line."""
        return f"{self.mean} ({self.interval})" if self.interval else self.mean


def estimate(value: Estimate | None, figure: Figure, currency: str) -> Shown:
    """A figure's mean, with its unit, and its interval, which has the same."""
    if value is None:
        return Shown(NOTHING)
    unit = f" {currency}" if figure.money and math.isfinite(value.mean) else ""
    known = math.isfinite(value.low) and math.isfinite(value.high)
    low, high = (figure.write(bound).split(" ")[0] for bound in (value.low, value.high))
    return Shown(figure.write(value.mean) + unit, f"{low} to {high}" if known else "")


def described(result: Result) -> list[Figure]:
    """The figures that this result holds, with the words of its own calendar; names unknown here come last."""
    held = dict.fromkeys(name for row in result.rows for name in row.figures)
    bar = "daily" if 200 <= result.bars_per_year <= 400 else "per bar"
    known = [figure for figure in FIGURES if figure.name in held]
    spoken = [
        figure._replace(
            label=figure.label.format(bar=bar), meaning=figure.meaning.format(bar=bar, bars=result.bars_per_year)
        )
        for figure in known
    ]
    others = [name for name in held if name not in {figure.name for figure in known}]
    return spoken + [Figure(name, name.replace("_", " ").capitalize(), fine_number, "") for name in others]


def sentence(judgement: Judgement) -> str:
    """The verdict in one sentence of plain English."""
    candidate, benchmark = judgement.candidate, judgement.benchmark
    opening = {
        "evidence for": f"Evidence that {candidate} beats {benchmark}",
        "evidence against": f"Evidence that {candidate} does worse than {benchmark}",
        "no evidence": f"No evidence that {candidate} beats {benchmark}",
    }[judgement.word]
    trials = "1 trial" if judgement.trials == 1 else f"{judgement.trials} trials"
    interval = f"{_points(judgement.low)} to {_points(judgement.high)}"
    facts = f"{confidence(judgement)} interval {interval}, {p_value(judgement.p_value)}; {trials}"
    return f"{opening}: its annual log growth was {_compared(judgement.difference)} ({facts})."


def learned(result: Result) -> str:
    """The dates of training and of validation."""
    chosen = f", chosen on {' to '.join(result.valid)}" if result.valid else ""
    return f"{' to '.join(result.train)}{chosen}"


def searched(result: Result) -> str:
    """How many settings were tried, or "" where none were looked for."""
    return "; ".join(
        f"{name} tried {count(tries)} setting{'s' if tries != 1 else ''} for each account and seed, trained with all of them, "
        "and kept the one that grew most on the validation dates. Each counts as a trial"
        for name, tries in result.searched.items()
    )


def parameters(trial: Trial) -> str:
    """Settings of one trial: "lr 0.00123, net.first 32"."""
    return ", ".join(f"{name} {_setting(value)}" for name, value in trial.parameters.items())


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def confidence(judgement: Judgement) -> str:
    """Confidence of the verdict's interval, its level shared among the trials: "95 %"."""
    return f"{100 * (1 - judgement.level / judgement.trials):.4g} %"


def p_value(p: float) -> str:
    """0.4823 -> "p = 0.48"."""
    if not math.isfinite(p):
        return f"p {NOTHING}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2f}" if p >= 0.1 else f"p = {p:.3f}"


def basis(judgement: Judgement) -> str:
    """What the verdict's sentence rests on, in one line."""
    return (
        f"{judgement.reason[:1].upper()}{judgement.reason[1:]}. Points are percentage points of log growth a year, "
        f"candidate minus benchmark, on the same days, after costs, all accounts together."
    )


def _compared(difference: float) -> str:
    if difference == 0:
        return "the same"
    if not math.isfinite(difference):
        return "not comparable"
    return f"{abs(100 * difference):.1f} points {'higher' if difference > 0 else 'lower'}"


def _points(x: float) -> str:
    return f"{100 * x:+.1f}" if math.isfinite(x) else NOTHING


def meanings(result: Result) -> list[tuple[str, str]]:
    """Definitions of all figures and intervals shown, as (term, words)."""
    first = result.judgements[0]
    return [
        *((figure.label, figure.meaning) for figure in described(result) if figure.meaning),
        ("Interval under a figure", "95 % interval of its mean over seeds (Student's t). Seeds are repeated trainings "
         "on the same data, so it shows the luck of training only, not that of the market. Rules need no seed and have "
         "none; nor has a single seed. With few seeds it is wide; it is cut where the figure itself "
         "ends, such as at zero trades."),
        ("Interval of the verdict", "Resamples blocks of days (stationary bootstrap) and adds the luck of seeds "
         "(Student's t), so it holds the luck of the period and of training. The error level of "
         f"{percent(first.level, digits=0)} is shared among all trials of the question: the more was tried, the wider the "
         "interval."),
        ("Trials", "Different configurations tried for this question so far, in all runs kept side by side; every setting "
         "that a search tried is one."),
        ("p-value", "How often a difference at least this far from zero would come from chance alone, in either "
         "direction, for one trial."),
        ("In total", "All accounts added up day by day. An account without a price on a day counts at its last value."),
    ]  # fmt: skip
