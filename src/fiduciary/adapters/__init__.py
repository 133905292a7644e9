"""Doors to other libraries: their users train on our environments, and their models fill our policy slot.

Nothing is imported before it is used; what is missing then is named together with the command that installs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fiduciary.core.errors import ConfigError

_PLACES = {"GymEnv": "gymnasium", "GymVectorEnv": "gymnasium", "SB3Policy": "sb3", "SB3VecEnv": "sb3"}

__all__ = ["GymEnv", "GymVectorEnv", "SB3Policy", "SB3VecEnv"]

if TYPE_CHECKING:
    from fiduciary.adapters.gymnasium import GymEnv, GymVectorEnv
    from fiduciary.adapters.sb3 import SB3Policy, SB3VecEnv


def missing(library: str) -> ConfigError:
    """The error of an adapter whose library is not installed."""
    return ConfigError(
        f"this adapter needs {library}", "an environment without it", remedy="pip install 'fiduciary[rl]'"
    )


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'fiduciary.adapters' has no attribute {name!r}")
    return getattr(import_module(f"fiduciary.adapters.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
