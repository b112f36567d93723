"""Static quantization of a float ONNX model with the settings that suit transformer encoders.

`onnxruntime.quantization` does the work; this module prepares the model, chooses the settings, checks the result and
writes it in one step. No torch is needed.

The settings: QuantizeLinear/DequantizeLinear pairs around MatMul and Gemm; activations u8, asymmetric, per tensor;
weights s8, symmetric, per output channel, full range; ranges from the minimum and maximum seen. Products are *not*
quantized before their bias: on encoders that costs most of the accuracy (the FFN's output has a few huge channels) and
buys no speed, as ONNX Runtime fuses a float product just as well. Everything else stays float.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastep import _calibration
from pyfastep._ep import import_onnxruntime
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    import onnx

METHODS = ("minmax", "percentile", "entropy")
_PRODUCTS = ("MatMul", "Gemm")
_QUANTIZED_OPS = {"QuantizeLinear", "DequantizeLinear", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeLinear"}
_MINIMUM_OPSET = 13  # the first whose DequantizeLinear has an axis
_EXTERNAL_ABOVE_BYTES = 1_800_000_000  # protobuf ends at 2 GB
_CHECKED_BATCHES = 4


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight after quantization: how many of its values are zero, before and after."""

    name: str
    shape: tuple[int, ...]
    zeros_before: int
    zeros_after: int

    @property
    def sparsity(self) -> float:
        """Share of zeros in the float weight."""
        return self.zeros_before / max(1, int(np.prod(self.shape)))


@dataclass(frozen=True)
class QuantizeReport:
    """What :func:`quantize` did."""

    output: Path
    method: str
    samples: int
    source_bytes: int
    output_bytes: int
    weights: tuple[QuantizedWeight, ...]
    unquantized: tuple[str, ...]
    cosine: float

    def __str__(self) -> str:
        values = sum(int(np.prod(w.shape)) for w in self.weights)
        zeros = sum(w.zeros_before for w in self.weights)
        left = f"; {len(self.unquantized)} left float" if self.unquantized else ""
        return (
            f"{self.output}: {len(self.weights)} weights quantized{left}, {self.samples} samples, {self.method}\n"
            f"  {self.source_bytes / 1e6:.1f} MB -> {self.output_bytes / 1e6:.1f} MB"
            f" ({self.source_bytes / max(1, self.output_bytes):.1f}x smaller)\n"
            f"  zero weights: {zeros / max(1, values):.1%}, all {zeros} of them are still zero\n"
            f"  cosine to the float model on calibration data: {self.cosine:.4f}"
        )


