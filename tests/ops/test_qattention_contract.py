"""The op contract of QAttention: names, numpy reference and function body agree with each other and with the document.

How far body and reference may differ. Both round E = 255 exp(t - max t), t the masked score, to integers e. The
reference's 2^x is off by 7.6e-5 relative, 0.0194 of a step; what float32 adds in either (arguments below 100 in
magnitude, a few roundings each) stays below 0.01. So an e may differ by one where E lies within UNSURE of a half, and
with U that many keys of a row, |v| the size of a value in steps and n = sum e

    |y_body - y_reference| <= v_scale (sum_U |v| + |y / v_scale| count_U) / (n - count_U) + 8 u |y|

A quantized y is the rounding of such a value.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pyfastep.passes.ops import qattention
from pyfastep.passes.ops.attention import SKIP_PADDING, split_heads
from pyfastep.passes.ops.qattention import EXP2_ERROR_BOUND, Variant

from .contract_models import EVALUATOR_OPSET, TYPES, UNIT, Array, one_node, run_evaluator, run_runtime

UNSURE = 255 * EXP2_ERROR_BOUND + 0.01
VARIANTS = qattention.all_variants()
SHAPES = [
    (1, 1, 1, 4),
    (2, 5, 3, 8),
    (1, 16, 2, 32),
    (3, 17, 1, 12),
    (1, 33, 5, 4),
    (2, 7, 12, 6),
    (1, 9, 1, 25),
    (1, 5, 3, 1),
]  # B, S, h, d

Inputs = dict[str, Any]


def make_inputs(variant: Variant, shape: tuple[int, int, int, int], types: str = "u8 u8 u8", seed: int = 0) -> Inputs:
    """Random inputs in the contract's types; the last row of a mask hides all of its keys."""
    rng = np.random.default_rng(seed)
    batch, length, heads, size = shape
    inputs: Inputs = {}
    for operand, kind in zip("qkv", types.split(), strict=True):
        info = np.iinfo(TYPES[kind])
        inputs[operand] = rng.integers(info.min, info.max + 1, (batch, length, heads * size)).astype(info.dtype)
        inputs[f"{operand}_scale"] = np.float32(rng.uniform(0.01, 0.03))
        inputs[f"{operand}_zero_point"] = info.dtype.type(rng.integers(info.min, info.max + 1))
    if variant.mask == "mask":
        inputs["mask"] = rng.integers(0, 2, (batch, length))
        inputs["mask"][:, 0] = 1
        inputs["mask"][batch - 1] = batch == 1
    elif variant.mask:
        bias = rng.standard_normal((1, heads, length, length)).astype(np.float32)
        hidden = rng.random((batch, 1, 1, length)) < 0.3
        hidden[..., 0] = False
        inputs["mask"] = np.where(hidden, np.float32(-3e38), bias)
        inputs["mask"][0, 0, length // 2] = -np.inf
    if variant.y_type != "f32":
        info = np.iinfo(TYPES[variant.y_type])
        inputs["y_scale"] = np.float32(rng.uniform(0.005, 0.02))
        inputs["y_zero_point"] = info.dtype.type(rng.integers(info.min + 40, info.max - 40))
    return inputs


def scale_of(shape: tuple[int, int, int, int]) -> float:
    return float(np.float32(shape[3] ** -0.5))


def exact(variant: Variant, inputs: Inputs, shape: tuple[int, int, int, int]) -> tuple[Array, Array, Array]:
    """E, the values in steps `[B, h, S, d]`, and the attention without rounding `[B, h, S, d]`, in double."""
    q, k, v = (
        split_heads(inputs[x].astype(np.float64) - float(inputs[f"{x}_zero_point"]), shape[2]) for x in ("q", "k", "v")
    )
    t = q @ k.swapaxes(-1, -2) * float(inputs["q_scale"]) * float(inputs["k_scale"]) * scale_of(shape)
    if variant.mask == "mask":
        t = np.where((inputs["mask"] != 0)[:, None, None, :], t, -np.inf)
    elif variant.mask:
        t = np.where(inputs["mask"] < -1e30, -np.inf, t + inputs["mask"])
    largest = np.maximum(t.max(-1, keepdims=True), -1e30)
    e = 255 * np.exp(t - largest)
    total = e.sum(-1, keepdims=True)
    return e, v, np.where(total > 0, e @ v / np.maximum(total, 1e-30), 0) * float(inputs["v_scale"])


def distance_bound(variant: Variant, inputs: Inputs, shape: tuple[int, int, int, int]) -> Array:
    e, v, y = exact(variant, inputs, shape)
    unsure = (np.abs(e - np.floor(e) - 0.5) <= UNSURE).astype(np.float64)
    count, total = unsure.sum(-1, keepdims=True), np.rint(e).sum(-1, keepdims=True)
    assert (unsure.mean() < 0.15) or unsure.size < 200  # the bound says something
    scale = float(inputs["v_scale"])
    largest = np.abs(y) + scale * np.abs(v).max()  # of what a rounded mean of values can be
    bound = scale * (unsure @ np.abs(v) + largest / scale * count) / np.maximum(total - count, 1) + 8 * UNIT * largest
    return np.asarray(bound.swapaxes(1, 2).reshape(inputs["q"].shape))


def assert_close(variant: Variant, inputs: Inputs, shape: tuple[int, int, int, int], found: Array) -> None:
    expected = qattention.reference(variant, inputs, shape[2], scale_of(shape))
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape == inputs["q"].shape
    bound = distance_bound(variant, inputs, shape)
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if variant.y_type == "f32":
        assert (difference <= bound).all()
        return
    unrounded = qattention.reference(Variant("f32", variant.mask), inputs, shape[2], scale_of(shape))
    steps = unrounded / float(inputs["y_scale"]) + float(inputs["y_zero_point"])
    info = np.iinfo(found.dtype)
    slack = bound / float(inputs["y_scale"]) + 0.5 + 8 * UNIT * (np.abs(steps) + 256)
    assert (np.abs(found - np.clip(steps, info.min, info.max)) <= slack).all()
    assert (difference > 0).mean() < 0.2 or difference.size < 50


def model_of(variant: Variant, inputs: Inputs, shape: tuple[int, int, int, int], opset: int = 17) -> tuple[Any, Inputs]:
    fed = ["q", "k", "v", *(["mask"] if variant.mask else [])]
    attributes = {"num_heads": shape[2], "head_size": shape[3], "scale": scale_of(shape)}
    model = one_node(variant.name, inputs, fed, {"y": (TYPES[variant.y_type], 3)}, opset, **attributes)
    return model, {key: inputs[key] for key in fed}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_names_round_trip(variant: Variant) -> None:
    assert Variant.parse(variant.name) == variant


@pytest.mark.parametrize(
    "name", ["QAttention", "QAttention_u8_", "QAttention_mask", "QAttention_u8_mask_bias", "FAttention_u8"]
)
def test_other_names_are_not_ours(name: str) -> None:
    assert Variant.parse(name) is None


def test_names_are_distinct() -> None:
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS) == 9


