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

    def __call__(self, traded: NDArray[Any], wealth: NDArray[Any], exposure: NDArray[Any], /, *, seed: int) -> Policy:
        """The rule that trades as much as [T] fills say, at [T+1] wealth and exposure; `seed` of its own stream."""
        ...


@dataclass(frozen=True)
class Matched:
    """For each seed of the first candidate and each account, random trading with as many trades and as much exposure.

    Attributes:
        like: makes the random rule from the candidate's own path through the test: `RandomTrades.matching` for hold, buy and
            sell, `weight_rules.RandomWeights.matching` for weights.
    """

    like: Matching = RandomTrades.matching

    def to(self, cells: Sequence[Cell], seed: int) -> Policy:
        """The rule that matches the tests of one training."""
        tests = [cell.test for cell in cells]
        wealth, exposure = (
            np.concatenate([*(getattr(test, name)[:-1] for test in tests), getattr(tests[-1], name)[-1:]])
            for name in ("wealth", "exposure")
        )
        return self.like(np.concatenate([test.traded for test in tests]), wealth, exposure, seed=seed)
