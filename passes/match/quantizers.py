"""QuantizeLinear and DequantizeLinear of activations: one scale, one zero point, 8 bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from ..errors import ConversionError
from .constants import Array, constant, int_attribute, is_constant, is_op

MOVES_DATA = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten")
"""Ops that give the data of their first input another shape or order."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Scale and zero point of an activation.

    Attributes:
        scale: float32 scalar.
        zero_point: u8 or s8 scalar.
    """

    scale: Array
    zero_point: Array

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Scale)
            and self.scale == other.scale
            and self.zero_point.dtype == other.zero_point.dtype
            and self.zero_point == other.zero_point
        )

    def __hash__(self) -> int:
        return hash((float(self.scale), str(self.zero_point.dtype), int(self.zero_point)))

    @property
    def is_one_sided(self) -> bool:
        """Whether only values of one sign are representable: such a quantizer clamps, as a removed ReLU did."""
        info = np.iinfo(self.zero_point.dtype)
        return int(self.zero_point) in (info.min, info.max)


def check_positive(scale: Array, node: ir.Node, what: str) -> None:
    """Raises ConversionError unless every scale is finite and above 0."""
    bad = scale[~(np.isfinite(scale) & (scale > 0))]
    if bad.size:
        problem = f"{what} is {bad.flat[0]}, expected a finite number above 0"
        raise ConversionError(problem, node=f"node '{node.name}'", remedy="calibrate and quantize the model again")


def scale_of(node: ir.Node) -> Scale | str:
    """Scale and zero point of a Q or DQ node on an activation, or the reason why there is none of the kind."""
    scale_value = node.inputs[1]
    zero_value = node.inputs[2] if len(node.inputs) > 2 else None
    if not is_constant(scale_value) or not (zero_value is None or is_constant(zero_value)):
        return "activation scale computed at run time"
    scale, zero_point = constant(scale_value), constant(zero_value)
    if scale is None or scale.size != 1 or int_attribute(node, "block_size", 0):
        return "activation scale is not one number per tensor"
    if scale.dtype != np.float32:
        return f"{scale.dtype} activation scale, expected float32"
    if zero_point is not None and zero_point.size != 1:
        return "activation zero point is not one number per tensor"
    if zero_point is None:
        zero_point = np.zeros((), _implied_type(node))
    if zero_point.dtype not in (np.uint8, np.int8):
        return f"{zero_point.dtype} activations, expected 8 bits"
    check_positive(scale, node, "the scale")
    return Scale(scale.reshape(()), zero_point.reshape(()))


def _implied_type(node: ir.Node) -> np.dtype[np.generic]:
    """The quantized type of a node without zero point."""
    if node.op_type == "DequantizeLinear":
        source = node.inputs[0]
        return np.dtype(np.uint8) if source is None or source.dtype is None else source.dtype.numpy()
    return ir.DataType(int_attribute(node, "output_dtype", 0) or ir.DataType.UINT8).numpy()


def rounding_scale(node: ir.Node) -> Scale | str:
    """The scale of a Q or DQ that only rounds, together with the other half of its pair, or the reason why it does not.

    A DQ is compared with the Q that its data comes from: a walk along a pair, in either direction, passes it. The scale
    of a DQ whose data comes from elsewhere stands for itself.
    """
    scale = scale_of(node)
    quantizer = _quantizer_above(node) if is_op(node, "DequantizeLinear") else None
    if quantizer is not None and isinstance(scale, Scale) and scale_of(quantizer) != scale:
        return "quantized with one scale and dequantized with another"
    return scale


def _quantizer_above(dequantizer: ir.Node) -> ir.Node | None:
    """The Q that a DQ undoes, data movement aside."""
    node = dequantizer.inputs[0].producer() if dequantizer.inputs[0] is not None else None
    while node is not None and is_op(node, *MOVES_DATA) and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if is_op(node, "QuantizeLinear") else None


def quantizers_of(value: ir.Value) -> list[ir.Node]:
    """The QuantizeLinear nodes of a value's own graph that read it as their data.

    Those inside a branch or a loop have to stay there: what a branch gives out it must compute itself.
    """
    readers = [use.node for use in value.uses() if use.idx == 0 and use.node.graph is value.graph]
    return [node for node in readers if is_op(node, "QuantizeLinear")]


def can_be_one(nodes: Iterable[ir.Node]) -> bool:
    """Whether nodes that compute the same can become one value: two outputs of a graph cannot."""
    return sum(node.outputs[0].is_graph_output() for node in nodes) <= 1


def only_consumer(value: ir.Value, *besides: str) -> ir.Node | None:
    """The node of a value's own graph that alone reads it; None if there are more, or if the value leaves the graph.

    Args:
        value: what is read.
        besides: ops of ONNX that do not count as readers.
    """
    consumers = {use.node: None for use in value.uses() if not is_op(use.node, *besides)}
    if len(consumers) != 1 or value.is_graph_output():
        return None
    consumer = next(iter(consumers))
    return consumer if consumer.graph is value.graph else None


def behind_pair(value: ir.Value) -> tuple[ir.Value, Scale] | None:
    """Where a value is read through one Q/DQ pair alone: what comes out of the pair, and its scale."""
    quantizer = only_consumer(value)
    if quantizer is None or not is_op(quantizer, "QuantizeLinear") or quantizer.inputs[0] is not value:
        return None
    dequantizer = only_consumer(quantizer.outputs[0])
    if (
        dequantizer is None
        or not is_op(dequantizer, "DequantizeLinear")
        or dequantizer.inputs[0] is not quantizer.outputs[0]
    ):
        return None
    scale = rounding_scale(dequantizer)
    return None if isinstance(scale, str) else (dequantizer.outputs[0], scale)


def without_rounding(value: ir.Value) -> ir.Value:
    """The value in front of the Q/DQ pair that a value comes from; itself, if there is no pair that only rounds."""
    dequantizer = value.producer()
    quantized = dequantizer.inputs[0] if dequantizer is not None and is_op(dequantizer, "DequantizeLinear") else None
    quantizer = quantized.producer() if quantized is not None else None
    if dequantizer is None or quantizer is None or not is_op(quantizer, "QuantizeLinear"):
        return value
    scale, source = rounding_scale(dequantizer), quantizer.inputs[0]
    if source is None or isinstance(scale, str) or scale.is_one_sided:
        return value
    return source
