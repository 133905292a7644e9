"""Expressions by law: what is printed reads back, look-backs are exact, nothing looks ahead, company changes no value."""

import pickle
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from factor_bars import EVERY, FIELDS, PLAIN, WINDOWED, holed, market
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.checks import check_factor
from fiduciary.core.errors import ConfigError, ContractError
from fiduciary.factors import SIM, Const, Expr, Factor, Field, Formula, Stream, compute, ops, parse, tabulate
from fiduciary.factors.expression import DEEPEST, Apply, apply

CLOSE, OPEN, HIGH, LOW, VOLUME, INDUSTRY = map(Field, ("close", "open", "high", "low", "volume", "industry"))
ALL = tuple(Formula(text, parse(text)) for text in EVERY)
GAPS = ("isnan(log(close - open))", "ts_corr(cs_rank(close), cs_rank(volume), 6)")
EACH = pytest.mark.parametrize("formula", ALL, ids=EVERY)


def structure(node: Expr) -> object:
    """The tree itself, by which two expressions are compared without their text."""
    match node:
        case Field(name=name):
            return name
        case Const(value=value):
            return value
        case Apply(op=op, args=args, params=params):
            return op, params, tuple(map(structure, args))
    raise AssertionError(node)


@st.composite
def trees(draw) -> Expr:
    leaves = st.sampled_from(FIELDS).map(Field) | st.floats(allow_nan=False, allow_infinity=False).map(Const)
    infix = [
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "lt",
        "le",
        "gt",
        "ge",
        "eq",
        "ne",
        "and",
        "or",
        "minimum",
        "cs_neutralise",
    ]
    prefix = ["neg", "not", "abs", "log", "cs_rank", "cumsum"]
    rolling = [ops.ref, ops.ts_mean, ops.ema, ops.ts_rank]

    def larger(part):
        return (
            st.builds(apply, st.sampled_from(infix), part, part)
            | st.builds(apply, st.sampled_from(prefix), part)
            | st.builds(lambda op, x, n: op(x, n), st.sampled_from(rolling), part, st.integers(1, 300))
            | st.builds(ops.ts_quantile, part, st.integers(1, 9), st.floats(0, 1))
        )

    return draw(st.recursive(leaves, larger, max_leaves=12))


# --- the text is the expression --------------------------------------------------------------------------------------


@given(trees())
@settings(max_examples=80)
def test_what_is_printed_reads_back(tree):
    again = parse(str(tree))
    assert structure(again) == structure(tree)
    assert again == tree
    assert hash(again) == hash(tree)
    assert again.digest() == tree.digest()
    assert again.lookback == tree.lookback


@settings(max_examples=25)
@given(trees(), trees())
def test_equal_means_the_same_tree(one, other):
    assert (one == other) == (structure(one) == structure(other))


def test_printed_with_the_brackets_that_python_needs():
    assert str((CLOSE - OPEN) / (HIGH - (LOW - 1)) ** -2) == "(close - open) / (high - (low - 1)) ** (-2)"
    assert str(-(CLOSE**2) + (-CLOSE) ** 2) == "-close ** 2 + (-close) ** 2"
    assert str((CLOSE > OPEN) & ~(VOLUME < 1e-12)) == "(close > open) & ~(volume < 1e-12)"
    assert str(ops.eq(ops.eq(CLOSE, OPEN), 1)) == "(close == open) == 1"
    assert str(1 - ops.ts_mean(CLOSE, 5.0)) == "1 - ts_mean(close, 5)"


def test_the_digest_is_a_golden_number():
    assert ops.ts_mean(CLOSE, 5).digest() == "43aed281ab3a51d13ed2090823b5cc5e9ab1289b7078294c369cc59c8133e008"


def test_expressions_travel():
    tree = parse("cs_rank(ts_corr(close, log(volume + 1), 10))")
    assert pickle.loads(pickle.dumps(tree)) == tree
    assert tree.fields == ("close", "volume")


# --- look-back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bars"),
    [
        ("close", 1), ("3", 1), ("ref(close, 1)", 2), ("ts_mean(close, 5)", 5), ("ts_mean(ref(close, 2), 5)", 7),
        ("ts_corr(close, ts_mean(volume, 5), 10)", 14), ("where(close > 0, close, ref(close, 9))", 10),
        ("cs_rank(ema(close, 12))", 12), ("wilder(delta(close, 1), 14)", 15), ("cumsum(delta(close, 1))", 2),
    ],
)  # fmt: skip
def test_the_look_back_is_derived(text, bars):
    assert parse(text).lookback == bars


@EACH
@settings(max_examples=5)
@given(seed=st.integers(0, 999))
def test_the_look_back_is_exact(formula, seed):
    values = formula(market(seed, length=30))
    assert np.isnan(values[: formula.lookback - 1]).all()
    known = np.isfinite(values[formula.lookback - 1 :])
    # The logarithm of a loss does not exist, nor does a correlation with a rank that stays.
    assert known.any() if formula.name in GAPS else known.all()


