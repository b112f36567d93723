"""The made-up world of the generated questions: names, values and sentences, each split into training and evaluation.

Words are divided by a checksum, so that none of the evaluation's ever occurs in the training data; sentences and
questions are divided by hand. There are many of them for training: a model that knows a relation by two or three
sentences alone learns those by heart, and fails at the evaluation's.
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
        statements: Sentences, those of the evaluation last; only where ``{who}`` opens one may it become "They".
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
                    "{who} is from {value} by birth.",
                    "{who} was a baby in {value}.",
                    "{who} spent a childhood in {value}.",
                    "The birthplace of {who} is {value}.",
                    "It was in {value} that {who} was born.",
                ),
                (
                    "{who} spent the first years of life in {value}, the place of birth.",
                    "The cradle of {who} stood in {value}.",
                ),
            ),
            (
                (
                    "Where was {who} born?",
                    "What is the birthplace of {who}?",
                    "Of which town is {who} a native?",
                    "Where did {who} spend a childhood?",
                    "{who} was born where?",
                ),
                ("In which town did {who} come into the world?", "Which place is {who} from by birth?"),
            ),
        ),
        Relation(
            "lives",
            "born",
            _city,
            (
                (
                    "{who} lives in {value}.",
                    "{who} has a house in {value}.",
                    "{who} moved to {value} for good.",
                    "{who} is a resident of {value} today.",
                    "{who} rents a flat in {value} now.",
                    "{who} has an address in {value}.",
                    "The home of {who} is in {value}.",
                    "It is in {value} that {who} lives.",
                ),
                ("{who} settled down in {value}.", "{who} makes a home in {value} these days."),
            ),
            (
                (
                    "Where does {who} live?",
                    "In which town is the house of {who}?",
                    "Of which town is {who} a resident?",
                    "Where has {who} moved to?",
                    "{who} has an address where?",
                ),
                ("Where has {who} settled?", "What town is home to {who} now?"),
            ),
        ),
        Relation(
            "works",
            "founded",
            _company,
            (
                (
                    "{who} works for {value}.",
                    "{who} is on the payroll of {value}.",
                    "{who} has a post at {value}.",
                    "{who} has a job with {value}.",
                    "{who} is a clerk at {value}.",
                    "{who} gets a salary from {value}.",
                    "The employer of {who} is {value}.",
                    "It is {value} that pays {who}.",
                ),
                ("{who} earns a living at {value}.", "{who} is employed by {value}."),
            ),
            (
                (
                    "Who employs {who}?",
                    "Which firm does {who} work for?",
                    "Who pays {who}?",
                    "Where does {who} have a job?",
                    "{who} gets a salary from whom?",
                ),
                ("Where does {who} earn a living?", "What is the employer of {who}?"),
            ),
        ),
        Relation(
            "founded",
            "works",
            _company,
            (
                (
                    "{who} founded {value}.",
                    "{who} is the founder of {value}.",
                    "{who} once started {value}.",
                    "{who} created {value}.",
                    "{who} launched {value} years ago.",
                    "{who} began {value} as an own business.",
                    "The firm that {who} founded is {value}.",
                    "It was {who} who started {value}.",
                ),
                ("{who} set up {value} from nothing.", "{who} established {value}."),
            ),
            (
                (
                    "Which firm did {who} found?",
                    "What did {who} start?",
                    "What was created by {who}?",
                    "Of which firm is {who} the founder?",
                    "{who} launched which business?",
                ),
                ("What company was set up by {who}?", "Which enterprise was established by {who}?"),
            ),
        ),
        Relation(
            "birth_year",
            "prize_year",
            _year,
            (
                (
                    "{who} is from the class of {value}, the year of birth.",
                    "{who} saw the light of day in {value}.",
                    "{who} was born in the year {value}.",
                    "{who} came into the world in the year {value}.",
                    "{who} has been alive since {value}.",
                    "{who} was a baby in the year {value}.",
                    "The birth of {who} was in {value}.",
                    "In the year {value} {who} was born.",
                ),
                ("{who} began life in {value}.", "The birthday of {who} was in {value}."),
            ),
            (
                (
                    "When was {who} born?",
                    "What is the birth year of {who}?",
                    "When did {who} come into the world?",
                    "Since when has {who} been alive?",
                    "{who} was born when?",
                ),
                ("In what year did the life of {who} begin?", "In which year was {who} born?"),
            ),
        ),
        Relation(
            "prize_year",
            "birth_year",
            _year,
            (
                (
                    "{who} won the great prize in {value}.",
                    "{who} received the medal in {value}.",
                    "{who} got an award in {value}.",
                    "{who} was a winner in {value}.",
                    "{who} took the trophy in {value}.",
                    "{who} was given an honour in {value}.",
                    "The prize of {who} came in {value}.",
                    "In {value} {who} won the medal.",
                ),
                ("{who} was honoured with the award in {value}.", "The victory of {who} was in {value}."),
            ),
            (
                (
                    "When did {who} win the prize?",
                    "In which year did {who} get the medal?",
                    "When was {who} a winner?",
                    "When did {who} get an award?",
                    "{who} took the trophy when?",
                ),
                ("When was {who} honoured?", "In what year was {who} given the prize?"),
            ),
        ),
        Relation(
            "studied",
            "teaches",
            _field,
            (
                (
                    "{who} studied {value}.",
                    "{who} has a degree in {value}.",
                    "{who} was trained in {value}.",
                    "{who} was a student of {value}.",
                    "{who} learned {value} at college.",
                    "{who} took an exam in {value}.",
                    "The degree of {who} is in {value}.",
                    "It was {value} that {who} studied.",
                ),
                ("{who} graduated in {value}.", "{who} once read {value} at university."),
            ),
            (
                (
                    "What did {who} study?",
                    "In what does {who} have a degree?",
                    "What was {who} trained in?",
                    "What did {who} learn at college?",
                    "{who} took an exam in what?",
                ),
                ("Which subject did {who} graduate in?", "What was {who} a student of?"),
            ),
        ),
        Relation(
            "teaches",
            "studied",
            _field,
            (
                (
                    "{who} teaches {value}.",
                    "{who} gives lessons in {value}.",
                    "{who} lectures on {value}.",
                    "{who} is a teacher of {value}.",
                    "{who} tutors children in {value}.",
                    "{who} is a professor of {value}.",
                    "The lessons of {who} are in {value}.",
                    "It is {value} that {who} teaches.",
                ),
                ("{who} instructs others in {value}.", "{who} holds classes in {value}."),
            ),
            (
                (
                    "What does {who} teach?",
                    "In what does {who} give lessons?",
                    "On what does {who} lecture?",
                    "Of what is {who} a professor?",
                    "{who} tutors children in what?",
                ),
                ("Which subject are the classes of {who} about?", "What does {who} instruct others in?"),
            ),
        ),
    )
}
