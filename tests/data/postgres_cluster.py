"""A throwaway PostgreSQL server on a Unix socket, durable as shipped: for tests and for rows of the benchmark."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Cluster:
    """A server; `binaries` and `folder` say which."""

    binaries: Path
    folder: Path

    def control(self, *arguments: str) -> None:
        _run(self.binaries / "pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", *arguments)

    def restart(self) -> None:
        """As after a crash: no connection is ended in good order, and the log is replayed."""
        self.control("restart", "-m", "immediate")

    def url(self, database: str) -> str:
        return f"postgresql://fiduciary@/{database}?host={quote(str(self.folder), safe='')}"

    def fresh(self) -> str:
        """URL of a new, empty database."""
        name = f"d{uuid.uuid4().hex}"
        _run(self.binaries / "createdb", "-h", self.folder, "-U", "fiduciary", name)
        return self.url(name)


def missing() -> str:
    """Why no server can be started here, or ""."""
    if _binaries() is None:
        return "no PostgreSQL server programs (Debian: apt-get install postgresql)"
    if os.getuid() == 0 and not any(entry.pw_name == "postgres" for entry in pwd.getpwall()):
        return "PostgreSQL does not run as root and there is no user postgres"
    return ""


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    binaries, folder = _binaries(), Path(tempfile.mkdtemp(prefix="pg-"))
    assert binaries is not None
    server = Cluster(binaries, folder)
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        _run(
            binaries / "initdb",
            "-D",
            folder / "data",
            "-A",
            "trust",
            "-U",
            "fiduciary",
            "--no-locale",
            "-E",
            "UTF8",
            "-N",
        )
        server.control("-o", f"-k {folder} -h ''", "start")
        try:
            yield server
        finally:
            server.control("stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path | None:
    found = shutil.which("pg_ctl")
    places = (
        [Path(found).resolve().parent]
        if found
        else sorted(DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name))
    )
    return next((place for place in reversed(places) if (place / "initdb").exists()), None)


def _run(*command: str | Path) -> None:
    """As the user postgres if we are root: the server refuses to be root's."""
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    # Into a file, not a pipe: the server keeps what it was given open and a pipe would never end.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run([*map(str, command)], stdout=said, stderr=said, cwd="/", check=False, **who)  # type: ignore[call-overload]
        said.seek(0)
        assert done.returncode == 0, said.read().decode()