def test_the_document_lists_attributes_and_inputs(repository: Path) -> None:
    text = (repository / "docs/op-contract-encoder.md").read_text()
    section = text[text.index("## QAttention") : text.index("## FAttention")]
    named = set(re.findall(r"`([a-z_]+)`", section))
    assert {"q", "k", "v", "mask", "y_scale", "y_zero_point", *VARIANTS[0].attributes, SKIP_PADDING} <= named


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_body_on_runtime(variant: Variant, shape: tuple[int, int, int, int]) -> None:
    inputs = make_inputs(variant, shape)
    model, feeds = model_of(variant, inputs, shape)
    for optimized in (False, True):
        assert_close(variant, inputs, shape, run_runtime(model, feeds, optimized)[0])


@pytest.mark.parametrize("value", [0, 1])
def test_the_body_does_not_read_skip_padding(value: int) -> None:
    variant, shape = Variant("u8", "mask"), (2, 6, 2, 8)
    inputs = make_inputs(variant, shape)
    model, feeds = model_of(variant, inputs, shape)
    expected = run_runtime(model, feeds, True)[0]
    model.graph.node[0].attribute.append(onnx.helper.make_attribute(SKIP_PADDING, value))
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(run_runtime(model, feeds, True)[0], expected)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_body_on_reference_evaluator(variant: Variant) -> None:
    shape = (2, 6, 2, 8)
    inputs = make_inputs(variant, shape, seed=3)
    model, feeds = model_of(variant, inputs, shape, EVALUATOR_OPSET)
    assert_close(variant, inputs, shape, run_evaluator(model, feeds)[0])


