"""The steps of static quantization around `onnxruntime.quantization`: check, prepare, quantize, finish."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pyfastep._calibration import Batch, ModelInput
from pyfastep._ep import import_onnxruntime
from pyfastep._extras import how_to_install
from pyfastep._graph_order import sort_nodes
from pyfastep._model_paths import check_model
from pyfastep._products import PRODUCTS, attention_products
from pyfastep._text import first_line
from pyfastep.errors import FastEPError

METHODS = ("minmax", "percentile", "entropy")

_QUANTIZED_OPS = {"QuantizeLinear", "DequantizeLinear", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeLinear"}
_FLATTENS = ["MatMulAddFusion"]  # MatMul and Add of static shapes would become Gemm between Reshapes
_MINIMUM_OPSET = 13  # the first whose DequantizeLinear has an axis
_EXTERNAL_ABOVE_BYTES = 1_800_000_000  # a protobuf ends at 2 GB


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
class Settings:
    """What to quantize and how ranges are found."""

    method: str
    percentile: float
    attention: bool
    embeddings: bool
    product_outputs: bool
    exclude: Sequence[str]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise FastEPError(f"unknown calibration method {self.method!r}", remedy=f"known are {', '.join(METHODS)}")
        if not 50.0 < self.percentile <= 100.0:
            raise FastEPError(f"percentile must be above 50 and at most 100, found {self.percentile}")


class CalibrationReader:
    """Feeds batches to onnxruntime.quantization, by ranges so that only a part of all activations is ever held."""

    def __init__(self, batches: list[Batch], progress: Callable[[int, int], None] | None) -> None:
        self._batches, self._progress = batches, progress
        self._stdout = sys.stdout  # `_quiet` hides it from the quantizer, not from who asked for progress
        self._next, self._end = 0, len(batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """The batches that come next; called by onnxruntime.quantization."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> Batch | None:
        """The next batch, `None` at the end of the range."""
        if self._progress:
            with contextlib.redirect_stdout(self._stdout):
                self._progress(self._next, len(self._batches))
        if self._next >= self._end:
            return None
        self._next += 1
        return self._batches[self._next - 1]


def load_float_model(path: Path) -> Any:
    """Load a model and make sure that it can be quantized.

    Raises:
        FastEPError: Not a valid float32 model with constant weights, or one that is quantized already.
    """
    onnx = _import_onnx()
    check_model(path)
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(str(path))
    except Exception as error:  # protobuf, checker and file errors share no base
        raise FastEPError(f"not a readable ONNX model: {first_line(error)}", node=str(path)) from error
    present = sorted({node.op_type for node in model.graph.node} & _QUANTIZED_OPS)
    if present:
        raise FastEPError(
            f"the model is quantized already (it has {', '.join(present)})",
            node=str(path),
            remedy="give the float model, or go on with `fastep convert`",
        )
    model = _unpack(_raise_opset(model, path), path)
    _name_nodes(model)
    _check_float_weights(model, path)
    return model


def _name_nodes(model: Any) -> None:
    """Name nodes without a name: ONNX and its runtime need none, but the quantizer tells nodes apart by it."""
    taken = {node.name for node in model.graph.node}
    numbers = count()
    for node in model.graph.node:
        if not node.name:
            node.name = next(name for number in numbers if (name := f"{node.op_type}_{number}") not in taken)


def _unpack(model: Any, path: Path) -> Any:
    """Write fused operators as plain ops: the quantizer knows products, and leaves those inside an Attention float."""
    if not any(node.domain == "com.microsoft" or node.op_type == "Attention" for node in model.graph.node):
        return model
    try:
        import onnx_ir as ir

        from pyfastep.passes.pipeline import unpack_model
    except ImportError as error:
        raise FastEPError(
            f"this model has fused operators, which need the package onnx-ir: {error}",
            node=str(path),
            remedy=how_to_install("quantize"),
        ) from error
    unpacked = ir.serde.deserialize_model(model)
    unpack_model(unpacked)
    return ir.serde.serialize_model(unpacked)


