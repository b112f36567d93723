"""Activations of ONNX Runtime's own domain.

    Gelu(x)               x / 2 * (1 + Erf(x / sqrt 2))
    BiasGelu(x, bias)     the same of x + bias
    FastGelu(x, bias)     x / 2 * (1 + Tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) of x + bias

Spelled out, because ONNX has a Gelu only from opset 20 on; `match.activation` recognises any spelling.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from .writer import MICROSOFT, NOT_OURS, Unpackers, Writer, all_constant, given

QUICK_GELU = (
    "QuickGelu, x * sigmoid(alpha x), is none of the activations that FastEP computes (ReLU, GELU with erf or tanh)"
)


def _unpack_gelu(node: ir.Node) -> str | None:
    """Gelu(x), BiasGelu(x, bias), FastGelu(x, bias)."""
    bias, x = given(node, 1), node.inputs[0]
    if x is None or not all_constant(node, 1):
        return NOT_OURS
    writer = Writer(node)
    if bias is not None:
        x = writer.put("Add", x, bias, label="Add", shape=node.outputs[0].shape)
    writer.finish(_tanh_gelu(writer, x) if node.op_type == "FastGelu" else _erf_gelu(writer, x))
    return None


def _erf_gelu(writer: Writer, x: ir.Value) -> ir.Value:
    divided = writer.put("Div", x, _number(writer, "sqrt_2", math.sqrt(2)), label="Div", shape=x.shape)
    return _half_times(writer, x, writer.put("Erf", divided, label="Erf", shape=x.shape))


def _tanh_gelu(writer: Writer, x: ir.Value) -> ir.Value:
    square = writer.put("Mul", x, x, label="square", shape=x.shape)
    cube = writer.put("Mul", square, x, label="cube", shape=x.shape)
    share = writer.put("Mul", cube, _number(writer, "share", 0.044715), label="cube_share", shape=x.shape)
    total = writer.put("Add", x, share, label="polynomial", shape=x.shape)
    scaled = writer.put("Mul", total, _number(writer, "factor", math.sqrt(2 / math.pi)), label="scaled", shape=x.shape)
    return _half_times(writer, x, writer.put("Tanh", scaled, label="Tanh", shape=x.shape))


def _half_times(writer: Writer, x: ir.Value, bend: ir.Value) -> ir.Value:
    """X / 2 * (1 + bend)."""
    plus = writer.put("Add", bend, _number(writer, "one", 1), label="plus_one", shape=x.shape)
    product = writer.put("Mul", x, plus, label="Mul", shape=x.shape)
    return writer.put("Mul", product, _number(writer, "half", 0.5), shape=x.shape)


def _number(writer: Writer, label: str, value: float) -> ir.Value:
    return writer.constant(label, value, np.float32)


def _refuse_quick_gelu(node: ir.Node) -> str | None:
    del node
    return QUICK_GELU


UNPACKERS: Unpackers = {
    (MICROSOFT, "Gelu"): _unpack_gelu,
    (MICROSOFT, "BiasGelu"): _unpack_gelu,
    (MICROSOFT, "FastGelu"): _unpack_gelu,
    (MICROSOFT, "QuickGelu"): _refuse_quick_gelu,
}
