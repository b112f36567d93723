"""What counts as a linear, where it ends, and the reasons for leaving one alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.errors import ConversionError
from pyfastep.passes.match.linear import Linear, match_linear, output_scale, weight_input
from pyfastep.passes.match.quantizers import Scale

from .models import Builder, linear_model, random_weight, to_ir

WEIGHT = random_weight(12, 20)


def product_of(model: onnx.ModelProto | ir.Model) -> ir.Node:
    graph = (model if isinstance(model, ir.Model) else to_ir(model)).graph
    return next(node for node in graph if node.op_type in ("MatMul", "Gemm"))


def matched(model: onnx.ModelProto, exact: bool = False) -> Linear:
    linear = match_linear(product_of(model), exact)
    assert isinstance(linear, Linear)
    return linear


@pytest.mark.parametrize("activation", ["", "relu", "gelu", "gelutanh"])
@pytest.mark.parametrize("bias", [False, True])
def test_everything_up_to_the_quantizer(activation: str, bias: bool) -> None:
    linear = matched(linear_model(weight=WEIGHT, bias=bias, activation=activation))
    assert (linear.activation, linear.has_bias, linear.dropped_pairs) == (activation, bias, 0)
    assert linear.bias.shape == (12,)
    assert bool(linear.bias.any()) is bias
    assert linear.y_scale is not None
    assert linear.y_scale.scale == np.float32(0.04)
    assert linear.x_scale.zero_point == 120


@pytest.mark.parametrize("activation", ["", "gelu"])
def test_a_pair_behind_the_product(activation: str) -> None:
    model = linear_model(weight=WEIGHT, activation=activation, pair=True)
    linear = matched(model)
    assert (linear.dropped_pairs, linear.has_bias, linear.activation) == (1, True, activation)


@pytest.mark.parametrize("pair", [False, True])
def test_an_exact_linear_is_the_product_alone(pair: bool) -> None:
    linear = matched(linear_model(weight=WEIGHT, activation="gelu", pair=pair), exact=True)
    assert (linear.dropped_pairs, linear.has_bias, linear.activation) == (0, False, "")
    assert not linear.bias.any()
    assert linear.y is linear.node.outputs[0]
    assert linear.y_scale == (Scale(np.array(0.06, np.float32), np.array(121, np.uint8)) if pair else None)


def test_a_pair_that_clamps_ends_the_linear() -> None:
    """Zero point 0 behind the product: a quantizer that took over a ReLU."""
    model = linear_model(weight=WEIGHT, pair=True)
    zero = next(t for t in model.graph.initializer if t.name == "product_zero")
    zero.CopyFrom(onnx.numpy_helper.from_array(np.uint8(0), "product_zero"))
    linear = matched(model)
    assert (linear.dropped_pairs, linear.has_bias) == (0, False)
    assert linear.y_scale is not None
    assert linear.y_scale.scale == np.float32(0.06)


def with_tail(write: Callable[[Builder], None], bias: Any = None) -> onnx.ModelProto:
    """x -> Q -> DQ -> MatMul (product) [-> Add -> biased], then what `write` adds."""
    b = Builder()
    b.input("x", ["n", 20])
    b.scale("x", 0.02, 120)
    b.dequantize(b.quantize("x", ["x_scale", "x_zero"], "x_q"), ["x_scale", "x_zero"], "x_float")
    b.constant("w", WEIGHT.T, np.int8)
    b.dequantize("w", [b.constant("w_scale", 0.01), b.constant("w_zero", 0, np.int8)], "w_float")
    b.node("MatMul", ["x_float", "w_float"], "product")
    if bias is not None:
        b.node("Add", ["product", b.constant("bias", bias)], "biased")
    write(b)
    return b.build()


def quantized_twice(second_scale: float) -> Callable[[Builder], None]:
    def write(b: Builder) -> None:
        b.quantize("product", b.scale("a", 0.05, 100), "y1")
        b.quantize("product", b.scale("b", second_scale, 100), "y2")
        b.output("y1", ["n", 12], "u8")
        b.node("Neg", [b.dequantize("y2", ["b_scale", "b_zero"], "d")], "y3")
        b.output("y3", ["n", 12])

    return write


def test_quantizers_of_two_scales_mean_float() -> None:
    assert matched(with_tail(quantized_twice(0.06))).y_scale is None


def test_a_float_reader_means_float() -> None:
    def write(b: Builder) -> None:
        b.quantize("product", b.scale("a", 0.05, 100), "y1")
        b.output("y1", ["n", 12], "u8")
        b.node("Neg", ["product"], "y2")
        b.output("y2", ["n", 12])

    assert matched(with_tail(write)).y_scale is None


def test_a_reader_of_the_shape_does_not_mean_float() -> None:
    def write(b: Builder) -> None:
        b.quantize("product", b.scale("a", 0.05, 100), "y1")
        b.output("y1", ["n", 12], "u8")
        b.node("Shape", ["product"], "y2")
        b.outputs.append(onnx.helper.make_tensor_value_info("y2", onnx.TensorProto.INT64, [2]))

    model = with_tail(write)
    assert output_scale(product_of(model).outputs[0]) is not None


@pytest.mark.parametrize(
    ("bias", "is_bias"),
    [
        (np.ones(12), True),
        (np.ones((1, 12)), True),
        (np.ones(()), True),
        (np.ones((1, 1, 12)), False),
        (np.ones((5, 12)), False),
    ],
)
def test_what_counts_as_a_bias(bias: Any, is_bias: bool) -> None:
    """One number per output, and no more dimensions than the product has."""

    def write(b: Builder) -> None:
        b.node("Identity", ["biased"], "y")
        b.outputs.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None))

    model = onnx.shape_inference.infer_shapes(with_tail(write, bias))
    assert matched(model).has_bias is is_bias


def test_a_product_that_leaves_the_graph_keeps_its_bias_out() -> None:
    def write(b: Builder) -> None:
        b.output("product", ["n", 12])
        b.output("biased", ["n", 12])

    linear = matched(with_tail(write, np.ones(12)))
    assert not linear.has_bias
    assert linear.y.name == "product"


def gemm(change: Callable[[onnx.NodeProto], None]) -> onnx.ModelProto:
    model = linear_model("gemm", weight=WEIGHT)
    change(next(node for node in model.graph.node if node.op_type == "Gemm"))
    return model


def set_attribute(**attributes: Any) -> Callable[[onnx.NodeProto], None]:
    return lambda node: node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())


def test_alpha_and_beta_are_multiplied_in() -> None:
    plain, scaled = matched(gemm(lambda node: None)), matched(gemm(set_attribute(alpha=2.0, beta=0.5)))
    assert np.array_equal(scaled.weight.scale, plain.weight.scale * 2)
    assert np.array_equal(scaled.bias, plain.bias / 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_attribute(transA=1), "transposes its activations"),
        (set_attribute(alpha=-1.0), "alpha = -1"),
        (set_attribute(alpha=0.0), "alpha = 0"),
    ],
)
def test_gemm_refusals(change: Callable[[onnx.NodeProto], None], reason: str) -> None:
    found = match_linear(product_of(gemm(change)), exact=False)
    assert isinstance(found, str)
    assert reason in found


def test_float_activations() -> None:
    b = Builder()
    b.input("x", ["n", 20])
    b.constant("w", WEIGHT.T, np.int8)
    b.dequantize("w", [b.constant("s", 0.01), b.constant("z", 0, np.int8)], "w_float")
    b.node("MatMul", ["x", "w_float"], "y")
    b.output("y", ["n", 12])
    assert match_linear(product_of(b.build()), exact=False) == "activations are float (not quantized)"


def test_dimensions_that_do_not_fit() -> None:
    model = linear_model(weight=WEIGHT)
    graph_model = to_ir(model)
    product = product_of(graph_model)
    product.inputs[0].shape = ir.Shape(["n", 21])  # type: ignore[union-attr]
    with pytest.raises(ConversionError, match="21 features, the weights expect 20") as error:
        match_linear(product, exact=False)
    assert error.value.node == "node 'product/MatMul'"


def test_a_bias_that_is_not_finite() -> None:
    model = linear_model(weight=WEIGHT)
    bias = next(t for t in model.graph.initializer if t.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(12, np.nan, np.float32), "bias"))
    with pytest.raises(ConversionError, match="the bias is not finite"):
        match_linear(product_of(model), exact=False)


def test_attention_products_are_no_linears() -> None:
    b = Builder()
    b.input("q", ["b", "h", "s", 4])
    b.input("k", ["b", "h", 4, "s"])
    b.node("MatMul", ["q", "k"], "y")
    b.output("y", ["b", "h", "s", "s"])
    assert weight_input(to_ir(b.build()).graph[0]) is None


def test_a_matrix_fed_at_run_time_is_a_linear() -> None:
    """So that the report can say why it was left alone."""
    b = Builder()
    b.input("x", ["n", 4])
    b.input("w", [4, 6])
    b.node("MatMul", ["x", "w"], "y")
    b.output("y", ["n", 6])
    node = to_ir(b.build()).graph[0]
    assert weight_input(node) is node.inputs[1]
    assert match_linear(node, exact=False) == "weights are not constant"