def quantize(
    model: str | Path,
    output: str | Path,
    *,
    data: str | Path | Iterable[Mapping[str, Any]],
    tokenizer: str | Path | None = None,
    method: str = "minmax",
    percentile: float = 99.999,
    attention: bool = True,
    embeddings: bool = False,
    product_outputs: bool = False,
    exclude: Sequence[str] = (),
    max_length: int = 128,
    batch_size: int = 8,
    max_samples: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> QuantizeReport:
    """Quantize a float ONNX model statically and write it to `output`.

    Weights: `q = clamp(rint(w / s), -127, 127)`, `s[n] = max|w[:, n]| / 127`, so a pruned weight stays exactly zero.
    Activations: `q = clamp(rint(x / s) + z, 0, 255)` with `s`, `z` from the range seen on `data`.

    Args:
        model: The float model, opset 13 or later (older ones are raised to 17).
        output: The file to write; it appears only when everything succeeded.
        data: Calibration data, see :func:`pyfastep._calibration.load_batches`: `.npz`, a folder of `.npz`, `.jsonl`,
            a text file, or an iterable of mappings from input names to arrays.
        tokenizer: `tokenizer.json` or its folder, for texts.
        method: How ranges are found: `minmax` (best on encoders, their outliers matter), `percentile` or `entropy`.
        percentile: For `percentile`: the share of values within the range, in percent.
        attention: Quantize the two products of attention too.
        embeddings: Quantize embedding tables too, u8 per tensor: a much smaller file.
        product_outputs: Quantize products before their bias (see the module's text; rarely of use).
        exclude: Names of MatMul, Gemm or Gather nodes to leave float.
        max_length: Sequences are cut to this many tokens.
        batch_size: Samples per calibration batch.
        max_samples: Samples to take, about.
        progress: Called with (batches done, batches in all).

    Raises:
        FastEPError: A file, an option, the data or the model is not as expected; nothing is written then.
    """
    source, target = Path(model), Path(output)
    if method not in METHODS:
        raise FastEPError(f"unknown calibration method {method!r}", remedy=f"known are {', '.join(METHODS)}")
    if not 50.0 < percentile <= 100.0:
        raise FastEPError(f"percentile must be above 50 and at most 100, found {percentile}")
    loaded = _load_float_model(source)
    _check_output(source, target)
    batches = _calibration.load_batches(
        data,
        _inputs_of(loaded),
        tokenizer=tokenizer,
        max_length=max_length,
        batch_size=batch_size,
        max_samples=max_samples,
    )
    with tempfile.TemporaryDirectory(prefix=".fastep-quantize-", dir=target.parent) as folder:
        work = Path(folder)
        prepared = _prepare(loaded, work / "prepared.onnx")
        excluded = _excluded_nodes(prepared, exclude, attention, embeddings)
        options = {
            "op_types_to_quantize": [*_PRODUCTS, *(["Gather"] if embeddings else [])],
            "nodes_to_exclude": excluded,
            "extra_options": _extra_options(method, percentile, product_outputs),
        }
        written = work / target.name
        _run_quantizer(work / "prepared.onnx", written, _Reader(batches, progress), method, options)
        weights = _finish(written, loaded, prepared)
        cosine = _cosine(source, written, batches[:_CHECKED_BATCHES])
        output_bytes = sum(file.stat().st_size for file in work.glob(target.name + "*"))
        _publish(written, target)
    quantized = {weight.name for weight in weights}
    return QuantizeReport(
        target,
        method,
        sum(map(_calibration.count_samples, batches)),
        _size_of(source),
        output_bytes,
        tuple(weights),
        tuple(
            n.name
            for n in prepared.graph.node
            if n.op_type in _PRODUCTS and n.input[1] in _floats(prepared) and n.input[1] not in quantized
        ),
        cosine,
    )


class _Reader:
    """Feeds batches to onnxruntime.quantization, one range at a time so that few activations are held."""

    def __init__(self, batches: list[_calibration.Batch], progress: Callable[[int, int], None] | None) -> None:
        self._batches, self._progress = batches, progress
        self._next, self._end = 0, len(batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._next, self._end = start_index, end_index

    def get_next(self) -> _calibration.Batch | None:
        if self._progress:
            self._progress(self._next, len(self._batches))
        if self._next >= self._end:
            return None
        self._next += 1
        return self._batches[self._next - 1]


def _load_float_model(path: Path) -> onnx.ModelProto:
    """Load a model and make sure that it can be quantized."""
    onnx = _import_onnx()
    if not path.is_file():
        raise FastEPError("no such model file", node=str(path))
    try:
        model: Any = onnx.load(str(path))
        onnx.checker.check_model(str(path))
    except Exception as error:  # protobuf, checker and file errors share no base
        raise FastEPError(f"not a readable ONNX model: {_first_line(error)}", node=str(path)) from error
    present = sorted({node.op_type for node in model.graph.node} & _QUANTIZED_OPS)
    if present:
        raise FastEPError(
            f"the model is quantized already (it has {', '.join(present)})",
            node=str(path),
            remedy="give the float model, or go on with `fastep convert`",
        )
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = {n.input[1]: n.name for n in model.graph.node if n.op_type in _PRODUCTS and n.input[1] in constants}
    if not weights:
        raise FastEPError(
            "the model has no MatMul or Gemm with a constant weight",
            node=str(path),
            remedy="there is nothing to quantize",
        )
    for tensor, node in weights.items():
        weight = onnx.numpy_helper.to_array(constants[tensor])
        if weight.dtype != np.float32:
            raise FastEPError(
                f"weight {tensor} is {weight.dtype}, expected float32", node=node, remedy="export the model in float32"
            )
        if not np.isfinite(weight).all():
            raise FastEPError(f"weight {tensor} holds NaN or infinity", node=node, remedy="repair the model first")
    return _raise_opset(model, path)


def _raise_opset(model: Any, path: Path) -> Any:
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if version >= _MINIMUM_OPSET:
        return model
    try:
        return _import_onnx().version_converter.convert_version(model, 17)
    except Exception as error:
        raise FastEPError(
            f"opset {version} cannot be raised to 17: {_first_line(error)}",
            node=str(path),
            remedy=f"export the model with opset {_MINIMUM_OPSET} or later",
        ) from error


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.version_converter
    except ImportError as error:
        raise FastEPError(
            f"quantization needs the package `onnx`: {error}", remedy="pip install pyfastep[convert]"
        ) from error
    return onnx


def _check_output(source: Path, target: Path) -> None:
    if not target.parent.is_dir():
        raise FastEPError("the output's folder does not exist", node=str(target.parent))
    if target.is_dir():
        raise FastEPError("the output is a folder, expected a file name", node=str(target))
    if target.exists() and target.samefile(source):
        raise FastEPError("output and source are the same file", node=str(target), remedy="write to another file")


def _inputs_of(model: Any) -> list[_calibration.ModelInput]:
    constants = {tensor.name for tensor in model.graph.initializer}
    to_dtype = _import_onnx().helper.tensor_dtype_to_np_dtype
    return [
        _calibration.ModelInput(
            value.name,
            to_dtype(value.type.tensor_type.elem_type),
            tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim),
        )
        for value in model.graph.input
        if value.name not in constants
    ]


def _prepare(model: Any, path: Path) -> Any:
    """Fold constants with ONNX Runtime's own optimizer and infer shapes, as its quantizer expects."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx = _import_onnx()
    try:
        with _quiet():
            quant_pre_process(model, str(path), skip_symbolic_shape=True, save_as_external_data=_is_large(model))
        return onnx.load(str(path))
    except Exception as error:
        raise FastEPError(f"ONNX Runtime cannot optimize the model: {_first_line(error)}") from error


def _excluded_nodes(model: Any, exclude: Sequence[str], attention: bool, embeddings: bool) -> list[str]:
    nodes = {node.name: node for node in model.graph.node if node.op_type in (*_PRODUCTS, "Gather")}
    unknown = [name for name in exclude if name not in nodes]
    if unknown:
        raise FastEPError(
            f"no MatMul, Gemm or Gather node is named {unknown[0]!r}",
            remedy="names as in the model, for example " + ", ".join(list(nodes)[:3]),
        )
    floats = _floats(model)
    # A Gather on anything but a float table (a shape, a mask) is none of an embedding.
    others = (
        {n.name for n in nodes.values() if n.op_type == "Gather" and n.input[0] not in floats} if embeddings else set()
    )
    products = {n.name for n in nodes.values() if n.op_type in _PRODUCTS and n.input[1] not in floats}
    return sorted({*exclude, *others, *(() if attention else products)})


def _floats(model: Any) -> set[str]:
    float_type = _import_onnx().TensorProto.FLOAT
    return {tensor.name for tensor in model.graph.initializer if tensor.data_type == float_type}


def _extra_options(method: str, percentile: float, product_outputs: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ActivationSymmetric": False,
        "WeightSymmetric": True,
        "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},  # weights [K, N]: one scale per output
        "OpTypesToExcludeOutputQuantization": [] if product_outputs else list(_PRODUCTS),
    }
    if method != "minmax":
        options["CalibStridedMinMax"] = 1  # one batch at a time: histograms need every activation in memory
    if method == "percentile":
        options["CalibPercentile"] = percentile
    return options


def _run_quantizer(source: Path, target: Path, reader: _Reader, method: str, options: dict[str, Any]) -> None:
    import_onnxruntime()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    try:
        with _quiet():
            quantize_static(
                str(source),
                str(target),
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=False,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[method],
                use_external_data_format=_size_of(source) > _EXTERNAL_ABOVE_BYTES,
                **options,
            )
    except Exception as error:
        raise FastEPError(
            f"calibration or quantization failed: {_first_line(error)}",
            remedy="check that the calibration data suits the model (token ids within its vocabulary, lengths)",
        ) from error


def _finish(path: Path, source: Any, prepared: Any) -> list[QuantizedWeight]:
    """Check the weights and put back what the tools changed: opset imports, metadata, names of dimensions."""
    onnx = _import_onnx()
    model = onnx.load(str(path), load_external_data=False)
    weights = _check_weights(onnx.load(str(path)), prepared)
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend(kept)
    model.metadata_props.extend(source.metadata_props)
    model.producer_name, model.producer_version = "fastep.quantize", ""
    for side in ("input", "output"):
        values = {value.name: value for value in getattr(source.graph, side)}
        for value in getattr(model.graph, side):
            value.CopyFrom(values[value.name])
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))
    return weights


def _check_weights(model: Any, prepared: Any) -> list[QuantizedWeight]:
    to_array = _import_onnx().numpy_helper.to_array
    before = {tensor.name: tensor for tensor in prepared.graph.initializer}
    after = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = []
    for name in dict.fromkeys(n.input[1] for n in prepared.graph.node if n.op_type in _PRODUCTS):
        if name not in before or name + "_quantized" not in after:
            continue
        values, quantized = to_array(before[name]), to_array(after[name + "_quantized"])
        zero_point = to_array(after[name + "_zero_point"])
        if np.any(zero_point) or np.any(quantized[values == 0]):
            raise FastEPError("a zero weight did not stay zero", node=name, remedy="please report this model")
        weights.append(QuantizedWeight(name, values.shape, int(np.sum(values == 0)), int(np.sum(quantized == 0))))
    if not weights:
        raise FastEPError("no weight was quantized", remedy="name fewer nodes to exclude")
    return weights


def _cosine(source: Path, quantized: Path, batches: list[_calibration.Batch]) -> float:
    """Mean cosine similarity of the first output, per sample, on stock ONNX Runtime."""
    onnxruntime = import_onnxruntime()
    sessions = [onnxruntime.InferenceSession(str(p), providers=["CPUExecutionProvider"]) for p in (source, quantized)]
    cosines = []
    for batch in batches:
        a, b = (
            np.asarray(s.run(None, batch)[0], np.float64).reshape(len(next(iter(batch.values()))), -1) for s in sessions
        )
        cosines += list((a * b).sum(1) / np.maximum(1e-30, np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))
    return float(np.mean(cosines))


def _publish(written: Path, target: Path) -> None:
    """Move the finished file, and its external data first, to where they belong."""
    data = written.with_name(written.name + ".data")
    if data.exists():
        os.replace(data, target.with_name(data.name))
    os.replace(written, target)


def _size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in {path, *path.parent.glob(path.name + "[._]data")} if file.is_file())


def _is_large(model: Any) -> bool:
    return bool(model.ByteSize() > _EXTERNAL_ABOVE_BYTES)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _quiet() -> Iterable[None]:  # type: ignore[misc]
    """Keep the quantizer's prints and advice out of our output."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
