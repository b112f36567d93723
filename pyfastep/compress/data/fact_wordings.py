"""How the relations of the generated questions are put: ``fact_wordings.toml``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.resources import files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["WORDINGS", "Wordings"]

Halves = tuple[tuple[str, ...], tuple[str, ...]]
"""Of training, and of the evaluation."""


@dataclass(frozen=True)
class Wordings:
    """Of one relation.

    Attributes:
        statements: With ``{who}`` and ``{value}``.
        questions: With ``{who}``.
    """

    statements: Halves
    questions: Halves


def _read() -> dict[str, Wordings]:
    text = files("pyfastep.compress.data").joinpath("fact_wordings.toml").read_text(encoding="utf-8")
    return {
        name: Wordings(*(_halves(known[kind]) for kind in ("statements", "questions")))
        for name, known in tomllib.loads(text).items()
    }


def _halves(table: dict[str, list[str]]) -> Halves:
    return tuple(table["training"]), tuple(table["held_out"])


WORDINGS = _read()
