"""Data files of a historical table: Parquet along event time, with their ranges in the log and their checksum in the name.

Within a file the rows are sorted by (event_time, keys, known_time, batch): of one key the last row is the latest version.
"""

import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.panel import moment, position
from fiduciary.data.tables import Kind, Table

if TYPE_CHECKING:
    import polars as pl
    from deltalake.transaction import AddAction

When = str | date | datetime
"""A point in time, or a whole year, month, day or minute in words; without a zone it is UTC."""
Range = tuple[Any, Any]
"""Closed; None = open at that end."""
Out = TypeVar("Out")

ROWS = 1_000_000
"""Of a full file: it is read in some 20 ms, and a few of them at once are small beside any panel that needs them all."""
VERSION = ("known_time", "batch")
"""What orders the versions of a key; `batch` decides only between appends that claim the same `known_time`."""
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Query:
    """Which rows may be seen.

    Attributes:
        known: what was known then, at the latest.
        event: closed range of `event_time`.
        where: {key column: values wanted, as `asked` gives them}.
    """

    known: datetime
    event: Range = (None, None)
    where: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def files(self, index: "pl.DataFrame") -> "pl.DataFrame":
        """Those that may hold such rows."""
        given = {key: [value for value in values if value is not None] for key, values in self.where.items()}
        keys = {key: (min(values), max(values)) for key, values in given.items() if values}
        return meeting(index, {"known_time": (None, self.known), "event_time": self.event} | keys)

    def rows(self, file: Mapping[str, Any]) -> "list[pl.Expr]":
        """Conditions that rows of the file must meet; those that all of them meet are left out."""
        import polars as pl

        tests = [among(key, values) for key, values in self.where.items()]
        for column, (low, high) in {"known_time": (None, self.known), "event_time": self.event}.items():
            if low is not None and file[f"min.{column}"] < low:
                tests.append(pl.col(column) >= low)
            if high is not None and file[f"max.{column}"] > high:
                tests.append(pl.col(column) <= high)
        return tests


@dataclass(frozen=True)
class Files:
    """Where the data files of a table lie and what they hold.

    Attributes:
        uri: folder or URL of the table.
        options: of the object store.
        table: the schema.
    """

    uri: str
    options: Mapping[str, str]
    table: Table

    @cached_property
    def schema(self) -> "pl.Schema":
        """Types of the columns as stored: those of the door, and `batch`."""
        import polars as pl

        time = pl.Datetime("us", "UTC")
        kinds: dict[str, pl.DataType] = {
            "float": pl.Float64(),
            "int": pl.Int64(),
            "text": pl.String(),
            "bool": pl.Boolean(),
            "time": time,
        }
        own = {column.name: kinds[column.kind] for column in self.table.columns}
        return pl.Schema(
            {"event_time": time} | own | {"known_time": time, "source": kinds["text"], "batch": kinds["int"]}
        )

    @property
    def columns(self) -> list[str]:
        """Names of the columns that readers see: all but `batch`."""
        return list(self.schema)[:-1]

    @property
    def order(self) -> list[str]:
        """What rows are sorted by."""
        return ["event_time", *self.table.keys, *VERSION]

    def write(self, rows: "pl.DataFrame", *, news: bool = True) -> "AddAction":
        """Write a file; the log does not know it yet. `news` is False where other files hold the same rows."""
        from deltalake.transaction import AddAction

        buffer = BytesIO()
        rows.write_parquet(buffer, compression="lz4")
        data = buffer.getbuffer()
        path = f"{uuid4().hex}-{zlib.crc32(data):08x}.parquet"
        if is_local(self.uri):
            try:
                Path(self.uri, path).write_bytes(data)
            except OSError as problem:
                with suppress(OSError):  # of a full disk: what did fit
                    Path(self.uri, path).unlink()
                raise unwritable(self.uri, problem) from problem
        else:
            rows.write_parquet(f"{self.uri}/{path}", compression="lz4", storage_options=dict(self.options))
        return AddAction(path, len(data), {}, int(time() * 1e3), news, _statistics(rows, self.order))

    def read(self, path: str, columns: Sequence[str], *where: "pl.Expr", checked: bool = False) -> "pl.DataFrame":
        """Columns of the rows of a file that meet every condition, in the order of the file.

        Raises:
            DataError: the file is gone, damaged or not ours; `checked` leaves out the checksum that a caller has seen.
        """
        import polars as pl

        full = f"{self.uri}/{path}"
        try:
            if not checked and is_local(self.uri):
                _verify(full)
            lazy = pl.scan_parquet(
                full, schema=self.schema, missing_columns="insert", extra_columns="ignore", glob=False,
                storage_options=dict(self.options) or None,
            )  # fmt: skip
            return lazy.filter(True, *where).select(columns).collect()
        except (OSError, ValueError, pl.exceptions.PolarsError) as problem:
            raise DataError(
                "a data file must be as it was written", full, cause=str(problem).partition("\n")[0],
                remedy="restore it from a copy; nothing was changed",
            ) from problem  # fmt: skip

    def gather(self, index: "pl.DataFrame", columns: Sequence[str], query: Query) -> "pl.DataFrame":
        """Columns of the rows of several files that the query may see."""
        import polars as pl

        def load(file: Mapping[str, Any]) -> pl.DataFrame:
            return self.read(file["path"], columns, *query.rows(file))

        empty = pl.DataFrame(schema=self.schema).select(columns)
        return pl.concat([empty, *at_once(load, index.iter_rows(named=True))])


