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

    Where a field may be one of several dataclasses, its table says which by `kind`, the class's name in any case, with or
    without hyphens; without `kind` it is the class of the field's default, or the first where there is none. An override of
    `kind` drops what the file says of the other kind.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown (the nearest is named), a value does not fit.
    """
    table = _load(Path(path))
    for override in overrides:
        _apply(table, override)
    return _build(_refuse_unknown(table, into, str(path), ""), into, str(path))


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
    if last == "kind" and _plain(str(table.get("kind", ""))) != _plain(text):
        table.clear()  # the file's other settings belong to another kind
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text  # a bare word is a string: --set data.source=prices.csv


def _refuse_unknown(table: dict[str, Any], into: Any, file: str, place: str, given: Any = None) -> dict[str, Any]:
    """`table` with defaults filled in and choices of dataclasses built; raises at the first key that `into` lacks.

    Defaults are those of the instance `given`, where there is one, else those of the class.
    """
    fields = {field.name: field for field in dataclasses.fields(into) if field.init}
    hints, out = typing.get_type_hints(into), dict(table)
    for key, value in table.items():
        name = f"{place}{key}"
        if key not in fields:
            near = nearest(key, fields)
            raise ConfigError(
                f"{file} may hold only known keys", f"`{name}`",
                remedy=f"did you mean `{place}{near}`?" if near else f"known here: {', '.join(sorted(fields))}",
            )  # fmt: skip
        choices = {option.__name__.lower(): option for option in _dataclasses_in(hints[key])}
        if not isinstance(value, dict) or not choices:
            continue
        default = _default(fields[key]) if given is None else getattr(given, key)
        kind, rest = next(iter(choices.values())), value
        if len(choices) > 1:
            kind = _kind(value.get("kind"), choices, default, f"{name}.kind", file)
            rest = {k: v for k, v in value.items() if k != "kind"}
        same = type(default) is kind
        below = _refuse_unknown(rest, kind, file, f"{name}.", default if same else None)
        if same:  # what a table leaves out stays as the default has it
            below = {**{f.name: getattr(default, f.name) for f in dataclasses.fields(default) if f.init}, **below}
        out[key] = below if len(choices) == 1 else _build(below, kind, file, f"{name}.")
    return out


def _default(field: dataclasses.Field[Any]) -> Any:
    """A field's default value, or None."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _dataclasses_in(hint: Any) -> list[Any]:
    """The dataclasses that `hint` is, or holds as options."""
    return [option for option in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(option)]


def _kind(named: Any, choices: dict[str, Any], default: Any, place: str, file: str) -> Any:
    """The dataclass that a table's `kind` names; without one, the class of the field's default."""
    if named is None:
        return type(default) if type(default) in choices.values() else next(iter(choices.values()))
    name = _plain(str(named))
    if name not in choices:
        near = nearest(str(named), choices)
        remedy = f"did you mean {near!r}?" if near else ""
        raise ConfigError(f"`{place}` in {file} must be one of {', '.join(choices)}", repr(named), remedy=remedy)
    return choices[name]


def _plain(kind: str) -> str:
    """A kind as it is compared: "Walk-Forward" -> "walkforward"."""
    return kind.strip("\"'").lower().replace("-", "")


def _build(table: dict[str, Any], into: type[C], file: str, place: str = "") -> C:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(into).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = place + ".".join(str(part) for part in first["loc"])
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, FiduciaryError):
            raise cause from None
        got = "nothing" if first["type"] == "missing" else repr(first["input"])
        raise ConfigError(f"`{key}` in {file}: {first['msg'][0].lower()}{first['msg'][1:]}", got) from None
