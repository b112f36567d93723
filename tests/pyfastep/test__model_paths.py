"""Paths that users give: a model that is one, an output that can be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
import pytest

import pyfastep
from pyfastep._model_paths import check_model, check_output, data_beside, file_bytes, files_of, replacing
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
    new = tmp_path / "new.onnx"
    assert check_output(new, divided_model, beside=["new.onnx.data"]) == new


def with_data(float_model: Path, path: Path) -> Path:
    """Writes the model to `path`, its tensors into `<path>.data`, which is returned."""
    location = data_beside(path).name
    onnx.save(onnx.load(float_model), path, save_as_external_data=True, location=location, size_threshold=16)
    return data_beside(path)


def test_the_data_of_a_model_that_was_replaced_goes(float_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    data = with_data(float_model, target)
    with replacing(target):
        (tmp_path / "draft").write_bytes(float_model.read_bytes())
        (tmp_path / "draft").replace(target)
        assert data.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_data_that_may_be_anothers_stays(float_model: Path, divided_model: Path, tmp_path: Path) -> None:
    target, weights = tmp_path / "m.onnx", tmp_path / "weights[1].bin"
    data = data_beside(target)
    for old in (b"no model", float_model.read_bytes()):  # which reads no data
        target.write_bytes(old)
        data.write_bytes(b"somebody's")
        with replacing(target):
            target.write_bytes(float_model.read_bytes())
        assert data.read_bytes() == b"somebody's"
    with_data(float_model, target)
    (tmp_path / "copy.onnx").write_bytes(target.read_bytes())  # reads the same data
    with replacing(target):
        target.write_bytes(float_model.read_bytes())
    assert data.exists()
    with replacing(divided_model):  # its user chose the name of the data
        divided_model.write_bytes(float_model.read_bytes())
    assert weights.exists()


def test_data_that_was_written_anew_stays(float_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    with_data(float_model, target)
    (tmp_path / "drafts").mkdir()
    draft = with_data(float_model, tmp_path / "drafts" / "m.onnx")
    with replacing(target):
        draft.replace(data_beside(target))
        target.write_bytes(float_model.read_bytes())  # whoever reads it
    assert data_beside(target).exists()


def test_an_error_takes_no_data_away(float_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    data = with_data(float_model, target)
    with pytest.raises(OSError, match="full"), replacing(target):
        raise OSError("full")
    assert data.exists()


def test_the_data_of_a_model_that_a_link_leads_to_stays(float_model: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    stored, target = tmp_path / "store" / "m.onnx", tmp_path / "m.onnx"
    data = with_data(float_model, stored)
    target.symlink_to(stored)
    data_beside(target).symlink_to(data)
    with replacing(target):
        target.unlink()
        target.write_bytes(float_model.read_bytes())
    assert files_of(stored) == {stored, data}
    assert data_beside(target).exists()


def test_data_of_constants_and_of_subgraphs_is_known(tmp_path: Path) -> None:
    """onnx.checker keeps nobody from dividing those, too."""
    node, tensors = onnx.helper.make_node, []
    for name in ("weight", "constant", "branch", "function", "list"):
        tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), name)
        onnx.external_data_helper.set_external_data(tensor, f"{name}.bin")
        tensors.append(tensor)
    weight, constant, within, called, listed = tensors
    branch = onnx.helper.make_graph([node("Identity", ["branch"], ["z"])], "branch", [], [], [within])
    nodes = [
        node("Constant", [], ["c"], value=constant),
        node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch),
        node("Any", [], ["l"], values=[listed]),
    ]
    body = [node("Constant", [], ["f"], value=called)]
    function = onnx.helper.make_function("own", "Call", [], ["f"], body, [onnx.helper.make_opsetid("", 17)])
    path = tmp_path / "m.onnx"
    graph = onnx.helper.make_graph(nodes, "g", [], [], [weight])
    path.write_bytes(onnx.helper.make_model(graph, functions=[function]).SerializeToString())
    names = {"m.onnx", "weight.bin", "constant.bin", "branch.bin", "function.bin", "list.bin"}
    assert {file.name for file in files_of(path)} == names
