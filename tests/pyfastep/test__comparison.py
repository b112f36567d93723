"""Two models on the same inputs: sizes, types, and what counts as broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from pyfastep._comparison import largest_difference, random_inputs
from pyfastep.errors import VerificationError


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, list[Any]]], constants: dict[str, float] | None = None
) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, *declared) for name, declared in inputs.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "columns"])
    tensors = [onnx.numpy_helper.from_array(np.float32(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", values, [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def add(constant: float) -> onnx.ModelProto:
    return model([helper.make_node("Add", ["x", "c"], ["y"])], {"x": (TensorProto.FLOAT, ["n", 4])}, {"c": constant})


def to_ir(proto: onnx.ModelProto) -> ir.Model:
    return ir.serde.deserialize_model(proto)


def test_the_difference_is_found() -> None:
    assert largest_difference(add(1.0), to_ir(add(1.0))) == 0
    assert largest_difference(add(1.0), to_ir(add(1.5))) == pytest.approx(0.5, abs=1e-6)


def test_nan_in_the_converted_model_alone() -> None:
    with pytest.raises(VerificationError, match="output 'y': is NaN"):
        largest_difference(add(1.0), to_ir(add(np.nan)))
    assert largest_difference(add(np.nan), to_ir(add(np.nan))) == 0


def test_another_shape() -> None:
    other = model([helper.make_node("Transpose", ["x"], ["y"])], {"x": (TensorProto.FLOAT, ["n", 4])})
    with pytest.raises(VerificationError, match=r"expected float32 \(2, 4\)"):
        largest_difference(add(1.0), to_ir(other))


def test_a_model_that_does_not_load() -> None:
    broken = add(1.0)
    broken.graph.node[0].op_type = "NoSuchOp"
    with pytest.raises(VerificationError):
        largest_difference(broken, to_ir(add(1.0)))


def test_inputs_by_name_and_type() -> None:
    inputs: dict[str, tuple[int, list[Any]]] = {
        "ids": (TensorProto.INT64, ["batch", "length"]),
        "mask": (TensorProto.INT64, ["batch", "length"]),
        "x": (TensorProto.FLOAT, ["batch", 3, "other"]),
        "flag": (TensorProto.BOOL, [1]),
    }
    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    session = onnxruntime.InferenceSession(model(nodes, inputs).SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = random_inputs(session, np.random.default_rng(0))
    assert {name: array.shape for name, array in feeds.items()} == {
        "ids": (2, 16),
        "mask": (2, 16),
        "x": (2, 3, 16),
        "flag": (1,),
    }
    assert feeds["ids"].dtype == np.int64
    assert set(np.unique(feeds["ids"])) == {0, 1}
    assert feeds["x"].dtype == np.float32
