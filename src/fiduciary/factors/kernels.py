"""What each operator computes, on blocks [M, B] of float64: M bars of B symbols, oldest first; NaN is unknown.

Windows are built by merging shorter ones (`Sliding`): log2(n) additions a value instead of n, no running total that drifts,
and a value that depends on nothing but its own window, so that batch and stream agree to the last bit.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
State = tuple[Floats, ...]
Series = Sequence[Floats]
Call = tuple[str, tuple[float, ...]]
"""Operator and its parameters."""

CHUNK = 1 << 15
"""Numbers that are sorted at a time: a quarter of a megabyte stays in the cache."""


def finite(x: Floats) -> Floats:
    """`x` with NaN where it is infinite."""
    endless = np.isinf(x)
    return np.where(endless, np.nan, x) if endless.any() else x


# --- one bar ---------------------------------------------------------------------------------------------------------


def _finite(function: Callable[..., Floats]) -> Callable[..., Floats]:
    return lambda *args: finite(function(*args))


def _truth(function: Callable[..., Any]) -> Callable[..., Floats]:
    """1.0 or 0.0, NaN where an operand is."""

    def compare(*args: Floats) -> Floats:
        out: Floats = np.asarray(function(*args), dtype=np.float64)
        for arg in args:
            np.copyto(out, np.nan, where=np.isnan(arg))
        return out

    return compare


def _power(x: Floats, y: Floats) -> Floats:
    # NumPy knows nan ** 0 and 1 ** nan, which are unknown all the same. It squares where y is a scalar 2 and takes logarithms
    # where it is an array of them, which rounds otherwise: a constant is a scalar in batch and in stream.
    return finite(np.power(x, y) + 0.0 * (x + y))


def _where(condition: Floats, x: Floats, y: Floats) -> Floats:
    chosen: Floats = np.where(condition != 0, x, y)
    return np.where(np.isnan(condition), np.nan, chosen)


def _fillna(x: Floats, y: Floats) -> Floats:
    return np.where(np.isnan(x), y, x)


ELEMENTWISE: Mapping[str, Callable[..., Floats]] = {
    "add": _finite(np.add), "sub": _finite(np.subtract), "mul": _finite(np.multiply), "div": _finite(np.divide), "pow": _power,
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "sqrt": np.sqrt, "log": _finite(np.log), "exp": _finite(np.exp),
    "minimum": np.minimum, "maximum": np.maximum,
    "lt": _truth(np.less), "le": _truth(np.less_equal), "gt": _truth(np.greater), "ge": _truth(np.greater_equal),
    "eq": _truth(np.equal), "ne": _truth(np.not_equal),
    "and": _truth(np.logical_and), "or": _truth(np.logical_or), "not": _truth(np.logical_not),
    "where": _where, "isnan": lambda x: np.isnan(x).astype(np.float64), "fillna": _fillna,
}  # fmt: skip
EARLY = frozenset({"where", "isnan", "fillna"})
"""Operators that would have a value before every look-back is filled."""


# --- windows ---------------------------------------------------------------------------------------------------------


class Sliding:
    """The state of every window of n bars, merged from those of n/2 and n/2, or n - 1 and 1.

    `merge(older, newer, a, b)` joins the states of a bars and of the b bars after them. [n] is the state as arrays of
    M - n + 1 rows, the first of them for bar n - 1.
    """

    def __init__(self, one: State, merge: Callable[[State, State, int, int], State]) -> None:
        self.done, self.merge = {1: one}, merge

    def __getitem__(self, n: int) -> State:
        if n not in self.done:
            b = 1 if n % 2 else n // 2
            a = n - b
            older, newer = self[a], self[b]
            self.done[n] = self.merge(tuple(x[:-b] for x in older), tuple(x[a:] for x in newer), a, b)
        return self.done[n]


def _moments(older: State, newer: State, a: int, b: int) -> State:
    """(mean, m2): Chan, Golub and LeVeque (1983). A constant window has m2 = 0 exactly."""
    gap = newer[0] - older[0]
    mean = gap * (b / (a + b))
    mean += older[0]
    gap *= gap
    gap *= a * b / (a + b)
    gap += older[1]
    gap += newer[1]
    return mean, gap


def _trend(older: State, newer: State, a: int, b: int) -> State:
    """(mean, m2, c): c = sum (time - mean time) (x - mean)."""
    gap = newer[0] - older[0]
    c = gap * (a * b / 2)
    c += older[2]
    c += newer[2]
    return *_moments(older, newer, a, b), c


def _comoments(older: State, newer: State, a: int, b: int) -> State:
    """(mean x, m2 x, mean y, m2 y, c): c = sum (x - mean x) (y - mean y)."""
    c = newer[0] - older[0]
    c *= newer[2] - older[2]
    c *= a * b / (a + b)
    c += older[4]
    c += newer[4]
    return *_moments(older[:2], newer[:2], a, b), *_moments(older[2:4], newer[2:4], a, b), c


def _linear(older: State, newer: State, a: int, _b: int) -> State:
    """(sum, sum of weight times value): weights 1 for the oldest to n."""
    return older[0] + newer[0], older[1] + newer[1] + a * newer[0]


def _extreme(choose: np.ufunc, holds: np.ufunc) -> Callable[[State, State, int, int], State]:
    """(value, place): of equals, the oldest."""

    def merge(older: State, newer: State, a: int, _b: int) -> State:
        place = newer[1] + a
        np.copyto(place, older[1], where=holds(older[0], newer[0]))
        return choose(older[0], newer[0]), place

    return merge


def _single(function: Callable[[Floats, Floats], Floats]) -> Callable[[State, State, int, int], State]:
    return lambda older, newer, _a, _b: (function(older[0], newer[0]),)


def _sums(xs: Series, calls: Sequence[Call]) -> list[Floats]:
    windows = Sliding(tuple(xs), _single(np.add))
    return [windows[int(n)][0] / (n if op == "ts_mean" else 1) for op, (n,) in calls]


def _simple(function: Callable[[Floats, Floats], Floats]) -> "Family":
    def family(xs: Series, calls: Sequence[Call]) -> list[Floats]:
        windows = Sliding(tuple(xs), _single(function))
        return [windows[int(n)][0] for _op, (n,) in calls]

    return family


def _spreads(xs: Series, calls: Sequence[Call]) -> list[Floats]:
    windows = Sliding((*xs, np.zeros_like(xs[0])), _moments)
    variances = [windows[int(n)][1] / (n - 1) for _op, (n,) in calls]
    return [np.sqrt(v, out=v) if op == "ts_std" else v for (op, _n), v in zip(calls, variances, strict=True)]


def _trends(xs: Series, calls: Sequence[Call]) -> list[Floats]:
    zero, (x,) = np.zeros_like(xs[0]), xs
    windows = Sliding((x, zero, zero), _trend)

    def finish(op: str, n: int) -> Floats:
        (mean, m2, c), stt = windows[n], n * (n * n - 1) / 12
        if op == "ts_rsquare":
            return np.minimum(c / stt * c / m2, 1.0)
        slope = c / stt
        return slope if op == "ts_slope" else x[n - 1 :] - (mean + slope * ((n - 1) / 2))

    return [finish(op, int(n)) for op, (n,) in calls]


def _pairs(xs: Series, calls: Sequence[Call]) -> list[Floats]:
    zero, (x, y) = np.zeros_like(xs[0]), xs
    windows = Sliding((x, zero, y, zero, zero), _comoments)

    def finish(op: str, n: int) -> Floats:
        _mx, xx, _my, yy, c = windows[n]
        return c / (n - 1) if op == "ts_cov" else np.clip(c / (np.sqrt(xx) * np.sqrt(yy)), -1.0, 1.0)

    return [finish(op, int(n)) for op, (n,) in calls]


def _weighted(xs: Series, calls: Sequence[Call]) -> list[Floats]:
    windows = Sliding((*xs, *xs), _linear)
    return [windows[int(n)][1] / (n * (n + 1) / 2) for _op, (n,) in calls]


def _places(choose: np.ufunc, holds: np.ufunc) -> "Family":
    def family(xs: Series, calls: Sequence[Call]) -> list[Floats]:
        windows = Sliding((*xs, np.ones_like(xs[0])), _extreme(choose, holds))
        states = (windows[int(n)] for _op, (n,) in calls)
        return [np.where(np.isnan(value), np.nan, place) for value, place in states]

    return family


def _ranks(xs: Series, calls: Sequence[Call]) -> list[Floats]:
    """Twice the number of lesser values plus that of equal ones, counted bar by bar back, one pass for all windows."""
    (x,), lengths = xs, sorted({int(n) for _op, (n,) in calls})
    count = np.zeros(x.shape, np.uint8 if lengths[-1] <= 128 else np.uint32)
    holds, done = np.empty(x.shape, bool), {}
    for n in range(1, lengths[-1] + 1):
        if n > 1:
            then, now, here = x[: 1 - n], x[n - 1 :], holds[n - 1 :]
            for holds_for in (np.less, np.less_equal):
                count[n - 1 :] += holds_for(then, now, out=here)
        if n in lengths:
            done[n] = _unless_unknown((count[n - 1 :] + 2.0) / (2 * n), x, n)
    return [done[int(n)] for _op, (n,) in calls]


def _quantiles(xs: Series, calls: Sequence[Call]) -> list[Floats]:
    """Each window sorted once for all of its quantiles; a whole sort is vectorised and beats selecting a few places."""
    (x,), done = xs, {}
    for n in {int(n) for _op, (n, _q) in calls}:
        places = {q: (n - 1) * q for _op, (m, q) in calls if m == n}
        ends = {k for place in places.values() for k in (int(place), -int(-place // 1))}
        picked = _order_statistics(x, n, ends)
        for q, place in places.items():
            low, high = picked[int(place)], picked[-int(-place // 1)]
            done[n, q] = _unless_unknown(low + (high - low) * (place - int(place)), x, n)
    return [done[int(n), q] for _op, (n, q) in calls]


def _order_statistics(x: Floats, n: int, places: Iterable[int]) -> dict[int, Floats]:
    """[M - n + 1, B] for each place in the sorted window, 0 the least."""
    windows = sliding_window_view(x, n, axis=0)
    out = {k: np.empty(windows.shape[:2]) for k in places}
    rows = max(1, CHUNK // (n * x.shape[1]))
    for first in range(0, len(windows), rows):
        part = np.sort(windows[first : first + rows], axis=-1)
        for k, values in out.items():
            values[first : first + rows] = part[..., k]
    return out


def _unless_unknown(values: Floats, x: Floats, n: int) -> Floats:
    """`values` [M - n + 1, B], NaN where a value of the window of `x` is."""
    unknown = np.isnan(x)
    if unknown.any():
        values[Sliding((unknown,), _single(np.logical_or))[n][0]] = np.nan
    return values


def _deviations(xs: Series, calls: Sequence[Call]) -> list[Floats]:
    """Two passes: the mean of the window, then the powers of each value's distance from it."""
    windows = Sliding((*xs, np.zeros_like(xs[0])), _moments)
    return [_deviation(op, xs[0], int(n), windows[int(n)][0]) for op, (n,) in calls]


