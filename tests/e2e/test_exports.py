"""What is fused of every architecture, by exporter, and of what ONNX Runtime's optimizers leave; docs/models.md."""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

import pyfastep
from pyfastep.passes import model_file
from pyfastep.passes.pipeline import convert_model
from pyfastep.passes.report import ConversionReport

from ..stock import exact_session
from .exports import ARCHITECTURES, EXPORTERS, HEADS, HIDDEN, LAYERS, PADDING, STATIC_SHAPE, VOCABULARY, export

Feeds = dict[str, NDArray[Any]]

# Of the mean error against the float model, converted to source: what is promised. FastEP drops roundings of the source
# and rounds probabilities unnormalized, so it is expected below 1 (found: 0.12 to 1.05).
MAX_ERROR_RATIO = 1.05
# Random batches show that mean with an error of their own: batches are independent, so that of the mean over them
# follows from how far they are apart. Three of these standard errors: 11 degrees of freedom leave a model that is just
# as promised 0.6 % to fail (Student's t).
BATCHES, STANDARD_ERRORS = 12, 3.0
MIN_COSINE = 0.9995
QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearMatMul", "MatMulInteger"}


@dataclass(frozen=True)
class Fused:
    """What comes out.

    Attributes:
        linears: QLinear nodes.
        mask: kind of the mask of attention; empty: none.
        left: ops that stay between or behind the fused ones, beside those that compute positions and masks.
    """

    linears: int = 6 * LAYERS
    mask: str = "_mask"
    left: tuple[str, ...] = ()


_POOLED = ("Gather", "Tanh", "QuantizeLinear")
_EMBEDDED = ("ReduceSum", "Div", "ReduceL2")
EXPECTED = {
    "DistilBERT, question answering": Fused(6 * LAYERS + 1, left=("Split", "Squeeze")),
    "DistilBERT, sequence classification": Fused(6 * LAYERS + 2, left=("Gather", "QuantizeLinear")),
    "BERT": Fused(),
    "BERT, eager attention": Fused(),
    "BERT, sequence classification": Fused(6 * LAYERS + 2, left=_POOLED),
    "BERT, token classification": Fused(6 * LAYERS + 1),
    "MiniLM, sentence embedding": Fused(left=_EMBEDDED),
    "RoBERTa": Fused(),
    "XLM-R": Fused(),
    "ELECTRA": Fused(6 * LAYERS + 1, left=("QuantizeLinear",)),
    "MPNet": Fused(mask="_bias"),
}
TESTED = [
    *((architecture, "TorchScript, optimum") for architecture in ARCHITECTURES),
    *((architecture, "dynamo, opset 18") for architecture in ("DistilBERT, question answering", "BERT", "MPNet")),
    *((name, "dynamo, opset 23") for name in ("MiniLM, sentence embedding", "ELECTRA", "RoBERTa")),
    *((name, "dynamo, opset 20, static") for name in ("BERT, sequence classification", "XLM-R")),
]


class Workshop:
    """Exports, quantizes and optimizes models, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, ...], Path] = {}

    def make(self, architecture: str, exporter: str, *steps: str) -> Path:
        """A float model, and what steps make of it."""
        key = (architecture, exporter, *steps)
        if key not in self._made:
            source = self.make(architecture, exporter, *steps[:-1]) if steps else None
            target = self._folder / f"{len(self._made)}.onnx"
            if source is None:
                export(architecture, exporter, target)
            else:
                _STEPS[steps[-1]](source, target)
            self._made[key] = target
        return self._made[key]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("exports"))


def session_of(model: Path, **options: Any) -> ort.InferenceSession:
    return exact_session(model, optimized=False, **{"log_severity_level": 4, "intra_op_num_threads": 1, **options})


def feeds_of(session: ort.InferenceSession, seed: int) -> Feeds:
    """Random tokens; every sequence but the first is padded on the right."""
    batch, length = STATIC_SHAPE
    rng = np.random.default_rng(seed)
    real = np.arange(length) < np.r_[length, rng.integers(2, length + 1, batch - 1)][:, None]
    values = {
        "input_ids": np.where(real, rng.integers(5, VOCABULARY, real.shape), PADDING),
        "attention_mask": real.astype(np.int64),
        "token_type_ids": rng.integers(0, 2, real.shape),
    }
    return {entry.name: values[entry.name] for entry in session.get_inputs()}


def _calibration(model: Path) -> list[Feeds]:
    session = session_of(model)
    return [feeds_of(session, seed) for seed in range(6)]


def _quantize(model: Path, target: Path) -> None:
    pyfastep.quantize(model, target, data=_calibration(model))


def _optimize(**options: Any) -> Callable[[Path, Path], None]:
    """ONNX Runtime's transformer optimizer; options are those of its FusionOptions, and `level`."""

    def step(model: Path, target: Path) -> None:
        from onnxruntime.transformers import optimizer
        from onnxruntime.transformers.fusion_options import FusionOptions

        fusion, level = FusionOptions("bert"), options.get("level", 0)
        fusion.use_raw_attention_mask(options.get("raw_mask", False))
        for name, value in options.items():
            if hasattr(fusion, name):
                setattr(fusion, name, value)
        sizes = {"num_heads": HEADS, "hidden_size": HIDDEN}
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)
        made = optimizer.optimize_model(
            str(model), model_type="bert", opt_level=level, optimization_options=fusion, **sizes
        )
        logging.disable(disabled)
        made.save_model_to_file(str(target))

    return step


