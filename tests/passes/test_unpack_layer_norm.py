"""SkipLayerNormalization becomes a sum and a LayerNormalization; RMS forms are refused in words."""

from __future__ import annotations

import pytest

from pyfastep.passes.match.layer_norm import match_layer_norm

from .models import Builder, to_ir
from .unpacking import builder, check_equal, random, refused

FEATURES = 12
SHAPE = ["batch", "length", FEATURES]


def skip_model(bias: bool, outputs: int, op_type: str = "SkipLayerNormalization") -> Builder:
    b = builder({"x": SHAPE, "skip": SHAPE})
    inputs = ["x", "skip", b.constant("gamma", random(FEATURES)), b.constant("beta", random(FEATURES, seed=1))]
    if op_type.startswith("SkipSimplified"):
        inputs.pop()
    inputs += [b.constant("bias", random(FEATURES, seed=2))] if bias else []
    names = {1: ["y"], 4: ["y", "", "", "sum"]}.get(outputs, ["y", "mean"])
    b.node(op_type, inputs, "y", domain="com.microsoft", epsilon=1e-6)
    b.nodes[-1].output[:] = names
    b.output("y", SHAPE)
    for name in filter(None, names[1:]):
        b.output(name, SHAPE if name == "sum" else ["batch", "length", 1])
    return b


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_unpacked(bias: bool, outputs: int) -> None:
    source = skip_model(bias, outputs).build()
    model = check_equal(source, {"x": random(2, 3, FEATURES), "skip": random(2, 3, FEATURES, seed=5)})
    assert [node.op_type for node in model.graph] == [*["Add"] * (1 + bias), "LayerNormalization"]


def test_the_bias_goes_to_the_product() -> None:
    """Whichever side it stands on, so that it becomes that of the linear."""
    b = builder({"x": SHAPE})
    product = b.node("MatMul", ["x", b.constant("w", random(FEATURES, FEATURES))], "product")
    inputs = ["x", product, *(b.constant(name, random(FEATURES)) for name in ("gamma", "beta", "bias"))]
    b.node("SkipLayerNormalization", inputs, "y", domain="com.microsoft")
    b.output("y", SHAPE)
    model = check_equal(b.build(), {"x": random(2, 3, FEATURES)})
    add = next(node for node in model.graph if node.op_type == "Add")
    assert {value.name for value in add.inputs if value is not None} == {"product", "bias"}


def test_statistics_that_are_used_keep_it_whole() -> None:
    """Nothing on the CPU provider computes them, so this is never run."""
    assert refused(skip_model(False, 2).build()) == ["its mean or standard deviation is used elsewhere"]


@pytest.mark.parametrize("op_type", ["SkipSimplifiedLayerNormalization", "RMSNormalization"])
def test_rms_normalization_is_named(op_type: str) -> None:
    if op_type.startswith("Skip"):
        model = to_ir(skip_model(False, 1, op_type).build())
    else:
        b = builder({"x": SHAPE}, opset=23)
        b.node(op_type, ["x", b.constant("gamma", random(FEATURES))], "y", axis=-1)
        b.output("y", SHAPE)
        model = to_ir(b.build())
    found = match_layer_norm(next(iter(model.graph)))
    assert isinstance(found, str)
    assert found.startswith("RMS normalization")
