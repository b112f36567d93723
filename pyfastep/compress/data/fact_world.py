"""The made-up world of the generated questions: names, values and sentences, each split into training and evaluation.

Words are divided by a checksum, so that none of the evaluation's ever occurs in the training data; sentences and
questions are divided by hand.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        statements: Sentences, those of the evaluation last; ``{who}`` opens the sentence.
        questions: The same for questions.
    """

    name: str
    rival: str
    value: Callable[[random.Random, bool], str]
    statements: tuple[tuple[str, ...], tuple[str, ...]]
    questions: tuple[tuple[str, ...], tuple[str, ...]]


RELATIONS = {
    relation.name: relation
    for relation in (
        Relation(
            "born",
            "lives",
            _city,
            (
                (
                    "{who} was born in {value}.",
                    "{who} came into the world in {value}.",
                    "{who} is a native of {value}.",
                ),
                ("{who} spent the first years of life in {value}, the place of birth.", "{who} hails from {value}."),
            ),
            (
                ("Where was {who} born?", "What is the birthplace of {who}?"),
                ("In which town did {who} come into the world?", "Which place is {who} from by birth?"),
            ),
        ),
        Relation(
            "lives",
            "born",
            _city,
            (
                ("{who} lives in {value}.", "{who} has a house in {value}.", "{who} moved to {value} for good."),
                ("{who} settled down in {value}.", "{who} makes a home in {value} these days."),
            ),
            (
                ("Where does {who} live?", "In which town is the house of {who}?"),
                ("Where has {who} settled?", "What town is home to {who} now?"),
            ),
        ),
        Relation(
            "works",
            "founded",
            _company,
            (
                ("{who} works for {value}.", "{who} is on the payroll of {value}.", "{who} has a post at {value}."),
                ("{who} earns a living at {value}.", "{who} is employed by {value}."),
            ),
            (
                ("Who employs {who}?", "Which firm does {who} work for?"),
                ("Where does {who} earn a living?", "What is the employer of {who}?"),
            ),
        ),
        Relation(
            "founded",
            "works",
            _company,
            (
                ("{who} founded {value}.", "{who} is the founder of {value}.", "{who} once started {value}."),
                ("{who} set up {value} from nothing.", "{who} brought {value} into being."),
            ),
            (
                ("Which firm did {who} found?", "What did {who} start?"),
                ("What company was set up by {who}?", "Which enterprise owes its existence to {who}?"),
            ),
        ),
        Relation(
            "birth_year",
            "prize_year",
            _year,
            (
                ("{who} is from the class of {value}, the year of birth.", "{who} saw the light of day in {value}."),
                ("{who} began life in {value}.",),
            ),
            (
                ("When was {who} born?", "What is the birth year of {who}?"),
                ("In what year did the life of {who} begin?",),
            ),
        ),
        Relation(
            "prize_year",
            "birth_year",
            _year,
            (
                ("{who} won the great prize in {value}.", "{who} received the medal in {value}."),
                ("{who} was honoured with the award in {value}.",),
            ),
            (
                ("When did {who} win the prize?", "In which year did {who} get the medal?"),
                ("When was {who} honoured?",),
            ),
        ),
        Relation(
            "studied",
            "teaches",
            _field,
            (
                ("{who} studied {value}.", "{who} has a degree in {value}.", "{who} was trained in {value}."),
                ("{who} graduated in {value}.", "{who} once read {value} at university."),
            ),
            (
                ("What did {who} study?", "In what does {who} have a degree?"),
                ("Which subject did {who} graduate in?", "What was {who} a student of?"),
            ),
        ),
        Relation(
            "teaches",
            "studied",
            _field,
            (
                ("{who} teaches {value}.", "{who} gives lessons in {value}.", "{who} lectures on {value}."),
                ("{who} instructs others in {value}.", "{who} holds classes in {value}."),
            ),
            (
                ("What does {who} teach?", "In what does {who} give lessons?"),
                ("Which subject are the classes of {who} about?", "What does {who} instruct others in?"),
            ),
        ),
    )
}