def _save_optimized(level: str) -> Callable[[Path, Path], None]:
    def step(model: Path, target: Path) -> None:
        options = {"graph_optimization_level": getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")}
        session_of(model, **options, optimized_model_filepath=str(target))

    return step


def _quantize_static(**options: Any) -> Callable[[Path, Path], None]:
    """ONNX Runtime's own quantizer."""

    def step(model: Path, target: Path) -> None:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            batches = iter(_calibration(model))

            def get_next(self) -> Feeds | None:
                return next(self.batches, None)

        settings = {**options, "quant_format": QuantFormat[options.get("quant_format", "QDQ")]}
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(str(model), str(target), Reader(), **types, **settings)

    return step


def _quantize_dynamic(model: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(model), str(target), weight_type=QuantType.QInt8)


_STEPS: dict[str, Callable[[Path, Path], None]] = {
    "fastep quantize": _quantize,
    "optimizer": _optimize(),
    "optimizer, level 1": _optimize(level=1),
    "optimizer, raw mask": _optimize(raw_mask=True),
    "optimizer, multi-head": _optimize(use_multi_head_attention=True, raw_mask=True),
    "optimizer, no embeddings": _optimize(enable_embed_layer_norm=False),
    "optimizer, tanh": _optimize(enable_gelu_approximation=True),
    "session, basic": _save_optimized("BASIC"),
    "session, extended": _save_optimized("EXTENDED"),
    "QDQ products": _quantize_static(op_types_to_quantize=["MatMul"], per_channel=True),
    "operator products": _quantize_static(op_types_to_quantize=["MatMul"], quant_format="QOperator"),
    "QDQ everything": _quantize_static(),
    "operators everything": _quantize_static(quant_format="QOperator"),
    "dynamic": _quantize_dynamic,
}


def converted(source: Path) -> tuple[ir.Model, ConversionReport]:
    model = model_file.load(source)
    report = convert_model(model, encoder=True)
    return model, report


def ops_left(model: ir.Model) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in model.graph if node.domain != "fastep")


def check_counts(model: ir.Model, report: ConversionReport, expected: Fused) -> None:
    assert report.encoder is not None
    assert not report.skipped
    assert not report.encoder.unfused
    assert len(report.layers) == expected.linears
    kinds = collections.Counter[str]()
    for name, count in report.encoder.fused.items():
        kinds[name.split("_")[0]] += count
    assert kinds == {"EmbedLayerNorm": 1, "QAttention": LAYERS, "SkipLayerNorm": 2 * LAYERS}
    assert {n for n in report.encoder.fused if n.startswith("QAttention")} == {f"QAttention_u8{expected.mask}"}
    assert bool(report.encoder.unproven_masks) == (expected.mask == "_bias")
    left = ops_left(model)
    assert set(expected.left) <= set(left)
    assert not (QUANTIZED & set(left)) - set(expected.left)
    assert not {"MatMul", "Gemm", "Softmax", "LayerNormalization", "Erf"} & set(left)


def real_values(outputs: list[Any], feeds: Feeds) -> NDArray[np.float64]:
    """All outputs at tokens that are not padding."""
    keep = feeds["attention_mask"] == 1 if "attention_mask" in feeds else np.ones(STATIC_SHAPE, bool)
    picked = [array[keep] if array.shape[:2] == keep.shape else array for array in outputs]
    return np.concatenate([array.astype(np.float64).ravel() for array in picked])


def check_error(float_model: Path, source: Path, model: ir.Model, folder: Path) -> None:
    """The converted model, on stock ONNX Runtime and on FastEP, is as close to the float model as its source."""
    converted_path = folder / "converted.onnx"
    model_file.save(model, converted_path)
    sessions = [session_of(path) for path in (float_model, source, converted_path)]
    sessions.append(pyfastep.InferenceSession(converted_path, strict=True))
    errors = []
    for seed in range(100, 100 + BATCHES):
        feeds = feeds_of(sessions[0], seed)
        expected, *others = (real_values(session.run(None, feeds), feeds) for session in sessions)
        errors.append([np.abs(other - expected).mean() for other in others])
    of_source, *of_converted = np.transpose(errors)
    for found in of_converted:
        excess = found - MAX_ERROR_RATIO * of_source
        assert excess.mean() <= STANDARD_ERRORS * excess.std(ddof=1) / BATCHES**0.5


