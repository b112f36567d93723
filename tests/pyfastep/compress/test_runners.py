"""Torch models and sessions answer alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from .encoders import batches, tiny_bert, tiny_distilbert

pytest.importorskip("optimum.exporters.onnx")

from pyfastep.compress.export import export_onnx
from pyfastep.compress.runners import accepted_inputs, session_runner, torch_runner


def test_both_give_the_same_outputs_by_name(tmp_path: Path) -> None:
    model = tiny_distilbert()
    path = export_onnx(model, tmp_path, task="question-answering")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (batch,) = batches(count=1)
    feeds = {name: value.numpy() for name, value in batch.items()}
    feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])  # which this architecture does not take
    ours = torch_runner(model, ("start_logits", "end_logits"))(feeds)
    theirs = session_runner(session)(feeds)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, atol=1e-5)


def test_inputs_are_those_of_the_class() -> None:
    """A training in bf16 puts a wrapper without names before a model's own forward."""
    assert {"input_ids", "attention_mask"} <= accepted_inputs(tiny_distilbert())
    assert "token_type_ids" not in accepted_inputs(tiny_distilbert())
    model = tiny_bert()
    model.forward = lambda *args, **kwargs: {}
    assert "token_type_ids" in accepted_inputs(model)
