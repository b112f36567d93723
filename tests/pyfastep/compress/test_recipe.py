"""Recipes refuse what cannot be run, and say which key it is."""

from __future__ import annotations

from typing import Any

import pytest

from pyfastep.compress.recipe import (
    DataSettings,
    DistillSettings,
    ModelSettings,
    PruneSettings,
    QuantizeSettings,
    Recipe,
    TaskSettings,
    TrainSettings,
)
from pyfastep.errors import FastEPError

QUESTIONS = TaskSettings("question-answering")
FACTS = DataSettings("facts", train_samples=10, eval_samples=5)


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "x",
        "model": ModelSettings("tiny"),
        "task": QUESTIONS,
        "data": FACTS,
        "train": TrainSettings(steps=1),
    }
    return Recipe(**{**values, **changes})


def test_defaults_make_a_recipe() -> None:
    assert recipe().prune.pattern == "4x1"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PruneSettings(sparsity=1.5), r"sparsity: expected a number between 0 and 0.999, found 1.5"),
        (lambda: PruneSettings(method="magic"), r"method: expected one of gradual, .*, found 'magic'"),  # type: ignore[arg-type]
        (lambda: PruneSettings(pattern="4 by 1"), r"pattern: expected RxC"),
        (lambda: PruneSettings(begin=0.8, end=0.5), r"end: expected at least begin = 0.8, found 0.5"),
        (lambda: PruneSettings(layer_bounds=(0.9, 0.5)), r"layer_bounds: expected \[least, highest\]"),
        (lambda: PruneSettings(scope="global", targets={"*": 0.5}), r"targets: targets are per layer"),
        (lambda: PruneSettings(targets={"*.q": 2.0}), r"targets.\*.q: expected a number between 0 and 0.999"),
        (lambda: PruneSettings(scope="global", layer_bounds=(0.2, 0.7)), r"sparsity: expected it within layer_bounds"),
        (lambda: PruneSettings(method="one-shot", score="snip-momentum"), r"score: needs gradients"),
        (
            lambda: TrainSettings(batch_size=8, accumulate=3),
            r"accumulate: expected a divisor of batch_size = 8",
        ),
        (lambda: DistillSettings(task=0, logits=0), r"every weight of the loss is 0"),
        (lambda: DistillSettings(hidden=1, cache=True), r"cache: hidden states are too large"),
        (
            lambda: TrainSettings(dropout="none"),  # type: ignore[arg-type]
            r"dropout: expected a number or one of auto, model, found 'none'",
        ),
        (lambda: TrainSettings(dropout=1.5), r"dropout: expected a number between 0 and 1, found 1.5"),
        (lambda: QuantizeSettings(method="qat"), r"train.steps: expected at least 1 with method = qat"),
        (lambda: DataSettings(train="a.json"), r"eval|both train and eval"),
        (lambda: DataSettings("facts"), r"train_samples: expected a number above 0"),
        (lambda: DataSettings("facts", train_samples=1), r"eval_samples: expected a number above 0"),
        (lambda: DataSettings("facts", train="a", train_samples=1, eval_samples=1), r"source: files are given"),
        (lambda: TaskSettings("text-classification", text_columns=("a", "b", "c")), r"one or two columns"),
        (lambda: recipe(train=TrainSettings()), r"train.steps: gradual pruning needs training"),
        (lambda: recipe(task=TaskSettings("sentence-embedding")), r"task.kind: data.source = facts"),
        (
            lambda: recipe(
                task=TaskSettings("text-classification"),
                data=DataSettings("facts", train_samples=1, eval_samples=1, primer_samples=1),
            ),
            r"data.primer_samples: goes with question answering on facts, expected 0",
        ),
        (lambda: recipe(distill=DistillSettings(embedding=1.0)), r"distill.embedding: goes with sentence-embedding"),
    ],
)
def test_what_cannot_be_run_is_refused(make: Any, message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        make()


def test_sentences_have_no_labels() -> None:
    task, data = TaskSettings("sentence-embedding"), DataSettings("sentences", train_samples=1, eval_samples=1)
    with pytest.raises(FastEPError, match="distill: sentences have no labels"):
        recipe(task=task, data=data)
    only_teacher = DistillSettings(task=0, logits=0, embedding=1)
    with pytest.raises(FastEPError, match=r"dense\.steps: sentences have no labels"):
        recipe(task=task, data=data, distill=only_teacher, dense=TrainSettings(steps=1))
    assert recipe(task=task, data=data, distill=only_teacher).distill.needs_teacher


def test_sentences_are_compared_with_each_other() -> None:
    """One has no neighbour, and two are one pair, which has no rank."""
    values = {
        "task": TaskSettings("sentence-embedding"),
        "data": DataSettings("sentences", train_samples=9, eval_samples=9),
        "distill": DistillSettings(task=0, logits=0, embedding=1),
    }
    few = TrainSettings(steps=1, evaluations=1, evaluation_samples=2)
    with pytest.raises(FastEPError, match=r"train.evaluation_samples: expected at least 3 to compare, found 2"):
        recipe(**values, train=few)
    with pytest.raises(FastEPError, match=r"quantize.train.evaluation_samples: expected at least 3 to compare"):
        recipe(**values, quantize=QuantizeSettings("qat", train=few))
    recipe(**values, train=TrainSettings(steps=1, evaluation_samples=2))  # which asks for no evaluation
