"""Static quantization: what the file holds, how near it stays, and every refusal."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import pyfastep
from pyfastep import _quantizer
from pyfastep._stock import stock_session
from pyfastep.errors import FastEPError

from .test_quantize_ranges import scale_and_zero_point

WEIGHTS = {"wq", "wk", "w1", "w2", "wp"}


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def run(path: Path, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    session = stock_session(path)
    return [np.asarray(value) for value in session.run(None, feeds)]


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def test_weights_are_symmetric_s8_per_output_channel(float_model: Path, quantized_model: Path) -> None:
    before, after = constants(onnx.load(str(float_model))), constants(onnx.load(str(quantized_model)))
    for name in WEIGHTS:
        weight, quantized = before[name], after[f"{name}_quantized"]
        inputs = 1 if name == "wp" else 0  # the Gemm has its weight transposed
        scale = after[f"{name}_scale"]
        assert quantized.dtype == np.int8
        assert not after[f"{name}_zero_point"].any()
        largest = np.abs(weight).max(axis=inputs)
        np.testing.assert_allclose(scale, np.where(largest > 0, largest / 127, 1), rtol=1e-6)
        steps = weight / np.expand_dims(scale, inputs)
        assert np.abs(quantized - steps).max() <= 0.5 + 1e-4
        assert np.abs(quantized).max() == 127  # the full range: nothing reduced
        assert (quantized[weight == 0] == 0).all()
    assert (before["w1"] == 0).mean() > 0.5


def test_axes_of_the_scales(quantized_model: Path) -> None:
    model = onnx.load(str(quantized_model))
    axes = {
        node.input[0].removesuffix("_quantized"): next((a.i for a in node.attribute if a.name == "axis"), None)
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
    }
    assert {name: axes[name] for name in WEIGHTS} == {"wq": 1, "wk": 1, "w1": 1, "w2": 1, "wp": 0}


def test_only_the_products_inputs_are_quantized(quantized_model: Path) -> None:
    model = onnx.load(str(quantized_model))
    used_by: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            used_by.setdefault(name, []).append(node.op_type)
    made = {output: node for node in model.graph.node for output in node.output}
    values = constants(model)
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        assert values[node.input[2]].dtype == np.uint8
        for user in used_by[node.output[0]]:
            assert user == "DequantizeLinear"
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in made:
            assert set(used_by[node.output[0]]) <= {"MatMul", "Gemm"}
    # Neither the mask nor the scores it is applied to are touched.
    mask = next(node for node in model.graph.node if node.op_type == "Mul")
    assert not {made[name].op_type for name in mask.input} & {"DequantizeLinear"}


def test_the_file_is_valid_smaller_and_keeps_its_interface(float_model: Path, quantized_model: Path) -> None:
    before, after = onnx.load(str(float_model)), onnx.load(str(quantized_model))
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.metadata_props) == list(before.metadata_props)
    assert {entry.domain for entry in after.opset_import} == {""}


def test_outputs_stay_near(float_model: Path, quantized_model: Path, calibration: list[Any]) -> None:
    for batch in calibration:
        for a, b in zip(run(float_model, batch), run(quantized_model, batch), strict=True):
            assert cosine(a, b) > 0.99


@pytest.mark.parametrize(
    "options",
    [
        {"method": "percentile", "percentile": 99.99},
        {"method": "entropy"},
        {"attention": False},
        {"embeddings": True},
        {"product_outputs": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_options(float_model: Path, calibration: list[Any], tmp_path: Path, options: dict[str, Any]) -> None:
    report = pyfastep.quantize(float_model, tmp_path / "q.onnx", data=calibration, **options)
    model = onnx.load(str(tmp_path / "q.onnx"))
    onnx.checker.check_model(model)
    assert report.cosine > 0.9
    counts = Counter(node.op_type for node in model.graph.node)
    default = tmp_path / "default.onnx"
    pyfastep.quantize(float_model, default, data=calibration)
    usual = Counter(node.op_type for node in onnx.load(str(default)).graph.node)
    if "attention" in options:
        assert counts["QuantizeLinear"] < usual["QuantizeLinear"]
    if "product_outputs" in options:
        assert counts["QuantizeLinear"] > usual["QuantizeLinear"]
    assert ("words" in constants(model)) == ("embeddings" not in options)
    if "embeddings" in options:
        assert "words_quantized" in constants(model)


def save_product(path: Path, features: int) -> None:
    """One MatMul of `x` [n, features]."""
    weight = np.random.default_rng(0).normal(0, 1, (features, 4)).astype(np.float32)
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", features])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "m")]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), path)


def test_methods_and_percentiles_leave_out_an_outlier(tmp_path: Path) -> None:
    """One value of 65536 lies twenty times as far out as the others."""
    save_product(tmp_path / "m.onnx", 256)
    x = np.random.default_rng(1).normal(0, 1, (256, 256)).astype(np.float32)
    x[200, 7] = 100

    def width(**options: Any) -> float:
        pyfastep.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", data=[{"x": x}], batch_size=128, **options)
        return 255 * scale_and_zero_point(tmp_path / "q.onnx", "x")[0]

    assert width() == pytest.approx(100 - x.min(), rel=1e-5)
    for percentile in (99.0, 99.99):
        low, high = np.percentile(x, [(100 - percentile) / 2, (100 + percentile) / 2])
        # Each end is that of one of the histogram's 2048 bins: 0.1 wide.
        assert width(method="percentile", percentile=percentile) == pytest.approx(high - low, abs=0.25), percentile
    # It weighs clipping against steps, so all values but the outlier stay near the range.
    assert 5.5 < width(method="entropy") < 20


def test_sequences_are_cut_to_the_length_asked_for(float_model: Path, tmp_path: Path) -> None:
    """The last token stays; that before it is none of the vocabulary."""
    (tmp_path / "x.jsonl").write_text("[1, 2, 3, 999, 4]\n")
    for max_length in (4, 2):
        report = pyfastep.quantize(float_model, tmp_path / "q.onnx", data=tmp_path / "x.jsonl", max_length=max_length)
        assert report.samples == 1
    cases: tuple[dict[str, Any], ...] = ({"max_length": 5}, {})
    for options in cases:
        with pytest.raises(FastEPError, match="vocabulary"):
            pyfastep.quantize(float_model, tmp_path / "r.onnx", data=tmp_path / "x.jsonl", **options)


def test_the_report_tells_what_was_done(float_model: Path, calibration: list[Any], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = pyfastep.quantize(
        float_model,
        tmp_path / "q.onnx",
        data=calibration,
        exclude=["up"],
        progress=lambda done, total: told.append((done, total)),
    )
    assert report.output == tmp_path / "q.onnx"
    assert {weight.name for weight in report.weights} == WEIGHTS - {"w1"}
    assert report.unquantized == ("up",)
    assert report.samples == 16
    assert report.output_bytes == report.output.stat().st_size
    assert told[0] == (0, 4)
    assert told[-1] == (4, 4)
    w2 = next(weight for weight in report.weights if weight.name == "w2")
    assert w2.shape == (20, 12)
    assert 0.5 < w2.sparsity < 0.9
    assert w2.zeros_after >= w2.zeros_before
    for part in ("4 weights quantized", "1 left float", "16 samples", "stayed zero"):
        assert part in str(report)


def test_external_data_counts_and_is_not_overwritten(float_model: Path, calibration: list[Any], tmp_path: Path) -> None:
    source, weights = tmp_path / "m.onnx", tmp_path / "weights.bin"
    onnx.save(onnx.load(float_model), source, save_as_external_data=True, location=weights.name, size_threshold=64)
    report = pyfastep.quantize(source, tmp_path / "q.onnx", data=calibration)
    assert report.source_bytes == source.stat().st_size + weights.stat().st_size
    before = weights.read_bytes()
    with pytest.raises(FastEPError, match=r"weights\.bin: the output would overwrite its source"):
        pyfastep.quantize(source, weights, data=calibration)
    assert weights.read_bytes() == before


def test_a_large_model_has_data_beside_it_that_goes_with_it(
    float_model: Path, calibration: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above 2 GB, with the limit lowered."""
    output = tmp_path / "q.onnx"
    names = []
    for limit in (0, 10**9):
        monkeypatch.setattr(_quantizer, "_EXTERNAL_ABOVE_BYTES", limit)
        report = pyfastep.quantize(float_model, output, data=calibration)
        names.append(sorted(os.listdir(tmp_path)))
        assert report.output_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
        for a, b in zip(run(float_model, calibration[0]), run(output, calibration[0]), strict=True):
            assert cosine(a, b) > 0.99
    assert names == [["q.onnx", "q.onnx.data"], ["q.onnx"]]


