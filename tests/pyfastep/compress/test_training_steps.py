"""Which rows a training sees, and what is refused before it; what the steps make is tested with whole runs."""

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
from pyfastep.compress.recipe_file import load_recipe
from pyfastep.compress.training_log import TrainingLog
from pyfastep.compress.workspace import Workspace
from pyfastep.errors import FastEPError

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


FEW = ["data.train_samples=64", "data.eval_samples=8", "train.steps=1", "prune.method=none"]


def run_dense(folder: Path, *changes: str) -> Context:
    """The smoke recipe up to its dense model."""
    context = Context(load_recipe("smoke", [*FEW, *changes]), Workspace(folder), lambda step, share, what: None)
    for name in ("data", "dense"):
        context.workspace.run(name, name, lambda folder, step=STEPS[name]: step(context, folder))  # type: ignore[misc]
    return context


def test_a_bare_encoder_learns_its_head_from_another_teacher(tmp_path: Path) -> None:
    """Its own dense model would be no teacher."""
    made = run_dense(tmp_path / "teacher", "dense.steps=0")
    teacher = made.workspace.folder("dense") / "model"
    body = tmp_path / "body"
    made.model("dense").bert.save_pretrained(str(body))
    made.tokenizer.save_pretrained(str(body))
    bare = ("dense.steps=0", f"model.path={body}")
    context = run_dense(tmp_path / "out", *bare, f"distill.teacher={teacher}")
    assert context.model("dense").config.id2label == made.model("dense").config.id2label
    with pytest.raises(FastEPError, match=r"expected a checkpoint that is trained for text-classification"):
        run_dense(tmp_path / "alone", *bare)


def test_mistakes_are_found_before_the_first_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_steps, "train", lambda *args, **given: pytest.fail("trained"))
    with pytest.raises(FastEPError, match=r"quantize\.train\.freeze: pattern 'a\.\*' matches no parameter"):
        run_dense(tmp_path / "freeze", "quantize.method=qat", "quantize.train.steps=1", 'quantize.train.freeze=["a.*"]')
    with pytest.raises(FastEPError, match=r"missing: no such checkpoint folder"):
        run_dense(tmp_path / "out", f"distill.teacher={tmp_path / 'missing'}")
