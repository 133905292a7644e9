"""CSV and Parquet files in long form -> Panel. Files are only ever read; nothing is sorted, repaired or filled.

Long form: one row per symbol and date. Rows of different symbols may be interleaved in any way; within one symbol the
dates must increase, because a file that breaks even that was put together by mistake.
"""

from collections.abc import Mapping, Sequence
from datetime import time
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fiduciary.core.errors import ConfigError, DataError, nearest
from fiduciary.data import validation
from fiduciary.data.faults import Fault
from fiduciary.data.panel import BARS, PRICES, Panel, position

if TYPE_CHECKING:
    import polars as pl

EXTENSIONS = (".csv", ".csv.gz", ".parquet")
KEYS = ("date", "symbol")
SHOWN = 10
"""Faults listed in one error; more would hide the first."""

_ALIASES = {
    "symbol": ("ticker", "tic", "code", "ts_code", "instrument", "index", "name"),
    "date": ("trade_date", "datetime", "time", "timestamp", "dt"),
    "volume": ("vol",),
    "adj_close": ("adj close", "adjclose", "adjusted_close"),
}


def read(
    source: str | PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    symbols: Sequence[str] | None = None,
    fields: Sequence[str] = BARS,
    currency: str = "USD",
    name: str = "",
) -> Panel:
    """Read daily bars in long form.

    Prices are taken as they are, unless `columns` maps `adj_close`: then, with T each symbol's last bar in the file,

        factor_t = (adj_close_t / close_t) / (adj_close_T / close_T)

    multiplies open, high, low and close and divides volume, so that the last prices are as traded and money turnover is
    conserved. Without it, prices that look unadjusted are reported as warnings in `Panel.faults`.

    Args:
        source: a `.csv`, `.csv.gz` or `.parquet` file. Dates are days: YYYY-MM-DD or YYYYMMDD, or at midnight.
        columns: {our name: the file's name} where they differ, such as {"symbol": "ticker"}.
        symbols: those wanted, in this order; None = all, in the order of the file.
        fields: F fields wanted, in this order; a field beyond open, high, low, close, volume must only be finite.
        currency: unit of the prices.
        name: where the bars came from, in words; "" = the path.

    Returns:
        The panel, its dates the union over the symbols wanted, its faults the warnings of `validation`.

    Raises:
        ConfigError: no such file, an unknown extension, an argument that makes no sense, a symbol that is not there.
        DataError: the file is corrupt or empty, lacks a column, holds a cell that is no date or number, or fails
            validation; up to ten faults are listed.
    """
    path = _existing(Path(source))
    names = _names(columns or {}, fields)
    frame = _chosen(_typed(_raw(path, names), path), symbols, path)
    _refuse(validation.check(frame, validation.ERRORS), path)
    if "adj_close" in names:
        frame = _adjusted(frame)
    warnings = validation.check(frame, validation.WARNINGS)
    return _pivot(frame, symbols, tuple(fields), source=name or str(path), currency=currency, faults=tuple(warnings))


# --- arguments -------------------------------------------------------------------------------------------------------


def _existing(path: Path) -> Path:
    if not path.name.lower().endswith(EXTENSIONS):
        raise ConfigError(
            f"a data file must end in {', '.join(EXTENSIONS)}", repr(str(path)), remedy="convert or rename the file"
        )
    if not path.is_file():
        raise ConfigError(
            "a data source must be an existing file",
            repr(str(path)),
            cause=_nearest_file(path),
            remedy="check the path",
        )
    return path


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r}"
    near = nearest(path.name, (entry.name for entry in path.parent.iterdir()))
    return f"the folder holds {near!r}" if near else ""


def _names(columns: Mapping[str, str], fields: Sequence[str]) -> dict[str, str]:
    """{our name: the file's name} of all columns to read."""
    if isinstance(fields, str) or not fields or len(set(fields)) < len(fields) or set(fields) & {*KEYS, "adj_close"}:
        raise ConfigError("`fields` must be distinct names of values, such as ('open', 'close')", repr(fields))
    if unknown := set(columns) - {*KEYS, *BARS, *fields, "adj_close"}:
        position(min(unknown), [*KEYS, *dict.fromkeys((*BARS, *fields)), "adj_close"], "name on the left of `columns`")
    needed = [*KEYS, *fields]
    if "adj_close" in columns:
        needed += [extra for extra in ("close", "adj_close") if extra not in fields]
    return {ours: columns.get(ours, ours) for ours in needed}


