"""Steps per second of `ShareTrading` over those of FinRL's `StockTradingEnv`: 30 stocks, 2,500 days, 8 indicators.

FinRL 0.3.7 runs unchanged in an environment of its own; its package does not import without a broker's client, so that the
two environment modules are loaded from their files. Ours keeps FinRL's rules (`priority="size"`), the slower of the two.
First both keep one account over 400 days of random orders: shares must be equal, cash to 1e-6.
"""

import contextlib
import functools
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".bench" / "finrl-venv"
PACKAGES = ("gymnasium==1.4.0", "numpy<2.3", "pandas<3", "matplotlib", "stable-baselines3==2.9.2")
STOCKS, DAYS, INDICATORS, CASH, MOST = 30, 2_500, 8, 1_000_000, 100
CHECKED, POOL, REPEATS, SECONDS, BATCH = 400, 16, 7, 1.0, 4_096


class Rates(NamedTuple):
    """Environment steps per wall second, in one repeat."""

    size: float
    prorata: float
    frame: float
    arrays: float


def market() -> dict[str, Any]:
    """Prices, indicators (none is ever 1, which FinRL takes for a suspension) and actions; the same for both."""
    rng = np.random.default_rng(0)
    close = 50 * np.exp(np.cumsum(rng.normal(2e-4, 0.015, (DAYS, STOCKS)), axis=0)) * rng.uniform(0.4, 4, STOCKS)
    orders = np.stack([rng.permutation(np.r_[-99:0, 1:100])[:STOCKS] for _ in range(CHECKED)])
    return {
        "close": close,
        "indicators": rng.normal(0, 1, (DAYS, STOCKS, INDICATORS)) + 10,
        # Distinct sizes: FinRL leaves the order of equal ones to an unstable sort. Half a share away from rounding.
        "checked": (orders + 0.5 * np.sign(orders)) / MOST,
        "pool": rng.uniform(-1, 1, (POOL, STOCKS)).astype(np.float32),
    }


# --- ours ------------------------------------------------------------------------------------------------------------


def ours(priority: str, execution: str, starts: str) -> Any:
    """The environment under test."""
    from fiduciary.data import BARS, Panel
    from fiduciary.envs import ShareTrading
    from fiduciary.factors import Factor

    m = market()
    names = tuple(f"indicator-{k}" for k in range(INDICATORS))
    bars = np.repeat(m["close"][..., None], len(BARS), axis=-1)
    values = np.concatenate((bars, m["indicators"]), axis=-1)
    dates = np.datetime64("2010-01-01") + np.arange(DAYS)
    symbols = tuple(f"S{n:02d}" for n in range(STOCKS))
    panel = Panel(dates, symbols, (*BARS, *names), values, np.ones((DAYS, STOCKS), dtype=bool))
    factors = tuple(Factor(name, 1, functools.partial(_field, name=name)) for name in names)
    options = {"cash": CASH, "max_shares": MOST, "priority": priority, "execution": execution, "starts": starts}
    return ShareTrading(panel, factors, **options)


def _field(bars: Any, name: str) -> Any:
    return bars[name]


def rate(env: Any, batch: int, *, seconds: float = SECONDS, episode: int = 100) -> float:
    """Account-steps per second of observe and step under random actions, new accounts on random dates included."""
    import torch

    rng = torch.Generator().manual_seed(0)
    actions = [torch.rand(batch, STOCKS, generator=rng) * 2 - 1 for _ in range(POOL)]
    done, started = 0, 0.0
    while not started or time.perf_counter() - started < seconds:
        state = env.init(batch, rng)
        for k in range(episode):
            env.observe(state)
            state, _step = env.step(state, actions[k % POOL])
        if started:
            done += episode * batch
        else:
            started = time.perf_counter()  # the first episode warms up
    return done / (time.perf_counter() - started)


# --- the peer's process ----------------------------------------------------------------------------------------------


def peer() -> None:
    """Answer lines on standard input: `account` with one account's path, `rates` with two speeds."""
    m = market()
    frame, arrays = _finrl(m)
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()):
            answer = _account(frame, m["checked"]) if line.strip() == "account" else [_rate(frame, m), _rate(arrays, m)]
        print(json.dumps(answer), flush=True)


