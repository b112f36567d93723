"""Every fastep node has the function of its name, in the model's own opset."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.attach_functions import AttachFunctionsPass
from pyfastep.passes.errors import ConversionError
from pyfastep.passes.fuse_qlinear import FuseQLinearPass
from pyfastep.passes.ops import DOMAIN

from .models import linear_model, random_weight, to_ir


def fused(opset: int = 17) -> ir.Model:
    model = to_ir(linear_model(weight=random_weight(12, 20), opset=opset))
    FuseQLinearPass()(model)
    return model


@pytest.mark.parametrize("opset", [17, 19, 21])
def test_functions_are_attached(opset: int) -> None:
    model = fused(opset)
    model.ir_version = 7
    attach = AttachFunctionsPass()
    assert attach(model).modified
    assert list(model.functions) == [(DOMAIN, "QLinear_u8", "")]
    function = model.functions[DOMAIN, "QLinear_u8", ""]
    assert function.opset_imports[""] == opset
    assert model.opset_imports[DOMAIN] == 1
    assert model.ir_version == 8
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert not AttachFunctionsPass()(model).modified


def test_nodes_that_nobody_knows_are_an_error() -> None:
    model = fused()
    next(node for node in model.graph if node.domain == DOMAIN).op_type = "QLinear_swish_u8"
    with pytest.raises(ir.passes.PostconditionError, match="QLinear_swish_u8"):
        AttachFunctionsPass()(model)


def test_a_model_without_opset() -> None:
    model = fused()
    model.opset_imports.pop("")
    with pytest.raises(ConversionError, match="no opset"):
        AttachFunctionsPass()(model)
