"""Turns s8 activations of linears into u8: the same numbers, 128 higher, with a zero point 128 higher.

The kernels take both, at the same speed. ONNX Runtime multiplies u8 by s8 much faster than s8 by s8, so the converted
model gains on stock ONNX Runtime.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .base import CountingPass
from .edit import add_initializer, set_type, top_level
from .match.constants import is_op
from .match.linear import match_linear, weight_input
from .match.quantizers import Scale, quantizers_of, scale_of

_SHIFT = 128


class UnsignActivationsPass(CountingPass):
    """Changes quantizers whose s8 output only DequantizeLinear reads, if a linear is before or behind.

    Args:
        exact: as in `match_linear`, which says where a linear ends.
    """

    def __init__(self, exact: bool = False) -> None:
        super().__init__()
        self._exact = exact

    def rewrite(self, model: ir.Model) -> int:
        """Changes Q and its DQs together; the count is the number of Q nodes changed."""
        count = 0
        for quantizer in self._quantizers_at_linears(model.graph):
            scale = scale_of(quantizer)
            if isinstance(scale, Scale) and scale.zero_point.dtype == np.int8 and _only_dequantized(quantizer, scale):
                _shift(model.graph, quantizer, scale)
                count += 1
        return count

    def _quantizers_at_linears(self, graph: ir.Graph) -> list[ir.Node]:
        found: dict[ir.Node, None] = {}
        for node in top_level(graph, "MatMul", "Gemm"):
            linear = match_linear(node, self._exact) if weight_input(node) is not None else ""
            if isinstance(linear, str):
                continue
            producer = linear.x.producer()
            if producer is not None and is_op(producer, "QuantizeLinear"):
                found[producer] = None
            found.update(dict.fromkeys(quantizers_of(linear.y)))
        return list(found)


def _only_dequantized(quantizer: ir.Node, scale: Scale) -> bool:
    output = quantizer.outputs[0]
    readers = [use.node for use in output.uses()]
    return not output.is_graph_output() and all(
        is_op(node, "DequantizeLinear") and node.inputs[0] is output and scale_of(node) == scale for node in readers
    )


def _shift(graph: ir.Graph, quantizer: ir.Node, scale: Scale) -> None:
    shifted = np.asarray(scale.zero_point.astype(np.int16) + _SHIFT, np.uint8)
    zero_point = add_initializer(graph, f"{quantizer.name}/zero_point", shifted)
    factor = add_initializer(graph, f"{quantizer.name}/scale", scale.scale)
    output = quantizer.outputs[0]
    set_type(output, ir.DataType.UINT8)
    quantizer.attributes.pop("output_dtype", None)
    for node in (quantizer, *{id(use.node): use.node for use in output.uses()}.values()):
        node.resize_inputs(3)
        node.replace_input_with(1, factor)
        node.replace_input_with(2, zero_point)
