"""How the families are written: {name: (text, meaning and source)}, with words that stand for longer text."""

import re
from collections.abc import Mapping

from fiduciary.factors.formula import Formula
from fiduciary.factors.parse import parse

Definitions = Mapping[str, tuple[str, str]]


def formulas(definitions: Definitions, words: Mapping[str, str] | None = None) -> tuple[Formula, ...]:
    """A formula of every definition, its text written out."""
    return tuple(
        Formula(name, parse(written_out(text, words or {})), about) for name, (text, about) in definitions.items()
    )


def written_out(text: str, words: Mapping[str, str]) -> str:
    """`text` with every word of `words` replaced by what it stands for, in brackets, and so on within."""
    return re.sub(r"\b[A-Za-z]\w*\b", lambda m: f"({written_out(words[m[0]], words)})" if m[0] in words else m[0], text)