@pytest.mark.parametrize("opset", range(17, 22))
@pytest.mark.parametrize("name", ["QAttention_u8_mask", "QAttention_f32_bias", "QAttention_s8"])
def test_body_in_every_opset(name: str, opset: int) -> None:
    variant, shape = Variant.parse(name), (2, 5, 3, 8)
    assert variant is not None
    inputs = make_inputs(variant, shape)
    model, feeds = model_of(variant, inputs, shape, opset)
    assert_close(variant, inputs, shape, run_runtime(model, feeds)[0])


@pytest.mark.parametrize("types", ["s8 u8 u8", "u8 s8 u8", "u8 u8 s8", "s8 s8 s8"])
def test_operand_types(types: str) -> None:
    variant, shape = Variant("u8", "mask"), (2, 7, 2, 8)
    inputs = make_inputs(variant, shape, types)
    model, feeds = model_of(variant, inputs, shape)
    assert_close(variant, inputs, shape, run_runtime(model, feeds)[0])


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.bool_, np.float32])
def test_mask_types(dtype: Any) -> None:
    variant, shape = Variant("f32", "mask"), (2, 7, 2, 8)
    inputs = make_inputs(variant, shape)
    expected = qattention.reference(variant, inputs, 2, scale_of(shape))
    inputs["mask"] = inputs["mask"].astype(dtype)
    assert np.array_equal(qattention.reference(variant, inputs, 2, scale_of(shape)), expected)
    model, feeds = model_of(variant, inputs, shape)
    assert_close(variant, inputs, shape, run_runtime(model, feeds)[0])


@pytest.mark.parametrize("mask", ["mask", "bias"])
def test_a_query_that_sees_no_key_gives_zero(mask: Any) -> None:
    variant, shape = Variant("u8", mask), (2, 4, 1, 8)
    inputs = make_inputs(variant, shape)
    inputs["mask"] = np.zeros((2, 4), np.int64) if mask == "mask" else np.full((1, 1, 1, 4), -np.inf, np.float32)
    expected = np.full((2, 4, 8), inputs["y_zero_point"])
    assert np.array_equal(qattention.reference(variant, inputs, 1, 0.3), expected)
    model, feeds = model_of(variant, inputs, shape)
    assert np.array_equal(run_runtime(model, feeds)[0], expected)


@pytest.mark.parametrize("mask", ["", "mask", "bias"])
def test_reference_against_exact_attention(mask: Any) -> None:
    """Rounding e moves y by at most half a step of e times the distance of each value from the mean."""
    variant, shape = Variant("f32", mask), (2, 19, 3, 16)
    inputs = make_inputs(variant, shape, seed=5)
    found = split_heads(qattention.reference(variant, inputs, 3, scale_of(shape)), 3)
    e, v, y = exact(variant, inputs, shape)
    total = np.maximum(np.rint(e).sum(-1), 1)[..., None]
    spread = np.abs(v[:, :, None] * float(inputs["v_scale"]) - y[:, :, :, None])  # query, key, feature
    rounding = np.where(e > 0, np.minimum(0.5 + UNSURE, e + UNSURE), 0)
    bound = np.einsum("bhij,bhijd->bhid", rounding, spread) / total + 1e-5
    assert (np.abs(found - y) <= bound).all()
    assert bound.mean() < 0.2 * np.abs(v).max() * float(inputs["v_scale"])


def test_the_largest_probability_is_255() -> None:
    variant, shape = Variant("f32", ""), (2, 9, 2, 8)
    e = qattention.probabilities(variant, make_inputs(variant, shape), 2, scale_of(shape))
    assert (e.max(-1) == 255).all()
    assert e.min() >= 0


def test_the_zero_point_of_k_cancels() -> None:
    variant, shape = Variant("f32", "mask"), (1, 9, 2, 8)
    inputs = make_inputs(variant, shape)
    first = qattention.reference(variant, inputs, 2, 0.3)
    inputs["k_zero_point"] = np.uint8(int(inputs["k_zero_point"]) ^ 0x55)
    assert np.array_equal(qattention.reference(variant, inputs, 2, 0.3), first)
