"""Weights are read from every orientation and spelling, and refused with the reason."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.errors import ConversionError
from pyfastep.passes.match.weights import QuantizedWeight, match_weight

from .models import FORMS, Builder, linear_model, random_weight, to_ir

WEIGHT = random_weight(12, 20)


def right_side(model: Any) -> ir.Value:
    return next(node for node in to_ir(model).graph if node.op_type in ("MatMul", "Gemm")).inputs[1]  # type: ignore[return-value]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith(("q", "matmul_"))])
def test_forms(form: str, per_channel: bool) -> None:
    model = linear_model(form, weight=WEIGHT, per_channel=per_channel)
    found = match_weight(right_side(model), transposed=form == "gemm_transposed")
    assert isinstance(found, QuantizedWeight)
    assert np.array_equal(found.values, WEIGHT.T)
    assert found.scale.shape == ((12,) if per_channel else ())
    assert found.zero_point.shape == ()
    assert found.zero_point.dtype == np.int8


def product(values: Any, scale: Any, zero_point: Any, **attributes: Any) -> ir.Value:
    b = Builder(21)
    b.input("x", [2, 20])
    parameters = [
        b.constant("s", scale, np.asarray(scale).dtype),
        b.constant("z", zero_point, np.asarray(zero_point).dtype),
    ]
    b.constant("w", values, np.asarray(values).dtype)
    b.node("MatMul", ["x", b.dequantize("w", parameters, "d", **attributes)], "y")
    b.output("y", [2, 12])
    return right_side(b.build())


SCALE = np.float32(0.01)
ZERO = np.int8(0)
MATRIX = WEIGHT.T


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (product(MATRIX.astype(np.int32), SCALE, np.int32(0)), "int32 weights, expected 8 bits"),
        (product(MATRIX.astype(np.int16), SCALE, np.int16(0)), "int16 weights, expected 8 bits"),
        (product(MATRIX[None], SCALE, ZERO), "weights have 3 dimensions, expected 2"),
        (
            product(MATRIX, np.linspace(1, 2, 20, dtype=np.float32), np.zeros(20, np.int8), axis=0),
            "run along the inputs",
        ),
        (product(MATRIX, np.full((2, 12), SCALE), np.zeros((2, 12), np.int8), axis=0, block_size=10), "in blocks"),
        (product(MATRIX, np.float16(0.01), ZERO), "float16 weight scales, expected float32"),
    ],
)
def test_refusals(value: ir.Value, reason: str) -> None:
    found = match_weight(value)
    assert isinstance(found, str)
    assert reason in found


def plain_product(dtype: Any, as_input: bool = False) -> ir.Value:
    b = Builder()
    b.input("x", [2, 20])
    if as_input:
        b.input("w", [20, 12])
    else:
        b.constant("w", np.ones((20, 12)), dtype)
    b.node("MatMul", ["x", "w"], "y")
    b.output("y", [2, 12])
    return right_side(b.build())


def cast_product() -> ir.Value:
    b = Builder()
    b.input("x", [2, 20])
    b.constant("w", np.ones((20, 12)), np.float16)
    b.node("MatMul", ["x", b.node("Cast", ["w"], "w_float", to=1)], "y")
    b.output("y", [2, 12])
    return right_side(b.build())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (plain_product(np.float32), "weights are float (not quantized)"),
        (plain_product(np.float16), "float16 weights"),
        (plain_product(ml_dtypes.bfloat16), "bfloat16 weights"),
        (cast_product(), "float16 weights"),
        (plain_product(np.float32, as_input=True), "weights are not constant"),
    ],
)
def test_weights_that_are_not_quantized(value: ir.Value, reason: str) -> None:
    assert match_weight(value) == reason


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5, 0.0])
def test_scales_that_are_no_scales(bad: float) -> None:
    scales = np.full(12, 0.01, np.float32)
    scales[7] = bad
    with pytest.raises(ConversionError, match=r"weight scale is .*expected a finite number above 0") as error:
        match_weight(product(MATRIX, scales, np.zeros(12, np.int8), axis=1))
    assert error.value.node == "node 'd/DequantizeLinear'"
    assert error.value.remedy


def test_scales_of_one_value_are_one_scale() -> None:
    found = match_weight(product(MATRIX, np.full(20, SCALE), np.full(20, 3, np.int8), axis=0))
    assert isinstance(found, QuantizedWeight)
    assert found.scale == SCALE
    assert found.zero_point == 3


def test_a_scale_per_output_keeps_its_zero_points() -> None:
    zero_points = np.arange(12).astype(np.uint8)
    found = match_weight(product(MATRIX.view(np.uint8), np.linspace(1, 2, 12, dtype=np.float32), zero_points, axis=-1))
    assert isinstance(found, QuantizedWeight)
    assert np.array_equal(found.zero_point, zero_points)
