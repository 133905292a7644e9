"""Libraries that only some uses need, imported when one does."""

import importlib
from typing import Any

from fiduciary.core.errors import ConfigError


def need(module: str, *, extra: str, what: str) -> Any:
    """Import `module`.

    Raises:
        ConfigError: it is not installed; the remedy names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{what} must have its library", f"no {error.name or module}",
            remedy=f'install it with pip install "fiduciary[{extra}]"',
        ) from None  # fmt: skip
