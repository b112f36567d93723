"""Packing into tiles and back (layouts of ep/core/kernel_table.h), each tier against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from .capi import Array, Capi
from .cases import random_x

TILES = (16, 32, 48, 64)
TOKENS = [(tokens, m) for tokens in TILES for m in (1, 2, 7, tokens - 17, tokens - 1, tokens) if m >= 1]
INPUTS = (1, 3, 4, 5, 31, 32, 33, 36, 63, 64, 65, 77, 128, 131)


def padded(x: Array, quads: tuple[int, int], tokens: int, flip: int) -> Array:
    """`x [M, K]` as `[tokens, inputs of the quads]`, flipped, zeros around."""
    full = np.zeros((tokens, quads[1] * 4), np.uint8)
    full[: x.shape[0], : x.shape[1]] = x ^ flip
    return full[:, quads[0] * 4 :]


def quad_ranges(k: int) -> list[tuple[int, int]]:
    """The whole of K, and its second half as a K-block of its own."""
    quads = -(-k // 4)
    return [(0, quads), (quads // 2, quads)]


@pytest.mark.parametrize(("tokens", "m"), TOKENS)
@pytest.mark.parametrize("flip", [0, 0x80])
def test_pack_quad(capi: Capi, tier: str, tokens: int, m: int, flip: int) -> None:
    rng = np.random.default_rng([tokens, m])
    for k in INPUTS:
        x = random_x(rng, m, k + 3)[:, :k]  # the last bytes of a row belong to somebody else
        for quads in quad_ranges(k):
            expected = padded(x, quads, tokens, flip).reshape(tokens, -1, 4).swapaxes(0, 1)
            packed = capi.pack(tier, "quad", x, quads, tokens, flip)
            assert packed is not None
            assert np.array_equal(packed.reshape(-1, tokens, 4), expected), f"K = {k}, quads {quads}"


@pytest.mark.parametrize(("tokens", "m"), TOKENS)
@pytest.mark.parametrize("flip", [0, 0x80])
def test_pack_planar(capi: Capi, tier: str, tokens: int, m: int, flip: int) -> None:
    """The order of the tokens is the tier's own, but it is one order for all inputs, and no token is lost."""
    rng = np.random.default_rng([tokens, m])
    numbered = np.repeat(np.arange(1, tokens + 1, dtype=np.uint8)[:, None], 4, axis=1)
    numbers = capi.pack(tier, "planar", numbered, (0, 1), tokens, 0)
    if numbers is None:
        assert not capi.offers(tier, "4x1")
        pytest.skip(f"{tier} has no planar layout")
    order = numbers.reshape(4, -1)[0].astype(int)
    assert set(order) - {0} == set(range(1, tokens + 1))
    for k in INPUTS:
        x = random_x(rng, m, k + 3)[:, :k]
        for quads in quad_ranges(k):
            by_token = padded(x, quads, tokens, flip)
            packed = capi.pack(tier, "planar", x, quads, tokens, flip)
            assert packed is not None
            rows = packed.reshape(by_token.shape[1], -1)
            used = order > 0
            assert np.array_equal(rows[:, used], by_token[order[used] - 1].T), f"K = {k}, quads {quads}"


@pytest.mark.parametrize(("tokens", "m"), TOKENS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_unpack_writes_only_its_part(capi: Capi, tier: str, tokens: int, m: int, dtype: type) -> None:
    rng = np.random.default_rng([tokens, m])
    for rows in INPUTS:
        values: Array = rng.integers(0, 256, (-(-rows // 4) * 4, tokens)).astype(dtype)
        tile = values if dtype is np.float32 else np.ascontiguousarray(values.reshape(-1, 4, tokens).swapaxes(1, 2))
        y: Array = np.full((m + 2, rows + 10), 99, dtype)
        expected = y.copy()
        expected[1:-1, 5:-5] = values[:rows, :m].T
        capi.unpack(tier, tile, rows, y[1:-1, 5:-5])
        assert np.array_equal(y, expected), f"{rows} rows"


def test_unpack_keeps_every_bit_pattern(capi: Capi, tier: str) -> None:
    """Integer sums travel through unpack_f32: no word may be changed as a float would be (signalling NaN)."""
    words = np.random.default_rng(0).integers(-(2**31), 2**31, (24, 32)).astype(np.int32)
    words[:, :4] = [0x7F800001, -0x7FFFFF, 0x7FFFFFFF, -(2**31)]
    y = np.zeros((32, 24), np.int32)
    capi.unpack(tier, words.view(np.float32), 24, y.view(np.float32))
    assert np.array_equal(y, words.T)
