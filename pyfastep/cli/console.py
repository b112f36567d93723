"""Where commands print their results: names and paths as they are, figures whole."""

from __future__ import annotations

from rich.console import Console

__all__ = ["result_console"]


def result_console(least_width: int = 0, *, soft_wrap: bool = True) -> Console:
    """A console that takes no text for markup: `[x]` may be a part of any name or path.

    Args:
        least_width: A narrower terminal wraps lines rather than losing figures.
        soft_wrap: Leave lines to the terminal to wrap.
    """
    width = max(Console().width, least_width) if least_width else None
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, width=width)
