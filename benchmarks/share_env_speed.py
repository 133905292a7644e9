"""Steps per second of `ShareTrading` with 30 stocks on two cores, by the slower of its two rules: one process a core."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch

from rows import Figure, row
from share_env_finrl import BATCH, REPEATS, ours, rate


def _rate(priority: str, batch: int) -> float:
    torch.set_num_threads(1)
    return rate(ours(priority, "next_open", "random"), batch)


def measure() -> Figure:
    medians, spread = {}, (0.0, 0.0)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for processes, batch in ((1, 1), (1, BATCH), (2, BATCH)):
            for priority in ("prorata", "size"):
                runs = [sum(pool.map(_rate, [priority] * processes, [batch] * processes)) for _ in range(REPEATS)]
                medians[f"{priority}, {processes} core(s), batch {batch}"] = float(np.median(runs))
                spread = (round(min(runs)), round(max(runs)))
    note = "observe and step; " + "; ".join(f"{name}: {value:,.0f}" for name, value in medians.items())
    # The last one measured: orders by size, two cores.
    return Figure(round(list(medians.values())[-1]), "steps/s", 1_000_000, "higher", REPEATS, note, interval=spread)


if __name__ == "__main__":
    row(3, measure)
