"""Luck at the candidate's own pace: a baseline that can be stated before a run and made only after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fiduciary.agents.timing_rules import RandomTrades
from fiduciary.core.types import Policy
from fiduciary.records.schema import Cell


class Matching(Protocol):
    """A way to make a random rule from what an account did."""

    def __call__(self, traded: NDArray[Any], exposure: NDArray[Any], *, seed: int) -> Policy:
        """The rule that trades, and is exposed, as much as [T] fills and [T+1] exposures say; `seed` of its own stream."""
        ...


@dataclass(frozen=True)
class Matched:
    """For each seed of the first candidate and each account, random trading with as many trades and as much exposure.

    Attributes:
        rule: makes the random rule from the candidate's own path through the test.
    """

    rule: Matching = RandomTrades.matching

    def to(self, cells: Sequence[Cell], seed: int) -> Policy:
        """The rule that matches the tests of one training."""
        traded = np.concatenate([cell.test.traded for cell in cells])
        exposure = np.concatenate([*(cell.test.exposure[:-1] for cell in cells), cells[-1].test.exposure[-1:]])
        return self.rule(traded, exposure, seed=seed)
