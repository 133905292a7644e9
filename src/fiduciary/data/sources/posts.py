"""News and social posts from files, as timed text: JSON lines, RSS 2.0 or Atom.

Posts("posts.jsonl", columns={"event_time": "created_at", "headline": "text", "symbol": "cashtag"})
Posts("feed.xml")
"""

import email.utils
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from xml.etree import ElementTree

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.sources.cache import Request
from fiduciary.data.sources.mapped import Mapped

if TYPE_CHECKING:
    import polars as pl

LINES, FEEDS = (".jsonl", ".ndjson"), (".xml", ".rss", ".atom")
ATOM, DUBLIN = "{http://www.w3.org/2005/Atom}", "{http://purl.org/dc/elements/1.1/}"
RSS_ITEM = {
    "id": ("guid", "link"), "date": ("pubDate", f"{DUBLIN}date"), "headline": ("title",), "body": ("description",),
    "url": ("link",), "author": ("author", f"{DUBLIN}creator"),
}  # fmt: skip
ATOM_ENTRY = {
    "id": (f"{ATOM}id",), "date": (f"{ATOM}published", f"{ATOM}updated"), "headline": (f"{ATOM}title",),
    "body": (f"{ATOM}summary", f"{ATOM}content"), "author": (f"{ATOM}author/{ATOM}name",),
}  # fmt: skip


@dataclass(frozen=True)
class Posts(Mapped):
    """A file of posts. Columns of a feed are called id, date, headline, body, url and author, and need no mapping.

    Attributes:
        path: `.jsonl` or `.ndjson` (one JSON object a line), or `.xml`, `.rss` or `.atom`.
    """

    name: ClassVar[str] = "posts"

    path: Path

    @property
    def place(self) -> str:
        """The path."""
        return str(self.path)

    def requests(
        self, table: str, names: Sequence[str], *, start: date | None = None, stop: date | None = None
    ) -> tuple[Request, ...]:
        """One question.

        Raises:
            ConfigError: no such file, or one of another kind.
        """
        self.demand_mapping(table)
        if not self.path.is_file() or self.path.suffix.lower() not in (*LINES, *FEEDS):
            rule = f"posts must be in an existing file that ends in {', '.join((*LINES, *FEEDS))}"
            raise ConfigError(rule, repr(str(self.path)), remedy="check the path")
        return (Request(self.name, table, tuple(names), start, stop, self.place),)

    def ask(self, request: Request) -> "pl.DataFrame":
        """All posts of the file."""
        import polars as pl

        data = self.path.read_bytes()
        rows = _lines(data, self.path) if self.path.suffix.lower() in LINES else _feed(data, self.path)
        frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
        return self.ours(frame, request, str(self.path))


def _lines(data: bytes, path: Path) -> list[dict[str, Any]]:
    """One object a line; values that are objects or lists themselves stay JSON."""
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else {}
            rows += [{name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in row.items()}] * bool(row)
        except (ValueError, AttributeError) as fault:
            raise DataError(
                f"every line of {path} must be a JSON object", f"line {number}: {fault}",
                cause="the file is cut short, or still being written",
            ) from None  # fmt: skip
    return rows


def _feed(data: bytes, path: Path) -> list[dict[str, Any]]:
    """Items of RSS, entries of Atom."""
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as fault:
        raise DataError(f"{path} must be RSS or Atom", str(fault), cause="the file is cut short or no feed") from None
    rows = [_fields(item, RSS_ITEM) for item in root.iter("item")]
    for entry in root.iter(f"{ATOM}entry"):
        link = entry.find(f"{ATOM}link")
        rows.append({**_fields(entry, ATOM_ENTRY), "url": None if link is None else link.get("href")})
    return [{**row, "date": _iso(row["date"])} for row in rows]


def _fields(item: ElementTree.Element, names: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The first of the elements that each field may stand in."""
    return {
        field: next((text for name in paths if (text := item.findtext(name))), None) for field, paths in names.items()
    }


def _iso(text: str | None) -> str | None:
    """RFC 822 dates of RSS as ISO; ISO dates of Atom as they are."""
    try:
        return email.utils.parsedate_to_datetime(text or "").isoformat()
    except ValueError:
        return text
