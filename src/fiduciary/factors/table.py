"""Factors of a whole panel: a table [K, T, N], or a panel again."""

import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fiduciary.core.errors import ConfigError, ContractError
from fiduciary.data.panel import Panel, position
from fiduciary.factors.cross_sections import CROSS
from fiduciary.factors.evaluate import Plan, crossings, is_recursion
from fiduciary.factors.expression import Apply, Expr, Field
from fiduciary.factors.factor import Bars, Factor
from fiduciary.factors.formula import Formula
from fiduciary.factors.kernels import finite

Floats = NDArray[np.float64]

BLOCK = 1 << 15
"""Numbers of a block: bars times symbols. A few arrays of a quarter of a megabyte stay in a core's cache."""
RECURSION_WIDTH = 32
"""Blocks that a recursion takes at once."""


@dataclass(frozen=True, eq=False)
class FactorTable:
    """K factors of N symbols over T dates.

    Attributes:
        dates: [T] datetime64[D], those of the panel.
        symbols: N names.
        names: K names.
        values: [K, T, N], NaN where unknown: no bar, look-back not filled, or no finite value.
    """

    dates: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    names: tuple[str, ...]
    values: NDArray[Any]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """[T, N] values of one factor."""
        values: NDArray[Any] = self.values[position(name, self.names, "factor")]
        return values


def tabulate(
    panel: Panel, factors: Sequence[Factor | Formula], *, dtype: DTypeLike = np.float64, threads: int | None = None
) -> FactorTable:
    """The factors of every symbol at every bar, each on that symbol's own bars.

    Computed in float64, block of symbols by block of symbols; a sub-expression that several factors share is computed
    once. The values of a factor do not depend on what is computed beside it, on the threads or on `dtype` but for rounding.

    Args:
        panel: [T, N, F] bars.
        factors: K factors and formulas with distinct names.
        dtype: of the table; float32 halves it, and little more than the table is needed while it is filled.
        threads: blocks at a time; None is one per core.

    Raises:
        ConfigError: names occur twice, none is given, or a needed field is missing.
        ContractError: a `Factor` returns another shape, or a value that is not finite after its look-back.
    """
    names = checked_names(factors)
    for field in (field for factor in factors for field in factor.needs):
        position(field, panel.fields, "field that a factor needs")
    table = FactorTable(panel.dates, panel.symbols, names, np.empty((len(names), *panel.mask.shape), dtype))
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        _fill(table.values, panel, factors, pool)
    return table


def compute(panel: Panel, factors: Sequence[Factor | Formula]) -> Panel:
    """The factors of every symbol as a panel.

    Dates on which a symbol has no bar are skipped, not filled: a moving average over ten bars spans a suspension.

    Args:
        panel: [T, N, F] bars.
        factors: K factors and formulas with distinct names.

    Returns:
        [T, N, K] panel of the same dates and symbols, its fields the factors' names. A symbol's bar is under the mask
        where all K factors are known, at the earliest its max(lookback)-th one; elsewhere the values are NaN.

    Raises:
        ConfigError: names occur twice, none is given, or a needed field is missing.
        ContractError: a `Factor` returns another shape, or a value that is not finite after its look-back.
    """
    table = tabulate(panel, factors)
    values = np.ascontiguousarray(np.moveaxis(table.values, 0, -1))
    mask = ~np.isnan(values).any(axis=-1)
    values[~mask] = np.nan
    return replace(panel, fields=table.names, values=values, mask=mask)


def checked_names(factors: Sequence[Factor | Formula]) -> tuple[str, ...]:
    """Their names.

    Raises:
        ConfigError: one occurs twice, or there is none.
    """
    names = tuple(factor.name for factor in factors)
    if not names or len(set(names)) < len(names):
        raise ConfigError("`factors` must be one or more with distinct names", f"({', '.join(names)})")
    return names


def _fill(out: NDArray[Any], panel: Panel, factors: Sequence[Factor | Formula], pool: ThreadPoolExecutor) -> None:
    """Functions; then formulas of windows, of recursions, and of cross-sections, the last one by one, since each
    cross-section is as large as a factor of its own and is kept only while a formula still needs it."""
    functions = [(k, factor) for k, factor in enumerate(factors) if isinstance(factor, Factor)]
    formulas = [(k, factor.expr) for k, factor in enumerate(factors) if isinstance(factor, Formula)]
    needs = {k: crossings(expr) for k, expr in formulas}
    _call(panel, functions, out)
    sweep = _Sweep(panel, pool)
    for recursive in (False, True):
        sweep.fill([(k, expr) for k, expr in formulas if not needs[k] and _recursive(expr) == recursive], out)
    crossed = [(k, expr) for k, expr in formulas if needs[k]]
    for turn, (k, expr) in enumerate(crossed):
        for node in needs[k]:
            sweep.cross(node)
        sweep.fill([(k, expr)], out)
        sweep.keep({node for later, _expr in crossed[turn + 1 :] for node in needs[later]})


