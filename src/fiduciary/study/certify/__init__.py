"""Certification: a ladder of decision problems with known answers, which every agent climbs as far as it claims to."""

from fiduciary.study.certify.rung import HELD, Rung, exact, simulated

__all__ = ["HELD", "Rung", "exact", "simulated"]
