"""What each cross-section computes: functions of [D, N], every row a date of its own; NaN is unknown."""

from collections.abc import Callable, Mapping

import numpy as np

from fiduciary.factors.kernels import Floats, finite


def _cs_rank(x: Floats) -> Floats:
    order = np.argsort(x, axis=1)
    ranked, place = np.take_along_axis(x, order, axis=1), np.arange(x.shape[1])
    starts = np.ones(x.shape, bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    ends = np.ones(x.shape, bool)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, place, x.shape[1])[:, ::-1], axis=1)[:, ::-1]
    out = np.empty_like(x)
    np.put_along_axis(out, order, (first + last) / 2 + 1, axis=1)
    return np.where(np.isnan(x), np.nan, out / _known(x))


def _known(x: Floats) -> Floats:
    """[D, 1] number of symbols whose value is known."""
    return np.asarray((~np.isnan(x)).sum(axis=1, keepdims=True), np.float64)


def _cs_demean(x: Floats) -> Floats:
    mean: Floats = np.nansum(x, axis=1, keepdims=True) / _known(x)
    return x - mean


def _cs_zscore(x: Floats) -> Floats:
    d = _cs_demean(x)
    spread = np.sqrt(np.nansum(d * d, axis=1, keepdims=True) / (_known(x) - 1))
    constant = np.fmax.reduce(x, axis=1, keepdims=True) == np.fmin.reduce(x, axis=1, keepdims=True)
    return np.where(constant, np.nan, finite(d / spread))


def _cs_scale(x: Floats) -> Floats:
    return finite(x / np.nansum(np.abs(x), axis=1, keepdims=True))


def _cs_neutralise(x: Floats, group: Floats) -> Floats:
    known = ~(np.isnan(x) | np.isnan(group))
    out = np.full_like(x, np.nan)
    if known.any():
        codes, values = np.unique(group[known], return_inverse=True)[1], x[known]
        cell = np.nonzero(known)[0] * (int(codes.max()) + 1) + codes
        if cell[-1] > 16 * len(cell):  # groups of one, as of a price: what is empty would fill the memory
            cell = np.unique(cell, return_inverse=True)[1]
        out[known] = values - (np.bincount(cell, values) / np.maximum(np.bincount(cell), 1))[cell]
    return out


CROSS: Mapping[str, Callable[..., Floats]] = {
    "cs_rank": _cs_rank, "cs_zscore": _cs_zscore, "cs_demean": _cs_demean, "cs_scale": _cs_scale,
    "cs_neutralise": _cs_neutralise,
}  # fmt: skip
"""Functions of [D, N], each row a date of its own."""
