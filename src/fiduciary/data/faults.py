"""What can be wrong with a bar: a fault names the symbol, the date, the rule and the remedy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fault:
    """One finding of validation.

    Attributes:
        kind: short name, such as "duplicate" or "split-like jump".
        severity: "error" stops the load; "warning" travels with the panel into the report.
        symbol: whose bar.
        date: ISO date of the (first) bar concerned, or "" when the fault has none.
        fact: what was found.
        remedy: what to do about it.
        count: how many bars share the fault.
    """

    kind: str
    severity: Literal["error", "warning"]
    symbol: str
    date: str
    fact: str
    remedy: str
    count: int = 1

    def __str__(self) -> str:
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        return f"{self.severity}: {self.symbol} {self.date}: {self.kind}: {self.fact}{more}; {self.remedy}"
