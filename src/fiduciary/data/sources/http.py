"""Plain HTTP for sources without a client library, and what an HTTP status means to `fetch`."""

import email.utils
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fiduciary.core.extras import need
from fiduciary.data.sources.fetch import RefusalError, TransientError

BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be another time (RFC 9110, section 15; RFC 6585, section 4)."""


def get_json(url: str, *, params: Mapping[str, str], timeout: float = 30.0) -> Any:
    """What the server says to GET `url?params`, as JSON; errors show the host only, because parameters may hold a token.

    Raises:
        TransientError: no answer within `timeout` seconds of silence, one cut short, one that is no JSON, a busy server.
        RefusalError: any other status than 200.
    """
    requests = need("requests", extra="market", what="a source on the web")
    host = urlsplit(url).hostname or url
    try:
        answer = requests.get(url, params=params, timeout=timeout)
        demand_ok(answer.status_code, host, answer.headers.get("Retry-After", ""))
        return answer.json()
    except requests.exceptions.JSONDecodeError:
        kind = answer.headers.get("Content-Type", "no type")
        raise TransientError(
            f"{host} must answer in JSON", kind, cause="a page of a proxy, or an answer cut short"
        ) from None
    except requests.exceptions.RequestException as trouble:
        raise TransientError(
            f"{host} must answer", type(trouble).__name__, cause="no network, or an answer cut short"
        ) from None


def demand_ok(status: int, host: str, retry_after: str = "") -> None:
    """Turn an HTTP status into an answer to "shall we ask again?".

    Raises:
        TransientError: the server is busy; `after` is its Retry-After in seconds.
        RefusalError: it says no.
    """
    if status in BUSY:
        trouble = TransientError(
            f"{host} must answer", f"HTTP {status}", cause="too many requests, or a fault of the server"
        )
        trouble.after = _seconds(retry_after)
        raise trouble
    if status != 200:
        words = {
            400: "a parameter it does not take",
            401: "a wrong token",
            403: "no right to these data",
            404: "unknown",
        }
        raise RefusalError(f"{host} must answer", f"HTTP {status}", cause=words.get(status, ""))


def _seconds(retry_after: str) -> float:
    """Retry-After as seconds from now: a number, or a date (RFC 9110, section 10.2.3)."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0
