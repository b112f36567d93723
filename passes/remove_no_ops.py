"""Removes ops that change nothing: Reshape and Expand to the shape that is there, Identity, Cast to the same type.

Exporters that know every size write many of these, and they hide a pattern from whoever looks for it.
"""

from __future__ import annotations

import onnx_ir as ir

from .base import CountingPass
from .edit import remove_dead, top_level
from .match.constants import constant, int_attribute
from .match.dims import dimension, elements, rank_of, same_size

_CANDIDATES = ("Reshape", "Expand", "Identity", "Dropout", "Cast")


class RemoveNoOpsPass(CountingPass):
    """Lets readers read what is in front of an op that changes nothing. What the model gives out stays."""

    def rewrite(self, model: ir.Model) -> int:
        """Removes all in the main graph."""
        count = 0
        for node in top_level(model.graph, *_CANDIDATES):
            source, result = node.inputs[0], node.outputs[0]
            if source is None or result.is_graph_output() or not result.uses() or not _changes_nothing(node, source):
                continue
            ir.convenience.replace_all_uses_with(result, source)
            remove_dead([node])
            count += 1
        return count


def _changes_nothing(node: ir.Node, source: ir.Value) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type == "Cast":
        return source.dtype is not None and int_attribute(node, "to", 0) == int(source.dtype)
    if node.op_type == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else None
        mode = constant(training)
        return not any(output.uses() for output in node.outputs[1:]) and (
            training is None or (mode is not None and not mode.any())
        )
    return _keeps_shape(node, source)


def _keeps_shape(node: ir.Node, source: ir.Value) -> bool:
    """Whether the target of Reshape or Expand is the shape of the source, as far as the graph proves it."""
    rank, sizes = rank_of(source), elements(node.inputs[1])
    if rank is None or sizes is None or len(sizes) != rank or sizes.count(-1) > 1:
        return False
    takes_over = 1 if node.op_type == "Expand" else 0 if not int_attribute(node, "allowzero", 0) else None
    kept = [size == takes_over or same_size(size, dimension(source, axis)) for axis, size in enumerate(sizes)]
    return all(is_kept or sizes[axis] == -1 for axis, is_kept in enumerate(kept)) and (
        node.op_type == "Reshape" or -1 not in sizes
    )
