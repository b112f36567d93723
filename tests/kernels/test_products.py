"""Products straight from the kernel table: every kind, tile width and K-block in numpy, whatever the driver chooses."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from . import encoder_capi as abi
from .capi import KINDS, TIERS, Array, Capi, guarded
from .cases import random_x
from .test_encoder_kernels import WIDTHS, aligned, must_call

ROWS = 48
BLOCK_ROWS = {"dense": 8, "1x4": 1, "2x4": 2, "4x4": 4, "8x4": 8, "4x1": 4}


@dataclass(frozen=True)
class KBlock:
    """Packed weights of a K-block: what a kernel reads, what holds it, and the same as `[ROWS, inputs]`."""

    view: abi.RhsView
    held: list[Array]
    weights: Array


def packed(values: Array, element: int) -> Array:
    """Weights `[..., 4]` in a tier's element form, on a cache line, with a line of zeros behind them."""
    ordered = values if element == 1 else values[..., [0, 2, 1, 3]].astype(np.int16)
    out = guarded((ordered.nbytes + 64,), np.uint8).data
    out[...] = 0
    out[: ordered.nbytes] = np.ascontiguousarray(ordered).view(np.uint8).reshape(-1)
    return out


def k_block(rng: np.random.Generator, kind: str, quads: int, element: int) -> KBlock:
    """Row groups of 0 to 9 blocks (dense: all quads), anywhere and in any order."""
    rows = BLOCK_ROWS[kind]
    groups = ROWS // rows
    counts = np.full(groups, quads) if kind == "dense" else rng.integers(0, 10, groups)
    group = np.repeat(np.arange(groups), counts)
    values = rng.integers(-128, 128, (len(group), rows, 4), dtype=np.int8)
    if kind == "4x1":
        inputs = rng.integers(0, quads * 4, (len(group), 4))
        steps = inputs * 16
    else:
        quad = np.tile(np.arange(quads), groups) if kind == "dense" else rng.integers(0, quads, len(group))
        inputs = quad[:, None] * 4 + np.arange(4)
        steps = quad * 64
    weights = np.zeros((ROWS, quads * 4), np.int64)
    np.add.at(weights, (group[:, None, None] * rows + np.arange(rows)[:, None], inputs[:, None]), values)
    index = aligned(np.append(steps.reshape(-1), [0] * 32).astype(np.uint16))
    pointers = aligned(np.append(np.cumsum([0, *counts]), 0).astype(np.uint32))
    held = [packed(values, element), index, pointers]
    view = abi.RhsView(None, None, held[0].ctypes.data, quads)
    if kind != "dense":
        view.group_ptr, view.index = pointers.ctypes.data, index.ctypes.data
    return KBlock(view, held, weights)


def check_sums(capi: Capi, tier: str, kind: str, tokens: int, quads: tuple[int, ...], *, zero_points: Array) -> None:
    """K-blocks of so many quads; two calls take 16 and 32 rows. Zero points of 0 are none."""
    rng = np.random.default_rng([tokens, *quads])
    element = capi.library.fastep_value_bytes(TIERS.index(tier))
    init, zero_points = aligned(rng.integers(-999, 999, ROWS, dtype=np.int32)), aligned(zero_points)
    token_sums = aligned(rng.integers(-9999, 9999, tokens, dtype=np.int32))
    epilogue = abi.Epilogue(abi.OUTPUT_KINDS["i32"], 0, init.ctypes.data)
    if zero_points.any():
        epilogue.rhs_zero_point, epilogue.token_sum = zero_points.ctypes.data, token_sums.ctypes.data
    partial, out = guarded((ROWS, tokens), np.int32), guarded((ROWS, tokens), np.int32)
    expected = init[:, None] - np.outer(zero_points, token_sums).astype(np.int64)
    for i, count in enumerate(quads):
        block = k_block(rng, kind, count, element)
        x = random_x(rng, tokens, count * 4)
        tile = capi.pack(tier, "planar" if kind == "4x1" else "quad", x, (0, count), tokens, 0)
        assert tile is not None
        expected += block.weights @ x.T.astype(np.int64)
        args = abi.ProductArgs(tile.ctypes.data, tokens, block.view)
        args.first, args.last, args.epilogue = i == 0, i + 1 == len(quads), ctypes.addressof(epilogue)
        for begin, end in ((0, 16), (16, ROWS)):
            args.group_begin, args.group_end = begin // BLOCK_ROWS[kind], end // BLOCK_ROWS[kind]
            args.partial = partial.data[begin:].ctypes.data if len(quads) > 1 else None
            args.out = out.data[begin:].ctypes.data
            must_call(capi, "product", tier, KINDS.index(kind), args)
    partial.check()
    out.check()
    np.testing.assert_array_equal(out.data, expected)


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quads", [(13,), (1,), (7, 12), (5, 1, 9)])
def test_sums(capi: Capi, tier: str, kind: str, tokens: int, quads: tuple[int, ...]) -> None:
    """K-blocks go on from the sums of those before."""
    check_sums(capi, tier, kind, tokens, quads, zero_points=np.zeros(ROWS, np.int32))


@pytest.mark.parametrize("tokens", WIDTHS)
@pytest.mark.parametrize("quads", [(13,), (7, 12), (5, 1, 9)])
@pytest.mark.parametrize("differ", [range(ROWS), (), (ROWS - 1,), range(17, ROWS)], ids=["all", "none", "one", "most"])
def test_zero_points(capi: Capi, tier: str, tokens: int, quads: tuple[int, ...], differ: Sequence[int]) -> None:
    """Of the weights, once per sum; that those of the first rows are equal says nothing of the rows behind them."""
    zero_points = np.full(ROWS, -7, np.int32)
    zero_points[list(differ)] = np.random.default_rng(0).integers(-128, 128, len(differ))
    check_sums(capi, tier, "dense", tokens, quads, zero_points=zero_points)
