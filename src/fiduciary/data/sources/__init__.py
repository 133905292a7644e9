"""Sources: where rows come from. Each adapter is one file over the client library that its users already have.

Importing this loads no client library; an adapter does when it is asked.
"""

from typing import Any

from fiduciary.data.sources.akshare import Akshare
from fiduciary.data.sources.alpaca import Alpaca
from fiduciary.data.sources.cache import Cache, Licence, Piece, Request
from fiduciary.data.sources.ccxt import Ccxt
from fiduciary.data.sources.fetch import NoRowsError, Patience, RefusalError, TransientError, fetch, scrubbed
from fiduciary.data.sources.files import Files
from fiduciary.data.sources.kaggle import Kaggle
from fiduciary.data.sources.macro import Fred
from fiduciary.data.sources.posts import Posts
from fiduciary.data.sources.source import CALENDAR, Offer, Source, secret
from fiduciary.data.sources.sql import Sql
from fiduciary.data.sources.tushare import Tushare
from fiduciary.data.sources.yahoo import Yahoo

__all__ = [
    "CALENDAR", "SOURCES", "Akshare", "Alpaca", "Cache", "Ccxt", "Files", "Fred", "Kaggle", "Licence", "NoRowsError", "Offer",
    "Patience", "Piece", "Posts", "RefusalError", "Request", "Source", "Sql", "TransientError", "Tushare", "Yahoo", "fetch",
    "offering", "scrubbed", "secret",
]  # fmt: skip

SOURCES: dict[str, type[Source]] = {
    kind.name: kind for kind in (Files, Kaggle, Sql, Posts, Fred, Yahoo, Tushare, Akshare, Alpaca, Ccxt)
}


def offering(table: str) -> tuple[str, ...]:
    """Names of the sources that offer `table` whatever their settings."""
    stated: dict[str, Any] = {name: kind.offers for name, kind in SOURCES.items()}
    fixed = {name: offers for name, offers in stated.items() if isinstance(offers, tuple)}
    return tuple(name for name, offers in fixed.items() if any(offer.table.name == table for offer in offers))
