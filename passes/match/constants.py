"""Values that are known before the model runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..ops.arithmetic import quantize

Array = npt.NDArray[Any]

_MAX_VISITS = 10_000  # of nodes that compute one constant


def is_default_domain(node: ir.Node) -> bool:
    """Whether a node is an op of ONNX itself."""
    return node.domain in ("", "ai.onnx")


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether a node is one of these ops of ONNX itself."""
    return node is not None and is_default_domain(node) and node.op_type in op_types


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is the same in every run; an initializer that is also a graph input may be overridden."""
    if value is None or value.is_graph_input():
        return False
    if value.is_initializer():
        return value.const_value is not None
    return _order(value) is not None


def constant(value: ir.Value | None) -> Array | None:
    """The array of a constant value, computed if need be; None if it is not constant or cannot be computed."""
    if value is None or not is_constant(value):
        return None
    if value.is_initializer() and value.const_value is not None:
        return value.const_value.numpy()
    arrays: dict[ir.Value, Array | None] = {}
    for node in _order(value) or []:
        arrays[node.outputs[0]] = _evaluate(node, [_known(source, arrays) for source in node.inputs])
    return arrays.get(value)


def _order(value: ir.Value) -> list[ir.Node] | None:
    """The nodes that compute a value from constants, each once, in an order in which they can run; None: it varies."""
    done: dict[ir.Node, None] = {}
    waiting = [value]
    for _ in range(_MAX_VISITS):
        if not waiting:
            return list(done)
        node = waiting[-1].producer()
        if node is None or waiting[-1].is_graph_input() or not is_op(node, "Constant", *_EVALUATORS):
            return None
        fresh = [source for source in node.inputs if source is not None and not _is_ready(source, done)]
        if fresh:
            waiting += fresh
            continue
        done[node] = None
        waiting.pop()
    return None


def _is_ready(value: ir.Value, done: dict[ir.Node, None]) -> bool:
    if value.is_initializer() and not value.is_graph_input():
        return value.const_value is not None
    return value.producer() in done


def _known(value: ir.Value | None, arrays: dict[ir.Value, Array | None]) -> Array | None:
    if value is None or value in arrays:
        return None if value is None else arrays[value]
    return value.const_value.numpy() if value.const_value is not None else None


def _evaluate(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    if node.op_type == "Constant":
        return _constant_node(node)
    if arrays[0] is None:
        return None
    try:
        return _EVALUATORS[node.op_type](node, arrays)
    except (ValueError, IndexError):  # shapes that do not fit: the checker will say so
        return None


def scalar(value: ir.Value | None) -> Array | None:
    """The array of a constant value with one element, as a scalar; None for all others."""
    array = constant(value)
    return array.reshape(()) if array is not None and array.size == 1 else None


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _constant_node(node: ir.Node) -> Array | None:
    for name, attribute in node.attributes.items():
        if name == "value":
            return attribute.as_tensor().numpy()
        if name in ("value_float", "value_floats"):
            return np.asarray(attribute.value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(attribute.value, np.int64)
    return None


def along_axis(parameter: Array, axis: int, rank: int) -> Array:
    """Shapes a per-channel scale or zero point `[C]` so that it broadcasts along `axis`; scalars stay."""
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim != 1:
        return parameter
    shape = [1] * rank
    shape[axis] = parameter.size
    return parameter.reshape(shape)


def _dequantize(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    x, scale = arrays[0], arrays[1]
    zero_point = arrays[2] if len(arrays) > 2 else None
    if x is None or scale is None or int_attribute(node, "block_size", 0) or scale.ndim > 1:
        return None
    axis = int_attribute(node, "axis", 1)
    wide = x.astype(np.int32)
    if zero_point is not None:
        wide = wide - along_axis(zero_point.astype(np.int32), axis, x.ndim)
    return np.asarray(wide.astype(scale.dtype) * along_axis(scale, axis, x.ndim))


def _quantize(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    x, scale = arrays[0], arrays[1]
    zero_point = arrays[2] if len(arrays) > 2 else np.zeros((), np.uint8)
    if x is None or scale is None or zero_point is None or int_attribute(node, "block_size", 0) or scale.ndim > 1:
        return None
    if zero_point.dtype not in (np.uint8, np.int8) or x.dtype != np.float32:
        return None
    axis = int_attribute(node, "axis", 1)
    with np.errstate(all="ignore"):  # a scale of 0 or NaN is refused when it is used
        return quantize(x, along_axis(scale, axis, x.ndim), along_axis(zero_point, axis, x.ndim))


def _transpose(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    permutation = node.attributes.get("perm")
    return (
        None if arrays[0] is None else np.transpose(arrays[0], None if permutation is None else permutation.as_ints())
    )


def _reshape(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    x, shape = arrays[0], arrays[1]
    if x is None or shape is None or int_attribute(node, "allowzero", 0):
        return None
    return x.reshape([x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)])


def _squeeze(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    del node
    axes = arrays[1] if len(arrays) > 1 else None
    return None if arrays[0] is None else np.squeeze(arrays[0], None if axes is None else tuple(int(a) for a in axes))


def _unsqueeze(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    del node
    x, axes = arrays[0], arrays[1]
    return None if x is None or axes is None else np.expand_dims(x, tuple(int(a) for a in axes))


def _cast(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    to = ir.DataType(int_attribute(node, "to", 0))
    return None if arrays[0] is None else arrays[0].astype(to.numpy())


def _clip(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    bounds = [arrays[i] if i < len(arrays) else None for i in (1, 2)]
    given = [value is not None for value in (*node.inputs[1:3], None, None)]
    if arrays[0] is None or any(is_given and bound is None for is_given, bound in zip(given, bounds, strict=False)):
        return None
    low, high = bounds
    return arrays[0] if low is None and high is None else np.clip(arrays[0], low, high)


def _identity(node: ir.Node, arrays: list[Array | None]) -> Array | None:
    del node
    return arrays[0]


_EVALUATORS: dict[str, Callable[[ir.Node, list[Array | None]], Array | None]] = {
    "Identity": _identity,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Cast": _cast,
    "Clip": _clip,
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
}
