"""Building the demo's models: the right files, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pyfastep.demo import build
from pyfastep.demo.models import DemoModel

PRUNED = DemoModel("minilm", (4, 1), 0.75)


@pytest.fixture
def steps() -> list[str]:
    return []


@pytest.mark.usefixtures("tiny_models")
def test_builds_once_and_again_when_the_recipe_changes(
    tmp_path: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = build.write_calibration(tmp_path)
    built = build.build_model(PRUNED, tmp_path, calibration, steps.append)
    assert built.sparsity == 0.75
    assert [step.split(": ")[1] for step in steps] == ["export", "quantize", "convert"]
    assert "fastep" in {node.domain for node in onnx.load(built.fastep).graph.node}
    stored = [numpy_helper.to_array(t) for t in onnx.load(built.quantized).graph.initializer]
    assert any(array.dtype == np.int8 and (array == 0).mean() >= 0.75 for array in stored)

    steps.clear()
    build.build_model(PRUNED, tmp_path, calibration, steps.append)
    assert [step.split(": ")[1] for step in steps] == ["convert"]

    steps.clear()
    monkeypatch.setattr(build, "_recipe", lambda: {"torch": "another version"})
    build.build_model(PRUNED, tmp_path, calibration, steps.append)
    assert [step.split(": ")[1] for step in steps] == ["export", "quantize", "convert"]


@pytest.mark.usefixtures("tiny_models")
def test_baseline_has_both_integer_forms(tmp_path: Path, steps: list[str]) -> None:
    calibration = build.write_calibration(tmp_path)
    baseline = build.build_baseline(DemoModel("distilbert"), tmp_path, calibration, steps.append)
    dynamic = {node.op_type for node in onnx.load(baseline.dynamic).graph.node}
    static = onnx.load(baseline.static)
    assert "QAttention" in dynamic
    products = [node.output[0] for node in static.graph.node if node.op_type == "MatMul"]
    readers = {name: node.op_type for node in static.graph.node for name in node.input}
    linears = [readers[output] for output in products].count("QuantizeLinear")
    assert linears == 6 + 1, "the outputs of six linears and the head are quantized"


def test_calibration_is_one_text_a_line(tmp_path: Path) -> None:
    lines = build.write_calibration(tmp_path / "new").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == 96
