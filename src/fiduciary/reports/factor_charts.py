"""What was found of a factor, as chart specifications in plain values (plotly.js `data` and `layout`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fiduciary.evaluation.factor_findings import Evaluation, Look, Spread
from fiduciary.evaluation.factor_likeness import NEAREST
from fiduciary.reports.drawing import (
    BENCHMARK,
    CANDIDATES,
    GAIN,
    GREYS,
    LOSS,
    Chart,
    Numbers,
    Trace,
    dates,
    layout,
    line,
    tidy,
)
from fiduciary.reports.evidence_charts import Bar, _dots, _rows
from fiduciary.reports.words import counted

QUARTER = 63
"""Bars over which the IC is averaged."""


def charts(evaluation: Evaluation, k: int) -> dict[str, Chart]:
    """Charts of factor k by the id of their place on its sheet; those without anything to show are left out."""
    look = evaluation.findings[k].look
    days = dates(evaluation.dates.astype("datetime64[D]").astype(np.int64))
    drawn = {}
    if np.isfinite(look.daily_rank_ic).any():
        drawn["ic"], drawn["sum"] = _through_time(days, look)
        drawn["decay"] = _decay(evaluation, look)
        drawn["coverage"] = _coverage(days, look)
        drawn["years"] = _years(look)
    if np.isfinite(look.by_quantile).any():
        drawn["quantiles"] = _quantiles(look)
    if np.isfinite(look.long_short.daily).any():
        drawn["money"] = _money(days, look)
    if len(evaluation.findings) > 1 and np.isfinite(evaluation.correlation[k]).sum() > 1:
        drawn["others"] = _others(evaluation, k)
    return drawn


def _through_time(days: list[str], look: Look) -> tuple[Chart, Chart]:
    """The daily IC is noise to the eye: its mean over a quarter, and its running sum."""
    known = np.flatnonzero(np.isfinite(look.daily_rank_ic))
    x, daily = [days[t] for t in known], look.daily_rank_ic[known]
    bars = min(QUARTER, len(daily))
    recent = np.convolve(daily, np.full(bars, 1 / bars), "valid")
    mean = line(x[bars - 1 :], recent, f"mean of {bars} bars", CANDIDATES[0], "%{y:+.3f}")
    total = line(x, np.cumsum(daily), "sum so far", BENCHMARK, "%{y:+.1f}")
    plain = layout(tickformat="~g") | {"showlegend": False} | _zero()
    return {"data": [mean], "layout": plain}, {"data": [total], "layout": plain}


def _decay(evaluation: Evaluation, look: Look) -> Chart:
    bars = [
        Bar(row, f"{h} bars: {mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})", mean.mean, mean.low, mean.high)
        for row, (h, mean) in enumerate(zip(evaluation.terms.horizons, look.rank_ic, strict=True))
    ]
    names = [counted(h, "bar") for h in evaluation.terms.horizons]
    return {"data": [_dots(bars, "rank IC")], "layout": _rows(names, "rank IC")}


def _bars(x: Sequence[str], y: Numbers, hover: str, title: str) -> Chart:
    color = [GAIN if value > 0 else LOSS for value in y]
    trace = {"type": "bar", "x": list(x), "y": tidy(y), "name": "", "marker": {"color": color}, "hovertemplate": hover}
    plain = layout(title=title, tickformat="~g", hovermode="closest")
    plain["xaxis"] |= {"type": "category"}
    return {"data": [trace], "layout": plain | {"showlegend": False}}


def _quantiles(look: Look) -> Chart:
    last = len(look.by_quantile)
    names = [f"{q}{' lowest' if q == 1 else ' highest' if q == last else ''}" for q in range(1, last + 1)]
    return _bars(names, 1e4 * look.by_quantile, "%{y:+.1f} basis points<extra></extra>", "basis points")


def _years(look: Look) -> Chart:
    years = [str(year.year) for year in look.years]
    return _bars(years, [year.rank_ic for year in look.years], "%{x}: %{y:+.3f}<extra></extra>", "mean rank IC")


def _money(days: list[str], look: Look) -> Chart:
    def total(spread: Spread, name: str, color: str) -> Trace:
        held = np.flatnonzero(np.isfinite(spread.daily))
        return line([days[t] for t in held], np.cumsum(spread.daily[held]), name, color, "%{y:+.1%}")

    traces = [
        total(look.long_short, "best minus worst", CANDIDATES[0]),
        total(look.long_only, "best minus the whole cross-section", BENCHMARK),
    ]
    return {"data": traces, "layout": layout(tickformat=".0%") | _zero()}


def _coverage(days: list[str], look: Look) -> Chart:
    known = np.flatnonzero(np.isfinite(look.daily_coverage))
    trace = line([days[t] for t in known], look.daily_coverage[known], "known", BENCHMARK, "%{y:.1%}", width=1.2)
    plain = layout(tickformat=".0%") | {"showlegend": False}
    plain["yaxis"] |= {"range": [0, 1.02]}
    return {"data": [trace], "layout": plain}


def _others(evaluation: Evaluation, k: int) -> Chart:
    """The factors most like this one."""
    row = np.nan_to_num(evaluation.correlation[k].copy())
    row[k] = 0.0
    near = [int(j) for j in np.argsort(-np.abs(row), kind="stable")[:NEAREST] if j != k]
    names = [evaluation.findings[j].name for j in near]
    bars = [
        Bar(place, f"{name}: {row[j]:+.2f}", row[j], row[j], row[j])
        for place, (j, name) in enumerate(zip(near, names, strict=True))
    ]
    return {"data": [_dots(bars, "correlation")], "layout": _rows(names, "mean rank correlation")}


def _zero() -> dict[str, Any]:
    """A dashed line at zero."""
    return {"shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0,
                        "line": {"color": GREYS[0], "width": 1, "dash": "dash"}}]}  # fmt: skip
