"""Steps per second of the portfolio environment with 30 assets, beside FinRL's StockPortfolioEnv on the same prices.

FinRL 0.3.7 runs unchanged in an environment of its own; its package does not import without a broker's client, so that the
module is loaded from its file. Its step builds the observation; ours returns a view, so the rate with every window
gathered stands in the note. Ours runs in two processes of one thread each, and repeats alternate with the peer's.
"""

import functools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

PLACE = Path(__file__).parents[1] / ".bench" / "finrl-venv"
PACKAGES = ("gymnasium==1.4.0", "numpy<2.3", "pandas<3", "matplotlib", "stable-baselines3==2.9.2")
NEEDED = "import gymnasium, matplotlib, pandas, stable_baselines3, importlib.util as u; assert u.find_spec('finrl')"
ASSETS, BARS, LOOKBACK, INDICATORS = 30, 1_000, 252, ("macd", "rsi_30", "cci_30", "dx_30")
BATCH, EPISODE, POOL, REPEATS, SECONDS, PROCESSES = 2_048, 250, 8, 7, 2.0, 2


class Rate(NamedTuple):
    """Steps per second of the wall clock, and of CPU time."""

    wall: float
    cpu: float


def prices() -> Any:
    """[T, N] closes, the same for both."""
    return 100 * np.exp(np.random.default_rng(0).normal(0, 0.02, (BARS, ASSETS)).cumsum(axis=0))


# --- ours ------------------------------------------------------------------------------------------------------------


@functools.cache
def environment(impact: float) -> Any:
    """The environment under test, its factors and costs included."""
    from fiduciary.data import BARS as FIELDS
    from fiduciary.data import Panel
    from fiduciary.envs.portfolio_weights import PortfolioWeights
    from fiduciary.markets import costs

    values = np.repeat(prices()[..., None], len(FIELDS), axis=-1)
    dates = np.datetime64("2010-01-01") + np.arange(BARS)
    panel = Panel(dates, tuple(f"S{n:02d}" for n in range(ASSETS)), FIELDS, values, np.ones((BARS, ASSETS), dtype=bool))
    return PortfolioWeights(panel, costs=costs.linear(10), impact=impact, starts="random", episode=EPISODE)


def ours(impact: float = 0.0, gather: bool = False) -> Rate:
    """Of observe and step under random actions, new accounts on random dates included."""
    import torch

    from fiduciary.core.checks import random_action

    torch.set_num_threads(1)
    env, rng = environment(impact), torch.Generator().manual_seed(0)
    legal = env.observe(env.init(BATCH, rng)).legal
    actions = [random_action(env.spec, legal, rng) for _ in range(POOL)]
    out = torch.empty(BATCH, env.window, ASSETS, len(env.factors)) if gather else None
    done, started, used = 0, time.perf_counter(), time.process_time()
    with torch.no_grad():
        while time.perf_counter() - started < SECONDS:
            if done % EPISODE == 0:
                state = env.init(BATCH, rng)
            obs = env.observe(state)
            if out is not None:
                obs.world.window(out=out)
            state, _step = env.step(state, actions[done % POOL])
            done += 1
    return Rate(done * BATCH / (time.perf_counter() - started), done * BATCH / (time.process_time() - used))


# --- the peer's process ----------------------------------------------------------------------------------------------


def peer() -> None:
    """Answer every line on standard input with two speeds."""
    env, rng = _finrl(), np.random.default_rng(0)
    actions = rng.random((POOL, ASSETS))
    for _line in sys.stdin:
        env.reset()
        done, started, used = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < SECONDS:
            if env.day >= BARS - LOOKBACK - 1:  # its last step would draw pictures
                env.reset()
            env.step(actions[done % POOL])
            done += 1
        print(json.dumps([done / (time.perf_counter() - started), done / (time.process_time() - used)]), flush=True)


def _finrl() -> Any:
    import importlib.util

    import pandas as pd

    (path,) = PLACE.glob("lib/python*/site-packages/finrl/meta/env_portfolio_allocation/env_portfolio.py")
    spec = importlib.util.spec_from_file_location("env_portfolio", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    close, rng, frames = prices(), np.random.default_rng(0), []
    returns = close[1:] / close[:-1] - 1
    for day in range(BARS - LOOKBACK):
        frame = pd.DataFrame(rng.standard_normal((ASSETS, len(INDICATORS))), columns=INDICATORS, index=[day] * ASSETS)
        frame["tic"] = [f"S{n:02d}" for n in range(ASSETS)]
        frame["date"], frame["close"] = str(np.datetime64("2010-01-01") + day), close[day + LOOKBACK]
        frame["cov_list"] = [np.cov(returns[day : day + LOOKBACK].T)] * ASSETS
        frames.append(frame)
    return module.StockPortfolioEnv(
        pd.concat(frames), stock_dim=ASSETS, hmax=100, initial_amount=1_000_000, transaction_cost_pct=0.001,
        reward_scaling=1e-4, state_space=ASSETS, action_space=ASSETS, tech_indicator_list=list(INDICATORS),
    )  # fmt: skip


# --- the row ---------------------------------------------------------------------------------------------------------


def peer_python() -> Path:
    """Interpreter that has FinRL; made under another name and moved into place, so that nobody meets half of it."""
    python = PLACE / "bin" / "python"
    if PLACE.exists():
        subprocess.run([python, "-c", NEEDED], check=True)
        return python
    made = PLACE.with_name(f"finrl-venv-{os.getpid()}")
    subprocess.run([sys.executable, "-m", "venv", made], check=True)
    for packages in (("--no-deps", "finrl==0.3.7"), PACKAGES):
        subprocess.run([made / "bin" / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
    made.rename(PLACE)
    return python


def repeats() -> list[tuple[list[Rate], Rate]]:
    """Ours of each process, and the peer's, in turn."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn"))
    with workers, subprocess.Popen([peer_python(), __file__, "peer"], **pipes) as process:
        runs = []
        for _ in range(REPEATS + 1):  # the first one warms up
            together = [future.result() for future in [workers.submit(ours) for _ in range(PROCESSES)]]
            print("go", file=process.stdin, flush=True)
            runs.append((together, Rate(*json.loads(process.stdout.readline()))))
        process.stdin.close()
    return runs[1:]


def measure() -> Any:
    from rows import Figure

    runs = repeats()
    walls = [sum(rate.wall for rate in mine) for mine, _theirs in runs]
    cpu = median(rate.cpu for mine, _theirs in runs for rate in mine)
    ratio = median(median(rate.cpu for rate in mine) / theirs.cpu for mine, theirs in runs)
    return Figure(
        round(median(walls)), "steps/s", 1_000_000, "higher", len(runs),
        f"{ASSETS} assets, batch {BATCH}, observed, no window gathered, wall clock of {PROCESSES} processes together; per CPU "
        f"second {cpu:,.0f}, with square-root impact {ours(impact=1.0).cpu:,.0f}, with every window gathered "
        f"{ours(gather=True).cpu:,.0f}; {ratio:,.0f} times the peer per CPU second, which charges no costs",
        interval=(round(min(walls)), round(max(walls))), peer="FinRL 0.3.7 StockPortfolioEnv, one process",
        peer_value=round(median(theirs.wall for _mine, theirs in runs)),
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:] == ["peer"]:
        peer()
    else:
        from rows import row

        row(3, measure)
