"""Outside world -> Panel; the only part that touches files.

    panel = load("us-stocks")                                              # a shipped sample, or
    panel = load("prices.parquet", columns={"symbol": "ticker"})           # a file in long form

Cheap to import: Polars is loaded when a file is read.
"""

from fiduciary.data.describe import Description, SymbolSummary, describe
from fiduciary.data.faults import Fault
from fiduciary.data.panel import BARS, PRICES, Panel, span
from fiduciary.data.readers import read
from fiduciary.data.sample import SAMPLES, load, sample
from fiduciary.data.validation import check

__all__ = [
    "BARS",
    "PRICES",
    "SAMPLES",
    "Description",
    "Fault",
    "Panel",
    "SymbolSummary",
    "check",
    "describe",
    "load",
    "read",
    "sample",
    "span",
]
