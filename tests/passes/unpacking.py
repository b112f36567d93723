"""What the tests of all unpackings do: unpack, and let ONNX Runtime run both forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.unpack_operators import UnpackOperatorsPass

from .models import Array, Builder, run, to_ir


def unpack(source: onnx.ModelProto, attention: bool = True) -> tuple[ir.Model, UnpackOperatorsPass]:
    """The model with plain ops, and the pass that made it."""
    model = to_ir(source)
    InferShapesPass()(model)
    step = UnpackOperatorsPass(attention=attention)
    step(model)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    return model, step


def check_equal(source: onnx.ModelProto, feeds: dict[str, Array], tolerance: float = 1e-5) -> ir.Model:
    """Unpacks, and compares every output; nothing outside ONNX's own domain is left.

    The tolerance is that of float32 sums in another order, of values around 1 and a few dozen terms.
    """
    model, step = unpack(source)
    assert step.count > 0
    assert {node.domain for node in model.graph} <= {"", "ai.onnx"}
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)
    assert [value.name for value in model.graph.outputs] == [value.name for value in source.graph.output]
    for found, expected in zip(run(model, feeds), run(source, feeds), strict=True):
        assert found.shape == expected.shape
        assert np.allclose(found, expected, rtol=tolerance, atol=tolerance), np.abs(found - expected).max()
    return model


def refused(source: onnx.ModelProto) -> list[str]:
    """The reasons why operators of a model stay; there is nothing that does not."""
    model, step = unpack(source)
    assert [node.op_type for node in model.graph] == [node.op_type for node in source.graph.node]
    return [entry.reason for entry in (*step.unfused, *step.refusals)]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def builder(inputs: dict[str, list[Any]], opset: int = 17, kinds: dict[str, str] | None = None) -> Builder:
    """A builder with inputs."""
    made = Builder(opset)
    for name, shape in inputs.items():
        made.input(name, shape, (kinds or {}).get(name, "f32"))
    return made
