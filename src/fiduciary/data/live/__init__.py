"""The real-time store: ticks, bars and decisions as they come, in one file or in PostgreSQL.

with connect("live.db") as live:                       # or postgresql://user@host/database
    live.append(BARS_1M, frame, source="exchange")     # on disk when it returns; safe to repeat
    live.read("bars_1m", as_of=moment)                 # what was known then
"""

from pathlib import Path

from fiduciary.core.errors import ConfigError
from fiduciary.data.live.results import Appended, Claim, Day, Followed
from fiduciary.data.live.rows import digest
from fiduciary.data.live.store import Live

PATIENCE_S = 60.0


def connect(url: str | Path, *, patience_s: float = PATIENCE_S) -> Live:
    """Open a real-time store, or make one.

    Args:
        url: a path or sqlite:///path, made if there is none; or postgresql://user:password@host:port/database.
        patience_s: how long to wait for another writer of the file, or to try to get a lost server back.

    Raises:
        ConfigError: another kind of URL, or PostgreSQL without its client library.
        DataError: the file is damaged or no store, the server does not answer, the format is newer.
    """
    kind, found, rest = str(url).partition("://")
    if kind in ("postgresql", "postgres"):
        from fiduciary.data.live.postgres import Postgres

        return Live(Postgres(str(url), patience_s))
    if found and kind != "sqlite":
        raise ConfigError("a real-time store must be a path, sqlite:///path or postgresql://...", f"{kind}://")
    from fiduciary.data.live.sqlite import Sqlite

    return Live(Sqlite(Path(rest.removeprefix("/") if found else url), patience_s))


__all__ = ["Appended", "Claim", "Day", "Followed", "Live", "connect", "digest"]
