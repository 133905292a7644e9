"""Standardisation: fitted once, on training bars, and carried as constants."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError, DataError

Floats = NDArray[np.float64]

CONSTANT = 1e-9
"""A standard deviation below this fraction of the mean is rounding, not variation."""


@dataclass(frozen=True, eq=False)
class Scaler:
    """z = clip((x - mean) / std, -clip, clip), feature by feature.

    Attributes:
        mean: [F] float64, in units of the feature, read-only.
        std: [F] float64 > 0, likewise; 1 where the feature was constant.
        clip: largest |z| that is passed on: one broken or unheard-of value must not swamp a network. Levels that trend,
            such as prices, may reach it and stay there.
    """

    mean: Floats
    std: Floats
    clip: float = 10.0

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape or not (self.std > 0).all() or not self.clip > 0:
            raise ConfigError(
                "a scaler must have `mean` and `std` > 0 of one shape [F] and `clip` > 0",
                f"shapes {self.mean.shape}, {self.std.shape}, clip {self.clip}",
            )
        self.mean.setflags(write=False)
        self.std.setflags(write=False)

    @classmethod
    def fit(cls, values: NDArray[np.floating], *, clip: float = 10.0) -> "Scaler":
        """Mean and population standard deviation of `values` [M, F]; only training rows belong here.

        Raises:
            DataError: no row, or a value that is not finite.
        """
        table = np.asarray(values, dtype=np.float64)
        if table.ndim != 2 or not len(table) or not np.isfinite(table).all():
            raise DataError(
                "a scaler must be fitted on one or more rows [M, F] of finite values",
                f"shape {table.shape}, {int((~np.isfinite(table)).sum())} not finite",
                remedy="select the rows under the mask",
            )
        mean, std = table.mean(axis=0), table.std(axis=0)
        return cls(mean, np.where(std > CONSTANT * np.abs(mean), std, 1.0), clip)

    def transform(self, values: NDArray[np.floating]) -> Floats:
        """[..., F] values -> [..., F] z-scores, float64; NaN stays NaN."""
        return np.asarray(np.clip((values - self.mean) / self.std, -self.clip, self.clip), dtype=np.float64)
