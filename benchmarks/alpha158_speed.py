"""Alpha158 on 3,000 stocks and ten years: ours on two threads against Qlib's own engine on two processes and plain pandas.

Ours computes all 3,000 stocks. The cost of the peers grows with the number of stocks, one after the other, so that they
compute the first few hundred of the same stocks, and their time for 3,000 is that of the marginal stock: what starting
processes and loading costs is left out, in their favour. Qlib's store is written from the same float32 numbers.

Equality: our formulas are those that Qlib's own 158 strings parse to, and the values are compared wherever both are known.
Qlib also has values where a window is not full yet (`min_periods=1`), always before our look-back. It keeps intermediate
series in float32: the correlations and WVMA, which lose digits there, are compared on Qlib's own float32 intermediates.
"""

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd

from alpha158_peers.pandas_plain import alpha158
from fiduciary.data import Panel
from fiduciary.factors import FactorTable, Formula, parse, qlib, tabulate
from fiduciary.factors.library import LIBRARY
from rows import SCRATCH, Figure, row
from single_stock_peers import venv

STOCKS, DAYS, CORES, REPEATS = 3_000, 2_520, 2, 3
FEW, MANY, PANDAS = 50, 300, (10, 60)
PEER = "pyqlib==0.9.7"
FIELDS = ("open", "high", "low", "close", "volume", "vwap")
LOSSY = {
    "CORR": "ts_corr(close, log_volume, {d})",
    "CORD": "ts_corr(ratio, log_turn, {d})",
    "WVMA": "ts_std(traded, {d}) / (ts_mean(traded, {d}) + 1e-12)",
}
"""Factors of series that Qlib keeps in float32."""


def market() -> Panel:
    """Prices and volumes as float32, the format that Qlib stores."""
    rng = np.random.default_rng(0)
    shape = (DAYS, STOCKS)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, shape))
    high = np.maximum(opened, close) * (1 + rng.uniform(0, 0.02, shape))
    low = np.minimum(opened, close) * (1 - rng.uniform(0, 0.02, shape))
    volume = np.round(1e5 * np.exp(rng.normal(0, 0.5, shape)))
    values = np.stack((opened, high, low, close, volume, (high + low + close) / 3), axis=-1, dtype=np.float32)
    return panel(values, FIELDS)


def panel(values: np.ndarray, fields: tuple[str, ...]) -> Panel:
    dates = np.datetime64("2010-01-01") + np.arange(len(values))
    names = tuple(f"S{n:04d}" for n in range(values.shape[1]))
    return Panel(dates, names, fields, values.astype(np.float64), np.ones(values.shape[:2], bool))


def ours(bars: Panel) -> tuple[FactorTable, list[float]]:
    """The whole table, and the seconds of each repeat."""
    table, seconds = None, []
    for _ in range(REPEATS):
        del table
        started = time.perf_counter()
        table = tabulate(bars, LIBRARY["alpha158"], dtype=np.float32, threads=CORES)
        seconds.append(time.perf_counter() - started)
    return table, seconds


def by_qlib(bars: Panel, stocks: int) -> tuple[dict[str, str], np.ndarray, float]:
    """{name: expression}, values [K, T, n] and seconds of Qlib's engine."""
    folder = SCRATCH / f"alpha158-{stocks}"
    folder.mkdir(parents=True, exist_ok=True)
    values = bars.values[:, :stocks].astype(np.float32)
    np.savez(folder / "bars.npz", dates=bars.dates, fields=np.array(FIELDS), values=values)
    script = Path(__file__).parent / "alpha158_peers" / "qlib_engine.py"
    done = subprocess.run([venv(PEER), script, folder, str(CORES)], capture_output=True, text=True, check=True)
    found = json.loads((folder / "expressions.json").read_text()), np.load(folder / "qlib.npy"), float(done.stdout)
    shutil.rmtree(folder)
    return found


def by_pandas(bars: Panel, stocks: int) -> tuple[dict[str, np.ndarray], float]:
    frames = {name: pd.DataFrame(bars.values[:, :stocks, f]) for f, name in enumerate(FIELDS)}
    started = time.perf_counter()
    found = {name: frame.to_numpy() for name, frame in alpha158(frames)}
    return found, time.perf_counter() - started


