"""The made-up world of the generated questions: names, values and relations, each split into training and evaluation.

Words are divided by a checksum, so that none of the evaluation's ever occurs in the training data.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyfastep.compress.data.fact_wordings import WORDINGS, Halves, Phrases
from pyfastep.compress.data.fact_words import FAMILY_NAMES, FIELDS, FIRMS, GIVEN_NAMES, TOWNS

__all__ = ["RELATIONS", "Relation", "draw", "is_held_out", "person_name"]

_HELD_OUT_SHARE = 4  # one of so many words is the evaluation's


def is_held_out(word: str) -> bool:
    """Whether a word belongs to the evaluation."""
    return zlib.crc32(word.encode()) % _HELD_OUT_SHARE == 0


def draw(rng: random.Random, held_out: bool, make: Callable[[random.Random], str]) -> str:
    """A word from ``make`` that belongs to the evaluation, or one that does not."""
    while True:
        word = make(rng)
        if is_held_out(word) == held_out:
            return word


def _word(rng: random.Random, held_out: bool, words: Sequence[str]) -> str:
    return draw(rng, held_out, lambda r: r.choice(words))


def person_name(rng: random.Random, held_out: bool) -> str:
    """A first and a last name."""
    return f"{_word(rng, held_out, GIVEN_NAMES)} {_word(rng, held_out, FAMILY_NAMES)}"


def _city(rng: random.Random, held_out: bool) -> str:
    return _word(rng, held_out, TOWNS)


def _company(rng: random.Random, held_out: bool) -> str:
    return _word(rng, held_out, FIRMS) + rng.choice((" Works", " Brothers", " Press", " Mills", " Shipping"))


def _year(rng: random.Random, held_out: bool) -> str:
    return draw(rng, held_out, lambda r: str(r.randrange(1800, 2000)))


def _field(rng: random.Random, held_out: bool) -> str:
    return _word(rng, held_out, FIELDS)


@dataclass(frozen=True)
class Relation:
    """One kind of fact.

    Attributes:
        name: Of the relation.
        rival: Another relation with values of the same type, which a reader must tell apart.
        value: Draws a value.
    """

    name: str
    rival: str
    value: Callable[[random.Random, bool], str]

    @property
    def statements(self) -> Halves:
        """With ``{who}`` and ``{value}``, those of the evaluation last."""
        return WORDINGS[self.name].statements

    @property
    def openings(self) -> Halves:
        """Those of the statements that ``{who}`` opens: there alone may "They" stand for a name."""
        training, held_out = (
            Phrases(tuple(text for text in half.plain if text.startswith("{who} "))) for half in self.statements
        )
        return training, held_out

    @property
    def questions(self) -> Halves:
        """With ``{who}``, those of the evaluation last."""
        return WORDINGS[self.name].questions


_PAIRS = (
    ("born", "lives", _city),
    ("works", "founded", _company),
    ("birth_year", "prize_year", _year),
    ("studied", "teaches", _field),
)

RELATIONS = {
    name: Relation(name, rival, value) for one, other, value in _PAIRS for name, rival in ((one, other), (other, one))
}
