"""pyfastep.convert with the ops around the linears."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pyfastep
from pyfastep._stock import stock_session
from pyfastep.passes.prove_padding import PaddingMode

FEATURES = 8


@pytest.fixture(scope="module")
def block_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Q -> linear -> residual -> LayerNormalization."""
    rng = np.random.default_rng(0)
    arrays = {
        "scale": np.float32(0.02),
        "zero": np.uint8(120),
        "w": rng.integers(-127, 128, (FEATURES, FEATURES)).astype(np.int8),
        "w_scale": np.float32(0.004),
        "w_zero": np.int8(0),
        "gamma": np.ones(FEATURES, np.float32),
        "beta": np.zeros(FEATURES, np.float32),
    }
    steps = [
        ("QuantizeLinear", ["x", "scale", "zero"], "x_q"),
        ("DequantizeLinear", ["x_q", "scale", "zero"], "x_f"),
        ("DequantizeLinear", ["w", "w_scale", "w_zero"], "w_f"),
        ("MatMul", ["x_f", "w_f"], "product"),
        ("Add", ["product", "x"], "sum"),
        ("LayerNormalization", ["sum", "gamma", "beta"], "y"),
    ]
    nodes = [helper.make_node(op_type, inputs, [output], name=output) for op_type, inputs, output in steps]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "s", FEATURES]) for name in ("x", "y")]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "block", values[:1], values[1:], constants)
    path = tmp_path_factory.mktemp("encoder") / "block.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def run(path: Path) -> np.ndarray:
    session = stock_session(path)
    x = np.random.default_rng(1).standard_normal((2, 3, FEATURES)).astype(np.float32)
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("encoder", [False, True])
def test_on_request(block_model: Path, tmp_path: Path, encoder: bool) -> None:
    output = tmp_path / "out.onnx"
    report = pyfastep.convert(block_model, output, encoder=encoder, verify=True)
    names = {node.op_type for node in onnx.load(output).graph.node}
    assert ("SkipLayerNorm_f32" in names) == encoder
    assert (report.encoder is not None) == encoder
    assert report.largest_difference is not None
    assert report.largest_difference < 1e-4
    assert np.allclose(run(output), run(block_model), atol=1e-4)


@pytest.mark.parametrize(("option", "fused"), [("--encoder", True), ("--no-encoder", False)])
def test_command_line(block_model: Path, option: str, fused: bool) -> None:
    code = "import sys; from pyfastep.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "convert", str(block_model), option]
    plain = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ("beyond the linears: 1 SkipLayerNorm_f32" in plain) == fused
    as_json = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    assert (json.loads(as_json)["encoder"] is not None) == fused


@pytest.mark.parametrize("padding", ["auto", "compute"])
def test_padding_without_attention(block_model: Path, padding: PaddingMode) -> None:
    report = pyfastep.convert(block_model, padding=padding)
    assert report.encoder is not None
    assert report.encoder.padding is None
    assert "padding" not in report.to_text()


def test_padding_that_cannot_be_skipped(block_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    code = "import sys; from pyfastep.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "convert", str(block_model), "-o", str(output), "--padding", "skip"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: model: padding cannot be skipped: no attention is fused")
    assert not output.exists()
