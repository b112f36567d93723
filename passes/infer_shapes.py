"""Fills in the shapes that can be known, so that later passes see ranks and dimensions that do not fit."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import CountingPass


class InferShapesPass(CountingPass):
    """onnx's shape inference. Graph inputs and outputs stay as the model declares them, where it does."""

    def rewrite(self, model: ir.Model) -> int:
        """Infers; the count is the number of dimensions and ranks learned."""
        declared = [(value, value.shape, value.type) for value in (*model.graph.inputs, *model.graph.outputs)]
        before = _known(model.graph)
        common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
        for value, shape, type_ in declared:
            if shape is not None:
                value.shape, value.type = shape, type_
        return _known(model.graph) - before


def _known(graph: ir.Graph) -> int:
    """Dimensions and ranks known of the values in a graph."""
    shapes = [value.shape for node in graph for value in node.outputs if value.shape is not None]
    return sum(1 + sum(isinstance(size, int) for size in shape) for shape in shapes)