def _recursive(root: Expr) -> bool:
    return any(is_recursion(node) for node in root.walk())


class _Sweep:
    """Passes over the blocks of one panel, and the cross-sections [T, N] that later passes read."""

    def __init__(self, panel: Panel, pool: ThreadPoolExecutor) -> None:
        self.panel, self.pool = panel, pool
        self.wide: dict[Expr, Floats] = {}

    def fill(self, roots: Sequence[tuple[int, Expr]], out: NDArray[Any]) -> None:
        """Fill `out`[k] with each expression."""
        plan = Plan([root for _k, root in roots])

        def block(columns: slice) -> None:
            pack = _Pack(self.panel.mask[:, columns])

            def leaf(node: Expr) -> Floats:
                series = self.panel[node.name] if isinstance(node, Field) else self.wide[node]
                return pack.close(series[:, columns])

            with np.errstate(all="ignore"):
                for (k, _root), values in zip(roots, plan.run(leaf, pack.shape), strict=True):
                    # A number may be finite, and not in the table's type.
                    pack.open(finite(values.astype(out.dtype, copy=False)), out[k, :, columns])

        if roots:
            # A recursion goes bar by bar: the more symbols at a time, the fewer turns.
            width = RECURSION_WIDTH if any(_recursive(root) for _k, root in roots) else 1
            length, symbols = self.panel.mask.shape
            # Whole cache lines of the table, so that two threads seldom write the same one.
            width = max(16, BLOCK * width // max(length, 1) // 16 * 16)
            _finish(self.pool.map(block, (slice(first, first + width) for first in range(0, symbols, width))))

    def cross(self, node: Apply) -> None:
        """Compute one cross-section, once."""
        if node in self.wide:
            return
        args = np.empty((len(node.args), *self.panel.mask.shape))
        self.fill(list(enumerate(node.args)), args)
        rows = max(1, BLOCK // args.shape[2])

        def dates(first: int) -> None:
            with np.errstate(all="ignore"):
                args[0, first : first + rows] = CROSS[node.op](*args[:, first : first + rows])

        _finish(self.pool.map(dates, range(0, args.shape[1], rows)))
        self.wide[node] = args[0] if len(args) == 1 else args[0].copy()

    def keep(self, nodes: Collection[Expr]) -> None:
        """Drop every cross-section but these."""
        self.wide = {node: values for node, values in self.wide.items() if node in nodes}


def _finish(done: Iterator[None]) -> None:
    """Wait for all, and raise the first error."""
    for _ in done:
        pass


class _Pack:
    """Where the bars of some symbols stand: packed without gaps, oldest first [M, B], or on the panel's dates [T, B]."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask, bars = mask, mask.sum(axis=0)
        self.full, self.shape = bool(mask.all()), (int(bars.max(initial=0)), len(bars))
        self.filled = np.arange(self.shape[0])[:, None] < bars

    def close(self, values: Floats) -> Floats:
        """[T, B] -> [M, B]; NaN behind a symbol's last bar."""
        if self.full:
            return np.ascontiguousarray(values)
        packed = np.full(self.shape, np.nan)
        packed.T[self.filled.T] = values.T[self.mask.T]
        return packed

    def open(self, values: Floats, out: NDArray[Any]) -> None:
        """[M, B] -> `out` [T, B]; NaN where there is no bar."""
        if self.full:
            out[...] = values
            return
        out[...] = np.nan
        out.T[self.mask.T] = values.T[self.filled.T]


def _call(panel: Panel, factors: Sequence[tuple[int, Factor]], out: NDArray[Any]) -> None:
    """Fill `out`[k] with each factor that is a function, symbol by symbol."""
    for n, symbol in enumerate(panel.symbols if factors else ()):
        rows = np.flatnonzero(panel.mask[:, n])
        bars = {field: panel.values[rows, n, f] for f, field in enumerate(panel.fields)}
        for k, factor in factors:
            out[k, :, n] = np.nan
            known = rows[factor.lookback - 1 :]
            if len(known):
                out[k, known, n] = _values(factor, bars, symbol, panel.dates[rows])[factor.lookback - 1 :]


def _values(factor: Factor, bars: Bars, symbol: str, dates: NDArray[np.datetime64]) -> Floats:
    """[M] values of one symbol, finite from the look-back on."""
    out = np.asarray(factor.compute(bars), dtype=np.float64)
    if out.shape != dates.shape:
        raise ContractError(
            f"factor {factor.name!r} must return one value per bar",
            f"shape {out.shape} for {len(dates)} bars of {symbol}",
        )
    broken = np.flatnonzero(~np.isfinite(out[factor.lookback - 1 :]))
    if len(broken):
        row = int(broken[0]) + factor.lookback - 1
        raise ContractError(
            f"factor {factor.name!r} must be finite from its bar {factor.lookback} on",
            f"{out[row]} of {symbol} on {dates[row]}",
            cause="the look-back is longer than declared, or a division by zero",
            remedy="raise `lookback` or guard the formula",
        )
    return out
