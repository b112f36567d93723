"""The generated task: right answers, held-out words and wordings, controls at chance."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from pyfastep.compress.data.fact_world import RELATIONS
from pyfastep.compress.data.facts import fact_rows, fact_splits

COUNT = 300


@pytest.mark.parametrize("view", ["full", "question-only", "context-only"])
@pytest.mark.parametrize("held_out", [False, True])
def test_every_answer_is_in_its_context_once(view: str, held_out: bool) -> None:
    for row in fact_rows(COUNT, "0", held_out, 4, view):  # type: ignore[arg-type]
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert row["context"][start : start + len(text)] == text
        assert row["context"].count(text) == 1


def test_the_same_seed_gives_the_same_rows() -> None:
    assert list(fact_rows(20, "1", False, 4)) == list(fact_rows(20, "1", False, 4))
    assert list(fact_rows(20, "1", False, 4)) != list(fact_rows(20, "2", False, 4))


def test_evaluation_shares_no_name_value_or_wording_with_training() -> None:
    train, held_out = (list(fact_rows(COUNT, "0", flag, 4)) for flag in (False, True))

    def names(rows: list[dict[str, str]]) -> set[str]:
        return {word for row in rows for word in re.findall(r"\b[A-Z][a-z]+\b", row["context"])}

    # Capitalized words that both have open sentences or are the second half of a firm's name.
    common = names(train) & names(held_out)
    assert common <= {"They", "Works", "Brothers", "Press", "Mills", "Shipping", "Some", "It", "The"}
    values = [{row["answers"]["text"][0] for row in rows} for rows in (train, held_out)]
    assert not values[0] & values[1]
    for relation in RELATIONS.values():
        assert not set(relation.statements[0]) & set(relation.statements[1])
        assert not set(relation.questions[0]) & set(relation.questions[1])


def test_a_question_alone_leaves_as_many_candidates_as_people() -> None:
    """Without names, every person's sentence of the asked relation is as good as any other."""
    for row in fact_rows(COUNT, "0", False, 4, "question-only"):
        sentences = row["context"].split(". ")
        start = row["answers"]["answer_start"][0]
        own = next(s for s in sentences if row["answers"]["text"][0] in s)
        assert own.startswith("Somebody")
        assert start >= 0
    position = Counter()
    for row in fact_rows(2000, "3", False, 4, "full"):
        fraction = row["answers"]["answer_start"][0] / len(row["context"])
        position[int(4 * fraction)] += 1
    assert min(position.values()) > 0.6 * max(position.values())  # nor does the place give it away


@pytest.mark.parametrize("held_out", [False, True])
def test_the_largest_passages_find_enough_values(held_out: bool) -> None:
    for row in fact_rows(COUNT, "0", held_out, 8):
        assert row["context"].count(row["answers"]["text"][0]) == 1


@pytest.mark.parametrize("people", [3, 4])
def test_the_sentence_on_a_mentor_gives_nothing_away(people: int) -> None:
    """Every passage has one, and the mentor is the person asked for as often as chance says."""
    rows, asked = list(fact_rows(1500, "7", False, people)), 0
    for row in rows:
        (mentor,) = re.findall(r"(?:is a pupil of|learned everything from) (\w+ \w+)\.", row["context"])
        own = _sentence_of(row)
        asked += own.startswith(mentor) or (own.startswith("They ") and _last_name(row) == mentor)
    deviation = (len(rows) * (people - 1)) ** 0.5 / people
    assert abs(asked - len(rows) / people) < 4 * deviation
    two_steps = sum("teacher of" in row["question"] or "mentor of" in row["question"] for row in rows)
    assert 0.15 < two_steps / len(rows) < 0.25


def _sentence_of(row: dict[str, Any]) -> str:
    """The sentence with the answer."""
    return next(s for s in row["context"].split(". ") if row["answers"]["text"][0] in s)


def _last_name(row: dict[str, Any]) -> str:
    """Who was last named at the start of a sentence before the answer's."""
    before = row["context"][: row["context"].index(_sentence_of(row))]
    return re.findall(r"(?:^|\. )((?!They |It |Some |The )\w+ \w+) ", before)[-1]


def test_context_alone_is_asked_nothing() -> None:
    assert {row["question"] for row in fact_rows(20, "0", False, 4, "context-only")} == {"What is it?"}


def test_splits_know_the_level_of_chance() -> None:
    pytest.importorskip("datasets")
    splits = fact_splits(12, 5, seed=0, people=3)
    assert (len(splits.train), len(splits.eval)) == (12, 5)
    assert splits.notes == {"chance_question_only": 100 / 3, "chance_context_only": 100 / 6}
