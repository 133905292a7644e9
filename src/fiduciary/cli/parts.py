"""What the commands share: examples in their help, tables that stay whole in a pipe, paths that can be copied."""

import sys
from collections.abc import Sequence

from fiduciary.core.errors import ConfigError

PIPE_WIDTH = 140


def examples(*lines: str) -> str:
    """The last part of a command's help."""
    return "\n\n".join(("Examples:", "\n".join(f"  {line}" for line in lines)))


def print_rich(what: object) -> None:
    """Print with markup; a pipe has no width of its own, so tables stay whole there."""
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(what)


def say(text: str) -> None:
    """Text as it is: no markup, and no line broken where a path could not be copied."""
    from rich.console import Console

    Console(highlight=False, markup=False, soft_wrap=True).print(text)


def pairs(columns: Sequence[str] | None) -> dict[str, str]:
    """What `--columns our-name=their-name` says.

    Raises:
        ConfigError: one has no "=".
    """
    if any("=" not in pair for pair in columns or ()):
        raise ConfigError("`--columns` takes our-name=their-name", " ".join(columns or ()))
    return dict(pair.split("=", 1) for pair in columns or ())