# --- file -> frame ---------------------------------------------------------------------------------------------------


def _raw(path: Path, names: Mapping[str, str]) -> "pl.DataFrame":
    """The columns of `names`, under our names, as the file has them; CSV cells stay text."""
    import polars as pl

    try:
        _demand_columns(_header(path), names, path)
        theirs = list(dict.fromkeys(names.values()))
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path, columns=theirs)
        else:
            frame = pl.read_csv(path, columns=theirs, infer_schema=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as problem:
        first_line = (str(problem).splitlines() or [""])[0]
        raise DataError(
            f"{path} must be a readable {'Parquet' if path.suffix.lower() == '.parquet' else 'CSV'} file",
            f"{type(problem).__name__}: {first_line}", cause="the file is empty, cut short or of another kind",
            remedy="fetch it again; it was left as it is",
        ) from problem  # fmt: skip
    if frame.is_empty():
        raise DataError(f"{path} must hold at least one bar", "a header and no rows", remedy="fetch it again")
    return frame.select(pl.col(theirs).alias(ours) for ours, theirs in names.items())


def _header(path: Path) -> list[str]:
    import polars as pl

    if path.suffix.lower() == ".parquet":
        return list(pl.read_parquet_schema(path))
    return pl.read_csv(path, n_rows=0, infer_schema=False).columns


def _demand_columns(existing: Sequence[str], names: Mapping[str, str], path: Path) -> None:
    for ours, theirs in names.items():
        if theirs not in existing:
            near = nearest(theirs, existing) or next((n for n in existing if n.lower() in _ALIASES.get(ours, ())), "")
            remedy = f'map it with columns={{"{ours}": "{near}"}}' if near else "map it with `columns`"
            if ours in BARS:
                remedy += f", or leave {ours} out of `fields`"
            raise DataError(f"{path} must have a column {theirs!r}", f"columns {', '.join(existing)}", remedy=remedy)


def _typed(raw: "pl.DataFrame", path: Path) -> "pl.DataFrame":
    """`date` as Date, `symbol` as String, everything else float64."""
    import polars as pl

    frame = raw.with_columns(pl.col("symbol").cast(pl.String).str.strip_chars())
    if (row := _where(frame["symbol"].fill_null("") == "")) is not None:
        raise DataError(
            f"every row of {path} must name its symbol", f"none in {_place(path, row)}", remedy="repair the source"
        )
    numbers = [_numbers(frame[name], path) for name in frame.columns if name not in KEYS]
    return frame.select(_days(frame["date"], path), "symbol", *numbers)


def _numbers(cells: "pl.Series", path: Path) -> "pl.Series":
    """float64; an empty cell stays null, for validation to judge."""
    import polars as pl

    trimmed = cells.str.strip_chars() if cells.dtype == pl.String else cells
    trimmed = trimmed.replace("", None) if cells.dtype == pl.String else trimmed
    try:
        numbers = trimmed.cast(pl.Float64, strict=False)
    except pl.exceptions.PolarsError:
        raise DataError(f"column {cells.name!r} of {path} must hold numbers", f"type {cells.dtype}") from None
    if (row := _where(numbers.is_null() & trimmed.is_not_null())) is not None:
        raise DataError(
            f"column {cells.name!r} of {path} must hold numbers",
            f"{trimmed[row]!r} in {_place(path, row)}",
            cause="thousands separators, units or a text for a missing value",
            remedy="write plain numbers, leave out missing bars",
        )
    return numbers


def _days(cells: "pl.Series", path: Path) -> "pl.Series":
    """Dates without a time of day: an intraday file must not pass for a daily one."""
    import polars as pl

    moments = _moments(cells.cast(pl.String).str.strip_chars() if cells.dtype.is_integer() else cells)
    if (row := _where(moments.is_null())) is not None:
        raise DataError(
            f"column 'date' of {path} must hold days as YYYY-MM-DD or YYYYMMDD",
            f"{cells[row]!r} in {_place(path, row)}",
            remedy="rewrite the dates, or map another column with columns={'date': ...}",
        )
    days = moments.dt.date().alias("date")
    if moments.dtype != pl.Date and (row := _where(moments.dt.time() != time(0))) is not None:
        raise DataError(
            f"column 'date' of {path} must hold days",
            f"{moments[row]} in {_place(path, row)}",
            cause="intraday bars, or midnight of another time zone",
            remedy="resample to days, or write the trading day",
        )
    return days


def _moments(cells: "pl.Series") -> "pl.Series":
    """Date or Datetime, null where a cell is neither."""
    import polars as pl

    if cells.dtype in (pl.Date, pl.Datetime):
        return cells
    if cells.dtype != pl.String:
        return pl.Series("date", [None] * len(cells), dtype=pl.Date)
    text = cells.str.strip_chars()
    for form in ("%Y-%m-%d", "%Y%m%d"):
        days = text.str.to_date(form, strict=False)
        if not days.is_null().any():
            return days
    return text.str.replace("T", " ").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)


