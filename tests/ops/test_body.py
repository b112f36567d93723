"""What the writer of function bodies writes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest

from pyfastep.passes.ops.body import Body


def test_attributes_of_the_call() -> None:
    body = Body()
    body.attribute("a", "heads", "value_int")
    body.attribute("b", "shape", "value_ints")
    body.attribute("c", "scale", "value_float")
    found = [(node.attribute[0].name, node.attribute[0].ref_attr_name, node.attribute[0].type) for node in body.nodes]
    kinds = onnx.AttributeProto
    assert found == [
        ("value_int", "heads", kinds.INT),
        ("value_ints", "shape", kinds.INTS),
        ("value_float", "scale", kinds.FLOAT),
    ]


@pytest.mark.parametrize("opset", [17, 18, 20, 21])
def test_reductions_suit_the_opset(opset: int) -> None:
    body = Body(opset)
    body.reduce("ReduceMax", "x", -1, "y")
    body.tensor("t", np.zeros((2, 3), np.uint8))
    x, y = (onnx.helper.make_tensor_value_info(name, 1, ["a", "b"]) for name in "xy")
    graph = onnx.helper.make_graph(body.nodes, "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    onnx.checker.check_model(model, full_check=True)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": values})
    assert np.asarray(found).tolist() == [[2.0], [5.0]]
