"""Raises models of an old opset to the one that function bodies need."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from .base import CountingPass
from .edit import opset_of
from .errors import ConversionError
from .ops.qlinear import MIN_OPSET


def newest_opset() -> int:
    """The newest opset that the installed onnx package knows."""
    return int(onnx.defs.onnx_opset_version())


class RaiseOpsetPass(CountingPass):
    """Opset of the default domain at least `MIN_OPSET`, by onnx's version converter.

    Raises:
        ConversionError: the model names no opset, one that is too new, or one that cannot be raised.
    """

    def rewrite(self, model: ir.Model) -> int:
        """Raises the opset if it is too old."""
        opset = opset_of(model)
        if opset is None or opset < 1:
            problem = f"the model imports no usable opset of the default domain (found {dict(model.opset_imports)})"
            raise ConversionError(problem, node="model", remedy=f"export it with opset {MIN_OPSET} or later")
        if opset > newest_opset():
            problem = f"opset {opset} is newer than what onnx {onnx.__version__} knows ({newest_opset()})"
            raise ConversionError(problem, node="model", remedy=f"upgrade onnx, or export with opset {newest_opset()}")
        if opset >= MIN_OPSET:
            return 0
        self._raise(model, opset)
        return 1

    def _raise(self, model: ir.Model, opset: int) -> None:
        try:
            ir.external_data.load_to_model(model)
            proto = ir.serde.serialize_model(model)
            raised = ir.serde.deserialize_model(onnx.version_converter.convert_version(proto, MIN_OPSET))
        except Exception as error:  # the converter raises bare RuntimeErrors, one per op that it does not know
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            problem = f"opset {opset} could not be raised to {MIN_OPSET}: {first_line}"
            raise ConversionError(problem, node="model", remedy=f"export it with opset {MIN_OPSET} or later") from error
        custom = {domain: version for domain, version in model.opset_imports.items() if domain not in ("", "ai.onnx")}
        model.graph = raised.graph
        model.opset_imports.update({**custom, "": MIN_OPSET})
        model.ir_version = max(model.ir_version, 8)

    def ensures(self, model: ir.Model) -> None:
        """The opset is one that function bodies can use."""
        opset = opset_of(model)
        if opset is None or opset < MIN_OPSET:
            raise ir.passes.PostconditionError(f"opset {opset} after raising it to {MIN_OPSET}")
