"""Factors beside each other: how alike their rankings are, and what each knows that the nearest do not."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.evaluation.cross_section import Floats, Future
from fiduciary.evaluation.dependent_means import Mean, mean_of
from fiduciary.evaluation.factor_findings import Terms

SAMPLED = 252
"""Dates, evenly spread, on which factors are held against each other."""
NEAREST = 10
SPANNED = 1e-3
"""A factor of which the nearest leave less than this share of variance is theirs under another name."""
_RIDGE = 1e-9


class Likeness(NamedTuple):
    """Factors against each other: [K, K] mean correlation, and [K, S] rank IC of what the nearest leave of each."""

    correlation: Floats
    residual: tuple[Mean, ...]


def sampled_dates(ahead: Future, terms: Terms) -> NDArray[np.int64]:
    """At most `SAMPLED` dates with a cross-section and a known return, evenly spread."""
    usable = np.flatnonzero(ahead.entered[: ahead.known(terms.horizon)].sum(axis=1) >= terms.fewest)
    return usable[np.unique(np.linspace(0, len(usable) - 1, min(SAMPLED, len(usable))).astype(np.int64))]


def likeness(ranks: Floats, ahead: Future, sampled: NDArray[np.int64], terms: Terms, own: int) -> Likeness:
    """Correlations of the first `own` of ranks [K + C, S, N], and what is left of each beside its nearest and the controls.

    With Theta the inverse of the correlation matrix of one factor (first) and the others z, what they leave of it is
    sum_j Theta_1j z_j / Theta_11, of squared length 1 / Theta_11.
    """
    every = len(ranks)
    gram, foretold = np.full((len(sampled), every, every), np.nan), np.full((len(sampled), every), np.nan)
    later = ahead.doubled[terms.place]
    for s, t in enumerate(sampled):
        inside = ahead.entered[t]
        z = ranks[:, s, inside].astype(np.float64)
        g = later[t, inside] - later[t, inside].mean()
        length = np.sqrt(np.square(z).sum(axis=1))
        z /= np.where(length > 0, length, np.nan)[:, None]
        gram[s], foretold[s] = z @ z.T, z @ g / max(math.sqrt(float(g @ g)), 1.0)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(gram)
        correlation = np.where(known, gram, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    gap = max(1, int(np.median(np.diff(sampled)))) if len(sampled) > 1 else 1
    return Likeness(
        correlation[:own, :own],
        tuple(
            mean_of(
                _residual(gram, foretold, _beside(correlation, k, own)),
                overlap=-(-terms.horizon // gap),
                level=terms.level,
            )
            for k in range(own)
        ),
    )


def _beside(correlation: Floats, k: int, own: int) -> list[int]:
    """Factor k, its nearest, and the controls."""
    closeness = np.nan_to_num(np.abs(correlation[k, :own]))
    closeness[k] = -1.0
    return [k, *np.argsort(-closeness, kind="stable")[: min(NEAREST, own - 1)].tolist(), *range(own, len(correlation))]


def _residual(gram: Floats, foretold: Floats, beside: list[int]) -> Floats:
    """[S] rank IC of what the others leave of the first; NaN where they leave nothing, or it is unknown."""
    small = np.nan_to_num(gram[:, beside][:, :, beside])
    theta = np.linalg.inv(small + _RIDGE * np.eye(len(beside)))[:, 0]
    left = 1.0 / theta[:, 0]
    value = (theta * np.nan_to_num(foretold[:, beside])).sum(axis=1) * np.sqrt(left)
    return np.where((left > SPANNED) & np.isfinite(foretold[:, beside[0]]), value, np.nan)
