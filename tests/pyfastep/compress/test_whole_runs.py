"""Question answering and sentence embedding from their first step to their last, with as little work as there can be.

Text classification, with all that a run leaves, is tested at length beside this folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")
pytest.importorskip("optimum.onnxruntime")

from transformers import AutoModel, AutoTokenizer, set_seed

from pyfastep.compress import export_steps, forms
from pyfastep.compress.data.splits import Splits
from pyfastep.compress.export import export_onnx
from pyfastep.compress.models import tiny_model, tiny_tokenizer
from pyfastep.compress.onnx_files import read_metadata
from pyfastep.compress.pipeline import compress
from pyfastep.compress.predictions import load_predictions
from pyfastep.compress.recipe import TaskSettings
from pyfastep.compress.recipe_file import load_recipe
from pyfastep.compress.tasks import create_task

pytestmark = pytest.mark.usefixtures("fastep_library")
ALL_FORMS = [
    forms.DENSE,
    forms.PRUNED,
    forms.PRUNED_STOCK,
    forms.INT8_STOCK,
    forms.FAST_STOCK,
    forms.FAST,
]
SHORT = ["prune.sparsity=0.5", "data.calibration_samples=3", "bench.batches=[]", "bench.lengths=[]"]
TEXTS = [f"{who} {does} the {what}." for who in ("She", "He") for does in ("saw", "had") for what in ("cat", "old dog")]


def outputs(file: Path) -> list[str]:
    return [value.name for value in onnx.load(str(file)).graph.output]


def qa_changes() -> list[str]:
    data = ["source=facts", "train_samples=6", "eval_samples=3", "primer_samples=2", "difficulty=2"]
    return [
        *SHORT,
        *(f"data.{entry}" for entry in data),
        "task.kind=question-answering",
        "model.max_length=160",
        "dense.steps=1",
        "dense.batch_size=2",
        "prune.method=one-shot",
        "train.steps=0",
    ]


def test_question_answering(tmp_path: Path) -> None:
    report = compress(load_recipe("smoke", qa_changes()), tmp_path)
    assert list(report.figures) == ALL_FORMS
    assert all(list(row) == ["exact_match", "f1", "agreement"] for row in report.figures.values())
    assert report.figures[forms.DENSE]["agreement"] == 100.0
    assert report.figures[forms.PRUNED_STOCK] == report.figures[forms.PRUNED]
    assert report.chief_figure == "f1"
    assert outputs(report.model / "model.onnx") == ["start_logits", "end_logits"]


@pytest.mark.parametrize("method", ["static", "none"])
def test_a_model_above_2_gb(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporters put its weights into a file of their own, which goes where the model goes."""

    def export(*arguments: Any, **options: Any) -> Path:
        path = export_onnx(*arguments, **options)
        onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="model.onnx_data")
        return path

    monkeypatch.setattr(export_steps, "export_onnx", export)
    report = compress(load_recipe("smoke", [*qa_changes(), f"quantize.method={method}"]), tmp_path)
    assert report.figures[forms.PRUNED_STOCK] == report.figures[forms.PRUNED]
    data = {path.name for path in report.model.iterdir() if "onnx" in path.name}
    assert data == ({"model.onnx", "model.onnx.data"} if method == "none" else {"model.onnx"})
    assert read_metadata(report.model / "model.onnx")["seed"] == 0
    moved = report.model.rename(tmp_path / "elsewhere")
    assert outputs(moved / "model.onnx") == ["start_logits", "end_logits"]  # all of its data is read, too


def save_sentence_transformer(folder: Path) -> dict[str, str]:
    """A checkpoint that pools by the first token; the contents of its files of sentence-transformers."""
    set_seed(0)
    tokenizer = tiny_tokenizer(TEXTS)
    model = tiny_model(create_task(TaskSettings("sentence-embedding"), 32), len(tokenizer), 32)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds.items()]
    files = {"modules.json": json.dumps(modules), "1_Pooling/config.json": '{"pooling_mode": "cls"}'}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return files


def assert_pooled_by_first_token(steps: Path, checkpoint: Path) -> None:
    """What the figures compare with are the embeddings that the checkpoint's users have."""
    model, tokenizer = (auto.from_pretrained(str(checkpoint)) for auto in (AutoModel, AutoTokenizer))
    found = load_predictions(steps / "reference")["text"]
    for text, embedding in zip(Splits.load(steps / "data").eval["text"], found, strict=True):
        first = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0].detach().numpy()
        np.testing.assert_allclose(embedding, first / np.linalg.norm(first), atol=1e-5)


def test_sentence_embedding(tmp_path: Path) -> None:
    files = save_sentence_transformer(tmp_path / "checkpoint")
    rows = [{"text": text, "query": text[:7], "passage": text} for text in TEXTS]
    (tmp_path / "eval.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "train.txt").write_text("\n".join(TEXTS[::-1]))
    data = ["source=files", "train_samples=0", "eval_samples=0"]
    data += [f"train={tmp_path / 'train.txt'}", f"eval={tmp_path / 'eval.jsonl'}"]
    changes = [
        *SHORT,
        *(f"data.{entry}" for entry in data),
        "task.kind=sentence-embedding",
        f"model.path={tmp_path / 'checkpoint'}",
        "model.max_length=32",
        "dense.steps=0",
        "train.steps=1",
        *(f"distill.{loss}" for loss in ("task=0", "logits=0", "embedding=1")),
    ]
    report = compress(load_recipe("smoke", changes), tmp_path / "out")
    fidelity = ["cosine", "cosine_p5", "spearman", "top1_overlap", "top10_overlap"]
    assert list(report.figures) == ALL_FORMS
    assert all(list(row) == [*fidelity, "retrieval_at_1", "retrieval_mrr"] for row in report.figures.values())
    dense, pruned, stock = (report.figures[form] for form in (forms.DENSE, forms.PRUNED, forms.PRUNED_STOCK))
    assert {name: dense[name] for name in fidelity} == pytest.approx(dict.fromkeys(fidelity, 1.0))
    assert pruned["cosine"] == pytest.approx(stock["cosine"], abs=1e-5)
    assert pruned["cosine"] < 1 - 1e-4  # the layers of a model that was never trained change little
    assert report.chief_figure == "cosine"
    assert outputs(report.model / "model.onnx") == ["last_hidden_state"]
    assert {name: (report.model / name).read_text() for name in files} == files
    assert_pooled_by_first_token(tmp_path / "out" / "steps", tmp_path / "checkpoint")
