"""FAttention, and heads of any size, as plans on every tier, against the oracle."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from . import encoder_oracle as oracle
from . import reference
from .capi import Array, Capi, CoreError
from .cases import make_spec, sparse_values
from .plan_capi import NONE, AttentionSpec, PlanBuilder, Quantization
from .test_plan_ops import SHAPES, attention_spec, check_attention, norm_spec, random_quantized

FLOAT = Quantization()
ZERO_POINTS = {"u8": 120, "s8": -3, "f32": 0}
ODD_SIZES = [(5, 1), (3, 2), (2, 3), (1, 5), (4, 6), (12, 7), (1, 25), (2, 30)]


def float_spec(heads: int, size: int, y_type: str = "f32") -> AttentionSpec:
    y = Quantization(y_type, 0.01, ZERO_POINTS[y_type])
    return AttentionSpec(heads, size**-0.5, FLOAT, FLOAT, FLOAT, y)


def operands(rng: np.random.Generator, batch: int, length: int, features: int) -> list[Array]:
    return [rng.normal(0, 2, (batch, length, features)).astype(np.float32) for _ in range(3)]


def check(
    capi: Capi,
    tier: str,
    spec: AttentionSpec,
    qkv: list[Array],
    mask: Array | None = None,
    bias: Array | None = None,
    threads: int = 1,
) -> Array:
    builder = PlanBuilder(capi)
    q, k, v = (builder.activation(name, "f32", qkv[0].shape[-1]) for name in "qkv")
    inputs = [x for x in (mask, bias) if x is not None]
    mask_input = NONE if mask is None else builder.tensor("mask", "mask")
    bias_input = NONE if bias is None else builder.bias("bias", spec.num_heads)
    builder.output(builder.attention(q, k, v, spec, mask_input, bias_input))
    y = builder.build(tier).run(*qkv, *inputs, threads=threads)[0]
    expected = oracle.float_attention(qkv[0], qkv[1], qkv[2], spec, mask, bias)
    assert np.array_equal(y, expected), (qkv[0].shape, np.argwhere(y != expected)[:3])
    return y


@pytest.mark.parametrize(("heads", "size"), [(1, 4), (2, 8), (5, 12), (12, 32), (2, 64), *ODD_SIZES])
@pytest.mark.parametrize("y_type", ["f32", "u8", "s8"])
def test_float_attention(capi: Capi, tier: str, heads: int, size: int, y_type: str) -> None:
    rng = np.random.default_rng(heads * size)
    for shape in SHAPES if heads * size < 40 else SHAPES[:4]:
        check(capi, tier, float_spec(heads, size, y_type), operands(rng, *shape, heads * size))


@pytest.mark.parametrize("y_type", ["f32", "s8"])
def test_masks(capi: Capi, tier: str, y_type: str) -> None:
    """Right padding, left padding, holes, one key, none."""
    rng = np.random.default_rng(5)
    spec = float_spec(2, 16, y_type)
    for s in (1, 7, 40, 77):
        mask = np.ones((6, s), np.int64)
        mask[0, s // 2 :] = 0
        mask[1, : s // 2] = 0
        mask[2] = rng.random(s) < 0.5
        mask[3] = 0
        mask[4] = np.arange(s) == s // 3
        y = check(capi, tier, spec, operands(rng, 6, s, 32), mask)
        assert np.all(y[3] == spec.y.zero_point)


@pytest.mark.parametrize("dims", [(1, 1, 1, 1), (1, 3, 1, 0), (0, 1, 1, 0), (1, 3, 0, 0), (0, 3, 0, 0)])
def test_bias(capi: Capi, tier: str, dims: tuple[int, ...]) -> None:
    """0 stands for the whole dimension. Keys are hidden by infinity and by the lowest float, all of them in a row."""
    rng = np.random.default_rng(6)
    for b, s in ((1, 1), (3, 7), (2, 45)):
        full = (b, 3, s, s)
        shape = tuple(whole if dim == 0 else dim for dim, whole in zip(dims, full, strict=True))
        bias = rng.normal(0, 1, shape).astype(np.float32)
        hide = rng.random(shape) < 0.2
        hide[:, :, 0] |= shape[2] > 1
        bias[hide] = np.where(rng.random(hide.sum()) < 0.5, -np.inf, np.finfo(np.float32).min)
        y = check(capi, tier, float_spec(3, 8), operands(rng, b, s, 24), bias=bias)
        assert not hide[:, :, 0].all() or not y[:, 0].any()
        mask = (rng.random((b, s)) < 0.7).astype(np.int64)
        check(capi, tier, float_spec(3, 8), operands(rng, b, s, 24), mask, bias)


def test_many_keys_take_narrow_chunks(capi: Capi, tier: str) -> None:
    """Scores of fewer queries at a time, down to 16."""
    rng = np.random.default_rng(7)
    for length in (690, 1030):
        check(capi, tier, float_spec(1, 2), operands(rng, 1, length, 2))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_and_groups_change_no_bit(capi: Capi, tier: str, threads: int) -> None:
    rng = np.random.default_rng(8)
    for batch, length in ((11, 21), (40, 61)):
        mask = (rng.random((batch, length)) < 0.6).astype(np.bool_)
        check(capi, tier, float_spec(3, 5, "u8"), operands(rng, batch, length, 15), mask, threads=threads)


def test_float_attention_is_near_exact_softmax(capi: Capi, tier: str) -> None:
    """With u = 2^-24, S keys, d features, c = scale log2 e: a score is off by d u sum |q k| at most, an exponent by
    twice that times c and by 2 u |x|, a power by ln 2 times this and 1.8e-7, relative; sums of S terms by S u.
    """
    rng = np.random.default_rng(9)
    unit, size = 2.0**-24, 32
    spec = float_spec(2, size)
    q, k, v = operands(rng, 2, 50, 2 * size)
    y = check(capi, tier, spec, [q, k, v])
    exact = oracle.exact_attention(q, k, v, spec)
    largest_score = size * np.abs(q).max() * np.abs(k).max() * spec.scale
    power = 2 * size * unit * largest_score + 2 * unit * 2 * largest_score + 1.8e-7
    assert np.abs(y - exact).max() <= 2 * (power + 2 * 50 * unit) * np.abs(v).max()
    assert np.abs(y - exact).max() <= 1e-5  # in fact


@pytest.mark.parametrize(("heads", "size"), ODD_SIZES)
@pytest.mark.parametrize(("types", "y_type"), [("u8", "u8"), ("s8", "s8"), ("u8", "f32")])
def test_quantized_attention_of_odd_heads(
    capi: Capi, tier: str, heads: int, size: int, types: str, y_type: str
) -> None:
    rng = np.random.default_rng(heads * size)
    spec = attention_spec(rng, heads, size, types, y_type)
    for batch, length in SHAPES:
        qkv = [random_quantized(rng, (batch, length, heads * size), types) for _ in range(3)]
        mask = (rng.random((batch, length)) < 0.8).astype(np.int64)
        check_attention(capi, tier, spec, qkv, mask)


@pytest.mark.parametrize(("heads", "size"), [(4, 6), (2, 16), (3, 25)])
@pytest.mark.parametrize("kind", ["f32", "u8", "s8"])
def test_projections_in_front(capi: Capi, tier: str, heads: int, size: int, kind: str) -> None:
    """One product for q, k and v where rows allow it; the output linear reads what attention quantized."""
    rng = np.random.default_rng(size)
    features = heads * size
    zero_point = {"u8": 117, "s8": -11, "f32": 0}[kind]
    x_scale = float(np.float32(1 / (2500 * features**0.5)))
    options: dict[str, Any] = {"y_type": kind, "y_zero_point": zero_point, "x_scale": x_scale, "x_zero_point": 110}
    linears = [make_spec(rng, sparse_values(rng, features, features, (4, 4), 0.4), **options) for _ in range(3)]
    of = [FLOAT if kind == "f32" else Quantization(s.y_type, s.y_scale, s.y_zero_point) for s in linears]
    y = Quantization("s8", 0.01, 3)
    spec = AttentionSpec(heads, size**-0.5, of[0], of[1], of[2], y)
    values = sparse_values(rng, features, features, (4, 4), 0.4)
    last = make_spec(rng, values, x_type="s8", x_zero_point=3, y_type="f32")
    builder = PlanBuilder(capi)
    x = builder.activation("x", "u8", features)
    q, k, v = (builder.linear(x, linear) for linear in linears)
    builder.output(builder.linear(builder.attention(q, k, v, spec), last))
    builder.output(k)
    plan = builder.build(tier)
    products = int(plan.summary().split(", ")[1].split()[0])
    assert products == (2 if features % 16 == 0 else 4)
    gelu = functools.partial(capi.gelu, "scalar")
    for batch, length in ((1, 1), (3, 7), (2, 65)):
        xs = rng.integers(0, 256, (batch, length, features)).astype(np.uint8)
        found = plan.run(xs)
        flat = [reference.run(linear, xs.reshape(-1, features), gelu).reshape(xs.shape) for linear in linears]
        attend = oracle.float_attention if kind == "f32" else oracle.attention
        attended = attend(flat[0], flat[1], flat[2], spec)
        expected = reference.run(last, attended.reshape(-1, features), gelu).reshape(xs.shape)
        assert np.array_equal(found[0], expected)
        assert np.array_equal(found[1], flat[1])


def test_a_projection_that_is_a_residual_too(capi: Capi, tier: str) -> None:
    """It is no part of the merged product, which has no room for sums."""
    rng = np.random.default_rng(3)
    options: dict[str, Any] = {"y_type": "f32", "x_scale": 0.0004, "x_zero_point": 110}
    linears = [make_spec(rng, sparse_values(rng, 32, 32, (4, 4), 0.4), **options) for _ in range(3)]
    norm = norm_spec(rng, 32)
    builder = PlanBuilder(capi)
    x = builder.activation("x", "u8", 32)
    q, k, v = (builder.linear(x, linear) for linear in linears)
    y, _ = builder.skip_layer_norm(builder.attention(q, k, v, float_spec(2, 16)), v, norm)
    builder.output(y)
    xs = rng.integers(0, 256, (2, 19, 32)).astype(np.uint8)
    found = builder.build(tier).run(xs)[0]
    gelu = functools.partial(capi.gelu, "scalar")
    flat = [reference.run(linear, xs.reshape(-1, 32), gelu).reshape(xs.shape) for linear in linears]
    attended = oracle.float_attention(flat[0], flat[1], flat[2], float_spec(2, 16))
    assert np.array_equal(found, oracle.layer_norm(attended + flat[2], norm)[0])


def test_bad_attention_is_refused(capi: Capi) -> None:
    builder = PlanBuilder(capi)
    q, k = (builder.activation(name, "f32", 24) for name in "qk")
    v = builder.activation("v", "u8", 24)
    with pytest.raises(CoreError, match="FAttention 'layer/attention': q, k and v are not of the types"):
        builder.attention(q, k, v, float_spec(3, 8), name="layer/attention")
    with pytest.raises(CoreError, match=r"FAttention 'layer/attention': num_heads must divide the 24"):
        builder.attention(q, k, q, float_spec(5, 8), name="layer/attention")
    tiny = AttentionSpec(3, 1.0, FLOAT, FLOAT, FLOAT, Quantization("u8", 1e-42, 3))
    with pytest.raises(CoreError, match=r"FAttention .*: 1 / y_scale must be finite, found"):
        builder.attention(q, k, q, tiny)
    endless = AttentionSpec(3, float("inf"), FLOAT, FLOAT, FLOAT, FLOAT)
    with pytest.raises(CoreError, match="FAttention 'layer/attention': scale must be finite and > 0, found inf"):
        builder.attention(q, k, q, endless, name="layer/attention")
