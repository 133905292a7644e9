"""Formulas as text in TOML, to be read, changed and shared without Python."""

import json
import tomllib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from fiduciary.core.errors import ConfigError
from fiduciary.core.files import write_atomic
from fiduciary.factors.dialect import qlib
from fiduciary.factors.expression import Expr
from fiduciary.factors.formula import Formula
from fiduciary.factors.parse import parse
from fiduciary.factors.table import checked_names


def read_formulas(path: str | PathLike[str]) -> tuple[Formula, ...]:
    """Formulas of a TOML file: `name = "text"`, or `name = { formula = "text", about = "words" }`, under `[factors]`.

    Raises:
        ConfigError: the file is missing, no TOML, or an entry is neither; the message names the file and the factor.
    """
    try:
        entries = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("factors", {})
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError("a file of factors must be readable TOML", str(path), cause=str(problem)) from None
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(
            "a file of factors must hold a table [factors]", str(path), remedy='write name = "formula" under it'
        )
    return tuple(_entry(path, name, entry) for name, entry in entries.items())


def expression(text: str) -> Expr:
    """What a formula's text says: in our language, or, where fields are written `$close`, in Qlib's."""
    return qlib(text) if "$" in text else parse(text)


def write_formulas(path: Path, formulas: Sequence[Formula]) -> None:
    """Write formulas as `read_formulas` reads them, at once."""
    checked_names(formulas)

    def text(value: str) -> str:  # a JSON string is a basic string of TOML, but for one control character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    lines = [f"{text(f.name)} = {{ formula = {text(str(f.expr))}, about = {text(f.about)} }}" for f in formulas]
    write_atomic(path, "\n".join(["[factors]", *lines, ""]).encode())


def _entry(path: str | PathLike[str], name: str, entry: object) -> Formula:
    held = {"formula": entry} if isinstance(entry, str) else entry
    if (
        not isinstance(held, dict)
        or not isinstance(held.get("formula"), str)
        or not held.keys() <= {"formula", "about"}
    ):
        raise ConfigError("a factor must be a formula, or a table of formula and about", f"{name!r} in {path}")
    try:
        return Formula(name, expression(held["formula"]), str(held.get("about", "")))
    except ConfigError as problem:
        raise ConfigError(
            problem.rule, problem.fact, cause=f"factor {name!r} in {path}", remedy=problem.remedy
        ) from None
