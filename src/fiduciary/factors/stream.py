"""The incremental twin: factors updated from one new bar, in time that does not depend on the history."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.panel import Panel, position
from fiduciary.factors.cross_sections import CROSS
from fiduciary.factors.evaluate import group_of, groups_of, is_cross, is_recursion, is_window
from fiduciary.factors.expression import Apply, Const, Expr, Field
from fiduciary.factors.factor import Factor
from fiduciary.factors.formula import Formula
from fiduciary.factors.kernels import EARLY, ELEMENTWISE, WINDOWED, advanced, finite, rolled
from fiduciary.factors.table import FactorTable, checked_names

Floats = NDArray[np.float64]


class Stream:
    """K factors of N symbols, fed bar by bar; each value equals that of `tabulate` over the same bars.

    Every series that a window reads back is kept for as many bars as the longest window on it; a recursion keeps its last
    value. So a push costs the same after ten bars and after ten years.

    A `Factor` that is a function takes part through its `twin`, or through its `memory`: it is then called on that many bars.

    Args:
        factors: K factors and formulas with distinct names.
        symbols: N names, the columns of what is pushed.

    Raises:
        ConfigError: names occur twice, or a `Factor` has neither `twin` nor `memory`.
    """

    def __init__(self, factors: Sequence[Factor | Formula], symbols: Sequence[str]) -> None:
        self.names, self.symbols = checked_names(factors), tuple(symbols)
        self._roots = [_definition(factor) for factor in factors]
        nodes = dict.fromkeys(node for root in self._roots if isinstance(root, Expr) for node in root.walk())
        self._nodes, self._groups = tuple(nodes), groups_of(nodes)
        self.needs = tuple(dict.fromkeys(field for factor in factors for field in _needs(factor)))
        self._bars = np.zeros(len(self.symbols))
        self._past = {text: np.full((bars, len(symbols)), np.nan) for text, bars in _depths(self._roots, nodes).items()}
        self._held = {node.text: np.zeros((2, len(symbols))) for node in nodes if is_recursion(node)}

    def push(self, bars: Mapping[str, ArrayLike], mask: ArrayLike | None = None) -> Floats:
        """Take one bar of every symbol, or of those under `mask`.

        Args:
            bars: {field: [N]}; what is not under the mask is not read.
            mask: [N] bool, which symbols have this bar; None is all.

        Returns:
            [K, N] values, NaN where unknown and where there is no bar. A cross-section runs over the bars of this push.

        Raises:
            ConfigError: a field that a factor needs is missing; nothing has been taken then.
            DataError: a shape is wrong or a number infinite; nothing has been taken then.
        """
        here = np.ones(len(self.symbols), bool) if mask is None else np.asarray(mask, bool)
        fields = {name: self._checked(name, bars, here) for name in self.needs}
        out = np.full((len(self.names), len(here)), np.nan)
        if not here.any():
            return out
        # A slice takes no copy of what is kept.
        columns: Any = slice(None) if here.all() else np.flatnonzero(here)
        self._bars[columns] += 1
        with np.errstate(all="ignore"):
            values = self._step(fields, columns)
            for k, root in enumerate(self._roots):
                if isinstance(root, Expr):
                    out[k, columns] = finite(np.array(np.broadcast_to(values[root], (1, here.sum()))))[0]
                else:
                    out[k, columns] = self._called(root, np.flatnonzero(here))
        return out

    def replay(self, panel: Panel) -> FactorTable:
        """Push every date of `panel`, whose symbols must be this stream's; the table is [K, T, N].

        Raises:
            ConfigError: other symbols, or a missing field.
        """
        if panel.symbols != self.symbols:
            raise ConfigError(
                "a panel must have the stream's symbols", f"{len(panel.symbols)} others or in another order"
            )
        places = {name: position(name, panel.fields, "field that a factor needs") for name in self.needs}
        rows = [
            self.push({name: panel.values[t, :, f] for name, f in places.items()}, panel.mask[t])
            for t in range(len(panel.dates))
        ]
        return FactorTable(panel.dates, panel.symbols, self.names, np.stack(rows, axis=1))

    def state(self) -> dict[str, Floats]:
        """All that the next push depends on, as plain arrays by name: what a feed saves to resume."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Go on from `state()` of a stream of the same factors and symbols.

        Raises:
            DataError: it is that of another one; nothing has been changed then.
        """
        arrays = self._arrays()
        shapes = {name: np.shape(array) for name, array in state.items()}
        if shapes != {name: array.shape for name, array in arrays.items()}:
            odd = sorted(set(shapes) ^ set(arrays)) or ["other shapes"]
            raise DataError("a state must be that of a stream of the same factors and symbols", odd[0])
        for name, array in arrays.items():
            array[...] = state[name]

    def _arrays(self) -> dict[str, Floats]:
        held = {f"held {text}": array for text, array in self._held.items()}
        return {"bars": self._bars} | held | {f"past {text}": array for text, array in self._past.items()}

    def _checked(self, name: str, bars: Mapping[str, ArrayLike], here: NDArray[np.bool_]) -> Floats:
        position(name, tuple(bars), "field that a factor needs")
        values = np.asarray(bars[name], np.float64)
        if values.shape != here.shape or here.shape != self._bars.shape:
            raise DataError("a bar must be one number per symbol", f"{values.shape} in {name} of {len(self.symbols)}")
        taken = values[here][None]
        if np.isinf(taken).any():
            raise DataError("a bar must be finite, or NaN where unknown", f"infinity in {name}")
        return taken

    def _step(self, fields: Mapping[str, Floats], columns: Any) -> dict[Expr, Floats]:
        """[1, n] of every node for the n symbols with a bar; of constants a scalar."""
        values: dict[Expr, Floats] = {}
        for name in fields.keys() & self._past.keys():
            self._keep(name, fields[name], columns)
        for node in self._nodes:
            if node not in values:
                values |= self._one(node, fields, values, columns)
        return values

    def _one(
        self, node: Expr, fields: Mapping[str, Floats], values: Mapping[Expr, Floats], columns: Any
    ) -> dict[Expr, Floats]:
        if isinstance(node, Field):
            return {node: fields[node.name]}
        if is_window(node):
            members = self._groups[group_of(node)]
            longest = max(int(member.params[0]) for member in members)
            pasts = [self._past[arg.text][-longest:, columns] for arg in node.args]
            rows = rolled(WINDOWED[node.op], pasts, [(member.op, member.params) for member in members])
            found: dict[Expr, Floats] = {member: row[-1:] for member, row in zip(members, rows, strict=True)}
        elif isinstance(node, Const):
            found = {node: np.array(node.value)}
        else:
            assert isinstance(node, Apply)
            found = {node: self._apply(node, [values[arg] for arg in node.args], columns)}
        for done, value in found.items():
            if done.text in self._past:
                self._keep(done.text, value, columns)
        return found

    def _apply(self, node: Apply, args: list[Floats], columns: Any) -> Floats:
        if node.op == "ref":
            past: Floats = self._past[node.args[0].text][-1 - node.reach, columns]
            return past[None]
        if is_recursion(node):
            held = self._held[node.text]
            held[:, columns], value = advanced(held[:, columns], np.atleast_2d(args[0]), node.op, node.reach + 1)
            return value
        if is_cross(node):
            return self._across(CROSS[node.op], args, columns)
        value = ELEMENTWISE[node.op](*args)
        return np.where(self._bars[columns] < node.lookback, np.nan, value) if node.op in EARLY else value

    def _across(self, function: Callable[..., Floats], args: Sequence[Floats], columns: Any) -> Floats:
        """A cross-section over all columns, absent ones unknown, so that it adds in the same order as `tabulate`."""
        wide = np.full((len(args), 1, len(self.symbols)), np.nan)
        for row, arg in zip(wide, args, strict=True):
            row[:, columns] = arg
        return function(*wide)[:, columns]

    def _keep(self, text: str, value: Floats, columns: Any) -> None:
        past = self._past[text]
        past[:-1, columns] = past[1:, columns]
        past[-1:, columns] = value

    def _called(self, factor: Factor, columns: NDArray[np.intp]) -> Floats:
        """[n] values of a factor that is called on its last bars."""
        out = np.full(len(columns), np.nan)
        for place, n in enumerate(columns):
            bars = int(min(self._bars[n], factor.memory or 0))
            if self._bars[n] >= factor.lookback:
                own = {field: np.ascontiguousarray(self._past[field][-bars:, n]) for field in factor.needs}
                out[place] = factor.compute(own)[-1]
        return out


def _definition(factor: Factor | Formula) -> Expr | Factor:
    """The expression to run, or the factor itself where its memory is bounded."""
    if isinstance(factor, Formula):
        return factor.expr
    if factor.twin is None and factor.memory is None:
        raise ConfigError(
            f"factor {factor.name!r} must have a `twin` or a bounded `memory` to be updated bar by bar", "neither",
            remedy="write it as an expression",
        )  # fmt: skip
    return factor if factor.twin is None else factor.twin


def _needs(factor: Factor | Formula) -> tuple[str, ...]:
    root = _definition(factor)
    return root.fields if isinstance(root, Expr) else root.needs


def _depths(roots: Sequence[Expr | Factor], nodes: Mapping[Expr, None]) -> dict[str, int]:
    """Bars of each series that must be kept, the present one included."""
    depths: dict[str, int] = {}
    for node in nodes:
        if is_window(node) or (isinstance(node, Apply) and node.op == "ref"):
            for arg in node.args:
                depths[arg.text] = max(depths.get(arg.text, 1), node.reach + 1)
    for root in roots:
        if isinstance(root, Factor):
            for field in root.needs:
                depths[field] = max(depths.get(field, 1), root.memory or 1)
    return depths
