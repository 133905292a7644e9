"""The total of accounts: money is conserved day by day, and no account moves on days without a bar."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiduciary.core.errors import RecordError
from fiduciary.records.paths import total
from fiduciary.records.schema import Path


def path(days: list[int], wealth: list[float], exposure: float = 1.0, traded: float = 0.0, fees: float = 0.0) -> Path:
    steps = len(days) - 1
    return Path(
        days=days, wealth=wealth, mark=[1.0] * len(days), exposure=[exposure] * len(days),
        action=[0] * steps, traded=[traded] * steps, fees=[fees] * steps,
    )  # fmt: skip


def slow(paths: list[Path]) -> list[float]:
    """The readable twin: day by day, account by account."""
    sums = []
    for day in sorted({day for p in paths for day in p.days}):
        past = [[w for d, w in zip(p.days, p.wealth, strict=True) if d <= day] or p.wealth[:1] for p in paths]
        sums.append(sum(known[-1] for known in past))
    return sums


def test_one_account_is_its_own_total():
    alone = path([1, 2, 5], [10.0, 12.0, 11.0], exposure=0.4, traded=3.0, fees=-0.1)
    got = total([alone])
    assert (got.days, got.wealth, got.mark) == (alone.days, alone.wealth, alone.wealth)
    assert (got.traded, got.fees, got.action) == (alone.traded, alone.fees, [])
    assert got.exposure == pytest.approx(alone.exposure)


def test_missing_days_are_carried():
    a, b = path([1, 2, 4], [10.0, 12.0, 14.0], traded=2.0), path([2, 3, 4], [100.0, 90.0, 80.0], 0.5, 1.0, -1.0)
    got = total([a, b])
    assert got.days == [1, 2, 3, 4]
    assert got.wealth == [110.0, 112.0, 102.0, 94.0]
    assert got.traded == [2.0, 1.0, 3.0]
    assert got.fees == [0.0, -1.0, -1.0]
    assert got.exposure == pytest.approx([10 / 110, (12 + 50) / 112, (12 + 45) / 102, (14 + 40) / 94])


def test_nothing_to_add_up():
    with pytest.raises(RecordError, match="at least one account"):
        total([])


calendars = st.lists(st.integers(0, 40), min_size=2, max_size=15, unique=True).map(sorted)


@given(st.lists(calendars, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_equals_the_slow_twin_and_conserves_flows(calendars_, random):
    paths = [
        path(days, [random.uniform(1, 9) for _ in days], random.random(), random.uniform(-1, 1), -random.random())
        for days in calendars_
    ]
    got = total(paths)
    assert got.wealth == pytest.approx(slow(paths))
    assert np.sum(got.fees) == pytest.approx(sum(sum(p.fees) for p in paths))
    assert np.sum(got.traded) == pytest.approx(sum(sum(p.traded) for p in paths))
    assert len(got.days) == len(got.wealth) == len(got.exposure) == len(got.traded) + 1
    assert total(paths[::-1]).wealth == pytest.approx(got.wealth)
