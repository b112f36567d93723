"""QuantizeLinear and DequantizeLinear of ONNX Runtime's own domain: those of ONNX, where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ..match.constants import constant, int_attribute
from .writer import MICROSOFT, NOT_OURS, Unpackers, Writer, all_constant, given

_DEFAULT_AXIS = 1


def _unpack(node: ir.Node) -> str | None:
    """The same op, inputs and axis; only 8 bits, which every opset of ONNX that has the op knows."""
    if not all_constant(node, 1, 2):
        return NOT_OURS
    zero_point, scale = constant(given(node, 2)), constant(node.inputs[1])
    data = node.inputs[0]
    kind = zero_point.dtype if zero_point is not None else np.dtype(np.uint8)
    if node.op_type == "DequantizeLinear" and zero_point is None and data is not None and data.dtype is not None:
        kind = data.dtype.numpy()
    if kind not in (np.uint8, np.int8, np.int32) or scale is None:
        return NOT_OURS
    writer = Writer(node)
    per_axis = scale.size > 1
    inputs = [value for value in node.inputs if value is not None]
    if scale.ndim == 1 and not per_axis:  # one number, which ONNX wants as a scalar
        flat = [np.reshape(array, ()) for array in (scale, zero_point) if array is not None]
        inputs = [inputs[0], *(writer.constant(f"parameter_{i}", array) for i, array in enumerate(flat))]
    dtype = ir.DataType.FLOAT if node.op_type == "DequantizeLinear" else ir.DataType.from_numpy(np.dtype(kind))
    attributes: dict[str, Any] = {"axis": int_attribute(node, "axis", _DEFAULT_AXIS)} if per_axis else {}
    writer.finish(writer.put(node.op_type, *inputs, dtype=dtype, shape=node.outputs[0].shape, **attributes))
    return None


UNPACKERS: Unpackers = {(MICROSOFT, "QuantizeLinear"): _unpack, (MICROSOFT, "DequantizeLinear"): _unpack}
