"""`pyfastep.convert`: quantized models of ONNX Runtime's own quantizer, files, and every way it may fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from pyfastep.convert import convert
from pyfastep.errors import ConversionError, FastEPError, ModelFileError

from ..stock import exact_session

Array = npt.NDArray[Any]

HIDDEN, INNER, LENGTH = 32, 64, 9
KINDS = {
    "products": {"op_types_to_quantize": ["MatMul", "Gemm"]},
    "everything": {},
    "operators": {
        "quant_format": QuantFormat.QOperator,
        "op_types_to_quantize": ["MatMul", "Gemm"],
        "per_channel": False,
    },
    "all_operators": {"quant_format": QuantFormat.QOperator, "per_channel": False},
    "signed": {"op_types_to_quantize": ["MatMul"], "activation_type": QuantType.QInt8},
    "asymmetric": {
        "op_types_to_quantize": ["MatMul"],
        "weight_type": QuantType.QUInt8,
        "per_channel": False,
        "extra_options": {"WeightSymmetric": False},
    },
    "dedicated": {"op_types_to_quantize": ["MatMul"], "extra_options": {"DedicatedQDQPair": True}},
}


NODES = [
    ("MatMul", ["x", "w1"], "p1"),
    ("Add", ["p1", "b1"], "s1"),
    ("Div", ["s1", "sqrt2"], "d"),
    ("Erf", ["d"], "e"),
    ("Add", ["e", "one"], "e1"),
    ("Mul", ["s1", "e1"], "m"),
    ("Mul", ["m", "half"], "g"),
    ("MatMul", ["g", "w2"], "p2"),
    ("Add", ["b2", "p2"], "s2"),
    ("Add", ["s2", "x"], "r"),
    ("LayerNormalization", ["r", "gamma"], "h"),
    ("MatMul", ["h", "w3"], "y"),
]


def float_model() -> onnx.ModelProto:
    """A feed-forward block with residual and LayerNorm, 4x1-pruned to a quarter, and a head."""
    rng = np.random.default_rng(0)

    def weight(n: int, k: int) -> Array:
        kept = np.kron(rng.random((n // 4, k)) < 0.25, np.ones((4, 1)))
        return np.asarray((rng.standard_normal((n, k)) * kept / np.sqrt(k / 4)).T.astype(np.float32))

    arrays = {
        "w1": weight(INNER, HIDDEN),
        "w2": weight(HIDDEN, INNER),
        "w3": rng.standard_normal((HIDDEN, 2)).astype(np.float32),
        "b1": rng.standard_normal(INNER).astype(np.float32),
        "b2": rng.standard_normal(HIDDEN).astype(np.float32),
        "gamma": np.ones(HIDDEN, np.float32),
        "sqrt2": np.float32(2**0.5),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    protos = [helper.make_node(op, inputs, [output], name=output) for op, inputs, output in NODES]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length", HIDDEN])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", 2])
    h = helper.make_tensor_value_info("h", TensorProto.FLOAT, ["batch", "length", HIDDEN])
    graph = helper.make_graph(protos, "block", [x], [h, y], [numpy_helper.from_array(a, n) for n, a in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="task", value="testing")
    return model


class Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._feeds = iter([{"x": rng.standard_normal((4, LENGTH, HIDDEN)).astype(np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def quantize(folder: Path, kind: str) -> Path:
    options: dict[str, Any] = {
        "quant_format": QuantFormat.QDQ,
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
    } | KINDS[kind]
    onnx.save(float_model(), folder / "float.onnx")
    path = folder / f"{kind}.onnx"
    quantize_static(folder / "float.onnx", path, Samples(), **options)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: quantize(folder, kind) for kind in KINDS}


def session(path: Path, optimized: bool = True) -> onnxruntime.InferenceSession:
    return exact_session(path, optimized=optimized)


def outputs(path: Path, optimized: bool = True, count: int = 8) -> list[Array]:
    rng = np.random.default_rng(2)
    opened = session(path, optimized)
    shapes = [(2, 7), (1, 1), (3, 16), (0, 4)] * (count // 4)
    feeds = [rng.standard_normal((*shape, HIDDEN)).astype(np.float32) for shape in shapes]
    return [np.concatenate([a.ravel() for a in opened.run(None, {"x": x})]) for x in feeds]


def cosine(a: Array, b: Array) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("kind", KINDS)
def test_converts_what_the_quantizer_writes(models: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """By default the result is as near to the float model as the source is."""
    target = tmp_path / "fast.onnx"
    report = convert(models[kind], target)
    assert [layer.n for layer in report.layers] == [INNER, HIDDEN, 2]
    assert not report.skipped
    if kind not in ("asymmetric",):
        assert [layer.structure for layer in report.layers] == ["4x1", "4x1", "dense"]
        assert report.layers[0].stored.startswith("4x1")
    if kind not in ("all_operators",):  # there, Erf and its neighbours are operators on bytes
        assert report.layers[0].activation == "gelu"
    expected = outputs(models[kind].with_name("float.onnx"))
    source, found = (np.concatenate(outputs(path)) for path in (models[kind], target))
    error = np.abs(found - np.concatenate(expected)).mean() / np.abs(source - np.concatenate(expected)).mean()
    assert error < 1.05
    assert cosine(found, source) > 0.995


@pytest.mark.parametrize("kind", KINDS)
def test_exact_reproduces_the_source(models: dict[str, Path], kind: str, tmp_path: Path) -> None:
    target = tmp_path / "exact.onnx"
    convert(models[kind], target, exact=True)
    source, found = (np.concatenate(outputs(path, optimized=False)) for path in (models[kind], target))
    assert cosine(found, source) > 0.9999
    assert np.median(np.abs(found - source)) < 1e-5


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_interface_stays(models: dict[str, Path], kind: str, exact: bool, tmp_path: Path) -> None:
    target = tmp_path / "fast.onnx"
    convert(models[kind], target, exact=exact)
    before, after = onnx.load(models[kind]), onnx.load(target)
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert {p.key: p.value for p in before.metadata_props} == {p.key: p.value for p in after.metadata_props}
    assert {(o.domain, o.version) for o in before.opset_import} <= {(o.domain, o.version) for o in after.opset_import}


def test_pruned_models_get_smaller(models: dict[str, Path], tmp_path: Path) -> None:
    report = convert(models["products"], tmp_path / "fast.onnx")
    weights = sum(layer.bytes_after for layer in report.layers)
    assert weights < 0.4 * sum(layer.bytes_before for layer in report.layers)
    assert report.file_bytes_before == models["products"].stat().st_size
    assert report.file_bytes_after == (tmp_path / "fast.onnx").stat().st_size


def test_without_output_nothing_is_written(models: dict[str, Path]) -> None:
    folder = models["products"].parent
    before = sorted(folder.iterdir())
    report = convert(models["products"])
    assert len(report.layers) == 3
    assert report.file_bytes_after == 0
    assert sorted(folder.iterdir()) == before


def test_a_model_in_memory(models: dict[str, Path], tmp_path: Path) -> None:
    proto = onnx.load(models["products"])
    before = proto.SerializeToString()
    report = convert(proto, tmp_path / "a.onnx", verify=True)
    convert(models["products"], tmp_path / "b.onnx")
    assert proto.SerializeToString() == before
    assert report.file_bytes_before == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_external_data(models: dict[str, Path], tmp_path: Path) -> None:
    convert(models["products"], tmp_path / "one.onnx")
    report = convert(models["products"], tmp_path / "two.onnx", external_data=True)
    assert (tmp_path / "two.onnx.data").is_file()
    assert report.file_bytes_after == sum((tmp_path / f"two.onnx{end}").stat().st_size for end in ("", ".data"))
    for one, two in zip(outputs(tmp_path / "one.onnx"), outputs(tmp_path / "two.onnx"), strict=True):
        assert np.array_equal(one, two)


def test_external_data_goes_with_the_model_that_read_it(models: dict[str, Path], tmp_path: Path) -> None:
    target, data = tmp_path / "fast.onnx", tmp_path / "fast.onnx.data"
    convert(models["products"], target, external_data=True)
    failure(ConversionError, models["products"].with_name("float.onnx"), target)
    assert data.exists()
    convert(models["products"], target, external_data=True)
    assert data.exists()
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(target.read_bytes())
    message = failure(ModelFileError, models["products"], target, external_data=True)
    assert "would overwrite fast.onnx.data, which copy.onnx reads" in message
    outputs(copy)
    copy.unlink()
    convert(models["products"], target)
    assert not data.exists()
    outputs(target)


def test_verify_reports_the_difference(models: dict[str, Path]) -> None:
    assert convert(models["products"]).largest_difference is None
    difference = convert(models["products"], verify=True).largest_difference
    assert difference is not None
    assert 0 <= difference < 1


def failure(kind: type[FastEPError], *arguments: Any, **options: Any) -> str:
    with pytest.raises(kind) as error:
        convert(*arguments, **options)
    return str(error.value)


def test_own_files_are_not_overwritten(models: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    onnx.save(
        onnx.load(models["products"]), source, save_as_external_data=True, location="out.onnx.data", size_threshold=64
    )
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    link = tmp_path / "link.onnx"
    link.symlink_to(source)
    for target, data in ((source, False), (link, False), (tmp_path / "out.onnx", True)):
        assert "would overwrite the source" in failure(ModelFileError, source, target, external_data=data)
    link.unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def changed(source: Path, target: Path, change: Any) -> Path:
    model = onnx.load(source)
    change(model)
    onnx.save(model, target)
    return target


def set_tensor(end: str, value: Any) -> Any:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name.endswith(end))
        old = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.full(old.shape, value, old.dtype), tensor.name))

    return change


def to_half(model: onnx.ModelProto) -> None:
    """The float model with float16 weights behind Casts."""
    for tensor in model.graph.initializer:
        if tensor.name in ("w1", "w2", "w3"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in list(model.graph.node):
        if node.op_type == "MatMul":
            cast = helper.make_node(
                "Cast", [node.input[1]], [f"{node.input[1]}_float"], name=f"{node.input[1]}_cast", to=1
            )
            model.graph.node.insert(0, cast)
            node.input[1] = cast.output[0]


def smaller_weight(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "w2_quantized")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:-1], tensor.name))


def set_opset(version: int) -> Any:
    return lambda model: setattr(model.opset_import[0], "version", version)


BROKEN = {
    "nan_activation_scale": ("products", set_tensor("g_scale", np.nan), "node 'g_QuantizeLinear'", "the scale is nan"),
    "nan_weight_scale": (
        "products",
        set_tensor("w1_scale", np.nan),
        "node 'w1_DequantizeLinear'",
        "the weight scale is nan",
    ),
    "negative_scale": ("products", set_tensor("x_scale", -1), "node 'x_DequantizeLinear'", "the scale is -1.0"),
    "dimension": ("products", smaller_weight, "node 'p2'", "64 features, the weights expect 63"),
    "float_model": (None, lambda model: None, "node 'p1'", "none of the 3 linears can be converted: weights are float"),
    "float16_weights": (None, to_half, "node 'p1'", "float16 weights"),
    "future_opset": ("products", set_opset(999), "model", "opset 999 is newer"),
    "no_opset": ("products", set_opset(0), "model", "no usable opset"),
    "wrong_opset": ("products", set_opset(13), "model", "LayerNormalization"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_models(models: dict[str, Path], name: str, tmp_path: Path) -> None:
    kind, change, node, problem = BROKEN[name]
    source = models[kind] if kind else models["products"].with_name("float.onnx")
    path = changed(source, tmp_path / "broken.onnx", change)
    with pytest.raises(ConversionError) as error:
        convert(path, tmp_path / "fast.onnx")
    assert node in (error.value.node or "")
    assert problem in error.value.problem
    assert error.value.remedy
    assert [p.name for p in tmp_path.iterdir()] == ["broken.onnx"]


def test_files_that_cannot_be_read(models: dict[str, Path], tmp_path: Path) -> None:
    assert "no such file" in failure(ModelFileError, tmp_path / "missing.onnx")
    assert "is a folder" in failure(ModelFileError, models["products"], ".")
    short = tmp_path / "short.onnx"
    short.write_bytes(models["products"].read_bytes()[:-100])
    assert "truncated" in failure(ModelFileError, short, tmp_path / "fast.onnx")
    external = tmp_path / "external.onnx"
    onnx.save(
        onnx.load(models["products"]), external, save_as_external_data=True, location="gone.bin", size_threshold=64
    )
    (tmp_path / "gone.bin").unlink()
    message = failure(ModelFileError, external, tmp_path / "fast.onnx")
    assert "gone.bin' is missing" in message
    assert "tensor '" in message
    assert not (tmp_path / "fast.onnx").exists()


def test_a_model_that_is_wrong_elsewhere(models: dict[str, Path], tmp_path: Path) -> None:
    def break_norm(model: onnx.ModelProto) -> None:
        next(node for node in model.graph.node if node.op_type == "LayerNormalization").op_type = "LayerNormalisation"

    path = changed(models["products"], tmp_path / "broken.onnx", break_norm)
    assert "LayerNormalisation" in failure(ConversionError, path, tmp_path / "fast.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["broken.onnx"]
