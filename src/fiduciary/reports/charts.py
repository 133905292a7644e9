"""Series -> chart specifications in plain values (plotly.js `data` and `layout`); nothing is drawn here."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiduciary.evaluation import metrics
from fiduciary.records.schema import Cell, Path
from fiduciary.reports.series import Fan, Floats
from fiduciary.reports.tables import Column

Chart = dict[str, Any]
Trace = dict[str, Any]
Numbers = Sequence[float] | Floats

CANDIDATES = ("#1f4fd8", "#8b3fc7", "#0c8599", "#c2255c")
GREYS = ("#98a2b3", "#667085", "#d0d5dd")
BENCHMARK, YARDSTICK, BUY, SELL, PRICE = "#1d2433", "#c27803", "#12805c", "#c92a2a", "#667085"
BOUGHT, SOLD = ("buy", 1, BUY, "triangle-up"), ("sell", -1, SELL, "triangle-down")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def wealth(fans: Iterable[Fan], currency: str, *, capital: float | None = None) -> Chart:
    """Account value: mean line, range and every seed of a candidate; one line for a rule.

    Yardsticks that started with other money are scaled to `capital`, and named so, since only their shape compares.
    """
    shown = [_scaled(fan, capital) if capital and fan.column.role == "yardstick" else fan for fan in fans]
    return {"data": _lines(shown, "%{y:,.0f}"), "layout": layout(title=currency, tickformat=",")}


def drawdown(fans: Iterable[Fan]) -> Chart:
    """Fall from the highest value so far, of every seed, and its mean over seeds."""
    fallen = [fan._replace(wealth=np.stack([metrics.drawdowns(each) for each in fan.wealth])) for fan in fans]
    return {"data": _lines(fallen, "%{y:.1%}"), "layout": layout(tickformat=".0%")}


def trades(runs: Sequence[tuple[str, Path]], currency: str) -> Chart:
    """Price with the fills of several runs of one account, only those of the first visible.

    Step i fills between days[i] and days[i + 1]; its mark stands on the price of days[i + 1].
    """
    path = runs[0][1]
    line = {**_line(dates(path.days), path.mark, "price", PRICE, "%{y:,.2f}"), "line": {"color": PRICE, "width": 1.3}}
    marks = [mark for choice, (_, path) in enumerate(runs) for mark in _fills(path, choice)]
    return {"data": [line, *marks], "layout": layout(title=currency, tickformat=",", hovermode="closest")}


def several(path: Path) -> bool:
    """Whether the account holds several assets at once: it has no price of its own, and its trades have no side."""
    return bool(path.action) and isinstance(path.action[0], list) and not (np.asarray(path.traded) < 0).any()


def positions(runs: Sequence[tuple[str, Path]]) -> Chart:
    """Share of wealth in positions, and money traded, of several runs of one account, only those of the first visible."""
    traces = []
    for choice, (_, path) in enumerate(runs):
        x, traded = dates(path.days), np.asarray(path.traded) / np.asarray(path.wealth)[:-1]
        held = _line(x, path.exposure, "in positions", CANDIDATES[0], "%{y:.1%}")
        moved = _line(x[1:], traded, "traded", YARDSTICK, "%{y:.1%}", width=1.0)
        traces += [{**trace, "meta": choice, "visible": choice == 0} for trace in (held, moved)]
    return {"data": traces, "layout": layout(title="share of account value", tickformat=".0%")}


def learning(cells: Iterable[tuple[int, Cell]], figure: str) -> Chart:
    """One figure of training over updates, a thin line for each cell; the number is its candidate's place."""
    traces = []
    for place, cell in cells:
        points = [(point["update"], point[figure]) for point in cell.curve if figure in point]
        x, y = zip(*points, strict=True) if points else ((), ())
        name = label(cell)
        trace = _line(list(x), y, name, CANDIDATES[place % len(CANDIDATES)], "%{y:.4g}", width=1.1)
        traces.append({**trace, "mode": "lines" if len(x) > 1 else "markers"})  # a line of one point cannot be seen
    plain = layout(tickformat="~g", dates=False)
    plain["showlegend"] = False
    return {"data": traces, "layout": plain}


def label(cell: Cell) -> str:
    """A cell in words, as legends and menus name it."""
    return cell.policy if cell.seed is None else f"{cell.policy}, seed {cell.seed}"


def dates(days: Sequence[int] | NDArray[np.int64]) -> list[str]:
    """Days since 1970-01-01 as ISO dates."""
    out: list[str] = np.datetime_as_string(np.asarray(days, dtype="datetime64[D]")).tolist()
    return out


