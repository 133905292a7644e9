"""Ask a question before the first run, and keep the answer."""

from fiduciary.study.matched import Matched
from fiduciary.study.search import Search
from fiduciary.study.study import Study, Yardstick

__all__ = ["Matched", "Search", "Study", "Yardstick"]
