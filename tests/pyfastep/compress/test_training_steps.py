"""Which rows a training sees, what is refused before it, which zeros stay; the rest is tested with whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("datasets")

from pyfastep.compress import training_steps
from pyfastep.compress.context import Context
from pyfastep.compress.prune import prune_blocks
from pyfastep.compress.qat import insert_fake_quantization
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
from pyfastep.compress.selection import select_linears
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
    run_steps(context, "data", "dense")
    return context


def run_steps(context: Context, *names: str) -> None:
    for name in names:
        step = getattr(training_steps, f"run_{name}")
        context.workspace.run(name, name, lambda folder, step=step: step(context, folder))  # type: ignore[misc]


def test_a_bare_encoder_learns_its_head_from_another_teacher(tmp_path: Path) -> None:
    """Its own dense model would be no teacher."""
    made = run_dense(tmp_path / "teacher", "dense.steps=0")
    teacher = made.workspace.folder("dense") / "model"
    body = tmp_path / "body"
    whole: Any = made.model("dense")
    whole.bert.save_pretrained(str(body))
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


def test_fewer_layers_than_the_checkpoint_has(tmp_path: Path) -> None:
    model: Any = run_dense(tmp_path, "dense.steps=0", "model.layers=1").model("dense")
    assert (len(model.bert.encoder.layer), model.config.num_hidden_layers) == (1, 1)


# A step of this size moves a weight further than most are large: masks of any other moment would be others.
LARGE_STEPS = [f"{table}.{key}" for table in ("train", "quantize.train") for key in ("steps=1", "learning_rate=0.05")]
PRUNED = [*LARGE_STEPS, "dense.steps=0", "quantize.method=qat", "quantize.train.precision=fp32"]


def weights(context: Context, step: str) -> dict[str, Any]:
    """Of all Linears that are pruned."""
    return {name: linear.weight.detach() for name, linear in select_linears(context.model(step)).items()}


def zeros(context: Context, step: str) -> dict[str, Any]:
    return {name: (weight == 0).tolist() for name, weight in weights(context, step).items()}


def assert_pattern_stays(context: Context, first: str, sparsity: float) -> None:
    """While both trainings change weights, the zeros that ``first`` left stay, and no other becomes one."""
    pattern, before = zeros(context, first), weights(context, first)
    for step in ("train", "qat"):
        assert zeros(context, step) == pattern
        after = weights(context, step)
        assert all((after[name] - before[name]).abs().max() > 0.01 for name in before)
        before = after
    report = json.loads((context.workspace.folder("train") / "sparsity.json").read_text())["report"]
    assert report["sparsity"] == sparsity
    assert {layer["name"]: layer["sparsity"] for layer in report["layers"]} == dict.fromkeys(pattern, sparsity)


@pytest.mark.parametrize("method", ["one-shot", "second-order"])
def test_what_is_pruned_at_once_stays_zero(method: str, tmp_path: Path) -> None:
    context = run_dense(tmp_path, *PRUNED, f"prune.method={method}", "prune.sparsity=0.75")
    assert not any(bool((weight == 0).any()) for weight in weights(context, "dense").values())
    run_steps(context, "prune", "train", "qat")
    assert_pattern_stays(context, "prune", 0.75)


def test_the_zeros_of_a_checkpoint_are_locked(tmp_path: Path) -> None:
    """All of them and no others, whatever sparsity the recipe has."""
    made = run_dense(tmp_path / "checkpoint", "dense.steps=0")
    model = made.model("dense")
    prune_blocks(model, sparsity=0.25)
    made.save(model, tmp_path)
    path = f"model.path={tmp_path / 'model'}"
    context = run_dense(tmp_path / "out", *PRUNED, "prune.method=lock", "prune.sparsity=0.75", path)
    run_steps(context, "prune", "train", "qat")
    assert_pattern_stays(context, "dense", 0.25)


def test_quantization_aware_training_is_as_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    insert = insert_fake_quantization

    def equalize(model: Any, batches: Any) -> int:
        asked["equalized on"] = sum(len(batch["input_ids"]) for batch in batches)
        return 0

    def inserted(model: Any, names: Any, batches: Any, mode: Any, momentum: float) -> None:
        asked["ranges"] = (sum(len(batch["input_ids"]) for batch in batches), mode, momentum)
        insert(model, names, batches, mode, momentum)

    def train(model: Any, features: Any, settings: Any, **given: Any) -> TrainingLog:
        asked[given["name"]] = settings
        return TrainingLog()

    monkeypatch.setattr(training_steps, "equalize_attention", equalize)
    monkeypatch.setattr(training_steps, "insert_fake_quantization", inserted)
    monkeypatch.setattr(training_steps, "train", train)
    settings = ("method=qat", "train.steps=3", "ranges=learned", "momentum=0.3", "equalize=true")
    context = run_dense(tmp_path, "data.calibration_samples=21", *(f"quantize.{setting}" for setting in settings))
    run_steps(context, "prune", "train", "qat")
    recipe = context.recipe
    trainings = {"dense": recipe.dense, "train": recipe.train, "qat": recipe.quantize.train}
    assert [table.steps for table in trainings.values()] == [400, 1, 3]
    assert asked == {**trainings, "equalized on": 21, "ranges": (21, "learned", 0.3)}
