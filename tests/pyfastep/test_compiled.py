"""Compiling models from Python: the same answers from a file that holds no weights but packed ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import pyfastep
from pyfastep.bench.inputs import vocabulary_size
from pyfastep.compiled import compile_model, read_plans
from pyfastep.errors import FastEPError, ModelFileError

from .conftest import VOCABULARY, token_ids


def answers(model: Path) -> list[np.ndarray]:
    return [np.asarray(y) for y in pyfastep.InferenceSession(model).run(None, token_ids(2, 7))]


@pytest.mark.parametrize("embed", [False, True])
def test_a_compiled_model_answers_the_same(fast_model: Path, tmp_path: Path, embed: bool) -> None:
    expected = answers(fast_model)
    target = tmp_path / "sub.name.onnx"
    plans = compile_model(fast_model, target, embed=embed)
    files = ["sub.name.onnx"] if embed else ["sub.name.onnx", "sub.name_fastep.bin"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert plans
    assert {plan.file.name for plan in plans} == {files[-1]}
    assert {plan.fastep_version for plan in plans} == {pyfastep.__version__}
    nodes = [node for node in onnx.load(target).graph.node if node.op_type == "EPContext"]
    assert [plan.partition for plan in plans] == [node.name for node in nodes]
    for y, wanted in zip(answers(target), expected, strict=True):
        assert np.array_equal(y, wanted)


def test_it_replaces_what_was_there(fast_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    target.write_bytes(b"old")
    tiers = [compile_model(fast_model, target, max_tier=tier)[0].tier for tier in ("scalar", "avx2", "scalar")]
    assert tiers == ["scalar", "avx2", "scalar"]
    assert read_plans(target)[0].tier == "scalar"


def test_it_leaves_no_plans_that_nothing_reads(fast_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    compile_model(fast_model, target)
    compile_model(fast_model, target, embed=True)
    assert [path.name for path in tmp_path.iterdir()] == ["c.onnx"]
    (tmp_path / "c_fastep.bin").write_bytes(b"somebody's")
    compile_model(fast_model, target, embed=True)
    assert (tmp_path / "c_fastep.bin").read_bytes() == b"somebody's"


def test_it_leaves_no_data_of_a_converted_model(quantized_model: Path, fast_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    pyfastep.convert(quantized_model, target, external_data=True)
    compile_model(fast_model, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.onnx", "c_fastep.bin"]
    pyfastep.convert(quantized_model, target)
    assert [path.name for path in tmp_path.iterdir()] == ["c.onnx"]


def test_it_leaves_plans_that_a_copy_reads(fast_model: Path, tmp_path: Path) -> None:
    target, copy = tmp_path / "c.onnx", tmp_path / "copy.onnx"
    compile_model(fast_model, target)
    copy.write_bytes(target.read_bytes())
    with pytest.raises(ModelFileError, match=r"would overwrite c_fastep\.bin, which copy\.onnx reads"):
        compile_model(fast_model, target)
    compile_model(fast_model, target, embed=True)
    assert read_plans(copy)


def test_it_leaves_the_plans_of_others(fast_model: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "m.scalar", tmp_path / "m.avx2"
    compile_model(fast_model, first, max_tier="scalar")
    with pytest.raises(
        ModelFileError, match=r"m\.avx2: the output would overwrite m_fastep\.bin, which m\.scalar reads"
    ):
        compile_model(fast_model, second)
    assert {plan.tier for plan in read_plans(first)} == {"scalar"}
    assert not second.exists()
    compile_model(fast_model, second, embed=True)
    compile_model(fast_model, first, max_tier="scalar")  # its own again


def test_it_does_not_overwrite_its_source(fast_model: Path, tmp_path: Path) -> None:
    source, data = tmp_path / "s.onnx", tmp_path / "t_fastep.bin"
    onnx.save(onnx.load(fast_model), source, save_as_external_data=True, location=data.name, size_threshold=0)
    before = data.read_bytes()
    for target in (data, tmp_path / "t.onnx"):
        with pytest.raises(ModelFileError, match=r"t_fastep\.bin: the output would overwrite its source"):
            compile_model(source, target)
    assert data.read_bytes() == before


def test_it_keeps_the_size_of_the_vocabulary(fast_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    compile_model(fast_model, target, embed=True)
    assert vocabulary_size(target) == vocabulary_size(fast_model) == VOCABULARY


def test_a_plain_model_has_no_plans(fast_model: Path, float_model: Path) -> None:
    assert read_plans(fast_model) == read_plans(float_model) == []


def test_refusals(fast_model: Path, float_model: Path, half_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    with pytest.raises(FastEPError, match="overwrite its source"):
        compile_model(fast_model, fast_model)
    with pytest.raises(FastEPError, match=r"no fastep nodes to compile.*convert"):
        compile_model(float_model, target)
    compile_model(fast_model, target, embed=True)
    with pytest.raises(FastEPError, match=r"c\.onnx: the model is compiled already \(compile the converted model\)"):
        compile_model(target, tmp_path / "twice.onnx")
    target.unlink()
    with pytest.raises(FastEPError, match="QLinear_of_tomorrow"):
        compile_model(half_model, target)
    with pytest.raises(FastEPError, match="max_tier"):
        compile_model(fast_model, target, max_tier="sse")
    with pytest.raises(ModelFileError, match=r"missing\.onnx: no such model file"):
        compile_model(tmp_path / "missing.onnx", target)
    with pytest.raises(ModelFileError, match="the output's folder does not exist"):
        compile_model(fast_model, tmp_path / "nowhere" / "c.onnx")
    for folder in (tmp_path, "."):
        with pytest.raises(ModelFileError, match="the output is a folder"):
            compile_model(fast_model, folder)
    assert not list(tmp_path.iterdir())


def test_what_is_left_to_onnx_runtime_is_stored_as_its_body(half_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    assert compile_model(half_model, target, strict=False)
    with pytest.warns(UserWarning, match="leaves"):
        expected = answers(half_model)
    for y, wanted in zip(answers(target), expected, strict=True):
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


def test_plans_that_are_gone(fast_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    compile_model(fast_model, target)
    plans = tmp_path / "c_fastep.bin"
    plans.write_bytes(b"x" * 500)
    with pytest.raises(FastEPError, match="other bytes"):
        read_plans(target)
    with pytest.raises(Exception, match=r"found other bytes.*fastep compile"):
        pyfastep.InferenceSession(target)
    plans.unlink()
    with pytest.raises(FastEPError, match="cannot be read"):
        read_plans(target)
    with pytest.raises(Exception, match=r"c_fastep\.bin.*compiled model '.*c\.onnx' needs it: keep both in one folder"):
        pyfastep.InferenceSession(target)
