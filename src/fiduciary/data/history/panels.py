"""Data files -> Panel: every file is scattered straight into the block, so that memory stays near that of the panel.

With T dates, N symbols, F fields, a row of date t and symbol n goes to cell (t, n). Files lie over one another in the order
of knowledge (`history_files.levels`), and within a file the latest version of a key comes last: what is written last stays.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.history.files import VERSION, Files, Query, at_once, levels
from fiduciary.data.panel import Panel

if TYPE_CHECKING:
    import polars as pl

KEYS = ("event_time", "symbol")
DAY_US = 86_400_000_000
Times = NDArray[np.datetime64]


class _Axes(NamedTuple):
    """Where the R rows of a file go: R is cut into runs of one date each.

    Attributes:
        dates: [D] datetime64[us], increasing.
        counts: [D] rows of each date.
        symbols: names in the file, sorted.
        codes: [R] place of each row's symbol among them.
    """

    dates: Times
    counts: NDArray[np.intp]
    symbols: "pl.Series"
    codes: NDArray[np.unsignedinteger]


def scatter(
    files: Files, index: "pl.DataFrame", query: Query, fields: Sequence[str], *, symbols: Sequence[str] | None = None,
    source: str = "", currency: str = "USD",
) -> Panel:  # fmt: skip
    """The latest versions of the rows that the query may see.

    Args:
        files: where they lie.
        index: those of the query.
        query: which rows.
        fields: F columns.
        symbols: the axis, in this order; None = all, by name.
        source, currency: of the panel.

    Raises:
        ConfigError: no such row, or a symbol without one.
        DataError: a damaged file; a field that is empty in a row.
    """
    each = list(index.iter_rows(named=True))
    axes = at_once(lambda file: _axes(files.read(file["path"], KEYS, *query.rows(file))), each)
    dates, names = _union(axes, query.known)
    if absent := sorted(set(symbols or ()) - set(names)):
        raise ConfigError(
            f"every symbol must have a row known at {query.known:%Y-%m-%d %H:%M:%S} UTC", f"none of {', '.join(absent[:10])}",
            remedy="leave them out, move the dates or ask as of a later time",
        )  # fmt: skip
    names = list(symbols or names)
    shape = len(dates), len(names)
    values, mask = np.empty((shape[0] * shape[1], len(fields))), np.zeros(shape[0] * shape[1], np.bool_)
    level, doubt = levels(index, KEYS)
    latest = [np.full(len(mask), np.iinfo(np.int64).min) for _ in VERSION] if doubt else []
    columns = [*fields, *(VERSION if doubt else ())]

    def lay(k: int) -> None:
        rows = files.read(each[k]["path"], columns, *query.rows(each[k]), checked=True)
        cell: Any = _cells(axes[k], dates, names)
        if doubt:
            cell, rows = _newer(cell, rows, latest)
        elif (np.diff(cell) == 1).all() and len(cell):
            cell = slice(cell[0], cell[-1] + 1)  # a file without gaps is one stretch of the block
        for f, name in enumerate(fields):
            values[cell, f] = rows[name].to_numpy()
        mask[cell] = True

    for height in range(int(level.max()) + 1):
        at_once(lay, np.flatnonzero(level == height))
    values[~mask] = np.nan
    whole = (dates.astype(np.int64) % DAY_US == 0).all()
    return Panel(
        dates.astype("datetime64[D]") if whole else dates, tuple(names), tuple(fields),
        values.reshape(*shape, len(fields)), mask.reshape(shape), source, currency,
    )  # fmt: skip


def _axes(rows: "pl.DataFrame") -> _Axes:
    import polars as pl

    times = rows["event_time"].dt.replace_time_zone(None).to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], times[1:] != times[:-1]])) if len(times) else np.empty(0, np.intp)
    symbols = rows["symbol"].unique().sort()
    codes = rows["symbol"].cast(pl.Enum(symbols)).to_physical().to_numpy()
    return _Axes(times[starts], np.diff(starts, append=len(times)), symbols, codes)


def _union(axes: Sequence[_Axes], known: datetime) -> tuple[Times, list[str]]:
    import polars as pl

    if not any(len(part.dates) for part in axes):
        raise ConfigError(
            "there must be rows to make a panel of", f"none known at {known:%Y-%m-%d %H:%M:%S} UTC",
            cause="rows that state no earlier `known_time` are known from the moment they were appended",
            remedy="ask as of a later time, move the dates, or append with the times at which they became known",
        )  # fmt: skip
    dates = np.unique(np.concatenate([part.dates for part in axes]))
    return dates, pl.concat([part.symbols for part in axes]).unique().sort().to_list()


def _cells(part: _Axes, dates: Times, names: Sequence[str]) -> NDArray[np.intp]:
    """[R] index of each row's cell in the block seen as [T N, F]."""
    place = {name: n for n, name in enumerate(names)}
    n = np.array([place[name] for name in part.symbols], np.intp)
    cell = np.repeat(np.searchsorted(dates, part.dates) * len(names), part.counts)
    cell += n[part.codes]
    return cell


def _newer(cell: NDArray[np.intp], rows: "pl.DataFrame", latest: "list[NDArray[np.int64]]") -> Any:
    """The rows that no file has been laid over with a later version, and their cells; `latest` [T N] each learns of them."""
    known, batch = (rows[name].to_physical().to_numpy() for name in VERSION)
    at = latest[0][cell]
    newer = (known > at) | ((known == at) & (batch >= latest[1][cell]))
    cell, rows = cell[newer], rows.filter(newer)
    latest[0][cell], latest[1][cell] = known[newer], batch[newer]
    return cell, rows
