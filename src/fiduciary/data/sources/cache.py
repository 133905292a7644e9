"""Pieces on disk: one answer of one source, with its licence, time of retrieval, request and hash.

    CACHE/<source>/<table>/<key>.json               the request, the licence, when it was answered, SHA-256 of the rows
    CACHE/<source>/<table>/<key>-<sha256>.parquet   the rows

A piece exists once its JSON does; both files are written whole or not at all. No token is ever part of a request.
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from fiduciary.core.errors import DataError, FiduciaryError
from fiduciary.core.files import write_atomic

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Licence:
    """On what terms a source gives its data.

    Attributes:
        text: the terms in a line, and where they stand.
        redistribution: whether the data may be passed on.
    """

    text: str
    redistribution: bool = False


@dataclass(frozen=True)
class Request:
    """One question to one source.

    Attributes:
        source: the source's name.
        table: name of the table asked for.
        symbols: what is asked about, mostly one name: symbols, series, universes, exchanges.
        start, stop: first and last day wanted (UTC), both included; None = as far as the source goes.
        place: base URL, path or setting that changes the answer, without secrets.
    """

    source: str
    table: str
    symbols: tuple[str, ...]
    start: date | None = None
    stop: date | None = None
    place: str = ""

    @property
    def key(self) -> str:
        """32 hexadecimal digits that name the request."""
        return hashlib.sha256(json.dumps(asdict(self), default=str).encode()).hexdigest()[:32]

    def __str__(self) -> str:
        return f"{self.table} of {', '.join(self.symbols) or 'all'} from {self.source}"


class Piece(NamedTuple):
    """What became of one request.

    Attributes:
        request: the question.
        frame: the rows, in the table's columns; None where there is no answer.
        retrieved: when the answer came, UTC.
        sha256: of the rows as Parquet; "" without an answer.
        attempts: how often it was asked now; 0 = the answer was held already.
        problem: why there is no answer; None where there is one.
        note: the fault of a held piece that was set aside, or "".
    """

    request: Request
    frame: "pl.DataFrame | None"
    retrieved: datetime
    sha256: str = ""
    attempts: int = 0
    problem: FiduciaryError | None = None
    note: str = ""


@dataclass(frozen=True)
class Cache:
    """A folder of pieces.

    Attributes:
        folder: where.
        licence: the source's, written beside every piece.
        keep_open: a piece that came before its last day was over may say more later: after this time it is asked again.
    """

    folder: Path
    licence: Licence
    keep_open: timedelta = timedelta(hours=1)

    def read(self, request: Request) -> Piece | None:
        """The piece, or None where there is none to go by.

        Raises:
            DataError: its files are corrupt; the message names the file.
        """
        import polars as pl

        path = self._path(request)
        try:
            about = json.loads(path.read_bytes())
            retrieved = datetime.fromisoformat(about["retrieved"])
            data = path.with_name(f"{request.key}-{about['sha256']}.parquet").read_bytes()
            if hashlib.sha256(data).hexdigest() != about["sha256"]:
                raise ValueError("the rows differ from their SHA-256")
            frame = pl.read_parquet(data)
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as fault:
            if not path.exists():
                return None
            raise DataError("a held piece must be whole", f"{path}: {type(fault).__name__}: {fault}") from None
        over = request.stop is not None and retrieved.date() > request.stop
        aged = datetime.now(UTC) - retrieved > self.keep_open
        return None if aged and not over else Piece(request, frame, retrieved, about["sha256"])

    def write(self, piece: Piece) -> None:
        """Keep a piece."""
        assert piece.frame is not None
        path = self._path(piece.request)
        write_atomic(path.with_name(f"{piece.request.key}-{piece.sha256}.parquet"), parquet(piece.frame))
        about = {
            "request": asdict(piece.request), "licence": asdict(self.licence), "retrieved": piece.retrieved.isoformat(),
            "rows": piece.frame.height, "sha256": piece.sha256,
        }  # fmt: skip
        write_atomic(path, json.dumps(about, default=str, indent=1).encode())

    def set_aside(self, request: Request) -> None:
        """Rename a corrupt piece, so that it stays as it was and the next answer takes its place."""
        path = self._path(request)
        path.rename(path.with_suffix(".corrupt"))

    def _path(self, request: Request) -> Path:
        return self.folder / quote(request.source, safe="") / request.table / f"{request.key}.json"


def parquet(frame: "pl.DataFrame") -> bytes:
    """The frame as a Parquet file."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
