"""A weight that changed on its way is found."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.errors import VerificationError
from pyfastep.passes.fuse_qlinear import FuseQLinearPass, qlinear_nodes
from pyfastep.passes.store_sparse import StoreSparsePass
from pyfastep.passes.verify_qlinear import VerifyQLinearPass

from .models import linear_model, random_weight, to_ir


def stored(density: float) -> ir.Model:
    model = to_ir(linear_model(weight=random_weight(32, 24, (4, 1), density)))
    FuseQLinearPass()(model)
    StoreSparsePass()(model)
    return model


@pytest.mark.parametrize("density", [0.2, 1.0])
def test_true_weights_pass(density: float) -> None:
    verify = VerifyQLinearPass()
    assert not verify(stored(density)).modified


@pytest.mark.parametrize(("density", "index"), [(0.2, 3), (0.2, 4), (1.0, 3)])
def test_one_changed_byte_is_found(density: float, index: int) -> None:
    model = stored(density)
    ((node, _),) = qlinear_nodes(model.graph)
    value = node.inputs[index]
    assert value is not None
    assert value.const_value is not None
    changed = value.const_value.numpy().copy()
    changed.flat[0] += 1
    value.const_value = ir.tensor(changed)
    with pytest.raises(VerificationError, match=r"node 'product/MatMul': the stored weight differs"):
        VerifyQLinearPass()(model)


def test_a_lost_block_is_found() -> None:
    model = stored(0.2)
    ((node, _),) = qlinear_nodes(model.graph)
    for index in (3, 4):
        value = node.inputs[index]
        assert value is not None
        assert value.const_value is not None
        value.const_value = ir.tensor(np.ascontiguousarray(value.const_value.numpy()[:-1]))
    with pytest.raises(VerificationError):
        VerifyQLinearPass()(model)
