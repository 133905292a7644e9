"""TOML -> frozen dataclass, strictly: an unknown key, a wrong type or a missing value is an error that names the place."""

import dataclasses
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from fiduciary.core.errors import ConfigError, FiduciaryError, nearest

C = TypeVar("C")


def read(path: str | Path, into: type[C], overrides: Sequence[str] = ()) -> C:
    """Read `path` into the dataclass `into`, after applying `overrides` such as `"agent.lr=0.0003"`.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown (the nearest is named), a value does not fit.
    """
    table = _load(Path(path))
    for override in overrides:
        _apply(table, override)
    _refuse_unknown(table, into, str(path), "")
    return _build(table, into, str(path))


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("a study must be a TOML file", f"no file {path}", remedy="check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} must be valid TOML", str(error)) from None


def _apply(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError("`--set` takes key=value", repr(override), remedy="for example --set agent.lr=0.0003")
    *groups, last = key.strip().split(".")
    for group in groups:
        table = table.setdefault(group, {})
        if not isinstance(table, dict):
            raise ConfigError(f"`{key}` must be a value below a table", f"{group!r} is a value itself")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text  # a bare word is a string: --set data.source=prices.csv


def _refuse_unknown(table: dict[str, Any], into: Any, file: str, place: str) -> None:
    fields = {field.name for field in dataclasses.fields(into) if field.init}
    hints = typing.get_type_hints(into)
    for key, value in table.items():
        name = f"{place}{key}"
        if key not in fields:
            near = nearest(key, fields)
            raise ConfigError(
                f"{file} may hold only known keys", f"`{name}`",
                remedy=f"did you mean `{place}{near}`?" if near else f"known here: {', '.join(sorted(fields))}",
            )  # fmt: skip
        below = _dataclass_in(hints[key])
        if isinstance(value, dict) and below is not None:
            _refuse_unknown(value, below, file, f"{name}.")


def _dataclass_in(hint: Any) -> Any:
    """The dataclass that `hint` is, or holds as an option."""
    options = [hint, *typing.get_args(hint)]
    return next((option for option in options if dataclasses.is_dataclass(option)), None)


def _build(table: dict[str, Any], into: type[C], file: str) -> C:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(into).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, FiduciaryError):
            raise cause from None
        got = "nothing" if first["type"] == "missing" else repr(first["input"])
        raise ConfigError(f"`{key}` in {file}: {first['msg'][0].lower()}{first['msg'][1:]}", got) from None
