"""Refuses a source model that breaks the ONNX standard before any pass trips over it."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import CountingPass
from .errors import ConversionError


class CheckModelPass(CountingPass):
    """onnx.checker on the graph alone, without its large tensors. Changes nothing.

    Raises:
        ConversionError: the checker rejects the model.
    """

    def rewrite(self, model: ir.Model) -> int:
        """Checks; the count is always 0."""
        try:
            common.CheckerPass(full_check=False)(model)
        except Exception as error:  # ValidationError of onnx, and what its bindings raise on broken tensors
            problem = f"onnx.checker rejects the model: {' '.join(str(error).split())}"
            raise ConversionError(problem, node="model", remedy="export it again") from error
        return 0
