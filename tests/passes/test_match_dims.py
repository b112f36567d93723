"""Sizes and constants that a graph computes from shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.match.dims import Dimension, dimension, elements, number, same_size, static_size

from .encoders import EncoderBuilder
from .models import to_ir


def values_of(b: EncoderBuilder) -> dict[str, ir.Value]:
    model = to_ir(b.build())
    InferShapesPass()(model)
    named = {str(value.name): value for node in model.graph for value in node.outputs}
    return named | {str(value.name): value for value in (*model.graph.inputs, *model.graph.initializers.values())}


@pytest.fixture(scope="module")
def values() -> dict[str, ir.Value]:
    """x is `[batch, length, 24]`."""
    b = EncoderBuilder()
    b.input("x", ["batch", "length", 24])
    b.input("ids", ["batch", "length"], "i64")
    b.node("Shape", ["x"], "shape")
    b.node("Shape", ["x"], "tail", start=-2)
    b.node("Gather", ["shape", b.c(2, np.int64)], "features", axis=0)
    b.node("Gather", ["shape", b.c([1, 0], np.int64)], "swapped", axis=0)
    b.node("Slice", ["shape", b.c([-1], np.int64), b.c([2**63 - 1], np.int64)], "last")
    b.node("Cast", ["last"], "last_float", to=1)
    b.node("Sqrt", ["last_float"], "root")
    b.node("Div", [b.c([1.0]), "root"], "inverse")
    b.node("Mul", ["last", b.c([2], np.int64)], "doubled")
    b.node("Div", ["last", b.c([5], np.int64)], "whole")
    b.node("Concat", ["swapped", b.c([-1], np.int64), "last"], "joined", axis=0)
    b.node("Add", ["shape", b.c([1], np.int64)], "unknown")
    b.node("Neg", ["x"], "negative")
    b.node("Relu", ["x"], "relu")
    b.node("Transpose", ["relu"], "transposed", perm=[1, 0, 2])
    b.node("Gather", [b.c(np.ones((9, 24))), "ids"], "rows", axis=0)
    first = b.size("relu", 0, "first")
    b.node("Reshape", ["relu", b.node("Concat", [first, b.c([-1, 6, 4], np.int64)], "heads_shape", axis=0)], "heads")
    b.output("x", ["batch", "length", 24])
    return values_of(b)


def test_elements(values: dict[str, ir.Value]) -> None:
    x = values["x"]
    batch, length = Dimension(x, 0), Dimension(x, 1)
    assert elements(values["shape"]) == [batch, length, 24]
    assert elements(values["tail"]) == [length, 24]
    assert elements(values["swapped"]) == [length, batch]
    assert elements(values["joined"]) == [length, batch, -1, 24]
    assert elements(values["doubled"]) == [48]
    assert elements(values["whole"]) == [4]
    assert elements(values["unknown"]) is None
    assert elements(values["negative"]) is None
    assert elements(None) is None


def test_numbers(values: dict[str, ir.Value]) -> None:
    assert number(values["features"]) == 24
    assert number(values["inverse"]) == pytest.approx(24**-0.5)
    assert number(values["swapped"]) is None
    assert number(values["x"]) is None


def test_same_size(values: dict[str, ir.Value]) -> None:
    """By declared names and along the data."""
    x, ids = values["x"], values["ids"]
    assert same_size(dimension(x, 0), dimension(ids, 0))
    assert not same_size(dimension(x, 0), dimension(ids, 1))
    assert same_size(dimension(values["transposed"], 0), dimension(x, 1))
    assert same_size(dimension(values["rows"], 1), dimension(x, 1))
    assert same_size(dimension(values["heads"], 0), dimension(ids, 0))
    assert same_size(24, dimension(x, 2))
    assert not same_size(23, dimension(x, 2))
    assert not same_size(24, dimension(x, 0))


def test_sizes_without_names_follow_the_data() -> None:
    b = EncoderBuilder()
    b.input("x", [None, None, 4])
    b.input("other", [None, None, 4])
    b.node("Relu", ["x"], "relu")
    b.output("relu", [None, None, 4])
    values = values_of(b)
    for axis in (0, 1):
        assert same_size(dimension(values["relu"], axis), dimension(values["x"], axis))
        assert not same_size(dimension(values["relu"], axis), dimension(values["other"], axis))


def test_static_size(values: dict[str, ir.Value]) -> None:
    assert static_size(values["x"], -1) == 24
    assert static_size(values["x"], 0) is None
    assert static_size(values["x"], 3) is None


@pytest.mark.parametrize(
    ("op", "sides", "expected"),
    [
        ("Pow", (10, 3), 1000),
        ("Pow", (10**9, 10**9), None),
        ("Pow", (-8.0, 0.5), None),
        ("Mul", (2**62, 4), None),
        ("Div", (1, 0), None),
    ],
)
def test_numbers_that_the_model_cannot_hold_are_none(op: str, sides: tuple[float, ...], expected: float | None) -> None:
    b = EncoderBuilder()
    kind = np.int64 if isinstance(sides[0], int) else np.float32
    b.output(b.node(op, [b.c(side, kind) for side in sides], "y"), [])
    assert number(to_ir(b.build()).graph[0].outputs[0]) == expected


def test_infinity_is_no_integer() -> None:
    b = EncoderBuilder()
    b.output(b.node("Cast", [b.node("Sqrt", [b.c(np.inf)], "root")], "y", to=7), [])
    assert number(to_ir(b.build()).graph[1].outputs[0]) is None


@pytest.mark.parametrize(("op", "expected"), [("Add", [2**40]), ("Mul", [1]), ("Concat", None)])
def test_values_that_are_read_twice_cost_no_more(op: str, expected: list[int] | None) -> None:
    """2^40 steps, were each side followed on its own."""
    b = EncoderBuilder()
    here = b.c([1], np.int64)
    for index in range(40):
        attributes: dict[str, Any] = {"axis": 0} if op == "Concat" else {}
        here = b.node(op, [here, here], f"y{index}", **attributes)
    b.output(here, [None])
    assert elements(to_ir(b.build()).graph[-1].outputs[0]) == expected
