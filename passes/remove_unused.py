"""Removes nodes and initializers that nothing reads any more."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import CountingPass


class RemoveUnusedPass(CountingPass):
    """onnx-ir's removal of unused nodes and initializers, counted."""

    def rewrite(self, model: ir.Model) -> int:
        """Removes; the count is the number of nodes and initializers gone."""
        before = _size(model.graph)
        common.RemoveUnusedNodesPass()(model)
        return before - _size(model.graph)


def _size(graph: ir.Graph) -> int:
    return len(graph) + len(graph.initializers)