def _deviation(op: str, x: Floats, n: int, mean: Floats) -> Floats:
    def central(power: Callable[[Floats], Floats]) -> Floats:
        total = np.zeros_like(mean)
        for k in range(n):
            total += power(x[k : len(x) - n + 1 + k] - mean)
        return total / n

    if op == "ts_mad":
        return central(np.abs)
    m2 = central(np.square)
    if op == "ts_skew":
        return central(lambda d: d * d * d) * (math.sqrt(n * (n - 1)) / (n - 2)) / (m2 * np.sqrt(m2))
    m4 = central(lambda d: np.square(d * d))
    return ((n + 1) * m4 / (m2 * m2) - 3 * (n - 1)) * ((n - 1) / ((n - 2) * (n - 3)))


Family = Callable[[Series, Sequence[Call]], list[Floats]]
"""Computes all windows of one kind over the same series together."""
FAMILIES: Mapping[str, Family] = {
    "sum": _sums, "spread": _spreads, "trend": _trends, "pair": _pairs, "weighted": _weighted, "rank": _ranks,
    "quantile": _quantiles, "deviation": _deviations, "product": _simple(np.multiply), "min": _simple(np.minimum),
    "max": _simple(np.maximum), "argmin": _places(np.minimum, np.less_equal),
    "argmax": _places(np.maximum, np.greater_equal),
}  # fmt: skip
WINDOWED: Mapping[str, str] = {
    "ts_sum": "sum", "ts_mean": "sum", "ts_var": "spread", "ts_std": "spread", "ts_slope": "trend",
    "ts_resid": "trend", "ts_rsquare": "trend", "ts_corr": "pair", "ts_cov": "pair", "wma": "weighted",
    "ts_rank": "rank", "ts_quantile": "quantile", "ts_skew": "deviation", "ts_kurt": "deviation", "ts_mad": "deviation",
    "ts_product": "product", "ts_min": "min", "ts_max": "max", "ts_argmin": "argmin", "ts_argmax": "argmax",
}  # fmt: skip
"""Operator through time -> its family."""


