"""LayerNormalization in both spellings, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from pyfastep.passes.match.layer_norm import LayerNorm, match_layer_norm

from .encoders import FEATURES, EncoderBuilder
from .models import to_ir

SHAPE = ["batch", "length", FEATURES]


def norm_model(spelled_out: bool) -> onnx.ModelProto:
    b = EncoderBuilder(spelled_out=spelled_out)
    b.input("x", SHAPE)
    b.node("Identity", [b.norm("x", "norm")], "y")
    b.output("y", SHAPE)
    return b.build()


def match(source: onnx.ModelProto) -> Any:
    found = [match_layer_norm(node) for node in to_ir(source).graph]
    return next((entry for entry in found if entry is not None), None)


@pytest.mark.parametrize("spelled_out", [False, True])
def test_both_spellings(spelled_out: bool) -> None:
    source = norm_model(spelled_out)
    found = match(source)
    assert isinstance(found, LayerNorm)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
    assert np.array_equal(found.gamma, arrays["norm_gamma"])
    assert np.array_equal(found.beta, arrays["norm_beta"])
    assert found.epsilon == pytest.approx(1e-6)
    assert (found.x.name, found.y.name) == ("x", "norm_y")


def test_defaults() -> None:
    source = norm_model(False)
    node = source.graph.node[0]
    del node.attribute[:], node.input[2:]
    found = match(source)
    assert isinstance(found, LayerNorm)
    assert found.epsilon == pytest.approx(1e-5)
    assert not found.beta.any()


def change_node(op_type: str, change: Callable[[onnx.NodeProto], None]) -> onnx.ModelProto:
    source = norm_model(True)
    change(next(node for node in source.graph.node if node.op_type == op_type))
    return source


def cubed(node: onnx.NodeProto) -> None:
    node.op_type = "Mul"


def other_axis(node: onnx.NodeProto) -> None:
    node.attribute[0].ints[0] = 1


def swapped(node: onnx.NodeProto) -> None:
    node.input[0], node.input[1] = node.input[1], node.input[0]


@pytest.mark.parametrize(
    "source",
    [change_node("Pow", cubed), change_node("ReduceMean", other_axis), change_node("Sub", swapped)],
    ids=["times a constant", "axis", "sign"],
)
def test_lookalikes(source: onnx.ModelProto) -> None:
    assert match(source) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.full(FEATURES, np.nan, np.float32), "gamma, beta or epsilon is not finite"),
        (np.ones((3, FEATURES), np.float32), "gamma and beta are not one number per feature"),
        (np.ones(FEATURES, np.float64), "float64 gamma, expected float32"),
    ],
)
def test_reasons(value: Any, reason: str) -> None:
    source = norm_model(False)
    tensor = next(t for t in source.graph.initializer if t.name == "norm_gamma")
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, "norm_gamma"))
    assert match(source) == reason
