"""The report tells per layer what was found, fused and stored."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes import storage
from pyfastep.passes.pipeline import convert_model
from pyfastep.passes.report import ASYMMETRIC, ConversionReport, expected_kernel

from .models import linear_model, random_weight, to_ir

WEIGHT = random_weight(64, 48, (4, 1), 0.25)


def report_of(model: onnx.ModelProto, exact: bool = False) -> ConversionReport:
    return convert_model(to_ir(model), exact=exact)


def test_a_layer() -> None:
    (layer,) = report_of(linear_model(weight=WEIGHT, activation="gelu", pair=True)).layers
    assert (layer.name, layer.n, layer.k, layer.structure, layer.kernel) == ("product/MatMul", 64, 48, "4x1", "4x1")
    assert layer.density == layer.block_density == np.count_nonzero(WEIGHT) / WEIGHT.size
    assert (layer.bias, layer.activation, layer.output, layer.dropped_pairs) == (True, "gelu", "u8", 1)
    assert layer.bytes_before == WEIGHT.size
    assert layer.bytes_after == np.count_nonzero(WEIGHT) // 4 * 5
    assert layer.stored == "4x1 blocks, uint8 gaps"
    assert not layer.note


def test_a_fake_quantized_layer_was_float() -> None:
    (layer,) = report_of(linear_model("fake_quantized", weight=WEIGHT)).layers
    assert layer.bytes_before == 4 * WEIGHT.size


def test_a_dense_layer() -> None:
    (layer,) = report_of(linear_model(weight=random_weight(64, 48))).layers
    assert (layer.structure, layer.kernel, layer.stored, layer.density) == ("dense", "dense", "dense", 1.0)
    assert layer.bytes_before == layer.bytes_after


def test_weights_with_zero_points_are_explained() -> None:
    proto = linear_model(weight=WEIGHT)
    zero = next(t for t in proto.graph.initializer if t.name == "w_zero")
    zero.CopyFrom(onnx.numpy_helper.from_array(np.full(64, 3, np.int8), "w_zero"))
    (layer,) = report_of(proto).layers
    assert (layer.kernel, layer.stored, layer.note) == ("dense", "dense", ASYMMETRIC)


def test_the_library_may_be_asked_for_the_kernel() -> None:
    asked = []

    def choose(node: ir.Node) -> str:
        asked.append(node.name)
        return "8x4"

    report = convert_model(to_ir(linear_model(weight=WEIGHT)), choose_kernel=choose)
    assert [layer.kernel for layer in report.layers] == ["8x4"]
    assert asked == ["product/MatMul"]


@pytest.mark.parametrize(
    ("block", "density"), [((4, 1), 0.2), ((1, 4), 0.2), ((2, 4), 0.2), ((4, 4), 0.1), ((8, 4), 0.2)]
)
def test_the_kernel_fits_the_structure(block: tuple[int, int], density: float) -> None:
    structure = storage.measure(random_weight(192, 160, block, density))
    name = f"{block[0]}x{block[1]}"
    # Any kernel of smaller blocks does the same work; none does less.
    work = {"dense": 1.0} | {f"{r}x{c}": structure.block_density[r, c] for r, c in storage.BLOCK_SHAPES}
    assert work[expected_kernel(structure)] == pytest.approx(work[name])


def test_dense_is_expected_dense() -> None:
    assert expected_kernel(storage.measure(random_weight(64, 64))) == "dense"


def test_text_and_json() -> None:
    report = report_of(linear_model(weight=WEIGHT, activation="relu"))
    report.file_bytes_before, report.file_bytes_after = 10, 5
    text = report.to_text()
    assert "1 linears converted, 0 left alone" in text
    assert "product/MatMul: 64x48 4x1" in text
    assert "bias+relu+u8" in text
    assert "file: 10 -> 5 bytes" in text
    data = json.loads(json.dumps(report.to_dict()))
    assert data["layers"][0]["structure"] == "4x1"
    assert data["passes"][0]["name"] == "RaiseOpset"
