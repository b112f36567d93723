"""Constants are computed as ONNX Runtime computes them; what may change at run time is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyfastep.passes.match.constants import constant, is_constant, scalar

from .models import Builder, run, to_ir

DATA = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)


def wrap(write: Callable[[Builder], str]) -> Builder:
    b = Builder()
    b.constant("data", DATA)
    b.node("Identity", [write(b)], "y")
    b.output("y", [])
    b.outputs[0].type.tensor_type.ClearField("shape")
    return b


def chain_quantized(b: Builder) -> str:
    """Per-channel Q, Clip, DQ and a transpose, as a fake-quantized weight goes."""
    scale = [b.constant("s", np.linspace(0.01, 0.05, 4)), b.constant("z", np.zeros(4), np.int8)]
    quantized = b.node("QuantizeLinear", ["data", *scale], "q", axis=0)
    clipped = b.node("Clip", [quantized, b.constant("lo", -100, np.int8), b.constant("hi", 100, np.int8)], "c")
    return b.node("Transpose", [b.node("DequantizeLinear", [clipped, *scale], "d", axis=0)], "t")


def chain_bias(b: Builder) -> str:
    """An int32 bias in steps, as ONNX Runtime's quantizer writes it."""
    b.constant("steps", np.arange(-3, 3), np.int32)
    return b.node("DequantizeLinear", ["steps", b.constant("s", 0.001), b.constant("z", 0, np.int32)], "d")


CHAINS: dict[str, Callable[[Builder], str]] = {
    "identity": lambda b: b.node("Identity", ["data"], "a"),
    "transpose": lambda b: b.node("Transpose", ["data"], "a", perm=[1, 0]),
    "reshape": lambda b: b.node("Reshape", ["data", b.constant("shape", [0, 3, -1], np.int64)], "a"),
    "squeeze": lambda b: b.node(
        "Squeeze", [b.node("Unsqueeze", ["data", b.constant("ax", [0, 2], np.int64)], "u"), "ax"], "a"
    ),
    "cast": lambda b: b.node("Cast", ["data"], "a", to=6),
    "clip_above": lambda b: b.node("Clip", ["data", "", b.constant("hi", 0.5)], "a"),
    "quantized": chain_quantized,
    "bias": chain_bias,
    "no_zero_point": lambda b: b.node("QuantizeLinear", ["data", b.constant("s", 0.01)], "a"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_computed(name: str) -> None:
    proto = wrap(CHAINS[name]).build()
    graph = to_ir(proto).graph
    source = next(node for node in graph if node.outputs[0].name == "y").inputs[0]
    found = constant(source)
    assert found is not None
    proto.graph.output[0].type.tensor_type.elem_type = {"f": 1, "i": 6, "u": 2}[found.dtype.kind]
    assert np.array_equal(found, run(proto, {})[0])


@pytest.mark.parametrize(
    ("attributes", "value"),
    [
        ({"value_float": 1.5}, 1.5),
        ({"value_floats": [1.0, 2.0]}, [1.0, 2.0]),
        ({"value_int": 3}, 3),
        ({"value_ints": [3, 4]}, [3, 4]),
    ],
)
def test_constant_nodes(attributes: dict[str, Any], value: Any) -> None:
    graph = to_ir(wrap(lambda b: b.node("Constant", [], "c", **attributes)).build()).graph
    assert np.array_equal(constant(graph[0].outputs[0]), value)  # type: ignore[arg-type]


def test_what_varies_is_no_constant() -> None:
    b = Builder()
    b.input("x", [4, 6])
    b.constant("w", DATA)
    b.node("Add", ["x", "w"], "a")
    b.node("Identity", ["a"], "y")
    b.output("y", [4, 6])
    graph = to_ir(b.build()).graph
    assert not any(is_constant(value) for node in graph for value in node.outputs)
    assert not is_constant(graph.inputs[0])
    assert not is_constant(None)
    assert constant(graph[0].outputs[0]) is None


def test_an_initializer_that_is_an_input_is_no_constant() -> None:
    b = Builder()
    b.input("w", [4, 6])
    b.constant("w", DATA)
    b.node("Identity", ["w"], "y")
    b.output("y", [4, 6])
    assert not is_constant(to_ir(b.build()).graph[0].inputs[0])


def test_ops_of_other_domains_are_not_computed() -> None:
    graph = to_ir(wrap(lambda b: b.node("Identity", ["data"], "a", domain="com.example")).build()).graph
    assert not is_constant(graph[0].outputs[0])


@pytest.mark.parametrize(
    "write",
    [
        lambda b: b.node("Reshape", ["data", b.constant("shape", [5, 5], np.int64)], "a"),
        lambda b: b.node("Transpose", ["data"], "a", perm=[2, 1, 0]),
        lambda b: b.node("Squeeze", ["data", b.constant("axes", [7], np.int64)], "a"),
        lambda b: b.node(
            "QuantizeLinear", ["data", b.constant("s", np.ones(5)), b.constant("z", np.zeros(5), np.int8)], "a"
        ),
    ],
)
def test_shapes_that_do_not_fit_have_no_value(write: Callable[[Builder], str]) -> None:
    graph = to_ir(wrap(write).build()).graph
    assert constant(graph[0].outputs[0]) is None


def test_scalar_takes_any_shape_of_one_element() -> None:
    b = wrap(lambda b: b.node("Identity", [b.constant("one", [[7]])], "a"))
    graph = to_ir(b.build()).graph
    found = scalar(graph[0].outputs[0])
    assert found is not None
    assert found.shape == ()
    assert scalar(graph.initializers["data"]) is None


def test_values_that_are_read_often_cost_no_more() -> None:
    """3^60 steps, were each input followed on its own."""

    def write(b: Builder) -> str:
        here = b.constant("one", 1.0)
        for index in range(60):
            here = b.node("Clip", [here, here, here], f"clipped_{index}")
        return here

    value = to_ir(wrap(write).build()).graph[-1].inputs[0]
    assert is_constant(value)
    assert constant(value) == 1.0


def test_long_chains() -> None:
    """Longer than Python's stack."""

    def write(b: Builder) -> str:
        here = "data"
        for index in range(3000):
            here = b.node("Identity", [here], f"same_{index}")
        return here

    found = constant(to_ir(wrap(write).build()).graph[-1].inputs[0])
    assert found is not None
    assert np.array_equal(found, DATA)
