"""The kernels of attention in float: every tier gives the bits of the tier scalar, and writes where it may."""

from __future__ import annotations

import numpy as np
import pytest

from . import encoder_capi as abi
from . import encoder_oracle as oracle
from .capi import Array, Capi, Guarded, guarded
from .reference import fma
from .test_encoder_kernels import aligned, floats, must_call, same_bits

BLOCK, ROWS = 16, 8
LANES = (16, 32, 48)
HEAD_SIZES = (1, 6, 8, 25, 64)
KEYS = (1, 7, 8, 16, 17, 131)

# kFineExp2ErrorBound of exp2.h.
ERROR_BOUND = 1.8e-7


def up(n: int, step: int) -> int:
    return -(-n // step) * step


def blocks_of(values: Array) -> Array:
    """`[keys, features]` in blocks `[blocks][rows][16]`; what pads them is NaN where it must not be read."""
    keys, features = values.shape
    padded = np.full((up(keys, BLOCK), up(features, ROWS)), np.nan, np.float32)
    padded[:keys, :features] = values
    padded[:keys, features:] = 0
    return aligned(np.ascontiguousarray(padded.reshape(-1, BLOCK, padded.shape[1]).swapaxes(1, 2)))


@pytest.mark.parametrize("tokens", [32, 64])
@pytest.mark.parametrize("features", HEAD_SIZES)
@pytest.mark.parametrize(("lane", "count", "key"), [(0, 32, 0), (3, 7, 0), (5, 20, 3), (0, 1, 15), (1, 31, 13)])
def test_packing(capi: Capi, tier: str, tokens: int, features: int, lane: int, count: int, key: int) -> None:
    """Two runs, one after the other, as a mask with a gap gives them."""
    tile = floats(np.random.default_rng(count), features, tokens)
    rows = up(features, ROWS)

    def run(name: str) -> list[Guarded]:
        blocks = guarded((up(key + count + 5, BLOCK) // BLOCK, rows, BLOCK), np.float32)
        for first, n, at in ((lane, count, key), (2, 5, key + count)):
            args = abi.FloatKeyRun(tile.ctypes.data, tokens, first, n, at, features, rows, blocks.data.ctypes.data)
            must_call(capi, "pack_float_keys", name, args)
        return [blocks]

    same_bits(capi, tier, run)
    packed = run(tier)[0].data.swapaxes(1, 2).reshape(-1, rows)[key : key + count + 5]
    expected = np.concatenate([tile[:, lane : lane + count], tile[:, 2:7]], 1).T
    np.testing.assert_array_equal(packed[:, :features], expected)
    assert not packed[:, features:].any()


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("features", HEAD_SIZES)
@pytest.mark.parametrize("keys", KEYS)
def test_scores(capi: Capi, tier: str, lanes: int, features: int, keys: int) -> None:
    rng = np.random.default_rng(keys)
    q, k = floats(rng, features, 64), floats(rng, keys, features)
    blocks = blocks_of(k)

    def run(name: str) -> list[Guarded]:
        out = guarded((up(keys, ROWS), lanes), np.float32)
        args = abi.FloatProductArgs(q[:, 16:].ctypes.data, 64, lanes, blocks.ctypes.data, up(features, ROWS))
        args.features, args.keys, args.out = features, keys, out.data.ctypes.data
        must_call(capi, "float_scores", name, args)
        out.data[keys:] = 0  # means nothing
        return [out]

    same_bits(capi, tier, run)
    expected = np.zeros((keys, lanes), np.float32)
    for f in range(features):
        expected = fma(k[:, f, None], q[f, 16 : 16 + lanes], expected)
    np.testing.assert_array_equal(run(tier)[0].data[:keys], expected)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("features", HEAD_SIZES)
@pytest.mark.parametrize("keys", KEYS)
def test_sums(capi: Capi, tier: str, lanes: int, features: int, keys: int) -> None:
    rng = np.random.default_rng(keys)
    e, v = floats(rng, keys, lanes), floats(rng, keys, features)
    blocks = blocks_of(v)

    def run(name: str) -> list[Guarded]:
        out = guarded((up(features, ROWS), lanes), np.float32)
        args = abi.FloatProductArgs(e.ctypes.data, lanes, lanes, blocks.ctypes.data, up(features, ROWS))
        args.features, args.keys, args.out = features, keys, out.data.ctypes.data
        must_call(capi, "float_sums", name, args)
        return [out]

    same_bits(capi, tier, run)
    expected = np.zeros((features, lanes), np.float32)
    for j in range(keys):
        expected = fma(v[j, :, None], e[j], expected)
    np.testing.assert_array_equal(run(tier)[0].data[:features], expected)


def softmax(capi: Capi, tier: str, scores: Array, bias: Array | None, scale: float) -> list[Guarded]:
    keys, lanes = scores.shape
    e, factor = guarded(scores.shape, np.float32), guarded((lanes,), np.float32)
    e.data[...] = scores
    args = abi.FloatSoftmaxArgs(e.data.ctypes.data, None if bias is None else bias.ctypes.data, keys, lanes)
    args.scale, args.out_scale, args.factor = scale, 1.7, factor.data.ctypes.data
    must_call(capi, "float_softmax", tier, args)
    return [e, factor]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("form", ["plain", "wide", "low", "bias", "hidden"])
def test_softmax(capi: Capi, tier: str, lanes: int, keys: int, form: str) -> None:
    """wide: most powers are below what is kept; low: far below bias of -1e30; hidden: bias of -inf, all of a lane's."""
    rng = np.random.default_rng(keys)
    scores = floats(rng, keys, lanes, scale={"wide": 300.0, "low": 1e30}.get(form, 4.0))
    scores -= np.float32(2e31 if form == "low" else 0)
    bias = floats(rng, keys, lanes, scale=4) if form in ("bias", "hidden") else None
    if form == "hidden":
        assert bias is not None
        bias[rng.random(bias.shape) < 0.5] = -np.inf
        bias[:, 3] = -3e38
    same_bits(capi, tier, lambda name: softmax(capi, name, scores, bias, 0.37))
    e, factor = (x.data for x in softmax(capi, tier, scores, bias, 0.37))
    if bias is None:
        x = (scores - scores.max(0)) * np.float32(0.37)
    else:
        t = fma(scores, np.float32(0.37), bias)
        x = t - np.maximum(t.max(0), oracle.HIDDEN)
    np.testing.assert_array_equal(e, oracle.fine_exp2(x))
    total = np.zeros(lanes, np.float32)
    for row in e:
        total = total + row
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(factor, np.where(total == 0, np.float32(0), np.float32(1.7) / total))
    assert form != "hidden" or (factor[3] == 0 and not e[:, 3].any())


@pytest.mark.parametrize("with_bias", [False, True])
def test_softmax_of_nan(capi: Capi, tier: str, with_bias: bool) -> None:
    """In the first key, in a later one, in all: every tier makes the same of it."""
    rng = np.random.default_rng(1)
    scores, bias = floats(rng, 9, 48), floats(rng, 9, 48)
    scores[0, ::5] = scores[4, 1::5] = scores[:, 2::5] = np.nan
    same_bits(capi, tier, lambda name: softmax(capi, name, scores, bias if with_bias else None, 0.37))


def test_fine_exp2_is_within_the_stated_bound(capi: Capi, tier: str) -> None:
    """Between 2^-64 and 1; one key of every lane is the largest."""
    x = np.concatenate([np.linspace(-64, 0, 250_000), -np.logspace(-9, 0, 50_000)]).astype(np.float32)
    x = np.concatenate([x, np.zeros(-len(x) % 48, np.float32)]).reshape(-1, 48)
    scores = aligned(np.concatenate([np.zeros((1, 48), np.float32), x]))
    e = softmax(capi, tier, scores, None, 1.0)[0].data[1:]
    exact = np.exp2(x.astype(np.float64))
    assert (np.abs(e - exact) / exact).max() <= ERROR_BOUND
    below = aligned(np.repeat(np.array([[0], [np.nextafter(np.float32(-64), np.float32(-65))]], np.float32), 16, 1))
    assert not softmax(capi, tier, below, None, 1.0)[0].data[1].any()


@pytest.mark.parametrize(("lanes", "begin", "end"), [(16, 0, 16), (16, 4, 8), (32, 12, 28), (48, 0, 44)])
@pytest.mark.parametrize("y_type", ["u8", "s8", "f32"])
@pytest.mark.parametrize("features", [4, 12, 64, 25])
def test_finish(capi: Capi, tier: str, lanes: int, begin: int, end: int, y_type: str, features: int) -> None:
    if y_type != "f32" and features % 4:
        return
    rng = np.random.default_rng(features)
    sums, factor = floats(rng, features, lanes, scale=60), floats(rng, lanes, scale=3)
    sums[0, :3] = 3e38, -3e38, np.nan
    tokens = 64

    def run(name: str) -> list[Guarded]:
        wide = y_type == "f32"
        shape = (features, tokens) if wide else (features // 4, tokens, 4)
        y = guarded(shape, np.float32 if wide else np.uint8)
        args = abi.FloatFinishArgs(sums.ctypes.data, factor.ctypes.data, features, lanes, begin, end, tokens)
        if wide:
            args.y = y.data.ctypes.data
        else:
            args.q = y.data.ctypes.data
            args.zero_point = 3.0
        args.lo, args.hi, args.flip = (-128, 127, 0x80) if y_type == "s8" else (0, 255, 0)
        must_call(capi, "float_finish", name, args)
        return [y]

    same_bits(capi, tier, run)
