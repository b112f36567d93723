"""Q and DQ of ONNX Runtime's domain become those of ONNX."""

from __future__ import annotations

import numpy as np
import pytest

from .models import op_types
from .unpacking import builder, check_equal, random, refused, unpack


@pytest.mark.parametrize(("scale", "zero"), [(0.05, 120), ([0.05], [120]), ([0.05, 0.1, 0.2], [120, 1, 255])])
def test_unpacked(scale: object, zero: object) -> None:
    b = builder({"x": ["n", 3]})
    parameters = [b.constant("scale", scale), b.constant("zero", zero, np.uint8)]
    axis = {"axis": 1} if np.size(scale) > 1 else {}  # type: ignore[arg-type]
    b.node("QuantizeLinear", ["x", *parameters], "q", domain="com.microsoft", **axis)
    b.node("DequantizeLinear", ["q", *parameters], "y", domain="com.microsoft", **axis)
    b.output("y", ["n", 3])
    model = check_equal(b.build(), {"x": random(4, 3)}, tolerance=0)
    assert op_types(model) == ["QuantizeLinear", "DequantizeLinear"]


def test_scales_of_the_run_stay() -> None:
    b = builder({"x": ["n", 3], "scale": []})
    b.node("QuantizeLinear", ["x", "scale", b.constant("zero", 3, np.uint8)], "y", domain="com.microsoft")
    b.output("y", ["n", 3], "u8")
    assert refused(b.build()) == []


def test_sixteen_bits_stay() -> None:
    b = builder({"x": ["n", 3]})
    b.node(
        "QuantizeLinear", ["x", b.constant("scale", 0.1), b.constant("zero", 3, np.uint16)], "q", domain="com.microsoft"
    )
    b.node("DequantizeLinear", ["q", "scale", "zero"], "y", domain="com.microsoft")
    b.output("y", ["n", 3])
    _, step = unpack(b.build())
    assert step.count == 0
