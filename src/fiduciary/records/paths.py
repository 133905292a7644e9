"""Accounts of one owner: the tests of several splits joined, and several accounts added up."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import RecordError
from fiduciary.records.schema import Cell, Path

Floats = NDArray[np.float64]


def chained(cells: Sequence[Cell]) -> list[Cell]:
    """One cell for each (account, policy, seed, path): the tests of all its splits, end to end.

    Every test opens in cash with what the one before it left; between them nothing happens, to no policy. What was
    learned before a test counts once for each split: returns on training dates are means, curves are those of the last.
    """
    groups: dict[tuple[str, str, int | None, int], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.test.days[0]):
        groups.setdefault((cell.account, cell.policy, cell.seed, cell.path), []).append(cell)
    whole = {key: _chain(parts) if len(parts) > 1 else parts[0] for key, parts in groups.items()}
    places = {(cell.account, cell.policy, cell.seed, cell.path): place for place, cell in reversed([*enumerate(cells)])}
    return [whole[key] for key in sorted(whole, key=places.__getitem__)]


def _chain(parts: Sequence[Cell]) -> Cell:
    first, last = parts[0], parts[-1]
    scales = np.cumprod([1.0, *(part.test.wealth[-1] / part.test.wealth[0] for part in parts[:-1])])
    tests = [_scaled(part.test, scale) for part, scale in zip(parts, scales, strict=True)]
    known = [part for part in parts if part.valid_return is not None and part.valid_days is not None]
    names = [name for name in first.stress if all(name in part.stress for part in parts)]
    return last.model_copy(update={
        "train_return": float(np.mean([part.train_return for part in parts])),
        "train_days": _hull([part.train_days for part in parts if part.train_days]),
        "valid_return": float(np.mean([part.valid_return for part in known])) if known else None,
        "valid_days": _hull([part.valid_days for part in known if part.valid_days]),
        "test": Path(**{name: _joined([getattr(test, name) for test in tests], name) for name in Path.model_fields}),
        "trials": [trial for part in parts for trial in part.trials],
        "split": 0, "stress": {name: _grown([part.stress[name] for part in parts]) for name in names},
    })  # fmt: skip


def _scaled(path: Path, scale: float) -> Path:
    money = {name: [scale * x for x in getattr(path, name)] for name in ("wealth", "traded", "fees")}
    return path.model_copy(update=money)


def _joined(columns: list[list[Any]], name: str) -> list[Any]:
    """Columns of T values one after the other; of T+1 values, without the later openings, which are the ends before."""
    skip = 0 if name in ("action", "traded", "fees") else 1
    return [*columns[0], *(x for column in columns[1:] for x in column[skip:])]


def _grown(paths: list[list[float]]) -> list[float]:
    """Wealth through one path after the other."""
    out = paths[0]
    for path in paths[1:]:
        out = [*out, *(out[-1] * x / path[0] for x in path[1:])]
    return out


def _hull(ranges: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    return (min(a for a, _ in ranges), max(b for _, b in ranges)) if ranges else None


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
