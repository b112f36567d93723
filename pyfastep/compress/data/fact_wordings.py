"""How the relations of the generated questions are put: ``fact_wordings.toml``."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from pyfastep.compress.toml_file import read_toml

__all__ = ["MENTOR", "MENTOR_TERMS", "WORDINGS", "Halves", "Phrases", "Wordings"]

_FRAMED_STATEMENTS, _FRAMED_QUESTIONS = 1 / 3, 1 / 2


@dataclass(frozen=True)
class Phrases:
    """Ways to put one thing.

    Attributes:
        plain: As they stand.
        framed: Inside of another sentence, as in "It is known that ...".
        framed_share: How often one of those is drawn.
    """

    plain: tuple[str, ...]
    framed: tuple[str, ...] = ()
    framed_share: float = 0.0

    def draw(self, rng: random.Random) -> str:
        """One of them."""
        framed = self.framed_share > 0 and rng.random() < self.framed_share
        return rng.choice(self.framed if framed else self.plain)


Halves = tuple[Phrases, Phrases]
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


def _relation(table: dict[str, dict[str, list[str]]]) -> Wordings:
    statements, questions = table["statements"], table["questions"]
    asked = tuple(_frame(frame, text) for text in questions["clauses"] for frame in _FRAMES["questions"])
    direct = Phrases(tuple(questions["training"]), asked, _FRAMED_QUESTIONS)
    return Wordings(_statements(statements), (direct, _held_out(questions)))


def _statements(table: dict[str, list[str]]) -> Halves:
    framed = tuple(_frame(frame, text[:-1]) for text in table["training"] for frame in _FRAMES["statements"])
    return Phrases(tuple(table["training"]), framed, _FRAMED_STATEMENTS), _held_out(table)


def _held_out(table: dict[str, list[str]]) -> Phrases:
    return Phrases(tuple(table["held_out"]))


def _frame(frame: str, text: str) -> str:
    """Puts a sentence or clause in place of ``{it}``; a capital stays at the beginning alone."""
    inner = text if frame.startswith("{it}") else text[0].lower() + text[1:]
    return frame.replace("{it}", inner)


_TABLES = read_toml(Path(__file__).with_name("fact_wordings.toml"))
_FRAMES, _MENTOR = _TABLES.pop("frames"), _TABLES.pop("mentor")

WORDINGS = {name: _relation(table) for name, table in _TABLES.items()}
"""Of each relation."""

MENTOR = _statements(_MENTOR["statements"])
"""That ``{who}`` is the pupil of ``{value}``."""

MENTOR_TERMS: tuple[str, ...] = tuple(_MENTOR["terms"])
"""What a question calls the mentor of ``{who}``."""
