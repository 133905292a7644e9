"""Shared fixtures. One torch thread: small networks are slower on two, and results must not depend on it."""

import hypothesis
import numpy as np
import pytest
import torch

from fiduciary.data import Panel
from fiduciary.envs import StockTrading
from fiduciary.markets import costs, dynamics, venue

torch.set_num_threads(1)
# A first example pays for imports and a busy machine for the rest: time limits would fail tests that are right.
hypothesis.settings.register_profile("fiduciary", deadline=None)
hypothesis.settings.load_profile("fiduciary")


@pytest.fixture
def walk() -> Panel:
    """Two random walks of 160 bars, wild enough to meet the price limits."""
    return dynamics.random_walk(bars=160, symbols=2, volatility=0.06, rng=np.random.default_rng(0))


@pytest.fixture
def env(walk: Panel) -> StockTrading:
    """Two accounts under A-share rules."""
    return StockTrading(walk, cash=200_000, costs=costs.CHINA_A, venue=venue.CHINA_A, window=5, cash_rate=0.03)
