"""Export of a Hugging Face encoder to ONNX with optimum, from memory, without the network."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyfastep._extras import how_to_install
from pyfastep._model_paths import share_permissions
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["MAX_OPSET", "MIN_OPSET", "Task", "export_onnx"]

MIN_OPSET = 17
"""LayerNormalization exists since this opset; the passes build on it."""

MAX_OPSET = 23
"""The latest that torch's exporter writes."""

Task = Literal["feature-extraction", "question-answering", "text-classification", "token-classification", "fill-mask"]


def export_onnx(
    model: PreTrainedModel,
    output_dir: str | Path,
    *,
    task: Task,
    tokenizer: PreTrainedTokenizerBase | None = None,
    opset: int = 18,
) -> Path:
    """Writes ``model.onnx``, the configuration and the tokenizer's files into ``output_dir``.

    Batch and sequence length stay dynamic. Nothing is fetched: the tokenizer is saved if it is given, and never looked
    up by the model's name. If the export fails, ``output_dir`` is as it was.

    Args:
        model: Encoder in float32; put into evaluation mode here.
        output_dir: Created if it does not exist; ``model.onnx`` there is replaced.
        task: Name of the task as optimum knows it; it decides the outputs.
        tokenizer: Saved beside the model.
        opset: Version of the ONNX operators, 17 to 23.

    Returns:
        Path of the ONNX file.

    Raises:
        FastEPError: The opset is too old or too new, the model is not float32, a package is missing, or optimum cannot
            export the model.
    """
    if not MIN_OPSET <= opset <= MAX_OPSET:
        why = "older ones have no LayerNormalization operator, later ones torch does not write"
        raise FastEPError(f"opset must be {MIN_OPSET} to {MAX_OPSET}, found {opset}", remedy=why)
    dtypes = {str(parameter.dtype) for parameter in model.parameters()}
    if dtypes != {"torch.float32"}:
        raise FastEPError(
            f"every weight must be torch.float32, found {', '.join(sorted(dtypes)) or 'no weights'}",
            node=type(model).__name__,
            remedy="call model.float() first",
        )
    model.train(False)
    target = Path(output_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
        _run_optimum(model, Path(scratch), task, opset)
        share_permissions(Path(scratch) / "model.onnx")
        if tokenizer is not None:
            tokenizer.save_pretrained(scratch)
        target.mkdir(exist_ok=True)
        for path in _files(Path(scratch)):
            shutil.move(path, target / path.name)
    return target / "model.onnx"


def _run_optimum(model: PreTrainedModel, output_dir: Path, task: str, opset: int) -> None:
    try:
        from optimum.exporters.onnx import onnx_export_from_model
    except ImportError as error:
        raise FastEPError(f"optimum's ONNX exporter is missing: {error}", remedy=how_to_install("compress")) from error
    # With a name, optimum would ask the model hub for preprocessors.
    name_or_path = model.config._name_or_path
    model.config._name_or_path = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns about every constant of the attention mask
            onnx_export_from_model(model, output_dir, opset=opset, task=task, do_validation=False)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise FastEPError(
            f"optimum cannot export the model for task {task!r}: {error}", node=type(model).__name__
        ) from error
    finally:
        model.config._name_or_path = name_or_path


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file())
