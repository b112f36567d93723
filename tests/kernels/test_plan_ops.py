"""Each op of a plan by itself, on every tier, against the oracle."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from . import encoder_oracle as oracle
from .capi import ELEMENT_TYPES, Array, Capi, CoreError
from .plan_capi import NONE, AttentionSpec, NormSpec, PlanBuilder, Quantization, TableSpec

SHAPES = [(1, 1), (1, 16), (3, 7), (2, 64), (5, 13), (1, 77), (4, 33), (9, 8), (2, 129)]


def random_quantized(rng: np.random.Generator, shape: tuple[int, ...], element: str) -> Array:
    low = 0 if element == "u8" else -128
    return np.asarray(rng.integers(low, low + 256, shape), ELEMENT_TYPES[element])


def norm_spec(rng: np.random.Generator, features: int, **options: Any) -> NormSpec:
    gamma = rng.normal(1, 0.3, features).astype(np.float32)
    return NormSpec(gamma, rng.normal(0, 0.3, features).astype(np.float32), **options)


def attention_spec(
    rng: np.random.Generator, heads: int, size: int, types: str = "u8", y_type: str = "u8"
) -> AttentionSpec:
    shift = 128 if types == "s8" else 0
    q, k, v = (Quantization(types, float(rng.uniform(0.02, 0.03)), int(z) - shift) for z in (121, 133, 140))
    return AttentionSpec(
        heads, size**-0.5, q, k, v, Quantization(y_type, 0.01, {"u8": 120, "s8": -3, "f32": 0}[y_type])
    )


@pytest.mark.parametrize("features", [1, 4, 15, 32, 33, 63, 64, 100, 384, 768])
@pytest.mark.parametrize("element", ["u8", "s8"])
def test_skip_layer_norm(capi: Capi, tier: str, features: int, element: str) -> None:
    rng = np.random.default_rng(features)
    spec = norm_spec(rng, features, epsilon=1e-5, quantized=Quantization(element, 0.03, 11))
    builder = PlanBuilder(capi)
    values = builder.activation("x", "f32", features), builder.activation("residual", "f32", features)
    for value in builder.skip_layer_norm(*values, spec):
        builder.output(value)
    plan = builder.build(tier)
    for shape in [(0,), (1,), (3, 5), (1, 48), (2, 3, 11), (130,)]:
        x, residual = (rng.normal(0.5, 2, (*shape, features)).astype(np.float32) for _ in range(2))
        as_float, quantized = plan.run(x, residual)
        expected = oracle.layer_norm(x + residual, spec)
        assert np.array_equal(as_float, expected[0]), shape
        assert np.array_equal(quantized, expected[1]), shape


def test_layer_norm_of_large_mean_and_extremes(capi: Capi, tier: str) -> None:
    """Statistics do not cancel; quantized outputs saturate."""
    rng = np.random.default_rng(0)
    features = 96
    spec = norm_spec(rng, features, epsilon=1e-12, quantized=Quantization("u8", 0.001, 128))
    builder = PlanBuilder(capi)
    values = builder.activation("x", "f32", features), builder.activation("residual", "f32", features)
    for value in builder.skip_layer_norm(*values, spec):
        builder.output(value)
    x = (rng.normal(0, 1, (33, features)) + 1000).astype(np.float32)
    residual = np.zeros_like(x)
    as_float, quantized = builder.build(tier).run(x, residual)
    expected = oracle.layer_norm(x, spec)
    assert np.array_equal(as_float, expected[0])
    assert np.array_equal(quantized, expected[1])
    assert {0, 255} <= set(quantized.ravel().tolist())
    exact = (x.astype(np.float64) - x.astype(np.float64).mean(-1, keepdims=True)) / x.astype(np.float64).std(
        -1, keepdims=True
    )
    assert np.abs(as_float - (exact * spec.gamma + spec.beta)).max() < 1e-3


@pytest.mark.parametrize("tables", [1, 2, 3])
@pytest.mark.parametrize("element", ["f32", "u8", "s8"])
def test_embed_layer_norm(capi: Capi, tier: str, tables: int, element: str) -> None:
    rng = np.random.default_rng(tables)
    for features in (8, 33, 96):
        spec = norm_spec(rng, features, quantized=Quantization("u8", 0.03, 130))
        specs = []
        for rows in (37, 129, 2)[:tables]:
            if element == "f32":
                specs.append(TableSpec(rng.normal(0, 1, (rows, features)).astype(np.float32)))
            else:
                data = random_quantized(rng, (rows, features), element)
                specs.append(TableSpec(data, Quantization(element, 0.02, 7)))
        builder = PlanBuilder(capi)
        inputs = [builder.tensor("ids", f"ids{i}") for i in range(tables)]
        for value in builder.embed_layer_norm(spec, list(zip(specs, inputs, strict=True))):
            builder.output(value)
        plan = builder.build(tier)
        for b, s in SHAPES:
            ids = [rng.integers(0, len(t.data), (1 if i == 1 else b, s)) for i, t in enumerate(specs)]
            expected = oracle.layer_norm(oracle.embed(list(zip(specs, ids, strict=True))), spec)
            for found, wanted in zip(plan.run(*ids), expected, strict=True):
                assert np.array_equal(found, wanted), (features, b, s)


def test_ids_out_of_range_are_refused(capi: Capi, tier: str) -> None:
    rng = np.random.default_rng(1)
    builder = PlanBuilder(capi)
    table = TableSpec(rng.normal(0, 1, (10, 16)).astype(np.float32))
    value, _ = builder.embed_layer_norm(norm_spec(rng, 16), [(table, builder.tensor("ids", "input_ids"))])
    builder.output(value)
    plan = builder.build(tier)
    good = rng.integers(0, 10, (2, 5))
    before = plan.run(good)[0]
    for bad in (-1, 10, 2**40):
        ids = good.copy()
        ids[1, 3] = bad
        with pytest.raises(CoreError, match=rf"'test/norm'.*\[0, 10\).*found {bad} at \[1, 3\]"):
            plan.run(ids)
    assert np.array_equal(plan.run(good)[0], before)


def check_attention(
    capi: Capi,
    tier: str,
    spec: AttentionSpec,
    operands: list[Array],
    mask: Array | None = None,
    bias: Array | None = None,
    threads: int = 1,
) -> Array:
    features = operands[0].shape[-1]
    builder = PlanBuilder(capi)
    elements = (spec.q.type, spec.k.type, spec.v.type)
    values = [builder.activation(n, t, features) for n, t in zip("qkv", elements, strict=True)]
    inputs = [x for x in (mask, bias) if x is not None]
    mask_input = NONE if mask is None else builder.tensor("mask", "mask")
    bias_input = NONE if bias is None else builder.bias("bias", spec.num_heads)
    builder.output(builder.attention(values[0], values[1], values[2], spec, mask_input, bias_input))
    y = builder.build(tier).run(*operands, *inputs, threads=threads)[0]
    expected = oracle.attention(operands[0], operands[1], operands[2], spec, mask, bias)
    assert np.array_equal(y, expected), (operands[0].shape, np.argwhere(y != expected)[:3])
    return y


@pytest.mark.parametrize(("heads", "size"), [(1, 4), (2, 8), (3, 12), (2, 16), (12, 32), (2, 64), (1, 100)])
@pytest.mark.parametrize(("types", "y_type"), [("u8", "u8"), ("s8", "s8"), ("u8", "f32"), ("s8", "u8")])
def test_attention(capi: Capi, tier: str, heads: int, size: int, types: str, y_type: str) -> None:
    rng = np.random.default_rng(heads * size)
    spec = attention_spec(rng, heads, size, types, y_type)
    for shape in SHAPES if size < 64 else SHAPES[:4]:
        operands = [random_quantized(rng, (*shape, heads * size), types) for _ in range(3)]
        check_attention(capi, tier, spec, operands)


@pytest.mark.parametrize("mask_type", [np.int64, np.int32, np.bool_, np.float32])
def test_masks(capi: Capi, tier: str, mask_type: type) -> None:
    """Right padding, left padding, holes, one key, none."""
    rng = np.random.default_rng(5)
    spec = attention_spec(rng, 2, 16)
    for s in (1, 7, 40, 77):
        mask = np.ones((6, s))
        mask[0, s // 2 :] = 0
        mask[1, : s // 2] = 0
        mask[2] = rng.random(s) < 0.5
        mask[3] = 0
        mask[4] = np.arange(s) == s // 3
        operands = [random_quantized(rng, (6, s, 32), "u8") for _ in range(3)]
        y = check_attention(capi, tier, spec, operands, mask.astype(mask_type))
        assert np.all(y[3] == spec.y.zero_point)


@pytest.mark.parametrize(
    "dims", [(1, 1, 1, 1), (1, 3, 1, 1), (1, 3, 1, 0), (1, 1, 1, 0), (0, 1, 1, 0), (1, 3, 0, 0), (0, 3, 0, 0)]
)
def test_bias(capi: Capi, tier: str, dims: tuple[int, ...]) -> None:
    """0 stands for the whole dimension. Keys are hidden by infinity and by the lowest float."""
    rng = np.random.default_rng(6)
    spec = attention_spec(rng, 3, 8)
    for b, s in ((1, 1), (3, 7), (2, 45)):
        full = (b, 3, s, s)
        shape = tuple(whole if dim == 0 else dim for dim, whole in zip(dims, full, strict=True))
        bias = rng.normal(0, 1, shape).astype(np.float32)
        hide = rng.random(shape) < 0.2
        bias[hide] = np.where(rng.random(hide.sum()) < 0.5, -np.inf, np.finfo(np.float32).min)
        operands = [random_quantized(rng, (b, s, 24), "u8") for _ in range(3)]
        check_attention(capi, tier, spec, operands, bias=bias)
        mask = (rng.random((b, s)) < 0.7).astype(np.int64)
        check_attention(capi, tier, spec, operands, mask, bias)


def test_probabilities_are_near_exact_softmax(capi: Capi, tier: str) -> None:
    """Each probability is off by at most (1/2 + 0.02) / 255 of the largest, and y by that times the sum of |v|."""
    rng = np.random.default_rng(7)
    for gain in (0.1, 1.0, 4.0):
        spec = attention_spec(rng, 2, 32, "u8", "f32")
        spec = AttentionSpec(spec.num_heads, spec.scale * gain, spec.q, spec.k, spec.v, spec.y)
        operands = [random_quantized(rng, (2, 50, 64), "u8") for _ in range(3)]
        y = check_attention(capi, tier, spec, operands)
        exact = oracle.exact_attention(operands[0], operands[1], operands[2], spec)
        spread = 255 * spec.v.scale
        assert np.abs(y - exact).max() <= 50 * (0.52 / 255) * spread
        assert np.abs(y - exact).mean() <= 0.05 * np.abs(exact).mean()


@pytest.mark.parametrize("threads", [2, 3])
def test_attention_does_not_depend_on_threads(capi: Capi, tier: str, threads: int) -> None:
    rng = np.random.default_rng(8)
    spec = attention_spec(rng, 3, 16)
    operands = [random_quantized(rng, (11, 21, 48), "u8") for _ in range(3)]
    check_attention(capi, tier, spec, operands, threads=threads)


def test_extreme_operands(capi: Capi, tier: str) -> None:
    """The ends of every range, and scores so large that one key takes all."""
    rng = np.random.default_rng(9)
    for zero_point in (0, 255):
        ends = Quantization("u8", 1.0, zero_point)
        spec = AttentionSpec(2, 1.0, ends, ends, ends, Quantization("u8", 1.0, 128))
        operands = [rng.choice(np.array([0, 255], np.uint8), (2, 37, 64)) for _ in range(3)]
        check_attention(capi, tier, spec, operands)


def test_bad_attention_is_refused(capi: Capi, tier: str) -> None:
    rng = np.random.default_rng(10)
    builder = PlanBuilder(capi)
    q, k, v = (builder.activation(n, "u8", 32) for n in "qkv")
    with pytest.raises(CoreError, match=r"QAttention 'layer/attention'.*num_heads"):
        builder.attention(q, k, v, attention_spec(rng, 5, 16), name="layer/attention")
    builder = PlanBuilder(capi)
    q, k, v = (builder.activation(n, "u8", 32) for n in "qkv")
    builder.output(builder.attention(q, k, v, attention_spec(rng, 2, 16), builder.tensor("mask", "attention_mask")))
    plan = builder.build(tier)
    x = random_quantized(rng, (2, 9, 32), "u8")
    with pytest.raises(CoreError, match=r"'attention_mask'.*\[2, 9\], found \[2, 8\]"):
        plan.run(x, x, x, np.ones((2, 8), np.int64))
    with pytest.raises(CoreError, match=r"'k'.*\[2, 9\] with 32 features, found \[1, 9, 32\]"):
        plan.run(x, x[:1], x, np.ones((2, 9), np.int64))


def test_an_output_scale_whose_quotient_overflows_is_refused(capi: Capi) -> None:
    """What is 0 would become 0 * inf, NaN, instead of the zero point."""
    rng, tiny = np.random.default_rng(13), Quantization("u8", 1e-42, 3)
    builder = PlanBuilder(capi)
    x, q = builder.activation("x", "f32", 32), builder.activation("q", "u8", 32)
    with pytest.raises(CoreError, match=r"SkipLayerNorm .*: 1 / y_scale must be finite, found"):
        builder.skip_layer_norm(x, x, norm_spec(rng, 32, quantized=tiny))
    spec = attention_spec(rng, 2, 16)
    with pytest.raises(CoreError, match=r"QAttention .*: v_scale / y_scale must be finite, found"):
        builder.attention(q, q, q, dataclasses.replace(spec, y=tiny))
    smaller = dataclasses.replace(spec.v, scale=1e-38)
    builder.attention(q, q, q, dataclasses.replace(spec, v=smaller, y=tiny))


def test_what_hides_keys_is_an_input_of_that_kind(capi: Capi) -> None:
    """Else nothing would have checked its shape."""
    spec = attention_spec(np.random.default_rng(11), 2, 16)
    builder = PlanBuilder(capi)
    q = builder.activation("q", "u8", 32)
    ids, bias = builder.tensor("ids", "ids"), builder.bias("bias", 4)
    with pytest.raises(CoreError, match=r"QAttention .*: the mask must be an input that is checked as one"):
        builder.attention(q, q, q, spec, mask=ids)
    for other in (ids, bias):
        with pytest.raises(CoreError, match="the bias must be an input that is checked as one of 2 heads"):
            builder.attention(q, q, q, spec, bias=other)


@pytest.mark.parametrize("wrong", [np.uint8, np.int8])
def test_types_of_inputs(capi: Capi, tier: str, wrong: type) -> None:
    builder = PlanBuilder(capi)
    spec = attention_spec(np.random.default_rng(12), 2, 16, "s8" if wrong is np.uint8 else "u8")
    q = builder.activation("q", spec.q.type, 32)
    builder.output(builder.attention(q, q, q, spec, builder.tensor("mask", "mask"), builder.bias("bias", 2)))
    plan = builder.build(tier)
    x, mask, bias = np.zeros((1, 3, 32), ELEMENT_TYPES[spec.q.type]), np.ones((1, 3), np.int64), np.zeros((1, 1, 1, 3))
    with pytest.raises(CoreError, match=f"'q': expected u?int8, found {np.dtype(wrong)}"):
        plan.run(x.astype(wrong), mask, bias.astype(np.float32))
    with pytest.raises(CoreError, match=f"'mask': expected int64 or int32 or bool or float32, found {np.dtype(wrong)}"):
        plan.run(x, mask.astype(wrong), bias.astype(np.float32))
    with pytest.raises(CoreError, match=f"'bias': expected float32, found {np.dtype(wrong)}"):
        plan.run(x, mask, bias.astype(wrong))
