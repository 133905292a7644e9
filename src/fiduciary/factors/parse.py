"""Text to expression: Python's own syntax, strictly walked; nothing is evaluated."""

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import NoReturn

from fiduciary.core.errors import ConfigError, FiduciaryError, nearest
from fiduciary.factors.expression import Expr, Field, Operand, apply, lift
from fiduciary.factors.ops import OPERATORS

Words = Mapping[str, Callable[..., Expr]]

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow", ast.BitAnd: "and", ast.BitOr: "or",
}  # fmt: skip
COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip


def parse(text: str) -> Expr:
    """The expression that `text` writes: fields by bare name, numbers, signs, and calls of the operators.

    Args:
        text: such as `"(close - ts_min(low, 5)) / (ts_max(high, 5) - ts_min(low, 5))"`; lines may break anywhere.

    Raises:
        ConfigError: anything else stands there; the message names the place and the nearest operator.
    """
    return read(text, OPERATORS, shown=text)


def read(text: str, words: Words, *, shown: str) -> Expr:
    """The expression that `text` writes in a dialect: what may be called, and the text that its messages show."""
    try:
        # In brackets lines may break; what starts with ours has closed it too early, or is a tuple.
        tree, reader = ast.parse(f"({text}\n)", mode="eval").body, _Reader(shown, words)
        if not tree.col_offset and tree.lineno == 1:
            reader.refuse(tree, "an expression must be one value, its brackets in pairs")
        return lift(reader.read(tree))
    except SyntaxError as problem:
        line, column = problem.lineno or 1, problem.offset or 1
        past = line > text.count("\n") + 1
        # The first line begins with our bracket.
        place = "at the end" if past else f"near column {column - (line == 1)}"
        of = f"line {line} of " if line > 1 and not past else ""
        raise ConfigError(
            "an expression must be in Python's syntax", f"{problem.msg} {place} of {of}{shown!r}"
        ) from None
    except ValueError as problem:
        raise ConfigError("an expression must be in Python's syntax", f"{problem} in {shown!r}") from None
    except (RecursionError, MemoryError):
        raise ConfigError("an expression must not nest so deep", f"{shown[:40]!r} ...", remedy="split it") from None


class _Reader:
    """Walks one syntax tree; keeps the text for its messages."""

    def __init__(self, text: str, words: Words) -> None:
        self.text, self.words = text, words

    def read(self, node: ast.expr) -> Operand:
        """The operand at `node`; a number stays a number, since windows are ones."""
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return value
            case ast.Name(id=name):
                return self._field(node, name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.read(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.read(operand)
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return apply("not", self.read(operand))
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in BINARY:
                return apply(BINARY[type(sign)], self.read(left), self.read(right))
            case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in COMPARE:
                return apply(COMPARE[type(sign)], self.read(left), self.read(right))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(node, name, args)
        return self.refuse(
            node, "an expression must hold fields, numbers, the signs + - * / ** < <= > >= == != & | ~ and calls"
        )

    def _field(self, node: ast.expr, name: str) -> Expr:
        if name in self.words:
            self.refuse(node, f"`{name}` must be followed by its arguments in brackets")
        return Field(name)

    def _call(self, node: ast.expr, name: str, args: list[ast.expr]) -> Expr:
        if name not in self.words:
            near = nearest(name, self.words)
            self.refuse(node, "an expression must call known operators", f"did you mean `{near}`?" if near else "")
        function, operands = self.words[name], [self.read(arg) for arg in args]
        signature = inspect.signature(function)
        try:
            signature.bind(*operands)
        except TypeError as problem:
            self.refuse(node, f"arguments must be those of {name}({', '.join(signature.parameters)})", str(problem))
        try:
            return function(*operands)
        except FiduciaryError as problem:
            return self.refuse(node, problem.rule, problem.cause or f"got {problem.fact}")

    def refuse(self, node: ast.expr, rule: str, remedy: str = "") -> NoReturn:
        """Raise, naming what stands at `node` and where."""
        part = ast.get_source_segment(f"({self.text}\n)", node)
        column = node.col_offset + (node.lineno > 1)  # the first line begins with our bracket
        raise ConfigError(rule, f"{part!r} at column {column} of {self.text!r}", remedy=remedy)
