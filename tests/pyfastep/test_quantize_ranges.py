"""Ranges known from training take the place of calibrated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

import pyfastep
from pyfastep.errors import FastEPError


def scale_and_zero_point(path: Path, tensor: str) -> tuple[float, int]:
    model = onnx.load(str(path))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    (node,) = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == tensor]
    return float(constants[node.input[1]]), int(constants[node.input[2]])


def test_trained_ranges_are_used_and_the_others_calibrated(
    float_model: Path, quantized_model: Path, calibration: list[Any], tmp_path: Path
) -> None:
    output = tmp_path / "q.onnx"
    # The products with wq and wk read the same tensor: its range holds both.
    ranges = {"wq": (-2.0, 3.1), "wk": (-2.0, 1.0), "w2": (-0.5, 2.05)}
    pyfastep.quantize(float_model, output, data=calibration, ranges=ranges)
    assert scale_and_zero_point(output, "x") == pytest.approx((5.1 / 255, 100))
    assert scale_and_zero_point(output, "h") == pytest.approx((2.55 / 255, 50))
    assert scale_and_zero_point(output, "attended") == scale_and_zero_point(quantized_model, "attended")


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"nonsense": (-1.0, 1.0)}, "'nonsense', which is the weight of no MatMul or Gemm"),
        ({"wq": (0.5, 1.0)}, "wq: a range must hold 0 and more than that, found 0.5 to 1.0"),
        ({"wq": (0.0, 0.0)}, "wq: a range must hold 0"),
    ],
)
def test_bad_ranges(
    float_model: Path, calibration: list[Any], tmp_path: Path, ranges: dict[str, tuple[float, float]], message: str
) -> None:
    with pytest.raises(FastEPError, match=message):
        pyfastep.quantize(float_model, tmp_path / "q.onnx", data=calibration, ranges=ranges)
    assert list(tmp_path.iterdir()) == []
