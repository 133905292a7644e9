"""The walk-forward study of the four US stocks, as a user runs it: `fiduciary run studies/walk-forward.toml`."""

from rows import Figure, row
from walking import walk


def measure() -> Figure:
    return walk("walk-forward.toml", "walk-forward")


row(4, measure)
