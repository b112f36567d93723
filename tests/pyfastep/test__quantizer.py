"""The steps of quantization that need a look of their own."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pyfastep import _quantizer
from pyfastep.errors import FastEPError


def test_inputs_are_told_apart_from_constants(float_model: Path) -> None:
    model = onnx.load(str(float_model))
    model.graph.input.append(onnx.helper.make_tensor_value_info("gamma", 1, [12]))  # a constant listed as an input
    inputs = _quantizer.inputs_of(model)
    assert [(spec.name, spec.dtype, spec.shape) for spec in inputs] == [
        ("input_ids", np.int64, (None, None)),
        ("attention_mask", np.int64, (None, None)),
    ]


def test_the_reader_keeps_to_its_range() -> None:
    batches = [{"x": np.array([i])} for i in range(5)]
    reader = _quantizer.CalibrationReader(batches, None)
    assert len(reader) == 5
    reader.set_range(start_index=1, end_index=3)
    assert [reader.get_next(), reader.get_next(), reader.get_next()] == [batches[1], batches[2], None]


@pytest.mark.parametrize("spoiled", ["value", "zero_point"])
def test_a_zero_that_does_not_stay_zero_is_an_error(
    float_model: Path, quantized_model: Path, tmp_path: Path, spoiled: str
) -> None:
    prepared = _quantizer.prepare(_quantizer.load_float_model(float_model), tmp_path / "prepared.onnx")
    model = onnx.load(str(quantized_model))
    name = "w1_quantized" if spoiled == "value" else "w1_zero_point"
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ones_like(numpy_helper.to_array(tensor)), name))
    onnx.save(model, str(tmp_path / "spoiled.onnx"))
    with pytest.raises(FastEPError, match="w1: a zero weight did not stay zero"):
        _quantizer.finish(tmp_path / "spoiled.onnx", model, prepared)


def test_the_tools_are_quiet_but_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger().level
    with contextlib.suppress(ValueError), _quantizer._quiet():
        print("advice")
        raise ValueError
    assert logging.getLogger().level == level
    assert capsys.readouterr().out == ""
    print("back")
    assert capsys.readouterr().out == "back\n"
