"""TA-Lib's indicators against TA-Lib, in batch and on the last bars alone, also where nothing moves or trades."""

import numpy as np
import pytest
import talib
from library_market import PRICES, market, panel
from talib import abstract

from fiduciary.factors import Factor, tabulate
from fiduciary.factors.library.indicators import BOUNDED, CANDLES, INDICATORS

ALL = INDICATORS + CANDLES
LEFT_OUT = {
    "HT_DCPERIOD", "HT_DCPHASE", "HT_PHASOR", "HT_SINE", "HT_TRENDLINE", "HT_TRENDMODE", "MAMA", "KAMA", "SAR", "SAREXT",
    "SUPERTREND", "MACDFIX", "MAVP",
}  # fmt: skip


def outputs():
    """{factor's name: (function, output)} of all that TA-Lib offers but mathematics."""
    found = {}
    for group, names in talib.get_function_groups().items():
        for name in names if not group.startswith("Math") else ():
            several = abstract.Function(name).output_names
            for k, output in enumerate(several):
                found[(f"ta_{name}_{output}" if len(several) > 1 else f"ta_{name}").lower()] = (name, k)
    return found


OUTPUTS = outputs()


def of_talib(name, bars):
    """[M] TA-Lib's own output and its look-back."""
    function, k = OUTPUTS[name]
    done = abstract.Function(function)({field: np.ascontiguousarray(bars[field][:, 0]) for field in PRICES})
    return np.array(done[k] if isinstance(done, list | tuple) else done, float), abstract.Function(function).lookback


def gap_to_talib(factor, bars):
    """Greatest difference, relative to the value and the spread of all."""
    expected, begins = of_talib(factor.name, bars)
    ours = tabulate(bars, [factor], threads=1)[factor.name][:, 0]
    ours, expected = (series[max(begins, factor.lookback - 1) :] for series in (ours, expected))
    return float(np.max(np.abs(ours - expected) / (np.abs(expected) + expected.std() + 1e-300)))


def cents(seed, length):
    """Bars on a grid of cents with gaps, dojis and shaven bars: what candles are made of."""
    rng = np.random.default_rng(seed)
    close = np.round(20 * np.exp(np.cumsum(rng.normal(0, 0.02, length))), 2)
    jump = np.round(
        np.where(rng.random(length) < 0.3, np.roll(close, 1), close * np.exp(rng.normal(0, 0.015, length))), 2
    )
    opened = np.where(rng.random(length) < 0.15, close, jump)
    up, down = (np.where(rng.random(length) < 0.4, 0, rng.exponential(0.01, length)) for _ in range(2))
    high = np.maximum(np.maximum(opened, close), np.round(np.maximum(opened, close) * (1 + up), 2))
    low = np.minimum(np.minimum(opened, close), np.round(np.minimum(opened, close) * (1 - down), 2))
    columns = (opened, high, low, close, rng.integers(0, 10_000, length).astype(float))
    return panel({name: column[:, None] for name, column in zip(PRICES, columns, strict=True)})


def test_nothing_is_missing_but_what_is_said():
    assert {OUTPUTS[f.name][0] for f in ALL} | LEFT_OUT == {name for name, _ in OUTPUTS.values()}
    assert (
        len({f.name for f in ALL}) == len(ALL) == len(OUTPUTS) - sum(name in LEFT_OUT for name, _ in OUTPUTS.values())
    )
    assert {OUTPUTS[f.name][0] for f in INDICATORS if isinstance(f, Factor)} == set(" ".join(BOUNDED.values()).split())


@pytest.mark.parametrize("factor", ALL, ids=[f.name for f in ALL])
def test_equal_to_talib(factor):
    assert gap_to_talib(factor, market(11, 400, 1, fields=())) < 1e-9


@pytest.mark.parametrize("factor", ALL, ids=[f.name for f in ALL])
def test_begins_where_talib_begins_or_a_bar_later(factor):
    begins = abstract.Function(OUTPUTS[factor.name][0]).lookback + 1
    late = 3 if factor.name in ("ta_ha_haopen", "ta_ha_hahigh", "ta_ha_halow") else 1
    assert factor.lookback <= begins + late


@pytest.mark.parametrize("factor", CANDLES, ids=[f.name for f in CANDLES])
def test_candles_are_found_from_the_last_bars_alone(factor):
    bars = {field: values[:, 0] for field, values in ((f, cents(5, 1000)[f]) for f in PRICES)}
    whole = factor.compute(bars)
    for t in range(factor.memory, 1000, 3):
        last = {field: np.ascontiguousarray(series[t + 1 - factor.memory : t + 1]) for field, series in bars.items()}
        assert factor.compute(last)[-1] == whole[t]


def test_candles_occur_in_the_test():
    found = tabulate(cents(5, 20_000), CANDLES, threads=1)
    assert sum(bool((found[f.name] > 0).any() or (found[f.name] < 0).any()) for f in CANDLES) >= 50


@pytest.mark.parametrize("factor", INDICATORS, ids=[f.name for f in INDICATORS])
def test_where_nothing_moves_or_trades_it_is_talibs_value_or_unknown(factor):
    true = market(2, 260, 1, fields=())
    values = {field: true[field].copy() for field in PRICES}
    for field in PRICES[:4]:
        values[field][100:160] = values["close"][100]
    values["volume"][180:220] = 0
    ours = tabulate(panel(values), [factor], threads=1)[factor.name][:, 0]
    expected, begins = of_talib(factor.name, panel(values))
    known = np.isfinite(ours) & (np.arange(260) >= begins)
    scale = np.nanstd(expected[np.isfinite(expected)])
    np.testing.assert_allclose(ours[known], expected[known], rtol=1e-7, atol=1e-7 * scale)
    assert known.mean() > 0.5