def meeting(index: "pl.DataFrame", ranges: Mapping[str, Range]) -> "pl.DataFrame":
    """Files whose own ranges meet all of these; a file without a range may hold anything."""
    import polars as pl

    tests = [pl.lit(True)]
    for column, (low, high) in ranges.items():
        tests += [pl.col(f"max.{column}") >= low] if low is not None else []
        tests += [pl.col(f"min.{column}") <= high] if high is not None else []
    return index.filter(pl.all_horizontal(tests).fill_null(True)) if len(index) else index


def pieces(event_time: "pl.Series") -> Iterator[slice]:
    """Cuts of sorted event times into at most `ROWS` rows, never within one time."""
    times, start = event_time.to_numpy(), 0
    while start < len(times):
        stop = start + ROWS
        if stop < len(times):
            before = int(np.searchsorted(times, times[stop], side="left"))
            stop = before if before > start else int(np.searchsorted(times, times[stop], side="right"))
        yield slice(start, min(stop, len(times)))
        start = stop


def levels(index: "pl.DataFrame", columns: Sequence[str]) -> tuple[NDArray[np.intp], bool]:
    """In which order files may be laid over one another so that later knowledge covers earlier.

    Args:
        index: F files.
        columns: what says what a row is about.

    Returns:
        [F] levels: two files that may hold the same key stand on different levels, the one known later on the higher; and
        whether that leaves doubt, because what two such files know overlaps in time.
    """
    low, high = ([_ranks(index, column)[end] for column in (*columns, "known_time")] for end in (0, 1))
    level, doubt = np.zeros(len(index), np.intp), False
    order = np.argsort(low[-1], kind="stable")
    for k, i in enumerate(order):
        others = order[:k]
        for a, b in zip(low[:-1], high[:-1], strict=True):
            others = others[(a[others] <= b[i]) & (b[others] >= a[i])]
        if len(others):
            level[i] = level[others].max() + 1
            doubt = doubt or bool((high[-1][others] >= low[-1][i]).any())
    return level, doubt


def groups(index: "pl.DataFrame") -> "list[pl.DataFrame]":
    """Files that compaction makes one of: neighbours in event time that overlap, or are not full."""
    import polars as pl

    found: list[int] = []
    last, rows, group = None, 0, -1
    ordered = index.sort("min.event_time", "max.event_time")
    for low, high, count in ordered.select("min.event_time", "max.event_time", "num_records").iter_rows():
        if last is None or (low > last and rows + count > ROWS):
            group, rows = group + 1, 0
        found.append(group)
        last, rows = max(last or high, high), rows + count
    parts = ordered.with_columns(pl.Series("group", found)).partition_by(
        "group", maintain_order=True, include_key=False
    )
    return [part for part in parts if len(part) > 1]


