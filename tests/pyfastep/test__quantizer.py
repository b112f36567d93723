"""The steps of quantization that need a look of their own."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import pyfastep
from pyfastep import _quantizer
from pyfastep._stock import stock_session
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


def test_a_large_model_keeps_its_weights_beside_it(
    float_model: Path, quantized_model: Path, calibration: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_quantizer, "_EXTERNAL_ABOVE_BYTES", 0)
    report = pyfastep.quantize(float_model, tmp_path / "q.onnx", data=calibration)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sorted(sizes) == ["q.onnx", "q.onnx.data"]
    assert report.output_bytes == sum(sizes.values())
    assert min(sizes.values()) > 0
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1  # whoever reads the model reads its weights
    assert sizes["q.onnx"] < quantized_model.stat().st_size
    outputs, expected = (
        stock_session(model).run(None, calibration[0]) for model in (tmp_path / "q.onnx", quantized_model)
    )
    for found, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("rows", "large"), [(1_700_000, False), (2_300_000, True)])
def test_what_is_large(rows: int, large: bool) -> None:
    """Told by shapes: protobuf cannot tell the size of more than 2 GB."""
    table = onnx.TensorProto(name="table", dims=[rows, 256], data_type=onnx.TensorProto.FLOAT)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [table]))
    assert _quantizer._is_large(model) == large


def test_a_large_model_that_fails_leaves_nothing(
    float_model: Path, calibration: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_quantizer, "_EXTERNAL_ABOVE_BYTES", 0)
    wrong_ids = [{"input_ids": np.full((1, 4), 999), "attention_mask": np.ones((1, 4), int)}]
    with pytest.raises(FastEPError, match="vocabulary"):
        pyfastep.quantize(float_model, tmp_path / "q.onnx", data=wrong_ids)
    assert list(tmp_path.iterdir()) == []
    written: list[str] = []

    def fail(path: Path, source: Any, prepared: Any) -> None:
        written.extend(file.name for file in path.parent.iterdir())
        raise FastEPError("too late")

    monkeypatch.setattr(_quantizer, "finish", fail)
    with pytest.raises(FastEPError, match="too late"):
        pyfastep.quantize(float_model, tmp_path / "q.onnx", data=calibration)
    assert {"q.onnx", "q.onnx.data"} <= set(written)
    assert list(tmp_path.iterdir()) == []


def test_a_quantized_model_that_does_not_run(
    float_model: Path, calibration: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(path: Path, source: Any, prepared: Any) -> list[Any]:
        model = onnx.load(str(path))
        model.graph.node[-1].op_type = "Missing"
        onnx.save(model, str(path))
        return []

    monkeypatch.setattr(_quantizer, "finish", spoil)
    with pytest.raises(FastEPError, match=r"does not run the quantized model.*Missing"):
        pyfastep.quantize(float_model, tmp_path / "q.onnx", data=calibration)
    assert list(tmp_path.iterdir()) == []
