"""The Delta log of a historical table: opened, read, added to. It holds the schema as a property and a word on every commit."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.history.files import Files, is_local, unwritable
from fiduciary.data.panel import position
from fiduciary.data.tables import TABLES, Table, parsed, written

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

CONFIGURATION = {"delta.appendOnly": "true", "delta.enableExpiredLogCleanup": "false"}
"""No Delta writer may delete rows, and the log stays whole."""
SCHEMA, COMMIT = "fiduciary.table", "fiduciary"


def opened(place: str, options: Mapping[str, str]) -> "DeltaTable | None":
    """The table in a folder or at a URL; None where there is none.

    Raises:
        DataError: its log is damaged, or the store is out of reach.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        # Delta takes an empty commit for one that adds nothing: its rows would be gone without a word.
        if any(path.suffix == ".json" and not path.stat().st_size for path in _logs(place)):
            raise OSError("a commit is empty")
        return DeltaTable(place, storage_options=dict(options))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as problem:
        raise DataError(
            "the log of a table must be readable", _damaged(place), cause=str(problem).partition("\n")[0],
            remedy="restore it from a copy, or see that the store is within reach; nothing was changed",
        ) from problem  # fmt: skip


def made(files: Files, delta: "DeltaTable | None") -> "DeltaTable":
    """The table, made or widened where need be."""
    from deltalake import DeltaTable, Schema
    from deltalake.exceptions import CommitFailedError, DeltaError

    words = {SCHEMA: written(files.table)}
    if delta is None:
        try:
            delta = DeltaTable.create(
                files.uri, files.schema, mode="ignore", name=files.table.name, configuration=CONFIGURATION | words,
                storage_options=dict(files.options), raise_if_key_not_exists=False,
            )  # fmt: skip
        except CommitFailedError:  # another writer was faster
            return made(files, opened(files.uri, files.options))
        except (DeltaError, OSError) as problem:
            raise unwritable(files.uri, problem) from problem
    table = agreed(kept(delta), files.table)
    if table == kept(delta):
        return delta
    held = {column.name for column in delta.schema().fields}
    new = [column for column in Schema.from_arrow(files.schema).fields if column.name not in held]
    try:
        if new:
            delta.alter.add_columns(new)
        delta.alter.set_table_properties({SCHEMA: written(table)}, raise_if_not_exists=False)
    except CommitFailedError:  # another writer was faster: on top of what it did
        return made(files, opened(files.uri, files.options))
    return delta


def set_aside(place: str, options: Mapping[str, str], rows: "pl.DataFrame", once: str) -> None:
    """Append refused rows to the table at `place`, unless `once` is in its log."""
    from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
    from deltalake.exceptions import CommitFailedError

    properties = CommitProperties(max_commit_retries=100, app_transactions=[Transaction(once, 1)] if once else None)
    try:
        # Made first and empty: two writers that make it with the same rows would both get in.
        delta = opened(place, options) or DeltaTable.create(
            place, rows.schema, mode="ignore", configuration=CONFIGURATION, storage_options=dict(options)
        )
        if once and delta.transaction_version(once) is not None:
            return
        write_deltalake(delta, rows, mode="append", schema_mode="merge", commit_properties=properties)
    except CommitFailedError:  # another writer was faster, perhaps with the same rows
        set_aside(place, options, rows, once)


def listed(delta: "DeltaTable") -> "pl.DataFrame":
    """The data files as the log has them: `path`, `size_bytes`, `num_records`, and min. and max. of times, keys and batch.

    Raises:
        DataError: one is not ours.
    """
    import polars as pl

    index = pl.DataFrame(delta.get_add_actions(flatten=True))
    if "max.batch" not in index.columns:
        index = index.with_columns(pl.lit(None).alias("max.batch"))
    for path in index.filter(pl.col("max.batch").is_null())["path"]:
        raise _foreign(f"{delta.table_uri}{path}")
    return index


def commit(
    delta: "DeltaTable", actions: "list[Any]", told: Mapping[str, Any], transactions: Mapping[str, int], *, tries: int = 3
) -> bool:  # fmt: skip
    """Put files into the log; False, and nothing happens, where one of the transactions is in it already."""
    from deltalake import CommitProperties, Transaction
    from deltalake.exceptions import CommitFailedError

    marks = [Transaction(name, number) for name, number in transactions.items()]
    properties = CommitProperties({COMMIT: dict(told)}, max_commit_retries=100, app_transactions=marks)
    try:
        delta.create_write_transaction(actions, "append", delta.schema(), commit_properties=properties)
    except CommitFailedError as problem:
        delta.update_incremental()
        if any((delta.transaction_version(name) or 0) >= number for name, number in transactions.items()):
            return False
        if tries == 1:
            raise DataError(
                "a commit must find its turn", delta.table_uri, cause=str(problem), remedy="nothing was added; append again"
            ) from problem  # fmt: skip
        # Another writer has widened the table meanwhile; the rows fit it all the same.
        return commit(delta, actions, told, transactions, tries=tries - 1)
    delta.update_incremental()
    return True


def kept(delta: "DeltaTable") -> Table:
    """The schema in the table's properties.

    Raises:
        DataError: there is none.
    """
    words = delta.metadata().configuration.get(SCHEMA)
    if words is None:
        raise _foreign(delta.table_uri)
    return parsed(words)


def agreed(old: Table | None, given: Table | str) -> Table:
    """The schema of a table, if there is one, with the optional columns that the given one adds.

    Raises:
        ConfigError: no schema of that name, or a column that the store needs.
        DataError: the two differ in anything else.
    """
    if isinstance(given, str):
        if old is None:
            position(given, list(TABLES), "schema")
        return old or TABLES[given]
    mine, theirs = ({column.name: column for column in table.columns} for table in (old or given, given))
    if "batch" in theirs:
        raise ConfigError("a table must leave the column 'batch' to the store", repr(given.name), remedy="rename it")
    if old is None:
        return given
    faults = [
        part.name for part in fields(Table) if part.name != "columns" and vars(old)[part.name] != vars(given)[part.name]
    ]
    faults += [f"column {name}" for name in mine.keys() & theirs.keys() if mine[name] != theirs[name]]
    faults += [f"column {name}" for name in mine.keys() ^ theirs.keys() if not (mine | theirs)[name].optional]
    if faults:
        raise DataError(
            f"table {old.name!r} must keep its schema; optional columns may be added", f"other {', '.join(sorted(faults))}",
            remedy="append under the schema that `History.schema` gives, or to a table of another name",
        )  # fmt: skip
    return replace(old, columns=(*old.columns, *(theirs[name] for name in theirs if name not in mine)))


def _foreign(where: str) -> DataError:
    return DataError(
        "a historical table must be written by History only", where, cause="another program has written it",
        remedy="take it back with that program (Delta can restore a version), and append the rows here",
    )  # fmt: skip


def _logs(place: str) -> list[Path]:
    return sorted(Path(place, "_delta_log").glob("*")) if is_local(place) else []


def _damaged(place: str) -> str:
    """The part of a log that cannot be read, or its folder."""
    import polars as pl

    for path in _logs(place):
        try:
            if path.suffix == ".json":
                [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() or [""]]
            elif path.suffix == ".parquet":
                pl.read_parquet_schema(path)
        except (OSError, ValueError, pl.exceptions.PolarsError):
            return str(path)
    return f"{place}/_delta_log"
