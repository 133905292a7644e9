"""What a run leaves behind; the only doorway between computing and showing."""

from fiduciary.records.run import Run

__all__ = ["Run"]
