"""Read reports back with the standard library alone, as a stranger's program would."""

import json
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Tables as lists of rows of cell texts, `within` sections; every tag with its attributes; scripts are not text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.within: dict[str, list[list[list[str]]]] = {"": []}
        self.stack: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "section":
            self.within[dict(attrs).get("id") or ""] = []
        if tag == "table":
            self.tables.append([])
            list(self.within.values())[-1].append(self.tables[-1])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in ("script", "style"):
            return
        self.words.append(data)
        if {"td", "th"} & set(self.stack):
            gap = "|" if self.stack[-1] == "small" else ""
            self.tables[-1][-1][-1] += gap + data.strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\xa0", " ").split())


def charts(text: str) -> dict[str, Any]:
    """The chart specifications embedded in a page."""
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.S)
    assert found
    packed = json.loads(found[1])
    for chart in packed["charts"].values():
        for trace in chart["data"]:
            trace["x"] = packed["dates"][trace["x"]]
    return packed["charts"]


def figures(tables: list[list[list[str]]]) -> list[list[str]]:
    """The main figures and, below them, those of "More figures", as one table."""
    (head, *main), (again, *further) = tables[:2]
    assert head == again
    return [head, *main, *further]


def own_parts(text: str) -> str:
    """The page without plotly.js, whose source mentions addresses that it does not load."""
    from plotly.offline import get_plotlyjs

    assert get_plotlyjs() in text
    return text.replace(get_plotlyjs(), "")


def markdown_tables(text: str) -> Iterator[list[list[str]]]:
    """Tables of a Markdown file, unescaped; a ragged one is an error."""
    block: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            block.append([unescape(re.sub(r"\\(.)", r"\1", cell.strip())) for cell in cells])
            continue
        if block:
            assert len({len(row) for row in block}) == 1, block
            assert set(block[1]) <= {"---", "---:"}
            yield [block[0], *block[2:]]
        block = []
