"""Quantizers of activations: what counts as one scale, and pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.errors import ConversionError
from pyfastep.passes.match.quantizers import (
    Scale,
    behind_pair,
    only_consumer,
    quantizers_of,
    rounding_scale,
    scale_of,
    without_rounding,
)

from .extra_nodes import with_reading_branch
from .models import Builder, to_ir


def pair_model(first: tuple[float, int], second: tuple[float, int], readers: int = 1) -> ir.Graph:
    b = Builder()
    b.input("x", ["n", 4])
    b.node("Neg", ["x"], "v")
    b.quantize("v", b.scale("a", *first), "q")
    b.dequantize("q", b.scale("b", *second), "d")
    for index in range(readers):
        b.node("Abs", ["d" if index == 0 else "q"], f"y{index}")
        b.output(f"y{index}", ["n", 4], "f32" if index == 0 else "u8")
    return to_ir(b.build()).graph


def test_behind_pair() -> None:
    graph = pair_model((0.5, 7), (0.5, 7))
    found = behind_pair(graph[0].outputs[0])
    assert found is not None
    assert found[0].name == "d"
    assert found[1] == Scale(np.asarray(np.float32(0.5)), np.asarray(np.uint8(7)))


@pytest.mark.parametrize("second", [(0.25, 7), (0.5, 8)])
def test_a_pair_of_two_scales_is_none(second: tuple[float, int]) -> None:
    graph = pair_model((0.5, 7), second)
    assert behind_pair(graph[0].outputs[0]) is None
    assert without_rounding(graph[2].outputs[0]) is graph[2].outputs[0]
    assert rounding_scale(graph[2]) == "quantized with one scale and dequantized with another"


@pytest.mark.parametrize(("scale", "is_pair"), [(0.5, True), (0.25, False)])
def test_data_may_move_inside_a_pair(scale: float, is_pair: bool) -> None:
    b = Builder()
    b.input("x", [3, 4])
    turned = b.node("Transpose", [b.quantize("x", b.scale("a", 0.5, 7), "q")], "turned", perm=[1, 0])
    b.dequantize(turned, b.scale("b", scale, 7), "y")
    b.output("y", [4, 3])
    assert isinstance(rounding_scale(to_ir(b.build()).graph[2]), Scale) is is_pair


def test_a_pair_whose_inside_is_read_is_none() -> None:
    assert behind_pair(pair_model((0.5, 7), (0.5, 7), readers=2)[0].outputs[0]) is None


def test_consumers() -> None:
    graph = pair_model((0.5, 7), (0.5, 7), readers=2)
    value, quantized = graph[0].outputs[0], graph[1].outputs[0]
    assert quantizers_of(value) == [graph[1]]
    assert only_consumer(value) is graph[1]
    assert only_consumer(quantized) is None
    assert only_consumer(graph.outputs[0]) is None


def test_readers_inside_a_branch_are_others() -> None:
    """They cannot move out of it."""
    b = Builder()
    b.input("x", [3, 4])
    b.node("Neg", ["x"], "v")
    parameters = b.scale("a", 0.5, 7)
    b.quantize("x", parameters, "y")
    b.output("y", [3, 4], "u8")
    model = to_ir(with_reading_branch(b.build(), "v", [("QuantizeLinear", parameters)], "y", "u8", [3, 4]))
    value = model.graph[0].outputs[0]
    assert len(value.uses()) == 1
    assert quantizers_of(value) == []
    assert only_consumer(value) is None


@pytest.mark.parametrize(
    ("zero_point", "dtype", "one_sided"),
    [(0, "u8", True), (255, "u8", True), (1, "u8", False), (-128, "s8", True), (0, "s8", False)],
)
def test_one_sided(zero_point: int, dtype: str, one_sided: bool) -> None:
    type_ = {"u8": np.uint8, "s8": np.int8}[dtype]
    assert Scale(np.asarray(np.float32(1)), np.asarray(zero_point, type_)).is_one_sided is one_sided


def quantizer(scale: object, zero_point: object = None, opset: int = 21, **attributes: Any) -> ir.Node:
    b = Builder(opset)
    b.input("x", ["n", 4])
    inputs = ["x", b.constant("s", scale, np.asarray(scale).dtype)]
    if zero_point is not None:
        inputs.append(b.constant("z", zero_point, np.asarray(zero_point).dtype))
    b.node("QuantizeLinear", inputs, "y", **attributes)
    b.output("y", ["n", 4], "u8")
    return to_ir(b.build()).graph[0]


def test_scales_of_one_element_in_any_shape() -> None:
    found = scale_of(quantizer(np.full((1,), 0.5, np.float32), np.full((1,), 3, np.uint8)))
    assert isinstance(found, Scale)
    assert found.scale.shape == found.zero_point.shape == ()


def test_zero_point_left_out() -> None:
    found = scale_of(quantizer(np.float32(0.5)))
    assert isinstance(found, Scale)
    assert (found.zero_point, found.zero_point.dtype) == (0, np.uint8)
    signed = scale_of(quantizer(np.float32(0.5), output_dtype=ir.DataType.INT8.value))
    assert isinstance(signed, Scale)
    assert signed.zero_point.dtype == np.int8


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (quantizer(np.ones(4, np.float32), np.zeros(4, np.uint8)), "activation scale is not one number per tensor"),
        (quantizer(np.float16(1), np.uint8(0)), "float16 activation scale, expected float32"),
        (quantizer(np.float32(1), np.uint16(0)), "uint16 activations, expected 8 bits"),
    ],
)
def test_refusals(node: ir.Node, reason: str) -> None:
    assert scale_of(node) == reason


def test_a_scale_computed_at_run_time() -> None:
    b = Builder()
    b.input("x", ["n", 4])
    b.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic"))
    b.dequantize("q", ["s", "z"], "y")
    b.output("y", ["n", 4])
    assert scale_of(to_ir(b.build()).graph[1]) == "activation scale computed at run time"


@pytest.mark.parametrize("bad", [np.nan, -1.0, 0.0, np.inf])
def test_scales_that_are_no_scales(bad: float) -> None:
    with pytest.raises(ConversionError, match=r"node 'y/QuantizeLinear': the scale is .*calibrate and quantize"):
        scale_of(quantizer(np.float32(bad), np.uint8(0)))
