"""Blocks are counted in the file, in whatever orientation and type it stores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

torch = pytest.importorskip("torch")

from pyfastep.compress.file_pattern import measure_file  # noqa: E402
from pyfastep.compress.onnx_files import StoredWeight  # noqa: E402
from pyfastep.compress.pattern import parse_pattern  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402

OWN = np.array([[0, 5, 0.2], [0, 0, 0.1], [0, 7, 3]], np.float32)
"""Of its six 2x1 blocks, edges at the bottom, two are zero, and one more by rounding. Square, as many weights are."""

INTEGERS = np.rint(OWN).astype(np.int8)


def model() -> Any:
    linear = torch.nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(OWN))
    return torch.nn.Sequential(linear)


def write(path: Path, **tensors: NDArray[Any]) -> Path:
    initializers = [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in tensors.items()]
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], initializers)), str(path))
    return path


def measure(folder: Path, pattern: str = "2x1", transposed: bool = True, **tensors: NDArray[Any]) -> Any:
    """The one weight of a quantized file, or of the float file where no tensors are given."""
    path = write(folder / "model.onnx", **(tensors or {"w": OWN.T if transposed else OWN}))
    (layer,) = measure_file(path, {"0": StoredWeight("w", transposed)}, model(), parse_pattern(pattern))
    return layer


@pytest.mark.parametrize("transposed", [False, True])
def test_float_file(tmp_path: Path, transposed: bool) -> None:
    layer = measure(tmp_path, transposed=transposed)
    assert (layer.blocks, layer.zero_blocks, layer.rounded_blocks, layer.broken_blocks) == (6, 2, 0, 0)
    assert layer.pruned == 2 / 6
    assert layer.sparsity == pytest.approx(4 / 9)
    assert layer.to_dict()["pruned"] == 2 / 6


@pytest.mark.parametrize("zero", [0, 3])
def test_quantized_file(tmp_path: Path, zero: int) -> None:
    stored = (INTEGERS.T + zero).astype(np.int8)
    layer = measure(tmp_path, w_quantized=stored, w_zero_point=np.array(zero, np.int8))
    assert (layer.zero_blocks, layer.rounded_blocks, layer.broken_blocks) == (3, 1, 0)
    assert layer.pruned == 2 / 6


def test_a_zero_that_became_something_is_found(tmp_path: Path) -> None:
    stored = INTEGERS.copy()
    stored[1, 0] = 1
    layer = measure(tmp_path, transposed=False, w_quantized=stored)
    assert (layer.zero_blocks, layer.broken_blocks) == (2, 1)


@pytest.mark.parametrize(("pattern", "broken"), [("2:3", 0), ("1:3", 2)])
def test_groups_of_n_in_m(tmp_path: Path, pattern: str, broken: int) -> None:
    assert measure(tmp_path, pattern).broken_blocks == broken


def test_unstructured_counts_elements(tmp_path: Path) -> None:
    layer = measure(tmp_path, "unstructured")
    assert (layer.blocks, layer.zero_blocks) == (9, 4)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match="'w'"):
        measure(tmp_path, v_quantized=INTEGERS)