def gap(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Worst difference where both are known, relative above 1."""
    both = ~(np.isnan(mine) | np.isnan(theirs))
    return float(np.max(np.abs(mine - theirs)[both] / np.maximum(1.0, np.abs(theirs[both]))))


def on_float32(bars: Panel, stocks: int, names: list[str]) -> dict[str, np.ndarray]:
    """[T - 1, n] of the lossy factors, from intermediate series rounded where Qlib rounds them."""
    close, volume = (bars[name][:, :stocks].astype(np.float32) for name in ("close", "volume"))
    one, ratio = np.float32(1), close[1:] / close[:-1]
    series = {
        "close": close[1:], "log_volume": np.log(volume + one)[1:], "ratio": ratio,
        "log_turn": np.log(volume[1:] / volume[:-1] + one), "traded": np.abs(ratio - one) * volume[1:],
    }  # fmt: skip
    formulas = [Formula(name, parse(LOSSY[name[:4]].format(d=name[4:]))) for name in names]
    table = tabulate(panel(np.stack(list(series.values()), axis=-1), tuple(series)), formulas)
    return dict(zip(table.names, table.values, strict=True))


def equality(bars: Panel, expressions: dict[str, str], theirs: np.ndarray) -> tuple[float, float]:
    """Worst difference to Qlib: with its float32 intermediates, and without them."""
    formulas = {formula.name: formula for formula in LIBRARY["alpha158"]}
    for name, text in expressions.items():
        assert qlib(text) == formulas[name].expr, name
    names, stocks = list(expressions), theirs.shape[2]
    few = panel(bars.values[:, :stocks], FIELDS)
    mine = tabulate(few, [formulas[name] for name in names]).values
    for name, a, b in zip(names, mine, theirs, strict=True):
        # From the look-back on both know the same values.
        filled = slice(formulas[name].lookback - 1, None)
        assert not np.isnan(a[filled]).any() and not np.isnan(b[filled]).any(), name
    lossy = [name for name in names if name[:4] in LOSSY]
    rounded = on_float32(bars, stocks, lossy)
    plain = {name: gap(a, b) for name, a, b in zip(names, mine, theirs, strict=True)}
    # The row before the window is unknown in both, so that the first window of `rounded` is one that Qlib fills, too.
    fair = {name: gap(values, theirs[names.index(name)][1:]) for name, values in rounded.items()}
    return max((plain | fair).values()), max(plain.values())


def measure() -> dict[str, Figure]:
    bars = market()
    table, seconds = ours(bars)
    mine = float(np.median(seconds))
    _, _, little = by_qlib(bars, FEW)
    expressions, theirs, much = by_qlib(bars, MANY)
    peer = (much - little) / (MANY - FEW) * STOCKS
    (_, short), (frames, long) = (by_pandas(bars, stocks) for stocks in PANDAS)
    plain = (long - short) / (PANDAS[1] - PANDAS[0]) * STOCKS
    worst, raw = equality(bars, expressions, theirs)
    off = max(gap(table[name][:, : PANDAS[1]], values) for name, values in frames.items())
    size, held = f"{STOCKS} stocks x {DAYS} days, {CORES} cores", f"{table.values.nbytes / 1e9:.1f} GB"
    return {
        "seconds": Figure(
            mine, "s", None, "lower", REPEATS, f"{size}, a float32 table of {held}", (min(seconds), max(seconds))
        ),
        "vs_qlib": Figure(
            peer / mine, "times", 3, "higher", REPEATS,
            f"{size}; Qlib {peer:.0f} s by the marginal stock between {FEW} and {MANY}", peer=PEER, peer_value=peer,
        ),
        "vs_pandas": Figure(
            plain / mine, "times", 10, "higher", REPEATS,
            f"{size}; pandas {plain:.0f} s by the marginal stock between {PANDAS[0]} and {PANDAS[1]}, one core as pandas is; "
            f"worst difference to it {off:.1e}", peer=f"pandas {pd.__version__}", peer_value=plain,
        ),
        "difference": Figure(
            worst, "relative above 1", 1e-5, "lower", len(expressions),
            f"worst of the 158 over {MANY} stocks wherever our window is full, CORR, CORD and WVMA on Qlib's float32 "
            f"intermediates; {raw:.1e} on float64 ones", peer=PEER,
        ),
    }  # fmt: skip


if __name__ == "__main__":
    row(5, measure)
