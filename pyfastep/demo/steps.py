"""The demo from the first step to the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import pyfastep
from pyfastep.bench.machine import describe_machine
from pyfastep.bench.memory import MemoryUse
from pyfastep.demo.build import Baseline, BuiltModel, build_baseline, build_fp32, build_model, write_calibration
from pyfastep.demo.measure import SpeedRow, agreement, measure_speed, stock_session
from pyfastep.demo.memory import MEMORY_MODEL, measure_forms
from pyfastep.demo.models import MODELS, DemoModel, minilm_tokenizer
from pyfastep.demo.report import FileRow, Neighbour, Results, TextResults
from pyfastep.demo.similarity import Feeds, embed, mean_cosine, nearest_other, token_batches
from pyfastep.demo.text import docstrings, first_sentence

__all__ = ["STEPS", "run_demo"]

STEPS = 44
"""About as many times as ``progress`` is called."""

_TEXTS = 256
_AGREEMENT_TEXTS = 32
_EXAMPLES = 3

Progress = Callable[[str], None]


def run_demo(output: Path, *, lengths: Sequence[int], threads: int, progress: Progress) -> Results:
    """Builds what is missing under ``output/models``, measures and compares.

    Args:
        output: Folder of the models, and of the results.
        lengths: Tokens per call.
        threads: Intra-op threads of every engine.
        progress: Called with what comes next.

    Raises:
        FastEPError: Something is missing or failed; says what and what to do.
    """
    root = output / "models"
    calibration = write_calibration(root)
    texts = docstrings(_TEXTS, seed=0)
    batches = list(token_batches(sorted(texts, key=len), minilm_tokenizer(), batch=8))
    speed: list[SpeedRow] = []
    files: list[FileRow] = []
    memory: tuple[MemoryUse, ...] = ()
    for architecture in dict.fromkeys(model.architecture for model in MODELS):
        models = [model for model in MODELS if model.architecture == architecture]
        baseline = build_baseline(models[0], root, calibration, progress)
        built = [build_model(model, root, calibration, progress) for model in models]
        speed += measure_speed(built, baseline, lengths=lengths, threads=threads, progress=progress)
        for entry in built:
            progress(f"{entry.model.title}: compare with stock ONNX Runtime")
            files.append(_file_row(entry, baseline, batches[: _AGREEMENT_TEXTS // 8]))
            if entry.model.name == MEMORY_MODEL:
                memory = measure_forms(entry, progress)
    progress("all-MiniLM-L6-v2: nearest sentences")
    text = _text_results(root, sorted(texts, key=len), batches, progress)
    return Results(describe_machine(), tuple(speed), tuple(files), memory, text)


def _file_row(entry: BuiltModel, baseline: Baseline, batches: Sequence[Feeds]) -> FileRow:
    return FileRow(
        name=entry.model.name,
        title=entry.model.title,
        sparsity=entry.sparsity,
        fp32_bytes=baseline.fp32.stat().st_size,
        int8_bytes=entry.quantized.stat().st_size,
        fastep_bytes=entry.fastep.stat().st_size,
        agreement=agreement(entry, batches),
    )


def _text_results(root: Path, texts: list[str], batches: Sequence[Feeds], progress: Progress) -> TextResults:
    """Embeds all texts with the dense and the pruned float model and with FastEP."""
    pruned = next(model for model in MODELS if model.architecture == "minilm")
    paths = [build_fp32(model, root, progress) for model in (DemoModel("minilm"), pruned)]
    dense_rows, pruned_rows = (embed(stock_session(path), batches) for path in paths)
    fast_session = pyfastep.InferenceSession(root / pruned.name / "fastep.onnx", strict=True)
    fast_rows = embed(fast_session, batches)
    found = [nearest_other(rows) for rows in (dense_rows, pruned_rows, fast_rows)]
    chosen = np.linspace(len(texts) // 2, len(texts) - 1, _EXAMPLES + 1, dtype=int)[:-1]
    examples = [Neighbour(_shown(texts[i]), *(_shown(texts[index[i]]) for index in found)) for i in chosen]
    return TextResults(
        texts=len(texts),
        cosine_pruned_fp32=mean_cosine(fast_rows, pruned_rows),
        cosine_dense_fp32=mean_cosine(fast_rows, dense_rows),
        same_neighbour=float((found[1] == found[2]).mean()),
        neighbours=tuple(examples),
    )


def _shown(text: str, width: int = 90) -> str:
    sentence = first_sentence(text)
    return sentence if len(sentence) <= width else sentence[: width - 3] + "..."
