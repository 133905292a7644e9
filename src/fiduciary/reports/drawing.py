"""What all charts share: colours, the common layout, lines; plain values for plotly.js (`data` and `layout`)."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiduciary.reports.series import Floats

Chart = dict[str, Any]
Trace = dict[str, Any]
Numbers = Sequence[float] | Floats

CANDIDATES = ("#1f4fd8", "#8b3fc7", "#0c8599", "#c2255c")
GREYS = ("#98a2b3", "#667085", "#d0d5dd")
BENCHMARK, YARDSTICK, GAIN, LOSS, PRICE = "#1d2433", "#c27803", "#12805c", "#c92a2a", "#667085"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


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
        "yaxis": {**axis, "tickformat": tickformat, "title": {"text": safe(title), "standoff": 8}, "nticks": 6},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemwidth": 30},
    }  # fmt: skip


def line(
    x: Sequence[Any], y: Numbers, name: str, color: str, hover: str, *, width: float = 1.6, dash: str = "solid"
) -> Trace:
    """Points joined by a line; `hover` is a template of plotly.js."""
    stroke = {"color": color, "width": width, "dash": dash}
    trace: Trace = {"type": "scatter", "mode": "lines", "x": x, "y": tidy(y), "name": safe(name), "line": stroke}
    return trace | ({"hovertemplate": hover} if hover else {})


def safe(text: str) -> str:
    """Plotly reads names as a little HTML."""
    return escape(text, quote=False)


def tidy(values: Numbers) -> list[float | None]:
    """Seven digits are more than a screen shows, and half the file."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values]
