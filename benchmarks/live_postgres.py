"""Rows per second into the real-time store in PostgreSQL: a server of its own, durable as shipped, over a Unix socket."""

import sys

from live_sqlite import figure
from rows import ROOT, Figure, row


def measure() -> Figure:
    sys.path.append(str(ROOT / "tests" / "data"))
    from postgres_cluster import cluster

    with cluster() as server:
        version = server.binaries.parent.name
        return figure(server.fresh, 5_000, f"PostgreSQL {version} (fsync and synchronous_commit on)")


row(5, measure)
