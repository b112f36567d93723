"""How far FastEP's outputs are from those of the float model, and of stock ONNX Runtime on the same quantized model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyfastep
from pyfastep.bench.inputs import make_inputs, vocabulary_size
from pyfastep.demo.build import BuiltModel
from pyfastep.demo.figures.figure import Figure, Section
from pyfastep.demo.figures.files import DemoFiles
from pyfastep.demo.figures.worker import open_fastep
from pyfastep.demo.measure import stock_session
from pyfastep.demo.models import minilm_tokenizer
from pyfastep.demo.similarity import Feeds, Floats, embed, token_batches
from pyfastep.demo.text import docstrings
from pyfastep.demo.turns import Spread, spread

__all__ = ["measure_accuracy"]

_INPUTS = 500
_BATCH, _LENGTH = 20, 32
_MOST_ERROR = 1.05
_LEAST_COSINE = 0.9995
_TITLE = "Accuracy"
_NOTES = (
    f"Error ratio: mean |FastEP - float model| / mean |ORT on the quantized model - float model|, on {_INPUTS} inputs: "
    "random tokens for DistilBERT's logits, sentences for MiniLM's embeddings; the float model has the same pruned "
    "weights. The spread is that of the ratio over the inputs.",
    "Exact conversion: the cosine of each sentence's embedding to that of stock ONNX Runtime on the source; its least. "
    "Beside it what ONNX Runtime without its optimizations differs from itself: a float that is rounded otherwise in "
    "its last place can be quantized to the next step, which moves others.",
)


def measure_accuracy(files: DemoFiles, progress: Callable[[str], None]) -> Section:
    """All patterns of DistilBERT, and MiniLM."""
    figures = []
    for built in files.models.values():
        progress(f"errors of {built.model.title}")
        errors = _logit_errors if built.model.architecture == "distilbert" else _embedding_errors
        figures.append(_error_ratio(built, *errors(built)))
    minilm = next(built for built in files.models.values() if built.model.architecture == "minilm")
    progress(f"exact conversion of {minilm.model.title}")
    figures.append(_exact(minilm))
    return Section("accuracy", _TITLE, tuple(figures), _NOTES)


def _error_ratio(built: BuiltModel, own: Floats, stock: Floats) -> Figure:
    """From the mean absolute error of each input."""
    ratio = float(own.mean() / stock.mean())
    each = spread((own / stock).tolist())
    return Figure(
        f"{built.model.title}: error ratio",
        f"{len(own)} inputs",
        Spread(ratio, each.p10, each.p90, len(own)),
        floor=_MOST_ERROR,
        less_is_better=True,
        detail=f"{own.mean():.4g} / {stock.mean():.4g}",
    )


def _logit_errors(built: BuiltModel) -> tuple[Floats, Floats]:
    """Mean absolute error of each input's logits, of FastEP and of stock ONNX Runtime."""
    fp32 = stock_session(built.quantized.parent / "model.onnx")
    stock, own = stock_session(built.quantized), open_fastep(built.fastep, 1)
    errors: dict[str, list[Floats]] = {"own": [], "stock": []}
    vocabulary = vocabulary_size(built.fastep)
    for seed in range(_INPUTS // _BATCH):
        feeds = make_inputs(fp32, _BATCH, _LENGTH, vocabulary=vocabulary, seed=seed)
        expected = _stacked(fp32.run(None, feeds))
        for name, session in (("own", own), ("stock", stock)):
            errors[name].append(np.abs(_stacked(session.run(None, feeds)) - expected).mean(axis=1))
    return np.concatenate(errors["own"]), np.concatenate(errors["stock"])


def _stacked(outputs: Sequence[NDArray[np.float32]]) -> Floats:
    return np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)


def _sentences() -> list[Feeds]:
    texts = sorted(docstrings(_INPUTS, seed=4), key=len)  # alike lengths together: little padding
    return list(token_batches(texts, minilm_tokenizer(), batch=_BATCH))


def _embedding_errors(built: BuiltModel) -> tuple[Floats, Floats]:
    batches = _sentences()
    expected = embed(stock_session(built.quantized.parent / "model.onnx"), batches)
    sessions = (open_fastep(built.fastep, 1), stock_session(built.quantized))
    own, stock = (np.abs(embed(session, batches) - expected).mean(axis=1) for session in sessions)
    return own, stock


def _exact(built: BuiltModel) -> Figure:
    batches = _sentences()
    expected = embed(stock_session(built.quantized), batches)
    with _exact_session(built.quantized) as session:
        found = embed(session, batches)
    cosines, equal = _cosines(found, expected), (found == expected).all(axis=1).sum()
    own = _cosines(embed(stock_session(built.quantized, optimized=False), batches), expected)
    each = spread(cosines.tolist())
    return Figure(
        f"{built.model.title}: exact conversion, least cosine to ORT",
        f"{len(cosines)} sentences",
        Spread(float(cosines.min()), each.p10, each.p90, len(cosines)),
        floor=_LEAST_COSINE,
        detail=f"{equal} equal bit for bit; ORT without optimizations to itself: least {own.min():.5f}, {_below(own)}",
    )


def _cosines(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", a, b))


def _below(cosines: Floats) -> str:
    return f"mean {cosines.mean():.5f}, {(cosines < _LEAST_COSINE).sum()} below {_LEAST_COSINE}"


@contextmanager
def _exact_session(source: Path) -> Iterator[Any]:
    """A session of a model converted exactly."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exact.onnx"
        pyfastep.convert(source, path, exact=True)
        yield open_fastep(path, 1)
