"""Panel -> factors: causal, look-back declared or derived, each symbol on its own bars."""

from fiduciary.factors import ops
from fiduciary.factors.dialect import qlib
from fiduciary.factors.expression import Const, Expr, Field
from fiduciary.factors.factor import Bars, Factor
from fiduciary.factors.formula import Formula
from fiduciary.factors.parse import parse
from fiduciary.factors.scaler import Scaler
from fiduciary.factors.sim import SIM, SIM_RELATIVE
from fiduciary.factors.stream import Stream
from fiduciary.factors.table import FactorTable, compute, tabulate

__all__ = [
    "SIM", "SIM_RELATIVE", "Bars", "Const", "Expr", "Factor", "FactorTable", "Field", "Formula", "Scaler", "Stream",
    "compute", "ops", "parse", "qlib", "tabulate",
]  # fmt: skip
