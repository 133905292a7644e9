"""Series -> chart specifications in plain values (plotly.js `data` and `layout`); nothing is drawn here."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fiduciary.evaluation import metrics
from fiduciary.records.schema import Cell, Path
from fiduciary.reports.drawing import (
    BENCHMARK,
    CANDIDATES,
    GAIN,
    GREYS,
    LOSS,
    PRICE,
    YARDSTICK,
    Chart,
    Trace,
    dates,
    layout,
    line,
    safe,
    tidy,
)  # fmt: skip
from fiduciary.reports.series import Fan, Floats, rolling_sharpe, sharpe_error, trailing
from fiduciary.reports.tables import MANY, Column

MONTH = 21
"""Bars over which exposure is averaged, since day by day that of a busy account is a solid block."""
DWARFING = 3
"""Times the highest value of all other policies: who was above that would press their lines flat."""
BOUGHT, SOLD = ("buy", 1, GAIN, "triangle-up"), ("sell", -1, LOSS, "triangle-down")


def wealth(fans: Sequence[Fan], currency: str, *, capital: float | None = None) -> Chart:
    """Account value: mean line, range and every draw of a candidate; one line for a rule.

    Yardsticks that started with other money are scaled to `capital`, and named so, since only their shape compares.
    """
    shown = [_scaled(fan, capital) if capital and fan.column.role == "yardstick" else fan for fan in fans]
    return {"data": _lines(shown, "%{y:,.0f}", comparable(fans)), "layout": layout(title=currency, tickformat=",")}


def drawdown(fans: Sequence[Fan]) -> Chart:
    """Fall from the highest value so far, of every draw, and its mean over draws."""
    fallen = [fan._replace(wealth=np.stack([metrics.drawdowns(each) for each in fan.wealth])) for fan in fans]
    return {"data": _lines(fallen, "%{y:.1%}", comparable(fans)), "layout": layout(tickformat=".0%")}


def exposure(fans: Sequence[Fan]) -> Chart:
    """Share of the account in positions, mean of the last `MONTH` bars; a yardstick has no account."""
    held = [fan._replace(wealth=trailing(fan.exposure, MONTH)) for fan in fans if fan.column.role != "yardstick"]
    return {"data": _lines(held, "%{y:.1%}", comparable(fans), thin=False), "layout": layout(tickformat=".0%")}


def rolling(fans: Sequence[Fan], window: int, per_year: float) -> Chart:
    """Annual Sharpe ratio over the last `window` bars, mean and range over draws, for candidates +-1.96 standard errors."""
    rolled = [fan._replace(days=fan.days[window:], wealth=rolling_sharpe(fan.wealth, window, per_year)) for fan in fans]
    # Interest alone has a ratio as high as it is meaningless, and would press all others flat.
    moved = [fan for fan in rolled if np.isfinite(fan.wealth).any() and fan.exposure.any()]
    own = [fan for fan in moved if fan.column.role == "candidate"]
    bands = [trace for place, fan in enumerate(own) for trace in _errors(fan, place, window, per_year)]
    return {
        "data": [*bands, *_lines(moved, "%{y:.2f}", comparable(fans), thin=False)],
        "layout": layout(tickformat="~g"),
    }


def comparable(fans: Sequence[Fan]) -> list[str]:
    """Baselines shown only when asked for: all among many; else those that flatten the others, as hindsight does."""
    high = DWARFING * max((fan.wealth.max() for fan in fans if fan.column.role != "baseline"), default=math.inf)
    asked = (fan for fan in fans if fan.column.role == "baseline")
    return [fan.column.policy for fan in asked if len(fans) > MANY or fan.wealth.max() > high]


def trades(runs: Sequence[tuple[str, Path]], currency: str) -> Chart:
    """Price with the fills of several runs of one account, only those of the first visible.

    Step i fills between days[i] and days[i + 1]; its mark stands on the price of days[i + 1].
    """
    path = runs[0][1]
    price = line(dates(path.days), path.mark, "price", PRICE, "%{y:,.2f}", width=1.3)
    marks = [mark for choice, (_, path) in enumerate(runs) for mark in _fills(path, choice)]
    return {"data": [price, *marks], "layout": layout(title=currency, tickformat=",", hovermode="closest")}


def several(path: Path) -> bool:
    """Whether the account holds several assets at once: it has no price of its own, and its trades have no side."""
    return bool(path.action) and isinstance(path.action[0], list) and not (np.asarray(path.traded) < 0).any()


def positions(runs: Sequence[tuple[str, Path]]) -> Chart:
    """Share of wealth in positions, and money traded, of several runs of one account, only those of the first visible."""
    traces = []
    for choice, (_, path) in enumerate(runs):
        x, traded = dates(path.days), np.asarray(path.traded) / np.asarray(path.wealth)[:-1]
        held = line(x, path.exposure, "in positions", CANDIDATES[0], "%{y:.1%}")
        moved = line(x[1:], traded, "traded", YARDSTICK, "%{y:.1%}", width=1.0)
        traces += [{**trace, "meta": choice, "visible": choice == 0} for trace in (held, moved)]
    return {"data": traces, "layout": layout(title="share of account value", tickformat=".0%")}


def learning(cells: Iterable[tuple[int, Cell]], figure: str) -> Chart:
    """One figure of training over updates, a thin line for each cell; the number is its candidate's place."""
    traces = []
    for place, cell in cells:
        points = [(point["update"], point[figure]) for point in cell.curve if figure in point]
        x, y = zip(*points, strict=True) if points else ((), ())
        name = label(cell)
        trace = line(list(x), y, name, CANDIDATES[place % len(CANDIDATES)], "%{y:.4g}", width=1.1)
        traces.append({**trace, "mode": "lines" if len(x) > 1 else "markers"})  # a line of one point cannot be seen
    plain = layout(tickformat="~g", dates=False)
    plain["showlegend"] = False
    return {"data": traces, "layout": plain}


