"""What all problems of stocks share: when orders are filled, what flatters a result, and where an episode may stand."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Alarm
from fiduciary.data.panel import moment, span

FEWEST_BARS = 30
"""Least bars to learn from."""

Execution = Literal["next_open", "next_close", "close"]
FILLED = {
    "next_open": "decided at the close of day t, filled at the open of day t+1",
    "next_close": "decided at the close of day t, filled at the close of day t+1",
    "close": "decided and filled at the close of day t: the price is in the observation (optimistic)",
}
Range = tuple[str | None, str | None]
SEEN = Alarm(
    "unobservable fill", "Orders are filled at the price that the policy has just seen: results are optimistic."
)
FREE = Alarm("free trading", "Trading is free: results are optimistic, the more a policy trades the more.")
LENT = Alarm("free borrowing", "Borrowing shares is free: results of short positions are optimistic.")


def stretches(
    dates: NDArray[np.datetime64], bounds: Range, without: Sequence[tuple[str, str]], *, ready: int, of: str
) -> list[tuple[int, int]]:
    """First and last place of every run of `dates`, two bars or more, on which an episode may stand.

    Args:
        dates: [T] of the bars.
        bounds: first and last date; whole years and months allowed, None = open.
        without: ranges of dates left out, both ends included.
        ready: place of the first bar whose window is full.
        of: whose bars they are, for the error.

    Raises:
        ConfigError: a range of `without` runs backwards, no bar lies within `bounds`, or no run is left.
    """
    where = span(dates, *bounds)
    free = np.zeros(len(dates) + 2, dtype=np.int8)
    free[1 + max(where.start, ready) : 1 + where.stop] = 1
    for first, last in without:
        start, stop = moment(first)[0], moment(last)[1]
        if start >= stop:
            raise ConfigError("`without` must hold ranges that run forwards", f"{first} to {last}")
        free[1:-1][(dates >= start) & (dates < stop)] = 0
    edges = np.flatnonzero(np.diff(free)).reshape(-1, 2)
    runs = [(int(first), int(stop) - 1) for first, stop in edges if stop - first > 1]
    if not runs:
        left_out = f" without {len(without)} ranges" if without else ""
        raise ConfigError(
            f"`window` and look-backs must leave at least two bars of {of} to stand on",
            f"{len(dates)} bars from {dates[0]}, dates {bounds}{left_out}, ready after {ready} bars",
            remedy="shorten the window, move the dates or load more history",
        )
    return runs


def longest(runs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The run with the most bars, the first of equals."""
    return max(runs, key=lambda run: run[1] - run[0])


def standing(runs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Every bar on which an episode may begin, [S] int64, and the last bar of its run, [S]."""
    first, last = torch.tensor(runs).T
    return torch.cat([torch.arange(*run) for run in runs]), last.repeat_interleave(last - first)


def learnt(begin: Tensor, end: Tensor, *, of: str) -> NDArray[np.int64]:
    """Every bar on which an episode may stand, increasing, from the two results of `standing`: what scalers are fitted on.

    Raises:
        ConfigError: there are fewer than `FEWEST_BARS`; `of` names whose bars they are.
    """
    bars: NDArray[np.int64] = np.union1d(begin.numpy(), end.numpy())
    if len(bars) < FEWEST_BARS:
        raise ConfigError(f"{of} must have at least {FEWEST_BARS} bars to learn from", str(len(bars)))
    return bars
