"""What stands behind a verdict, as chart specifications: intervals, luck alone, months, seeds, splits."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fiduciary.evaluation import inference
from fiduciary.records.schema import Condition, Dates, Evidence
from fiduciary.reports import figures, findings
from fiduciary.reports.drawing import (
    BENCHMARK,
    CANDIDATES,
    GAIN,
    GREYS,
    LOSS,
    YARDSTICK,
    Chart,
    Trace,
    layout,
    line,
    safe,
    tidy,
)  # fmt: skip
from fiduciary.reports.series import Draw

POINTS = "points of log growth a year"
ROW, MARGIN, NAME = 24, 64, 30
BINS = 40
TAILS = 0.01, 0.99


class Bar(NamedTuple):
    """One estimate with its interval in a row of a chart, and all of it as text."""

    row: int
    text: str
    value: float
    low: float
    high: float


def rivals(evidence: Evidence, shown: Sequence[figures.Figure], order: Sequence[str], currency: str) -> Chart:
    """Candidate minus every rival, one choice for each figure of `shown`, only the first visible; percentages in points."""
    by = {(each.figure, each.rival): each for each in evidence.differences}
    traces = []
    for choice, figure in enumerate(shown):
        scale = 100.0 if figure.write(1.0).endswith("%") else 1.0
        bars = [
            Bar(row, f"{rival}: {figures.gap(each, figure, currency).line}", scale * each.value, scale * each.low,
                scale * each.high)
            for row, rival in enumerate(order) if (each := by.get((figure.name, rival)))
        ]  # fmt: skip
        # More of a figure need not be better, so these are not green and red.
        colors = [BENCHMARK if bar.low > 0 or bar.high < 0 else GREYS[0] for bar in bars]
        dots = _dots(bars, figure.label) | {"marker": {"size": 9, "color": colors}}
        traces.append(dots | {"meta": choice, "visible": choice == 0})
    return {"data": traces, "layout": _rows(order)}


def conditions(found: Sequence[Condition], kind: str) -> Chart:
    """The edge under each condition of one kind, with its interval."""
    names = [findings.named(each) for each in found]
    bars = [
        Bar(row, f"{name}: {findings.edge(each)}", 100 * each.difference, 100 * each.low, 100 * each.high)
        for row, (name, each) in enumerate(zip(names, found, strict=True))
    ]
    return {"data": [_dots(bars, findings.KINDS[kind])], "layout": _rows(names, POINTS)}


def null(evidence: Evidence) -> Chart:
    """How often luck alone gives which difference, from its quantiles, with the difference found."""
    quantiles, found = 100 * np.asarray(evidence.null), 100 * evidence.power.edge
    # The luck of few seeds has tails (Student's t) beside which the hill itself would be one bar.
    low, high = np.interp(TAILS, np.linspace(0, 1, len(quantiles)), quantiles)
    edges = np.linspace(min(low, found), max(high, found), BINS + 1)
    share = np.diff(np.interp(edges, quantiles, np.linspace(0, 1, len(quantiles))))
    hill: Trace = {
        "type": "bar", "x": tidy((edges[1:] + edges[:-1]) / 2), "y": tidy(share), "name": "luck alone",
        "marker": {"color": GREYS[2]}, "hovertemplate": "%{x:+.1f} points: %{y:.1%}<extra></extra>",
    }  # fmt: skip
    mark = line([found, found], [0, float(share.max()) * 1.05], "the difference found", CANDIDATES[0], "", width=2.4)
    plain = _plain(POINTS) | {"bargap": 0.04, "hovermode": "closest"}
    plain["yaxis"] |= {"showticklabels": False}
    return {"data": [hill, mark], "layout": plain}


def months(evidence: Evidence) -> Chart:
    """Log growth over the benchmark, month by month."""
    values = 100 * np.asarray(list(evidence.months.values()))
    bars: Trace = {
        "type": "bar", "x": [f"{month}-01" for month in evidence.months], "y": tidy(values), "name": evidence.candidate,
        "marker": {"color": [GAIN if value > 0 else LOSS for value in values]}, "xperiod": "M1",
        "hovertemplate": "%{x|%B %Y}: %{y:+.2f} points<extra></extra>",
    }  # fmt: skip
    plain = layout(title="points of log growth", tickformat="~g", hovermode="closest")
    return {"data": [bars | {"name": safe(evidence.candidate)}], "layout": plain | {"showlegend": False}}


def seeds(edges: Mapping[Draw, float]) -> Chart:
    """The edge of every draw as a dot, and their mean with its interval (Student's t)."""
    values = 100 * np.asarray(list(edges.values()))
    mean = inference.over_seeds(values.tolist())
    names = [f"seed {seed}{f', path {path}' if path else ''}" for seed, path in edges]
    dots: Trace = {
        "type": "scatter", "mode": "markers", "x": tidy(values), "y": [0.15 * (i % 3 - 1) for i in range(len(values))],
        "text": [f"{name}: {value:+.1f} points" for name, value in zip(names, values, strict=True)], "name": "seeds",
        "marker": {"size": 9, "color": f"{CANDIDATES[0]}99"}, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    bar = Bar(1, f"mean: {mean.mean:+.1f} points", mean.mean, mean.low, mean.high)
    return {"data": [dots, _dots([bar], "mean")], "layout": _rows(["each seed", "mean"], POINTS)}


def splits(found: Sequence[Dates]) -> Chart:
    """When each split learned, chose and was judged, one row a split."""
    parts: dict[str, tuple[str, list[list[tuple[str, str]]]]] = {
        "learned on": (CANDIDATES[0], [pieces(each) for each in found]),
        "chosen on": (YARDSTICK, [[each.valid] if each.valid else [] for each in found]),
        "judged on": (BENCHMARK, [[each.test] for each in found]),
    }
    traces = []
    for name, (color, rows) in parts.items():
        ends = [(row, end) for row, ranges in enumerate(rows) for first, last in ranges for end in (first, last, None)]
        x, y = [end for _, end in ends], [None if end is None else row for row, end in ends]
        if x:
            stroke = {"color": color, "width": 11}
            traces.append({"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": stroke,
                           "hovertemplate": "%{x}"})  # fmt: skip
    dated = _rows([f"split {place}" for place in range(1, len(found) + 1)], legend=True)
    dated["xaxis"] |= {"type": "date", "tickformat": ""}
    return {"data": traces, "layout": dated | {"shapes": []}}


def pieces(dates: Dates) -> list[tuple[str, str]]:
    """The training range without its holes."""
    out, start = [], dates.train[0]
    for first, last in sorted(dates.without):
        if first > start:
            out.append((start, first))
        start = max(start, last)
    return [*out, (start, dates.train[1])] if start < dates.train[1] else out


def _dots(bars: Sequence[Bar], name: str) -> Trace:
    """Estimates from above to below, green or red where the interval does not hold zero."""
    values = np.array([bar.value for bar in bars])
    low, high = (np.array([getattr(bar, end) for bar in bars]) for end in ("low", "high"))
    colors = [GAIN if bar.low > 0 else LOSS if bar.high < 0 else GREYS[1] for bar in bars]
    reach: dict[str, Any] = {"type": "data", "symmetric": False, "thickness": 1.6, "width": 4, "color": GREYS[0]}
    return {
        "type": "scatter", "mode": "markers", "x": tidy(values), "y": [bar.row for bar in bars],
        "name": safe(name), "marker": {"size": 9, "color": colors}, "text": [safe(bar.text) for bar in bars],
        "error_x": reach | {"array": tidy(high - values), "arrayminus": tidy(values - low)},
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _rows(names: Sequence[str], unit: str = "", *, legend: bool = False) -> dict[str, Any]:
    """Named rows from above to below, with a dashed line at zero."""
    plain = _plain(unit) | {"hovermode": "closest", "showlegend": legend, "height": MARGIN + ROW * len(names)}
    plain["margin"] |= {} if legend else {"t": 8}
    short = [safe(name if len(name) <= NAME else f"{name[: NAME - 1]}…") for name in names]
    plain["yaxis"] |= {
        "tickvals": list(range(len(names))), "ticktext": short, "range": [len(names) - 0.4, -0.6], "ticklen": 6,
        "ticks": "outside", "tickcolor": "rgba(0,0,0,0)",
    }  # fmt: skip
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1}
    return plain | {"shapes": [zero | {"line": {"color": GREYS[0], "width": 1, "dash": "dash"}}]}


def _plain(unit: str) -> dict[str, Any]:
    """Numbers along the bottom, with their unit."""
    plain = layout(tickformat="", dates=False)
    plain["xaxis"] |= {
        "showgrid": True,
        "nticks": 5,
        "tickformat": "~g",
        "title": {"text": unit, "standoff": 8, "font": {"size": 11}},
    }
    plain["yaxis"] |= {"showgrid": False}
    return plain
