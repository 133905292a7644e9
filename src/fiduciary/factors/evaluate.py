"""Expressions on blocks: every distinct node once, windows of one series together, values dropped after their last use."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeGuard

import numpy as np

from fiduciary.factors.cross_sections import CROSS
from fiduciary.factors.expression import Apply, Const, Expr
from fiduciary.factors.kernels import (
    EARLY,
    ELEMENTWISE,
    STEP,
    WINDOWED,
    Floats,
    recursed,
    rolled,
    shifted,
)

Group = tuple[str, tuple[Expr, ...]]
"""A family of windows and the series that it runs over."""


def is_cross(node: Expr) -> TypeGuard[Apply]:
    """Whether the node compares symbols with each other."""
    return isinstance(node, Apply) and node.op in CROSS


def is_window(node: Expr) -> TypeGuard[Apply]:
    """Whether the node is a window over bars."""
    return isinstance(node, Apply) and node.op in WINDOWED


def is_recursion(node: Expr) -> TypeGuard[Apply]:
    """Whether the node remembers all bars."""
    return isinstance(node, Apply) and node.op in STEP


def group_of(window: Apply) -> Group:
    """What the window is computed together with."""
    return WINDOWED[window.op], window.args


def groups_of(nodes: Iterable[Expr]) -> dict[Group, list[Apply]]:
    """All windows among `nodes`, by what they are computed together with."""
    groups: dict[Group, list[Apply]] = {}
    for node in nodes:
        if is_window(node):
            groups.setdefault(group_of(node), []).append(node)
    return groups


class Plan:
    """What `roots` need, found once and used for every block.

    Args:
        roots: K expressions. Cross-sections in them are leaves, like fields.
    """

    def __init__(self, roots: Sequence[Expr]) -> None:
        self.roots = tuple(roots)
        nodes = dict.fromkeys(node for root in roots for node in root.walk(into=lambda node: not is_cross(node)))
        self.groups = groups_of(nodes)
        self.uses = Counter(self.roots)
        for node in nodes:
            # A group reads its series once for all of its windows.
            if not is_cross(node) and (not is_window(node) or self.groups[group_of(node)][0] is node):
                self.uses.update(node.args)

    def run(self, leaf: Callable[[Expr], Floats], shape: tuple[int, int]) -> Iterator[Floats]:
        """[M, B] of each root in turn, perhaps infinite; `leaf` gives the series of a field or of a cross-section."""
        block = _Block(self, leaf, shape)
        for root in self.roots:
            yield np.broadcast_to(block.take(root), shape)


class _Block:
    """The values of one block, while they are needed."""

    def __init__(self, plan: Plan, leaf: Callable[[Expr], Floats], shape: tuple[int, int]) -> None:
        self.plan, self.leaf, self.shape = plan, leaf, shape
        self.left = Counter(plan.uses)
        self.known: dict[Expr, Floats] = {}

    def take(self, node: Expr) -> Floats:
        """The values of a node, for one of those that read it."""
        if node not in self.known:
            self._compute(node)
        self.left[node] -= 1
        return self.known[node] if self.left[node] else self.known.pop(node)

    def _compute(self, node: Expr) -> None:
        if is_window(node):
            members = self.plan.groups[group_of(node)]
            calls = [(member.op, member.params) for member in members]
            values = rolled(WINDOWED[node.op], [self._whole(arg) for arg in node.args], calls)
            self.known.update(zip(members, values, strict=True))
        elif is_cross(node) or not isinstance(node, Apply | Const):
            self.known[node] = self.leaf(node)
        else:
            self.known[node] = np.array(node.value) if isinstance(node, Const) else self._one(node)

    def _one(self, node: Apply) -> Floats:
        if node.op == "ref":
            return shifted(self._whole(node.args[0]), node.reach)
        if is_recursion(node):
            return recursed(self._whole(node.args[0]), node.op, node.reach + 1)
        out = ELEMENTWISE[node.op](*(self.take(arg) for arg in node.args))
        if node.op in EARLY:
            out = np.array(np.broadcast_to(out, self.shape))
            out[: node.lookback - 1] = np.nan
        return out

    def _whole(self, node: Expr) -> Floats:
        """A constant becomes a series; all else is one."""
        return np.ascontiguousarray(np.broadcast_to(self.take(node), self.shape))


def crossings(root: Expr) -> tuple[Apply, ...]:
    """Every cross-section that `root` needs, what is read before what reads it."""
    return tuple(node for node in root.walk() if is_cross(node))
