"""Laws of every factor of the library: causal, known exactly from its look-back on, the same in batch and in stream."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from library_market import FACTORS, market

from fiduciary.core.checks import check_factor
from fiduciary.factors import Factor, Formula, Stream, parse, tabulate
from fiduciary.factors.library import LIBRARY

ALL = tuple(FACTORS.values())
LENGTH, SYMBOLS = 1300, 12


@pytest.fixture(scope="module")
def bars():
    return market(0, LENGTH, SYMBOLS)


@pytest.fixture(scope="module")
def table(bars):
    return tabulate(bars, ALL, threads=1)


def test_the_families_are_as_large_as_they_say():
    sizes = {"alpha158": 158, "alpha360": 360, "alpha101": 101, "candles": 61, "momentum": 15, "volatility": 12}
    assert {name: len(LIBRARY[name]) for name in sizes} == sizes


def test_one_name_means_one_thing():
    for name, family in LIBRARY.items():
        assert len({factor.name for factor in family}) == len(family), name
        assert all(factor == FACTORS[factor.name] or factor.expr == FACTORS[factor.name].expr for factor in family)


def test_each_says_what_it_means():
    assert [f.name for f in ALL if isinstance(f, Formula) and not f.about] == []


def test_each_first_value_stands_at_its_look_back(table):
    known = np.isfinite(table.values)
    first = known.any(axis=2).argmax(axis=1) + 1
    assert {f.name: (f.lookback, k) for f, k in zip(ALL, first, strict=True) if f.lookback != k} == {}
    shares = {f.name: known[k, f.lookback - 1 :].mean() for k, f in enumerate(ALL)}
    assert {name: share for name, share in shares.items() if share < 0.9} == {}


@pytest.mark.parametrize("present", [300, LENGTH - 20])
def test_no_value_moves_when_everything_later_is_redrawn(bars, table, present):
    """The future has other prices, other reports and other symbols; nothing up to the present may move."""
    later, rng = market(77, LENGTH, SYMBOLS), np.random.default_rng(present)
    values, mask = bars.values.copy(), bars.mask.copy()
    values[present + 1 :], mask[present + 1 :] = (
        later.values[present + 1 :],
        rng.random((LENGTH - present - 1, SYMBOLS)) > 0.3,
    )
    values[~mask] = np.nan
    again = tabulate(replace(bars, values=values, mask=mask), ALL, threads=1).values[:, : present + 1]
    before = table.values[:, : present + 1]
    moved = ~((before == again) | (np.isnan(before) & np.isnan(again))).all(axis=(1, 2))
    assert [ALL[k].name for k in np.flatnonzero(moved)] == []


@pytest.mark.parametrize("name", ["alpha1", "KMID", "beta", "ta_adx", "ta_aroonosc", "ta_cdldoji"])
def test_the_shipped_check_agrees(name):
    check_factor(FACTORS[name], market(3, 400, 4, fields=("vwap",)), trials=3)


def test_each_formula_reads_back_from_its_text():
    for factor in ALL:
        if isinstance(factor, Formula):
            assert parse(str(factor.expr)) == factor.expr


def test_factors_reach_worker_processes():
    factors = [factor for factor in ALL if isinstance(factor, Factor)]
    again = pickle.loads(pickle.dumps(factors))
    assert [f.name for f in again] == [f.name for f in factors]


def assert_stream_equals_batch(factors, bars):
    batch, stream = tabulate(bars, factors, threads=1).values, Stream(factors, bars.symbols).replay(bars).values
    scale = np.abs(batch) + np.nanstd(batch, axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore"):
        gap = np.nanmax(np.abs(stream - batch) / scale, axis=(1, 2), initial=0)
    unlike = (np.isnan(stream) != np.isnan(batch)).any(axis=(1, 2))
    assert {f.name: gap[k] for k, f in enumerate(factors) if gap[k] > 1e-9 or unlike[k]} == {}


def test_stream_equals_batch_in_the_families_that_remember():
    assert_stream_equals_batch(LIBRARY["indicators"], market(4, 160, 3, holes=0.1))


@pytest.mark.slow
def test_stream_equals_batch_in_the_whole_library():
    assert_stream_equals_batch(tuple(f for f in ALL if f.lookback < 300), market(5, 320, 8, holes=0.1))
