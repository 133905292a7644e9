"""Does a factor know anything? Every factor of a table against what came after, with the price of looking at many.

The question is fixed by `Terms` before any factor is looked at: one horizon is judged, the others describe. A factor's word
comes from its mean rank IC at that horizon, and allows for all factors tried (false-discovery rate under any dependence); a
second word says whether trading it paid after costs. "No evidence" is an answer, and the usual one.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import Panel
from fiduciary.evaluation import cross_section, metrics
from fiduciary.evaluation.cross_section import Floats, Future, Held, Marks
from fiduciary.evaluation.dependent_means import Mean, mean_of
from fiduciary.evaluation.factor_findings import TERMS, Evaluation, Finding, Look, Spread, Terms, Verdict, Year
from fiduciary.evaluation.factor_likeness import likeness, sampled_dates
from fiduciary.evaluation.inference import FEWEST_BARS, Word
from fiduciary.evaluation.selection import Superiority, superiority
from fiduciary.evaluation.sharpe import expected_best
from fiduciary.factors.table import FactorTable

__all__ = ["Evaluation", "Finding", "Look", "Spread", "Terms", "Verdict", "Year", "evaluate"]


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
        ConfigError: the table or the universe is of other dates or symbols, or the panel lacks a price.
    """
    for each in (table, *([controls] if controls else [])):
        if not np.array_equal(each.dates, panel.dates) or each.symbols != panel.symbols:
            raise ConfigError(
                "a factor table must have the dates and symbols of the panel", "others", remedy="tabulate it"
            )
    if universe is not None and universe.shape != panel.mask.shape:
        raise ConfigError("a universe must be [T, N], the panel's dates and symbols", str(universe.shape))
    ahead = cross_section.future(panel, terms.horizons, entry=terms.entry, universe=universe)
    whole = _weights(ahead.entered & (ahead.entered.sum(axis=1, keepdims=True) >= terms.fewest))
    sampled = sampled_dates(ahead, terms)
    judge = _Judge(panel.dates, ahead, whole, terms, sampled)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sights = list(pool.map(judge.see, table.values))
        further = list(pool.map(judge.ranks, controls.values)) if controls else []
    looks = [sight.look for sight in sights]
    alike = likeness(np.stack([sight.ranks for sight in sights] + further), ahead, sampled, terms, len(looks))
    trials = max(trials, len(looks))
    enough = f"no date has {terms.fewest} symbols with a value"
    foretells = _verdicts([look.rank_ic[terms.place] for look in looks], terms, trials, nothing=enough)
    nothing = f"{enough} and some in both outer quantiles"
    pays = _verdicts([look.long_short.net for look in looks], terms, trials, nothing=nothing)
    findings = tuple(
        Finding(
            table.names[k],
            look,
            foretells[k],
            pays[k],
            alike.residual[k],
            *_nearest(table.names, alike.correlation[k], k),
        )
        for k, look in enumerate(looks)
    )
    return Evaluation(
        terms=terms, dates=panel.dates, symbols=panel.symbols, findings=findings, correlation=alike.correlation, trials=trials,
        lucky_t=expected_best(2 * trials, 1.0), reality=_reality(np.concatenate([sight.both_ways for sight in sights]), seed),
        data=panel.digest(), source=panel.source, widest=int(ahead.entered.sum(axis=1).max(initial=0)),
    )  # fmt: skip


# --- one factor ------------------------------------------------------------------------------------------------------


class _Sight(NamedTuple):
    """A look, what the reality check needs of it ([2, T] after costs, as bought and reversed), and [S, N] sampled ranks."""

    look: Look
    both_ways: Floats
    ranks: NDArray[np.float32]


