"""Ops that change nothing go; those that might stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.remove_no_ops import RemoveNoOpsPass

from .models import Builder, op_types, run, to_ir
from .unpacking import builder, random


def reshape(shape: list[object], target: list[int]) -> Builder:
    b = builder({"x": shape})
    b.node("Relu", [b.node("Reshape", ["x", b.constant("shape", target, np.int64)], "same")], "y")
    b.output("y", shape)
    return b


@pytest.mark.parametrize(
    ("shape", "target", "goes"),
    [
        ([2, 3, 4], [2, 3, 4], True),
        ([2, 3, 4], [2, -1, 4], True),
        (["n", 3, 4], [-1, 3, 4], True),
        (["n", 3, 4], [0, 0, 4], True),
        (["n", "m", 4], [-1, 3, 4], False),
        ([2, 3, 4], [3, 2, 4], False),
        (["n", "m", 4], [0, -1, 4], True),
    ],
)
def test_reshape(shape: list[object], target: list[int], goes: bool) -> None:
    b = reshape(shape, target)
    model = to_ir(b.build())
    InferShapesPass()(model)
    step = RemoveNoOpsPass()
    assert step(model).modified == goes
    assert ("Reshape" not in op_types(model)) == goes
    feeds = {"x": random(2, 3, 4)}
    assert np.array_equal(run(model, feeds)[0], run(b.build(), feeds)[0])
    assert not step(model).modified


@pytest.mark.parametrize(
    ("op_type", "attributes"), [("Identity", {}), ("Cast", {"to": 1}), ("Dropout", {}), ("Expand", {})]
)
def test_others(op_type: str, attributes: dict[str, Any]) -> None:
    b = builder({"x": [2, 3]})
    inputs = ["x", *([b.constant("shape", [1, 3], np.int64)] if op_type == "Expand" else [])]
    b.node("Relu", [b.node(op_type, inputs, "same", **attributes)], "y")
    b.output("y", [2, 3])
    model = to_ir(b.build())
    InferShapesPass()(model)
    RemoveNoOpsPass()(model)
    assert op_types(model) == ["Relu"]


@pytest.mark.parametrize(("op_type", "attributes"), [("Cast", {"to": 6}), ("Expand", {})])
def test_what_changes_something_stays(op_type: str, attributes: dict[str, Any]) -> None:
    b = builder({"x": [1, 3]})
    inputs = ["x", *([b.constant("shape", [2, 3], np.int64)] if op_type == "Expand" else [])]
    b.node("Abs", [b.node(op_type, inputs, "other", **attributes)], "y")
    b.output("y", [2, 3] if op_type == "Expand" else [1, 3], "i32" if op_type == "Cast" else "f32")
    model = to_ir(b.build())
    InferShapesPass()(model)
    assert not RemoveNoOpsPass()(model).modified


def test_an_output_of_the_model_keeps_its_name() -> None:
    b = builder({"x": [2, 3]})
    b.node("Identity", ["x"], "y")
    b.output("y", [2, 3])
    assert not RemoveNoOpsPass()(to_ir(b.build())).modified
