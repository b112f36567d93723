"""Paths that users give: a model that is one, an output that can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyfastep._model_paths import check_model, check_output
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