def rolled(family: str, xs: Series, calls: Sequence[Call]) -> list[Floats]:
    """[M, B] for each of `calls` of one family over the series `xs`; NaN until the window is full."""
    bars = len(xs[0])
    fitting = [call for call in calls if call[1][0] <= bars]
    done = dict(zip(fitting, FAMILIES[family](xs, fitting), strict=True)) if fitting else {}

    def padded(call: Call) -> Floats:
        out = np.full(xs[0].shape, np.nan)
        if call in done:
            out[int(call[1][0]) - 1 :] = finite(done[call])
        return out

    return [padded(call) for call in calls]


def shifted(x: Floats, n: int) -> Floats:
    """x_{t-n}; NaN for the first n bars."""
    out = np.full_like(x, np.nan)
    out[n:] = x[: max(len(x) - n, 0)]
    return out


# --- recursions ------------------------------------------------------------------------------------------------------

STEP: Mapping[str, Callable[[Any, Any, float], Any]] = {
    "ema": lambda y, x, n: (x - y) * (2 / (n + 1)) + y,
    "wilder": lambda y, x, n: (y * (n - 1) + x) / n,
    "ewm": lambda y, x, n: y * (1 - 2 / (n + 1)) + x,
    "cumsum": lambda y, x, n: y + x,
}
"""y_{t-1}, x_t, n -> y_t, in the order in which TA-Lib rounds."""
SEEDED = frozenset({"ema", "wilder"})
"""Recursions that begin with the mean of their first n values."""


