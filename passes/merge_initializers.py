"""Lets equal small constants be one."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import CountingPass


class MergeInitializersPass(CountingPass):
    """onnx-ir's merging of equal initializers, counted.

    Every linear brings its own scales and zero points, and most of them are those of another: of the linear that
    computed its input, or of those that read the same. ONNX Runtime keeps about 1 KB for each.
    """

    def rewrite(self, model: ir.Model) -> int:
        """Merges those of up to 1024 elements; the count is the number of initializers gone."""
        before = len(model.graph.initializers)
        common.DeduplicateInitializersPass()(model)
        return before - len(model.graph.initializers)