def _finrl(m: dict[str, Any]) -> tuple[Any, Any]:
    import pandas as pd

    names = [f"indicator-{k}" for k in range(INDICATORS)]
    frame = pd.DataFrame(m["indicators"].reshape(-1, INDICATORS), columns=names)
    frame["close"] = m["close"].ravel()
    frame["tic"] = np.tile([f"S{n:02d}" for n in range(STOCKS)], DAYS)
    frame["date"] = np.repeat((np.datetime64("2010-01-01") + np.arange(DAYS)).astype(str), STOCKS)
    frame.index = np.repeat(np.arange(DAYS), STOCKS)
    config = {
        "hmax": MOST, "initial_amount": CASH, "num_stock_shares": [0] * STOCKS, "buy_cost_pct": [0.001] * STOCKS,
        "sell_cost_pct": [0.001] * STOCKS, "state_space": 1 + (2 + INDICATORS) * STOCKS, "stock_dim": STOCKS,
        "tech_indicator_list": names, "action_space": STOCKS, "reward_scaling": 1e-4, "print_verbosity": 10**9,
    }  # fmt: skip
    arrays = {
        "price_array": m["close"], "tech_array": m["indicators"].reshape(DAYS, -1),
        "turbulence_array": np.zeros(DAYS), "if_train": False,
    }  # fmt: skip
    return _module("env_stocktrading").StockTradingEnv(frame, **config), _module("env_stocktrading_np").StockTradingEnv(
        arrays
    )


def _module(name: str) -> Any:
    import importlib.util

    (path,) = PLACE.glob(f"lib/python*/site-packages/finrl/meta/env_stock_trading/{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _account(env: Any, actions: Any) -> list[list[float]]:
    env.reset()
    path = []
    for action in actions:
        state, *_ = env.step(action)
        path.append([float(state[0]), *map(float, state[1 + STOCKS : 1 + 2 * STOCKS])])
    return path


def _rate(env: Any, m: dict[str, Any]) -> float:
    env.reset()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        if env.step(m["pool"][done % POOL])[2]:
            env.reset()
        done += 1
    return done / (time.perf_counter() - started)


# --- the row ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def finrl() -> Iterator[Any]:
    """A function that asks FinRL's process."""
    python = PLACE / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PLACE)], check=True)
        for packages in (("--no-deps", "finrl==0.3.7"), PACKAGES):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([python, __file__, "peer"], **pipes) as process:

        def ask(question: str) -> Any:
            process.stdin.write(question + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def same_account(path: list[list[float]]) -> float:
    """Largest difference in cash over the days; shares must be equal."""
    import torch

    env = ours("size", "close", "first")
    state, worst = env.init(1, torch.Generator()), 0.0
    for action, (cash, *shares) in zip(market()["checked"], path, strict=True):
        state, _step = env.step(state, torch.from_numpy(action).unsqueeze(0))
        if state.shares[0].tolist() != shares:
            raise SystemExit(f"shares differ from FinRL's on {np.datetime64(int(env.when(state)), 'D')}")
        worst = max(worst, abs(float(state.cash) - cash))
    if not worst < 1e-6:
        raise SystemExit(f"cash differs from FinRL's by {worst:g}")
    return worst


def rates() -> tuple[list[Rates], float]:
    """Paired repeats, and the largest difference in cash."""
    import torch

    torch.set_num_threads(1)  # one core against one core
    mine = {priority: ours(priority, "next_open", "random") for priority in ("size", "prorata")}
    with finrl() as ask:
        worst = same_account(ask("account"))
        runs = [Rates(rate(mine["size"], BATCH), rate(mine["prorata"], BATCH), *ask("rates")) for _ in range(REPEATS)]
    return runs, worst


def ratio(name: str, runs: list[Rates], rule: str = "size") -> tuple[float, tuple[float, float], float]:
    """Median and range of ours over the peer's, and the peer's median."""
    theirs = [getattr(run, name) for run in runs]
    pairs = [getattr(run, rule) / other for run, other in zip(runs, theirs, strict=True)]
    return float(np.median(pairs)), (min(pairs), max(pairs)), float(np.median(theirs))


def measure() -> Any:
    from rows import Figure

    runs, worst = rates()
    rows = {}
    for rule, words in (
        ("size", "larger orders first, FinRL's rule"),
        ("prorata", "all orders cut alike, our default"),
    ):
        value, interval, theirs = ratio("frame", runs, rule)
        note = (
            f"{words}; median of pairs; ours {np.median([getattr(run, rule) for run in runs]):,.0f} steps/s, batch {BATCH}, "
            f"a core each; by FinRL's rule {CHECKED} days of one account: shares equal, cash to {worst:.1g}"
        )
        rows[rule] = Figure(
            round(value), "times FinRL's steps per second", 5_000, "higher", len(runs), note,
            interval=(round(interval[0]), round(interval[1])), peer="FinRL 0.3.7 StockTradingEnv",
            peer_value=round(theirs, 1),
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    if sys.argv[1:] == ["peer"]:
        peer()
    else:
        from rows import row

        row(3, measure)
