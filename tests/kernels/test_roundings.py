"""One rounding where the contract has one: values picked because another one, of a product, changes a byte."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
import pytest

from . import encoder_capi as abi
from . import reference
from .capi import KINDS, TIERS, Array, Capi, Guarded, guarded
from .cases import make_spec
from .test_encoder_kernels import aligned, must_call, same_bits
from .test_products import packed

F32 = np.float32


def tells(v: Array, factor: Array | float, zero_point: float) -> Array:
    """Where rne(v * factor + zero_point) is another integer if the product is rounded, too."""
    f, z = np.asarray(factor, F32), F32(zero_point)
    return np.asarray(np.rint(reference.fma(v, f, z)) != np.rint(v * f + z))


def telling(factor: float, zero_point: float) -> Array:
    """Floats that tell, of those that become nearly halves between 0 and 127."""
    v = ((np.arange(-300, 300) + 0.5 - zero_point) / factor).astype(F32)
    v = np.concatenate([v, np.nextafter(v, F32(np.inf)), np.nextafter(v, F32(-np.inf))])
    y = v * factor + zero_point
    v = v[(y > 0) & (y < 127) & tells(v, factor, zero_point)]
    assert len(v) > 0
    return v


@pytest.mark.parametrize("form", ["gelu", "gelutanh"])
@pytest.mark.parametrize(("y_type", "zero_point"), [("u8", 64), ("s8", -64)])
def test_gelu(capi: Capi, tier: str, form: str, y_type: str, zero_point: int) -> None:
    """Of the bias of rows without weights."""
    x = np.linspace(-2, 0, 1_000_003, dtype=F32)
    bias = x[tells(reference.coarse_gelu(form, x), 400, zero_point)]
    assert len(bias) > 0
    rng, weights = np.random.default_rng(0), np.zeros((len(bias), 4), np.int8)
    y: dict[str, Any] = {"y_type": y_type, "y_zero_point": zero_point, "y_scale": 1 / 400}
    spec = make_spec(rng, weights, activation=form, bias=bias, **y)
    ones = np.ones((1, 4), np.uint8)
    expected = reference.run(spec, ones, functools.partial(capi.gelu, "scalar"))
    np.testing.assert_array_equal(capi.linear(spec, tier).run(ones), expected)


@pytest.mark.parametrize("kind", ["u8", "s8"])
def test_factors_of_tokens(capi: Capi, tier: str, kind: str) -> None:
    """Sum i and the factor of token i tell."""
    rng, zero_point, size = np.random.default_rng(1), 11.0, 16
    sums = rng.integers(1 << 10, 1 << 22, 10_000, dtype=np.int32)
    factors = ((rng.integers(0, 127, len(sums)) + 0.5 - zero_point) / sums).astype(F32)
    found = np.flatnonzero(tells(sums.astype(F32), factors, zero_point))[:size]
    assert len(found) == size
    init, factor = aligned(sums[found]), aligned(factors[found])
    bias = aligned(np.full(size, zero_point, F32))
    lhs, weights = aligned(np.zeros((1, size, 4), np.uint8)), np.zeros((size // 8, 1, 8, 4), np.int8)

    def run(name: str) -> list[Guarded]:
        values = packed(weights, capi.library.fastep_value_bytes(TIERS.index(name)))
        epilogue = abi.Epilogue(abi.OUTPUT_KINDS[kind], 0, init.ctypes.data, bias.ctypes.data, bias.ctypes.data)
        epilogue.lo, epilogue.hi = (-128, 127) if kind == "s8" else (0, 255)
        epilogue.token_scale, epilogue.bounded = factor.ctypes.data, True
        out = guarded((size // 4, size, 4), np.uint8)
        args = abi.ProductArgs(lhs.ctypes.data, size, abi.RhsView(None, None, values.ctypes.data, 1), 0, size // 8)
        args.first = args.last = True
        args.epilogue, args.out = ctypes.addressof(epilogue), out.data.ctypes.data
        must_call(capi, "product", name, KINDS.index("dense"), args)
        return [out]

    same_bits(capi, tier, run)


def test_layer_norm(capi: Capi, tier: str) -> None:
    """Of beta, which rows of gamma 0 are."""
    scale, zero_point, tokens, features = 60.0, 120.0, 16, 64
    z, stats = aligned(np.ones((features, tokens), F32)), aligned(np.ones((2, 2, tokens), F32))
    gamma, beta = aligned(np.zeros(features, F32)), aligned(np.resize(telling(scale, zero_point), features))

    def run(name: str) -> list[Guarded]:
        q = guarded((features // 4, tokens, 4), np.uint8)
        args = abi.LayerNormArgs(z.ctypes.data, stats.ctypes.data, features, tokens, 0, features, 1e-5)
        args.gamma, args.beta, args.q = gamma.ctypes.data, beta.ctypes.data, q.data.ctypes.data
        args.out_scale, args.out_zero_point, args.hi = scale, zero_point, 255
        must_call(capi, "layer_norm", name, args)
        return [q]

    same_bits(capi, tier, run)
    once = np.rint(reference.fma(beta, F32(scale), F32(zero_point))).astype(np.uint8)
    assert np.array_equal(run(tier)[0].data[:, 0].reshape(-1), once)


@pytest.mark.parametrize("signed", [False, True])
def test_float_finish(capi: Capi, tier: str, signed: bool) -> None:
    scale, zero_point, lanes = 0.37, 3.0, 16
    sums = aligned(np.resize(telling(scale, zero_point), (4, lanes)))
    factor = aligned(np.full(lanes, scale, F32))

    def run(name: str) -> list[Guarded]:
        y = guarded((lanes, 4), np.uint8)
        args = abi.FloatFinishArgs(sums.ctypes.data, factor.ctypes.data, 4, lanes, 0, lanes, lanes)
        args.q, args.zero_point = y.data.ctypes.data, zero_point
        args.lo, args.hi, args.flip = (-128, 127, 0x80) if signed else (0, 255, 0)
        must_call(capi, "float_finish", name, args)
        return [y]

    same_bits(capi, tier, run)


@pytest.mark.parametrize("form", ["plain", "offset", "bias"])
def test_softmax(capi: Capi, tier: str, form: str) -> None:
    """Two million different arguments of Exp2, in all of its range."""
    keys, tokens = 1 << 15, 64
    rng = np.random.default_rng(2)
    scores = -rng.permutation(keys * tokens).astype(np.int32).reshape(keys, tokens)
    scores[0] = 0
    bias = aligned(rng.uniform(-0.1, 0, (keys, tokens)).astype(F32))

    def run(name: str) -> list[Guarded]:
        offset = abi.SCORE_OFFSET if form == "offset" and abi.extras(capi, name) & abi.OFFSET_SCORES else 0
        held = aligned(scores + np.int32(offset))
        e = guarded((keys // 4, tokens, 4), np.uint8)
        row_sum, token_scale = guarded((tokens,), np.int32), guarded((tokens,), F32)
        args = abi.SoftmaxArgs(held.ctypes.data, bias.ctypes.data if form == "bias" else None)
        args.keys, args.key_quads, args.tokens, args.lane_end = keys, keys // 4, tokens, tokens
        args.scale, args.out_scale, args.score_offset = 9.1 / scores.size, 1.7, offset
        args.e, args.row_sum, args.token_scale = (a.data.ctypes.data for a in (e, row_sum, token_scale))
        must_call(capi, "softmax", name, args)
        return [e, row_sum, token_scale]

    same_bits(capi, tier, run)