def _check_float_weights(model: Any, path: Path) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = {n.input[1]: n.name for n in model.graph.node if n.op_type in PRODUCTS and n.input[1] in constants}
    if not weights:
        raise FastEPError(
            "the model has no MatMul or Gemm with a constant weight", node=str(path), remedy="nothing to quantize here"
        )
    for tensor, node in weights.items():
        weight = _import_onnx().numpy_helper.to_array(constants[tensor])
        if weight.dtype != np.float32:
            raise FastEPError(
                f"weight {tensor} is {weight.dtype}, expected float32", node=node, remedy="export in float32"
            )
        if not np.isfinite(weight).all():
            raise FastEPError(f"weight {tensor} holds NaN or infinity", node=node, remedy="repair the model first")


def _raise_opset(model: Any, path: Path) -> Any:
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if version >= _MINIMUM_OPSET:
        return model
    try:
        return _import_onnx().version_converter.convert_version(model, 17)
    except Exception as error:
        raise FastEPError(
            f"opset {version} cannot be raised to 17: {first_line(error)}",
            node=str(path),
            remedy=f"export the model with opset {_MINIMUM_OPSET} or later",
        ) from error


def inputs_of(model: Any) -> list[ModelInput]:
    """The model's inputs that are not constants."""
    constants = {tensor.name for tensor in model.graph.initializer}
    to_dtype = _import_onnx().helper.tensor_dtype_to_np_dtype
    return [
        ModelInput(
            value.name,
            to_dtype(value.type.tensor_type.elem_type),
            tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim),
        )
        for value in model.graph.input
        if value.name not in constants
    ]


def _is_large(model: Any) -> bool:
    """Whether its tensors need a file of their own. `ByteSize` would do, but raises above 2 GB."""
    dtype_of = _import_onnx().helper.tensor_dtype_to_np_dtype
    sizes = (math.prod(t.dims) * int(dtype_of(t.data_type).itemsize) for t in model.graph.initializer)
    return bool(sum(sizes) > _EXTERNAL_ABOVE_BYTES)


def prepare(model: Any, path: Path) -> Any:
    """Fold constants with ONNX Runtime's own optimizer and infer shapes, as its quantizer expects; writes `path`."""
    runtime = import_onnxruntime()
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx, large = _import_onnx(), _is_large(model)
    source, folded = (path.with_name(f"{name}-{path.name}") for name in ("source-of", "folded"))
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    if large:
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{folded.name}.data"
        )
    try:
        with _quiet():
            onnx.save(model, str(source), save_as_external_data=large)
            runtime.InferenceSession(
                str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=_FLATTENS
            )
            quant_pre_process(
                str(folded), str(path), skip_optimization=True, skip_symbolic_shape=True, save_as_external_data=large
            )
        return onnx.load(str(path))
    except Exception as error:
        raise FastEPError(f"ONNX Runtime cannot optimize the model: {first_line(error)}") from error


