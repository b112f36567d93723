"""Activations are found in every spelling, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.match.activation import match_activation

from .extra_nodes import with_reading_branch
from .models import Builder, gelu, to_ir

SQRT2 = 2**0.5
SLOPE = (2 / np.pi) ** 0.5


def half_last(b: Builder, x: str) -> str:
    return gelu(b, x, "g")


def half_first(b: Builder, x: str) -> str:
    erf = b.node("Erf", [b.node("Mul", [x, b.constant("c", 1 / SQRT2)], "scaled")], "erf")
    half = b.node("Mul", [b.constant("half", [0.5]), x], "halved")
    return b.node("Mul", [half, b.node("Add", [b.constant("one", 1), erf], "plus")], "g")


def half_inside(b: Builder, x: str) -> str:
    erf = b.node("Erf", [b.node("Div", [x, b.constant("c", SQRT2)], "scaled")], "erf")
    plus = b.node("Add", [erf, b.constant("one", 1)], "plus")
    return b.node("Mul", [x, b.node("Mul", [plus, b.constant("half", 0.5)], "halved")], "g")


def tanh_pow(b: Builder, x: str) -> str:
    cubed = b.node("Pow", [x, b.constant("three", 3)], "cubed")
    inner = b.node("Add", [x, b.node("Mul", [cubed, b.constant("c", 0.044715)], "term")], "inner")
    tanh = b.node("Tanh", [b.node("Mul", [inner, b.constant("slope", SLOPE)], "scaled")], "tanh")
    halved = b.node("Mul", [x, b.constant("half", 0.5)], "halved")
    return b.node("Mul", [halved, b.node("Add", [tanh, b.constant("one", 1)], "plus")], "g")


def tanh_factored(b: Builder, x: str) -> str:
    """0.5 x (1 + tanh(0.79788 x (1 + 0.044715 x x))), with few digits."""
    square = b.node("Mul", [b.node("Mul", [x, b.constant("c", 0.044715)], "cx"), x], "square")
    factor = b.node("Add", [square, b.constant("one", 1)], "factor")
    scaled = b.node("Mul", [b.node("Mul", [x, b.constant("slope", 0.79788)], "sx"), factor], "scaled")
    plus = b.node("Add", [b.node("Tanh", [scaled], "tanh"), "one"], "plus")
    return b.node("Mul", [b.node("Mul", [x, plus], "product"), b.constant("half", 0.5)], "g")


def microsoft(op_type: str) -> Callable[[Builder, str], str]:
    return lambda b, x: b.node(op_type, [x], "g", domain="com.microsoft")


def onnx_gelu(**attributes: str) -> Callable[[Builder, str], str]:
    return lambda b, x: b.node("Gelu", [x], "g", **attributes)


def relu(b: Builder, x: str) -> str:
    return b.node("Relu", [x], "g")


def relu_as_max(b: Builder, x: str) -> str:
    return b.node("Max", [x, b.constant("zero", 0)], "g")


SPELLINGS = {
    "half_last": (half_last, "gelu"),
    "half_first": (half_first, "gelu"),
    "half_inside": (half_inside, "gelu"),
    "onnx": (onnx_gelu(), "gelu"),
    "onnx_tanh": (onnx_gelu(approximate="tanh"), "gelutanh"),
    "tanh_pow": (tanh_pow, "gelutanh"),
    "tanh_factored": (tanh_factored, "gelutanh"),
    "microsoft": (microsoft("Gelu"), "gelu"),
    "microsoft_fast": (microsoft("FastGelu"), "gelutanh"),
    "relu": (relu, "relu"),
    "relu_as_max": (relu_as_max, "relu"),
}


def start_of(
    b: Builder, write: Callable[[Builder, str], str], after: Callable[[Builder, str], str] | None = None
) -> ir.Value:
    """The value `s` of a model x -> Neg -> s -> what `write` writes -> y."""
    b.input("x", ["n", 4])
    b.node("Neg", ["x"], "s")
    end = write(b, "s")
    b.node("Identity", [after(b, end) if after else end], "y")
    b.output("y", ["n", 4])
    return next(node.outputs[0] for node in to_ir(b.build()).graph if node.op_type == "Neg")


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(name: str) -> None:
    write, kind = SPELLINGS[name]
    match = match_activation(start_of(Builder(20), write))
    assert match is not None
    assert (match.kind, match.output.name, match.pairs) == (kind, "g", 0)


def almost_gelu(constant: float) -> Callable[[Builder, str], str]:
    def write(b: Builder, x: str) -> str:
        erf = b.node("Erf", [b.node("Div", [x, b.constant("c", constant)], "scaled")], "erf")
        plus = b.node("Add", [erf, b.constant("one", 1)], "plus")
        return b.node("Mul", [b.node("Mul", [x, plus], "product"), b.constant("half", 0.5)], "g")

    return write


def quick_gelu(b: Builder, x: str) -> str:
    return b.node("Mul", [x, b.node("Sigmoid", [b.node("Mul", [x, b.constant("c", 1.702)], "scaled")], "sigmoid")], "g")


def leaky(b: Builder, x: str) -> str:
    return b.node("LeakyRelu", [x], "g")


def gelu_with_vector(b: Builder, x: str) -> str:
    """A factor per feature is not an activation."""
    erf = b.node("Erf", [b.node("Div", [x, b.constant("c", [SQRT2, 1, 1, 1])], "scaled")], "erf")
    plus = b.node("Add", [erf, b.constant("one", 1)], "plus")
    return b.node("Mul", [b.node("Mul", [x, plus], "product"), b.constant("half", 0.5)], "g")


@pytest.mark.parametrize("write", [almost_gelu(1.41), almost_gelu(1.5), quick_gelu, leaky, gelu_with_vector])
def test_others_are_not(write: Callable[[Builder, str], str]) -> None:
    assert match_activation(start_of(Builder(20), write)) is None


def second_reader(name: str) -> Callable[[Builder, str], str]:
    return lambda b, end: b.node("Add", [end, name], "sum")


@pytest.mark.parametrize("inside", ["s", "g_erf", "g_mul"])
def test_values_inside_that_others_read(inside: str) -> None:
    assert match_activation(start_of(Builder(20), half_last, second_reader(inside))) is None


def with_pairs(zero_point: int) -> Callable[[Builder, str], str]:
    """Q/DQ around every step, as a quantizer of all ops writes it."""

    def write(b: Builder, x: str) -> str:
        def pair(value: str, zero: int) -> str:
            parameters = b.scale(f"{value}_p", 0.01, zero)
            return b.dequantize(b.quantize(value, parameters, f"{value}_q"), parameters, f"{value}_dq")

        first = pair(x, zero_point)
        erf = pair(b.node("Erf", [b.node("Div", [first, b.constant("c", SQRT2)], "scaled")], "erf"), 128)
        plus = pair(b.node("Add", [erf, b.constant("one", 1)], "plus"), 0)  # never negative: the clamp does nothing
        return b.node("Mul", [b.node("Mul", [first, plus], "product"), b.constant("half", 0.5)], "g")

    return write


def test_pairs_inside_are_counted() -> None:
    match = match_activation(start_of(Builder(), with_pairs(100)))
    assert match is not None
    assert (match.kind, match.pairs) == ("gelu", 3)


def test_a_pair_that_clamps_is_not_dropped() -> None:
    """Zero point 0: the quantizer stands for a ReLU that was removed, and gelu(relu(x)) is not gelu(x)."""
    assert match_activation(start_of(Builder(), with_pairs(0))) is None


def test_a_graph_output_ends_the_search() -> None:
    b = Builder(20)
    b.input("x", ["n", 4])
    b.node("Neg", ["x"], "s")
    b.node("Relu", ["s"], "y")
    b.output("y", ["n", 4])
    b.output("s", ["n", 4])
    start = next(node.outputs[0] for node in to_ir(b.build()).graph if node.op_type == "Neg")
    assert match_activation(start) is None


def test_quantized_and_dequantized_by_different_scales() -> None:
    """Not a rounding, but a factor."""

    def write(b: Builder, x: str) -> str:
        quantized = b.quantize(x, b.scale("q", 0.05, 128), "s_q")
        return relu(b, b.dequantize(quantized, b.scale("dq", 0.1, 128), "s_dq"))

    assert match_activation(start_of(Builder(), write)) is None


def test_arithmetic_on_quantized_data() -> None:
    """max(q, 0) is no ReLU where the zero point is another."""

    def write(b: Builder, x: str) -> str:
        parameters = b.scale("q", 0.05, 5, "s8")
        quantized = b.quantize(x, parameters, "s_q")
        clipped = b.node("Max", [quantized, b.constant("zero", 0, np.int8)], "clipped")
        return b.node("Identity", [b.dequantize(clipped, parameters, "s_dq")], "g")

    assert match_activation(start_of(Builder(), write)) is None


@pytest.mark.parametrize(
    ("x_shape", "shape", "is_found"),
    [
        (["n", 4], (), True),
        (["n", 4], (1, 1), True),
        (["n", 4], (1, 1, 1), False),
        (["n", "m", 4], (1, 1, 1), True),
        (None, (1,), True),
        (None, (1, 1), False),
    ],
)
def test_constants_must_not_add_an_axis(x_shape: list[object] | None, shape: tuple[int, ...], is_found: bool) -> None:
    b = Builder()
    b.input("x", x_shape or ["n", 4])
    b.node("Neg", ["x"], "s")
    b.node("Identity", [b.node("Max", ["s", b.constant("zero", np.zeros(shape))], "g")], "y")
    b.output("y", [*[1] * (len(shape) - len(x_shape or ["n", 4])), *(x_shape or ["n", 4])])
    model = to_ir(b.build())
    if x_shape is not None:
        InferShapesPass()(model)
    assert (match_activation(model.graph[0].outputs[0]) is not None) is is_found


def test_an_activation_inside_a_branch_stays_there() -> None:
    b = Builder()
    b.input("x", [3, 4])
    b.node("Neg", ["x"], "s")
    model = to_ir(with_reading_branch(b.build(), "s", [("Relu", [])], "x", "f32", [3, 4]))
    assert match_activation(model.graph[0].outputs[0]) is None
