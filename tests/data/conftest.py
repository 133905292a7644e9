"""Places for real-time stores: a new file, and a new database of a server that lives as long as the tests."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import postgres_cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_cluster.Cluster]:
    """A PostgreSQL server; tests that need one are skipped where none can be started."""
    if reason := postgres_cluster.missing():
        pytest.skip(reason)
    pytest.importorskip("psycopg", reason="PostgreSQL needs the extra `server`")
    with postgres_cluster.cluster() as server:
        yield server


@pytest.fixture(scope="session")
def database(postgres: postgres_cluster.Cluster) -> str:
    """One database for all tests: every further one costs the server some thousand files to sync after a crash."""
    return postgres.fresh()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a real-time store may be made; every test runs against both back ends."""
    if request.param == "sqlite":
        yield str(tmp_path / "live.db")
        return
    place: str = request.getfixturevalue("database")
    yield place
    with importlib.import_module("psycopg").connect(place) as connection:
        connection.execute("DROP SCHEMA IF EXISTS fiduciary CASCADE")