def run_quantizer(prepared: Any, source: Path, target: Path, reader: CalibrationReader, settings: Settings) -> None:
    """Calibrate and quantize `source` (which `prepared` was loaded from) into `target`."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = (CalibrationMethod.MinMax, CalibrationMethod.Percentile, CalibrationMethod.Entropy)
    excluded = _excluded_nodes(prepared, settings)
    extra_options = _extra_options(settings) | _trained_ranges(prepared, settings)
    try:
        with _quiet():
            quantize_static(
                str(source),
                str(target),
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*PRODUCTS, *(["Gather"] if settings.embeddings else [])],
                nodes_to_exclude=excluded,
                per_channel=True,
                reduce_range=False,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[METHODS.index(settings.method)],
                use_external_data_format=_is_large(prepared),
                extra_options=extra_options,
            )
    except Exception as error:
        raise FastEPError(
            f"calibration or quantization failed: {first_line(error)}",
            remedy="check that the calibration data suits the model (token ids within its vocabulary, lengths)",
        ) from error


def _excluded_nodes(model: Any, settings: Settings) -> list[str]:
    nodes = {node.name: node for node in model.graph.node if node.op_type in (*PRODUCTS, "Gather")}
    unknown = [name for name in settings.exclude if name not in nodes]
    if unknown:
        raise FastEPError(
            f"no MatMul, Gemm or Gather node is named {unknown[0]!r}",
            remedy="names as in the model, for example " + ", ".join(list(nodes)[:3]),
        )
    floats = float_constants(model)
    # A Gather from anything but a float table picks from a shape or a mask: not an embedding.
    not_tables = {n.name for n in nodes.values() if n.op_type == "Gather" and n.input[0] not in floats}
    products = {n.name for n in nodes.values() if n.op_type in PRODUCTS and n.input[1] not in floats}
    wanted = attention_products(model.graph) if settings.attention else set()
    return sorted({*settings.exclude, *not_tables, *(products - wanted)})


def _extra_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ActivationSymmetric": False,
        "WeightSymmetric": True,
        "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},  # weights [K, N]: one scale per output
        "OpTypesToExcludeOutputQuantization": [] if settings.product_outputs else list(PRODUCTS),
    }
    if settings.method != "minmax":
        options["CalibStridedMinMax"] = 1  # one batch at a time: a histogram needs every activation in memory
    if settings.method == "percentile":
        options["CalibPercentile"] = settings.percentile
    return options


def _trained_ranges(model: Any, settings: Settings) -> dict[str, Any]:
    """Ranges that are known, in place of calibrated ones, for the inputs of the products with the weights named."""
    inputs = {node.input[1]: node.input[0] for node in model.graph.node if node.op_type in PRODUCTS}
    overrides: dict[str, Any] = {}
    for weight, (low, high) in settings.ranges.items():
        if weight not in inputs:
            raise FastEPError(
                f"a range is given for {weight!r}, which is the weight of no MatMul or Gemm",
                remedy="name initializers as in the model",
            )
        if not low <= 0.0 <= high or low == high:
            raise FastEPError(f"a range must hold 0 and more than that, found {low} to {high}", node=weight)
        known = overrides.setdefault(inputs[weight], [{"rmin": np.float32(low), "rmax": np.float32(high)}])[0]
        known["rmin"], known["rmax"] = min(known["rmin"], np.float32(low)), max(known["rmax"], np.float32(high))
    return {"TensorQuantOverrides": overrides} if overrides else {}


def float_constants(model: Any) -> set[str]:
    """Names of the float32 initializers."""
    float_type = _import_onnx().TensorProto.FLOAT
    return {tensor.name for tensor in model.graph.initializer if tensor.data_type == float_type}


def finish(path: Path, source: Any, prepared: Any) -> list[QuantizedWeight]:
    """Check the quantized weights and put back what the tools changed.

    That is: residuals (which they quantize along with the products that read the same tensor), opset imports, metadata
    and the dimensions of inputs and outputs.
    """
    onnx = _import_onnx()
    weights = _check_weights(onnx.load(str(path)), prepared)
    model = onnx.load(str(path), load_external_data=False)
    _give_back_floats(model)
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
    sort_nodes(model.graph)
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))
    return weights


def _give_back_floats(model: Any) -> None:
    """Let everything but products read the float value again where a quantized one was made for a product.

    What was quantized for its own sake stays: the result of a product or of a quantized embedding table.
    """
    made = {output: node for node in model.graph.node for output in node.output}
    floats: dict[str, str] = {}
    for node in model.graph.node:
        quantizer = made.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if quantizer is None or quantizer.op_type != "QuantizeLinear":
            continue
        origin = made.get(quantizer.input[0])
        if origin is None or origin.op_type not in (*PRODUCTS, "Gather"):
            floats[node.output[0]] = quantizer.input[0]
    for node in model.graph.node:
        if node.op_type not in PRODUCTS:
            for index, name in enumerate(node.input):
                node.input[index] = floats.get(name, name)


def _check_weights(model: Any, prepared: Any) -> list[QuantizedWeight]:
    to_array = _import_onnx().numpy_helper.to_array
    before = {tensor.name: tensor for tensor in prepared.graph.initializer}
    after = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = []
    for name in dict.fromkeys(n.input[1] for n in prepared.graph.node if n.op_type in PRODUCTS):
        if name not in before or name + "_quantized" not in after:
            continue
        values, quantized = to_array(before[name]), to_array(after[name + "_quantized"])
        if np.any(to_array(after[name + "_zero_point"])) or np.any(quantized[values == 0]):
            raise FastEPError("a zero weight did not stay zero", node=name, remedy="please report this model")
        weights.append(QuantizedWeight(name, values.shape, int(np.sum(values == 0)), int(np.sum(quantized == 0))))
    if not weights:
        raise FastEPError("no weight was quantized", remedy="exclude fewer nodes")
    return weights


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.version_converter
    except ImportError as error:
        raise FastEPError(f"quantization needs the package onnx: {error}", remedy=how_to_install("quantize")) from error
    return onnx


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's prints and advice out of our output."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