def check_exact(source: Path, folder: Path, is_equal: bool = True) -> None:
    """Exact conversion is its source, bit for bit; close, where ONNX Runtime multiplies floats."""
    pyfastep.convert(source, folder / "exact.onnx", exact=True)
    stock = session_of(source, graph_optimization_level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    exact = pyfastep.InferenceSession(folder / "exact.onnx", strict=True)
    for seed in range(100, 104):
        feeds = feeds_of(stock, seed)
        found, expected = (real_values(session.run(None, feeds), feeds) for session in (exact, stock))
        assert not is_equal or np.array_equal(found, expected)
        assert found @ expected >= MIN_COSINE * np.linalg.norm(found) * np.linalg.norm(expected)


@pytest.mark.parametrize(("architecture", "exporter"), TESTED)
def test_architectures(architecture: str, exporter: str, workshop: Workshop, tmp_path: Path) -> None:
    source = workshop.make(architecture, exporter, "fastep quantize")
    model, report = converted(source)
    check_counts(model, report, EXPECTED[architecture])
    check_error(workshop.make(architecture, exporter), source, model, tmp_path)
    # Heads of two axes are exported as Gemm, and products with a bias become Gemm where all sizes are known.
    runs_in_float = architecture.endswith("sequence classification") or exporter.endswith("static")
    check_exact(source, tmp_path, not runs_in_float)


OPTIMIZED: dict[tuple[str, ...], Fused] = {
    ("optimizer", "fastep quantize"): Fused(),
    ("optimizer, level 1", "fastep quantize"): Fused(),
    ("optimizer, raw mask", "fastep quantize"): Fused(),
    ("optimizer, multi-head", "fastep quantize"): Fused(),
    ("optimizer, no embeddings", "fastep quantize"): Fused(),
    ("optimizer, tanh", "fastep quantize"): Fused(),
    ("fastep quantize", "optimizer"): Fused(),
    ("fastep quantize", "session, basic"): Fused(),
    ("fastep quantize", "session, extended"): Fused(),
    ("QDQ products", "session, extended"): Fused(),
    ("operator products",): Fused(),
    ("operator products", "session, extended"): Fused(),
    ("QDQ everything",): Fused(left=("DequantizeLinear",)),  # of the output
    ("operators everything",): Fused(),
}


@pytest.mark.parametrize("steps", OPTIMIZED, ids=" + ".join)
def test_optimized(steps: tuple[str, ...], workshop: Workshop, tmp_path: Path) -> None:
    source = workshop.make("BERT", "TorchScript, optimum", *steps)
    model, report = converted(source)
    check_counts(model, report, OPTIMIZED[steps])
    check_error(workshop.make("BERT", "TorchScript, optimum"), source, model, tmp_path)
    check_exact(source, tmp_path)


def test_attention_that_was_packed_when_it_was_quantized_is_named(workshop: Workshop) -> None:
    """ONNX Runtime's quantizer leaves Attention with all its weights in float."""
    source = workshop.make("BERT", "TorchScript, optimum", "optimizer")
    inferred = source.with_name("inferred.onnx")
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(source), str(inferred), skip_optimization=True)
    target = source.with_name("half.onnx")
    _STEPS["QDQ products"](inferred, target)
    _, report = converted(target)
    assert len(report.layers) == 3 * LAYERS
    assert {entry.reason for entry in report.skipped} == {"weights are float (not quantized)"}
    assert sorted(entry.node.split("/")[-1] for entry in report.skipped) == sorted(
        ["q_linear", "k_linear", "v_linear"] * LAYERS
    )


def test_dynamic_quantization_says_what_to_do(workshop: Workshop) -> None:
    source = workshop.make("BERT", "TorchScript, optimum", "dynamic")
    with pytest.raises(pyfastep.FastEPError, match=r"dynamically, at run time.*fastep quantize"):
        convert_model(model_file.load(source), encoder=True)


def table() -> str:
    """The table of docs/models.md."""
    yes, plain = "everything", "not tested"
    lines = [f"| | {' | '.join(EXPORTERS)} |", f"|---|{'---|' * len(EXPORTERS)}"]
    for architecture in ARCHITECTURES:
        mask = "" if EXPECTED[architecture].mask == "_mask" else ", mask by value"
        cells = [yes + mask if (architecture, exporter) in TESTED else plain for exporter in EXPORTERS]
        lines.append(f"| {architecture} | {' | '.join(cells)} |")
    lines += ["", "| of BERT, in this order | fused |", "|---|---|"]
    for steps, expected in OPTIMIZED.items():
        lines.append(f"| {', then '.join(steps)} | {yes if expected.mask == '_mask' else yes + ', mask by value'} |")
    return "\n".join(lines)


def test_the_documentation_says_what_is_tested(repository: Path) -> None:
    text = (repository / "docs" / "models.md").read_text()
    assert table() in text, f"docs/models.md should hold:\n{table()}"


def test_nothing_is_tested_twice() -> None:
    assert len(set(TESTED)) == len(TESTED)
    assert {architecture for architecture, _ in TESTED} == set(ARCHITECTURES) == set(EXPECTED)
    assert onnx.defs.onnx_opset_version() >= max(exporter.opset for exporter in EXPORTERS.values())
