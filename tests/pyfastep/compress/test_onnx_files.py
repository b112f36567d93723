"""Names of weights in exported files, and metadata."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from .encoders import tiny_bert

pytest.importorskip("optimum.exporters.onnx")

from pyfastep.compress.export import export_onnx
from pyfastep.compress.onnx_files import read_metadata, weight_names, write_metadata
from pyfastep.compress.selection import select_linears
from pyfastep.errors import FastEPError


def test_every_linear_is_found_in_the_file(tmp_path: Path) -> None:
    model = tiny_bert()
    path = export_onnx(model, tmp_path, task="feature-extraction")
    linears = select_linears(model)
    names = weight_names(model, linears, path)
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    assert len(set(names.values())) == len(linears) == 12
    for name, tensor in names.items():
        assert (linears[name].weight.detach().numpy() == tensors[tensor].T).all()
    with pytest.raises(FastEPError, match=r"pooler.dense: expected its weight once .* found it 0 times"):
        weight_names(model, ["pooler.dense"], path)  # the export leaves it out

    write_metadata(path, {"recipe": {"name": "x"}, "seed": 1})
    write_metadata(path, {"seed": 2})
    assert read_metadata(path) == {"recipe": {"name": "x"}, "seed": 2}
