"""Gives every `fastep` node of the model the function that stock ONNX Runtime runs."""

from __future__ import annotations

import onnx_ir as ir

from .base import CountingPass
from .edit import opset_of
from .errors import ConversionError
from .ops import DOMAIN, VERSION
from .ops.registry import find_op

_MIN_IR_VERSION = 8  # functions


class AttachFunctionsPass(CountingPass):
    """Adds the missing functions, in the model's own opset."""

    def rewrite(self, model: ir.Model) -> int:
        """Adds a function per variant in use."""
        opset = opset_of(model)
        if opset is None:
            raise ConversionError("the model imports no opset of the default domain", node="model")
        count = 0
        for name in {node.op_type: None for node in model.graph if node.domain == DOMAIN}:
            op = find_op(name)
            if op is None or (DOMAIN, name, "") in model.functions:
                continue
            function = ir.serde.deserialize_function(op.build_function(opset))
            model.functions[function.identifier()] = function
            count += 1
        if count:
            model.opset_imports[DOMAIN] = VERSION
            model.ir_version = max(model.ir_version, _MIN_IR_VERSION)
        return count

    def ensures(self, model: ir.Model) -> None:
        """Every `fastep` node has its function."""
        for node in model.graph:
            if node.domain == DOMAIN and (DOMAIN, node.op_type, "") not in model.functions:
                raise ir.passes.PostconditionError(f"{node.name}: no function {node.op_type}")