class _Judge(NamedTuple):
    """What all factors are held against."""

    dates: NDArray[np.datetime64]
    ahead: Future
    whole: NDArray[np.float32]
    terms: Terms
    sampled: NDArray[np.int64]

    def ranks(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Centred ranks [S, N] of x [T, N] on the sampled dates; what is unknown counts as the middle one."""
        known = self.ahead.entered[self.sampled] & np.isfinite(x[self.sampled])
        ranked = cross_section.ranks(x[self.sampled].astype(np.float64), known)
        return np.where(known, ranked - (known.sum(axis=1, keepdims=True) + 1) / 2, 0.0).astype(np.float32)

    def see(self, x: NDArray[np.floating]) -> _Sight:
        """Everything about x [T, N] that needs no other factor."""
        terms, ahead = self.terms, self.ahead
        section = cross_section.correlate(x, ahead, fewest=terms.fewest)
        ic, rank_ic = (
            tuple(mean_of(y, overlap=h, level=terms.level) for h, y in zip(terms.horizons, each, strict=True))
            for each in (section.ic, section.rank_ic)
        )
        enough = section.known >= terms.fewest
        labels = cross_section.quantiles(section, terms.quantiles)
        labels[~enough] = 0
        groups = cross_section.by_quantile(labels, ahead.forward[terms.place], terms.quantiles)
        groups = groups[:, : ahead.known(terms.horizon)]
        direction = -1 if rank_ic[terms.place].mean < 0 else 1
        best, worst = (labels == end for end in (terms.quantiles, 1)[::direction])
        # Equal values may leave an outer quantile empty, and the other one alone is a bet on the market.
        formed = (best.any(axis=1) & worst.any(axis=1))[:, None]
        best, worst = best & formed, worst & formed
        long, short = _weights(best), _weights(worst)
        spread, bought, market = (
            cross_section.hold(w, ahead.step, terms.horizon) for w in (long - short, long, self.whole * formed)
        )
        over = Held(bought.gross - market.gross, bought.traded + market.traded)
        span = slice(_first(best.any(axis=1)), max(0, len(x) - 2))  # returns after the last two closes are not known
        long_short, long_only = self.spread(spread, span), self.spread(over, span)
        entered = ahead.entered.sum(axis=1)
        since = _first(section.known > 0)
        coverage = np.divide(section.known, entered, out=np.full(len(x), np.nan), where=entered > 0)
        look = Look(
            direction=direction, ic=ic, rank_ic=rank_ic, long_short=long_short, long_only=long_only,
            autocorrelation=_average(cross_section.autocorrelation(section, 1)[enough]),
            replaced=_average(cross_section.replaced(best)),
            by_quantile=np.array([_average(group) for group in groups - groups.mean(axis=0)]),
            coverage=float(section.known[since:].sum() / max(1, entered[since:].sum())),
            years=_years(self.dates, section.rank_ic[terms.place], long_short.daily),
            daily_rank_ic=section.rank_ic[terms.place], daily_coverage=coverage,
        )  # fmt: skip
        reversed_ = -long_short.daily - 2e-4 * terms.cost_bps * spread.traded
        return _Sight(look, np.nan_to_num(np.stack((long_short.daily, reversed_))), self.ranks(x))

    def spread(self, held: Held, span: slice) -> Spread:
        """Annual figures of a portfolio over the bars on which it was held."""
        cost = self.terms.cost_bps / 1e4
        daily = np.full(len(self.dates), np.nan)
        daily[span] = held.gross[span] - held.traded[span] * cost
        net = mean_of(daily, level=self.terms.level)
        if net.n < 2:
            return Spread(math.nan, math.nan, net, math.nan, math.nan, daily)
        year = metrics.bars_per_year(self.dates.astype("datetime64[D]").astype(np.int64))
        annual = net._replace(mean=net.mean * year, low=net.low * year, high=net.high * year)
        total = np.cumsum(np.append(0.0, daily[span]))
        fall = float((total - np.maximum.accumulate(total)).min())
        turnover = float(held.traded[span].mean()) * year
        return Spread(float(held.gross[span].mean()) * year, turnover * cost, annual, fall, turnover, daily)


def _weights(inside: Marks) -> NDArray[np.float32]:
    """Equal weights [T, N] of the members inside, which add up to 1 where there are any."""
    size = np.maximum(inside.sum(axis=1, keepdims=True), 1).astype(np.float32)
    return np.asarray(inside / size)


def _first(marks: Marks) -> int:
    """Place of the first mark; the length where there is none."""
    return int(marks.argmax()) if marks.any() else len(marks)


def _average(x: Floats) -> float:
    known = x[np.isfinite(x)]
    return float(known.mean()) if len(known) else math.nan


def _years(dates: NDArray[np.datetime64], rank_ic: Floats, net: Floats) -> tuple[Year, ...]:
    year, said = dates.astype("datetime64[Y]").astype(np.int64) + 1970, np.isfinite(rank_ic)
    each = [(int(y), said & (year == y)) for y in np.unique(year[said])]
    return tuple(Year(y, float(rank_ic[at].mean()), float(np.nansum(net[year == y])), int(at.sum())) for y, at in each)


# --- many factors ----------------------------------------------------------------------------------------------------


def _verdicts(means: Sequence[Mean], terms: Terms, trials: int, *, nothing: str) -> list[Verdict]:
    """A word for each of K means of which `trials` were tried: those not shown here count as having shown nothing.

    `nothing` is the reason where a mean is of no date.
    """
    from scipy.stats import false_discovery_control

    p_values = np.ones(trials)
    p_values[: len(means)] = [mean.p_value if math.isfinite(mean.p_value) else 1.0 for mean in means]
    careful, independent = (false_discovery_control(p_values, method=method) for method in ("by", "bh"))
    return [
        _verdict(mean, float(q), float(plain), terms, trials, nothing=nothing)
        for mean, q, plain in zip(means, careful, independent, strict=False)
    ]


def _verdict(mean: Mean, q: float, plain: float, terms: Terms, trials: int, *, nothing: str) -> Verdict:
    if mean.n == 0:
        return Verdict("no evidence", q, plain, nothing)
    if math.isnan(mean.p_value):
        return Verdict("no evidence", q, plain, f"{mean.n} dates are too few")
    if q > terms.level:
        return Verdict("no evidence", q, plain, f"q-value over {terms.level:g} with {trials} tried")
    word: Word = "evidence for" if mean.mean > 0 else "evidence against"
    return Verdict(word, q, plain, f"q-value at most {terms.level:g} with {trials} tried")


def _reality(both_ways: Floats, seed: int) -> Superiority | None:
    """Of portfolios [2 K, T], 0 where none was held."""
    held = np.flatnonzero(both_ways.any(axis=0))
    if len(held) < FEWEST_BARS:
        return None
    return superiority(both_ways[:, held[0] : held[-1] + 1], rng=np.random.default_rng(seed), draws=1_000)


def _nearest(names: Sequence[str], correlation: Floats, k: int) -> tuple[str, float]:
    """The other factor most like factor k, from its [K] correlations, and how much."""
    others = np.abs(correlation)
    others[k] = np.nan
    if np.isnan(others).all():
        return "", math.nan
    near = int(np.nanargmax(others))
    return names[near], float(correlation[near])
