"""Models that cannot be converted: an error with the place and the remedy, and nothing written."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pyfastep
from pyfastep.errors import FastEPError

Damage = Callable[[onnx.ModelProto, Path], None]


def linears(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """MatMuls of a dequantized weight, in order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    found = []
    for node in model.graph.node:
        weight = producers.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and weight.op_type == "DequantizeLinear" and weight.input[0] in constants:
            found.append(node)
    return found


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def weight_inputs(model: onnx.ModelProto) -> list[str]:
    """Weight, scale and zero point of the first linear."""
    node = linears(model)[0]
    return list(next(n for n in model.graph.node if n.output[0] == node.input[1]).input)


def truncated(model: onnx.ModelProto, path: Path) -> None:
    data = model.SerializeToString()
    path.write_bytes(data[: len(data) * 2 // 3])


def no_model(model: onnx.ModelProto, path: Path) -> None:
    path.write_text("This is a letter, not a model.\n")


def newer_opset(model: onnx.ModelProto, path: Path) -> None:
    next(entry for entry in model.opset_import if entry.domain == "").version = 99
    path.write_bytes(model.SerializeToString())


def no_opset(model: onnx.ModelProto, path: Path) -> None:
    del model.opset_import[:]
    path.write_bytes(model.SerializeToString())


def missing_external_data(model: onnx.ModelProto, path: Path) -> None:
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    (path.parent / "weights.bin").unlink()


def short_external_data(model: onnx.ModelProto, path: Path) -> None:
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    data = (path.parent / "weights.bin").read_bytes()
    (path.parent / "weights.bin").write_bytes(data[: len(data) // 2])


def nan_scale(model: onnx.ModelProto, path: Path) -> None:
    tensor = constant(model, weight_inputs(model)[1])
    scales = numpy_helper.to_array(tensor).copy()
    scales.reshape(-1)[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(scales, tensor.name))
    path.write_bytes(model.SerializeToString())


def weight_of_wrong_shape(model: onnx.ModelProto, path: Path) -> None:
    tensor = constant(model, weight_inputs(model)[0])
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:-3], tensor.name))
    path.write_bytes(model.SerializeToString())


def scales_of_wrong_length(model: onnx.ModelProto, path: Path) -> None:
    for name in weight_inputs(model)[1:]:
        tensor = constant(model, name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:-1], tensor.name))
    path.write_bytes(model.SerializeToString())


# Damage, and what the message must say beside the path: what is wrong, then what to do.
DAMAGED: list[tuple[Damage, str]] = [
    (truncated, r"truncated.*(export|download)"),
    (no_model, r"not an ONNX model.*(export|download)"),
    (newer_opset, r"opset.*99"),
    (no_opset, r"no usable opset.*found \{\}.*export it with opset 17"),
    (missing_external_data, r"weights\.bin"),
    (short_external_data, r"weights\.bin"),
    (nan_scale, r"(?i)nan|finite"),
    (weight_of_wrong_shape, r"activations have 60 features, the weights expect 57.*export it again"),
    (scales_of_wrong_length, r"59 weight scales for 60 outputs.*quantize it again"),
]


def fp32_model(tiny: Any, path: Path) -> None:
    path.write_bytes(tiny.fp32.read_bytes())


def float16_weights(tiny: Any, path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((8, 4), np.float16), "weight")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["n", 4])
    node = helper.make_node("MatMul", ["x", "weight"], ["y"], name="half_linear")
    graph = helper.make_graph([node], "half", [x], [y], [weight])
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)


def converted_already(tiny: Any, path: Path) -> None:
    path.write_bytes(tiny.default.read_bytes())


UNSUITABLE: list[tuple[Callable[[Any, Path], None], str]] = [
    (fp32_model, r"quantize"),
    (float16_weights, r"half_linear.*float16.*float32"),
    (converted_already, r"converted already"),
]


@pytest.fixture(scope="session")
def tiny(tiny_encoder: Callable[..., Any]) -> Any:
    return tiny_encoder(architecture="bert", block=(4, 1), form="float-products")


@pytest.fixture(params=[*DAMAGED, *UNSUITABLE], ids=lambda parameter: parameter[0].__name__)
def bad_model(request: pytest.FixtureRequest, tiny: Any, tmp_path: Path) -> tuple[Path, str]:
    """A model file in a folder of its own, and the pattern of its error."""
    damage, pattern = request.param
    path = tmp_path / "bad.onnx"
    damage(onnx.load(tiny.source) if (damage, pattern) in DAMAGED else tiny, path)
    return path, pattern


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_convert_names_the_place_and_the_remedy_and_writes_nothing(bad_model: tuple[Path, str]) -> None:
    path, pattern = bad_model
    before = files_of(path.parent)
    with pytest.raises(FastEPError, match=pattern) as caught:
        pyfastep.convert(path, path.with_name("out.onnx"))
    assert caught.value.node, "the error must name the node or the file"
    assert caught.value.remedy, "the error must say what to do"
    assert files_of(path.parent) == before


def test_command_line_exits_with_1_and_without_traceback(bad_model: tuple[Path, str]) -> None:
    path, _ = bad_model
    before = files_of(path.parent)
    command = [sys.executable, "-m", "pyfastep.cli.app", "convert", "bad.onnx", "-o", "out.onnx"]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip()) > len("error: ")
    assert files_of(path.parent) == before


def test_one_broken_linear_is_named(tiny: Any, tmp_path: Path) -> None:
    """The node of the message is one of the model's own, so that users find it."""
    model = onnx.load(tiny.source)
    nan_scale(model, tmp_path / "bad.onnx")
    weight = linears(model)[0].input[1]
    dequantize = next(node for node in model.graph.node if node.output[0] == weight)
    with pytest.raises(FastEPError, match=re.escape(dequantize.name)):
        pyfastep.convert(tmp_path / "bad.onnx", tmp_path / "out.onnx")


def test_missing_file() -> None:
    with pytest.raises(FastEPError, match=r"no-such-model\.onnx.*no such file"):
        pyfastep.convert("no-such-model.onnx", "out.onnx")
