"""A run's folder on disk: one writer at a time, every write atomic, every corrupt file named and left as it was.

RUN/
  manifest.json            what the run is, fixed at its first start
  record.json              the whole record, once every cell is done
  cells/<account>/<policy>/<seed>[-split-<n>]/
    cell.json              one finished cell
    policy.safetensors     its learned policy
    checkpoint.pt          an unfinished cell, to continue from
"""

import fcntl
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from fiduciary.core.errors import RecordError
from fiduciary.core.files import write_atomic
from fiduciary.records.schema import Cell, Record, Strict

LONGEST_NAME = 100
M = TypeVar("M", bound=BaseModel)


class Manifest(Strict):
    """What a run is; a folder never changes it.

    Attributes:
        identity: SHA-256 of everything that shapes the result.
        question: in words.
        trials: configurations tried for this question when the run first started, this one included.
        started: ISO time, UTC.
        arguments: as passed on the command line, or [].
        sessions: times the run was started or resumed.
    """

    identity: str
    question: str
    trials: int
    started: str
    arguments: list[str]
    sessions: int = 0


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes one run."""

    root: Path

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer.

        Raises:
            RecordError: another process is writing to the folder.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RecordError(
                    "one process at a time may write to a run folder", f"a second one for {self.root}",
                    remedy="wait for the first, or give another folder",
                ) from None  # fmt: skip
            yield

    def manifest(self) -> Manifest | None:
        """The manifest, or None in a fresh folder."""
        path = self.root / "manifest.json"
        return read_json(path, Manifest) if path.exists() else None

    def write_manifest(self, manifest: Manifest) -> None:
        """Fix what the run is."""
        write_atomic(self.root / "manifest.json", manifest.model_dump_json(indent=1).encode())

    def finished(self) -> bool:
        """Whether the record was published."""
        return (self.root / "record.json").exists()

    def record(self) -> Record:
        """The finished record.

        Raises:
            RecordError: there is none, or it is corrupt.
        """
        path = self.root / "record.json"
        if not self.finished():
            unfinished = (self.root / "manifest.json").exists()
            raise RecordError(
                "a run folder must hold record.json", f"none in {self.root}",
                cause="the run is not finished" if unfinished else "this is not a run folder",
                remedy="run the study again with the same folder: it continues" if unfinished else "check the path",
            )  # fmt: skip
        return read_json(path, Record)

    def write_record(self, record: Record) -> None:
        """Publish the record."""
        write_atomic(self.root / "record.json", record.model_dump_json(indent=1).encode())

    def cell_folder(self, account: str, policy: str, seed: int | None, split: int = 0) -> Path:
        """Where one cell lives; names are quoted so that any symbol is a folder name."""
        leaf = ("rule" if seed is None else f"seed-{seed}") + (f"-split-{split}" if split else "")
        return self.root / "cells" / _folder_name(account) / _folder_name(policy) / leaf

    def cell(self, account: str, policy: str, seed: int | None, split: int = 0) -> Cell | None:
        """A finished cell, or None."""
        path = self.cell_folder(account, policy, seed, split) / "cell.json"
        return read_json(path, Cell) if path.exists() else None

    def cell_digests(self) -> dict[str, str]:
        """SHA-256 of every finished cell, by its path below the folder."""
        paths = sorted(self.root.glob("cells/*/*/*/cell.json"))
        return {str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    def cells(self, digests: dict[str, str]) -> list[Cell]:
        """The cells of a record, in the order of their paths.

        Raises:
            RecordError: a cell is not the one that the record's figures were computed from.
        """
        found = self.cell_digests()
        for path, digest in digests.items():
            if path in found and found[path] != digest:
                raise RecordError(
                    f"{self.root / path} must be the cell that the record was computed from", "another one",
                    cause="it was edited or damaged since",
                    remedy="restore it, or delete it and record.json and run the study again",
                )  # fmt: skip
        return [read_json(self.root / path, Cell) for path in digests if path in found]

    def write_cell(self, cell: Cell) -> None:
        """Publish a cell and drop its checkpoint."""
        folder = self.cell_folder(cell.account, cell.policy, cell.seed, cell.split)
        write_atomic(folder / "cell.json", cell.model_dump_json().encode())
        (folder / "checkpoint.pt").unlink(missing_ok=True)


def _folder_name(name: str) -> str:
    """Any name as one harmless path component, different names as different ones."""
    quoted = quote(name, safe=" ")
    if len(quoted) > LONGEST_NAME:
        return f"{quoted[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return quoted.replace(".", "%2E") if not quoted.strip(".") else quoted


def read_json(path: Path, model: type[M]) -> M:
    """Read one JSON file of a record.

    Raises:
        RecordError: it is not what it should be; the file is left as it was.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecordError(
            f"{path} must hold a {model.__name__.lower()}", f"{first['msg']}{f' at {place}' if place else ''}",
            cause="the file was damaged, edited, or written by another version",
            remedy="restore it, or delete it and run the study again: only what is missing is computed",
        ) from None  # fmt: skip


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Keep the state of an unfinished cell, with its digest in front."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    write_atomic(path, hashlib.sha256(payload).digest() + payload)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state kept last, or None where there is none.

    Raises:
        RecordError: the file is damaged; it is left as it was.
    """
    if not path.exists():
        return None
    import torch

    data = path.read_bytes()
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise RecordError(
            f"{path} must be a checkpoint", "a file whose digest does not match", cause="the file was damaged",
            remedy="delete it and run the study again: its cell starts afresh",
        )  # fmt: skip
    state: dict[str, Any] = torch.load(io.BytesIO(data[32:]), weights_only=True)
    return state
