"""Elementwise ops on quantized tensors, as ONNX Runtime's quantizer writes them in its operator format.

QLinearAdd(a, b)        DQ(a) + DQ(b) -> Q
QLinearMul(a, b)        DQ(a) * DQ(b) -> Q
QLinearSigmoid(x)       Sigmoid(DQ(x)) -> Q
QLinearSoftmax(x)       Softmax(DQ(x)) -> Q
QLinearWhere(c, a, b)   Where(c, DQ(a), DQ(b)) -> Q
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ..match.constants import int_attribute
from ..match.dims import rank_of
from .products import RUN_TIME_SCALE
from .writer import MICROSOFT, NOT_OURS, Unpack, Unpackers, Writer, all_constant, dequantize, given, quantize

_BINARY_PARAMETERS = (1, 2, 4, 5, 6, 7)


def adds_constant(node: ir.Node) -> bool:
    """Whether a QLinearAdd is that of a bias."""
    return node.op_type == "QLinearAdd" and (all_constant(node, 0) or all_constant(node, 3))


def _unpack_binary(node: ir.Node) -> str | None:
    """QLinearAdd, QLinearMul: (a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)."""
    if not all_constant(node, *_BINARY_PARAMETERS):
        return RUN_TIME_SCALE
    writer, op_type = Writer(node), node.op_type.removeprefix("QLinear")
    a, b = dequantize(writer, "a/dequantize", node.inputs[0:3]), dequantize(writer, "b/dequantize", node.inputs[3:6])
    result = writer.put(op_type, a, b, shape=node.outputs[0].shape)
    writer.finish(quantize(writer, "quantize", result, node.inputs[6:8]))
    return None


def _unpack_unary(op_type: str) -> Unpack:
    """(x, x_scale, x_zero_point, y_scale, y_zero_point)."""

    def unpack(node: ir.Node) -> str | None:
        if not all_constant(node, 1, 2, 3, 4):
            return RUN_TIME_SCALE
        attributes: dict[str, Any] = {}
        if op_type == "Softmax":
            axis, rank = int_attribute(node, "axis", -1), rank_of(node.inputs[0])
            if axis not in (-1, *([] if rank is None else [rank - 1])):
                return NOT_OURS  # before opset 13 it ran over all axes from this one on
            attributes = {"axis": -1}
        writer = Writer(node)
        x = dequantize(writer, "x/dequantize", node.inputs[0:3])
        result = writer.put(op_type, x, shape=node.inputs[0].shape, **attributes)  # type: ignore[union-attr]
        writer.finish(quantize(writer, "quantize", result, [given(node, 3), given(node, 4)]))
        return None

    return unpack


def _unpack_where(node: ir.Node) -> str | None:
    """QLinearWhere(condition, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)."""
    if not all_constant(node, 2, 3, 5, 6, 7, 8):
        return RUN_TIME_SCALE
    writer = Writer(node)
    a, b = dequantize(writer, "a/dequantize", node.inputs[1:4]), dequantize(writer, "b/dequantize", node.inputs[4:7])
    result = writer.put("Where", node.inputs[0], a, b, shape=node.outputs[0].shape)
    writer.finish(quantize(writer, "quantize", result, node.inputs[7:9]))
    return None


UNPACKERS: Unpackers = {
    (MICROSOFT, "QLinearAdd"): _unpack_binary,
    (MICROSOFT, "QLinearMul"): _unpack_binary,
    (MICROSOFT, "QLinearSigmoid"): _unpack_unary("Sigmoid"),
    (MICROSOFT, "QLinearSoftmax"): _unpack_unary("Softmax"),
    (MICROSOFT, "QLinearWhere"): _unpack_where,
}
