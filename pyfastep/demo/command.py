"""What the demo's two commands share: the console, quiet libraries, and errors on one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

from rich.console import Console

from pyfastep.errors import FastEPError

__all__ = ["be_quiet_and_offline", "open_console", "run_app"]


def open_console(log_width: int) -> Console:
    """The terminal, or a log of fixed width where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=log_width)


def be_quiet_and_offline() -> None:
    """The tools' progress bars and warnings would bury the demo's own; nothing is fetched."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")
    warnings.simplefilter("ignore")


def run_app(app: Callable[[], None]) -> None:
    """Runs a command; an error of ours is one line and exit code 1."""
    try:
        app()
    except FastEPError as error:
        sys.exit(f"error: {error}")
