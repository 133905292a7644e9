"""Ask a question before the first run, and keep the answer."""

from fiduciary.study.study import Study, Yardstick

__all__ = ["Study", "Yardstick"]
