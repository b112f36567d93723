"""Counts of zeros."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pyfastep.compress.sparsity import measure_sparsity  # noqa: E402


def test_counts_blocks_and_elements() -> None:
    linear = torch.nn.Linear(3, 6)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.weight[0:4, 0] = 0  # a whole block
        linear.weight[4:6, 1] = 0  # a whole edge block
        linear.weight[0, 2] = 0  # part of a block
    report = measure_sparsity({"a": linear}, (4, 1), 0.5, "layer")
    (layer,) = report.layers
    assert (layer.blocks, layer.zero_blocks, layer.zero_elements) == (6, 2, 7)
    assert report.to_dict()["layers"][0] == {
        "name": "a",
        "shape": [6, 3],
        "sparsity": 7 / 18,
        "block_sparsity": 2 / 6,
    }
    assert report.sparsity == 7 / 18
