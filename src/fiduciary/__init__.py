"""Fiduciary learns financial decisions by deep reinforcement learning, and proves to a sceptic whether to trust them.

Everything below is imported when it is first used, so that `import fiduciary` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "Study": "fiduciary.study:Study",
    "Yardstick": "fiduciary.study:Yardstick",
    "check_agent": "fiduciary.core.checks:check_agent",
    "check_env": "fiduciary.core.checks:check_env",
    "check_factor": "fiduciary.core.checks:check_factor",
    "check_policy": "fiduciary.core.checks:check_policy",
    "agents": "fiduciary.agents",
    "costs": "fiduciary.markets.costs",
    "data": "fiduciary.data",
    "envs": "fiduciary.envs",
    "factors": "fiduciary.factors",
    "markets": "fiduciary.markets",
    "metrics": "fiduciary.evaluation.metrics",
    "records": "fiduciary.records",
    "reports": "fiduciary.reports",
    "rules": "fiduciary.agents.rules",
    "splits": "fiduciary.evaluation.splits",
    "venue": "fiduciary.markets.venue",
}

__all__ = [
    "__version__",
    "Study",
    "Yardstick",
    "agents",
    "check_agent",
    "check_env",
    "check_factor",
    "check_policy",
    "costs",
    "data",
    "envs",
    "factors",
    "markets",
    "metrics",
    "records",
    "reports",
    "rules",
    "splits",
    "venue",
]

if TYPE_CHECKING:
    from fiduciary import agents, data, envs, factors, markets, records, reports
    from fiduciary.agents import rules
    from fiduciary.core.checks import check_agent, check_env, check_factor, check_policy
    from fiduciary.evaluation import metrics, splits
    from fiduciary.markets import costs, venue
    from fiduciary.study import Study, Yardstick


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'fiduciary' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return list(__all__)
