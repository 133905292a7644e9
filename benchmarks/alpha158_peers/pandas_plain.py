"""Alpha158 as a user of pandas writes it: one frame [T, N] per field, `rolling` down the dates, windows of pandas only."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

WINDOWS, SPECK = (5, 10, 20, 30, 60), 1e-12
Frames = dict[str, pd.DataFrame]


def alpha158(fields: Frames) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and values of each of the 158."""
    yield from bars(fields).items()
    for d in WINDOWS:
        for family in (levels(fields, d), relations(fields, d), moves(fields, d)):
            yield from ((f"{name}{d}", values) for name, values in family.items())


def bars(fields: Frames) -> Frames:
    o, h, low, c = (fields[name] for name in ("open", "high", "low", "close"))
    span, top, bottom = h - low + SPECK, np.maximum(o, c), np.minimum(o, c)
    return {
        "KMID": (c - o) / o, "KLEN": (h - low) / o, "KMID2": (c - o) / span, "KUP": (h - top) / o, "KUP2": (h - top) / span,
        "KLOW": (bottom - low) / o, "KLOW2": (bottom - low) / span, "KSFT": (2 * c - h - low) / o,
        "KSFT2": (2 * c - h - low) / span, "OPEN0": o / c, "HIGH0": h / c, "LOW0": low / c, "VWAP0": fields["vwap"] / c,
    }  # fmt: skip


def levels(fields: Frames, d: int) -> Frames:
    c, close = fields["close"], fields["close"].rolling(d)
    high, low = fields["high"].rolling(d), fields["low"].rolling(d)
    greatest, least = high.max(), low.min()
    first, last = high.apply(np.argmax, raw=True) + 1, low.apply(np.argmin, raw=True) + 1
    return {
        "ROC": c.shift(d) / c, "MA": close.mean() / c, "STD": close.std() / c, "MAX": greatest / c, "MIN": least / c,
        "QTLU": close.quantile(0.8) / c, "QTLD": close.quantile(0.2) / c, "RANK": close.rank(pct=True),
        "RSV": (c - least) / (greatest - least + SPECK), "IMAX": first / d, "IMIN": last / d, "IMXD": (first - last) / d,
    }  # fmt: skip


def relations(fields: Frames, d: int) -> Frames:
    c, v, close = fields["close"], fields["volume"], fields["close"].rolling(d)
    time = pd.DataFrame(np.broadcast_to(np.arange(float(len(c)))[:, None], c.shape), c.index, c.columns)
    slope = close.cov(time, pairwise=False) / (d * (d + 1) / 12)
    ratio, turn = c / c.shift(1), v / v.shift(1)
    traded = ((ratio - 1).abs() * v).rolling(d)
    return {
        "BETA": slope / c, "RSQR": close.corr(time, pairwise=False) ** 2,
        "RESI": (c - close.mean() - slope * (d - 1) / 2) / c, "CORR": close.corr(np.log(v + 1), pairwise=False),
        "CORD": ratio.rolling(d).corr(np.log(turn + 1), pairwise=False),
        "VMA": v.rolling(d).mean() / (v + SPECK), "VSTD": v.rolling(d).std() / (v + SPECK),
        "WVMA": traded.std() / (traded.mean() + SPECK),
    }  # fmt: skip


def moves(fields: Frames, d: int) -> Frames:
    change = fields["close"].diff()
    up, down = (change > 0).where(change.notna()), (change < 0).where(change.notna())
    rises, falls = (side.astype(float).rolling(d).mean() for side in (up, down))
    out = {"CNTP": rises, "CNTN": falls, "CNTD": rises - falls}
    for prefix, name in (("", "close"), ("V", "volume")):
        change = fields[name].diff()
        gains, losses = change.clip(lower=0).rolling(d).sum(), (-change).clip(lower=0).rolling(d).sum()
        total = change.abs().rolling(d).sum() + SPECK
        out |= {
            f"{prefix}SUMP": gains / total,
            f"{prefix}SUMN": losses / total,
            f"{prefix}SUMD": (gains - losses) / total,
        }
    return out
