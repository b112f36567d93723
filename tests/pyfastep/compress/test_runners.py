"""Torch models and sessions answer alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from .encoders import batches, tiny_distilbert

pytest.importorskip("optimum.exporters.onnx")

from pyfastep.compress.export import export_onnx
from pyfastep.compress.runners import session_runner, torch_runner
from pyfastep.errors import FastEPError


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


class Session:
    """Takes what it is told to, and shows what it was given."""

    def __init__(self, *inputs: str) -> None:
        self.inputs = inputs

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.inputs]

    def get_outputs(self) -> list[Any]:
        return self.get_inputs()

    def run(self, names: None, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [feeds[name] for name in self.inputs]


def test_token_types_that_the_tokenizer_does_not_give_are_zeros() -> None:
    """The exporter makes an input of them for every BERT."""
    ids = np.array([[5, 6, 0], [7, 8, 9]])
    seen = session_runner(Session("input_ids", "token_type_ids"))({"input_ids": ids, "attention_mask": ids > 0})
    assert seen["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert seen["token_type_ids"].dtype == ids.dtype
    given = {"input_ids": ids, "token_type_ids": ids + 1}
    np.testing.assert_array_equal(session_runner(Session("token_type_ids"))(given)["token_type_ids"], ids + 1)


def test_an_input_that_nobody_knows() -> None:
    run = session_runner(Session("input_ids", "pixels"))
    with pytest.raises(FastEPError, match=r"pixels: .* takes an input that is none of token_type_ids, input_ids"):
        run({"input_ids": np.array([[5]])})
