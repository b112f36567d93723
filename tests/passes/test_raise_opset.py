"""Old opsets are raised, unusable ones refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.edit import opset_of
from pyfastep.passes.errors import ConversionError
from pyfastep.passes.raise_opset import RaiseOpsetPass, newest_opset

from .models import Builder, linear_model, random_weight, random_x, run, to_ir


@pytest.mark.parametrize("opset", [10, 11, 13, 14, 16])
def test_old_opsets_are_raised(opset: int) -> None:
    source = linear_model("matmul", weight=random_weight(12, 20), per_channel=opset >= 13, opset=opset)
    source.opset_import.append(onnx.helper.make_opsetid("com.example", 3))
    model = to_ir(source)
    raise_pass = RaiseOpsetPass()
    assert raise_pass(model).modified
    assert opset_of(model) == 17
    assert model.opset_imports["com.example"] == 3
    assert model.metadata_props["purpose"] == "a test"
    assert np.array_equal(run(model, random_x(source))[0], run(source, random_x(source))[0])
    assert not RaiseOpsetPass()(model).modified


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_new_opsets_stay(opset: int) -> None:
    model = to_ir(linear_model(weight=random_weight(12, 20), opset=opset))
    assert not RaiseOpsetPass()(model).modified
    assert opset_of(model) == opset


def test_ops_of_other_domains_survive() -> None:
    source = linear_model(weight=random_weight(12, 20), activation="gelutanh", opset=14)
    model = to_ir(source)
    RaiseOpsetPass()(model)
    assert [node.domain for node in model.graph if node.op_type == "FastGelu"] == ["com.microsoft"]
    assert np.array_equal(run(model, random_x(source))[0], run(source, random_x(source))[0])


def fails(model: ir.Model) -> ConversionError:
    with pytest.raises(ConversionError) as error:
        RaiseOpsetPass()(model)
    return error.value


def test_an_opset_of_the_future() -> None:
    model = to_ir(linear_model(weight=random_weight(12, 20)))
    model.opset_imports[""] = newest_opset() + 1
    error = fails(model)
    assert f"opset {newest_opset() + 1} is newer" in error.problem
    assert error.remedy is not None
    assert "upgrade onnx" in error.remedy


def test_no_opset() -> None:
    model = to_ir(linear_model(weight=random_weight(12, 20)))
    model.opset_imports.pop("")
    assert "no usable opset" in fails(model).problem


def test_an_op_that_cannot_be_raised() -> None:
    """A wrong opset: LayerNormalization came with 17."""
    b = Builder(13)
    b.input("x", [2, 4])
    b.node("LayerNormalization", ["x", b.constant("scale", np.ones(4))], "y")
    b.output("y", [2, 4])
    error = fails(to_ir(b.build()))
    assert "opset 13 could not be raised to 17" in error.problem
    assert "LayerNormalization" in error.problem