def _chosen(frame: "pl.DataFrame", symbols: Sequence[str] | None, path: Path) -> "pl.DataFrame":
    """The rows of `symbols`, in the order of the file."""
    import polars as pl

    if symbols is None:
        return frame
    if isinstance(symbols, str) or not symbols or len(set(symbols)) < len(symbols):
        raise ConfigError(
            "`symbols` must be distinct names in a list or tuple", repr(symbols), remedy="None reads all symbols"
        )
    known = frame["symbol"].unique(maintain_order=True).to_list()
    for symbol in symbols:
        if symbol not in known:
            near = nearest(symbol, known)
            some = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
            raise ConfigError(
                f"`symbols` must be in {path}, which holds {some}",
                repr(symbol),
                remedy=f"did you mean {near!r}?" if near else "",
            )
    return frame.filter(pl.col("symbol").is_in(list(symbols)))


# --- frame -> panel --------------------------------------------------------------------------------------------------


def _refuse(faults: list[Fault], path: Path) -> None:
    if not faults:
        return
    more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    raise DataError(
        f"the bars of {path} must pass validation", f"{len(faults)} error{'s' if len(faults) > 1 else ''}\n  "
        + "\n  ".join(str(fault) for fault in faults[:SHOWN]) + more,
    )  # fmt: skip


def _adjusted(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Prices times factor, volume divided by it; see `read`. Dates increase within each symbol here."""
    import polars as pl

    ratio = pl.col("adj_close") / pl.col("close")
    factor = ratio / ratio.last().over("symbol")
    scaled = [pl.col(name) * factor for name in PRICES if name in frame.columns]
    volume = [pl.col("volume") / factor] if "volume" in frame.columns else []
    return frame.with_columns(*scaled, *volume).drop("adj_close")


def _pivot(
    frame: "pl.DataFrame", symbols: Sequence[str] | None, fields: tuple[str, ...],
    *, source: str, currency: str, faults: tuple[Fault, ...],
) -> Panel:  # fmt: skip
    """Scatter the rows into [T, N, F]; (symbol, date) is unique here."""
    order = list(symbols or frame["symbol"].unique(maintain_order=True))
    column = {symbol: n for n, symbol in enumerate(order)}
    dates, t = np.unique(frame["date"].to_numpy().astype("datetime64[D]"), return_inverse=True)
    n = np.array([column[symbol] for symbol in frame["symbol"]])
    values = np.full((len(dates), len(order), len(fields)), np.nan)
    values[t, n] = frame.select(fields).to_numpy()
    mask = np.zeros(values.shape[:2], bool)
    mask[t, n] = True
    return Panel(dates, tuple(order), fields, values, mask, source=source, currency=currency, faults=faults)


# --- helpers ---------------------------------------------------------------------------------------------------------


def _where(mask: "pl.Series") -> int | None:
    """First row where `mask` is True."""
    return int(mask.arg_true()[0]) if mask.any() else None


def _place(path: Path, row: int) -> str:
    """Line of a CSV (the header is line 1), row of a Parquet file (from 0)."""
    return f"row {row}" if path.suffix.lower() == ".parquet" else f"line {row + 2}"
