"""What each figure of a record is called, how its numbers are written, and what it means."""

import math
from collections.abc import Callable
from typing import NamedTuple

from fiduciary.records.schema import Difference, Estimate, Result
from fiduciary.reports.words import NOTHING, count, fine_number, fine_percent, money, number, p_value, percent, times


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


MAIN = (
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
FURTHER = (
    Figure("sortino", "Sortino ratio, {bar}", fine_number,
           "Mean of the {bar} returns above those of cash, over the root mean square of those below it (Sortino and Price "
           "1994)."),
    Figure("annual_sortino", "Sortino ratio, annualised", number,
           "The {bar} Sortino ratio times the square root of {bars:.0f} bars a year."),
    Figure("max_drawdown_days", "Days in the deepest drawdown", count,
           "Calendar days from the high before the deepest fall to the recovery, or to the end where there was none."),
    Figure("calmar", "Calmar ratio", number, "Annual return over the maximum drawdown (Young 1991)."),
    Figure("omega", "Omega ratio", number,
           "What the {bar} returns gained above cash, over what they lost below it (Keating and Shadwick 2002)."),
    Figure("var", "Value at risk, 95 %, {bar}", fine_percent,
           "The loss that 95 % of the {bar} returns did not exceed."),
    Figure("cvar", "Expected shortfall, 95 %, {bar}", fine_percent,
           "Mean loss in the worst 5 % of the {bar} returns (conditional value at risk)."),
    Figure("hit_rate", "Hit rate", percent, "Share of bars that earned more than cash."),
    Figure("tail_ratio", "Tail ratio", number,
           "The 95 % quantile of the {bar} returns over the 5 % quantile, in size: above 1, gains reach further than losses."),
    Figure("stability", "Stability", number,
           "How much of the movement of log wealth a straight line explains (R squared): 1 is steady growth."),
    Figure("skew", "Skewness", number, "Asymmetry of the {bar} returns: below 0, losses are the larger surprises."),
    Figure("kurtosis", "Excess kurtosis", number,
           "Weight of the extremes of the {bar} returns: 0 for the normal distribution, more for more extremes."),
    Figure("beta", "Beta", number, "How much of the benchmark's {bar} movement the account shared (Sharpe 1964)."),
    Figure("annual_alpha", "Alpha a year", percent, "Annual return beyond what its beta earned (Jensen 1968)."),
    Figure("annual_information_ratio", "Information ratio, annualised", number,
           "Mean of the {bar} returns above the benchmark's, over their standard deviation, annualised."),
)  # fmt: skip
FIGURES = MAIN + FURTHER
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
    held |= dict.fromkeys(each.figure for evidence in result.evidence for each in evidence.differences)
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


class Gap(NamedTuple):
    """Candidate minus rival as text; the interval is "" where there is none. A gap of percentages is in points."""

    value: str
    interval: str
    p_value: str

    @property
    def line(self) -> str:
        """All in one line."""
        known = ", ".join(part for part in (self.interval, self.p_value) if part)
        return f"{self.value} ({known})" if known else self.value


def gap(difference: Difference | None, figure: Figure, currency: str) -> Gap:
    """A difference of one figure, with its sign: 0.0123 of a percentage -> "+1.2 points"."""
    if difference is None or not math.isfinite(difference.value):
        return Gap(NOTHING, "", "")
    points = figure.write(1.0).endswith("%")
    unit = " points" if points else f" {currency}" if figure.money else ""

    def signed(x: float) -> str:
        return f"{'+' if x > 0 else ''}{figure.write(x).split(' ')[0]}"

    known = math.isfinite(difference.low) and math.isfinite(difference.high)
    return Gap(
        signed(difference.value) + unit,
        f"{signed(difference.low)} to {signed(difference.high)}" if known else "",
        p_value(difference.p_value),
    )


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
        *([("Candidate minus rival", "Each figure of the candidate, mean over seeds, less that of a rival on the same days, "
            "with its 95 % interval over days and seeds. A difference of percentages is in percentage points. Its p-value is "
            "for that one comparison: among twenty, one below 0.05 is to be expected from chance.")]
          if result.evidence else []),
        ("In total", "All accounts added up day by day. An account without a price on a day counts at its last value."),
    ]  # fmt: skip
