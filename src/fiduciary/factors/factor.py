"""The factor: one number per bar, made of that bar and earlier ones of the same symbol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import LABEL
from fiduciary.factors.expression import Expr

Floats = NDArray[np.float64]
Bars = Mapping[str, Floats]
"""{field: [M] float64}: one symbol's own M bars, oldest first, without the dates on which it has none."""


@dataclass(frozen=True)
class Factor:
    """A causal function of one symbol's bars.

    Laws, tested for every factor that we ship: the value at bar t does not move when bars after t change, and the first
    `lookback` - 1 values are the only unknown ones.

    Attributes:
        name: unique among the factors computed together.
        lookback: bars needed before the first value, the present one included. It says when the factor is defined, not
            how far it remembers: an exponential average is known after 12 bars and remembers all before them.
        compute: bars -> [M] values; anything may stand in the first `lookback` - 1 places. Pure, and picklable if
            the factor is to reach worker processes.
        needs: fields that `compute` reads.
        twin: the same factor as an expression, by which `Stream` updates it bar by bar.
        memory: bars that determine the value exactly, the present one included, where there is no twin: `Stream` then
            keeps that many and calls `compute` on them. None: unbounded.

    Raises:
        ConfigError: at construction, if `lookback` is below one.
    """

    name: str
    lookback: int
    compute: Callable[[Bars], Floats]
    needs: tuple[str, ...] = ()
    twin: Expr | None = field(default=None, metadata=LABEL)
    memory: int | None = field(default=None, metadata=LABEL)

    def __post_init__(self) -> None:
        if self.lookback < 1:
            raise ConfigError(
                "`lookback` must be at least 1 bar, the present one", f"{self.lookback} in factor {self.name!r}",
                remedy="count the bars that the first value needs",
            )  # fmt: skip
