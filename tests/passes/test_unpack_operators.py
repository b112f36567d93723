"""Fused quantized operators become Q/DQ around float ops that compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from pyfastep.passes.unpack.products import RUN_TIME_SCALE
from pyfastep.passes.unpack_operators import UnpackOperatorsPass

from .models import Builder, linear_model, op_types, random_weight, random_x, run, to_ir

WEIGHT = random_weight(12, 20)
FUSED = {
    "qlinear_matmul": [
        "QuantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "MatMul",
        "QuantizeLinear",
        "DequantizeLinear",
        "Add",
    ],
    "qgemm": ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Gemm"],
    "matmul_integer": ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul", "Add"],
    "matmul_integer_to_float": ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul", "Add"],
}


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", FUSED)
def test_unpacked_forms(form: str, per_channel: bool) -> None:
    source = linear_model(form, weight=WEIGHT, per_channel=per_channel, y_type="f32")
    model = to_ir(source)
    unpack = UnpackOperatorsPass()
    assert unpack(model).modified
    assert (unpack.count, unpack.refusals) == (1, [])
    assert op_types(model) == [*FUSED[form], "Identity"]
    feeds = random_x(source)
    # One step of the product at most, where the form has one: QLinearMatMul rounds in ONNX Runtime's own way.
    tolerance = 0.06 * 1.001 if form == "qlinear_matmul" else 1e-5
    difference = np.abs(run(model, feeds)[0] - run(source, feeds)[0])
    assert difference.max() <= tolerance
    assert np.median(difference) <= 1e-5
    assert not UnpackOperatorsPass()(model).modified


@pytest.mark.parametrize("form", FUSED)
def test_the_product_keeps_the_name(form: str) -> None:
    source = linear_model(form, weight=WEIGHT)
    names = {
        node.name
        for node in source.graph.node
        if node.op_type in ("QLinearMatMul", "QGemm", "MatMulInteger", "MatMulIntegerToFloat")
    }
    model = to_ir(source)
    UnpackOperatorsPass()(model)
    assert {node.name for node in model.graph if node.op_type in ("MatMul", "Gemm")} == names
    assert len({node.name for node in model.graph}) == len(model.graph)


def test_a_product_with_two_factors_takes_them_as_scales() -> None:
    source = linear_model("matmul_integer", weight=WEIGHT)
    names = [t.name for t in source.graph.initializer]
    multiply = next(node for node in source.graph.node if node.output[0] == "product")
    x_scale = onnx.helper.make_node("Mul", ["x_scale", "w_scale"], ["xw"], name="xw")
    multiply.input[1] = "xw"
    source.graph.node.insert(0, x_scale)
    assert "w_scale" in names
    model = to_ir(source)
    assert UnpackOperatorsPass()(model).modified
    scales = [node.inputs[1].const_value.numpy() for node in model.graph if node.op_type == "DequantizeLinear"]  # type: ignore[union-attr]
    assert scales[0] == np.float32(0.02)
    assert scales[1].shape == (12,)


def dynamic_model(fused: bool) -> onnx.ModelProto:
    b = Builder()
    b.input("x", ["n", 20])
    b.constant("w", WEIGHT.T, np.int8)
    b.constant("w_scale", 0.01)
    if fused:
        b.node("DynamicQuantizeMatMul", ["x", "w", "w_scale"], "y", domain="com.microsoft")
    else:
        b.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic"))
        b.node("Cast", [b.node("MatMulInteger", ["q", "w", "z"], "acc")], "acc_float", to=1)
        b.node("Mul", ["acc_float", b.node("Mul", ["s", "w_scale"], "sw")], "y")
    b.output("y", ["n", 12])
    return b.build()


@pytest.mark.parametrize("fused", [False, True])
def test_dynamic_quantization_is_left_alone(fused: bool) -> None:
    model = to_ir(dynamic_model(fused))
    unpack = UnpackOperatorsPass()
    before = op_types(model)
    assert not unpack(model).modified
    assert op_types(model) == before
    assert [refusal.reason for refusal in unpack.refusals] == [RUN_TIME_SCALE]
    assert "fastep quantize" in RUN_TIME_SCALE


def test_an_integer_product_without_scale_is_left_alone() -> None:
    b = Builder()
    b.input("x", ["n", 20], "u8")
    b.constant("w", WEIGHT.T, np.int8)
    b.node("Cast", [b.node("MatMulInteger", ["x", "w"], "acc")], "y", to=1)
    b.output("y", ["n", 12])
    unpack = UnpackOperatorsPass()
    assert not unpack(to_ir(b.build())).modified
    assert unpack.refusals[0].reason == "integer product that is not scaled to float"


def test_qlinear_add_of_a_bias() -> None:
    b = Builder()
    b.input("x", ["n", 4], "u8")
    a, c, y = b.scale("a", 0.1, 120), b.scale("c", 0.2, 100), b.scale("y", 0.15, 110)
    b.constant("bias", [1, 100, 120, 255], np.uint8)
    b.node("QLinearAdd", ["x", *a, "bias", *c, *y], "sum", domain="com.microsoft")
    b.node("Identity", ["sum"], "y")
    b.output("y", ["n", 4], "u8")
    model = to_ir(b.build())
    assert UnpackOperatorsPass()(model).modified
    assert op_types(model) == ["DequantizeLinear", "DequantizeLinear", "Add", "QuantizeLinear", "Identity"]
    feeds = {"x": np.arange(256, dtype=np.uint8).reshape(64, 4)}
    difference = np.abs(run(model, feeds)[0].astype(int) - run(b.build(), feeds)[0].astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


def test_all_but_products_stays_if_exact() -> None:
    b = Builder()
    b.input("x", ["n", 20], "u8")
    a, c, y = b.scale("a", 0.1, 120), b.scale("c", 0.2, 100), b.scale("y", 0.15, 110)
    b.constant("bias", np.arange(20), np.uint8)
    b.node("QLinearAdd", ["x", *a, "bias", *c, *y], "sum", domain="com.microsoft")
    w = [b.constant("w", WEIGHT.T, np.int8), *b.scale("w", 0.01, 0, "s8")]
    b.node("QLinearMatMul", ["sum", *y, *w, *c], "product", domain="")
    b.node("BiasGelu", [b.dequantize("product", c, "p"), b.constant("b", np.ones(12))], "y", domain="com.microsoft")
    b.output("y", ["n", 12])
    model = to_ir(b.build())
    assert UnpackOperatorsPass(exact=True)(model).modified
    assert op_types(model) == [
        *("QLinearAdd", "DequantizeLinear", "DequantizeLinear", "MatMul", "QuantizeLinear"),
        *("DequantizeLinear", "BiasGelu"),
    ]


def test_qlinear_add_of_two_activations_stays() -> None:
    b = Builder()
    b.input("x", ["n", 4], "u8")
    a, c, y = b.scale("a", 0.1, 120), b.scale("c", 0.2, 100), b.scale("y", 0.15, 110)
    b.node("QLinearAdd", ["x", *a, "x", *c, *y], "sum", domain="com.microsoft")
    b.output("sum", ["n", 4], "u8")
    unpack = UnpackOperatorsPass()
    assert not unpack(to_ir(b.build())).modified
    assert not unpack.refusals
