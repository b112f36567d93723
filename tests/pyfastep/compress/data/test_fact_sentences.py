"""Generated sentences to classify: the label is that of the wording, and the evaluation has names of its own."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from pyfastep.compress.data.fact_sentences import LABELS, sentence_rows, statement_splits
from pyfastep.compress.data.fact_world import RELATIONS

COUNT = 400


@pytest.mark.parametrize("held_out", [False, True])
def test_the_label_is_the_relation_of_the_wording(held_out: bool) -> None:
    rows = list(sentence_rows(COUNT, "0", held_out))
    for row in rows:
        statements = RELATIONS[LABELS[row["label"]]].statements[0].plain
        patterns = [re.escape(text).replace(r"\{who\}", ".+").replace(r"\{value\}", ".+") for text in statements]
        assert any(re.fullmatch(pattern, row["text"]) for pattern in patterns)
    assert set(Counter(row["label"] for row in rows).values()) == {COUNT // len(LABELS)}


def test_the_same_seed_gives_the_same_rows() -> None:
    assert list(sentence_rows(20, "1", False)) == list(sentence_rows(20, "1", False))
    assert list(sentence_rows(20, "1", False)) != list(sentence_rows(20, "2", False))


def test_evaluation_shares_no_name_with_training() -> None:
    names = [{tuple(row["text"].split()[:2]) for row in sentence_rows(COUNT, "0", flag)} for flag in (False, True)]
    words = [{word for name in part for word in name} for part in names]
    assert not words[0] & words[1]


def test_splits_know_labels_and_the_level_of_chance() -> None:
    pytest.importorskip("datasets")
    splits = statement_splits(16, 8, seed=0)
    assert (len(splits.train), len(splits.eval)) == (16, 8)
    assert splits.labels == LABELS
    assert splits.notes == {"chance": 100 / len(RELATIONS)}
