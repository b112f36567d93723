"""Gelu, BiasGelu and FastGelu are spelled out; QuickGelu is refused in words."""

from __future__ import annotations

import numpy as np
import pytest

from pyfastep.passes.match.activation import match_activation
from pyfastep.passes.unpack.activations import QUICK_GELU

from .unpacking import builder, check_equal, refused

FEEDS = {"x": np.linspace(-6, 6, 24, dtype=np.float32).reshape(3, 8)}


@pytest.mark.parametrize(
    ("op_type", "kind"),
    [("Gelu", "gelu"), ("BiasGelu", "gelu"), ("FastGelu", "gelutanh"), ("FastGelu+bias", "gelutanh")],
)
def test_spelled_out(op_type: str, kind: str) -> None:
    b = builder({"x": ["n", 8]})
    has_bias = op_type in ("BiasGelu", "FastGelu+bias")
    inputs = ["x", *([b.constant("bias", np.arange(8) / 4 - 1)] if has_bias else [])]
    b.node("Identity", [b.node(op_type.removesuffix("+bias"), inputs, "g", domain="com.microsoft")], "y")
    b.output("y", ["n", 8])
    model = check_equal(b.build(), FEEDS)
    start = (
        next(node for node in model.graph if node.op_type == "Add").outputs[0] if has_bias else model.graph.inputs[0]
    )
    found = match_activation(start)
    assert found is not None
    assert found.kind == kind


def test_quick_gelu_is_refused() -> None:
    b = builder({"x": ["n", 8]})
    b.node("QuickGelu", ["x"], "y", domain="com.microsoft", alpha=1.702)
    b.output("y", ["n", 8])
    assert refused(b.build()) == [QUICK_GELU]


def test_a_computed_bias_stays() -> None:
    b = builder({"x": ["n", 8], "bias": [8]})
    b.node("BiasGelu", ["x", "bias"], "y", domain="com.microsoft")
    b.output("y", ["n", 8])
    assert refused(b.build()) == []