def label(cell: Cell) -> str:
    """A cell in words, as legends and menus name it."""
    seed = "" if cell.seed is None else f", seed {cell.seed}"
    return f"{cell.policy}{seed}{f', path {cell.path}' if cell.path else ''}"


def _scaled(fan: Fan, capital: float) -> Fan:
    start = float(fan.wealth[0, 0])
    if math.isclose(start, capital, rel_tol=1e-6):
        return fan
    name = f"{fan.column.policy} (scaled to the same capital)"
    return fan._replace(column=Column(name, fan.column.role), wealth=fan.wealth * (capital / start))


def _lines(fans: Sequence[Fan], hover: str, hidden: Sequence[str], *, thin: bool = True) -> list[Trace]:
    """Rules first, so that candidates are drawn above them; the legend keeps the order of the tables."""
    counts: dict[str, int] = {}
    traces = []
    for rank, fan in enumerate(fans):
        place = counts[fan.column.role] = counts.get(fan.column.role, -1) + 1
        color, dash = _style(fan.column.role, place)
        name = fan.column.policy
        asked = {"meta": hidden.index(name), "visible": False} if name in hidden else {}
        new = _draws(fan, color, thin=thin) if fan.many and not asked else []
        name = f"{name}, mean of {fan.many}" if fan.many else name
        width = 2.4 if fan.column.role == "candidate" else 1.6
        mean = line(dates(fan.days), fan.wealth.mean(axis=0), name, color, hover, width=width, dash=dash)
        traces.append([{**trace, "legendrank": 10 * rank + later} | asked for later, trace in enumerate([mean, *new])])
    above = sorted(traces, key=lambda group: group[0]["line"]["color"] in CANDIDATES)
    return [trace for mean, *rest in above for trace in (*rest, mean)]


def _draws(fan: Fan, color: str, *, thin: bool) -> list[Trace]:
    """A band from the lowest to the highest draw, and every draw as a thin line; one legend entry toggles them."""
    noun = "seed" if fan.draws[0][0] is not None else "path"
    name = f"{fan.column.policy}, each {noun} and their range" if thin else f"{fan.column.policy}, range over {noun}s"
    band = _band(fan.days, name, f"{color}1c", fan.wealth.min(axis=0), fan.wealth.max(axis=0))
    extra = {key: band[0][key] for key in ("legendgroup", "hoverinfo", "showlegend")}
    each = [{**line(dates(fan.days), y, name, f"{color}8c", "", width=0.8), **extra} for y in fan.wealth if thin]
    return [*band, *each]


def _errors(fan: Fan, place: int, window: int, per_year: float) -> list[Trace]:
    middle = fan.wealth.mean(axis=0)
    reach = 1.96 * sharpe_error(middle, window, per_year)
    name = f"{fan.column.policy}, 95 % band of the mean"
    return _band(fan.days, name, f"{_style('candidate', place)[0]}12", middle - reach, middle + reach)


def _band(days: NDArray[np.int64], name: str, shade: str, low: Floats, high: Floats) -> list[Trace]:
    """Two unseen lines with the space between them filled, under one entry of the legend."""
    group = {"legendgroup": safe(name), "hoverinfo": "skip", "showlegend": False}
    floor, ceiling = ({**line(dates(days), y, name, shade, "", width=0), **group} for y in (low, high))
    return [floor, ceiling | {"fill": "tonexty", "fillcolor": shade, "showlegend": True}]


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
            **line(dates(np.asarray(path.days)[at]), np.asarray(path.mark)[at], side, color, ""),
            "mode": "markers", "meta": choice, "visible": choice == 0, "customdata": tidy(np.abs(traded[at - 1])),
            "marker": {"color": color, "symbol": symbol, "size": 10, "line": {"color": "#ffffff", "width": 1}},
            "hovertemplate": f"{side} %{{customdata:,.0f}}<br>%{{x}} at %{{y:,.2f}}<extra></extra>",
        }  # fmt: skip
