"""How a report speaks: numbers as text, verdicts as sentences."""

import math

from fiduciary.records.schema import Judgement, Result, Trial

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


def points(x: float) -> str:
    """0.0123 of log growth -> "+1.2" percentage points."""
    return f"{100 * x:+.1f}" if math.isfinite(x) else NOTHING


def counted(n: int, noun: str) -> str:
    """3, "seed" -> "3 seeds"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def sentence(judgement: Judgement) -> str:
    """The verdict in one sentence of plain English."""
    candidate, benchmark = judgement.candidate, judgement.benchmark
    opening = {
        "evidence for": f"Evidence that {candidate} beats {benchmark}",
        "evidence against": f"Evidence that {candidate} does worse than {benchmark}",
        "no evidence": f"No evidence that {candidate} beats {benchmark}",
    }[judgement.word]
    interval = f"{points(judgement.low)} to {points(judgement.high)}"
    facts = f"{confidence(judgement)} interval {interval}, {p_value(judgement.p_value)}; {counted(judgement.trials, 'trial')}"
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
