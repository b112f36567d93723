"""The measures against cases from the official script's rules."""

from __future__ import annotations

import pytest

from pyfastep.compress.tasks.squad import exact_match, f1, normalize, score


def test_normalization() -> None:
    assert normalize("  The Cat, a hat & an Apple!  ") == "cat hat apple"
    assert normalize("theatre") == "theatre"


@pytest.mark.parametrize(
    ("predicted", "answer", "exact", "overlap"),
    [
        ("the cat", "Cat", 1, 1),
        ("black cat", "cat", 0, 2 / 3),
        ("cat cat", "cat", 0, 2 / 3),
        ("dog", "cat", 0, 0),
        ("", "cat", 0, 0),
        ("the", "a", 1, 0),
    ],
)
def test_by_hand(predicted: str, answer: str, exact: float, overlap: float) -> None:
    assert exact_match(predicted, answer) == exact
    assert f1(predicted, answer) == pytest.approx(overlap)


def test_the_best_of_several_right_answers_counts() -> None:
    assert score(["black cat", "x"], [["cat", "the black cat"], ["y"]]) == (50.0, 50.0)
