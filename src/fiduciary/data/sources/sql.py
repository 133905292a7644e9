"""Rows of a database: SQLite by path, any other by its SQLAlchemy URL. Nothing is ever written.

Sql("prices.sqlite", query="bars")
Sql("$PRICES_URL", query="SELECT day AS date, ticker AS symbol, open, high, low, close, volume FROM eod")
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.core.extras import need
from fiduciary.data.sources.cache import Request
from fiduciary.data.sources.fetch import scrubbed
from fiduciary.data.sources.mapped import Mapped

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Sql(Mapped):
    """A table, a view or a query of a database.

    Attributes:
        url: path of a SQLite file, a SQLAlchemy URL, or $NAME: what the environment holds under it, so that a password
            stands in no plan. It is never shown, and no part of a request.
        query: a SELECT, or the name of a table or view. It is read whole; symbols and days are chosen here.
    """

    name: ClassVar[str] = "sql"

    url: str = field(repr=False)
    query: str

    @property
    def place(self) -> str:
        """The query."""
        return self.query

    def requests(
        self, table: str, names: Sequence[str], *, start: date | None = None, stop: date | None = None
    ) -> tuple[Request, ...]:
        """One question."""
        self.demand_mapping(table)
        self._resolved()
        return (Request(self.name, table, tuple(names), start, stop, self.place),)

    def ask(self, request: Request) -> "pl.DataFrame":
        """The rows of the query."""
        import polars as pl

        query = self.query if " " in self.query.strip() else f'SELECT * FROM "{self.query.strip()}"'
        connection, error = self._connect()
        try:
            with closing(connection):
                frame = pl.read_database(query, connection, infer_schema_length=None)
        except (error, pl.exceptions.PolarsError) as fault:
            text = scrubbed(str(fault).partition("\n")[0])
            raise DataError("a database must answer its query", text, remedy="try the query by hand") from None
        return self.ours(frame, request, f"the answer to {self.query!r}")

    def _resolved(self) -> str:
        """The URL itself."""
        if not self.url.startswith("$"):
            return self.url
        if url := os.environ.get(self.url[1:], ""):
            return url
        raise ConfigError("the URL of a database must be set", f"nothing in {self.url}", remedy=f"set {self.url}")

    def _connect(self) -> tuple[Any, type[Exception]]:
        """A connection, and what it raises."""
        url = self._resolved()
        if "://" not in url:
            if not Path(url).is_file():
                raise ConfigError("a SQLite database must be an existing file", repr(url), remedy="check the path")
            return sqlite3.connect(f"{Path(url).absolute().as_uri()}?mode=ro", uri=True), sqlite3.Error
        sqlalchemy = need("sqlalchemy", extra="market", what="a database by URL")
        try:
            return sqlalchemy.create_engine(url).connect(), sqlalchemy.exc.SQLAlchemyError
        except (sqlalchemy.exc.SQLAlchemyError, ImportError) as fault:
            text = scrubbed(str(fault).partition("\n")[0])
            raise DataError("a database must be reachable", text, remedy="check the URL and the driver") from None
