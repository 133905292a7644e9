"""Accounts of one owner, added up."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import RecordError
from fiduciary.records.schema import Path

Floats = NDArray[np.float64]


def total(paths: Sequence[Path]) -> Path:
    """All accounts of one policy and seed as one account, on the union of their days.

    An account without a bar on a day is carried: at its first wealth before its first day, at its last wealth known
    otherwise, with its position unchanged and nothing traded. The total has no price, so `mark` is its wealth, and no
    single decision, so `action` is [].

    Raises:
        RecordError: there is no account to add up.
    """
    if not paths:
        raise RecordError("a total needs at least one account", "none")
    days = np.unique(np.concatenate([np.asarray(path.days, dtype=np.int64) for path in paths]))
    wealth, exposed = np.zeros(len(days)), np.zeros(len(days))
    traded, fees = np.zeros(len(days)), np.zeros(len(days))
    for path in paths:
        own = np.asarray(path.days, dtype=np.int64)
        known = np.maximum(np.searchsorted(own, days, side="right") - 1, 0)
        worth: Floats = np.asarray(path.wealth, dtype=np.float64)[known]
        wealth += worth
        # Before its first bar an account has not been opened: its money is there, its position is not.
        exposed += np.where(days >= own[0], worth * np.asarray(path.exposure, dtype=np.float64)[known], 0.0)
        filled = np.searchsorted(days, own[1:])  # step i fills by own[i + 1]
        traded[filled] += path.traded
        fees[filled] += path.fees
    exposure = np.divide(exposed, wealth, out=np.zeros(len(days)), where=wealth != 0)
    return Path(
        days=days.tolist(), wealth=wealth.tolist(), mark=wealth.tolist(), exposure=exposure.tolist(), action=[],
        traded=traded[1:].tolist(), fees=fees[1:].tolist(),
    )  # fmt: skip
