"""Shapes become known inside; the model's interface stays as declared."""

from __future__ import annotations

import onnx_ir as ir

from pyfastep.passes.infer_shapes import InferShapesPass

from .models import linear_model, random_weight, to_ir


def test_inner_shapes() -> None:
    model = to_ir(linear_model(weight=random_weight(12, 20), y_type="f32"))
    infer = InferShapesPass()
    assert infer(model).modified
    product = next(node for node in model.graph if node.op_type == "MatMul").outputs[0]
    assert product.shape is not None
    assert product.shape[-1] == 12
    assert not InferShapesPass()(model).modified


def test_outputs_without_shape_get_one() -> None:
    model = to_ir(linear_model(weight=random_weight(12, 20), y_type="f32"))
    model.graph.outputs[0].shape = None
    InferShapesPass()(model)
    (output,) = model.graph.outputs
    assert output.shape is not None
    assert output.shape[-1] == 12


def test_declared_shapes_stay() -> None:
    proto = linear_model(weight=random_weight(12, 20), y_type="f32")
    model = to_ir(proto)
    model.graph.outputs[0].shape = ir.Shape(["batch", None, "anything"])
    InferShapesPass()(model)
    assert model.graph.outputs[0].shape == ir.Shape(["batch", None, "anything"])
    assert model.graph.inputs[0].shape == ir.Shape(["batch", "length", 20])
