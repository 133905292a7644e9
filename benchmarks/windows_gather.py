"""Speed of gathering windows of 30 x 10 float32 against a plain copy of the same bytes."""

import time
from statistics import median

import torch

from fiduciary.core.types import View
from rows import Figure, row

BATCH, BARS, WINDOW, FEATURES = 4_096, 2_500, 30, 10
PAIRS, REPEATS = 51, 20


def measure() -> Figure:
    torch.set_num_threads(1)
    bar = torch.randint(WINDOW - 1, BARS, (BATCH,), generator=torch.Generator().manual_seed(0))
    view = View(torch.rand(BARS, FEATURES), bar, WINDOW)
    out, same = torch.empty(BATCH, WINDOW, FEATURES), torch.rand(BATCH, WINDOW, FEATURES)

    def gather() -> float:
        began = time.perf_counter()
        for _ in range(REPEATS):
            view.window(out=out)
        return BATCH * REPEATS / (time.perf_counter() - began)

    def copy() -> float:
        began = time.perf_counter()
        for _ in range(REPEATS):
            out.copy_(same)
        return BATCH * REPEATS / (time.perf_counter() - began)

    gather(), copy()  # warm
    pairs = [(gather(), copy()) for _ in range(PAIRS)]
    ratios = sorted(ours / plain for ours, plain in pairs)
    ours, plain = (median(rates) for rates in zip(*pairs, strict=True))
    note = (
        f"{BATCH:,} windows of {WINDOW} x {FEATURES} float32 into one preallocated tensor, one thread: {ours:,.0f} windows/s; "
        "interval: the middle 90 % of the pairs"
    )
    spread = (round(ratios[PAIRS // 20], 2), round(ratios[-1 - PAIRS // 20], 2))
    return Figure(
        round(median(ratios), 2),
        "of a memory copy",
        0.5,
        "higher",
        PAIRS,
        note,
        spread,
        "torch.Tensor.copy_",
        round(plain),
    )


if __name__ == "__main__":
    row(3, measure)
