"""QLinearAdd and its kin become Q/DQ around the float op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .models import Builder, op_types, run, to_ir
from .unpacking import builder, refused, unpack

A, C, Y = ("a", 0.1, 120), ("c", 0.05, 100), ("y", 0.08, 110)


def model_of(op_type: str) -> Builder:
    is_binary = op_type in ("QLinearAdd", "QLinearMul", "QLinearWhere")
    b = builder({"x": ["n", 4], **({"z": ["n", 4]} if is_binary else {})}, kinds={"x": "u8", "z": "u8"})
    a, c = b.scale(*A), b.scale(*C)
    y = b.scale(*(("y", 1 / 256, 0) if op_type in ("QLinearSoftmax", "QLinearSigmoid") else Y))
    attributes: dict[str, Any] = {"axis": -1, "opset": 13} if op_type == "QLinearSoftmax" else {}
    inputs = ["x", *a, *(["z", *c] if is_binary else []), *y]
    if op_type == "QLinearWhere":
        b.input("condition", ["n", 4], "bool")
        inputs.insert(0, "condition")
    b.node(op_type, inputs, "out", domain="com.microsoft", **attributes)
    b.output("out", ["n", 4], "u8")
    return b


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul", "QLinearSoftmax", "QLinearSigmoid", "QLinearWhere"])
def test_unpacked(op_type: str) -> None:
    """At most one step apart, where ONNX Runtime rounds in its own way: by tables, or with scales divided before."""
    source = model_of(op_type).build()
    model, step = unpack(source)
    assert step.count == 1
    assert op_type.removeprefix("QLinear") in op_types(model)
    rng = np.random.default_rng(1)
    feeds: dict[str, Any] = {name: rng.integers(0, 256, (64, 4), np.uint8) for name in ("x", "z")}
    feeds["condition"] = rng.random((64, 4)) < 0.5
    feeds = {value.name: feeds[value.name] for value in source.graph.input}
    difference = np.abs(run(model, feeds)[0].astype(int) - run(source, feeds)[0].astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.1


def test_only_biases_are_unpacked_without_attention() -> None:
    model, step = unpack(model_of("QLinearAdd").build(), attention=False)
    assert step.count == 0
    assert op_types(model) == ["QLinearAdd"]


def test_softmax_over_several_axes_stays() -> None:
    b = model_of("QLinearSoftmax")
    next(a for a in b.nodes[0].attribute if a.name == "axis").i = 0
    assert refused(b.build()) == []


def test_a_scale_of_the_run_is_named() -> None:
    b = model_of("QLinearSigmoid")
    b.initializers.pop("a_scale")
    b.input("a_scale", [])
    model = to_ir(b.build())
    assert op_types(model) == ["QLinearSigmoid"]
    (reason,) = refused(b.build())
    assert "fastep quantize" in reason
