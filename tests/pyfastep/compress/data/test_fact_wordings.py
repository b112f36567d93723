"""Wordings that can be filled in, and none that training shares with the evaluation or relations with each other."""

from __future__ import annotations

import random

import pytest

from pyfastep.compress.data.fact_wordings import MENTOR, MENTOR_TERMS, WORDINGS, Phrases


@pytest.mark.parametrize("name", WORDINGS)
def test_wordings_can_be_filled_in(name: str) -> None:
    for half in WORDINGS[name].statements:
        assert any(text.startswith("{who} ") for text in half.plain)  # for "They"
        for text in half.plain + half.framed:
            assert (text.count("{who}"), text.count("{value}"), text[-1]) == (1, 1, ".")
            assert text.count(".") == 1
            assert "{it}" not in text
    for half in WORDINGS[name].questions:
        for text in half.plain + half.framed:
            assert (text.count("{who}"), text.count("{value}")) == (1, 0)
            assert text[-1] in "?."
            assert "{it}" not in text


def test_no_wording_is_used_twice() -> None:
    """Not in training and evaluation, and not for two relations: the value of a sentence to classify says nothing."""
    halves = [half for known in WORDINGS.values() for half in (*known.statements, *known.questions)]
    texts = [text for half in halves for text in half.plain + half.framed]
    assert len(set(texts)) == len(texts) > 2000


def test_mentors() -> None:
    """The pupil is named first, and the evaluation's sentences are its own."""
    training, held_out = (half.plain + half.framed for half in MENTOR)
    assert not set(training) & set(held_out)
    for text in training + held_out:
        assert (text.count("{who}"), text.count("{value}"), text.count("."), text[-1]) == (1, 1, 1, ".")
        assert text.index("{who}") < text.index("{value}")
    assert len(set(MENTOR_TERMS)) == len(MENTOR_TERMS)
    assert all(text.count("{who}") == 1 and text[-1] not in ".?" for text in MENTOR_TERMS)


def test_frames_are_those_of_training_alone() -> None:
    known = WORDINGS["born"]
    assert "It is known that {who} was born in {value}." in known.statements[0].framed
    assert "It is known that the birthplace of {who} is {value}." in known.statements[0].framed
    assert "Would you tell me where {who} was born?" in known.questions[0].framed
    assert not known.statements[1].framed
    assert not known.questions[1].framed


def test_draws_keep_to_the_share() -> None:
    rng = random.Random(0)
    drawn = [Phrases(("a", "b"), ("c",), 0.25).draw(rng) for _ in range(4000)]
    shares = [drawn.count(text) / len(drawn) for text in "abc"]
    assert shares == pytest.approx([0.375, 0.375, 0.25], abs=5 * (0.25 / 4000) ** 0.5)  # five standard deviations
    assert {Phrases(("a", "b")).draw(rng) for _ in range(40)} == {"a", "b"}
