"""Speed against batch, threads, days and assets: four curves, drawn into docs/images/scaling.png."""

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fiduciary.envs import StockTrading
from fiduciary.envs.share_trading import ShareTrading
from fiduciary.factors import SIM
from fiduciary.markets import dynamics
from rows import ROOT, Figure, row
from single_stock_peers import HERE, venv

BATCHES = tuple(4**k for k in range(9))
THREADED = (16_384, 32_768, 65_536, 131_072, 262_144)
DAYS = (250, 1_000, 2_500, 10_000, 25_000)
ASSETS = (1, 5, 30, 100, 500)
CELLS = 16_384  # accounts x assets in the panel of assets; accounts in the panel of days
REPEATS, SECONDS = 7, 0.1
CLOSE = tuple(factor for factor in SIM if factor.name == "close")


def _single(days: int) -> StockTrading:
    walk = dynamics.random_walk(bars=days, volatility=0.01, rng=np.random.default_rng(0))
    return StockTrading(walk, window=30, starts="random", episode=min(250, days // 2))


def _shares(assets: int) -> ShareTrading:
    walk = dynamics.random_walk(bars=600, symbols=assets, rng=np.random.default_rng(0))
    return ShareTrading(walk, CLOSE, starts="random", episode=250)


def _stepping(env: Any, batch: int, actions: Tensor) -> Callable[[], float]:
    """A function that measures account-steps/s of observe and step once."""
    start = env.init(batch, torch.Generator().manual_seed(0))

    def measure() -> float:
        began, state, taken = time.perf_counter(), start, 0
        while time.perf_counter() - began < SECONDS:
            env.observe(state)
            state, _step = env.step(state, actions[taken % len(actions)])
            taken += 1
            if taken % 100 == 0:
                state = start  # before episodes end
        return taken * batch / (time.perf_counter() - began)

    return measure


def _discrete(env: StockTrading, batch: int) -> Callable[[], float]:
    return _stepping(env, batch, torch.randint(0, 3, (16, batch), generator=torch.Generator().manual_seed(1)))


def _medians(curve: Iterable[Callable[[], float]]) -> list[float]:
    """Medians of repeats that go round the whole curve, so that a busy moment of the machine does not bend it."""
    points = list(curve)
    for point in points:
        point()  # warm
    rounds = [[point() for point in points] for _ in range(REPEATS)]
    return [median(column) for column in zip(*rounds, strict=True)]


def _threaded(env: StockTrading, threads: int) -> list[float]:
    torch.set_num_threads(threads)
    rates = _medians(_discrete(env, batch) for batch in THREADED)
    torch.set_num_threads(1)
    return rates


def _boxed(assets: int) -> Callable[[], float]:
    env, batch = _shares(assets), CELLS // assets
    actions = 2 * torch.rand(16, batch, assets, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1
    return _stepping(env, batch, actions)


def measure() -> Figure:
    torch.set_num_threads(1)
    env = _single(2_500)
    curves = {
        "batch": (BATCHES, {"one thread": _medians(_discrete(env, batch) for batch in BATCHES)}),
        "threads": (THREADED, {f"{n} thread{'s'[: n - 1]}": _threaded(env, n) for n in (1, 2)}),
        "days": (DAYS, {"one thread": _medians(_discrete(_single(days), CELLS) for days in DAYS)}),
        "assets": (ASSETS, {"one thread": _medians(_boxed(assets) for assets in ASSETS)}),
    }
    for name, (xs, lines) in curves.items():
        for label, rates in lines.items():
            print(f"  {name}, {label}: " + "; ".join(f"{x:,}: {y:,.0f}" for x, y in zip(xs, rates, strict=True)))
    figure = ROOT / "docs" / "images" / "scaling.png"
    draw = [venv("matplotlib==3.10.0"), HERE / "draw_scaling.py", figure]
    subprocess.run(draw, input=json.dumps(curves), text=True, check=True)
    rates = curves["batch"][1]["one thread"]
    best = max(rates)
    note = (
        f"best of the batches 1 to {BATCHES[-1]:,} (at {BATCHES[rates.index(best)]:,}: {best:,.0f} account-steps/s, one "
        f"thread, windows as indices) over batch 1 ({rates[0]:,.0f}); all curves in docs/speed.md"
    )
    return Figure(round(best / rates[0]), "times batch 1", None, "higher", REPEATS, note)


if __name__ == "__main__":
    row(3, measure)
