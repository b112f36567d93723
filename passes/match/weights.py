"""Quantized constant weights, in whatever orientation and spelling the exporter left them."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from .constants import Array, constant, int_attribute, is_constant, is_op
from .quantizers import check_positive


@dataclasses.dataclass(frozen=True)
class QuantizedWeight:
    """The right side of a linear.

    Attributes:
        values: s8 or u8 `[K, N]`.
        scale: float32, scalar or `[N]`.
        zero_point: type of the values, scalar or `[N]`.
        source: the value that holds the quantized data, and whether it was transposed: equal for shared weights.
    """

    values: Array
    scale: Array
    zero_point: Array
    source: tuple[ir.Value, bool]


def match_weight(value: ir.Value | None, transposed: bool = False) -> QuantizedWeight | str:
    """Reads a weight; a string is the reason why it cannot be used.

    Args:
        value: the right input of a MatMul or Gemm.
        transposed: whether the op itself transposes it (Gemm with transB).
    """
    if value is None or not is_constant(value):
        return "weights are not constant"
    node = value.producer()
    while is_op(node, "Transpose", "Identity"):
        assert node is not None  # is_op
        swaps = node.op_type == "Transpose"
        if swaps and not _is_swap(node):
            break
        transposed ^= swaps
        value = node.inputs[0]
        assert value is not None  # is_constant
        node = value.producer()
    if not is_op(node, "DequantizeLinear"):
        return _unquantized_reason(value)
    assert node is not None
    return _read(node, transposed)


def _is_swap(node: ir.Node) -> bool:
    permutation = node.attributes.get("perm")
    return permutation is None or list(permutation.as_ints()) == [1, 0]


def _unquantized_reason(value: ir.Value) -> str:
    """In words, by the type that the weights have in the file."""
    producer = value.producer()
    while producer is not None and producer.inputs and producer.inputs[0] is not None:
        value = producer.inputs[0]
        producer = value.producer()
    if value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        return f"{value.dtype.name.lower()} weights"
    return "weights are float (not quantized)"


def _read(node: ir.Node, transposed: bool) -> QuantizedWeight | str:
    """Reads the DequantizeLinear of a weight."""
    values, scale = constant(node.inputs[0]), constant(node.inputs[1])
    if values is None or scale is None:
        return "weights are quantized in a form that is not supported"
    zero_value = node.inputs[2] if len(node.inputs) > 2 else None
    zero_point = np.zeros((), values.dtype) if zero_value is None else constant(zero_value)
    if scale.dtype != np.float32:
        return f"{scale.dtype} weight scales, expected float32"
    if values.dtype not in (np.uint8, np.int8):
        return f"{values.dtype} weights, expected 8 bits"
    if values.ndim != 2:
        return f"weights have {values.ndim} dimensions, expected 2"
    if zero_point is None or int_attribute(node, "block_size", 0) or scale.ndim > 1:
        return "weights are quantized in blocks along the inputs"
    check_positive(scale, node, "the weight scale")
    axis = int_attribute(node, "axis", 1) % 2
    scale, zero_point = _squeeze(scale), _squeeze(zero_point)
    if (scale.ndim or zero_point.ndim) and axis != (0 if transposed else 1):
        return "weight scales run along the inputs, expected one per output"
    assert node.inputs[0] is not None  # constant
    return QuantizedWeight(values.T if transposed else values, scale, zero_point, (node.inputs[0], transposed))


def _squeeze(parameter: Array) -> Array:
    """A per-channel parameter whose elements are all equal becomes one number."""
    flat = parameter.reshape(-1)
    return flat[0].reshape(()) if flat.size and (flat == flat[0]).all() else flat
