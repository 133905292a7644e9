"""Dumps as Kaggle hands them out: a zip archive of CSV or Parquet files, with a declared mapping of columns.

Kaggle("sp500.zip", members="individual_stocks/*.csv", suffix="_data", columns={"symbol": "Name"})
"""

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from fiduciary.core.errors import ConfigError, DataError, nearest
from fiduciary.data.panel import position
from fiduciary.data.sources.cache import Request
from fiduciary.data.sources.files import stem, whole_file
from fiduciary.data.sources.mapped import Mapped

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Kaggle(Mapped):
    """A zip archive of files in long form, or of one file per symbol.

    Attributes:
        path: the archive.
        members: pattern of the files' names in it, such as "stocks/*.csv"; "" = every CSV and Parquet file.
        per_symbol: one file per symbol, called <symbol><suffix>.csv; False = long form, every file holds any symbols.
        suffix: what follows the symbol in a file's name, such as "_data" or ".us".
    """

    name: ClassVar[str] = "kaggle"

    path: Path
    members: str = ""
    per_symbol: bool = False
    suffix: str = ""

    @property
    def place(self) -> str:
        """The archive and the pattern of its members."""
        return f"{self.path}:{self.members}"

    def requests(
        self, table: str, names: Sequence[str], *, start: date | None = None, stop: date | None = None
    ) -> tuple[Request, ...]:
        """One question per symbol where each has its file, else one for the whole archive.

        Raises:
            ConfigError: no such archive, no member that fits the pattern, or none of a symbol; the nearest is named.
            DataError: the archive is corrupt.
        """
        self.demand_mapping(table)
        held = self._members()
        if not self.per_symbol:
            return (Request(self.name, table, tuple(names), start, stop, self.place),)
        for name in names:
            position(name, list(held), f"symbol in {self.path}")
        return tuple(Request(self.name, table, (name,), start, stop, self.place) for name in names or held)

    def ask(self, request: Request) -> "pl.DataFrame":
        """The rows of the members that the request is about."""
        import polars as pl

        members = self._members()
        own = request.symbols[0] if self.per_symbol else ""
        frames = [
            self.ours(self._member(member), request, f"{member} in {self.path}", own)
            for member in ([members[own]] if own else members.values())
        ]
        return pl.concat(frames, how="vertical_relaxed")

    def _members(self) -> dict[str, str]:
        """{symbol, or name where files are in long form: member}."""
        with self._archive() as archive:
            names = [name for name in archive.namelist() if stem(name)]
        found = {self._symbol(name): name for name in sorted(names) if fnmatchcase(name, self.members or "*")}
        if not found:
            raise ConfigError(
                f"`members` must fit a CSV or Parquet file in {self.path}", repr(self.members),
                remedy=f"did you mean {nearest(self.members, names)!r}?" if nearest(self.members, names) else "",
            )  # fmt: skip
        return found

    def _symbol(self, member: str) -> str:
        return stem(PurePosixPath(member).name).removesuffix(self.suffix) if self.per_symbol else member

    def _member(self, member: str) -> "pl.DataFrame":
        """One file of the archive, through a folder that is gone afterwards."""
        with self._archive() as archive, tempfile.TemporaryDirectory() as folder:
            try:
                return whole_file(Path(archive.extract(member, folder)))
            except DataError as fault:
                rule = fault.rule.replace(folder, str(self.path))
                raise DataError(rule, fault.fact, cause=fault.cause, remedy=fault.remedy) from None
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as fault:
                raise DataError(f"{member} in {self.path} must be readable", str(fault)) from None

    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise ConfigError("an archive must be an existing file", repr(str(self.path))) from None
        except (zipfile.BadZipFile, OSError) as fault:
            raise DataError(
                f"{self.path} must be a zip archive", str(fault), cause="it is cut short or of another kind",
                remedy="fetch it again; it was left as it is",
            ) from None  # fmt: skip
