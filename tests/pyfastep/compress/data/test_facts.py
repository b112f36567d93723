"""The generated task: right answers, held-out words and wordings, controls at chance."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from typing import Any

import pytest

from pyfastep.compress.data import facts
from pyfastep.compress.data.fact_words import FAMILY_NAMES, FIELDS, GIVEN_NAMES, TOWNS
from pyfastep.compress.data.fact_world import RELATIONS
from pyfastep.compress.data.facts import fact_rows, fact_splits

COUNT = 300

legible_rows = partial(fact_rows, illegible=0.0)
"""Rows whose sentences a test can take apart."""


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
    openings = {"They", "Some", "It", "The", "In", "Those", "Older", "People"}
    assert common <= openings | {"Works", "Brothers", "Press", "Mills", "Shipping"}
    values = [{row["answers"]["text"][0] for row in rows} for rows in (train, held_out)]
    assert not values[0] & values[1]
    for relation in RELATIONS.values():
        assert not set(relation.statements[0].plain) & set(relation.statements[1].plain)
        assert not set(relation.questions[0].plain) & set(relation.questions[1].plain)


def test_a_question_alone_leaves_as_many_candidates_as_people() -> None:
    """Without names, every person's sentence of the asked relation is as good as any other."""
    for row in legible_rows(COUNT, "0", False, 4, "question-only"):
        sentences = row["context"].split(". ")
        start = row["answers"]["answer_start"][0]
        own = next(s for s in sentences if row["answers"]["text"][0] in s)
        assert "Somebody" in own
        assert not _names(row["context"])
        assert start >= 0
    position: Counter[int] = Counter()
    for row in fact_rows(2000, "3", False, 4, "full"):
        fraction = row["answers"]["answer_start"][0] / len(row["context"])
        position[int(4 * fraction)] += 1
    assert min(position.values()) > 0.6 * max(position.values())  # nor does the place give it away


@pytest.mark.parametrize("held_out", [False, True])
def test_the_largest_passages_find_enough_values(held_out: bool) -> None:
    for row in fact_rows(COUNT, "0", held_out, 8):
        assert row["context"].count(row["answers"]["text"][0]) == 1


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("people", [3, 4])
def test_the_sentence_on_a_mentor_gives_nothing_away(people: int, held_out: bool) -> None:
    """Every passage has one, and the mentor is the person asked for as often as chance says."""
    rows, asked, two_steps = list(legible_rows(1500, "7", held_out, people)), 0, 0
    for row in rows:
        (link,) = [pair for s in row["context"].split(". ") if len(pair := _names(s)) == 2]
        subject = _subject(row)
        asked += subject == link[1]
        if _names(row["question"]) != [subject]:
            assert [*_names(row["question"]), subject] == link
            two_steps += 1
    deviation = (len(rows) * (people - 1)) ** 0.5 / people
    assert abs(asked - len(rows) / people) < 4 * deviation
    assert 0.15 < two_steps / len(rows) < 0.25


def test_words_that_cannot_be_read_are_no_values() -> None:
    """Between none and half of a passage's other words; everything else is as it would be without."""
    shares = []
    for row in fact_rows(COUNT, "0", True, 3):
        words = row["context"].split()
        shares.append(sum(word.startswith("…") for word in words) / len(words))
        assert len(_values(row)) >= 6  # a denial may not be readable as one
    assert min(shares) == 0
    assert 0.4 < max(shares) < 0.65  # of some 60 words
    assert sum(shares) / COUNT == pytest.approx(0.25 * 0.87, abs=0.03)  # one of eight words is a value's
    assert not any("…" in row["context"] + row["question"] for row in legible_rows(COUNT, "0", True, 3))
    assert not any("…" in row["question"] for row in fact_rows(COUNT, "0", True, 3))


def test_a_primer_comes_in_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_PLAIN_SHARE", 0.0)
    sizes = _sizes(list(legible_rows(1600, "0", False, 3, primer=True)))
    assert set(sizes) == {(1, 2), (2, 2), (2, 4), (3, 3), (3, 6)}
    assert min(sizes.values()) > 0.8 * 1600 / 5


