"""QLinear takes the place of what it was matched from and computes the same.

Distance between source and QLinear. The source multiplies dequantized floats: x_float and w_float carry one rounding
each, and a sum of K products in any order has a relative error of at most K u of the sum of absolute values (Higham,
Accuracy and Stability of Numerical Algorithms, 3.1), u = 2^-24. With A = sum_k |x w| and the few roundings behind it,
|source - exact| <= (K + 8) u (A + |b|). QLinear's accumulators are exact, the rest is bounded by 8 u (A + |b|). Their
quantized outputs may differ by one step where the exact value lies within the sum of both, in steps, of a half; GELU
adds what `GELU_SLACK` allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.attach_functions import AttachFunctionsPass
from pyfastep.passes.fuse_qlinear import LAYER, FuseQLinearPass, qlinear_nodes
from pyfastep.passes.match.constants import constant
from pyfastep.passes.ops.arithmetic import COARSE_GELU_ERROR_BOUND
from pyfastep.passes.ops.qlinear import reference
from pyfastep.passes.pipeline import convert_model
from pyfastep.passes.unpack_operators import UnpackOperatorsPass

from .extra_nodes import with_reading_branch
from .models import FORMS, RANK_2, Array, Builder, linear_model, op_types, random_weight, random_x, run, to_ir

UNIT = 2.0**-24
GELU_SLACK = 2.0**-19

WEIGHT = random_weight(12, 20)
# The others ONNX Runtime runs as products of floats (the transpose keeps its fusion away) or as QGemm.
IN_INTEGERS = ("matmul", "transposed_constant", "qlinear_matmul", "matmul_integer", "matmul_integer_to_float")


def fuse(model: ir.Model, exact: bool = False) -> FuseQLinearPass:
    UnpackOperatorsPass(exact)(model)
    fuse_pass = FuseQLinearPass(exact)
    fuse_pass(model)
    AttachFunctionsPass()(model)
    return fuse_pass


def check_against_source(source: Array, found: Array, exact: Array, bound: Array) -> None:
    """Quantized outputs: equal, or one step apart where a half is near."""
    difference = np.abs(source.astype(int) - found.astype(int))
    assert difference.max() <= 1
    near_half = np.abs(exact - np.floor(exact) - 0.5) <= bound
    assert not (difference > 0)[~near_half].any()
    assert near_half.mean() < 0.05  # the bound says something


def exact_steps(model: ir.Model, feeds: dict[str, Array]) -> tuple[Array, Array, Array]:
    """The model's one QLinear before its last rounding, in double; the bound of the docstring; the reference's y."""
    ((node, variant),) = qlinear_nodes(model.graph)
    inputs: dict[str, Any] = {
        name: constant(value) for name, value in zip(variant.inputs[1:], node.inputs[1:], strict=True)
    }
    quantizer = node.inputs[0].producer()  # type: ignore[union-attr]
    assert quantizer is not None
    scale, zero = (constant(value) for value in quantizer.inputs[1:3])
    assert scale is not None
    assert zero is not None
    steps = np.rint(feeds["x"] / scale) + zero
    info = np.iinfo(zero.dtype)
    inputs["x"] = np.clip(steps, info.min, info.max).astype(info.dtype)
    n, k = node.attributes["weight_shape"].as_ints()
    y = reference(variant, inputs, (n, k))
    layer = node.meta[LAYER]
    x = (inputs["x"].astype(np.float64) - inputs["x_zero_point"]) * inputs["x_scale"]
    w = layer.weight.astype(np.float64) * inputs["w_scale"]
    v, size = x @ w + inputs["bias"], np.abs(x) @ np.abs(w) + np.abs(inputs["bias"])
    bound = (k + 16) * UNIT * size
    if variant.activation == "relu":
        v = np.maximum(v, 0)
    if variant.activation.startswith("gelu"):
        from pyfastep.passes.match.activation import _gelu, _gelu_tanh

        slack = GELU_SLACK if variant.y_type == "f32" else COARSE_GELU_ERROR_BOUND
        bound = 1.13 * bound + slack * np.maximum(np.abs(v), 1)
        v = _gelu(v) if variant.activation == "gelu" else _gelu_tanh(v)
    readers = [use.node for use in node.outputs[0].uses() if use.node.op_type == "QuantizeLinear"]
    if variant.y_type == "f32" and readers:
        inputs["y_scale"], inputs["y_zero_point"] = (constant(value) for value in readers[0].inputs[1:3])
        y = run_quantizer(y, inputs["y_scale"], inputs["y_zero_point"])
    if "y_scale" in inputs:
        v = v / inputs["y_scale"] + inputs["y_zero_point"]
        bound = bound / inputs["y_scale"] + 4 * UNIT * np.abs(v)
    return v, bound, y


def run_quantizer(y: Array, scale: Array | None, zero_point: Array | None) -> Array:
    """QuantizeLinear."""
    assert scale is not None
    assert zero_point is not None
    info = np.iinfo(zero_point.dtype)
    return np.clip(np.rint(y / scale) + zero_point, info.min, info.max).astype(zero_point.dtype)


@pytest.mark.parametrize("activation", ["", "relu", "gelu", "gelutanh"])
@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, activation: str) -> None:
    """Every form: the body against the numpy reference, and against the source where that drops no rounding."""
    source = linear_model(form, weight=WEIGHT, activation=activation)
    feeds = random_x(source)
    model = to_ir(source)
    fuse_pass = fuse(model)
    assert fuse_pass.count == 1
    assert not fuse_pass.refusals
    ((node, variant),) = qlinear_nodes(model.graph)
    assert (variant.activation, variant.y_type) == (activation, "u8")
    assert node.name == {"qgemm": "product/QGemm", "qlinear_matmul": "product_q/QLinearMatMul"}.get(form, node.name)
    (found,) = run(model, feeds)
    steps, bound, y = exact_steps(model, feeds)
    check_against_source(y, found, steps, bound)
    if form != "qlinear_matmul":
        check_against_source(run(source, feeds)[0], found, steps, bound)


@pytest.mark.parametrize("activation", ["", "relu", "gelu", "gelutanh"])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("y_type", ["u8", "f32"])
@pytest.mark.parametrize("form", IN_INTEGERS)
def test_exact_is_the_source(form: str, y_type: str, pair: bool, activation: str) -> None:
    """Bit for bit what ONNX Runtime makes of the source where it multiplies integers: all that is not here."""
    source = linear_model(form, weight=random_weight(33, 64), activation=activation, pair=pair, y_type=y_type)
    model = to_ir(source)
    assert fuse(model, exact=True).count == 1
    ((node, variant),) = qlinear_nodes(model.graph)
    assert (variant.name, node.meta[LAYER].has_bias) == ("QLinear_f32", False)
    feeds = random_x(source)
    assert np.array_equal(run(model, feeds, optimized=True)[0], run(source, feeds, optimized=True)[0])


@pytest.mark.parametrize("form", [form for form in FORMS if form not in IN_INTEGERS])
def test_exact_product_of_what_runs_in_float(form: str) -> None:
    """Exact sums beside those of floats; QGemm rounds the bias to steps of the product."""
    source = linear_model(form, weight=WEIGHT, bias=False, y_type="f32")
    model = to_ir(source)
    fuse(model, exact=True)
    feeds = random_x(source)
    _, bound, y = exact_steps(model, feeds)
    (found,) = run(model, feeds, optimized=True)
    assert np.array_equal(found, y)
    assert (np.abs(found - run(source, feeds, optimized=True)[0]) <= bound).all()


@pytest.mark.parametrize("form", FORMS)
def test_nothing_else_is_left(form: str) -> None:
    """Q of the input, QLinear; nothing of the source remains."""
    model = to_ir(linear_model(form, weight=WEIGHT))
    fuse(model)
    assert op_types(model) == ["QuantizeLinear", "QLinear_u8"]


@pytest.mark.parametrize("y_type", ["u8", "s8", "f32"])
@pytest.mark.parametrize("x_type", ["u8", "s8"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (7, 5), (16, 64), (33, 127)])
def test_types_and_shapes(y_type: str, x_type: str, per_channel: bool, n: int, k: int) -> None:
    source = linear_model(weight=random_weight(n, k), x_type=x_type, y_type=y_type, per_channel=per_channel)
    feeds = random_x(source)
    exact, model = to_ir(source), to_ir(source)
    fuse(exact, exact=True)
    fuse(model)
    ((node, variant),) = qlinear_nodes(model.graph)
    assert (variant.y_type, node.attributes["weight_shape"].as_ints()) == (y_type, (n, k))
    steps, bound, y = exact_steps(model, feeds)
    (found,), (expected,) = run(model, feeds), run(source, feeds)
    assert np.array_equal(run(exact, feeds, optimized=True)[0], run(source, feeds, optimized=True)[0])
    if y_type == "f32":
        assert (np.abs(found - expected) <= bound).all()
        assert (np.abs(found - y) <= bound).all()
    else:
        check_against_source(expected, found, steps, bound)
        check_against_source(y, found, steps, bound)


def test_default_drops_the_pair() -> None:
    source = linear_model(weight=WEIGHT, activation="gelu", pair=True)
    model = to_ir(source)
    fuse(model)
    ((node, variant),) = qlinear_nodes(model.graph)
    assert variant.name == "QLinear_gelu_u8"
    assert node.meta[LAYER].dropped_pairs == 1
    feeds = random_x(source)
    difference = np.abs(run(model, feeds)[0].astype(int) - run(source, feeds)[0].astype(int))
    pair_in_steps = 0.06 / 0.04  # half a step of the pair, times the slope of GELU, and two roundings
    assert difference.max() <= np.ceil(0.5 * pair_in_steps * 1.13 + 1)


def test_float_and_quantized_readers() -> None:
    """Both get what they had: the float value itself, and its quantization by a node of its own."""
    b = Builder()
    b.input("x", ["n", 20])
    b.scale("x", 0.02, 120)
    b.dequantize(b.quantize("x", ["x_scale", "x_zero"], "x_q"), ["x_scale", "x_zero"], "x_float")
    b.constant("w", WEIGHT.T, np.int8)
    b.dequantize("w", [b.constant("w_scale", 0.01), b.constant("w_zero", 0, np.int8)], "w_float")
    b.node("MatMul", ["x_float", "w_float"], "y1")
    b.quantize("y1", b.scale("q", 0.05, 100), "y2")
    b.output("y1", ["n", 12])
    b.output("y2", ["n", 12], "u8")
    model = to_ir(b.build())
    fuse(model)
    assert op_types(model) == ["QuantizeLinear", "QLinear_f32", "QuantizeLinear"]
    assert [value.name for value in model.graph.outputs] == ["y1", "y2"]
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)}
    for found, expected in zip(run(model, feeds), run(b.build(), feeds), strict=True):
        assert np.abs(found.astype(float) - expected).max() <= (1e-5 if found.dtype == np.float32 else 1)


def test_shared_weights_are_stored_once() -> None:
    b = Builder()
    b.input("x", ["n", 20])
    b.scale("x", 0.02, 120)
    b.dequantize(b.quantize("x", ["x_scale", "x_zero"], "x_q"), ["x_scale", "x_zero"], "x_float")
    b.constant("w", WEIGHT.T, np.int8)
    b.dequantize("w", [b.constant("w_scale", 0.01), b.constant("w_zero", 0, np.int8)], "w_float")
    for index in range(2):
        b.node("MatMul", ["x_float", "w_float"], f"y{index}")
        b.output(f"y{index}", ["n", 12])
    model = to_ir(b.build())
    fuse(model)
    first, second = (node.inputs[3] for node, _ in qlinear_nodes(model.graph))
    assert first is second


@pytest.mark.parametrize("exact", [False, True])
def test_idempotent_and_truthful(exact: bool) -> None:
    model = to_ir(linear_model(weight=WEIGHT, pair=True))
    first = FuseQLinearPass(exact)(model)
    before = op_types(model)
    second = FuseQLinearPass(exact)(model)
    assert first.modified
    assert not second.modified
    assert op_types(model) == before


def test_needs_opset_17() -> None:
    with pytest.raises(ir.passes.PreconditionError):
        FuseQLinearPass()(to_ir(linear_model(weight=WEIGHT, opset=13)))


def test_refusals_carry_reasons() -> None:
    b = Builder()
    b.input("x", ["n", 4])
    b.constant("w", np.ones((4, 4)))
    b.node("MatMul", ["x", "w"], "a")
    b.node("Gemm", ["a", "w"], "y", transA=0)
    b.output("y", ["n", 4])
    model = to_ir(b.build())
    fuse_pass = FuseQLinearPass()
    assert not fuse_pass(model).modified
    assert [(r.node, r.reason) for r in fuse_pass.refusals] == [
        ("a/MatMul", "weights are float (not quantized)"),
        ("y/Gemm", "weights are float (not quantized)"),
    ]


def test_rank_2_forms_are_rank_2() -> None:
    """Guards the builder: a Gemm takes matrices only."""
    assert {form for form in FORMS if "gemm" in form} == set(RANK_2)


def product_model() -> Builder:
    """x [3, 20] -> Q -> DQ -> MatMul -> product [3, 12]; `other` and `other_q` are of its shape."""
    b = Builder()
    b.input("x", [3, 20])
    pair = b.scale("x", 0.02, 120)
    b.dequantize(b.quantize("x", pair, "x_q"), pair, "x_float")
    b.constant("w", WEIGHT.T, np.int8)
    b.dequantize("w", [b.constant("w_scale", 0.01), b.constant("w_zero", 0, np.int8)], "w_float")
    b.node("MatMul", ["x_float", "w_float"], "product")
    b.scale("y", 0.05, 100)
    b.constant("bias", np.arange(12))
    b.constant("other", np.zeros((3, 12)))
    b.constant("other_q", np.zeros((3, 12)), np.uint8)
    return b


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([("QuantizeLinear", ["y_scale", "y_zero"])], "u8"),
        ([("Relu", [])], "f32"),
        ([("Add", ["bias"])], "f32"),
        ([("Add", ["bias"]), ("QuantizeLinear", ["y_scale", "y_zero"])], "u8"),
    ],
    ids=["quantizer", "activation", "bias", "both"],
)
def test_what_a_branch_does_stays_in_it(steps: list[tuple[str, list[str]]], kind: str) -> None:
    """A branch has to compute its output itself."""
    other = "other_q" if kind == "u8" else "other"
    source = with_reading_branch(product_model().build(), "product", steps, other, kind, [3, 12])
    model = to_ir(source)
    convert_model(model)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert [variant.name for _, variant in qlinear_nodes(model.graph)] == ["QLinear_f32"]
    x = np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)
    for condition in (True, False):
        feeds = {"x": x, "condition": np.array(condition)}
        (found,), (expected,) = run(model, feeds), run(source, feeds)
        assert np.abs(found.astype(float) - expected).max() <= (1e-4 if kind == "f32" else 1)


@pytest.mark.parametrize("leaving", [1, 2])
def test_quantizers_of_one_scale_that_leave_the_graph(leaving: int) -> None:
    """One output can be the result itself, two cannot."""
    b = product_model()
    for index in range(3):
        b.quantize("product", ["y_scale", "y_zero"], f"q{index}")
        if index < leaving:
            b.output(f"q{index}", [3, 12], "u8")
        else:
            b.node("DequantizeLinear", [f"q{index}", "y_scale", "y_zero"], f"y{index}")
            b.output(f"y{index}", [3, 12])
    b.outputs.reverse()
    source = b.build()
    model = to_ir(source)
    convert_model(model)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert [value.name for value in model.graph.outputs] == [value.name for value in source.graph.output]
    ((_, variant),) = qlinear_nodes(model.graph)
    assert variant.name == ("QLinear_u8" if leaving == 1 else "QLinear_f32")
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)}
    for found, expected in zip(run(model, feeds), run(source, feeds), strict=True):
        assert np.abs(found.astype(float) - expected).max() <= (0.0501 if found.dtype == np.float32 else 1)


def test_a_pair_of_two_scales_in_front_of_the_activation() -> None:
    """Is a factor of two, which the QLinear must not lose."""
    b = product_model()
    again = b.dequantize(b.quantize("product", ["y_scale", "y_zero"], "q"), b.scale("z", 0.1, 100), "again")
    b.quantize(b.node("Relu", [again], "relu"), b.scale("r", 0.1, 0), "y")
    b.output("y", [3, 12], "u8")
    source = b.build()
    model = to_ir(source)
    convert_model(model)
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)}
    assert np.abs(run(model, feeds)[0].astype(int) - run(source, feeds)[0]).max() <= 1
