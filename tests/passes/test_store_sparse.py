"""Weights are stored as blocks where that is smaller, and the model still computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.attach_functions import AttachFunctionsPass
from pyfastep.passes.fuse_qlinear import FuseQLinearPass, qlinear_nodes
from pyfastep.passes.remove_unused import RemoveUnusedPass
from pyfastep.passes.store_sparse import STRUCTURE, StoreSparsePass
from pyfastep.passes.verify_qlinear import VerifyQLinearPass

from .models import Array, linear_model, random_weight, random_x, run, to_ir


def fused(weight: Array, **options: Any) -> ir.Model:
    model = to_ir(linear_model(weight=weight, **options))
    FuseQLinearPass()(model)
    return model


@pytest.mark.parametrize("density", [0.0, 0.2])
@pytest.mark.parametrize("block", [(4, 1), (1, 4), (4, 4), (1, 1)])
@pytest.mark.parametrize("shape", [(64, 48), (37, 51)])
def test_sparse_weights(shape: tuple[int, int], block: tuple[int, int], density: float) -> None:
    weight = random_weight(*shape, block, density)
    dense, sparse = fused(weight), fused(weight)
    store = StoreSparsePass()
    assert store(sparse).modified
    assert store.count == 1
    VerifyQLinearPass()(sparse)
    ((node, variant),) = qlinear_nodes(sparse.graph)
    assert variant.name == "QLinear_u8_sparse"
    assert node.outputs[0].name == "y"
    assert node.inputs[3].const_value.nbytes + node.inputs[4].const_value.nbytes < weight.size  # type: ignore[union-attr]
    RemoveUnusedPass()(sparse)
    assert not any(value.const_value.nbytes == weight.size for value in sparse.graph.initializers.values())  # type: ignore[union-attr]
    for model in (dense, sparse):
        AttachFunctionsPass()(model)
        onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    feeds = random_x(linear_model(weight=weight))
    for optimized in (False, True):
        assert np.array_equal(run(sparse, feeds, optimized)[0], run(dense, feeds, optimized)[0])


@pytest.mark.parametrize("density", [0.9, 1.0])
def test_dense_weights_stay(density: float) -> None:
    model = fused(random_weight(64, 48, (1, 1), density))
    assert not StoreSparsePass()(model).modified
    ((node, variant),) = qlinear_nodes(model.graph)
    assert not variant.sparse
    assert node.meta[STRUCTURE].density == pytest.approx(density, abs=0.05)


def test_idempotent() -> None:
    model = fused(random_weight(64, 48, (4, 1), 0.2))
    assert StoreSparsePass()(model).modified
    assert not StoreSparsePass()(model).modified


def with_u8_weight(zero_point: int) -> tuple[ir.Model, onnx.ModelProto]:
    proto = linear_model(weight=random_weight(64, 48, (4, 1), 0.2))
    for tensor in proto.graph.initializer:
        if tensor.name in ("w", "w_zero"):
            values = onnx.numpy_helper.to_array(tensor).astype(np.int16) + zero_point
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.clip(0, 255).astype(np.uint8), tensor.name))
    model = to_ir(proto)
    FuseQLinearPass()(model)
    return model, proto


def test_u8_with_zero_point_128_is_the_same_weight() -> None:
    model, source = with_u8_weight(128)
    assert StoreSparsePass()(model).modified
    VerifyQLinearPass()(model)
    AttachFunctionsPass()(model)
    difference = run(model, random_x(source))[0].astype(int) - run(source, random_x(source))[0]
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.01


def test_other_zero_points_stay_dense_but_are_measured() -> None:
    model, _ = with_u8_weight(127)
    assert not StoreSparsePass()(model).modified
    ((node, _),) = qlinear_nodes(model.graph)
    assert node.meta[STRUCTURE].found() == "4x1"


def test_shared_weights_are_encoded_once() -> None:
    proto = linear_model(weight=random_weight(64, 48, (4, 1), 0.2), y_type="f32", bias=False)
    twice = onnx.ModelProto()
    twice.CopyFrom(proto)
    product = next(node for node in proto.graph.node if node.op_type == "MatMul")
    second = twice.graph.node.add()
    second.CopyFrom(product)
    second.name, second.output[0] = "second", "z"
    twice.graph.output.add().CopyFrom(proto.graph.output[0])
    twice.graph.output[1].name = "z"
    model = to_ir(twice)
    FuseQLinearPass()(model)
    assert StoreSparsePass()(model).modified
    (first, _), (other, _) = qlinear_nodes(model.graph)
    assert first.inputs[3] is other.inputs[3]
    assert first.inputs[4] is other.inputs[4]
