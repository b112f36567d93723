"""The command `fastep`: one file per command, one clear line on standard error when something is wrong."""

from __future__ import annotations

from pyfastep.cli.app import main

__all__ = ["main"]
