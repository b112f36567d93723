"""What opening a model costs: figures that hang together, whatever they are on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pyfastep
from pyfastep.bench.memory import COLUMNS, measure_memory
from pyfastep.errors import FastEPError


@pytest.mark.parametrize("engine", ["fastep", "ort"])
def test_figures_hang_together(fast_model: Path, engine: str) -> None:
    use = measure_memory(fast_model, engine=engine, length=7)
    assert use.name == f"{engine} fast.onnx"
    assert use.load_seconds > 0
    assert use.peak_mb > 0
    assert use.files_mb == pytest.approx(fast_model.stat().st_size / 1e6)
    assert len(use.cells()) == len(COLUMNS)


TABLE_MB, FEATURES = 51.2, 1000


def save_lookup(path: Path, rows: int) -> None:
    """Rows of a table of floats [rows, 1000] by token, then their largest values: 4 kB per token in between."""
    table = np.random.default_rng(0).random((rows, FEATURES), np.float32)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch_size", FEATURES])
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("ReduceMax", ["embedded"], ["y"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(nodes, "lookup", [ids], [y], [numpy_helper.from_array(table, "table")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize("engine", ["fastep", "ort"])
def test_each_figure_is_what_it_is_called(tmp_path: Path, engine: str) -> None:
    save_lookup(tmp_path / "small.onnx", rows=2)
    save_lookup(tmp_path / "large.onnx", rows=int(TABLE_MB * 1e6) // (4 * FEATURES))
    small = measure_memory(tmp_path / "small.onnx", engine=engine, length=8000)
    large = measure_memory(tmp_path / "large.onnx", engine=engine, length=8000)
    # Beside the table some of its copies may be there, while the session is opened or longer.
    assert 0.8 * TABLE_MB < large.added_mb < 4 * TABLE_MB
    assert small.added_mb < 0.5 * TABLE_MB
    assert large.peak_mb - small.peak_mb > 0.8 * TABLE_MB
    for use in (small, large):
        assert use.peak_mb >= use.added_mb - 1
        assert use.after_run_mb > use.added_mb + 20  # of the 32 MB that the arena keeps


def test_files_beside_the_model_count(fast_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    pyfastep.compile_model(fast_model, target)
    files = sum(path.stat().st_size for path in tmp_path.iterdir()) / 1e6
    assert measure_memory(target, name="compiled").files_mb == pytest.approx(files)


def test_failures_are_told(tmp_path: Path, fast_model: Path) -> None:
    with pytest.raises(FastEPError, match=r"no such model file \(check the path\)"):
        measure_memory(tmp_path / "missing.onnx")
    with pytest.raises(FastEPError, match="its memory cannot be measured: "):
        measure_memory(fast_model, length=0)
    with pytest.raises(FastEPError, match="found 'tpu'"):
        measure_memory(fast_model, engine="tpu")