def _weights(count: Any, n: float) -> Any:
    """1 + a + ... + a^(count - 1) for a = 1 - 2 / (n + 1), by which `ewm` divides."""
    return (1 - (1 - 2 / (n + 1)) ** count) * ((n + 1) / 2)


def recursed(x: Floats, op: str, n: int) -> Floats:
    """A recursion over the known values of each column; NaN where there is none, or not yet n."""
    unknown = np.isnan(x)
    if unknown.all():  # also where there is no bar at all
        return np.full_like(x, np.nan)
    if not unknown.any():
        return _recursed(x, op, n)
    order = np.argsort(unknown, axis=0, kind="stable")
    out = np.empty_like(x)
    np.put_along_axis(out, order, _recursed(np.take_along_axis(x, order, axis=0), op, n), axis=0)
    out[unknown] = np.nan
    return out


def _recursed(x: Floats, op: str, n: int) -> Floats:
    step, out = STEP[op], np.cumsum(x[:n], axis=0)
    if op in SEEDED:
        out[n - 1 :] /= n
    elif op == "ewm":
        out = x[:1]
    y, rest = out[-1], np.empty_like(x[len(out) :])
    for t, x_t in enumerate(x[len(out) :]):
        rest[t] = y = step(y, x_t, n)
    out = np.concatenate((out, rest))
    if op == "ewm":
        out /= _weights(np.arange(1, len(x) + 1), n)[:, None]
    out[: n - 1] = np.nan
    return out


def advanced(state: Floats, x: Floats, op: str, n: int) -> tuple[Floats, Floats]:
    """One bar of `recursed`: state [2, B], the number of known values and y, and x [1, B] -> both anew."""
    (count, held), known = state, ~np.isnan(x[0])
    count = count + known
    moved = STEP[op](held, x[0], n)
    if op in SEEDED:
        moved = np.where(count <= n, (held + x[0]) / np.where(count == n, n, 1), moved)
    held = np.where(known, moved, held)
    value = held / _weights(count, n) if op == "ewm" else held
    return np.stack((count, held)), np.where(known & (count >= n), value, np.nan)[None]
