"""Panel -> Panel of factors: causal, look-back declared, each symbol on its own bars."""

from fiduciary.factors.factor import Bars, Factor, compute
from fiduciary.factors.scaler import Scaler
from fiduciary.factors.sim import SIM, SIM_RELATIVE

__all__ = ["SIM", "SIM_RELATIVE", "Bars", "Factor", "Scaler", "compute"]
