"""CSV and Parquet: a folder with one file per symbol, or one file in long form. Files are only ever read.

Files("prices", columns={"volume": "vol"})                          prices/AAPL.csv, prices/MSFT.parquet, ...
Files("gdp.csv", columns={"series": "id", "known_time": "release"})
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data import readers
from fiduciary.data.panel import position
from fiduciary.data.sources.cache import Request
from fiduciary.data.sources.mapped import Mapped

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Files(Mapped):
    """CSV and Parquet files of any table; cells of a CSV are text until the door types them.

    Attributes:
        path: a `.csv`, `.csv.gz` or `.parquet` file in long form, or a folder with one such file per symbol, called
            <symbol>.csv and so on.
    """

    name: ClassVar[str] = "files"

    path: Path

    @property
    def place(self) -> str:
        """The path."""
        return str(self.path)

    def requests(
        self, table: str, names: Sequence[str], *, start: date | None = None, stop: date | None = None
    ) -> tuple[Request, ...]:
        """One question per file.

        Raises:
            ConfigError: no such file or folder, a folder without a file of data, or no file of a symbol; the nearest is named.
        """
        self.demand_mapping(table)
        if not self.path.is_dir():
            readers._existing(self.path)
            return (Request(self.name, table, tuple(names), start, stop, self.place),)
        held = list(self._by_symbol())
        if not held:
            ends = ", ".join(readers.EXTENSIONS)
            raise ConfigError(
                f"a folder must hold files that end in {ends}", f"none in {self.path}", remedy="check the path"
            )
        for name in names:
            position(name, held, f"symbol in {self.path}")
        return tuple(Request(self.name, table, (name,), start, stop, self.place) for name in names or held)

    def ask(self, request: Request) -> "pl.DataFrame":
        """The rows of one file."""
        if not self.path.is_dir():
            return self.ours(whole_file(self.path), request, str(self.path))
        (symbol,) = request.symbols
        # Looked for by name first: to list the folder for every file of it would take the square of their number.
        named = (self.path / f"{symbol}{end}" for end in readers.EXTENSIONS)
        path = next((path for path in named if path.is_file()), None) or self._by_symbol()[symbol]
        return self.ours(whole_file(path), request, str(path), symbol)

    def _by_symbol(self) -> dict[str, Path]:
        """{symbol: its file} of the folder."""
        found: dict[str, Path] = {}
        for path in sorted(self.path.iterdir()):
            if symbol := stem(path.name):
                if symbol in found:
                    raise ConfigError("a folder must hold one file per symbol", f"{found[symbol].name} and {path.name}")
                found[symbol] = path
        return found


def stem(name: str) -> str:
    """What a data file is called without its ending; "" where it is no data file."""
    return next((name[: -len(end)] for end in readers.EXTENSIONS if name.lower().endswith(end)), "")


def whole_file(path: Path) -> "pl.DataFrame":
    """All rows of a CSV or Parquet file; cells of a CSV are text.

    Raises:
        DataError: it cannot be read; it is left as it was.
    """
    import polars as pl

    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as problem:
        first_line = (str(problem).splitlines() or [""])[0]
        raise DataError(
            f"{path} must be a readable CSV or Parquet file", f"{type(problem).__name__}: {first_line}",
            cause="it is empty, cut short or of another kind", remedy="fetch it again; it was left as it is",
        ) from problem  # fmt: skip
