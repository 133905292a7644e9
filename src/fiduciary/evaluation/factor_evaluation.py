"""Does a factor know anything? Every factor of a table against what came after, with the price of looking at many.

The question is fixed by `Terms` before any factor is looked at: one horizon is judged, the others describe. A factor's word
comes from its mean rank IC at that horizon, and allows for all factors tried (false-discovery rate under any dependence); a
second word says whether trading it paid after costs. "No evidence" is an answer, and the usual one.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import Panel
from fiduciary.evaluation import cross_section, metrics
from fiduciary.evaluation.cross_section import Entry, Floats, Future, Marks
from fiduciary.evaluation.dependent_means import Mean, mean_of
from fiduciary.evaluation.inference import FEWEST_BARS, Word
from fiduciary.evaluation.selection import Superiority, superiority
from fiduciary.evaluation.sharpe import expected_best
from fiduciary.factors.table import FactorTable

SAMPLED = 252
"""Dates, evenly spread, on which factors are held against each other."""
NEAREST = 10
SPANNED = 1e-3
"""A factor of which the nearest leave less than this share of variance is theirs under another name."""
_RIDGE = 1e-9


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


@dataclass(frozen=True, eq=False)
class Finding:
    """One factor.

    Attributes:
        name: the factor's.
        direction: 1 where high values preceded high returns, -1 where low ones did: the side that the portfolios buy. It is
            chosen on the same dates; the p-value of the spread is two-sided for that reason.
        foretells: verdict on the mean rank IC at the judged horizon.
        pays: verdict on the long-short return after costs.
        ic: Pearson IC over each horizon.
        rank_ic: Spearman IC over each horizon.
        residual: rank IC, at the judged horizon, of what the `NEAREST` factors and the controls leave of it; n = 0 where
            they leave nothing.
        nearest: the factor most like it, "" where it is alone.
        nearest_correlation: mean cross-sectional rank correlation with it.
        autocorrelation: mean correlation of its ranks with those of the bar before.
        replaced: mean share of the top quantile that was not there the bar before.
        by_quantile: [Q] mean return over the judged horizon, less that of the whole cross-section, lowest quantile first.
        long_short: best quantile minus worst, after costs.
        long_only: best quantile minus the whole cross-section, both after costs.
        coverage: share of the cross-section whose value is known, from its first value on.
        years: by calendar year.
        daily_rank_ic: [T] at the judged horizon.
        daily_coverage: [T].
    """

    name: str
    direction: int
    foretells: Verdict
    pays: Verdict
    ic: tuple[Mean, ...]
    rank_ic: tuple[Mean, ...]
    residual: Mean
    nearest: str
    nearest_correlation: float
    autocorrelation: float
    replaced: float
    by_quantile: Floats
    long_short: Spread
    long_only: Spread
    coverage: float
    years: tuple[Year, ...]
    daily_rank_ic: Floats
    daily_coverage: Floats


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


def evaluate(
    panel: Panel,
    table: FactorTable,
    terms: Terms = TERMS,
    *,
    universe: Marks | None = None,
    controls: FactorTable | None = None,
    trials: int = 0,
    seed: int = 0,
) -> Evaluation:
    """Judge every factor of `table` on the bars of `panel`.

    Args:
        panel: [T, N, F] with `close`, and `open` where orders fill there.
        table: [K, T, N] values known at each close, from `tabulate(panel, factors)`.
        terms: what is asked.
        universe: [T, N] bool, members as known at each date; None = every symbol of the panel, which is a universe chosen in
            hindsight unless the panel holds those that failed too.
        controls: further [C, T, N] values that residuals are neutralised to, such as size, or 0 and 1 for each industry.
        trials: factors tried so far for this question, here or elsewhere, if more than K.
        seed: of the resampled days behind `reality`.

    Raises:
        ConfigError: the table is of other dates or symbols, or the panel lacks a price.
    """
    for each in (table, *([controls] if controls else [])):
        if not np.array_equal(each.dates, panel.dates) or each.symbols != panel.symbols:
            raise ConfigError("a factor table must have the dates and symbols of the panel", "others", remedy="tabulate it")
    ahead = cross_section.future(panel, terms.horizons, entry=terms.entry, universe=universe)
    whole = _weights(ahead.entered & (ahead.entered.sum(axis=1, keepdims=True) >= terms.fewest))
    market = cross_section.hold(whole, ahead.step, terms.horizon)
    sampled = _sampled(ahead, terms)
    judge = _Judge(panel.dates, ahead, market, terms, sampled)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = list(pool.map(judge.look, table.values))
        further = list(pool.map(judge.ranks, controls.values)) if controls else []
    alike = _alike(np.stack([look.ranks for look in looks] + further), ahead, sampled, terms, len(looks))
    trials = max(trials, len(looks))
    foretells = _verdicts([look.rank_ic[judge.place] for look in looks], terms, trials)
    pays = _verdicts([look.long_short.net for look in looks], terms, trials)
    return Evaluation(
        terms=terms, dates=panel.dates, symbols=panel.symbols, correlation=alike.correlation, trials=trials,
        findings=tuple(
            _finding(table.names, k, look, alike, foretells[k], pays[k], panel.dates) for k, look in enumerate(looks)
        ),
        lucky_t=expected_best(2 * trials, 1.0), reality=_reality(looks, seed), data=panel.digest(), source=panel.source,
        widest=int(ahead.entered.sum(axis=1).max(initial=0)),
    )  # fmt: skip


# --- one factor ------------------------------------------------------------------------------------------------------


class _Look(NamedTuple):
    """What one factor shows by itself."""

    direction: int
    ic: tuple[Mean, ...]
    rank_ic: tuple[Mean, ...]
    autocorrelation: float
    replaced: float
    by_quantile: Floats
    long_short: Spread
    long_only: Spread
    both_ways: Floats  # [2, T] long-short after costs, as defined and reversed
    coverage: float
    daily_rank_ic: Floats
    daily_coverage: Floats
    ranks: Floats  # [S, N] on the sampled dates


class _Judge(NamedTuple):
    """What all factors are held against."""

    dates: NDArray[np.datetime64]
    ahead: Future
    market: cross_section.Held
    terms: Terms
    sampled: NDArray[np.int64]

    @property
    def place(self) -> int:
        return self.terms.horizons.index(self.terms.horizon)

    def ranks(self, x: NDArray[np.floating]) -> Floats:
        """Centred ranks [S, N] of x [T, N] on the sampled dates; what is unknown counts as the middle one."""
        known = self.ahead.entered[self.sampled] & np.isfinite(x[self.sampled])
        ranked = cross_section.ranks(x[self.sampled].astype(np.float64), known)
        return np.where(known, ranked - (known.sum(axis=1, keepdims=True) + 1) / 2, 0.0).astype(np.float32)

    def look(self, x: NDArray[np.floating]) -> _Look:
        """Everything about x [T, N] that needs no other factor."""
        terms, ahead, place = self.terms, self.ahead, self.place
        section = cross_section.correlate(x, ahead, fewest=terms.fewest)
        rank_ic = tuple(_mean(y, h, terms) for h, y in zip(terms.horizons, section.rank_ic, strict=True))
        enough = section.count >= terms.fewest
        labels = cross_section.quantiles(section, terms.quantiles)
        labels[~enough] = 0
        groups = cross_section.by_quantile(labels, ahead.forward[place], terms.quantiles)
        groups = groups[:, : ahead.known(terms.horizon)]
        direction = -1 if rank_ic[place].mean < 0 else 1
        best, worst = (labels == end for end in (terms.quantiles, 1)[::direction])
        weights = _weights(best), _weights(worst)
        spread, long = (cross_section.hold(w, ahead.step, terms.horizon) for w in (weights[0] - weights[1], weights[0]))
        over = cross_section.Held(long.gross - self.market.gross, long.traded + self.market.traded)
        formed = np.flatnonzero(best.any(axis=1))
        span = slice(formed[0] if len(formed) else len(x), max(0, len(x) - 2))
        cost = spread.traded * terms.cost_bps / 1e4
        both = np.stack([sign * spread.gross - cost for sign in (1, -1)])
        outside = np.ones(len(x), dtype=bool)
        outside[span] = False
        both[:, outside] = 0.0
        entered = ahead.entered.sum(axis=1)
        coverage = np.divide(section.count, entered, out=np.full(len(x), np.nan), where=entered > 0)
        known = np.flatnonzero(section.count)
        since = slice(known[0] if len(known) else len(x), None)
        return _Look(
            direction, tuple(_mean(y, h, terms) for h, y in zip(terms.horizons, section.ic, strict=True)), rank_ic,
            _average(cross_section.autocorrelation(section, 1)[enough]), _average(cross_section.replaced(best)),
            np.array([_average(group) for group in groups - groups.mean(axis=0)]),
            self.spread(spread, span), self.spread(over, span), both[::direction],
            float(section.count[since].sum() / max(1, entered[since].sum())) if len(known) else 0.0,
            section.rank_ic[place], coverage, self.ranks(x),
        )  # fmt: skip

    def spread(self, held: cross_section.Held, span: slice) -> Spread:
        """Annual figures of a portfolio over the bars on which it was held."""
        daily = np.full(len(self.dates), np.nan)
        gross, traded = held.gross[span], held.traded[span]
        daily[span] = gross - traded * self.terms.cost_bps / 1e4
        if len(gross) < 2:
            return Spread(math.nan, math.nan, mean_of(gross), math.nan, math.nan, daily)
        year = metrics.bars_per_year(self.dates.astype("datetime64[D]").astype(np.int64))
        net = mean_of(daily[span], level=self.terms.level)
        annual = net._replace(mean=net.mean * year, low=net.low * year, high=net.high * year)
        total = np.cumsum(np.append(0.0, daily[span]))
        fall = float((total - np.maximum.accumulate(total)).min())
        turnover = float(traded.mean()) * year
        return Spread(float(gross.mean()) * year, turnover * self.terms.cost_bps / 1e4, annual, fall, turnover, daily)


def _weights(inside: Marks) -> NDArray[np.float32]:
    """Equal weights [T, N] of the members inside, which add up to 1 where there are any."""
    size = np.maximum(inside.sum(axis=1, keepdims=True), 1).astype(np.float32)
    return np.asarray(inside / size)


def _mean(daily: Floats, horizon: int, terms: Terms) -> Mean:
    return mean_of(daily, overlap=horizon, level=terms.level)


def _average(x: Floats) -> float:
    known = x[np.isfinite(x)]
    return float(known.mean()) if len(known) else math.nan


# --- many factors ----------------------------------------------------------------------------------------------------


class _Alike(NamedTuple):
    """Factors against each other: [K, K] mean correlation, and [K, S] rank IC of what the nearest leave of each."""

    correlation: Floats
    residual: tuple[Mean, ...]


def _sampled(ahead: Future, terms: Terms) -> NDArray[np.int64]:
    """At most `SAMPLED` dates with a cross-section and a known return, evenly spread."""
    usable = np.flatnonzero(ahead.entered[: ahead.known(terms.horizon)].sum(axis=1) >= terms.fewest)
    return usable[np.unique(np.linspace(0, len(usable) - 1, min(SAMPLED, len(usable))).astype(np.int64))]


def _alike(ranks: Floats, ahead: Future, sampled: NDArray[np.int64], terms: Terms, own: int) -> _Alike:
    """Correlations of the first `own` of ranks [K + C, S, N], and what is left of each beside its nearest and the controls.

    With Theta the inverse of the correlation matrix of one factor (first) and the others z, what they leave of it is
    sum_j Theta_1j z_j / Theta_11, of squared length 1 / Theta_11.
    """
    every = len(ranks)
    gram, foretold = np.full((len(sampled), every, every), np.nan), np.full((len(sampled), every), np.nan)
    later = ahead.doubled[terms.horizons.index(terms.horizon)]
    for s, t in enumerate(sampled):
        inside = ahead.entered[t]
        z = ranks[:, s, inside].astype(np.float64)
        g = later[t, inside] - later[t, inside].mean()
        length = np.sqrt(np.square(z).sum(axis=1))
        z /= np.where(length > 0, length, np.nan)[:, None]
        gram[s], foretold[s] = z @ z.T, z @ g / max(math.sqrt(float(g @ g)), 1.0)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(gram)
        correlation = np.where(known, gram, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    gap = max(1, int(np.median(np.diff(sampled)))) if len(sampled) > 1 else 1
    return _Alike(
        correlation[:own, :own],
        tuple(
            mean_of(_residual(gram, foretold, _beside(correlation, k, own)), overlap=-(-terms.horizon // gap), level=terms.level)
            for k in range(own)
        ),
    )


def _beside(correlation: Floats, k: int, own: int) -> list[int]:
    """Factor k, its nearest, and the controls."""
    closeness = np.nan_to_num(np.abs(correlation[k, :own]))
    closeness[k] = -1.0
    return [k, *np.argsort(-closeness, kind="stable")[: min(NEAREST, own - 1)].tolist(), *range(own, len(correlation))]


def _residual(gram: Floats, foretold: Floats, beside: list[int]) -> Floats:
    """[S] rank IC of what the others leave of the first; NaN where they leave nothing, or it is unknown."""
    small = np.nan_to_num(gram[:, beside][:, :, beside])
    theta = np.linalg.inv(small + _RIDGE * np.eye(len(beside)))[:, 0]
    left = 1.0 / theta[:, 0]
    value = (theta * np.nan_to_num(foretold[:, beside])).sum(axis=1) * np.sqrt(left)
    return np.where((left > SPANNED) & np.isfinite(foretold[:, beside[0]]), value, np.nan)


def _verdicts(means: Sequence[Mean], terms: Terms, trials: int) -> list[Verdict]:
    """A word for each of K means of which `trials` were tried: those not shown here count as having shown nothing."""
    from scipy.stats import false_discovery_control

    p_values = np.ones(trials)
    p_values[: len(means)] = [mean.p_value if math.isfinite(mean.p_value) else 1.0 for mean in means]
    careful, independent = (false_discovery_control(p_values, method=method) for method in ("by", "bh"))
    return [
        _verdict(mean, float(q), float(plain), terms, trials)
        for mean, q, plain in zip(means, careful, independent, strict=False)
    ]


def _verdict(mean: Mean, q: float, plain: float, terms: Terms, trials: int) -> Verdict:
    if mean.n == 0:
        return Verdict("no evidence", q, plain, f"no date has {terms.fewest} symbols with a value")
    if math.isnan(mean.p_value):
        return Verdict("no evidence", q, plain, f"{mean.n} dates are too few")
    if q > terms.level:
        return Verdict("no evidence", q, plain, f"q-value over {terms.level:g} with {trials} tried")
    word: Word = "evidence for" if mean.mean > 0 else "evidence against"
    return Verdict(word, q, plain, f"q-value at most {terms.level:g} with {trials} tried")


def _reality(looks: Sequence[_Look], seed: int) -> Superiority | None:
    both = np.concatenate([look.both_ways for look in looks])
    formed = np.flatnonzero(both.any(axis=0))
    if len(formed) < FEWEST_BARS:
        return None
    return superiority(both[:, formed[0] : formed[-1] + 1], rng=np.random.default_rng(seed), draws=1_000)


def _finding(
    names: tuple[str, ...], k: int, look: _Look, alike: _Alike, foretells: Verdict, pays: Verdict,
    dates: NDArray[np.datetime64],
) -> Finding:  # fmt: skip
    others = np.abs(np.delete(alike.correlation[k], k))
    near = int(np.nanargmax(others)) if np.isfinite(others).any() else -1
    near += near >= k
    return Finding(
        name=names[k], direction=look.direction, foretells=foretells, pays=pays, ic=look.ic, rank_ic=look.rank_ic,
        residual=alike.residual[k], nearest=names[near] if near >= 0 else "",
        nearest_correlation=float(alike.correlation[k, near]) if near >= 0 else math.nan,
        autocorrelation=look.autocorrelation, replaced=look.replaced, by_quantile=look.by_quantile,
        long_short=look.long_short, long_only=look.long_only, coverage=look.coverage, years=_years(look, dates),
        daily_rank_ic=look.daily_rank_ic, daily_coverage=look.daily_coverage,
    )  # fmt: skip


def _years(look: _Look, dates: NDArray[np.datetime64]) -> tuple[Year, ...]:
    year = dates.astype("datetime64[Y]").astype(int) + 1970
    said = np.isfinite(look.daily_rank_ic)
    return tuple(
        Year(int(y), float(look.daily_rank_ic[at].mean()), float(np.nansum(look.long_short.daily[year == y])), int(at.sum()))
        for y in np.unique(year[said])
        for at in (said & (year == y),)
    )
