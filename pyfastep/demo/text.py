"""Real English text that is on every machine: the docstrings of the installed standard library."""

from __future__ import annotations

import ast
import functools
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from pyfastep.errors import FastEPError

__all__ = ["docstrings", "first_sentence"]

_SKIPPED_FOLDERS = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages"}
_MIN_CHARS = 40
_MAX_FILE_BYTES = 200_000


def docstrings(count: int, *, seed: int = 0) -> list[str]:
    """Distinct docstrings, white space joined, in an order that ``seed`` fixes for one Python version.

    Args:
        count: How many to return; 3000 are there in Python 3.10 and later.
        seed: Of the shuffle.

    Raises:
        FastEPError: The standard library's sources hold fewer than ``count``.
    """
    found = list(_sorted_docstrings(Path(sysconfig.get_path("stdlib"))))
    if len(found) < count:
        raise FastEPError(
            f"{count} docstrings wanted, {len(found)} found",
            node=sysconfig.get_path("stdlib"),
            remedy="use a Python that is installed with its sources",
        )
    random.Random(seed).shuffle(found)
    return found[:count]


def first_sentence(text: str) -> str:
    """The text up to its first full stop, for display."""
    return text.split(". ", 1)[0].rstrip(".")


@functools.cache
def _sorted_docstrings(root: Path) -> tuple[str, ...]:
    return tuple(sorted(set(_all_docstrings(root))))


def _all_docstrings(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.py")):
        folders = set(path.relative_to(root).parts[:-1])
        if folders & _SKIPPED_FOLDERS or path.stat().st_size > _MAX_FILE_BYTES:
            continue
        yield from _docstrings_of(path)


def _docstrings_of(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # templates and broken examples are no loss
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = " ".join((ast.get_docstring(node) or "").split())
            if len(text) >= _MIN_CHARS:
                yield text