@pytest.mark.parametrize("op", WINDOWED)
def test_a_window_longer_than_the_history_is_unknown(op):
    text = f"{op}({WINDOWED[op].format(n=31)})"
    assert np.isnan(Formula(op, parse(text))(market(length=30))).all()


# --- causality -------------------------------------------------------------------------------------------------------


@EACH
def test_nothing_looks_ahead(formula):
    assert check_factor(formula, market(3, holes=0.1), trials=3).trials == 3


def _full_mean(panel):
    return panel["close"] - np.nanmean(panel["close"], axis=0)


def _one_bar_ahead(panel):
    return np.roll(panel["close"], -1, axis=0)


def _centred_mean(panel):
    out = np.full(panel.mask.shape, np.nan)
    out[1:-1] = (panel["close"][:-2] + panel["close"][1:-1] + panel["close"][2:]) / 3
    return out


def _future_cross_section(panel):
    return panel["close"] / panel["close"][-1].mean()


def _survivors(panel):
    return np.where(panel.mask[-1], panel["close"], np.nan)


def _days_left(panel):
    return np.broadcast_to((panel.dates[-1] - panel.dates).astype(float)[:, None], panel.mask.shape)


def _filled_from_behind(panel):
    close = panel["close"].copy()
    close[:10] = close[10]
    return close


@pytest.mark.parametrize(
    "function",
    [
        _full_mean, _one_bar_ahead, _centred_mean, _future_cross_section, _survivors, _days_left, _filled_from_behind,
    ],
)  # fmt: skip
def test_a_function_that_looks_ahead_is_named_with_the_date(function):
    rule = rf"factor '{function.__name__}' must not move .* of S\d on 2020-\d\d-\d\d after redrawing from 2020"
    with pytest.raises(ContractError, match=rule):
        check_factor(function, market())


def test_a_peek_by_one_bar_moves_the_last_date_before_the_redrawn_ones():
    with pytest.raises(ContractError, match="on 2020-02-10 after redrawing from 2020-02-11"):
        check_factor(_one_bar_ahead, market(length=60), seed=7, trials=1)


def test_a_causal_function_passes_and_a_useless_trial_is_refused():
    def table(panel):
        return tabulate(panel, ALL[:3]).values

    assert check_factor(table, market(holes=0.2), trials=4) == ("factor table is causal", 4, 0.0)
    truth = market()["close"]
    with pytest.raises(ContractError, match="one value per date and symbol"):
        check_factor(lambda _panel: truth, market())  # it reads nothing of what is redrawn
    with pytest.raises(ConfigError, match="must be known somewhere"):
        check_factor(Formula("long", ops.ts_mean(CLOSE, 500)), market())
    with pytest.raises(ContractError, match=r"must return \[..., T, N\]"):
        check_factor(lambda panel: panel.values, market())
    with pytest.raises(ConfigError, match="more than 1 date"):
        check_factor(table, market(length=1))


# --- company ---------------------------------------------------------------------------------------------------------


@settings(max_examples=5)
@given(seed=st.integers(0, 999))
def test_symbols_meet_only_in_cross_sections_and_suspensions_are_skipped(seed):
    true = market(seed, holes=0.2)
    own = [formula for formula in ALL if "cs_" not in formula.name]
    table = tabulate(true, own).values
    assert np.isnan(table[:, ~true.mask]).all()
    for n, symbol in enumerate(true.symbols):
        alone = tabulate(true.select([symbol]), own).values[:, :, 0]
        np.testing.assert_array_equal(table[:, true.mask[:, n], n], alone)


def test_company_threads_and_float32_change_no_value():
    true = market(1, holes=0.1, symbols=40)
    together = tabulate(true, ALL, threads=2)
    for k, formula in enumerate(ALL):
        np.testing.assert_array_equal(together.values[k], formula(true))
    np.testing.assert_array_equal(tabulate(true, ALL, threads=1).values, together.values)
    single = tabulate(true, ALL, dtype=np.float32).values
    np.testing.assert_array_equal(single, together.values.astype(np.float32))


def test_a_panel_of_factors_and_formulas():
    true = market(2, holes=0.1)
    mixed = (SIM[5], Formula("spread", parse("log(high / low)")), Formula("gap", parse("log(open - ref(close, 1))")))
    out = compute(true, mixed)
    table = tabulate(true, mixed)
    assert out.fields == table.names == ("ma10", "spread", "gap")
    known = ~np.isnan(table.values).any(axis=0)
    np.testing.assert_array_equal(out.mask, known)
    np.testing.assert_array_equal(out.values[known], np.moveaxis(table.values, 0, -1)[known])
    np.testing.assert_array_equal(table["spread"], table.values[1])


