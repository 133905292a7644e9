"""Shipped samples, and the one door that takes a sample's name or a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import BARS, Panel, position
from fiduciary.data.readers import EXTENSIONS, read
from fiduciary.data.stored import Stored, is_store

FOLDER = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class _Sample:
    file: str
    fields: tuple[str, ...]
    adjusted: bool
    about: str


SAMPLES = {
    "us-stocks": _Sample("us-stocks.csv.gz", BARS, True, "Quandl WIKI via bokeh_sampledata, adjusted"),
    "sp500": _Sample("sp500.csv.gz", ("close",), False, "S&P 500 price index without dividends, via skfolio"),
}


def sample(name: str, *, symbols: Sequence[str] | None = None, fields: Sequence[str] | None = None) -> Panel:
    """A small panel that ships with Fiduciary; origin, licence and preparation in `data/samples/README.md`.

    - "us-stocks": open, high, low, close, volume of AAPL, GOOG (from 2004-08-19), IBM, MSFT, daily,
      2000-03-01..2013-03-01, in US dollars, adjusted for splits and dividends.
    - "sp500": close of the S&P 500 price index on the same 3270 days; dividends are not in it.

    The files hold prices as traded; they are adjusted here, anchored at the last shipped bar T of each symbol:

        factor_t = (adj_close_t / close_t) / (adj_close_T / close_T)

    All four prices are multiplied by the factor and volume is divided by it: the last prices are as traded, returns are
    those of `adj_close`, money turnover is conserved. What depends on the future is one constant scale per symbol:
    returns, ratios and z-scores do not see it, only the rounding of orders to whole lots does.

    Survivorship: four companies that were known to have survived when the sample was chosen.

    Args:
        name: "us-stocks" or "sp500".
        symbols: those wanted, in this order; None = all.
        fields: those wanted; None = all that the sample has.

    Raises:
        ConfigError: the sample, a symbol or a field does not exist; the message names the nearest.
    """
    chosen = SAMPLES[list(SAMPLES)[position(name, list(SAMPLES), "sample")]]
    for wanted in fields or ():
        position(wanted, chosen.fields, "field")
    return read(
        FOLDER / chosen.file, columns={"adj_close": "adj_close"} if chosen.adjusted else None, symbols=symbols,
        fields=fields or chosen.fields, name=f"sample {name}: {chosen.about}",
    )  # fmt: skip


def load(
    source: str | PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    symbols: Sequence[str] | None = None,
    fields: Sequence[str] | None = None,
    currency: str = "USD",
    name: str = "",
    stored: Stored | None = None,
) -> Panel:
    """A panel from a sample's name (`sample`), a CSV or Parquet file (`read`) or a store (`History`).

    Args:
        source: "us-stocks", "sp500", the path of a file, or the folder or URL of a store.
        columns: {our name: the file's name}; for files only.
        symbols: those wanted, in this order; None = all.
        fields: those wanted; None = open, high, low, close, volume of a file, or all that a sample has.
        currency: unit of the prices; samples are in USD.
        name: where the bars came from, in words; "" = the path. A sample and a store say so themselves.
        stored: which bars of a store, as known when; None = its `bars_1d` as known now, as traded.

    Raises:
        ConfigError: no such sample, file or table, or an argument that cannot apply to it.
        DataError: the file breaks a rule; see `read`.
    """
    text = str(source)
    if is_store(text):
        if columns:
            raise ConfigError("`columns` belong to files", f"them with the store {text!r}", remedy="leave them out")
        return (stored or Stored()).panel(text, symbols=symbols, fields=fields, currency=currency)
    if stored:
        raise ConfigError("`stored` belongs to a store", f"it with {text!r}", cause="no table of a store is there")
    if text in SAMPLES:
        if columns or currency != "USD":
            raise ConfigError(
                "`columns` and `currency` belong to files", f"them with the sample {text!r}", remedy="leave them out"
            )
        return sample(text, symbols=symbols, fields=fields)
    if not text.lower().endswith(EXTENSIONS) and not Path(source).exists():
        position(text, list(SAMPLES), "source that is no store and no CSV or Parquet file")
    return read(source, columns=columns, symbols=symbols, fields=fields or BARS, currency=currency, name=name)
