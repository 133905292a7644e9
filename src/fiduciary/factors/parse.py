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


def parse(text: str, *, words: Words = OPERATORS) -> Expr:
    """The expression that `text` writes: fields by bare name, numbers, signs, and calls of the operators.

    Args:
        text: such as `"(close - ts_min(low, 5)) / (ts_max(high, 5) - ts_min(low, 5))"`.
        words: what may be called; another dialect brings its own.

    Raises:
        ConfigError: anything else stands there; the message names the place and the nearest operator.
    """
    try:
        # Lines break anywhere within brackets, as a long formula in TOML does.
        expr = lift(_Reader(text, words).read(ast.parse(f"({text}\n)", mode="eval").body))
        str(expr)  # what is too deep to be printed is too deep to be computed
        return expr
    except (SyntaxError, ValueError) as problem:
        place = getattr(problem, "offset", None) or 2
        raise ConfigError(
            "an expression must be in Python's syntax", f"{problem} near column {place - 1} of {text!r}"
        ) from None
    except (RecursionError, MemoryError):
        raise ConfigError("an expression must not nest so deep", f"{text[:40]!r} ...", remedy="split it") from None


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
        return self._refuse(node, "fields, numbers, the signs + - * / ** < <= > >= == != & | ~ and calls")

    def _field(self, node: ast.expr, name: str) -> Expr:
        if name in self.words:
            self._refuse(node, f"`{name}` followed by its arguments in brackets")
        return Field(name)

    def _call(self, node: ast.expr, name: str, args: list[ast.expr]) -> Expr:
        if name not in self.words:
            near = nearest(name, self.words)
            self._refuse(node, "a known operator", f"did you mean `{near}`?" if near else "")
        function, operands = self.words[name], [self.read(arg) for arg in args]
        signature = inspect.signature(function)
        try:
            signature.bind(*operands)
        except TypeError as problem:
            self._refuse(node, f"the arguments of {name}({', '.join(signature.parameters)})", str(problem))
        try:
            return function(*operands)
        except FiduciaryError as problem:
            return self._refuse(node, problem.rule, problem.cause or f"got {problem.fact}")

    def _refuse(self, node: ast.expr, rule: str, remedy: str = "") -> NoReturn:
        part = ast.get_source_segment(f"({self.text}\n)", node) or ""
        raise ConfigError(
            f"an expression must hold {rule}" if not rule.startswith(("a window", "`q`")) else rule,
            f"{part!r} at column {node.col_offset if node.lineno == 1 else node.col_offset + 1} of {self.text!r}",
            remedy=remedy,
        )
