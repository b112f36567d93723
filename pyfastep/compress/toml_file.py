"""TOML: the standard library's reader, or before Python 3.11 tomli, which it came from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pyfastep.errors import FastEPError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["read_toml", "toml_value"]


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        FastEPError: It is not TOML.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FastEPError(f"not a TOML file: {error}", node=str(path)) from error
    return tables


def toml_value(text: str) -> Any:
    """What a value means in TOML; text that means nothing there is itself."""
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
