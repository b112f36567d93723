"""Whole encoders: converted models against their source and against the float model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyfastep.demo.similarity import token_batches
from pyfastep.demo.text import docstrings

MIN_COSINE = 0.9995
MAX_ERROR_RATIO = 1.05
INPUTS = 512

Floats = NDArray[np.float64]

ENCODERS = [
    {"architecture": "bert", "block": (4, 1)},
    {"architecture": "bert", "block": (4, 1), "form": "float-products"},
    {"architecture": "distilbert", "block": (4, 4), "form": "float-products", "activation": "relu"},
    {"architecture": "bert", "block": (1, 4), "form": "s8"},
    {"architecture": "distilbert", "block": (2, 4), "form": "operators"},
    {"architecture": "bert", "sparsity": 0.0, "form": "float-products", "activation": "gelu_new"},
]


def name_of(arguments: dict[str, object]) -> str:
    return "-".join(str(value).replace(", ", "x").strip("()") for value in arguments.values())


def real_tokens(session: Any, feeds: dict[str, Any]) -> Floats:
    """The first output at the tokens that are not padding, ``[tokens, features]``."""
    output = session.run(None, feeds)[0]
    return output[feeds["attention_mask"] == 1].reshape(feeds["attention_mask"].sum(), -1).astype(np.float64)


def cosine(a: Floats, b: Floats) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def statistics(actual: Floats, expected: Floats) -> dict[str, float]:
    difference = np.abs(actual - expected)
    return {
        "cosine": cosine(actual, expected),
        "mean difference": float(difference.mean()),
        "p99 difference": float(np.percentile(difference, 99)),
        "largest difference": float(difference.max()),
        "mean magnitude": float(np.abs(expected).mean()),
    }


def check_exact(encoder: Any, stock: Callable[..., Any], fastep: Callable[..., Any]) -> None:
    """On both doors an exactly converted model gives what stock ONNX Runtime makes of its source, bit for bit."""
    source = stock(encoder.source)
    for door in ("provider", "custom-ops"):
        session = fastep(encoder.exact, door=door)
        for seed in range(4):
            feeds = encoder.feeds(3, 40, seed)
            for found, expected in zip(session.run(None, feeds), source.run(None, feeds), strict=True):
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("arguments", ENCODERS, ids=name_of)
def test_exact_conversion_is_the_source(
    arguments: dict[str, Any], tiny_encoder: Callable[..., Any], stock_session: Callable[..., Any], fastep_session: Any
) -> None:
    check_exact(tiny_encoder(**arguments), stock_session, fastep_session)


@pytest.mark.parametrize("arguments", ENCODERS, ids=name_of)
def test_exact_conversion_without_fastep(
    arguments: dict[str, Any],
    tiny_encoder: Callable[..., Any],
    stock_session: Callable[..., Any],
    report: Callable[[str, object], None],
) -> None:
    """ONNX Runtime, which runs the bodies, fuses what is around them otherwise than in the source."""
    encoder = tiny_encoder(**arguments)
    feeds = encoder.feeds(3, 40)
    for optimized in (False, True):
        tokens = [
            real_tokens(stock_session(path, optimized=optimized), feeds) for path in (encoder.exact, encoder.source)
        ]
        figures = statistics(*tokens)
        report(f"optimized: {optimized}", figures)
        assert figures["cosine"] >= MIN_COSINE


def test_exact_conversion_of_the_real_model_is_the_source(
    minilm: Any, stock_session: Callable[..., Any], fastep_session: Any, minilm_tokenizer: Any
) -> None:
    """Token by token, bit for bit."""
    check_exact(minilm, stock_session, fastep_session)
    source, exact = stock_session(minilm.source), fastep_session(minilm.exact)
    for feeds in token_batches(docstrings(64, seed=2), minilm_tokenizer, batch=8):
        np.testing.assert_array_equal(exact.run(None, feeds)[0], source.run(None, feeds)[0])


def test_default_conversion_is_as_close_to_float_as_the_source(
    minilm: Any,
    stock_session: Callable[..., Any],
    fastep_session: Callable[..., Any],
    minilm_tokenizer: Any,
    report: Callable[[str, object], None],
) -> None:
    """Mean absolute error over the tokens of real texts; error is that of the model with the same pruned weights."""
    texts = sorted(docstrings(INPUTS, seed=3), key=len)  # alike lengths together: little padding
    batches = list(token_batches(texts, minilm_tokenizer, batch=16, max_length=64))
    assert sum(len(feeds["input_ids"]) for feeds in batches) >= 500
    sessions = {
        "source on stock": stock_session(minilm.source),
        "provider": fastep_session(minilm.default, door="provider"),
        "custom-ops": fastep_session(minilm.default, door="custom-ops"),
        "stock": stock_session(minilm.default),
    }
    float_session = stock_session(minilm.fp32)
    total, count = dict.fromkeys(sessions, 0.0), 0
    for feeds in batches:
        expected = real_tokens(float_session, feeds)
        count += expected.size
        for name, session in sessions.items():
            total[name] += float(np.abs(real_tokens(session, feeds) - expected).sum())
    errors = {name: value / count for name, value in total.items()}
    report("mean error against float", errors)
    allowed = MAX_ERROR_RATIO * errors["source on stock"]
    assert all(error <= allowed for error in errors.values()), errors


@pytest.mark.parametrize("form", ["s8", "operators"])
def test_dropped_roundings_do_not_cost_accuracy(
    form: str,
    tiny_encoder: Callable[..., Any],
    stock_session: Callable[..., Any],
    fastep_session: Callable[..., Any],
    report: Callable[[str, object], None],
) -> None:
    """These sources round every product before its bias; the default conversion does not."""
    encoder = tiny_encoder(architecture="bert", block=(4, 1), form=form)
    feeds = [encoder.feeds(16, 24, seed) for seed in range(INPUTS // 16)]
    float_session = stock_session(encoder.fp32)
    expected = np.concatenate([real_tokens(float_session, batch) for batch in feeds])
    sessions = {
        "source on stock": stock_session(encoder.source),
        "provider": fastep_session(encoder.default, door="provider"),
        "custom-ops": fastep_session(encoder.default, door="custom-ops"),
        "stock": stock_session(encoder.default),
    }
    errors = {}
    for name, session in sessions.items():
        actual = np.concatenate([real_tokens(session, batch) for batch in feeds])
        errors[name] = float(np.abs(actual - expected).mean())
    report("mean error against float", errors)
    allowed = MAX_ERROR_RATIO * errors["source on stock"]
    assert all(error <= allowed for error in errors.values()), errors
