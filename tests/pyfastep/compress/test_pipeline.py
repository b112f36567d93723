"""What a change of the recipe concerns: the steps whose digest it changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import pyfastep
from pyfastep.compress import pipeline
from pyfastep.compress.pipeline import STEPS, step_digests
from pyfastep.compress.recipe_file import load_recipe, recipe_from_tables, recipe_tables
from pyfastep.compress.workspace import digest_of

AFTER_TRAINING = ["train", "qat", "export", "quantize", "convert", "evaluate", "bench"]


@pytest.mark.parametrize(
    ("change", "concerned"),
    [
        ("bench.repeats=6", ["bench"]),
        ("quantize.equalize=true", AFTER_TRAINING[1:]),
        ("train.steps=11", AFTER_TRAINING),
        ("distill.hidden=0.3", AFTER_TRAINING),
        ("prune.sparsity=0.7", ["prune", *AFTER_TRAINING]),
        ("dense.steps=11", ["dense", "reference", "prune", *AFTER_TRAINING]),
        ("evaluate.forms=final", ["evaluate"]),
        ("data.calibration_samples=31", AFTER_TRAINING[1:]),
        ("name=another", []),
    ],
)
def test_a_change_concerns_what_reads_it_and_what_follows(change: str, concerned: list[str]) -> None:
    """Pruning at once is not repeated because of a longer training."""
    before, after = step_digests(load_recipe("smoke")), step_digests(load_recipe("smoke", [change]))
    assert [step.name for step in STEPS if before[step.name] != after[step.name]] == concerned


def test_calibration_concerns_a_pruning_that_solves_for_weights() -> None:
    """And neither data nor dense model."""
    method = "prune.method=second-order"
    before, after = (
        step_digests(load_recipe("smoke", [method, *more])) for more in ([], ["data.calibration_samples=31"])
    )
    assert [step.name for step in STEPS if before[step.name] != after[step.name]] == ["prune", *AFTER_TRAINING]


def test_the_order_of_targets_concerns_what_the_pruning_concerns() -> None:
    """The first pattern that matches decides."""
    narrow, wide = "'*query*'=0.5", "'*attention*'=0.9"
    orders = [f"prune.targets={{{', '.join(pair)}}}" for pair in ((narrow, wide), (wide, narrow))]
    before, after = (step_digests(load_recipe("smoke", [change])) for change in orders)
    assert [step.name for step in STEPS if before[step.name] != after[step.name]] == ["prune", *AFTER_TRAINING]


def test_digests_stay_what_they_were() -> None:
    """Finished steps stay finished where targets are sorted, or there are none."""
    tables = recipe_tables(load_recipe("smoke"))
    for targets in ({}, {"*attention*": 0.9, "*query*": 0.5}):
        read = {"prune": {**tables["prune"], "targets": targets}, "task": tables["task"], "model": tables["model"]}
        recipe = recipe_from_tables({**tables, "prune": read["prune"]})
        found = step_digests(recipe)
        step = next(step for step in STEPS if step.name == "prune")
        plain = ["prune", step.revision, read, {"dense": found["dense"]}, pyfastep.__version__]
        assert found["prune"] == digest_of(plain)


def test_files_that_a_step_reads_concern_it(tmp_path: Path) -> None:
    """The tokenizer of the checkpoint is read by the step ``data``."""
    files = {
        name: tmp_path / name for name in ("train.json", "eval.json", "model/tokenizer.json", "teacher/config.json")
    }
    for path in files.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")
    changes = [
        "data.source=files",
        "data.train_samples=0",
        f"data.train={tmp_path / 'train.json'}",
        f"data.eval={tmp_path / 'eval.json'}",
        f"model.path={tmp_path / 'model'}",
        f"distill.teacher={tmp_path / 'teacher'}",
    ]
    recipe = load_recipe("smoke", changes)
    first = {"train.json": "data", "eval.json": "data", "model/tokenizer.json": "data", "teacher/config.json": "train"}
    for name, step in first.items():
        before = step_digests(recipe)
        files[name].write_text("22")
        after = step_digests(recipe)
        names = [known.name for known in STEPS]
        assert [known for known in names if before[known] != after[known]] == names[names.index(step) :]


def test_a_pooling_other_than_the_mean_concerns_what_follows(tmp_path: Path) -> None:
    """It stands in a folder of the checkpoint's folder."""
    (tmp_path / "1_Pooling").mkdir()
    rows = [{"type": f"models.{kind}", "path": path} for kind, path in (("Transformer", ""), ("Pooling", "1_Pooling"))]
    (tmp_path / "modules.json").write_text(json.dumps(rows))
    recipe = load_recipe("minilm-embed-80-4x1", [f"model.path={tmp_path}"])
    digests = {}
    for mode in ("mean", "cls", "max"):
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
        digests[mode] = step_digests(recipe)
    assert all(digests["mean"][step.name] != digests["cls"][step.name] for step in STEPS)
    assert digests["max"] == digests["mean"]  # the step says what is wrong, if there is anything to do


def test_a_step_that_works_differently_is_done_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("smoke")
    before = step_digests(recipe)
    changed = tuple(replace(step, revision=step.revision + 1) if step.name == "prune" else step for step in STEPS)
    monkeypatch.setattr(pipeline, "STEPS", changed)
    after = step_digests(recipe)
    assert [step.name for step in STEPS if before[step.name] != after[step.name]] == ["prune", *AFTER_TRAINING]
