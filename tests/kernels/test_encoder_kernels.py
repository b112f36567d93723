"""The kernels of an encoder's other ops: every tier gives the bits of the tier scalar, and writes where it may."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from . import encoder_capi as abi
from .capi import KINDS, TIERS, Array, Capi, Guarded, guarded

WIDTHS = (16, 32, 48, 64)


def aligned(array: Array) -> Array:
    """A copy on a cache line."""
    copy = guarded(array.shape, array.dtype).data
    copy[...] = array
    return copy


def floats(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return aligned(rng.normal(0, scale, shape).astype(np.float32))


def bytes_of(rng: np.random.Generator, *shape: int) -> Array:
    return aligned(rng.integers(0, 256, shape, dtype=np.uint8))


def same_bits(capi: Capi, tier: str, run: Callable[[str], list[Guarded]]) -> None:
    """`run` gives the outputs of a kernel; patterns around and inside them show what was written."""
    for expected, found in zip(run("scalar"), run(tier), strict=True):
        expected.check()
        found.check()
        np.testing.assert_array_equal(found.data.view(np.uint8), expected.data.view(np.uint8))


def must_call(capi: Capi, kernel: str, tier: str, *args: Any) -> None:
    assert abi.call(capi, kernel, tier, *args), f"the tier {tier} has no {kernel} of its own"


def test_structs_are_as_large_as_the_library_s(capi: Capi) -> None:
    """A field that came, went or grew would otherwise be read from somewhere else."""
    structs = [entry for entry in vars(abi).values() if isinstance(entry, type)]
    mirrored = [entry for entry in structs if issubclass(entry, ctypes.Structure)]
    assert len(mirrored) >= 12
    size = capi.library.fastep_struct_bytes
    size.restype = ctypes.c_uint64
    assert {entry.__name__: ctypes.sizeof(entry) for entry in mirrored} == {
        entry.__name__: size(entry.__name__.encode()) for entry in mirrored
    }


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize(("rows", "m"), [(1, 1), (16, 16), (17, 15), (37, 64), (768, 33)])
def test_pack_f32(capi: Capi, tier: str, tokens: int, rows: int, m: int) -> None:
    m = min(m, tokens)
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(m, rows + 3)).astype(np.float32)[:, 1 : rows + 1]

    def run(name: str) -> list[Guarded]:
        tile = guarded((rows, tokens), np.float32)
        stride = ctypes.c_uint64(x.strides[0])
        must_call(capi, "pack_f32", name, x, stride, rows, m, tokens, tile.data)
        return [tile]

    same_bits(capi, tier, run)
    np.testing.assert_array_equal(run(tier)[0].data[:, :m], x.T)


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize("quads", [1, 15, 33])
def test_planar_from_quad(capi: Capi, tier: str, tokens: int, quads: int) -> None:
    """The layout is the tier's own: the oracle is its pack_planar."""
    x = bytes_of(np.random.default_rng(quads), tokens, quads * 4)
    tile = aligned(x.reshape(tokens, quads, 4).swapaxes(0, 1))
    expected = capi.pack(tier, "planar", x, (0, quads), tokens, 0)
    assert expected is not None
    out = guarded(expected.shape, np.uint8)
    must_call(capi, "planar_from_quad", tier, tile, quads, tokens, out.data)
    out.check()
    np.testing.assert_array_equal(out.data, expected)


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize("rows", [1, 4, 31, 32, 33, 64, 96, 100, 384])
@pytest.mark.parametrize("with_sum", [False, True])
def test_layer_norm_stats(capi: Capi, tier: str, tokens: int, rows: int, with_sum: bool) -> None:
    rng = np.random.default_rng(rows)
    x, z = floats(rng, rows, tokens), floats(rng, rows, tokens, scale=3)

    def run(name: str) -> list[Guarded]:
        stats, total = guarded((-(-rows // 32), 2, tokens), np.float32), guarded(z.shape, np.float32)
        total.data[...] = z
        none = ctypes.c_void_p()
        must_call(capi, "layer_norm_stats", name, x if with_sum else none, total.data, rows, tokens, stats.data)
        return [stats, total]

    same_bits(capi, tier, run)


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize(
    ("features", "begin", "end"), [(4, 0, 4), (30, 0, 32), (48, 16, 48), (100, 32, 100), (768, 0, 768)]
)
@pytest.mark.parametrize("outputs", ["f32", "u8", "s8", "f32+u8", "f32+s8"])
def test_layer_norm(capi: Capi, tier: str, tokens: int, features: int, begin: int, end: int, outputs: str) -> None:
    rng = np.random.default_rng(features)
    padded = -(-features // 16) * 16
    z, stats = floats(rng, padded, tokens, scale=3), np.abs(floats(rng, -(-features // 32), 2, tokens, scale=5))
    gamma, beta = floats(rng, padded), floats(rng, padded)
    z[0, :4] = [np.inf, -np.inf, 3e38, np.nan]
    held, signed = aligned(stats), outputs.endswith("s8")

    def run(name: str) -> list[Guarded]:
        y, q = guarded(z.shape, np.float32), guarded((padded // 4, tokens, 4), np.uint8)
        args = abi.LayerNormArgs(z.ctypes.data, held.ctypes.data, features, tokens, begin, end, 1e-5)
        args.gamma, args.beta = gamma.ctypes.data, beta.ctypes.data
        args.y = y.data.ctypes.data if "f32" in outputs else None
        args.q = q.data.ctypes.data if "8" in outputs else None
        args.out_scale, args.out_zero_point = 60.0, 3.0 if signed else 120.0
        args.lo, args.hi, args.flip = (-128, 127, 0x80) if signed else (0, 255, 0)
        must_call(capi, "layer_norm", name, args)
        return [y, q]

    same_bits(capi, tier, run)


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize(("features", "begin", "end"), [(5, 0, 5), (32, 16, 32), (100, 32, 100), (384, 0, 384)])
@pytest.mark.parametrize("elements", ["f", "uf", "sfu"])
def test_embed(capi: Capi, tier: str, tokens: int, features: int, begin: int, end: int, elements: str) -> None:
    rng = np.random.default_rng(features)
    ids = [aligned(rng.integers(0, 7, tokens, dtype=np.int32)) for _ in elements]
    for rows in ids:
        rows[[3, tokens - 1]] = -1
    # The tables end where their memory ends: a read past the last row would show under a sanitizer.
    data = [
        rng.normal(size=(7, features)).astype(np.float32) if e == "f" else bytes_of(rng, 7, features) for e in elements
    ]

    def run(name: str) -> list[Guarded]:
        z = guarded((end, tokens), np.float32)
        args = abi.EmbedArgs()
        for i, element in enumerate(elements):
            kind = "fus".index(element)
            args.tables[i] = abi.EmbedTable(
                data[i].ctypes.data, kind, 0.37, -5 if kind == 2 else 111, ids[i].ctypes.data
            )
        args.table_count, args.features, args.tokens = len(elements), features, tokens
        args.row_begin, args.row_end, args.z = begin, end, z.data.ctypes.data
        must_call(capi, "embed", name, args)
        return [z]

    same_bits(capi, tier, run)


RUNS = [(0, 16, 0), (0, 64, 0), (4, 12, 8), (3, 7, 0), (5, 10, 3), (0, 1, 5), (1, 31, 13), (13, 2, 6), (8, 37, 4)]


@pytest.mark.parametrize("tokens", [32, 64])
@pytest.mark.parametrize("head_quads", [1, 3, 8, 16])
@pytest.mark.parametrize(("lane", "count", "key"), RUNS)
def test_key_packing(capi: Capi, tier: str, tokens: int, head_quads: int, lane: int, count: int, key: int) -> None:
    """Two runs, side by side as a mask with a gap gives them; nothing else is touched but padding by zeros.

    The first one comes last, as another thread's may: it leaves the second one's keys alone.
    """
    count = min(count, tokens - lane)
    rng = np.random.default_rng(count)
    tile = bytes_of(rng, head_quads, tokens, 4)
    rows = -(-(key + count + 5) // 16) * 16
    key_quads, head_rows = rows // 4, -(-head_quads * 4 // 16) * 16

    def run(name: str) -> list[Guarded]:
        keys, values = guarded((rows * head_quads * 4,), np.uint8), guarded((head_rows * rows,), np.uint8)
        init = guarded((rows,), np.int32)
        for array in (keys, values, init):
            array.data[...] = 0
        for first, n, at in ((0, min(5, tokens), key + count), (lane, count, key)):
            args = abi.KeyRun(tile.ctypes.data, tokens, first, n, head_quads, at, keys.data.ctypes.data)
            args.key_quads, args.zero_point, args.acc_init = key_quads, 117, init.data.ctypes.data
            must_call(capi, "pack_keys", name, args)
            args.values = values.data.ctypes.data
            must_call(capi, "pack_values", name, args)
        return [keys, values, init]

    same_bits(capi, tier, run)


SOFTMAX_KEYS = (0, 1, 3, 4, 17, 128, 131)
SOFTMAX_LANES = [(16, 0, 16), (32, 4, 20), (48, 16, 32), (64, 0, 64), (64, 60, 64), (64, 20, 56)]


@pytest.mark.parametrize("keys", SOFTMAX_KEYS)
@pytest.mark.parametrize(("tokens", "begin", "end"), SOFTMAX_LANES)
@pytest.mark.parametrize(
    "form", ["plain", "known", "offset", "wide", "large", "odd tie", "even tie", "bias", "offset bias", "hidden"]
)
def test_softmax(capi: Capi, tier: str, keys: int, tokens: int, begin: int, end: int, form: str) -> None:
    """Forms.

    known: the largest scores are given; offset: scores are larger by what the tier wants; wide: scores far apart;
    large: scores that are no floats; ties: one less gives 2^x an x halfway between integers; hidden: bias of -inf.
    Behind the keys stand scores as large.
    """
    rng = np.random.default_rng(keys)
    spread = {"wide": 2**30, "offset": 2**22, "odd tie": 2, "even tie": 2}.get(form, 3000)
    # log2(255) of exp2.h, less what is exact in float.
    scale = {"odd tie": 7.9943534 - 5.5, "even tie": 7.9943534 - 4.5}.get(form, 0.0013)
    scores = rng.integers(-spread, spread, (keys + 3, tokens), dtype=np.int32)
    key_quads = -(-keys // 4) + 1
    bias = floats(rng, keys + 3, tokens, scale=4)
    scores += np.int32(2**30 if form == "large" else 0)
    largest = aligned(scores[:keys].max(axis=0, initial=np.iinfo(np.int32).min))
    if form == "hidden":
        bias[rng.random(bias.shape) < 0.5] = -np.inf
        bias[:, begin] = -3e38

    def run(name: str) -> list[Guarded]:
        offset = abi.SCORE_OFFSET if "offset" in form and abi.extras(capi, name) & abi.OFFSET_SCORES else 0
        held = aligned(scores + np.int32(offset))
        e = guarded((key_quads, tokens, 4), np.uint8)
        row_sum, token_scale = guarded((tokens,), np.int32), guarded((tokens,), np.float32)
        args = abi.SoftmaxArgs(held.ctypes.data, bias.ctypes.data if "bias" in form or form == "hidden" else None)
        args.keys, args.key_quads, args.tokens, args.lane_begin, args.lane_end = keys, key_quads, tokens, begin, end
        args.scale, args.out_scale = scale, 1.7
        if form == "known" and name != "scalar":
            args.largest = largest.ctypes.data
        args.score_offset = offset
        args.e, args.row_sum, args.token_scale = (a.data.ctypes.data for a in (e, row_sum, token_scale))
        must_call(capi, "softmax", name, args)
        return [e, row_sum, token_scale]

    same_bits(capi, tier, run)


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize("kind", ["residual", "u8", "s8", "f32"])
@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("zero_point", ["each row's", "one"])
def test_epilogues(capi: Capi, tier: str, tokens: int, kind: str, bounded: bool, zero_point: str) -> None:
    """Added to a residual; one factor per token, with zero points of the values."""
    rows, quads = 48, 12
    rng = np.random.default_rng(tokens)
    lhs = bytes_of(rng, quads, tokens, 4)
    weights = rng.integers(-128, 128, (rows // 8, quads, 8, 4), dtype=np.int8)
    init, zero_points = (aligned(rng.integers(-9, 9, rows, dtype=np.int32)) for _ in range(2))
    zero_points[:] = zero_points if zero_point == "each row's" else -7
    sums = aligned(rng.integers(0, 9999, tokens, dtype=np.int32))
    scale, bias = floats(rng, rows, scale=1e-3), floats(rng, rows, scale=30)
    # Unbounded values leave int32 in both directions.
    factors = floats(rng, tokens, scale=1e-3 if bounded or kind in ("residual", "f32") else 1e6)
    residual = floats(rng, rows, tokens)

    def run(name: str) -> list[Guarded]:
        element = capi.library.fastep_value_bytes(list(TIERS).index(name))
        ordered = weights if element == 1 else weights[..., [0, 2, 1, 3]].astype(np.int16)
        values = guarded((ordered.nbytes + 64,), np.uint8).data
        values[: ordered.nbytes] = np.ascontiguousarray(ordered).view(np.uint8).reshape(-1)
        epilogue = abi.Epilogue(abi.OUTPUT_KINDS[kind], 0, init.ctypes.data, scale.ctypes.data, bias.ctypes.data)
        epilogue.lo, epilogue.hi = (-128, 127) if kind == "s8" else (0, 255)
        epilogue.bounded = bounded
        if kind != "residual":
            epilogue.token_scale = factors.ctypes.data
            epilogue.rhs_zero_point, epilogue.token_sum = zero_points.ctypes.data, sums.ctypes.data
        wide = kind in ("residual", "f32")
        out = guarded(residual.shape, np.float32 if wide else np.uint8)
        if wide:
            out.data[...] = residual
        args = abi.ProductArgs(
            lhs.ctypes.data, tokens, abi.RhsView(None, None, values.ctypes.data, quads), 0, rows // 8
        )
        args.first = args.last = True
        args.epilogue, args.out = ctypes.addressof(epilogue), out.data.ctypes.data
        must_call(capi, "product", name, KINDS.index("dense"), args)
        return [out]

    expected = abi.RESIDUAL_EPILOGUE | abi.TOKEN_SCALE_EPILOGUE
    assert abi.extras(capi, tier) & expected == expected
    same_bits(capi, tier, run)


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize("quads", [1, 16, 63, 64, 65, 130])
@pytest.mark.parametrize("large", [0.0, 0.01, 1.0])
def test_products_of_bytes(capi: Capi, tier: str, tokens: int, quads: int, large: float) -> None:
    """Some pairs of weights, or all, are as large as can be, of one sign or of both; sums go on from earlier ones."""
    rows = 16
    rng = np.random.default_rng(quads)
    lhs = np.where(bytes_of(rng, quads, tokens, 4) < 128, np.uint8(255), bytes_of(rng, quads, tokens, 4))
    weights = rng.integers(-64, 65, (rows // 8, quads, 8, 2, 2), dtype=np.int8)
    extremes = rng.choice(np.array([-128, -65, -64, 64, 65, 127], np.int8), weights.shape)
    weights[...] = np.where(rng.random((*weights.shape[:-1], 1)) < large, extremes, weights)
    lhs, weights = aligned(lhs), aligned(weights)
    init = aligned(rng.integers(-999, 999, rows, dtype=np.int32))
    epilogue = abi.Epilogue(abi.OUTPUT_KINDS["i32"], 0, init.ctypes.data)
    args = abi.ProductArgs(lhs.ctypes.data, tokens, abi.RhsView(None, None, weights.ctypes.data, quads), 0, rows // 8)
    partial, out = guarded((rows, tokens), np.int32), guarded((rows, tokens), np.int32)
    args.partial, args.out = partial.data.ctypes.data, out.data.ctypes.data
    args.epilogue = ctypes.addressof(epilogue)
    wide = capi.library.fastep_value_bytes(TIERS.index(tier)) != 1
    for args.first, args.last in ((True, False), (False, True)):
        assert wide == abi.call(capi, "byte_product", tier, args)
    if not wide:
        pytest.skip(f"all dense products of the tier {tier} are products of bytes")
    partial.check()
    out.check()
    w = weights.transpose(0, 2, 1, 3, 4).reshape(rows, -1).astype(np.int64)
    sums = w @ lhs.transpose(0, 2, 1).reshape(-1, tokens).astype(np.int64)
    np.testing.assert_array_equal(out.data, 2 * sums + init[:, None])


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize("quads", [1, 12])
def test_largest_accumulators(capi: Capi, tier: str, tokens: int, quads: int) -> None:
    """A tier that can says which is the largest sum of each token; rows that start at the least int32 never are."""
    rows, calls = 24, 2
    rng = np.random.default_rng(tokens)
    lhs = bytes_of(rng, quads, tokens, 4)
    weights = rng.integers(-128, 128, (rows // 8, quads, 8, 4), dtype=np.int8)
    init = aligned(rng.integers(-999, 999, rows, dtype=np.int32))
    weights[-1, :, 4:], init[-4:] = 0, np.iinfo(np.int32).min
    values = guarded((weights.nbytes + 64,), np.uint8).data
    values[: weights.nbytes] = weights.view(np.uint8).reshape(-1)
    if not abi.extras(capi, tier) & abi.TOKEN_MAX_EPILOGUE:
        pytest.skip(f"the tier {tier} leaves it to softmax")
    largest = guarded((tokens,), np.int32)
    largest.data[...] = np.iinfo(np.int32).min
    out = guarded((rows, tokens), np.int32)
    epilogue = abi.Epilogue(abi.OUTPUT_KINDS["i32"], 0, init.ctypes.data)
    epilogue.token_max = largest.data.ctypes.data
    args = abi.ProductArgs(lhs.ctypes.data, tokens, abi.RhsView(None, None, values.ctypes.data, quads))
    args.first = args.last = True
    args.epilogue = ctypes.addressof(epilogue)
    for groups in np.array_split(np.arange(rows // 8), calls):
        args.group_begin, args.group_end = int(groups[0]), int(groups[-1]) + 1
        args.out = out.data[groups[0] * 8 :].ctypes.data
        must_call(capi, "product", tier, KINDS.index("dense"), args)
    w = weights.transpose(0, 2, 1, 3).reshape(rows, -1).astype(np.int64)
    sums = w @ lhs.transpose(0, 2, 1).reshape(-1, tokens).astype(np.int64) + init[:, None]
    largest.check()
    out.check()
    np.testing.assert_array_equal(out.data, sums)
    np.testing.assert_array_equal(largest.data, sums.max(axis=0))
