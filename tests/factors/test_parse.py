"""Text to expressions: only the language, each fault with its place; Qlib's strings mean what Qlib means."""

import numpy as np
import pandas as pd
import pytest
from factor_bars import market
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError
from fiduciary.factors import Field, Formula, ops, parse, qlib
from fiduciary.factors.dialect import QLIB
from fiduciary.factors.ops import OPERATORS

CLOSE, VOLUME = Field("close"), Field("volume")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("close", CLOSE), (" close ", CLOSE), ("+close", CLOSE), ("-(-3) * close", 3 * CLOSE),
        ("delta(close, 5)", CLOSE - ops.ref(CLOSE, 5)), ("close > 2 == volume", None),
        ("abs(close)", abs(CLOSE)), ("power(close, 2)", CLOSE**2), ("ts_mean(close, 10.0)", ops.ts_mean(CLOSE, 10)),
        ("(close >\n 2) & # up\n (volume > 3)", (CLOSE > 2) & (VOLUME > 3)), ("1e-12", ops.lift(1e-12)),
    ],
)  # fmt: skip
def test_what_text_means(text, expected):
    if expected is None:
        with pytest.raises(ConfigError, match="an expression must hold fields, numbers"):
            parse(text)
    else:
        assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ts_men(close, 5)", r"'ts_men\(close, 5\)' at column 1 .* did you mean `ts_mean`"),
        ("close + TS_MEAN(close, 5)", r"at column 9 .* did you mean `ts_mean`"),
        ("ref(close, -1)", "at least 1, got 'ref.* the future is not known"),
        ("1 + ts_std(close, 1)", "at least 2, got 'ts_std.* at column 5"),
        ("ts_mean(close, volume)", "whole number of bars"),
        ("ts_mean(close)", r"arguments must be those of ts_mean\(x, n\).* missing a required argument: 'n'"),
        ("ts_mean(close, 5, 6)", "too many positional"),
        ("ts_mean", "`ts_mean` must be followed by its arguments in brackets"),
        ("ts_mean(close, n=5)", "must hold fields, numbers"),
        ("close.shift(1)", "at column 1"), ("close[0]", "must hold"), ("'close'", "must hold"), ("True", "must hold"),
        ("lambda: 1", "must hold"), ("close if close else 1", "must hold"), ("close and volume", "must hold"),
        ("close // 2", "must hold"), ("close % 2", "must hold"), ("1j", "must hold"), ("None", "must hold"),
        ("(yield close)", "must hold"), ("[close]", "must hold"), ("__import__('os').system('true')", "must hold"),
        ("close +", "syntax at the end of 'close"), ("ts_mean(close 5)", "near column 9 of 'ts"),
        ("", "must be one value"), ("close; volume", "Python's syntax"),
        ("close)(", "brackets in pairs"), ("close) + (open", "brackets in pairs"), ("close, open", "must be one value"),
        ("(" * 1000, "Python's syntax"), ("1" * 5000, "Python's syntax"),
        ("1e999", "must be finite"), ("9" * 400, "must be finite"), ("\x00", "Python's syntax"),
        ("-" * 5000 + "close", "must not nest|Python's syntax"),
        (" + ".join(["close"] * 3000), "must not nest so deep"),
    ],
)  # fmt: skip
def test_nothing_else_is_read(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text)


@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9_+*/()<>&|~., -]{0,40}", fullmatch=True))
@settings(max_examples=100)
def test_any_text_is_read_or_refused(text):
    for read in (parse, qlib):
        try:
            assert parse(str(read(text))) == read(text)
        except ConfigError as error:
            assert str(error)


# --- Qlib ------------------------------------------------------------------------------------------------------------


def test_every_word_of_qlib_is_one_of_ours():
    samples = {1: "$close", 2: "$close, 5", 3: "$close, $volume, 5"}
    three = {"Corr", "Cov"}
    for word in QLIB:
        if word == "Quantile":
            assert qlib("Quantile($close, 5, 0.8)") == ops.ts_quantile(CLOSE, 5, 0.8)
        elif word == "If":
            assert qlib("If($close > 1, $close, 0)") == ops.where(CLOSE > 1, CLOSE, 0)
        else:
            count = 3 if word in three else 1 if word in {"Abs", "Log", "Sign", "Not"} else 2
            assert parse(str(qlib(f"{word}({samples[count]})"))).fields[0] == "close"
    assert set(QLIB) & set(OPERATORS) == set()


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("($high-Greater($open, $close))/($high-$low+1e-12)", "(high - maximum(open, close)) / (high - low + 1e-12)"),
        ("Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), 20)",
         "ts_corr(close / ref(close, 1), log(volume / ref(volume, 1) + 1), 20)"),
        ("Mean($close>Ref($close, 1), 5)-Mean($close<Ref($close, 1), 5)",
         "ts_mean(close > ref(close, 1), 5) - ts_mean(close < ref(close, 1), 5)"),
        ("(IdxMax($high, 5)-IdxMin($low, 5))/5", "(ts_argmax(high, 5) - ts_argmin(low, 5)) / 5"),
        ("And(Gt($close, 1), Not(Le(Add($open, 2), Mul($low, Div(Sub($high, 1), 3)))))",
         "(close > 1) & ~(open + 2 <= low * ((high - 1) / 3))"),
        ("EMA($close, 12)", "ewm(close, 12)"), ("Count($close, 9)", "ts_sum(~isnan(close), 9)"),
    ],
)  # fmt: skip
def test_strings_of_qlib(text, ours):
    assert qlib(text) == parse(ours)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ref($close, -1)/$close - 1", "the future is not known"), ("Mean($close, 0)", "at least 1"),
        ("EMA($close, 0.1)", "whole number"),
        ("P($$roewa_q)", "Python's syntax"), ("Mask($close, 'SH600000')", "known operators, got"),
        ("Maen($close, 5)", "did you mean `Mean`"), ("ts_mean($close, 5)", "known operators, got"),
    ],
)  # fmt: skip
def test_what_is_refused_of_qlib(text, message):
    with pytest.raises(ConfigError, match=message):
        qlib(text)


def test_qlib_s_average_is_that_of_pandas():
    bars = market(0, symbols=1)
    expected = pd.Series(bars["close"][:, 0]).ewm(span=12, min_periods=12).mean()
    np.testing.assert_allclose(Formula("e", qlib("EMA($close, 12)"))(bars)[:, 0], expected, rtol=1e-12)
