"""Intervals against a table of Student's t, and verdicts."""

from __future__ import annotations

import pytest

from pyfastep.compress.study.statistics import compare, estimate


def test_interval_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.mean, found.count) == (2.0, 3)
    # t of 2 degrees of freedom at 97.5 % is 4.302653; s = 1.
    assert found.margin == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert found.text(1) == "2.0 ± 2.5"


def test_one_value_has_no_interval() -> None:
    found = estimate([1.25])
    assert found is not None
    assert found.margin is None
    assert found.text() == "1.25"
    assert estimate([]) is None


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({0: 3.0, 1: 4.1, 2: 5.0}, "holds"),
        ({0: 1.0, 1: 2.1, 2: 3.0}, "reversed"),
        ({0: 2.5, 1: 1.9, 2: 4.9}, "not decided"),
        ({1: 9.0}, "not decided"),  # one seed in common
    ],
)
def test_verdicts_are_paired(values: dict[int, float], verdict: str) -> None:
    """Seeds differ much more than cells do: only pairs can tell."""
    found = compare("a", "b", {"a": values, "b": {0: 2.0, 1: 3.0, 2: 4.0, 7: 100.0}})
    assert found is not None
    assert found.verdict == verdict
    assert found.difference.count == len(values)


def test_nothing_in_common() -> None:
    assert compare("a", "b", {"a": {0: 1.0}, "b": {1: 1.0}}) is None
    assert compare("a", "c", {"a": {0: 1.0}}) is None
