"""Model files: bad ones are refused with the place, good ones appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pyfastep.passes import model_file
from pyfastep.passes.errors import ModelFileError, VerificationError
from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.pipeline import convert_model

from .models import linear_model, random_weight, random_x, run, to_ir

WEIGHT = random_weight(64, 48)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.onnx"
    onnx.save(linear_model(weight=WEIGHT), path)
    return path


@pytest.fixture
def external(tmp_path: Path) -> Path:
    path = tmp_path / "external.onnx"
    onnx.save(linear_model(weight=WEIGHT), path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    return path


@pytest.fixture
def old_external(tmp_path: Path) -> Path:
    """Of an old opset: raising it takes the tensors along."""
    path = tmp_path / "old.onnx"
    model = linear_model(weight=WEIGHT, opset=13)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    return path


@pytest.fixture
def constants(tmp_path: Path) -> Path:
    """All tensors in nodes, all of them outside: what exporters leave so above 2 GB are a few small ones."""
    path = tmp_path / "constants.onnx"
    model = linear_model(weight=WEIGHT)
    nodes = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    options: dict[str, Any] = {"location": "weights.bin", "size_threshold": 0, "convert_attribute": True}
    onnx.save(model, path, save_as_external_data=True, **options)
    return path


def failure(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as error:
        model_file.load(path)
    return error.value


def test_load(source: Path, external: Path, constants: Path) -> None:
    for path in (source, external, constants):
        model = model_file.load(path)
        assert [value.name for value in model.graph.outputs] == ["y"]
        outside = set() if path == source else {path.parent / "weights.bin"}
        assert model_file.files_of(model) == {path} | outside


def test_no_such_file(tmp_path: Path) -> None:
    error = failure(tmp_path / "missing.onnx")
    assert error.problem == "no such file"
    assert "missing.onnx" in str(error)
    assert "folder" in failure(tmp_path).problem


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_truncated_files(source: Path, share: float) -> None:
    data = source.read_bytes()
    source.write_bytes(data[: int(len(data) * share)])
    error = failure(source)
    assert str(source) in str(error)
    assert "bytes)" in error.problem


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("This is no model, but it is long enough to look at.\n" * 10)
    assert "not an ONNX model" in failure(path).problem


@pytest.mark.parametrize("kind", ["external", "constants"])
def test_external_data_missing_or_short(kind: str, request: pytest.FixtureRequest) -> None:
    external: Path = request.getfixturevalue(kind)
    weights = external.parent / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    error = failure(external)
    assert "expected at least" in error.problem
    assert error.node is not None
    assert error.node.startswith("tensor '")
    weights.unlink()
    error = failure(external)
    assert "weights.bin' is missing" in error.problem
    assert error.remedy


def test_from_proto() -> None:
    assert len(model_file.from_proto(linear_model(weight=WEIGHT)).graph) > 0
    with pytest.raises(ModelFileError, match=r"no nodes"):
        model_file.from_proto(onnx.ModelProto())


@pytest.mark.parametrize("external_data", [False, True])
@pytest.mark.parametrize("kind", ["source", "external", "old_external", "constants"])
def test_save(
    kind: str, external_data: bool, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "_SMALL_BYTES", 1000)  # the weight stays in its file
    path: Path = request.getfixturevalue(kind)
    model = model_file.load(path)
    convert_model(model)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target = folder / "target.onnx"
    written = model_file.save(model, target, external_data=external_data)
    assert sorted(p.name for p in folder.iterdir()) == ["target.onnx", "target.onnx.data"][: 1 + external_data]
    assert written == sum(p.stat().st_size for p in folder.iterdir())
    if kind != "source":
        (tmp_path / "weights.bin").unlink()  # the result stands alone
    feeds = random_x(linear_model(weight=WEIGHT))
    expected = run(linear_model(weight=WEIGHT), feeds)[0].astype(int)
    loaded = onnx.load(target)
    assert np.abs(run(loaded, feeds)[0] - expected).max() <= 1


def test_large_models_get_external_data(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above 2 GB, with the limit lowered."""
    monkeypatch.setattr(model_file, "PROTOBUF_LIMIT", model_file._RESERVE + WEIGHT.size)
    model_file.save(model_file.load(source), tmp_path / "target.onnx")
    assert (tmp_path / "target.onnx.data").stat().st_size >= WEIGHT.size
    assert len(onnx.load(tmp_path / "target.onnx").graph.node) > 0


def test_a_model_that_the_checker_rejects_is_not_written(source: Path, tmp_path: Path) -> None:
    model = model_file.load(source)
    next(node for node in model.graph if node.op_type == "MatMul").op_type = "NoSuchOp"
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(VerificationError, match=r"onnx.checker rejects the converted model: .*NoSuchOp"):
        model_file.save(model, folder / "target.onnx")
    assert not list(folder.iterdir())


def test_an_old_file_survives_a_failure(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.onnx"
    target.write_bytes(b"precious")
    model = model_file.load(source)
    next(node for node in model.graph if node.op_type == "MatMul").op_type = "NoSuchOp"
    with pytest.raises(VerificationError):
        model_file.save(model, target)
    assert target.read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.onnx", "target.onnx"]


def test_targets_that_cannot_be(source: Path, tmp_path: Path) -> None:
    model = model_file.load(source)
    with pytest.raises(ModelFileError, match=r"does not exist"):
        model_file.save(model, tmp_path / "nowhere" / "target.onnx")
    with pytest.raises(ModelFileError, match=r"is a folder"):
        model_file.save(model, tmp_path)


def test_a_disk_error_is_ours(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    model = model_file.load(source)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ModelFileError, match=r"cannot be written: No space left on device"):
        model_file.save(model, tmp_path / "target.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["source.onnx"]


def test_bytes_of_tensors() -> None:
    model = to_ir(linear_model(weight=WEIGHT, per_channel=False, bias=False))
    # weight, w_scale, w_zero; scale and zero point of x, product and y
    assert model_file.tensor_bytes(model) == WEIGHT.size + 4 + 1 + 3 * 5


@pytest.mark.parametrize("external_data", [False, True])
def test_types_of_initializers_are_told_once(source: Path, tmp_path: Path, external_data: bool) -> None:
    """By themselves; ONNX Runtime would keep the second telling."""
    target = tmp_path / "target.onnx"
    model = model_file.load(source)
    InferShapesPass()(model)
    assert all(value.type is not None for value in model.graph.initializers.values())
    assert model_file.save(model, target, external_data=external_data) >= target.stat().st_size
    written = onnx.load(target, load_external_data=False).graph
    assert written.value_info
    assert not {value.name for value in written.value_info} & {tensor.name for tensor in written.initializer}
    feeds = random_x(onnx.load(source))
    assert np.array_equal(run(onnx.load(target), feeds)[0], run(onnx.load(source), feeds)[0])
