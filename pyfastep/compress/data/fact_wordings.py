"""How the relations of the generated questions are put: ``fact_wordings.toml``."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from pyfastep.compress.toml_file import read_toml

__all__ = ["WORDINGS", "Halves", "Phrases", "Wordings"]

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


def _read() -> dict[str, Wordings]:
    known = read_toml(Path(__file__).with_name("fact_wordings.toml"))
    frames = known.pop("frames")
    return {name: _wordings(table["statements"], table["questions"], frames) for name, table in known.items()}


def _wordings(
    statements: dict[str, list[str]], questions: dict[str, list[str]], frames: dict[str, list[str]]
) -> Wordings:
    framed = [_frame(frame, text[:-1]) for text in statements["training"] for frame in frames["statements"]]
    asked = [_frame(frame, text) for text in questions["clauses"] for frame in frames["questions"]]
    return Wordings(
        (Phrases(tuple(statements["training"]), tuple(framed), _FRAMED_STATEMENTS), Phrases(_held_out(statements))),
        (Phrases(tuple(questions["training"]), tuple(asked), _FRAMED_QUESTIONS), Phrases(_held_out(questions))),
    )


def _held_out(table: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(table["held_out"])


def _frame(frame: str, text: str) -> str:
    """Puts a sentence or clause in place of ``{it}``; a capital stays at the beginning alone."""
    inner = text if frame.startswith("{it}") else text[0].lower() + text[1:]
    return frame.replace("{it}", inner)


WORDINGS = _read()