def test_data_of_a_large_model_that_a_copy_reads_is_not_overwritten(
    float_model: Path, calibration: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights would silently be those of another model."""
    monkeypatch.setattr(_quantizer, "_EXTERNAL_ABOVE_BYTES", 0)
    output, copy = tmp_path / "q.onnx", tmp_path / "copy.onnx"
    pyfastep.quantize(float_model, output, data=calibration)
    copy.write_bytes(output.read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FastEPError, match=r"would overwrite q\.onnx\.data, which copy\.onnx reads"):
        pyfastep.quantize(float_model, output, data=calibration, method="percentile")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_progress_may_print(
    float_model: Path, calibration: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pyfastep.quantize(
        float_model, tmp_path / "q.onnx", data=calibration, progress=lambda done, total: print(f"{done} of {total}")
    )
    told = capsys.readouterr().out.splitlines()
    assert told
    assert all(" of 4" in line for line in told), "the quantizer's own prints stay hidden"


@pytest.mark.parametrize(("axes", "shape"), [([0, 1], []), ([0], [4])])
def test_outputs_without_samples_are_compared_as_a_whole(axes: list[int], shape: list[int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(0, 1, (3, 4)).astype(np.float32), "axes": np.array(axes)}
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["p"], "m"),
        onnx.helper.make_node("ReduceSum", ["p", "axes"], ["y"], keepdims=0),
    ]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], initializers)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9),
        tmp_path / "m.onnx",
    )
    data = [{"x": rng.normal(1, 1, (8, 3)).astype(np.float32)}]
    assert pyfastep.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", data=data).cosine > 0.99


def test_two_runs_write_the_same_bytes(
    float_model: Path, quantized_model: Path, calibration: list[Any], tmp_path: Path
) -> None:
    pyfastep.quantize(float_model, tmp_path / "q.onnx", data=calibration)
    assert (tmp_path / "q.onnx").read_bytes() == quantized_model.read_bytes()


def test_an_older_opset_is_raised(calibration: list[Any], tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(0, 1, (3, 4)).astype(np.float32), "w")
    ids = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "m")], "g", [ids], [y], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=7)
    onnx.save(model, str(tmp_path / "old.onnx"))
    data = [{"x": np.random.default_rng(1).normal(0, 1, (8, 3)).astype(np.float32)}]
    report = pyfastep.quantize(tmp_path / "old.onnx", tmp_path / "q.onnx", data=data)
    assert report.cosine > 0.99


def no_weights(model: onnx.ModelProto) -> None:
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in WEIGHTS]
    lost = [tensor for tensor in model.graph.initializer if tensor.name in WEIGHTS]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for tensor in lost:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, list(tensor.dims)))


def replace_weight(model: onnx.ModelProto, value: float, dtype: Any = np.float32) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    array = numpy_helper.to_array(tensor).astype(dtype)
    array.flat[3] = value
    tensor.CopyFrom(numpy_helper.from_array(array, "w1"))


def half_precision(model: onnx.ModelProto) -> None:
    replace_weight(model, 1, np.float16)
    up = next(node for node in model.graph.node if node.name == "up")
    down = list(model.graph.node).index(up)
    up.input[0] = "attended16"
    up.output[0] = "h16"
    model.graph.node.insert(down, onnx.helper.make_node("Cast", ["attended"], ["attended16"], to=10))
    model.graph.node.insert(down + 2, onnx.helper.make_node("Cast", ["h16"], ["h0"], to=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_weights, "no MatMul or Gemm with a constant weight"),
        (lambda model: replace_weight(model, np.nan), "up: weight w1 holds NaN"),
        (half_precision, "up: weight w1 is float16"),
    ],
    ids=["no weights", "NaN", "float16"],
)
def test_models_that_cannot_be_quantized(
    float_model: Path, calibration: list[Any], tmp_path: Path, change: Any, message: str
) -> None:
    model = onnx.load(str(float_model))
    change(model)
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(FastEPError, match=message):
        pyfastep.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", data=calibration)
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_refusals_write_nothing(
    float_model: Path, quantized_model: Path, calibration: list[Any], tmp_path: Path
) -> None:
    output = tmp_path / "q.onnx"
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(float_model.read_bytes()[:-100])
    wrong_ids = [{"input_ids": np.full((1, 4), 999), "attention_mask": np.ones((1, 4), int)}]
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (tmp_path / "missing.onnx", {}, "no such model file"),
        (truncated, {}, "not a readable ONNX model"),
        (quantized_model, {}, "quantized already"),
        (float_model, {"method": "best"}, "known are minmax, percentile, entropy"),
        (float_model, {"percentile": 101.0}, "percentile"),
        (float_model, {"exclude": ["nobody"]}, "named 'nobody'"),
        (float_model, {"max_samples": 0}, "at least 1"),
        (float_model, {"data": wrong_ids}, "vocabulary"),
        (float_model, {"exclude": ["query", "key", "up", "down", "head"]}, "no weight was quantized"),
    ]
    for model, options, message in cases:
        with pytest.raises(FastEPError, match=message):
            pyfastep.quantize(model, output, **{"data": calibration, **options})
        assert sorted(os.listdir(tmp_path)) == ["truncated.onnx"], message


def test_outputs_that_cannot_be_written(float_model: Path, calibration: list[Any], tmp_path: Path) -> None:
    for output, message in (
        (tmp_path / "nowhere" / "q.onnx", "folder does not exist"),
        (tmp_path, "is a folder"),
        (".", "is a folder"),
        (float_model, "overwrite its source"),
    ):
        with pytest.raises(FastEPError, match=message):
            pyfastep.quantize(float_model, output, data=calibration)


def test_a_failure_leaves_an_older_output_alone(float_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "q.onnx"
    output.write_text("older")
    with pytest.raises(FastEPError):
        pyfastep.quantize(float_model, output, data=[{"input_ids": np.zeros((1, 2), int)}])
    assert output.read_text() == "older"


@pytest.mark.parametrize("options", [{}, {"attention": False}, {"embeddings": True}], ids=["default", "less", "more"])
def test_nodes_need_no_names(
    options: dict[str, Any], float_model: Path, calibration: list[Any], tmp_path: Path
) -> None:
    """Names are how the quantizer tells nodes apart; ONNX Runtime itself writes models without."""
    model = onnx.load(str(float_model))
    for node in model.graph.node:
        node.ClearField("name")
    model.graph.node[-1].name = "MatMul_0"  # what another might be called
    onnx.save(model, str(tmp_path / "unnamed.onnx"))
    pyfastep.quantize(tmp_path / "unnamed.onnx", tmp_path / "q.onnx", data=calibration, **options)
    pyfastep.quantize(float_model, tmp_path / "named.onnx", data=calibration, **options)
    weights, expected = (constants(onnx.load(str(tmp_path / file))) for file in ("q.onnx", "named.onnx"))
    assert sorted(weights) == sorted(expected)
    feeds = calibration[0]
    for found, wanted in zip(run(tmp_path / "q.onnx", feeds), run(tmp_path / "named.onnx", feeds), strict=True):
        np.testing.assert_array_equal(found, wanted)
