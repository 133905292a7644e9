"""What is suspicious in rows that every schema lets pass, and where it is set aside."""

from fiduciary.data.quality.inspection import SUSPECTS, Anomaly, inspect, long_form, quarantine, trusted

__all__ = ["SUSPECTS", "Anomaly", "inspect", "long_form", "quarantine", "trusted"]
