"""A question answering task from nothing: passages about several people, questions that need both halves.

Every person of a passage has the relation that is asked and its rival (where born, where living), so that the question
alone leaves as many candidates as there are people, and the passage alone as many as there are facts. Sentences of
different people are mixed; a person's later sentences may speak of "they"; some sentences deny a false value. A
passage about several people says who is whose pupil, and a fifth of the questions goes through that ("the mentor of
..."), though the mentor is asked for no more often than anybody else. Names, values and wordings of the evaluation do
not occur in training; nouns for mentors do.

As in scanned text, some words cannot be read, more of them in one passage than in another; values always can. So
the other half of a name may have to do, or what a person's other sentence leaves over, and some questions cannot be
answered for certain.

Of passages as large as the evaluation's a small model learns nothing for millions of tokens, as neither half pays
without the other. The dense model begins with a primer: passages in every size, of which some need the relation alone
(one person), some the name alone (one fact each). Half of them are few facts of unlike kinds in plain words, and
nothing else: there "where" and "when" tell much, and a model that has learnt to look at the question at all goes on
from there; without them some seeds stay at chance for hundreds of steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pyfastep.compress.data.fact_wordings import MENTOR, MENTOR_TERMS, Halves, Phrases
from pyfastep.compress.data.fact_world import RELATIONS, Relation, person_name
from pyfastep.compress.data.splits import Splits

__all__ = ["Fact", "fact_rows", "fact_splits"]

View = Literal["full", "question-only", "context-only"]

_TWO_STEP_SHARE = 0.2  # with more than five people less, as the mentor is one of them
_DENIAL_SHARE = 0.3
_PRONOUN_SHARE = 0.5
_FACTS_PER_PERSON = 2  # the asked relation and its rival; one: without
_PLAIN_SHARE = 0.5  # of a primer
_PLAIN_SIZES = ((1, 2), (1, 4), (2, 1), (2, 2), (2, 3))  # people and facts of each
_PLAIN_WORDINGS = 4  # of each relation and its questions
_ILLEGIBLE_SHARE = 0.5  # of a passage's words at most; evenly spread from 0 over passages
_ILLEGIBLE = "…"
_HIDDEN_NAME = "Somebody"
_HIDDEN_QUESTION = "What is it?"

_DENIAL = (
    Phrases(
        (
            "It is not true that this had to do with {value}.",
            "Some say {value}, which is wrong.",
            "It was not {value}.",
            "People who speak of {value} are mistaken.",
            "Older books have {value}, by mistake.",
        )
    ),
    Phrases(("The rumour about {value} is false.", "Those who believe in {value} are wrong.")),
)


@dataclass(frozen=True)
class _Shape:
    """What a passage is made of.

    Attributes:
        people: In it.
        facts: About each.
        illegible: Share of the words, at most, that cannot be read.
        plain: Facts of any kinds instead of the one asked for and its rival, and nothing but facts.
    """

    people: int
    facts: int
    illegible: float
    plain: bool = False


@dataclass(frozen=True)
class Fact:
    """One statement about one person."""

    person: str
    relation: str
    value: str


def fact_splits(train: int, held_out: int, seed: int, people: int = 4, view: View = "full", primer: int = 0) -> Splits:
    """Training and evaluation rows; the same arguments give the same rows.

    Args:
        train: Number of training questions.
        held_out: Number of evaluation questions.
        seed: Of everything.
        people: Per passage, and at most in the primer.
        view: ``question-only`` calls everybody in the passage the same, ``context-only`` asks nothing.
        primer: Number of easier training questions to begin with.
    """
    from datasets import Dataset

    rows = (
        fact_rows(train, f"{seed}-train", False, people, view),
        fact_rows(held_out, f"{seed}-eval", True, people, view),
        fact_rows(primer, f"{seed}-primer", False, people, view, primer=True),
    )
    parts = [Dataset.from_list(list(part)) for part in rows]
    chance = {"chance_question_only": 100.0 / people, "chance_context_only": 100.0 / _facts_per_passage(people)}
    return Splits(parts[0], parts[1], notes=chance, primer=parts[2] if primer else None)


def fact_rows(
    count: int,
    seed: str,
    held_out: bool,
    people: int,
    view: View = "full",
    primer: bool = False,
    illegible: float = _ILLEGIBLE_SHARE,
) -> Iterator[dict[str, Any]]:
    """Rows in SQuAD's columns: ``id``, ``question``, ``context``, ``answers``.

    Args:
        count: Of rows.
        seed: Of everything; the rows' names begin with it.
        held_out: Names, values and wordings of the evaluation.
        people: Per passage.
        view: As in :func:`fact_splits`.
        primer: Passages of fewer people, and of one fact each, are as frequent as those of full size, and half of all
            are few facts in plain words.
        illegible: Share of a passage's words, at most, that cannot be read.
    """
    rng = random.Random(seed)
    for number in range(count):
        shape = _easier(rng, people, illegible) if primer else _Shape(people, _FACTS_PER_PERSON, illegible)
        yield {"id": f"{seed}-{number}", **_Passage(rng, held_out, shape).row(view)}


def _easier(rng: random.Random, people: int, illegible: float) -> _Shape:
    if rng.random() < _PLAIN_SHARE:
        return _Shape(*rng.choice(_PLAIN_SIZES), illegible=0.0, plain=True)
    sizes = [(p, f) for p in range(1, people + 1) for f in range(1, _FACTS_PER_PERSON + 1) if p * f > 1]
    return _Shape(*rng.choice(sizes), illegible)


def _facts_per_passage(people: int) -> int:
    return people * _FACTS_PER_PERSON


class _Passage:
    """One passage with its question."""

    def __init__(self, rng: random.Random, held_out: bool, shape: _Shape) -> None:
        self._rng, self._held_out, self._plain = rng, held_out, shape.plain
        self.people = self._distinct(shape.people, lambda: person_name(rng, held_out))
        self.asked = RELATIONS[rng.choice(sorted(RELATIONS))]
        self.facts = self._draw_facts(self._kinds(shape.facts))
        self._legible = {word for fact in self.facts for word in fact.value.split()}
        self._illegible_share = rng.random() * shape.illegible

    def row(self, view: View) -> dict[str, Any]:
        """Question, context and answer."""
        subject = self._rng.choice(self.people)
        answer = next(fact for fact in self.facts if fact.person == subject and fact.relation == self.asked.name)
        who, runs = subject, self._runs()
        if len(self.people) > 1 and not self._plain:
            pupil, mentor = self._rng.sample(self.people, 2)
            runs.append([(self._pick(MENTOR).format(who=pupil, value=mentor), None)])
            if subject == mentor and self._rng.random() < _TWO_STEP_SHARE * len(self.people):
                who = self._rng.choice(MENTOR_TERMS).format(who=pupil)
        question = self._pick(self.asked.questions).format(who=who)
        self._rng.shuffle(runs)
        return self._assemble(
            question[0].upper() + question[1:], [sentence for run in runs for sentence in run], answer, view
        )

    def _assemble(
        self, question: str, sentences: list[tuple[str, Fact | None]], answer: Fact, view: View
    ) -> dict[str, Any]:
        context, start = "", -1
        for text, fact in sentences:
            shown = self._scan(self._hide_names(text) if view == "question-only" else text)
            if fact == answer:
                start = len(context) + shown.index(answer.value)
            context += shown + " "
        return {
            "question": _HIDDEN_QUESTION if view == "context-only" else question,
            "context": context.strip(),
            "answers": {"text": [answer.value], "answer_start": [start]},
        }

    def _scan(self, text: str) -> str:
        """What can be read of it: words of values, and most of the others."""
        return " ".join(map(self._read, text.split(" ")))

    def _read(self, word: str) -> str:
        bare = word.rstrip(".,")
        if bare in self._legible or self._rng.random() >= self._illegible_share:
            return word
        return _ILLEGIBLE + word[len(bare) :]

    def _hide_names(self, text: str) -> str:
        for person in self.people:
            text = text.replace(person, _HIDDEN_NAME)
        return text.replace("They ", f"{_HIDDEN_NAME} ")

    def _kinds(self, count: int) -> tuple[str, ...]:
        asked = self.asked.name
        if not self._plain:
            return (asked, self.asked.rival)[:count]
        return (asked, *self._rng.sample([name for name in sorted(RELATIONS) if name != asked], count - 1))

    def _draw_facts(self, relations: tuple[str, ...]) -> list[Fact]:
        facts = []
        taken = {word for person in self.people for word in person.split()}
        for person in self.people:
            for name in relations:
                facts.append(Fact(person, name, self._new_value(RELATIONS[name], taken)))
        return facts

    def _new_value(self, relation: Relation, taken: set[str]) -> str:
        while True:
            value = relation.value(self._rng, self._held_out)
            if not any(value in other or other in value for other in taken):
                taken.add(value)
                return value

    def _runs(self) -> list[list[tuple[str, Fact | None]]]:
        """Runs of one person's sentences; only within a run may "they" stand for the name."""
        runs: list[list[tuple[str, Fact | None]]] = []
        for person in self.people:
            facts = [fact for fact in self.facts if fact.person == person]
            self._rng.shuffle(facts)
            cut = self._rng.randrange(len(facts) + 1)
            runs += [self._run(part) for part in (facts[:cut], facts[cut:]) if part]
        return runs

    def _run(self, facts: list[Fact]) -> list[tuple[str, Fact | None]]:
        sentences: list[tuple[str, Fact | None]] = []
        for fact in facts:
            who = "They" if sentences and self._chance(_PRONOUN_SHARE) else fact.person
            relation = RELATIONS[fact.relation]
            sentences.append((self._statement(relation, who).format(who=who, value=fact.value), fact))
            if self._chance(_DENIAL_SHARE / len(facts)):
                taken = {known.value for known in self.facts} | {word for name in self.people for word in name.split()}
                sentences.append((self._pick(_DENIAL).format(value=self._new_value(relation, taken)), None))
        return sentences

    def _chance(self, share: float) -> bool:
        """Whether to add what makes a passage harder."""
        return not self._plain and self._rng.random() < share

    def _statement(self, relation: Relation, who: str) -> str:
        return _plural(self._pick(relation.openings)) if who == "They" else self._pick(relation.statements)

    def _pick(self, choices: Halves) -> str:
        half = choices[self._held_out]
        return self._rng.choice(half.plain[:_PLAIN_WORDINGS]) if self._plain else half.draw(self._rng)

    def _distinct(self, count: int, draw: Any) -> list[str]:
        found: list[str] = []
        words: set[str] = set()
        while len(found) < count:
            name = draw()
            if not words & set(name.split()):
                found.append(name)
                words |= set(name.split())
        return found


_PLURAL = {"is": "are", "was": "were", "has": "have"}


def _plural(text: str) -> str:
    """The verb that follows "They" in the plural."""
    subject, verb, rest = text.split(" ", 2)
    changed = _PLURAL.get(verb) or (verb[:-2] if verb.endswith("ches") else verb[:-1] if verb.endswith("s") else verb)
    return f"{subject} {changed} {rest}"
