"""SkipLayerNormalization: the sum and the LayerNormalization of it.

SkipLayerNormalization(x, skip, gamma, beta, bias)    x + bias + skip -> LayerNormalization
"""

from __future__ import annotations

import onnx_ir as ir

from ..match.constants import is_op
from .writer import MICROSOFT, Unpackers, Writer, float_attribute, given, is_used

_DEFAULT_EPSILON = 1e-12


def _unpack_skip_layer_norm(node: ir.Node) -> str | None:
    """SkipLayerNormalization(x, skip, gamma, beta, bias) -> y, mean, inverse deviation, sum."""
    if is_used(node, 1) or is_used(node, 2):
        return "its mean or standard deviation is used elsewhere"
    writer, shape = Writer(node), node.outputs[0].shape
    sides, bias = list(node.inputs[:2]), given(node, 4)
    if bias is not None:
        side = 1 if not _is_product(sides[0]) and _is_product(sides[1]) else 0  # the linear that it belongs to
        sides[side] = writer.put("Add", sides[side], bias, label="bias", shape=shape)
    total = writer.put("Add", *sides, label="sum", shape=shape)
    parameters = [value for value in (node.inputs[2], given(node, 3)) if value is not None]
    epsilon = float_attribute(node, "epsilon", _DEFAULT_EPSILON)
    result = writer.put("LayerNormalization", total, *parameters, shape=shape, axis=-1, epsilon=epsilon)
    writer.finish(result, None, None, total if is_used(node, 3) else None)
    return None


def _is_product(value: ir.Value | None) -> bool:
    return value is not None and is_op(value.producer(), "MatMul", "DequantizeLinear")


UNPACKERS: Unpackers = {(MICROSOFT, "SkipLayerNormalization"): _unpack_skip_layer_norm}
