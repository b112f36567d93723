"""What a recipe says of its data reaches what makes them; what that makes of it is tested there."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("datasets")

from pyfastep.compress.data import Splits, load_splits
from pyfastep.compress.recipe_file import load_recipe

QUESTIONS = ["task.kind=question-answering", "data.train_samples=6", "data.eval_samples=4"]


def load(folder: Path, *changes: str) -> Splits:
    return load_splits(load_recipe("smoke", [*QUESTIONS, *changes]), folder)


@pytest.mark.parametrize(
    ("view", "asks", "names"),
    [("full", True, True), ("question-only", True, False), ("context-only", False, True)],
)
def test_views(view: str, asks: bool, names: bool, tmp_path: Path) -> None:
    splits = load(tmp_path, f"data.view={view}")
    for rows in (splits.train, splits.eval):
        assert (set(rows["question"]) != {"What is it?"}) == asks
        assert all(("Somebody" not in context) == names for context in rows["context"])


@pytest.mark.parametrize("people", [2, 5])
def test_difficulty_is_the_number_of_people(people: int, tmp_path: Path) -> None:
    splits = load(tmp_path, f"data.difficulty={people}", "data.view=question-only")
    assert splits.notes["chance_question_only"] == 100.0 / people
    # Nobody else has the relation that is asked for, and its rival: at least two sentences for each person.
    assert all(context.count(". ") + 1 >= 2 * people for context in splits.train["context"])


@pytest.mark.parametrize("kind", ["question-answering", "text-classification"])
def test_counts_and_seed(kind: str, tmp_path: Path) -> None:
    first, same, other = (load(tmp_path, f"task.kind={kind}", f"seed={seed}") for seed in (0, 0, 1))
    assert (len(first.train), len(first.eval), first.primer) == (6, 4, None)
    for mine, again, others in zip(*((s.train[:], s.eval[:]) for s in (first, same, other)), strict=True):
        assert mine == again
        assert mine != others


def test_a_primer_beside_the_others(tmp_path: Path) -> None:
    primed, plain = load(tmp_path, "data.primer_samples=3"), load(tmp_path)
    assert primed.primer is not None
    assert len(primed.primer) == 3
    assert primed.train[:] == plain.train[:]
