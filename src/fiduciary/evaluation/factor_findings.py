"""What factors are asked, and what was found of them: plain values, for reports and for anyone."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.evaluation.cross_section import Entry, Floats
from fiduciary.evaluation.dependent_means import Mean
from fiduciary.evaluation.inference import Word
from fiduciary.evaluation.selection import Superiority


@dataclass(frozen=True)
class Terms:
    """What every factor is asked.

    Attributes:
        horizons: bars over which returns are looked at.
        horizon: the one that is judged; it must be among them.
        entry: price at which orders fill on the next bar: "open" or "close".
        quantiles: groups of each date; the portfolios hold the outer ones.
        cost_bps: paid on every unit of money bought or sold, in hundredths of a percent.
        fewest: symbols that a cross-section needs; dates with fewer say nothing.
        level: false-discovery rate of the verdicts, and nominal error of each interval.

    Raises:
        ConfigError: one of them cannot mean what it says.
    """

    horizons: tuple[int, ...] = (1, 5, 10, 20)
    horizon: int = 5
    entry: Entry = "open"
    quantiles: int = 5
    cost_bps: float = 10.0
    fewest: int = 20
    level: float = 0.05

    def __post_init__(self) -> None:
        for sound, rule, fact in (
            (self.horizons and min(self.horizons) >= 1, "`horizons` must be 1 bar or more", self.horizons),
            (self.horizon in self.horizons, f"`horizon` must be one of {self.horizons}", self.horizon),
            (self.entry in ("open", "close"), "`entry` must be open or close", repr(self.entry)),
            (2 <= self.quantiles <= 100, "`quantiles` must be 2 to 100", self.quantiles),
            (self.cost_bps >= 0, "`cost_bps` must not be negative", self.cost_bps),
            (self.fewest >= 2 * self.quantiles, "`fewest` must be two symbols for each quantile or more", self.fewest),
            (0 < self.level < 1, "`level` must lie between 0 and 1", self.level),
        ):
            if not sound:
                raise ConfigError(rule, str(fact))

    @property
    def place(self) -> int:
        """Where the judged horizon stands among the horizons."""
        return self.horizons.index(self.horizon)


TERMS = Terms()


class Verdict(NamedTuple):
    """What may be said of one mean among many.

    Attributes:
        word: "evidence for" where it is above zero, "evidence against" where below, else "no evidence".
        q_value: least false-discovery rate at which it counts, under any dependence (Benjamini and Yekutieli 2001).
        q_independent: the same for independent or positively dependent ones (Benjamini and Hochberg 1995).
        reason: the rule that gave the word.
    """

    word: Word
    q_value: float
    q_independent: float
    reason: str


class Spread(NamedTuple):
    """A portfolio of the factor, formed at every close; annual figures of money put in.

    Attributes:
        gross: mean return a year before costs.
        cost: costs a year.
        net: mean return a year after costs; `std` and `ratio` are per bar.
        drawdown: deepest fall of the sum of returns after costs, negative.
        turnover: money bought and sold a year, in units of the money put in.
        daily: [T] returns after costs, by the date of the close at which the orders were decided; NaN before the first.
    """

    gross: float
    cost: float
    net: Mean
    drawdown: float
    turnover: float
    daily: Floats


class Year(NamedTuple):
    """One calendar year: mean rank IC, long-short return after costs, dates."""

    year: int
    rank_ic: float
    net: float
    dates: int


class Look(NamedTuple):
    """What a factor shows by itself.

    Attributes:
        direction: 1 where high values preceded high returns, -1 where low ones did: the side that the portfolios buy. It is
            chosen on the same dates; the p-value of the spread is two-sided for that reason.
        ic: Pearson IC over each horizon.
        rank_ic: Spearman IC over each horizon.
        autocorrelation: mean correlation of its ranks with those of the bar before.
        replaced: mean share of the quantile bought that was not there the bar before.
        by_quantile: [Q] mean return over the judged horizon, less that of all quantiles, lowest quantile first.
        long_short: best quantile minus worst, after costs; formed where neither is empty, as equal values may leave one.
        long_only: best quantile minus the whole cross-section, both after costs, formed on the same dates.
        coverage: share of the cross-section whose value is known, from its first value on.
        years: by calendar year.
        daily_rank_ic: [T] at the judged horizon.
        daily_coverage: [T].
    """

    direction: int
    ic: tuple[Mean, ...]
    rank_ic: tuple[Mean, ...]
    autocorrelation: float
    replaced: float
    by_quantile: Floats
    long_short: Spread
    long_only: Spread
    coverage: float
    years: tuple[Year, ...]
    daily_rank_ic: Floats
    daily_coverage: Floats


class Finding(NamedTuple):
    """One factor among the others.

    Attributes:
        name: the factor's.
        look: what it shows by itself.
        foretells: verdict on the mean rank IC at the judged horizon.
        pays: verdict on the long-short return after costs.
        residual: rank IC, at the judged horizon, of what the nearest factors and the controls leave of it; n = 0 where they
            leave nothing.
        nearest: the factor most like it, "" where it is alone.
        nearest_correlation: mean cross-sectional rank correlation with it.
    """

    name: str
    look: Look
    foretells: Verdict
    pays: Verdict
    residual: Mean
    nearest: str
    nearest_correlation: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All factors of a table.

    Attributes:
        terms: what was asked.
        dates: [T] of the panel.
        symbols: N.
        findings: K, in the order of the table.
        correlation: [K, K] mean cross-sectional rank correlation.
        trials: factors tried for this question, these included.
        lucky_t: expected largest |t| of so many without any skill.
        reality: whether any long-short portfolio, in either direction, paid after costs; None where none could be formed.
        data: SHA-256 of the panel.
        source: of the panel, in words.
        widest: symbols in the widest cross-section.
    """

    terms: Terms
    dates: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    findings: tuple[Finding, ...]
    correlation: Floats
    trials: int
    lucky_t: float
    reality: Superiority | None
    data: str
    source: str
    widest: int
