"""Places for real-time stores: a new file, and a new database of a server that lives as long as the tests."""

from collections.abc import Callable, Iterator

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


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    """Where a real-time store may be made; every test runs against both back ends."""
    if request.param == "sqlite":
        return str(tmp_path / "live.db")
    fresh: Callable[[], str] = request.getfixturevalue("postgres").fresh
    return fresh()