def test_plain_passages_are_nothing_but_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few people, facts of unlike kinds, every word in its place, few wordings."""
    monkeypatch.setattr(facts, "_PLAIN_SHARE", 1.0)
    rows = list(fact_rows(1600, "0", False, 3, primer=True))
    sizes = _sizes(rows)
    assert set(sizes) == {(1, 2), (1, 4), (2, 2), (2, 4), (2, 6)}
    assert min(sizes.values()) > 0.8 * 1600 / 5
    for row in rows:
        assert "…" not in row["context"]
        assert not row["context"].startswith("They ")
        assert row["context"].count(". ") + 1 == len(_values(row))
    questions = {row["question"].replace(name, "_") for row in rows for name in _names(row["question"])}
    assert len(questions) == 4 * len(RELATIONS)


def test_half_of_a_primer_is_plain() -> None:
    sizes = _sizes(list(legible_rows(2000, "0", False, 3, primer=True)))
    assert 0.16 < (sizes[1, 4] + sizes[2, 6]) / 2000 < 0.24  # two of its five sizes, which nothing else has


@pytest.mark.parametrize("held_out", [False, True])
def test_all_else_is_of_full_size(held_out: bool) -> None:
    for people, values in _sizes(list(legible_rows(COUNT, "0", held_out, 3))):  # a denial may not be readable as one
        assert people == 3
        assert values >= 6


def test_nobody_else_is_named_before_they() -> None:
    """ "They" is whoever was named last: the sentence on the mentor never stands between."""
    for row in legible_rows(COUNT, "9", False, 3):
        before = ""
        for sentence in row["context"].split(". "):
            if sentence.startswith("They "):
                assert len(_names(before)) == 1, row["context"]
            before = sentence if _names(sentence) else before


def _sizes(rows: list[dict[str, Any]]) -> Counter[tuple[int, int]]:
    """Numbers of people and of facts."""
    return Counter((len(set(_names(row["context"]))), len(_values(row))) for row in rows)


def _names(text: str) -> list[str]:
    """Full names, in the order of the text."""
    return [
        f"{given} {family}"
        for given, family in re.findall(r"(?=\b([A-Z]\w+) ([A-Z]\w+)\b)", text)
        if given in GIVEN_NAMES and family in FAMILY_NAMES
    ]


def _subject(row: dict[str, Any]) -> str:
    """Whom the sentence with the answer speaks of."""
    end = row["context"].find(". ", row["answers"]["answer_start"][0])
    return _names(row["context"][: end if end >= 0 else None])[-1]


def _values(row: dict[str, Any]) -> set[str]:
    """Values of the passage's facts, without those that are denied."""
    stated = [
        s
        for s in row["context"].rstrip(".").split(". ")
        if not re.search(r"\b(?:true|wrong|not|mistake|mistaken)\b", s)
    ]
    words = "|".join((r"\d{4}", r"[A-Z]\w+ (?:Works|Brothers|Press|Mills|Shipping)", *TOWNS, *FIELDS))
    return {value for s in stated if len(_names(s)) < 2 for value in re.findall(rf"\b(?:{words})\b", s)}


def test_context_alone_is_asked_nothing() -> None:
    assert {row["question"] for row in fact_rows(20, "0", False, 4, "context-only")} == {"What is it?"}


def test_splits_know_the_level_of_chance() -> None:
    pytest.importorskip("datasets")
    splits = fact_splits(12, 5, seed=0, people=3)
    assert (len(splits.train), len(splits.eval), splits.primer) == (12, 5, None)
    assert splits.notes == {"chance_question_only": 100 / 3, "chance_context_only": 100 / 6}


def test_a_primer_changes_nothing_else() -> None:
    pytest.importorskip("datasets")
    without, primed = (fact_splits(6, 5, seed=0, people=3, primer=count) for count in (0, 40))
    assert primed.train[:] == without.train[:]
    assert primed.eval[:] == without.eval[:]
    assert primed.primer is not None
    rows = list(primed.primer)
    assert len(rows) == 40
    assert min(len(row["context"]) for row in rows) < 0.5 * min(len(row["context"]) for row in primed.train)
