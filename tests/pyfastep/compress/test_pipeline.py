"""What a change of the recipe concerns: the steps whose digest it changes."""

from __future__ import annotations

import pytest

from pyfastep.compress.pipeline import STEPS, step_digests
from pyfastep.compress.recipe_file import load_recipe

AFTER_TRAINING = ["train", "qat", "export", "quantize", "convert", "evaluate", "bench"]


@pytest.mark.parametrize(
    ("change", "concerned"),
    [
        ("bench.repeats=6", ["bench"]),
        ("quantize.equalize=true", AFTER_TRAINING[1:]),
        ("train.steps=11", AFTER_TRAINING),
        ("distill.hidden=0.3", AFTER_TRAINING),
        ("prune.sparsity=0.7", ["prune", *AFTER_TRAINING]),
        ("dense.steps=11", ["dense", "prune", *AFTER_TRAINING]),
        ("name=another", []),
    ],
)
def test_a_change_concerns_what_reads_it_and_what_follows(change: str, concerned: list[str]) -> None:
    """Pruning at once is not repeated because of a longer training."""
    before, after = step_digests(load_recipe("smoke")), step_digests(load_recipe("smoke", [change]))
    assert [step.name for step in STEPS if before[step.name] != after[step.name]] == concerned
