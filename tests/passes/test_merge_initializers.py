"""Equal constants become one; what differs in type, shape or a bit stays."""

from __future__ import annotations

import numpy as np

from pyfastep.passes.merge_initializers import MergeInitializersPass

from .models import Builder, op_types, run, to_ir


def test_equal_initializers_are_one() -> None:
    b = Builder()
    x = b.input("x", [4])
    values = (2, 2, [2], -0.0, 0, np.ones(4), np.ones(4))
    for index, value in enumerate(values):
        x = b.node("Add", [x, b.constant(f"c{index}", value)], f"y{index}")
    b.output(x, [4])
    source = b.build()
    model = to_ir(source)
    merge = MergeInitializersPass()
    assert merge(model).modified
    assert merge.count == 2
    assert sorted(model.graph.initializers) == ["c0", "c2", "c3", "c4", "c5"]
    assert op_types(model) == ["Add"] * 7
    feeds = {"x": np.arange(4, dtype=np.float32)}
    assert np.array_equal(run(model, feeds)[0], run(source, feeds)[0])
    assert not MergeInitializersPass()(model).modified


def test_types_tell_them_apart() -> None:
    b = Builder()
    x = b.input("x", [4])
    y = x
    for name, dtype in (("signed", np.int8), ("unsigned", np.uint8)):
        zero = b.constant(f"{name}_zero", 0, dtype)
        q = b.node("QuantizeLinear", [y, b.constant(f"{name}_scale", 0.5), zero], f"{name}_q")
        y = b.node("DequantizeLinear", [q, f"{name}_scale", zero], f"{name}_y")
    b.output(y, [4])
    model = to_ir(b.build())
    MergeInitializersPass()(model)
    assert sorted(model.graph.initializers) == ["signed_scale", "signed_zero", "unsigned_zero"]


def test_signed_zero_points_stay_apart() -> None:
    """Stock ONNX Runtime, asked for exact products on a CPU without VNNI, cannot load what shares them."""
    b = Builder()
    x = b.input("x", [2, 4], "u8")
    for index in range(2):
        weight = b.constant(f"w{index}", np.full((4, 3), 100 + index), np.int8)
        zeros = [
            b.constant("x_zero", 0, np.uint8) if index == 0 else "x_zero",
            b.constant(f"w{index}_zero", 0, np.int8),
        ]
        b.output(b.node("MatMulInteger", [x, weight, *zeros], f"y{index}"), [2, 3], "i32")
    model = to_ir(b.build())
    assert not MergeInitializersPass()(model).modified
    assert sorted(model.graph.initializers) == ["w0", "w0_zero", "w1", "w1_zero", "x_zero"]
    ones = np.ones((2, 4), np.uint8)
    assert [y[0, 0] for y in run(model, {"x": ones})] == [400, 404]
