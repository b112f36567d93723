"""Encoders whose attention is not quantized, or has heads of an odd size, from torch to a converted model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from .test_encoders import check_exact, real_tokens

MAX_ERROR_RATIO = 1.05
FORMS: list[dict[str, Any]] = [
    {"architecture": "distilbert", "form": "float-attention"},
    {"architecture": "bert", "form": "float-attention", "heads": 10},
    {"architecture": "bert", "form": "excluded"},
    {"architecture": "distilbert", "form": "excluded", "heads": 4},
]


def name_of(arguments: dict[str, Any]) -> str:
    return "-".join(map(str, arguments.values()))


def attentions(model: Path) -> list[str]:
    nodes = [node.op_type for node in onnx.load(model).graph.node]
    return [op for op in nodes if "Attention" in op or op == "Softmax"]


def producers_of_operands(model: Path) -> set[str]:
    """What computes q, k and v."""
    nodes = onnx.load(model).graph.node
    operands = {name for node in nodes if "Attention" in node.op_type for name in node.input[:3]}
    return {node.op_type for node in nodes if operands & set(node.output)}


def mean_errors(encoder: Any, sessions: dict[str, Any], stock: Any) -> dict[str, float]:
    """Against the float model."""
    total = dict.fromkeys(sessions, 0.0)
    for seed in range(8):
        feeds = encoder.feeds(4, 20 + seed, seed)
        expected = real_tokens(stock, feeds)
        for name, session in sessions.items():
            total[name] += float(np.abs(real_tokens(session, feeds) - expected).mean())
    return total


@pytest.mark.parametrize("arguments", FORMS, ids=name_of)
def test_float_attention(
    arguments: dict[str, Any],
    tiny_encoder: Callable[..., Any],
    stock_session: Callable[..., Any],
    fastep_session: Callable[..., Any],
) -> None:
    """Default conversion is as close to float as its source, on either door and on stock ONNX Runtime."""
    encoder = tiny_encoder(**arguments)
    found = attentions(encoder.default)
    assert len(found) == 2
    assert all(op.startswith("FAttention_u8") for op in found)
    assert producers_of_operands(encoder.default) == {"QLinear_f32_sparse"}
    sessions = {
        "source": stock_session(encoder.source),
        "provider": fastep_session(encoder.default, door="provider"),
        "custom-ops": fastep_session(encoder.default, door="custom-ops"),
        "stock": stock_session(encoder.default),
    }
    errors = mean_errors(encoder, sessions, stock_session(encoder.fp32))
    assert all(error <= MAX_ERROR_RATIO * errors["source"] for error in errors.values()), errors


@pytest.mark.parametrize("arguments", FORMS, ids=name_of)
def test_exact_conversion(
    arguments: dict[str, Any], tiny_encoder: Callable[..., Any], stock_session: Callable[..., Any], fastep_session: Any
) -> None:
    """Attention stays, and outputs are the source's."""
    encoder = tiny_encoder(**arguments)
    assert set(attentions(encoder.exact)) == {"Softmax"}
    check_exact(encoder, stock_session, fastep_session)


@pytest.mark.parametrize("heads", [1, 4, 5, 12, 60])
def test_quantized_attention_of_any_heads(
    heads: int,
    tiny_encoder: Callable[..., Any],
    stock_session: Callable[..., Any],
    fastep_session: Callable[..., Any],
) -> None:
    """Heads of 60, 15, 12, 5 and 1 features."""
    encoder = tiny_encoder(heads=heads)
    assert all(op.startswith("QAttention") for op in attentions(encoder.default))
    sessions = {
        "source": stock_session(encoder.source),
        "provider": fastep_session(encoder.default, door="provider"),
        "stock": stock_session(encoder.default),
    }
    errors = mean_errors(encoder, sessions, stock_session(encoder.fp32))
    assert all(error <= MAX_ERROR_RATIO * errors["source"] for error in errors.values()), errors
