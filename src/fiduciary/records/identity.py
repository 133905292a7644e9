"""What exactly was run: configuration objects as plain values, code revision, versions, and trials of a question."""

import dataclasses
import fcntl
import functools
import hashlib
import json
import platform
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

SHAPING = ("core", "data", "factors", "markets", "envs", "agents", "adapters", "evaluation", "records", "study")
PACKAGES = (
    "fiduciary", "torch", "numpy", "polars", "TA-Lib", "pydantic", "gymnasium", "stable-baselines3", "optuna", "cma",
    "arch", "scipy", "pandas", "statsmodels", "skfolio", "cvxpy-base", "clarabel",
)  # fmt: skip


def effective(value: Any) -> Any:
    """A configuration object as plain values: dataclasses by field, arrays by digest, functions by what they do."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(key): effective(part) for key, part in value.items()}
    if isinstance(value, list | tuple | range):
        return [effective(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(part) for part in value)
    # A tensor can only be here if torch was loaded, and loading it is dear.
    if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "sha256": hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}
    if isinstance(value, functools.partial):
        return {"type": effective(value.func), "args": effective(value.args), **effective(value.keywords)}
    if isinstance(value, types.FunctionType):
        return _function(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return _name(value)
    return {"type": _class(type(value)), **effective(_fields(value))}


def digest(value: Any) -> str:
    """SHA-256 of `effective(value)`."""
    return hashlib.sha256(json.dumps(effective(value), sort_keys=True).encode()).hexdigest()


def code() -> str:
    """SHA-256 of the source files that shape results; reports and command line may change without touching it."""
    package, total = Path(__file__).parents[1], hashlib.sha256()
    for part in SHAPING:
        for path in sorted((package / part).rglob("*.py")):
            total.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def revision() -> str:
    """Git commit of the code, with "+" when files differ from it; version and code digest outside a checkout."""
    here = Path(__file__).parent
    try:
        # Installed below somebody's project, this file is in no history, and that project's commit says nothing about it.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--", str(here.parent)) else "")
    except (OSError, subprocess.SubprocessError):
        return f"version {_version('fiduciary')}, code {code()[:12]}"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape results."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def machine() -> str:
    """The machine in words."""
    import os

    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def count_trials(ledger: Path, question: str, trials: list[str]) -> int:
    """Add `trials` (digests of what is tried) to the ledger of all runs and return how many distinct ones `question` has.

    Running the same configuration again adds nothing: it shows no new result to choose from.
    """
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = {trial for asked, trial in map(_entry, file) if asked == question}
        new = [trial for trial in dict.fromkeys(trials) if trial not in known]
        if file.tell() and not _ends_in_newline(ledger):
            file.write("\n")  # a kill cut the last entry short; the next must not be glued to it
        file.writelines(json.dumps({"question": question, "trial": trial}) + "\n" for trial in new)
        return len(known) + len(new)


def _entry(line: str) -> tuple[str, str]:
    """Question and trial of one line; a line cut short by a kill counts for nothing."""
    try:
        entry = json.loads(line)
        return str(entry["question"]), str(entry["trial"])
    except (ValueError, TypeError, KeyError):
        return "", ""


def _ends_in_newline(path: Path) -> bool:
    return path.read_bytes()[-1:] == b"\n"


def _fields(value: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(value):
        return dict(vars(value))
    shaping = [field.name for field in dataclasses.fields(value) if field.metadata.get("identity", True)]
    return {name: getattr(value, name) for name in shaping}


def _class(kind: type) -> Any:
    """Name of a class and, for a user's own, what its methods do; ours are in `code`."""
    if kind.__module__.partition(".")[0] == "fiduciary":
        return kind.__name__
    methods = {name: part for name, part in vars(kind).items() if isinstance(part, types.FunctionType)}
    own = {name: _function(part) for name, part in methods.items() if name == "__call__" or not name.startswith("__")}
    return {"name": _name(kind), **own}


def _function(function: types.FunctionType) -> dict[str, Any]:
    """Name, instructions, and the values that a function brings along."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    brought = [part for part in (*cells, function.__defaults__, function.__kwdefaults__) if part is not function]
    return {"name": _name(function), "code": _instructions(function.__code__), "brings": effective(brought)}


def _instructions(code: types.CodeType) -> str:
    constants = [_instructions(x) if isinstance(x, types.CodeType) else effective(x) for x in code.co_consts]
    return hashlib.sha256(repr((code.co_code, code.co_names, constants)).encode()).hexdigest()


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
