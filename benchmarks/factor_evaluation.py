"""Factors judged: false discoveries in noise, planted knowledge recovered, and the time that a library takes."""

import math
import resource
import time

import numpy as np

from fiduciary.data.panel import Panel
from fiduciary.evaluation import cross_section
from fiduciary.evaluation.factor_evaluation import Terms, evaluate
from fiduciary.factors import FactorTable
from rows import Figure, row

SETS, FACTORS, DATES, SYMBOLS = 200, 20, 500, 100
LEVEL, SLOPE = 0.05, 0.05
BIG_FACTORS, BIG_DATES, BIG_SYMBOLS = 158, 2_520, 3_000


def market(rng: np.random.Generator, dates: int, symbols: int) -> Panel:
    """Random walks with a common factor and fat tails; overnight moves of their own."""
    common = 0.01 * rng.standard_normal((dates, 1)) * rng.uniform(0.5, 1.5, symbols)
    close = 50 * np.exp(np.cumsum(common + 0.012 * rng.standard_t(5, (dates, symbols)), axis=0))
    opened = close * np.exp(0.004 * rng.standard_normal(close.shape))
    names = tuple(f"s{n}" for n in range(symbols))
    days = np.datetime64("2010-01-01") + np.arange(dates)
    return Panel(days, names, ("open", "close"), np.stack([opened, close], axis=-1), np.ones(close.shape, dtype=bool))


def noise(rng: np.random.Generator, factors: int, panel: Panel, memory: np.ndarray) -> np.ndarray:
    """[K, T, N] autoregressive noise that knows nothing; `memory` [K] from none to nearly all; half shares one component."""
    x = rng.standard_normal((factors, *panel.mask.shape), dtype=np.float32)
    x[factors // 2 :] += rng.standard_normal(panel.mask.shape, dtype=np.float32)
    for t in range(1, x.shape[1]):
        x[:, t] = memory[:, None] * x[:, t - 1] + np.sqrt(1 - memory[:, None] ** 2) * x[:, t]
    return x


def table(panel: Panel, values: np.ndarray) -> FactorTable:
    return FactorTable(panel.dates, panel.symbols, tuple(f"f{k}" for k in range(len(values))), values)


def false_discoveries() -> Figure:
    """Of pure noise every discovery is false: the false-discovery rate is the share of sets with any."""
    memory, found, naive = np.linspace(0.0, 0.99, FACTORS, dtype=np.float32), 0, 0
    for seed in range(SETS):
        rng = np.random.default_rng([5, seed])
        panel = market(rng, DATES, SYMBOLS)
        judged = evaluate(panel, table(panel, noise(rng, FACTORS, panel, memory)), Terms(level=LEVEL))
        found += any(finding.foretells.word != "no evidence" for finding in judged.findings)
        naive += sum(finding.look.rank_ic[1].p_value < LEVEL for finding in judged.findings)
    share = found / SETS
    half = 1.96 * math.sqrt(max(share * (1 - share), 1 / SETS) / SETS)
    note = (
        f"share of {SETS} sets of {FACTORS} factors without knowledge (memory 0 to 0.99, half of them alike) on {SYMBOLS} "
        f"stocks, {DATES} days, 5-bar returns, in which any gets a verdict at q = {LEVEL}; without the control "
        f"{naive / SETS / FACTORS:.1%} of all factors would"
    )
    return Figure(share, "of sets", LEVEL, "lower", SETS, note, (max(0.0, share - half), share + half))


def planted() -> Figure:
    """Moran (1948): E rank IC = 6 / (pi (n + 1)) (asin r + (n - 2) asin(r / 2)) of normal pairs with correlation r."""
    r = SLOPE / math.sqrt(1 + SLOPE**2)
    true = 6 / (math.pi * (SYMBOLS + 1)) * (math.asin(r) + (SYMBOLS - 2) * math.asin(r / 2))
    inside, words = 0, 0
    for seed in range(SETS):
        rng = np.random.default_rng([6, seed])
        close = 50 * np.exp(np.cumsum(0.02 * rng.standard_normal((DATES, SYMBOLS)), axis=0))
        panel = market(rng, DATES, SYMBOLS)
        panel = Panel(panel.dates, panel.symbols, ("close",), close[..., None], panel.mask)
        ahead = cross_section.future(panel, (1,), entry="close")
        x = SLOPE * np.log1p(ahead.forward[0]) / 0.02 + rng.standard_normal(close.shape)
        terms = Terms(horizons=(1,), horizon=1, entry="close")
        finding = evaluate(panel, table(panel, x[None]), terms, trials=FACTORS).findings[0]
        inside += finding.look.rank_ic[0].low < true < finding.look.rank_ic[0].high
        words += finding.foretells.word == "evidence for"
    share = inside / SETS
    half = 1.96 * math.sqrt(share * (1 - share) / SETS)
    note = (
        f"share of {SETS} markets in which the 95 % interval holds the planted rank IC, {true:.4f} ({SYMBOLS} stocks, {DATES} "
        f"days); {words / SETS:.0%} get the verdict with {FACTORS} tried"
    )
    return Figure(share, "of intervals", 0.9, "higher", SETS, note, (share - half, min(1.0, share + half)))


def speed() -> Figure:
    """Everything a summary shows, from values to verdicts; the values are given."""
    rng = np.random.default_rng(7)
    panel = market(rng, BIG_DATES, BIG_SYMBOLS)
    values = rng.standard_normal((BIG_FACTORS, *panel.mask.shape), dtype=np.float32)
    started = time.perf_counter()
    evaluate(panel, table(panel, values), Terms())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    note = (
        f"{BIG_FACTORS} factors x {BIG_SYMBOLS:,} stocks x {BIG_DATES:,} days, 4 horizons, all figures; two threads; peak "
        f"{peak:.1f} GB, of which the values are {values.nbytes / 1e9:.1f}"
    )
    return Figure(seconds, "s", 120.0, "lower", 1, note)


if __name__ == "__main__":
    row(5, lambda: {"fdr": false_discoveries(), "planted": planted(), "time": speed()})
