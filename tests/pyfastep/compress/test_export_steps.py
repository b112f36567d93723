"""Which forms of a model are judged; what the steps make is tested with whole runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from .encoders import tiny_bert

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

from pyfastep.compress import export_steps, forms  # noqa: E402
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
