"""Which rows a training sees; what the steps make is tested with whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("datasets")

from pyfastep.compress import training_steps
from pyfastep.compress.context import Context
from pyfastep.compress.recipe import (
    DataSettings,
    DistillSettings,
    ModelSettings,
    PruneSettings,
    Recipe,
    TaskSettings,
    TrainSettings,
)
from pyfastep.compress.training_log import TrainingLog
from pyfastep.compress.workspace import Workspace

PRIMER, TRAIN = 12, 8
STEPS = {
    "data": training_steps.run_data,
    "dense": training_steps.run_dense,
    "prune": training_steps.run_prune,
    "train": training_steps.run_train,
}


@pytest.mark.parametrize("primer", [0, PRIMER])
def test_the_primer_is_seen_by_the_dense_model_alone_and_first(
    primer: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, tuple[int, int]] = {}
    lengths: dict[str, list[int]] = {}

    def train(model: Any, features: Any, settings: Any, **given: Any) -> TrainingLog:
        seen[given["name"]] = (len(features), given["first_rows"])
        lengths[given["name"]] = [len(tokens) for tokens in features["input_ids"]]
        return TrainingLog()

    monkeypatch.setattr(training_steps, "train", train)
    recipe = Recipe(
        "primed",
        ModelSettings("tiny", max_length=512),
        TaskSettings("question-answering"),
        DataSettings("facts", train_samples=TRAIN, eval_samples=4, primer_samples=primer),
        dense=TrainSettings(steps=1),
        prune=PruneSettings(method="none"),
        train=TrainSettings(steps=1),
        distill=DistillSettings(),
    )
    context = Context(recipe, Workspace(tmp_path), lambda step, share, what: None)
    for name, step in STEPS.items():
        context.workspace.run(name, name, lambda folder, step=step: step(context, folder))  # type: ignore[misc]
    assert seen == {"dense": (primer + TRAIN, primer), "train": (TRAIN, 0)}
    assert lengths["dense"][primer:] == lengths["train"]
    if primer:
        assert sum(lengths["dense"][:primer]) / primer < 0.8 * sum(lengths["train"]) / TRAIN
