"""Alpha158 and Alpha360 against Qlib: its own strings, and what plain pandas makes of them."""

import re

import numpy as np
import pandas as pd
import pytest
from library_market import market

from fiduciary.factors import qlib, tabulate
from fiduciary.factors.library.alpha158 import ALPHA158, ALPHA360


def qlib_158():
    """(name, string) of Qlib's Alpha158, written anew from the definitions that its loader documents."""
    o, h, lo, c, v = "$open", "$high", "$low", "$close", "$volume"
    span, top, bottom = f"({h}-{lo}+1e-12)", f"Greater({o}, {c})", f"Less({o}, {c})"
    yield from {
        "KMID": f"({c}-{o})/{o}", "KLEN": f"({h}-{lo})/{o}", "KMID2": f"({c}-{o})/{span}", "KUP": f"({h}-{top})/{o}",
        "KUP2": f"({h}-{top})/{span}", "KLOW": f"({bottom}-{lo})/{o}", "KLOW2": f"({bottom}-{lo})/{span}",
        "KSFT": f"(2*{c}-{h}-{lo})/{o}", "KSFT2": f"(2*{c}-{h}-{lo})/{span}",
    }.items()  # fmt: skip
    for field in ("open", "high", "low", "vwap"):
        yield f"{field.upper()}0", f"${field}/{c}"

    def moves(x, d):
        last = f"Ref({x}, 1)"
        up, down = f"Sum(Greater({x}-{last}, 0), {d})", f"Sum(Greater({last}-{x}, 0), {d})"
        total = f"(Sum(Abs({x}-{last}), {d})+1e-12)"
        return {"P": f"{up}/{total}", "N": f"{down}/{total}", "D": f"({up}-{down})/{total}"}

    for d in (5, 10, 20, 30, 60):
        rises, falls = f"Mean({c}>Ref({c}, 1), {d})", f"Mean({c}<Ref({c}, 1), {d})"
        traded = f"Abs({c}/Ref({c}, 1)-1)*{v}"
        strings = {
            "ROC": f"Ref({c}, {d})/{c}", "MA": f"Mean({c}, {d})/{c}", "STD": f"Std({c}, {d})/{c}",
            "BETA": f"Slope({c}, {d})/{c}", "RSQR": f"Rsquare({c}, {d})", "RESI": f"Resi({c}, {d})/{c}",
            "MAX": f"Max({h}, {d})/{c}", "MIN": f"Min({lo}, {d})/{c}", "QTLU": f"Quantile({c}, {d}, 0.8)/{c}",
            "QTLD": f"Quantile({c}, {d}, 0.2)/{c}", "RANK": f"Rank({c}, {d})",
            "RSV": f"({c}-Min({lo}, {d}))/(Max({h}, {d})-Min({lo}, {d})+1e-12)", "IMAX": f"IdxMax({h}, {d})/{d}",
            "IMIN": f"IdxMin({lo}, {d})/{d}", "IMXD": f"(IdxMax({h}, {d})-IdxMin({lo}, {d}))/{d}",
            "CORR": f"Corr({c}, Log({v}+1), {d})", "CORD": f"Corr({c}/Ref({c},1), Log({v}/Ref({v}, 1)+1), {d})",
            "CNTP": rises, "CNTN": falls, "CNTD": f"{rises}-{falls}",
            "VMA": f"Mean({v}, {d})/({v}+1e-12)", "VSTD": f"Std({v}, {d})/({v}+1e-12)",
            "WVMA": f"Std({traded}, {d})/(Mean({traded}, {d})+1e-12)",
        }  # fmt: skip
        strings |= {"SUM" + k: text for k, text in moves(c, d).items()}
        strings |= {"VSUM" + k: text for k, text in moves(v, d).items()}
        yield from ((f"{name}{d}", text) for name, text in strings.items())


def qlib_360():
    for field in ("close", "open", "high", "low", "vwap", "volume"):
        over = "($volume+1e-12)" if field == "volume" else "$close"
        for d in range(59, -1, -1):
            yield f"{field.upper()}{d}", f"Ref(${field}, {d})/{over}" if d else f"${field}/{over}"


@pytest.mark.parametrize(("ours", "theirs"), [(ALPHA158, qlib_158), (ALPHA360, qlib_360)], ids=["158", "360"])
def test_each_is_what_qlib_writes(ours, theirs):
    written = dict(theirs())
    assert len(ours) == len(written) == int(theirs.__name__[-3:])
    assert {f.name: str(f.expr) for f in ours} == {name: str(qlib(text)) for name, text in written.items()}


def test_alpha360_is_in_qlibs_order():
    assert [f.name for f in ALPHA360] == [name for name, _ in qlib_360()]


def window(function):
    """A full window, each computed by itself."""
    return lambda x, d, *args: x.rolling(int(d)).apply(lambda w: function(w, *args), raw=True)


def line(w):
    """Least-squares line of the window on time, and its values."""
    slope, level = np.polyfit(np.arange(len(w)), w, 1)
    return slope, level + slope * np.arange(len(w))


def pair(x, y, d):
    return pd.DataFrame({c: x[c].rolling(int(d)).corr(y[c]) for c in x})


QLIB = {
    "Ref": lambda x, d: x.shift(int(d)), "Mean": window(np.mean), "Sum": window(np.sum), "Std": window(lambda w: w.std(ddof=1)),
    "Max": window(np.max), "Min": window(np.min), "IdxMax": window(lambda w: w.argmax() + 1),
    "IdxMin": window(lambda w: w.argmin() + 1), "Quantile": window(np.quantile),
    "Rank": window(lambda w: ((w < w[-1]).sum() + ((w == w[-1]).sum() + 1) / 2) / len(w)),
    "Slope": window(lambda w: line(w)[0]), "Rsquare": window(lambda w: 1 - np.var(w - line(w)[1]) / np.var(w)),
    "Resi": window(lambda w: w[-1] - line(w)[1][-1]), "Corr": pair, "Log": np.log, "Abs": np.abs,
    "Greater": np.maximum, "Less": np.minimum,
}  # fmt: skip


def plain(text, frames):
    """What a string of Qlib says, in plain pandas: comparisons as numbers, unknown while a window is not full."""
    return eval(re.sub(r"\$(\w+)", r"\1", text), dict(QLIB | frames)) * 1.0


def gap_to_qlib(strings, formulas, bars):
    """Greatest difference from plain pandas, relative to the values' spread."""
    frames = {field: pd.DataFrame(bars[field]) for field in bars.fields}
    table, worst = tabulate(bars, formulas, threads=1), 0.0
    for formula in formulas:
        ours, theirs = table[formula.name][formula.lookback - 1 :], plain(strings[formula.name], frames).to_numpy()
        gap = np.abs(ours - theirs[formula.lookback - 1 :])
        worst = max(worst, float(np.max(gap / (np.abs(ours) + ours.std() + 1e-9))))
    return worst


@pytest.mark.parametrize(("ours", "theirs"), [(ALPHA158, qlib_158), (ALPHA360, qlib_360)], ids=["158", "360"])
def test_the_values_are_what_plain_pandas_makes_of_it(ours, theirs):
    assert gap_to_qlib(dict(theirs()), ours, market(1, 120, 2, fields=("vwap",))) < 1e-9
