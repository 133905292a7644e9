"""The formula: a factor that an expression defines, computed beside those that are functions."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import LABEL, Panel
from fiduciary.factors.expression import Expr


@dataclass(frozen=True)
class Formula:
    """A factor that an expression defines.

    Attributes:
        name: unique among the factors computed together.
        expr: what it computes; it may compare symbols with each other.
        about: what it means and where it comes from, in words; no part of its identity.

    Raises:
        ConfigError: at construction, if `expr` is no expression.
    """

    name: str
    expr: Expr
    about: str = field(default="", metadata=LABEL)

    def __post_init__(self) -> None:
        if not isinstance(self.expr, Expr):
            raise ConfigError(
                f"formula {self.name!r} must hold an expression", repr(self.expr), remedy="`parse` the text first"
            )

    @property
    def lookback(self) -> int:
        """Own bars needed before the first value, the present one included."""
        return self.expr.lookback

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of the panel that the expression reads."""
        return self.expr.fields

    def __call__(self, panel: Panel) -> NDArray[np.float64]:
        """[T, N] values over `panel`; NaN where unknown."""
        from fiduciary.factors.table import tabulate

        return np.asarray(tabulate(panel, [self]).values[0])
