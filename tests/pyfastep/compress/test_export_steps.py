"""Which forms of a model are judged, and how it is quantized; what the steps make is tested with whole runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from .encoders import tiny_bert

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

import pyfastep  # noqa: E402
from pyfastep.compress import export_steps, forms, training_steps  # noqa: E402
from pyfastep.compress.context import Context  # noqa: E402
from pyfastep.compress.data.splits import Splits  # noqa: E402
from pyfastep.compress.models import tiny_tokenizer  # noqa: E402
from pyfastep.compress.recipe import Recipe  # noqa: E402
from pyfastep.compress.recipe_file import load_recipe  # noqa: E402
from pyfastep.compress.teacher import Teacher  # noqa: E402
from pyfastep.compress.workspace import Workspace  # noqa: E402

FLOAT = [forms.PRUNED, forms.PRUNED_STOCK]
TEXTS = ["one", "two three", "four five six"]


def make_context(recipe: Recipe, folder: Path) -> Context:
    """As after the last step that makes a model."""
    context = Context(recipe, Workspace(folder), lambda step, share, what: None)
    for step in ("export", "quantize", "convert"):
        context.workspace.run(step, step, lambda folder: None)
    return context


@pytest.mark.parametrize(
    ("changes", "judged"),
    [
        ([], [*FLOAT, forms.INT8_STOCK, forms.FAST_STOCK, forms.FAST]),
        (["evaluate.forms=final"], [forms.PRUNED, forms.FAST]),
        (["quantize.method=none"], FLOAT),
        (["quantize.method=none", "evaluate.forms=final"], FLOAT),
        (["quantize.method=none", "distill.teacher=other"], [forms.TEACHER, *FLOAT]),
        (["quantize.method=none", "distill.teacher=other", "distill.logits=0", "distill.hidden=0"], FLOAT),
        (["quantize.method=none", "distill.teacher=other", "train.steps=0", "prune.method=none"], FLOAT),
        (["distill.teacher=other", "evaluate.forms=final"], [forms.PRUNED, forms.FAST]),
    ],
)
def test_forms(changes: list[str], judged: list[str], tmp_path: Path) -> None:
    """The final file is the last form, without quantization the pruned one; a teacher that is not asked is none."""
    assert list(export_steps._forms(make_context(load_recipe("smoke", changes), tmp_path))) == judged


def test_a_teacher_is_pooled_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentence embeddings are its first tokens' states, where the run's models have means."""
    recipe = replace(load_recipe("minilm-embed-80-4x1", ["model.max_length=16"]), name="pooled")
    recipe = replace(recipe, distill=replace(recipe.distill, teacher="other"))
    context, tokenizer, model = make_context(recipe, tmp_path), tiny_tokenizer(TEXTS * 3), tiny_bert()
    rows = datasets.Dataset.from_dict({"text": TEXTS})
    vars(context).update(tokenizer=tokenizer, splits=Splits(rows, rows))
    monkeypatch.setattr(export_steps, "load_teacher", lambda context: Teacher(model, "cls"))
    found = export_steps._forms(context)[forms.TEACHER]()["text"]
    for text, embedding in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        first, mean = states[0].numpy(), states.mean(0).numpy()
        cosines = [
            float(embedding @ other / np.linalg.norm(embedding) / np.linalg.norm(other)) for other in (first, mean)
        ]
        assert cosines[0] > 1 - 1e-6 > cosines[1]


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ([], {"method": "minmax", "percentile": 99.999, "attention": True, "embeddings": True}),
        (["calibration=entropy", "attention=false"], {"method": "entropy", "attention": False, "embeddings": True}),
        (["calibration=percentile", "percentile=99.5"], {"method": "percentile", "percentile": 99.5}),
        (["embeddings=false"], {"attention": True, "embeddings": False}),
    ],
)
@pytest.mark.parametrize("samples", [3, 5])
def test_the_recipe_says_how_to_quantize(
    changes: list[str], asked: dict[str, Any], samples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def quantize(source: Path, output: Path, **options: Any) -> SimpleNamespace:
        calls.append((source, output, options))
        return SimpleNamespace(weights=(), cosine=1.0, output_bytes=1)

    monkeypatch.setattr(pyfastep, "quantize", quantize)
    few = ["data.train_samples=8", "data.eval_samples=4", f"data.calibration_samples={samples}"]
    recipe = load_recipe("smoke", [*few, *(f"quantize.{change}" for change in changes)])
    context = make_context(recipe, tmp_path / "out")
    context.workspace.run("data", "data", lambda folder: training_steps.run_data(context, folder))
    export_steps._quantize(context, Path("pruned.onnx"), tmp_path, {"w": (-1.0, 2.0)})
    ((source, output, options),) = calls
    assert (source, output) == (Path("pruned.onnx"), tmp_path / export_steps.INT8)
    assert {name: options[name] for name in asked} == asked
    assert options["ranges"] == {"w": (-1.0, 2.0)}
    texts = context.splits.train["text"][:samples]
    assert [batch["input_ids"].tolist() for batch in options["data"]] == [
        [tokens] for tokens in context.tokenizer(texts)["input_ids"]
    ]
    assert options["max_samples"] == samples  # or it would stop at its own number