def test_nothing_is_ever_infinite():
    true = market(4)
    values = true.values.copy()
    values[20:30, :, FIELDS.index("volume")] = 0
    zero = holed(true, true.mask)
    zero = type(zero)(zero.dates, zero.symbols, zero.fields, values, zero.mask)
    texts = [
        "close / volume",
        "log(volume)",
        "volume ** -1",
        "exp(close * 100)",
        "1 / (1 / volume)",
        "ts_product(close ** 99, 9)",
    ]
    table = tabulate(zero, [Formula(text, parse(text)) for text in texts])
    assert not np.isinf(table.values).any()
    assert np.isnan(table["1 / (1 / volume)"][20:30]).all()
    assert np.isfinite(table["close / volume"][:20]).all()


def test_a_float32_table_takes_little_more_than_itself():
    true = market(length=500, symbols=600)
    formulas = [
        Formula(f"{op}{n}", parse(f"{op}(close, {n}) / close")) for op in ("ts_mean", "ts_max") for n in range(2, 40)
    ]
    tracemalloc.start()
    table = tabulate(true, formulas, dtype=np.float32, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table.values.nbytes == 76 * 500 * 600 * 4
    assert peak - table.values.nbytes < 0.25 * table.values.nbytes


# --- wrong use -------------------------------------------------------------------------------------------------------


def test_wrong_use_of_expressions():
    with pytest.raises(ConfigError, match="as true or false"):
        bool(OPEN < CLOSE < HIGH)
    with pytest.raises(ConfigError, match=r"write `eq\(a, b\)`"):
        ops.where(CLOSE == OPEN, 1, 0)
    with pytest.raises(ConfigError, match="must be an expression or a number"):
        CLOSE + "open"
    with pytest.raises(ConfigError, match="must be finite"):
        CLOSE + float("inf")
    with pytest.raises(ConfigError, match="must be finite"):
        CLOSE + 10**400
    with pytest.raises(ConfigError, match="like a Python variable"):
        Field("adjusted close")
    with pytest.raises(ConfigError, match="must hold an expression"):
        Formula("text", "close")
    with pytest.raises(ConfigError, match="whole number of bars, at least 1, got -1: the future is not known"):
        ops.ref(CLOSE, -1)
    for n in (0, 2.5, True, "5", float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="whole number of bars"):
            ops.ts_mean(CLOSE, n)
    with pytest.raises(ConfigError, match="at least 2"):
        ops.ts_std(CLOSE, 1)
    with pytest.raises(ConfigError, match="no history is so long"):
        ops.ref(CLOSE, 10**30)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ops.ts_quantile(CLOSE, 5, 1.5)


def test_what_nests_as_deep_as_is_allowed_can_be_computed():
    deep = CLOSE
    for k in range(DEEPEST):
        deep = deep + k
    panel = market(length=5)
    expected = panel["close"] + sum(range(DEEPEST))
    for table in (
        tabulate(panel, [Formula("deep", deep)]),
        Stream([Formula("deep", deep)], panel.symbols).replay(panel),
    ):
        np.testing.assert_allclose(table["deep"], expected)
    assert (deep.lookback, parse(str(deep))) == (1, deep)
    with pytest.raises(ConfigError, match="must not nest so deep"):
        deep + 1


def test_numbers_of_numpy_print_like_any_other():
    assert str(Const(np.float64(0.5)) + CLOSE) == "0.5 + close"


def test_a_symbol_without_any_bar_is_unknown():
    panel = market(length=2000, symbols=600)
    mask, values = panel.mask.copy(), panel.values.copy()
    mask[:, 100:], values[:, 100:] = False, np.nan  # whole blocks of them
    for text in ("ema(close, 3)", "ewm(close, 3)", "cumsum(close)", "ts_rank(close, 3)", "cs_rank(close)"):
        values_of = tabulate(replace(panel, mask=mask, values=values), [Formula("x", parse(text))])["x"]
        assert np.isnan(values_of[:, 100:]).all() and np.isfinite(values_of[5:, :100]).all()


def test_what_float32_cannot_hold_is_unknown():
    table = tabulate(market(), [Formula("big", CLOSE * 1e300), Formula("one", CLOSE)], dtype=np.float32)
    assert np.isnan(table["big"]).all() and np.isfinite(table["one"]).all()


def test_wrong_use_of_the_table():
    with pytest.raises(ConfigError, match="distinct names"):
        tabulate(market(), [ALL[0], ALL[0]])
    with pytest.raises(ConfigError, match=r"field that a factor needs must be one of .* got 'vwap'"):
        tabulate(market(), [Formula("v", Field("vwap"))])
    with pytest.raises(ContractError, match="'short' must return one value per bar"):
        tabulate(market(), [Factor("short", 1, lambda bars: bars["close"][1:])])
    with pytest.raises(ConfigError, match="a factor must be one of"):
        tabulate(market(), [ALL[0]])["other"]


def test_importing_factors_is_cheap():
    heavy = "import sys, fiduciary.factors; print({'torch', 'scipy', 'talib', 'pandas', 'polars'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_every_plain_sign_is_covered():
    assert {node.op for text in PLAIN for node in parse(text).walk() if isinstance(node, Apply)} >= {
        "neg",
        "pow",
        "not",
        "or",
    }
