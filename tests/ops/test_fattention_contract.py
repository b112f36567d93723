"""The op contract of FAttention: names, numpy reference and function body agree with each other and with the document.

How far body and reference may differ, with u = 2^-24, d features, S keys. Each computes scores by d roundings and a few
more: 2 (d + 4) u sum |q k| scale apart, and exponents 2 u |x| log2 e more. A power changes by as much, relative, and by
the error of either exponential, 4e-7 together. Sums of S products add 2 S u each, of values that are at most max |v|:

    |y_body - y_reference| <= 2 (2 (d + 4) u max sum |q k| scale + 4 u max |t| + 4e-7 + 2 S u) max |v|

A quantized y is the rounding of such a value: one step apart at most, and rarely.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyfastep.passes.ops import fattention
from pyfastep.passes.ops.attention import split_heads
from pyfastep.passes.ops.fattention import Variant

from .contract_models import EVALUATOR_OPSET, TYPES, UNIT, Array, one_node, run_evaluator, run_runtime

VARIANTS = fattention.all_variants()
SHAPES = [(1, 1, 1, 4), (2, 5, 3, 8), (1, 16, 2, 32), (3, 17, 1, 25), (1, 33, 5, 1), (1, 9, 12, 6)]  # B, S, h, d

Inputs = dict[str, Any]
Shape = tuple[int, int, int, int]


def make_inputs(variant: Variant, shape: Shape, seed: int = 0) -> Inputs:
    """Random inputs in the contract's types; the last row of a mask hides all of its keys."""
    rng = np.random.default_rng(seed)
    batch, length, heads, size = shape
    inputs: Inputs = {x: rng.normal(0, 2, (batch, length, heads * size)).astype(np.float32) for x in "qkv"}
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


def scale_of(shape: Shape) -> float:
    return float(np.float32(shape[3] ** -0.5))


def distance_bound(inputs: Inputs, shape: Shape) -> float:
    q, k = (np.abs(split_heads(inputs[x], shape[2])).astype(np.float64) for x in "qk")
    scores = (q @ k.swapaxes(-1, -2)).max() * scale_of(shape)
    relative = 2 * (shape[3] + 4) * UNIT * scores + 4 * UNIT * scores + 4e-7 + 2 * shape[1] * UNIT
    return float(2 * relative * np.abs(inputs["v"]).max())


def assert_close(variant: Variant, inputs: Inputs, shape: Shape, found: Array) -> None:
    expected = fattention.reference(variant, inputs, shape[2], scale_of(shape))
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape == inputs["q"].shape
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if variant.y_type == "f32":
        assert difference.max() <= distance_bound(inputs, shape)
        return
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02 or difference.size < 50


def model_of(variant: Variant, inputs: Inputs, shape: Shape, opset: int = 17) -> tuple[Any, Inputs]:
    fed = ["q", "k", "v", *(["mask"] if variant.mask else [])]
    attributes = {"num_heads": shape[2], "head_size": shape[3], "scale": scale_of(shape)}
    model = one_node(variant.name, inputs, fed, {"y": (TYPES[variant.y_type], 3)}, opset, **attributes)
    return model, {key: inputs[key] for key in fed}


def test_names_round_trip() -> None:
    assert [Variant.parse(variant.name) for variant in VARIANTS] == VARIANTS
    assert len({variant.name for variant in VARIANTS}) == 9


@pytest.mark.parametrize("name", ["FAttention", "FAttention_u8_", "FAttention_mask", "QAttention_u8"])
def test_other_names_are_not_ours(name: str) -> None:
    assert Variant.parse(name) is None


def test_the_document_lists_attributes_and_inputs(repository: Path) -> None:
    text = (repository / "docs/op-contract-encoder.md").read_text()
    section = text[text.index("## FAttention") : text.index("## The compiled plan")]
    named = set(re.findall(r"`([a-z_]+)`", section))
    assert {"q", "k", "v", "mask", "y_scale", "y_zero_point", *VARIANTS[0].attributes} <= named


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_body_on_runtime(variant: Variant, shape: Shape) -> None:
    inputs = make_inputs(variant, shape)
    model, feeds = model_of(variant, inputs, shape)
    for optimized in (False, True):
        assert_close(variant, inputs, shape, run_runtime(model, feeds, optimized)[0])


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_body_on_reference_evaluator(variant: Variant) -> None:
    shape = (2, 6, 2, 8)
    inputs = make_inputs(variant, shape, seed=3)
    model, feeds = model_of(variant, inputs, shape, EVALUATOR_OPSET)
    assert_close(variant, inputs, shape, run_evaluator(model, feeds)[0])


@pytest.mark.parametrize("opset", range(17, 22))
@pytest.mark.parametrize("name", ["FAttention_u8_mask", "FAttention_f32_bias", "FAttention_s8"])
def test_body_in_every_opset(name: str, opset: int) -> None:
    variant, shape = Variant.parse(name), (2, 5, 3, 8)
    assert variant is not None
    inputs = make_inputs(variant, shape)
    model, feeds = model_of(variant, inputs, shape, opset)
    assert_close(variant, inputs, shape, run_runtime(model, feeds)[0])


@pytest.mark.parametrize("mask", ["mask", "bias"])
def test_a_query_that_sees_no_key_gives_zero(mask: Any) -> None:
    variant, shape = Variant("u8", mask), (2, 4, 1, 8)
    inputs = make_inputs(variant, shape)
    inputs["mask"] = np.zeros((2, 4), np.int64) if mask == "mask" else np.full((1, 1, 1, 4), -np.inf, np.float32)
    expected = np.full((2, 4, 8), inputs["y_zero_point"])
    assert np.array_equal(fattention.reference(variant, inputs, 1, 0.3), expected)
    model, feeds = model_of(variant, inputs, shape)
    assert np.array_equal(run_runtime(model, feeds)[0], expected)


def test_the_largest_probability_is_one() -> None:
    e = fattention.probabilities(Variant("f32", ""), make_inputs(Variant("f32", ""), (2, 9, 2, 8)), 2, 0.3)
    assert (e.max(-1) == 1).all()
    assert e.min() >= 0
