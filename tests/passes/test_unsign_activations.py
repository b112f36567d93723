"""s8 activations of linears become u8, bit for bit the same numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.fuse_qlinear import FuseQLinearPass
from pyfastep.passes.unsign_activations import UnsignActivationsPass

from .models import Builder, linear_model, op_types, random_weight, random_x, run, to_ir

WEIGHT = random_weight(12, 20)


def chain(x_type: str) -> ir.Model:
    """Two linears with a quantized tensor in between, float at the end."""
    b = Builder()
    b.input("x", ["n", 20])
    b.scale("x", 0.02, 20, x_type)
    b.scale("h", 0.05, 10, x_type)
    b.constant("w2", random_weight(5, 12, seed=2).T, np.int8)
    b.constant("w1", WEIGHT.T, np.int8)
    w = [b.constant("w_scale", 0.01), b.constant("w_zero", 0, np.int8)]
    b.dequantize(b.quantize("x", ["x_scale", "x_zero"], "x_q"), ["x_scale", "x_zero"], "x_float")
    b.node("MatMul", ["x_float", b.dequantize("w1", w, "w1_float")], "h")
    b.dequantize(b.quantize("h", ["h_scale", "h_zero"], "h_q"), ["h_scale", "h_zero"], "h_float")
    b.node("MatMul", ["h_float", b.dequantize("w2", w, "w2_float")], "y")
    b.output("y", ["n", 5])
    return to_ir(b.build())


def test_both_sides_of_a_linear() -> None:
    model, untouched = chain("s8"), chain("s8")
    unsign = UnsignActivationsPass()
    assert unsign(model).modified
    assert unsign.count == 2
    feeds = {"x": np.random.default_rng(0).standard_normal((4, 20)).astype(np.float32) * 3}
    assert np.array_equal(run(model, feeds)[0], run(untouched, feeds)[0])
    FuseQLinearPass()(model)
    assert op_types(model) == ["QuantizeLinear", "QLinear_u8", "QLinear_f32"]


def test_idempotent() -> None:
    model = chain("s8")
    UnsignActivationsPass()(model)
    assert not UnsignActivationsPass()(model).modified


def test_u8_stays() -> None:
    assert not UnsignActivationsPass()(chain("u8")).modified


def test_a_graph_output_stays_signed() -> None:
    """The model's interface is not ours to change."""
    model = to_ir(linear_model(weight=WEIGHT, y_type="s8"))
    assert not UnsignActivationsPass()(model).modified


@pytest.mark.parametrize("x_type", ["u8", "s8"])
def test_other_readers_keep_it_signed(x_type: str) -> None:
    proto = linear_model(weight=WEIGHT, x_type=x_type)
    b = Builder()
    b.output("x_q_seen", ["batch", "length", 20], x_type)
    proto.graph.output.append(b.outputs[0])
    b.node("Identity", ["x_q"], "x_q_seen")
    proto.graph.node.append(b.nodes[0])
    model = to_ir(proto)
    assert not UnsignActivationsPass()(model).modified
    assert run(model, random_x(proto))[1].dtype == (np.uint8 if x_type == "u8" else np.int8)
