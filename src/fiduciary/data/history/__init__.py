"""The historical store: every version of every row, and when it was known."""

from fiduciary.data.history.store import Commit, Compacted, History

__all__ = ["Commit", "Compacted", "History"]
