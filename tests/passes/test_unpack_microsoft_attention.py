"""Attention, MultiHeadAttention and QAttention of ONNX Runtime, with every mask that they take on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from .models import Array, Builder, run
from .unpacking import builder, check_equal, random, refused, unpack

B, S, HEADS, SIZE = 3, 6, 2, 4
FEATURES = HEADS * SIZE
TOKENS = ["batch", "length", FEATURES]
MASKS = ("", "raw", "lengths", "square")
MASK_SHAPES = {"raw": ["batch", "length"], "lengths": ["batch"], "square": ["batch", "length", "length"]}


def mask_feeds(mask: str) -> dict[str, Array]:
    """The first sequence is whole; every query sees a key."""
    real = (np.arange(S) < np.array([S, 4, 1])[:, None]).astype(np.int32)
    holes = real.copy()
    holes[0, 2] = 0
    square = np.repeat(real[:, None], S, axis=1)
    square[:, 0, 1:] = 0
    arrays = {"raw": holes, "lengths": real.sum(axis=1, dtype=np.int32), "square": square}
    return {"mask": arrays[mask]} if mask else {}


def packed_model(mask: str = "", bias: bool = True, added: bool = False, **attributes: Any) -> Builder:
    b = builder({"x": TOKENS})
    inputs = ["x", b.constant("w", random(FEATURES, 3 * FEATURES) / 2)]
    inputs.append(b.constant("b", random(3 * FEATURES)) if bias else "")
    inputs.append(b.input("mask", MASK_SHAPES[mask], "i32") if mask else "")
    if added:
        inputs += ["", b.constant("added", random(1, HEADS, S, S))]
    b.node("Attention", inputs, "y", domain="com.microsoft", num_heads=HEADS, **attributes)
    b.output("y", TOKENS)
    return b


@pytest.mark.parametrize("mask", MASKS)
def test_packed(mask: str) -> None:
    check_equal(packed_model(mask).build(), {"x": random(B, S, FEATURES), **mask_feeds(mask)})


@pytest.mark.parametrize(
    ("options", "mask"),
    [
        ({"scale": 0.7}, ""),
        ({"mask_filter_value": -3.0}, "raw"),
        ({"added": True}, "raw"),
    ],
    ids=["scale", "filter", "added"],
)
def test_packed_options(options: dict[str, Any], mask: str) -> None:
    check_equal(packed_model(mask, **options).build(), {"x": random(B, S, FEATURES), **mask_feeds(mask)})


def test_packed_without_bias() -> None:
    """ONNX Runtime 1.31 crashes without one, so zeros are the yardstick."""
    feeds = {"x": random(B, S, FEATURES)}
    zeros = packed_model()
    zeros.constant("b", np.zeros(3 * FEATURES))
    model, _ = unpack(packed_model(bias=False).build())
    assert np.allclose(run(model, feeds)[0], run(zeros.build(), feeds)[0], atol=1e-5)


def test_layers_share_their_mask() -> None:
    """One raw mask for all of them: padding is skipped in all or none."""
    b = packed_model("lengths")
    b.node("Attention", ["y", "w", "b", "mask"], "second", domain="com.microsoft", num_heads=HEADS)
    b.outputs.clear()
    b.output("second", TOKENS)
    model = check_equal(b.build(), {"x": random(B, S, FEATURES), **mask_feeds("lengths")})
    assert [node.op_type for node in model.graph].count("Range") == 1


def test_different_sizes_of_q_and_v() -> None:
    b = packed_model(qkv_hidden_sizes=[FEATURES, FEATURES, 2 * FEATURES])
    b.constant("w", random(FEATURES, 4 * FEATURES) / 2)
    b.constant("b", random(4 * FEATURES))
    b.outputs.clear()
    b.output("y", ["batch", "length", 2 * FEATURES])
    check_equal(b.build(), {"x": random(B, S, FEATURES)})


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("bias", [False, True])
def test_multi_head(bias: bool, mask: str) -> None:
    b = builder(dict.fromkeys("qkv", TOKENS))
    inputs = [*"qkv", b.constant("b", random(3 * FEATURES)) if bias else ""]
    inputs.append(b.input("mask", MASK_SHAPES[mask], "i32") if mask else "")
    b.node("MultiHeadAttention", inputs, "y", domain="com.microsoft", num_heads=HEADS)
    b.output("y", TOKENS)
    feeds = {name: random(B, S, FEATURES, seed=i) for i, name in enumerate("qkv")}
    check_equal(b.build(), {**feeds, **mask_feeds(mask)})


@pytest.mark.parametrize("per_channel", [False, True])
def test_quantized(per_channel: bool) -> None:
    """ONNX Runtime multiplies integers, the plain form floats that stand for them: equal up to float32 rounding."""
    b = builder({"x": TOKENS}, kinds={"x": "u8"})
    rng = np.random.default_rng(0)
    n = 3 * FEATURES
    b.constant("w", rng.integers(-127, 128, (FEATURES, n)), np.int8)
    b.constant("bias", rng.standard_normal(n))
    b.constant("x_scale", 0.02), b.constant("x_zero", 120, np.uint8)
    b.constant("w_scale", rng.uniform(0.5, 1.5, n) / 127 if per_channel else 1 / 127)
    b.constant("w_zero", np.zeros(n if per_channel else ()), np.int8)
    b.input("mask", MASK_SHAPES["raw"], "i32")
    inputs = ["x", "w", "bias", "x_scale", "w_scale", "mask", "x_zero", "w_zero"]
    b.node("QAttention", inputs, "y", domain="com.microsoft", num_heads=HEADS)
    b.output("y", TOKENS)
    feeds = {"x": rng.integers(0, 256, (B, S, FEATURES), np.uint8), **mask_feeds("raw")}
    check_equal(b.build(), feeds, tolerance=1e-4)


def scale_of_the_run() -> onnx.ModelProto:
    b = builder({"x": TOKENS, "x_scale": []}, kinds={"x": "u8"})
    b.constant("w", np.ones((FEATURES, 3 * FEATURES)), np.int8)
    inputs = ["x", "w", b.constant("bias", random(3 * FEATURES)), "x_scale", b.constant("w_scale", 0.01)]
    b.node("QAttention", inputs, "y", domain="com.microsoft", num_heads=HEADS)
    b.output("y", TOKENS)
    return b.build()


def end_and_start() -> onnx.ModelProto:
    b = packed_model("lengths")
    next(value for value in b.inputs if value.name == "mask").type.tensor_type.shape.dim[0].dim_param = "twice"
    return b.build()


def packed_together() -> onnx.ModelProto:
    b = builder({"x": ["batch", "length", HEADS, 3, SIZE]})
    b.node("MultiHeadAttention", ["x"], "y", domain="com.microsoft", num_heads=HEADS)
    b.output("y", TOKENS)
    return b.build()


def with_present() -> onnx.ModelProto:
    b = packed_model()
    b.nodes[0].output.append("present")
    b.output("present", [2, "batch", HEADS, "length", SIZE])
    return b.build()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (packed_model(unidirectional=1).build(), "hides later tokens (unidirectional)"),
        (packed_model(do_rotary=1).build(), "rotates q and k"),
        (with_present(), "keeps keys and values of former runs"),
        (scale_of_the_run(), "quantized dynamically"),
        (end_and_start(), "not known to be one length per sequence"),
        (packed_together(), "packed together"),
    ],
    ids=["causal", "rotary", "present", "dynamic", "end-and-start", "packed"],
)
def test_refused(source: onnx.ModelProto, reason: str) -> None:
    (found,) = refused(source)
    assert reason in found


def test_it_stays_where_attention_is_not_fused() -> None:
    model, step = unpack(packed_model().build(), attention=False)
    assert step.count == 0
    assert run(model, {"x": random(B, S, FEATURES)})[0].shape == (B, S, FEATURES)
