"""What opening a model costs: figures that hang together, whatever they are on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

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
