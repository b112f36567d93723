"""Names that a source gives to its nodes and values, or does not, change nothing in what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.pipeline import build_pipeline, convert_model, unpack_model
from pyfastep.passes.report import ConversionReport

from .encoders import encoder_model, feeds_of
from .extra_nodes import with_nodes, with_subgraph
from .models import Builder, linear_model, op_types, run, to_ir

MODES: dict[str, dict[str, Any]] = {"linears": {}, "encoder": {"encoder": True}, "exact": {"exact": True}}
NAMES = {"none": None, "empty": "", "equal": "node"}  # ONNX allows all, ONNX Runtime refuses equal ones


def name_nodes(source: onnx.ModelProto, name: str | None) -> onnx.ModelProto:
    """The model with this name for every node."""
    for node in source.graph.node:
        node.ClearField("name")
        if name is not None:
            node.name = name
    return source


def rename_values(source: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    for node in source.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for tensor in source.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    return source


def convert(source: onnx.ModelProto, mode: str) -> tuple[ir.Model, ConversionReport]:
    onnx.checker.check_model(source, full_check=True)
    model = to_ir(source)
    report = convert_model(model, **MODES[mode])
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    return model, report


def check_same(source: onnx.ModelProto, mode: str) -> ConversionReport:
    """Converts a form of `encoder_model()`: ONNX Runtime computes what it does for that model, converted.

    Other tests compare that to what its source computes.
    """
    expected, (model, report) = convert(encoder_model(), mode)[0], convert(source, mode)
    assert [op for op in op_types(model) if op not in ("If", "Neg")] == op_types(expected)
    assert np.array_equal(run(model, feeds_of(source))[0], run(expected, feeds_of(source))[0])
    return report


def values_of(model: ir.Model) -> set[str]:
    return {str(value.name) for node in model.graph for value in node.outputs} | set(model.graph.initializers)


def nodes_of(model: ir.Model) -> set[str]:
    return {str(node.name) for node in model.graph}


def generated_names(mode: str, nodes: bool = False) -> list[str]:
    """All names that values (and nodes) get on the way, whether they stay or not."""
    model, names = to_ir(encoder_model()), set()
    before = values_of(model) | nodes_of(model)
    for step in build_pipeline(**MODES[mode]):
        step(model)
        names |= values_of(model) | (nodes_of(model) if nodes else set())
    return sorted(names - before)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("names", NAMES)
def test_names_of_nodes(names: str, mode: str) -> None:
    report = check_same(name_nodes(encoder_model(), NAMES[names]), mode)
    assert not report.skipped
    assert len({layer.name for layer in report.layers}) == len(report.layers) == 6
    assert all(layer.name for layer in report.layers)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(3))
def test_values_with_names_that_passes_give(seed: int, mode: str) -> None:
    generated = generated_names(mode)
    source = encoder_model()
    given = sorted(values_of(to_ir(source)) - {"y"})
    assert len(given) > len(generated) > 20
    chosen = np.random.default_rng(seed).permutation(given)
    check_same(rename_values(source, dict(zip(chosen, generated, strict=False))), mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("plant", [with_nodes, with_subgraph])
def test_nodes_with_names_that_passes_give(plant: Callable[..., onnx.ModelProto], mode: str) -> None:
    check_same(plant(encoder_model(), generated_names(mode, nodes=True)), mode)


@pytest.mark.parametrize("names", NAMES)
def test_every_node_that_is_left_alone_is_reported(names: str) -> None:
    source = linear_model(y_type="f32")
    extra = Builder()
    for name in ("left", "right"):
        extra.node("MatMul", ["y", "w_extra"], name)
        extra.output(name, ["batch", "length", 4])
    source.graph.node.extend(extra.nodes)
    source.graph.output.extend(extra.outputs)
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((12, 4), np.float32), "w_extra"))
    report = convert_model(to_ir(name_nodes(source, NAMES[names])))
    assert {skip.node for skip in report.skipped} == {"left/MatMul", "right/MatMul"}


@pytest.mark.parametrize("names", NAMES)
def test_operators_that_are_unpacked(names: str) -> None:
    b = Builder()
    value = b.input("x", ["n", 4])
    for index in range(3):
        value = b.node("BiasGelu", [value, b.constant(f"b{index}", [0.1] * 4)], f"v{index}", domain="com.microsoft")
    b.output(value, ["n", 4])
    model = to_ir(name_nodes(b.build(), NAMES[names]))
    assert unpack_model(model) == 3
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert len({node.name for node in model.graph}) == len(model.graph)
    feeds = {"x": np.linspace(-4, 4, 20, dtype=np.float32).reshape(5, 4)}
    # A dozen float32 roundings of values around 1.
    assert np.allclose(run(model, feeds)[0], run(b.build(), feeds)[0], rtol=1e-5, atol=1e-5)
