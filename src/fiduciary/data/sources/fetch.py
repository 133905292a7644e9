"""Ask until answered: retries with back-off, a rate limit, each piece kept on arrival, nothing asked twice.

    wait after attempt k = min(longest, first 2^k) U(1/2, 1), or as long as the server asks where that is longer

(equal jitter; Brooker 2015, "Exponential Backoff And Jitter", AWS Architecture Blog).
"""

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fiduciary.core.errors import DataError, FiduciaryError
from fiduciary.data.sources.cache import Cache, Piece, Request, parquet

if TYPE_CHECKING:
    import polars as pl

SECRET = re.compile(
    r"(?i)((?:token|key|secret|password|passwd|pwd|authorization)\w*['\"]?\s*(?:=|:|%3d)\s*['\"]?(?:(?:bearer|basic|token)\s)?)[^\s&'\"]+"
)
LOGIN = re.compile(r"//[^\s/:@]+:\S*@|//[^\s/@]+@")


class TransientError(DataError):
    """No answer, or a wrong one, that asking again may cure: late, dropped, truncated, 429, 5xx, a page instead of data.

    Attributes:
        after: seconds that the server asks to wait, 0 where it does not.
    """

    after: float = 0.0


class NoRowsError(TransientError):
    """An empty answer where rows were asked for: what some clients return when they are offline. Never data."""


class RefusalError(DataError):
    """An answer that asking again cannot change: an unknown symbol, a wrong token, no right to the data."""


@dataclass(frozen=True)
class Patience:
    """How long to go on asking.

    Attributes:
        attempts: questions per request.
        first, longest: seconds of the first and of the longest wait; a server that asks for more ends the request.
        in_a_row: requests without an answer, one after the other, after which the rest are not asked: the network or
            the server is down, and the same command continues later.
    """

    attempts: int = 5
    first: float = 1.0
    longest: float = 60.0
    in_a_row: int = 10

    def wait(self, attempt: int, after: float) -> float:
        """Seconds to wait after `attempt` (from 0); `after` is what the server asks for."""
        return max(after, min(self.longest, self.first * 2.0**attempt) * random.uniform(0.5, 1.0))


PATIENCE = Patience()


def fetch(
    ask: "Callable[[Request], pl.DataFrame]",
    requests: Iterable[Request],
    *,
    rate: float = 0.0,
    cache: Cache | None = None,
    patience: Patience = PATIENCE,
    troubles: tuple[type[Exception], ...] = (),
) -> Iterator[Piece]:
    """Answer every request in turn: from the cache, or by asking; each piece is kept before the next is asked for.

    Args:
        ask: one request -> rows in the table's columns; a DataError is final, a TransientError, OSError or one of
            `troubles` is asked again.
        requests: the questions.
        rate: questions per second at most; 0 = no limit.
        cache: where pieces are kept; None = nowhere.
        patience: how long to go on asking.
        troubles: exceptions of a client library that mean no answer or a broken one; asked again like OSError.

    Yields:
        One piece per request, in order; a request without an answer says why, and the rest go on.

    Raises:
        ConfigError: the source cannot be asked at all (no library, no token); raised by `ask`, passed on.
    """
    paced, silent = _paced(ask, rate), 0
    for request in requests:
        piece, note = _held(cache, request)
        if piece is None:
            down = silent >= patience.in_a_row
            piece = _unanswered(request, _down(request, silent)) if down else _asked(paced, request, patience, troubles)
            silent = silent + 1 if _is_silence(piece.problem) else 0
            if cache is not None and piece.frame is not None:
                cache.write(piece)
        yield piece._replace(note=note)


def _is_silence(problem: FiduciaryError | None) -> bool:
    """Whether the server may be down; an empty answer says only that one symbol has nothing."""
    return isinstance(problem, TransientError) and not isinstance(problem, NoRowsError)


def scrubbed(text: str) -> str:
    """`text` without what follows token=, api_key= and the like, and without a login in a URL."""
    return LOGIN.sub("//", SECRET.sub(r"\1***", text))


def _held(cache: Cache | None, request: Request) -> tuple[Piece | None, str]:
    """The piece in the cache, and what was wrong with it where that is why there is none."""
    if cache is None:
        return None, ""
    try:
        return cache.read(request), ""
    except DataError as fault:
        cache.set_aside(request)
        return None, f"{fault}; set aside as .corrupt and asked again"


def _paced(ask: "Callable[[Request], pl.DataFrame]", rate: float) -> "Callable[[Request], pl.DataFrame]":
    """`ask`, at most `rate` times a second."""
    gap, free = (1.0 / rate if rate else 0.0), 0.0

    def paced(request: Request) -> "pl.DataFrame":
        nonlocal free
        time.sleep(max(0.0, free - time.monotonic()))
        free = time.monotonic() + gap
        return ask(request)

    return paced


def _asked(
    ask: "Callable[[Request], pl.DataFrame]",
    request: Request,
    patience: Patience,
    troubles: tuple[type[Exception], ...],
) -> Piece:
    """Ask until there is an answer, a refusal, or no patience left."""
    caught: tuple[type[Exception], ...] = (TransientError, OSError, *troubles)
    attempt = 0
    while True:
        attempt += 1
        try:
            frame = ask(request)
            sha256 = hashlib.sha256(parquet(frame)).hexdigest()
            return Piece(request, frame, datetime.now(UTC), sha256, attempt)
        except caught as trouble:
            problem = trouble if isinstance(trouble, TransientError) else _broken(request, trouble)
        except DataError as refusal:
            return _unanswered(request, refusal, attempt)
        if attempt == patience.attempts or problem.after > patience.longest:
            return _unanswered(request, problem, attempt)
        time.sleep(patience.wait(attempt - 1, problem.after))


def _unanswered(request: Request, problem: FiduciaryError, attempts: int = 0) -> Piece:
    return Piece(request, None, datetime.now(UTC), attempts=attempts, problem=problem)


def _broken(request: Request, trouble: Exception) -> TransientError:
    fact = scrubbed(f"{type(trouble).__name__}: {trouble}")
    return TransientError(f"{request.source} must answer", fact, cause="no network, or an answer that was cut short")


def _down(request: Request, silent: int) -> TransientError:
    return TransientError(
        f"{request.source} must answer", f"no answer to {silent} requests in a row, so this one was not asked",
        cause="the network or the server is down", remedy="give the same command later: it continues",
    )  # fmt: skip
