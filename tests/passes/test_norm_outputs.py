"""Which outputs the readers of a normalization need."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from pyfastep.passes.norm_outputs import outputs_for, quantized_readers

from .encoders import FEATURES, EncoderBuilder
from .models import to_ir

SHAPE = ["batch", FEATURES]


def read_by(*readers: str, kind: str = "u8", is_output: bool = False) -> onnx.ModelProto:
    """A value y with readers `float`, `shape`, `q` (scale 0.03) or `other_q` (scale 0.05)."""
    b = EncoderBuilder()
    b.input("x", SHAPE)
    b.node("Neg", ["x"], "y")
    for index, reader in enumerate(readers):
        name = f"out_{index}"
        if reader.endswith("q"):
            parameters = b.scale(f"s{index}", 0.05 if reader == "other_q" else 0.03, 3, kind)
            b.dequantize(b.quantize("y", parameters, f"q_{index}"), parameters, name)
        else:
            b.node({"float": "Neg", "shape": "Shape"}[reader], ["y"], name)
        b.output(name, SHAPE if reader != "shape" else [2], "f32" if reader != "shape" else "i64")
    if is_output:
        b.output("y", SHAPE)
    return b.build()


@pytest.mark.parametrize(
    ("readers", "kind", "is_output", "suffix", "folded"),
    [
        (["float"], "u8", False, "f32", 0),
        (["q"], "u8", False, "u8", 1),
        (["q", "q", "shape"], "s8", False, "s8", 2),
        (["q", "float"], "s8", False, "f32_s8", 1),
        (["q"], "u8", True, "f32_u8", 1),
        (["q", "other_q"], "u8", False, "f32_u8", 1),
        (["shape"], "u8", False, "f32", 0),
    ],
)
def test_outputs(readers: list[str], kind: str, is_output: bool, suffix: str, folded: int) -> None:
    source = read_by(*readers, kind=kind, is_output=is_output)
    onnx.checker.check_model(source, full_check=True)
    model = to_ir(source)
    y = next(node for node in model.graph if node.outputs[0].name == "y").outputs[0]
    outputs, found = outputs_for(y)
    assert outputs.suffix == suffix
    assert len(found[1] if found is not None else []) == folded
    if found is not None:
        assert float(found[0].scale) == np.float32(0.03)


def test_a_quantizer_that_ends_the_graph_is_not_folded() -> None:
    b = EncoderBuilder()
    b.input("x", SHAPE)
    b.node("Neg", ["x"], "y")
    b.quantize("y", b.scale("s", 0.03, 3), "q")
    b.output("q", SHAPE, "u8")
    y = next(iter(to_ir(b.build()).graph)).outputs[0]
    assert quantized_readers(y) is None