def at_once(work: Callable[[Any], Out], items: Iterable[Any]) -> list[Out]:
    """Results of `work` on each item, as many at a time as Polars has threads."""
    import polars as pl

    several = list(items)
    if len(several) < 2:
        return [work(item) for item in several]
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        return list(pool.map(work, several))


def ends(when: When) -> tuple[datetime, datetime]:
    """The first and the last microsecond of a period in words or of a day; a point in time twice.

    Raises:
        ConfigError: words that are no date.
    """
    if isinstance(when, datetime):
        point = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
        return point, point
    first, after = moment(str(when), unit="us")
    # The tick is taken off first: after the last year there is no Python datetime.
    start, last = (bound.astype(datetime).replace(tzinfo=UTC) for bound in (first, after - np.timedelta64(TICK)))
    return start, last


def asked(where: Mapping[str, Any] | None, table: Table) -> dict[str, list[Any]]:
    """{column: values, one of which its cell must be}, typed; None = an empty cell, a time is the first moment of its words.

    Raises:
        ConfigError: no such column, or a value that it cannot hold.
    """
    kinds: dict[str, Kind] = {"event_time": "time", **{column.name: column.kind for column in table.columns}}
    kinds |= {"known_time": "time", "source": "text"}
    found = {}
    for name, values in (where or {}).items():
        position(name, list(kinds), "column")
        several = values if isinstance(values, Iterable) and not isinstance(values, str) else [values]
        found[name] = [_cell(name, kinds[name], value) for value in several]
    return found


def among(column: str, values: Sequence[Any]) -> "pl.Expr":
    """Whether a cell is one of the values that `asked` gives."""
    import polars as pl

    return pl.col(column).is_in(list(values), nulls_equal=True)


def _cell(name: str, kind: Kind, value: Any) -> Any:
    """A value wanted as a cell of its column holds it."""
    if value is None or (kind == "bool" and isinstance(value, bool)):
        return value
    if kind == "time" and isinstance(value, str | date):
        return ends(value)[0]
    if kind == "text" and isinstance(value, str) and "\0" not in value:
        return str(value)
    if kind == "int" and isinstance(value, Integral) and not isinstance(value, bool) and -(2**63) <= int(value) < 2**63:
        return int(value)
    if kind == "float" and isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    raise ConfigError(f"a value wanted of {name!r} must be of its kind, {kind}", f"{value!r:.80}")


def is_local(uri: str) -> bool:
    """Whether the store is a folder."""
    return "://" not in uri


def place(url: str | os.PathLike[str], name: str) -> str:
    """Folder or URL of a table."""
    text = os.fspath(url)
    return f"{(str(Path(text).absolute()) if is_local(text) else text).rstrip('/')}/{name}"


def unwritable(uri: str, problem: Exception) -> DataError:
    """There is no room for a file, or no right to write it."""
    return DataError(
        "a historical table must lie where it can be written", uri, cause=str(problem).partition("\n")[0],
        remedy="make room or mend the rights, and append again; nothing was added",
    )  # fmt: skip


def _verify(path: str) -> None:
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if f"{zlib.crc32(data):08x}" != Path(path).stem.rpartition("-")[2]:
            raise ValueError("its bytes do not have the checksum in its name")


def _statistics(rows: "pl.DataFrame", columns: Sequence[str]) -> str:
    """Row count and ranges as the log wants them."""

    def plain(cell: Any) -> Any:
        return cell.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(cell, datetime) else cell

    low, high = ({name: plain(getattr(rows[name], end)()) for name in columns} for end in ("min", "max"))
    return json.dumps(
        {"numRecords": len(rows), "minValues": low, "maxValues": high, "nullCount": dict.fromkeys(columns, 0)}
    )


def _ranks(index: "pl.DataFrame", column: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The two ends of a column's ranges as ranks among each other."""
    import polars as pl

    both = pl.concat([index[f"min.{column}"], index[f"max.{column}"]]).rank("dense").to_numpy().astype(np.intp)
    return both[: len(index)], both[len(index) :]
