"""The expression: a factor as a value that can be composed, printed, hashed, parsed back and computed bar by bar.

Three kinds of node: a field of the panel, a constant, and an operator applied to other expressions. Python's operators
build them (`+ - * / ** < <= > >= & | ~ abs`), and so do the functions of `fiduciary.factors.ops`. `==` compares two
expressions as values; the comparison of two series is `ops.eq`, written `==` in text.
"""

import hashlib
import keyword
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import numpy as np

from fiduciary.core.errors import ConfigError

INFIX = {
    "lt": ("<", 1), "le": ("<=", 1), "gt": (">", 1), "ge": (">=", 1), "eq": ("==", 1), "ne": ("!=", 1),
    "or": ("|", 2), "and": ("&", 3), "add": ("+", 4), "sub": ("-", 4), "mul": ("*", 5), "div": ("/", 5),
    "pow": ("**", 7),
}  # fmt: skip
"""Operators of two series that are written between them, with Python's precedence."""
PREFIX = {"neg": "-", "not": "~"}
UNARY, ATOM = 6, 8
DEEPEST = 200
"""Operators in one another that Python's stack can walk, with room for what calls us."""


class Expr:
    """A series over bars, not yet computed: known in text, in look-back and in needs before any number is.

    Two expressions are equal when their text is, which says all that they are. Every node is immutable.

    Attributes:
        args: the expressions that this one reads directly.
    """

    args: "tuple[Expr, ...]" = ()

    @property
    def depth(self) -> int:
        """Operators in one another."""
        return 0

    @property
    def lookback(self) -> int:
        """Own bars needed before the first value, the present one included; derived from the tree."""
        return 1

    @cached_property
    def text(self) -> str:
        """The one canonical way to write this expression; `parse` reads it back."""
        raise NotImplementedError

    @property
    def precedence(self) -> int:
        """How tightly the text holds together, as in Python."""
        return ATOM

    def walk(self, into: "Callable[[Expr], bool]" = lambda node: True) -> "Iterator[Expr]":
        """Every distinct node of the tree, what is read before what reads it; `into` says whose arguments are visited."""
        seen: set[Expr] = set()

        def visit(node: Expr) -> Iterator[Expr]:
            if node not in seen:
                seen.add(node)
                for arg in node.args if into(node) else ():
                    yield from visit(arg)
                yield node

        return visit(self)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Fields of the panel that are read, sorted."""
        return tuple(sorted({node.name for node in self.walk() if isinstance(node, Field)}))

    def digest(self) -> str:
        """SHA-256 of the text: the definition's identity in a store or a record, the same on every machine."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Expr({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __bool__(self) -> bool:
        raise ConfigError(
            "an expression must not be used as true or false", repr(self.text),
            remedy="write `&`, `|`, `~` and `where`, and no chained comparison",
        )  # fmt: skip

    def __add__(self, other: "Operand") -> "Expr":
        return apply("add", self, other)

    def __radd__(self, other: "Operand") -> "Expr":
        return apply("add", other, self)

    def __sub__(self, other: "Operand") -> "Expr":
        return apply("sub", self, other)

    def __rsub__(self, other: "Operand") -> "Expr":
        return apply("sub", other, self)

    def __mul__(self, other: "Operand") -> "Expr":
        return apply("mul", self, other)

    def __rmul__(self, other: "Operand") -> "Expr":
        return apply("mul", other, self)

    def __truediv__(self, other: "Operand") -> "Expr":
        return apply("div", self, other)

    def __rtruediv__(self, other: "Operand") -> "Expr":
        return apply("div", other, self)

    def __pow__(self, other: "Operand") -> "Expr":
        return apply("pow", self, other)

    def __rpow__(self, other: "Operand") -> "Expr":
        return apply("pow", other, self)

    def __lt__(self, other: "Operand") -> "Expr":
        return apply("lt", self, other)

    def __le__(self, other: "Operand") -> "Expr":
        return apply("le", self, other)

    def __gt__(self, other: "Operand") -> "Expr":
        return apply("gt", self, other)

    def __ge__(self, other: "Operand") -> "Expr":
        return apply("ge", self, other)

    def __and__(self, other: "Operand") -> "Expr":
        return apply("and", self, other)

    def __rand__(self, other: "Operand") -> "Expr":
        return apply("and", other, self)

    def __or__(self, other: "Operand") -> "Expr":
        return apply("or", self, other)

    def __ror__(self, other: "Operand") -> "Expr":
        return apply("or", other, self)

    def __invert__(self) -> "Expr":
        return apply("not", self)

    def __neg__(self) -> "Expr":
        return apply("neg", self)

    def __abs__(self) -> "Expr":
        return apply("abs", self)


