"""ONNX's Attention in all its forms becomes plain ops that compute the same, or is refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from .models import Array, Builder
from .unpacking import builder, check_equal, random, refused

B, S, HEADS, SIZE = 2, 5, 3, 4
FLAT, SPLIT = ["batch", "length", HEADS * SIZE], ["batch", HEADS, "length", SIZE]


def attention_model(by_head: bool = False, mask: str = "", **attributes: Any) -> Builder:
    b = builder(dict.fromkeys("qkv", SPLIT if by_head else FLAT), opset=23)
    heads = {} if by_head else {"q_num_heads": HEADS, "kv_num_heads": HEADS}
    inputs = list("qkv")
    if mask:
        b.input("mask", ["batch", 1, "length", "length"], mask)
        inputs.append("mask")
    b.node("Attention", inputs, "y", **{**heads, **attributes})
    b.output("y", SPLIT if by_head else FLAT)
    return b


def feeds_of(source: onnx.ModelProto) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shape = (B, S, HEADS * SIZE) if len(source.graph.input[0].type.tensor_type.shape.dim) == 3 else (B, HEADS, S, SIZE)
    feeds: dict[str, Array] = {name: random(*shape, seed=index) for index, name in enumerate("qkv")}
    visible = np.arange(S) < rng.integers(1, S + 1, (B, 1, 1, 1))
    visible = np.broadcast_to(visible, (B, 1, S, S))
    kinds = {1: np.where(visible, np.float32(0.5), np.float32(-1e4)), 9: visible}
    if len(source.graph.input) > 3:
        feeds["mask"] = kinds[source.graph.input[3].type.tensor_type.elem_type]
    return feeds


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("mask", ["", "f32", "bool"])
@pytest.mark.parametrize("by_head", [False, True])
def test_unpacked(by_head: bool, mask: str, scale: float | None) -> None:
    source = attention_model(by_head, mask, **({} if scale is None else {"scale": scale})).build()
    model = check_equal(source, feeds_of(source))
    assert [node.op_type for node in model.graph].count("MatMul") == 2


def with_past() -> Builder:
    b = attention_model(by_head=True)
    for name in ("past_k", "past_v"):
        b.input(name, ["batch", HEADS, "past", SIZE])
    b.nodes[0].input.extend(["", "past_k", "past_v"])
    return b


def grouped() -> Builder:
    b = attention_model(kv_num_heads=1)
    for value in b.inputs[1:]:
        value.type.tensor_type.shape.dim[2].dim_value = SIZE
    return b


def with_scores() -> Builder:
    b = attention_model()
    b.nodes[0].output.extend(["", "", "scores"])
    b.output("scores", ["batch", HEADS, "length", "length"])
    return b


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (attention_model(is_causal=1), "hides later tokens (is_causal)"),
        (attention_model(softcap=20.0), "caps the scores (softcap)"),
        (with_past(), "keeps keys and values of former runs"),
        (grouped(), "grouped queries"),
        (with_scores(), "the scores are used elsewhere"),
    ],
    ids=["causal", "softcap", "past", "grouped", "scores"],
)
def test_refused(made: Builder, reason: str) -> None:
    (found,) = refused(made.build())
    assert reason in found
