"""Paths that users give: a model that is one, an output that can be written."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import pyfastep
from pyfastep._model_paths import check_model, check_output, file_bytes, files_of
from pyfastep.errors import ModelFileError


def test_a_model(float_model: Path, fast_model: Path, tmp_path: Path) -> None:
    assert check_model(str(float_model)) == float_model
    assert check_model(fast_model) == fast_model
    own_format = tmp_path / "m.ort"
    own_format.write_bytes(b"\x10\0\0\0ORTM" + b"\xff" * 50)
    assert check_model(own_format) == own_format


def test_models_that_are_none(tmp_path: Path, fast_model: Path) -> None:
    with pytest.raises(ModelFileError, match=r"missing\.onnx: no such model file \(check the path\)"):
        check_model(tmp_path / "missing.onnx")
    with pytest.raises(ModelFileError, match="is a folder, expected a model file"):
        check_model(tmp_path)
    broken = tmp_path / "broken.onnx"
    whole = fast_model.read_bytes()
    for content in (b"", b"broken", b"\xff" * 99, whole[:-1], whole[: len(whole) // 2]):
        broken.write_bytes(content)
        with pytest.raises(ModelFileError, match=rf"broken\.onnx: not a readable ONNX model \({len(content)} bytes\)"):
            check_model(broken)


def test_outputs(tmp_path: Path, fast_model: Path) -> None:
    target = tmp_path / "x.onnx"
    assert check_output(str(target), fast_model) == target
    target.write_bytes(b"old")
    assert check_output(target, fast_model) == target


def test_outputs_that_cannot_be_written(tmp_path: Path, fast_model: Path) -> None:
    with pytest.raises(ModelFileError, match="nowhere: the output's folder does not exist"):
        check_output(tmp_path / "nowhere" / "x.onnx", fast_model)
    with pytest.raises(ModelFileError, match="the output is a folder"):
        check_output(tmp_path, fast_model)
    with pytest.raises(ModelFileError, match="would overwrite its source"):
        check_output(fast_model, fast_model)


@pytest.fixture
def divided_model(float_model: Path, tmp_path: Path) -> Path:
    """A model whose weights stand in a file of another name."""
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(float_model), path, save_as_external_data=True, location="weights[1].bin", size_threshold=16)
    return path


def test_the_files_that_a_model_reads(divided_model: Path, fast_model: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights[1].bin"
    assert files_of(divided_model) == {divided_model, weights}
    assert file_bytes(divided_model) == divided_model.stat().st_size + weights.stat().st_size
    assert files_of(fast_model) == {fast_model}
    compiled = tmp_path / "c.onnx"
    pyfastep.compile_model(fast_model, compiled)
    assert files_of(compiled) == {compiled, tmp_path / "c_fastep.bin"}
    assert files_of(tmp_path / "none.onnx") == {tmp_path / "none.onnx"}


def test_what_the_source_reads_is_not_overwritten(divided_model: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights[1].bin"
    with pytest.raises(ModelFileError, match=r"weights\[1\]\.bin: the output would overwrite its source"):
        check_output(weights, divided_model)
    with pytest.raises(ModelFileError, match=r"weights\[1\]\.bin: the output would overwrite its source"):
        check_output(tmp_path / "new.onnx", divided_model, beside=[weights.name])
    (tmp_path / "link.onnx").symlink_to(weights)
    with pytest.raises(ModelFileError, match="would overwrite its source"):
        check_output(tmp_path / "link.onnx", divided_model)
    assert check_output(tmp_path / "new.onnx", divided_model, beside=["new.onnx.data"])
