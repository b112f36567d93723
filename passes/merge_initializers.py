"""Lets equal small constants be one."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import CountingPass


class MergeInitializersPass(CountingPass):
    """onnx-ir's merging of equal initializers, counted.

    Every linear brings its own scales and zero points, and most of them are those of another: of the linear that
    computed its input, or of those that read the same. ONNX Runtime keeps about 1 KB for each.

    Those of type int8 stay apart: stock ONNX Runtime asked for exact products on a CPU without VNNI
    (``session.x64quantprecision``) fails at nodes that share the zero point of their weights.
    """

    def rewrite(self, model: ir.Model) -> int:
        """Merges those of up to 1024 elements; the count is the number of initializers gone."""
        initializers = model.graph.initializers
        before = len(initializers)
        apart = [value for value in initializers.values() if value.dtype == ir.DataType.INT8]
        for value in apart:
            del initializers[str(value.name)]
        common.DeduplicateInitializersPass()(model)
        for value in apart:
            model.graph.register_initializer(value)
        return before - len(initializers)