Operand = Expr | float


@dataclass(frozen=True, eq=False, repr=False)
class Field(Expr):
    """A field of the panel, by name.

    Raises:
        ConfigError: `name` is no Python identifier, so that it could not be read back.
    """

    name: str

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or keyword.iskeyword(self.name):
            raise ConfigError("a field in an expression must be named like a Python variable", repr(self.name))

    @cached_property
    def text(self) -> str:
        """The name."""
        return self.name


@dataclass(frozen=True, eq=False, repr=False)
class Const(Expr):
    """A finite number, the same at every bar.

    Raises:
        ConfigError: it is not finite.
    """

    value: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.value):
            raise ConfigError("a constant in an expression must be finite", str(self.value))
        object.__setattr__(self, "value", float(self.value))  # NumPy's numbers print otherwise

    @cached_property
    def text(self) -> str:
        """The shortest decimal that reads back as the same number."""
        return str(int(self.value)) if self.value == int(self.value) and abs(self.value) < 1e15 else repr(self.value)

    @property
    def precedence(self) -> int:
        """That of a leading minus, where there is one."""
        return UNARY if self.value < 0 else ATOM


@dataclass(frozen=True, eq=False, repr=False)
class Apply(Expr):
    """An operator applied to expressions; built by `fiduciary.factors.ops`, which says what each one means.

    Attributes:
        op: name of the operator.
        args: the series it reads.
        params: its constants; for every operator through time, the window in bars comes first.
    """

    op: str
    args: tuple[Expr, ...] = ()
    params: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.depth > DEEPEST:
            raise ConfigError(
                "an expression must not nest so deep", f"{DEEPEST} operators in one another", remedy="split it"
            )

    @cached_property
    def depth(self) -> int:
        """Found when each is built, so never by a long way down."""
        return 1 + max((arg.depth for arg in self.args), default=0)

    @property
    def reach(self) -> int:
        """Bars before the present one that the operator itself needs."""
        return int(self.params[0]) - (self.op != "ref") if self.params else 0

    @cached_property
    def lookback(self) -> int:
        """The longest look-back of what is read, and the operator's own reach."""
        return max(arg.lookback for arg in self.args) + self.reach

    @property
    def precedence(self) -> int:
        """Python's, for an operator that is written as a sign."""
        return INFIX[self.op][1] if self.op in INFIX else UNARY if self.op in PREFIX else ATOM

    @cached_property
    def text(self) -> str:
        """Written with signs where Python has them, else as a call."""
        if self.op in INFIX:
            left, right = self.args
            sign, held = INFIX[self.op]
            # Python groups from the left, `**` from the right, and comparisons not at all.
            tight_left, tight_right = (held + (self.op == "pow" or held == 1), held + (self.op != "pow"))
            return f"{_within(left, tight_left)} {sign} {_within(right, tight_right)}"
        if self.op in PREFIX:
            return f"{PREFIX[self.op]}{_within(self.args[0], UNARY)}"
        return f"{self.op}({', '.join([arg.text for arg in self.args] + [Const(p).text for p in self.params])})"


def _within(node: Expr, held: int) -> str:
    return node.text if node.precedence >= held else f"({node.text})"


def apply(op: str, *args: Operand, params: tuple[float, ...] = ()) -> Expr:
    """`op` of `args`, numbers taken as constants; minus a constant is a constant, as it is when read back."""
    operands = tuple(lift(arg) for arg in args)
    if op == "neg" and isinstance(operands[0], Const):
        return Const(-operands[0].value)
    return Apply(op, operands, params)


def lift(value: Operand) -> Expr:
    """An expression as it is, a number as a constant.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(value, Expr):
        return value
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        return Const(float(value) if abs(value) <= sys.float_info.max else np.inf)
    raise ConfigError(
        "an operand must be an expression or a number", repr(value),
        cause="`==` between expressions compares their definitions" if isinstance(value, bool) else "",
        remedy="write `eq(a, b)` or `ne(a, b)`" if isinstance(value, bool) else "name a field by `Field(\"close\")`",
    )  # fmt: skip