def layout(*, title: str = "", tickformat: str, dates: bool = True, hovermode: str = "x unified") -> dict[str, Any]:
    """The common look: no frame, light grid, legend above."""
    axis = {"gridcolor": "#eceff3", "zeroline": False, "linecolor": "#d0d5dd", "automargin": True}
    return {
        "font": {"family": FONT, "size": 12, "color": "#475467"},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 34, "b": 8}, "hovermode": hovermode,
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": "#d0d5dd", "namelength": -1},
        "xaxis": {**axis, "type": "date" if dates else "linear", "showgrid": False, "ticks": "outside",
                  "tickcolor": "#d0d5dd", "nticks": 7, "tickangle": 0},
        "yaxis": {**axis, "tickformat": tickformat, "title": {"text": _safe(title), "standoff": 8}, "nticks": 6},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemwidth": 30},
    }  # fmt: skip


def _scaled(fan: Fan, capital: float) -> Fan:
    start = float(fan.wealth[0, 0])
    if math.isclose(start, capital, rel_tol=1e-6):
        return fan
    name = f"{fan.column.policy} (scaled to the same capital)"
    return fan._replace(column=Column(name, fan.column.role), wealth=fan.wealth * (capital / start))


def _lines(fans: Sequence[Fan], hover: str) -> list[Trace]:
    """Rules first, so that candidates are drawn above them; the legend keeps the order of the tables."""
    counts: dict[str, int] = {}
    traces = []
    for rank, fan in enumerate(fans):
        place = counts[fan.column.role] = counts.get(fan.column.role, -1) + 1
        color, dash = _style(fan.column.role, place)
        new = _seeds(fan, color) if len(fan.seeds) > 1 else []
        name = f"{fan.column.policy}, mean of {len(fan.seeds)} seeds" if new else fan.column.policy
        width = 2.4 if fan.column.role == "candidate" else 1.6
        mean = _line(dates(fan.days), fan.wealth.mean(axis=0), name, color, hover, width=width, dash=dash)
        traces.append([{**trace, "legendrank": 10 * rank + later} for later, trace in enumerate([mean, *new])])
    above = sorted(traces, key=lambda group: group[0]["line"]["color"] in CANDIDATES)
    return [trace for mean, *rest in above for trace in (*rest, mean)]


def _seeds(fan: Fan, color: str) -> list[Trace]:
    """A band from the lowest to the highest seed, and every seed as a thin line; one legend entry toggles them."""
    group = {"legendgroup": _safe(fan.column.policy), "hoverinfo": "skip", "showlegend": False}
    x, name = dates(fan.days), f"{fan.column.policy}, each seed and their range"
    low = {**_line(x, fan.wealth.min(axis=0), name, color, "", width=0), **group}
    high = {**_line(x, fan.wealth.max(axis=0), name, color, "", width=0), **group}
    high |= {"fill": "tonexty", "fillcolor": f"{color}1c", "showlegend": True}
    thin = [{**_line(x, each, name, f"{color}8c", "", width=0.8), **group} for each in fan.wealth]
    return [low, high, *thin]


def _style(role: str, place: int) -> tuple[str, str]:
    if role == "candidate":
        return CANDIDATES[place % len(CANDIDATES)], "solid"
    if role == "benchmark":
        return BENCHMARK, "solid"
    return (YARDSTICK, "dot") if role == "yardstick" else (GREYS[place % len(GREYS)], "dash")


def _fills(path: Path, choice: int) -> Iterable[Trace]:
    traded = np.asarray(path.traded)
    for side, sign, color, symbol in (BOUGHT, SOLD):
        at = np.flatnonzero(traded * sign > 0) + 1
        yield {
            **_line(dates(np.asarray(path.days)[at]), np.asarray(path.mark)[at], side, color, ""),
            "mode": "markers", "meta": choice, "visible": choice == 0, "customdata": _tidy(np.abs(traded[at - 1])),
            "marker": {"color": color, "symbol": symbol, "size": 10, "line": {"color": "#ffffff", "width": 1}},
            "hovertemplate": f"{side} %{{customdata:,.0f}}<br>%{{x}} at %{{y:,.2f}}<extra></extra>",
        }  # fmt: skip


def _line(
    x: Sequence[Any], y: Numbers, name: str, color: str, hover: str, *, width: float = 1.6, dash: str = "solid"
) -> Trace:
    line = {"color": color, "width": width, "dash": dash}
    trace: Trace = {"type": "scatter", "mode": "lines", "x": x, "y": _tidy(y), "name": _safe(name), "line": line}
    return trace | ({"hovertemplate": hover} if hover else {})


def _safe(text: str) -> str:
    """Plotly reads names as a little HTML."""
    return escape(text, quote=False)


def _tidy(values: Numbers) -> list[float | None]:
    """Seven digits are more than a screen shows, and half the file."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values]
