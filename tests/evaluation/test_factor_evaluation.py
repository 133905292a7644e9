"""Factors against what came after: plain loops, pandas and SciPy as oracles, planted knowledge, and noise."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import Panel
from fiduciary.evaluation import cross_section as cs
from fiduciary.evaluation.dependent_means import mean_of
from fiduciary.evaluation.factor_evaluation import Terms, evaluate
from fiduciary.evaluation.factor_likeness import SAMPLED
from fiduciary.factors import FactorTable

HORIZONS = (1, 3)


def market(seed=0, dates=60, symbols=30, *, gaps=0.1, delisted=3, cents=False) -> Panel:
    """Random walks with missing bars; the first `delisted` symbols end half way."""
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(0.02 * rng.standard_normal((dates, symbols)), axis=0))
    if cents:  # coarse prices make equal returns
        close = np.maximum(close.round(0), 1.0)
    opened = close * np.exp(0.005 * rng.standard_normal(close.shape))
    mask = rng.random(close.shape) >= gaps
    mask[dates // 2 :, :delisted] = False
    mask[:, -1] = True  # every date has a bar
    values = np.stack([opened, close], axis=-1)
    values[~mask] = np.nan
    days = np.datetime64("2020-01-01") + np.arange(dates)
    return Panel(days, tuple(f"s{n}" for n in range(symbols)), ("open", "close"), values, mask, source="made up")


def table(panel, values, names=None) -> FactorTable:
    values = np.asarray(values, dtype=np.float64)
    return FactorTable(panel.dates, panel.symbols, names or tuple(f"f{k}" for k in range(len(values))), values)


def loose(panel, seed=0, levels=None):
    """A factor with unknown values, and ties where it has few levels."""
    rng = np.random.default_rng([seed, 1])
    x = (
        rng.standard_normal(panel.mask.shape)
        if levels is None
        else rng.integers(levels, size=panel.mask.shape).astype(float)
    )
    return np.where(panel.mask & (rng.random(x.shape) < 0.85), x, np.nan)


def forward(panel, t, n, h, entry="open"):
    """The return after date t by its definition, or None."""
    if t + 1 + h >= len(panel.dates) or not (panel.mask[t, n] and panel.mask[t + 1, n]):
        return None
    if panel.mask[t + 1 + h, n]:
        end = panel[entry][t + 1 + h, n]
    else:
        end = panel["close"][: t + 2 + h, n][panel.mask[: t + 2 + h, n]][-1]
    return end / panel[entry][t + 1, n] - 1


# --- against plain definitions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["open", "close"])
def test_forward_returns_are_what_a_loop_finds(entry):
    panel = market()
    ahead = cs.future(panel, HORIZONS, entry=entry)
    for h, horizon in enumerate(HORIZONS):
        for t in range(len(panel.dates)):
            for n in range(len(panel.symbols)):
                wanted = forward(panel, t, n, horizon, entry)
                if wanted is None:
                    assert t >= ahead.known(horizon) or not ahead.entered[t, n]
                else:
                    assert ahead.entered[t, n]
                    assert ahead.forward[h, t, n] == pytest.approx(wanted, abs=1e-15)


def test_what_is_delisted_stays_in_at_its_last_close():
    panel = market(gaps=0.0)
    last = len(panel.dates) // 2 - 2  # bought on its last bar
    ahead = cs.future(panel, (3,))
    assert ahead.entered[last, 0]
    assert ahead.forward[0, last, 0] == pytest.approx(panel["close"][last + 1, 0] / panel["open"][last + 1, 0] - 1)
    assert not ahead.entered[last + 1, 0]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([None, 2, 7]), cents=st.booleans())
def test_correlations_are_those_of_scipy(seed, levels, cents):
    panel = market(seed, dates=14, cents=cents)
    x, ahead = loose(panel, seed, levels), cs.future(panel, HORIZONS)
    section = cs.correlate(x, ahead, fewest=5)
    compared = 0
    for t in range(len(panel.dates)):
        known = ahead.entered[t] & np.isfinite(x[t])
        assert section.known[t] == known.sum()
        for h, horizon in enumerate(HORIZONS):
            returns = ahead.forward[h, t, known]
            if t >= ahead.known(horizon) or known.sum() < 5 or np.ptp(x[t, known]) == 0 or np.ptp(returns) == 0:
                assert np.isnan([section.ic[h, t], section.rank_ic[h, t]]).all()
                continue
            compared += 1
            assert section.ic[h, t] == pytest.approx(stats.pearsonr(x[t, known], returns)[0], abs=1e-12)
            assert section.rank_ic[h, t] == pytest.approx(stats.spearmanr(x[t, known], returns)[0], abs=1e-12)
    assert compared > 10


@pytest.mark.parametrize("number", [2, 5, 10])
def test_quantiles_are_those_of_pandas(number):
    panel = market(symbols=43)
    ahead = cs.future(panel, HORIZONS)
    section = cs.correlate(loose(panel), ahead, fewest=20)
    labels = cs.quantiles(section, number)
    groups = cs.by_quantile(labels, ahead.forward[0], number)
    for t in np.flatnonzero(section.known):
        known = section.ranks[t] > 0
        wanted = pd.qcut(section.ranks[t, known], number, labels=False) + 1
        np.testing.assert_array_equal(labels[t, known], wanted)
        assert not labels[t, ~known].any()
        mean = pd.Series(ahead.forward[0, t, known]).groupby(wanted).mean()
        np.testing.assert_allclose(groups[:, t], mean, atol=1e-15)


@pytest.mark.parametrize("bars", [1, 4])
def test_a_portfolio_is_the_mean_of_those_formed_lately(bars):
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((30, 17)).astype(np.float32)
    step = 0.02 * rng.standard_normal((30, 17))
    held = cs.hold(weights, step, bars)
    before = np.zeros(17)
    for t in range(30):
        now = sum(weights[t - i].astype(float) for i in range(bars) if t >= i) / bars
        assert held.gross[t] == pytest.approx(now @ step[t], abs=1e-12)
        assert held.traded[t] == pytest.approx(np.abs(now - before).sum(), abs=1e-6)
        before = now


def test_stability_is_what_pandas_finds():
    panel = market()
    section = cs.correlate(loose(panel), cs.future(panel, HORIZONS), fewest=5)
    ranks = pd.DataFrame(np.where(section.ranks > 0, section.ranks.astype(float), np.nan))
    wanted = ranks.corrwith(ranks.shift(2), axis=1)
    np.testing.assert_allclose(cs.autocorrelation(section, 2), wanted, atol=1e-9)
    inside = cs.quantiles(section, 5) == 5
    replaced = cs.replaced(inside)
    for t in range(1, len(inside)):
        now, then = set(np.flatnonzero(inside[t])), set(np.flatnonzero(inside[t - 1]))
        if now and then:
            assert replaced[t] == pytest.approx(len(now - then) / len(now))
        else:
            assert np.isnan(replaced[t])


def test_long_short_after_costs_is_what_a_ledger_finds():
    """Equal weights on the outer fifths at every close, filled at the next open: money in, money out, costs on each trade."""
    panel = market(gaps=0.0, delisted=0)
    x = np.random.default_rng(1).standard_normal(panel.mask.shape)
    found = evaluate(panel, table(panel, [x]), Terms(horizons=(1,), horizon=1, cost_bps=7.0)).findings[0]
    before = dict.fromkeys(range(30), 0.0)
    for t in range(len(panel.dates) - 2):
        order = np.argsort(x[t])
        sides = {int(n): found.look.direction / 6 for n in order[-6:]} | {
            int(n): -found.look.direction / 6 for n in order[:6]
        }
        now = dict.fromkeys(range(30), 0.0) | sides
        earned = sum(w * (panel["open"][t + 2, n] / panel["open"][t + 1, n] - 1) for n, w in now.items())
        paid = 7e-4 * sum(abs(now[n] - before[n]) for n in now)
        assert found.look.long_short.daily[t] == pytest.approx(earned - paid, abs=1e-7)
        before = now
    daily = found.look.long_short.daily[:-2]
    year = (len(panel.dates) - 1) * 365.25 / (len(panel.dates) - 1)
    assert found.look.long_short.net.mean == pytest.approx(daily.mean() * year)
    total = np.append(0.0, daily.cumsum())
    assert found.look.long_short.drawdown == pytest.approx((total - np.maximum.accumulate(total)).min())
    assert found.look.long_short.gross - found.look.long_short.cost == pytest.approx(found.look.long_short.net.mean)


def test_what_the_nearest_leave_is_a_regression_of_ranks():
    panel = market(dates=40, symbols=60, gaps=0.0, delisted=0)
    rng = np.random.default_rng(2)
    base = rng.standard_normal((3, *panel.mask.shape))
    values = np.stack([base[0] + base[1], base[0], base[1] + 0.5 * base[2]])
    terms = Terms(horizons=(1,), horizon=1)
    found = evaluate(panel, table(panel, values), terms, controls=table(panel, base[2:], ("size",)))
    ahead = cs.future(panel, (1,))
    wanted = []
    for t in range(ahead.known(1)):
        ranks = [stats.rankdata(x[t]) for x in (*values, base[2])]
        others = np.stack([np.ones(60), *ranks[1:]])
        rest = ranks[0] - others.T @ np.linalg.lstsq(others.T, ranks[0], rcond=None)[0]
        wanted.append(stats.pearsonr(rest, stats.rankdata(ahead.forward[0, t]))[0])
    assert found.findings[0].residual.mean == pytest.approx(np.mean(wanted), abs=1e-6)
    assert found.findings[0].nearest == "f1"
    wanted = np.mean([stats.spearmanr(values[0, t], values[1, t])[0] for t in range(ahead.known(1))])
    assert found.correlation[0, 1] == pytest.approx(wanted, abs=1e-6)
    np.testing.assert_allclose(np.diag(found.correlation), 1.0, atol=1e-6)


# --- laws ------------------------------------------------------------------------------------------------------------


def test_nothing_moves_when_the_future_is_redrawn():
    """IC at t reads bars up to t + 1 + h, and no later one."""
    panel, later = market(1), market(2)
    present = 40
    values = panel.values.copy()
    mask = panel.mask.copy()
    values[present + 1 :], mask[present + 1 :] = later.values[present + 1 :], later.mask[present + 1 :]
    other = Panel(panel.dates, panel.symbols, panel.fields, values, mask)
    x = loose(panel)
    x[present + 1 :] = np.nan
    first, again = (cs.correlate(x, cs.future(p, HORIZONS), fewest=5) for p in (panel, other))
    for h, horizon in enumerate(HORIZONS):
        until = present - horizon
        np.testing.assert_array_equal(first.rank_ic[h, :until], again.rank_ic[h, :until])
        np.testing.assert_array_equal(first.ic[h, :until], again.ic[h, :until])
        assert first.rank_ic[h, until] != again.rank_ic[h, until]


def test_ranks_see_no_monotone_change_and_nobody_sees_the_order_or_the_unit():
    panel = market(gaps=0.0, delisted=0)
    x = loose(panel)
    terms = Terms(horizons=HORIZONS, horizon=3)
    plain = evaluate(panel, table(panel, [x]), terms).findings[0]
    bent = evaluate(panel, table(panel, [np.exp(3 * x)]), terms).findings[0]
    assert [m.mean for m in bent.look.rank_ic] == [m.mean for m in plain.look.rank_ic]
    assert bent.look.long_short.net == plain.look.long_short.net
    assert bent.look.ic[0].mean != plain.look.ic[0].mean
    order = np.random.default_rng(0).permutation(len(panel.symbols))
    mixed = panel.select([panel.symbols[n] for n in order])
    scaled = Panel(mixed.dates, mixed.symbols, mixed.fields, mixed.values * 8.0, mixed.mask)
    again = evaluate(scaled, table(scaled, [x[:, order]]), terms).findings[0]
    assert again.look.rank_ic[1].mean == pytest.approx(plain.look.rank_ic[1].mean, abs=1e-12)
    assert again.look.long_short.net.mean == pytest.approx(plain.look.long_short.net.mean, abs=1e-9)


def test_reversing_a_factor_reverses_its_ic_and_keeps_what_it_earns():
    panel = market(gaps=0.0, delisted=0)
    x = np.random.default_rng(4).standard_normal(panel.mask.shape)
    there, back = evaluate(panel, table(panel, [x, -x]), Terms(horizons=(1,), horizon=1)).findings
    assert there.look.rank_ic[0].mean == pytest.approx(-back.look.rank_ic[0].mean)
    assert there.look.direction == -back.look.direction
    assert there.look.long_short.net.mean == pytest.approx(back.look.long_short.net.mean, abs=1e-9)
    assert there.residual.n == back.residual.n == 0  # each is all that the other says
    assert there.nearest_correlation == pytest.approx(-1.0)


def test_the_universe_is_that_of_each_date():
    panel = market(gaps=0.0, delisted=0)
    x = loose(panel)
    inside = np.ones(panel.mask.shape, dtype=bool)
    inside[:, 25:] = False
    terms = Terms(horizons=(1,), horizon=1)
    masked = evaluate(panel, table(panel, [x]), terms, universe=inside).findings[0]
    narrow = panel.select(panel.symbols[:25])
    direct = evaluate(narrow, table(narrow, [x[:, :25]]), terms).findings[0]
    assert masked.look.rank_ic[0] == direct.look.rank_ic[0]
    assert masked.look.coverage == direct.look.coverage
    np.testing.assert_allclose(masked.look.long_short.daily, direct.look.long_short.daily, atol=1e-7)


# --- known answers ---------------------------------------------------------------------------------------------------


def test_planted_knowledge_is_found_and_its_size_recovered():
    """E rank IC = 6 / (pi (n + 1)) (asin r + (n - 2) asin(r / 2)), r = a / sqrt(1 + a^2), for x = a z(return) + noise
    (Moran 1948, Rank correlation and permutation distributions)."""
    panel = market(1, dates=400, symbols=60, gaps=0.0, delisted=0)
    ahead = cs.future(panel, (1,))
    rng = np.random.default_rng(5)
    z = ahead.forward[0] / ahead.forward[0][ahead.entered].std()
    noise = rng.standard_normal((4, *panel.mask.shape))
    values = noise.copy()
    values[0] += 0.1 * z
    values[1] -= 0.1 * z
    found = evaluate(panel, table(panel, values), Terms(horizons=(1, 5), horizon=1, cost_bps=0.0))
    words = [(f.foretells.word, f.pays.word, f.look.direction) for f in found.findings]
    assert words[:2] == [("evidence for", "evidence for", 1), ("evidence against", "evidence for", -1)]
    assert [word for word, *_ in words[2:]] == ["no evidence"] * 2
    r = 0.1 / math.sqrt(1.01)
    wanted = 6 / (math.pi * 61) * (math.asin(r) + 58 * math.asin(r / 2))
    for finding, sign in zip(found.findings[:2], (1, -1), strict=True):
        assert finding.look.rank_ic[0].low < sign * wanted < finding.look.rank_ic[0].high
    assert found.reality is not None
    assert found.reality.spa < 0.01
    assert np.diff(found.findings[0].look.by_quantile).min() > 0
    # The knowledge is of one bar: over five it is diluted by sqrt(5).
    assert found.findings[0].look.rank_ic[1].mean == pytest.approx(wanted / math.sqrt(5), abs=0.03)


def test_costs_turn_knowledge_into_a_loss():
    panel = market(0, dates=300, symbols=60, gaps=0.0, delisted=0)
    ahead = cs.future(panel, (1,))
    x = 0.1 * ahead.forward[0] / 0.02 + np.random.default_rng(6).standard_normal(panel.mask.shape)
    free, dear = (
        evaluate(panel, table(panel, [x]), Terms(horizons=(1,), horizon=1, cost_bps=bps)).findings[0]
        for bps in (0.0, 100.0)
    )
    assert (free.foretells.word, free.pays.word) == ("evidence for", "evidence for")
    assert (dear.foretells.word, dear.pays.word) == ("evidence for", "evidence against")
    assert dear.look.long_short.gross == free.look.long_short.gross


def test_the_more_are_tried_the_less_each_counts():
    panel = market(0, dates=200, symbols=40, gaps=0.0, delisted=0)
    ahead = cs.future(panel, (1,))
    x = 0.06 * ahead.forward[0] / 0.02 + np.random.default_rng(8).standard_normal(panel.mask.shape)
    terms = Terms(horizons=(1,), horizon=1)
    alone, many = (evaluate(panel, table(panel, [x]), terms, trials=n) for n in (1, 100_000))
    assert alone.findings[0].foretells.word == "evidence for"
    assert many.findings[0].foretells.word == "no evidence"
    p = alone.findings[0].look.rank_ic[0].p_value
    assert alone.findings[0].foretells.q_value == pytest.approx(p)
    assert many.findings[0].foretells.q_independent == pytest.approx(min(1.0, 100_000 * p))
    assert many.lucky_t > 4 > alone.lucky_t


def test_four_stocks_say_nothing():
    panel = market(symbols=4, gaps=0.0, delisted=0)
    found = evaluate(panel, table(panel, [loose(panel), loose(panel, 1)]), Terms())
    assert {f.foretells.word for f in found.findings} == {f.pays.word for f in found.findings} == {"no evidence"}
    assert found.findings[0].foretells.reason == "no date has 20 symbols with a value"
    assert found.widest == 4
    assert found.reality is None
    assert math.isnan(found.findings[0].look.rank_ic[0].mean)
    assert found.findings[0].look.years == ()


def test_a_constant_and_an_unknown_factor_say_nothing():
    panel = market(gaps=0.0, delisted=0)
    values = [np.full(panel.mask.shape, 0.1), np.full(panel.mask.shape, np.nan), loose(panel)]
    found = evaluate(panel, table(panel, values), Terms(horizons=(1,), horizon=1)).findings
    assert [f.foretells.word for f in found] == ["no evidence"] * 3
    assert (found[0].look.rank_ic[0].n, found[1].look.coverage, found[2].look.rank_ic[0].n) == (0, 0.0, 58)
    assert found[0].look.coverage == 1.0


def test_no_portfolio_has_one_side():
    """Of a market that rises, what chooses at random must not be paid for being long; where it is silent, none is held."""
    panel = market(dates=200, gaps=0.0, delisted=0)
    rising = replace(panel, values=panel.values * np.exp(0.01 * np.arange(200.0))[:, None, None])
    rng = np.random.default_rng(5)
    binary, silent = (rng.random((200, 30)) < 0.3).astype(float), rng.standard_normal((200, 30))
    silent[50:150] = np.nan
    terms = Terms(horizons=(1, 5), horizon=5, cost_bps=0.0)
    few, gap = evaluate(rising, table(rising, [binary, silent]), terms).findings
    assert (few.look.long_short.net.n, few.pays.word) == (0, "no evidence")
    assert "both outer quantiles" in few.pays.reason
    for spread in (gap.look.long_short, gap.look.long_only):
        assert np.abs(spread.daily[60:140]).max() < 1e-6
        assert abs(np.nanmean(spread.daily)) < 0.002


def test_years_add_up_to_the_whole():
    panel = market(dates=800, gaps=0.0, delisted=0)
    found = evaluate(panel, table(panel, [loose(panel)]), Terms(horizons=(1,), horizon=1)).findings[0]
    assert [year.year for year in found.look.years] == [2020, 2021, 2022]
    assert sum(y.dates for y in found.look.years) == found.look.rank_ic[0].n
    assert sum(y.dates * y.rank_ic for y in found.look.years) == pytest.approx(
        found.look.rank_ic[0].mean * found.look.rank_ic[0].n
    )
    assert sum(y.net for y in found.look.years) == pytest.approx(np.nansum(found.look.long_short.daily), abs=1e-9)
    assert found.residual.n <= SAMPLED


# --- the mean of dependent values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [1, 5, 20])
def test_overlapping_noise_is_significant_as_often_as_it_says(overlap):
    rng = np.random.default_rng(overlap)
    noise = np.cumsum(rng.standard_normal((3_000, 750 + overlap)), axis=1)
    means = [mean_of(x, overlap=overlap) for x in noise[:, overlap:] - noise[:, :-overlap]]
    p_values = np.array([mean.p_value for mean in means])
    assert 0.035 < (p_values < 0.05).mean() < 0.068
    assert (p_values < 0.001).mean() < 0.004
    assert np.mean([mean.low < 0 < mean.high for mean in means]) == pytest.approx(1 - (p_values < 0.05).mean())


def test_independent_values_have_the_textbook_error():
    x = np.random.default_rng(0).standard_normal(100_000) + 0.01
    found = mean_of(x)
    assert found.mean / found.t == pytest.approx(x.std() / math.sqrt(len(x)), rel=0.05)
    assert (found.n, found.ratio) == (len(x), pytest.approx(x.mean() / x.std(ddof=1)))


def test_too_few_values_have_no_interval():
    assert mean_of(np.full(5, np.nan)).n == 0
    few = mean_of(np.arange(30.0), overlap=20)
    assert few.mean == 14.5
    assert math.isnan(few.low) and math.isnan(few.p_value)
    gone = mean_of(np.array([np.nan, 1.0, np.nan, 3.0] * 50))
    assert gone == mean_of(np.array([1.0, 3.0] * 50))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"horizons": ()}, {"horizons": (0, 5)}, {"horizon": 3}, {"entry": "vwap"}, {"quantiles": 1}, {"cost_bps": -1.0},
     {"fewest": 9}, {"level": 0.0}],
)  # fmt: skip
def test_terms_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"`{next(iter(wrong)) if wrong != {'horizons': ()} else 'horizons'}`"):
        Terms(**wrong)


def test_a_universe_of_other_symbols_is_refused():
    panel = market()
    with pytest.raises(ConfigError, match="a universe must be"):
        evaluate(panel, table(panel, [loose(panel)]), universe=panel.mask[:, 1:])


def test_a_table_of_other_dates_is_refused():
    panel = market()
    other = table(market(dates=50), [loose(market(dates=50))])
    with pytest.raises(ConfigError, match="dates and symbols of the panel"):
        evaluate(panel, other)
    with pytest.raises(ConfigError, match="open"):
        evaluate(
            Panel(panel.dates, panel.symbols, ("close",), panel.values[..., 1:], panel.mask),
            table(panel, [loose(panel)]),
        )
