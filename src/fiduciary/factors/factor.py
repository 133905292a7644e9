"""The factor: one number per bar, made of that bar and earlier ones of the same symbol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError, ContractError
from fiduciary.data.panel import Panel, position

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

    Raises:
        ConfigError: at construction, if `lookback` is below one.
    """

    name: str
    lookback: int
    compute: Callable[[Bars], Floats]
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.lookback < 1:
            raise ConfigError(
                "`lookback` must be at least 1 bar, the present one", f"{self.lookback} in factor {self.name!r}",
                remedy="count the bars that the first value needs",
            )  # fmt: skip


def compute(panel: Panel, factors: Sequence[Factor]) -> Panel:
    """The factors of every symbol, each on that symbol's own bars.

    Dates on which a symbol has no bar are skipped, not filled: a moving average over ten bars spans a suspension.

    Args:
        panel: [T, N, F] bars.
        factors: K factors with distinct names.

    Returns:
        [T, N, K] panel of the same dates and symbols, its fields the factors' names. A symbol's bar is under the mask
        where all K factors are known, from its max(lookback)-th bar on; elsewhere the values are NaN.

    Raises:
        ConfigError: names occur twice, none is given, or a needed field is missing.
        ContractError: a factor returns another shape, or a value that is not finite after its look-back.
    """
    names = tuple(factor.name for factor in factors)
    if not names or len(set(names)) < len(names):
        raise ConfigError("`factors` must be one or more with distinct names", f"({', '.join(names)})")
    for field in (field for factor in factors for field in factor.needs):
        position(field, panel.fields, "field that a factor needs")
    longest = max(factor.lookback for factor in factors)
    values = np.full((*panel.mask.shape, len(names)), np.nan)
    mask = np.zeros_like(panel.mask)
    for n, symbol in enumerate(panel.symbols):
        rows = np.flatnonzero(panel.mask[:, n])
        known = rows[longest - 1 :]
        if len(known):
            bars = {field: panel.values[rows, n, f] for f, field in enumerate(panel.fields)}
            table = np.stack([_values(factor, bars, symbol, panel.dates[rows]) for factor in factors], axis=-1)
            values[known, n] = table[longest - 1 :]
            mask[known, n] = True
    return replace(panel, fields=names, values=values, mask=mask)


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
