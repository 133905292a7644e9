"""Libraries that only some sources and stores need, imported when one does."""

import importlib
from typing import Any

from fiduciary.core.errors import ConfigError


def needs(module: str, extra: str) -> Any:
    """Import `module`, which the optional part `extra` of the package brings.

    Raises:
        ConfigError: it is not installed; the remedy names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"this source or store needs the library {module.partition('.')[0]!r}", f"no module {error.name or module!r}",
            remedy=f'install it with pip install "fiduciary[{extra}]"',
        ) from None  # fmt: skip
