"""Wordings that can be filled in, and none that training shares with the evaluation or relations with each other."""

from __future__ import annotations

import pytest

from pyfastep.compress.data.fact_wordings import WORDINGS


@pytest.mark.parametrize("name", WORDINGS)
def test_wordings_can_be_filled_in(name: str) -> None:
    for half in WORDINGS[name].statements:
        assert any(text.startswith("{who} ") for text in half)  # for "They"
        for text in half:
            assert (text.count("{who}"), text.count("{value}"), text[-1]) == (1, 1, ".")
    for half in WORDINGS[name].questions:
        for text in half:
            assert (text.count("{who}"), text.count("{value}"), text[-1]) == (1, 0, "?")


def test_no_wording_is_used_twice() -> None:
    """Not in training and evaluation, and not for two relations: the value of a sentence to classify says nothing."""
    texts = [text for known in WORDINGS.values() for half in (*known.statements, *known.questions) for text in half]
    assert len(set(texts)) == len(texts)
