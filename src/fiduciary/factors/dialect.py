"""Qlib's expression strings, read into ours."""

import re
from collections.abc import Callable

from fiduciary.factors import ops
from fiduciary.factors.expression import Expr, Operand, apply, lift
from fiduciary.factors.parse import Words, read


def _pair(op: str) -> Callable[[Operand, Operand], Expr]:
    def function(left: Operand, right: Operand) -> Expr:
        return apply(op, left, right)

    return function


def _not(x: Operand) -> Expr:
    return ~lift(x)


def _count(x: Operand, n: float) -> Expr:
    return ops.ts_sum(~ops.isnan(x), n)


QLIB: Words = {
    "Ref": ops.ref, "Delta": ops.delta, "Mean": ops.ts_mean, "Sum": ops.ts_sum, "Std": ops.ts_std, "Var": ops.ts_var,
    "Skew": ops.ts_skew, "Kurt": ops.ts_kurt, "Mad": ops.ts_mad, "Med": ops.ts_med, "Max": ops.ts_max, "Min": ops.ts_min,
    "IdxMax": ops.ts_argmax, "IdxMin": ops.ts_argmin, "Rank": ops.ts_rank, "Quantile": ops.ts_quantile,
    "Slope": ops.ts_slope, "Rsquare": ops.ts_rsquare, "Resi": ops.ts_resid, "Corr": ops.ts_corr, "Cov": ops.ts_cov,
    "EMA": ops.ewm, "WMA": ops.wma, "Count": _count,
    "Abs": ops.absolute, "Log": ops.log, "Sign": ops.sign, "Power": ops.power, "Greater": ops.maximum, "Less": ops.minimum,
    "If": ops.where, "Eq": ops.eq, "Ne": ops.ne, "Not": _not,
    "Add": _pair("add"), "Sub": _pair("sub"), "Mul": _pair("mul"), "Div": _pair("div"), "Gt": _pair("gt"),
    "Ge": _pair("ge"), "Lt": _pair("lt"), "Le": _pair("le"), "And": _pair("and"), "Or": _pair("or"),
}  # fmt: skip
"""Qlib's operators. Left out: those of another instrument or frequency (Mask, ChangeInstrument, TResample, P, PRef)."""


def qlib(text: str) -> Expr:
    """The expression that Qlib 0.9.7 writes as `text`, such as `"Mean($close, 5) / $close"`.

    Our values are Qlib's wherever a window is full and known; Qlib also computes windows that are not (`min_periods=1`), takes
    a comparison with an unknown value for false, and lets a window of 0 bars reach back to the first one. `Ref(x, -1)`
    and windows of 0 are refused. Qlib's WMA divides by the number of bars once more than a mean does; ours does not.

    Raises:
        ConfigError: the text is not in that language, or looks ahead.
    """
    # A blank keeps every column where it was.
    return read(re.sub(r"\$(?=[A-Za-z_])", " ", text), QLIB, shown=text)
