"""Outputs in the planar layout: the same bytes as the tile of quads turned planar, on every tier that writes them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import pytest

from . import encoder_capi as abi
from .capi import ACTIVATIONS, KINDS, TIERS, Array, Capi, guarded
from .test_encoder_kernels import WIDTHS, aligned, bytes_of, floats, must_call

ROWS, QUADS = 48, 13
BLOCK_ROWS = {"dense": 8, "1x4": 1, "2x4": 2, "4x4": 4, "8x4": 8, "4x1": 4}


@pytest.fixture(scope="session")
def planar_tier(capi: Capi, tier: str) -> str:
    """A tier with planar epilogues."""
    if not abi.extras(capi, tier) & abi.PLANAR_EPILOGUE:
        pytest.skip(f"the tier {tier} writes no planar tiles")
    return tier


@dataclass(frozen=True)
class Form:
    """An epilogue; `spread`: the magnitude of its values, in steps."""

    kind: str = "u8"
    activation: str = "none"
    out_scale: float = 25.0
    bounded: bool = True
    by_token: bool = False
    zero_points: bool = False
    spread: float = 90.0


FORMS = {
    "u8": Form(),
    "relu": Form(activation="relu"),
    "gelu": Form(activation="gelu", spread=3),
    "gelu with small steps": Form(activation="gelu", out_scale=900.0, spread=0.2),
    "gelu of large values": Form(activation="gelu", bounded=False, spread=1e9),
    "gelutanh": Form(activation="gelutanh", spread=3),
    "s8": Form("s8"),
    "s8 gelu": Form("s8", "gelu", spread=3),
    "beyond int32": Form(bounded=False, spread=1e10),
    "relu beyond int32": Form(activation="relu", bounded=False, spread=1e10),
    "s8 relu": Form("s8", "relu"),
    "by token": Form(by_token=True),
    "by token beyond int32": Form(by_token=True, bounded=False, spread=1e10),
    "s8 by token": Form("s8", by_token=True),
    "zero points": Form(zero_points=True),
    "s8 gelu with zero points": Form("s8", "gelu", zero_points=True, spread=3),
    "by token with zero points": Form(by_token=True, zero_points=True),
}


def to_planar(capi: Capi, tier: str, quads: Array) -> tuple[Array, Array]:
    """A tile of quads `[rows / 4, tokens, 4]` turned planar, and which bytes of a row belong to a token."""

    def turned(tile: Array) -> Array:
        row_bytes = capi.library.fastep_planar_row_bytes(TIERS.index(tier)) or tile.shape[1]
        out = guarded((len(tile) * 4, row_bytes), np.uint8).data
        must_call(capi, "planar_from_quad", tier, aligned(tile), len(tile), tile.shape[1], out)
        return out

    lanes = turned(np.ones_like(quads))[0] != 0
    assert lanes.sum() == quads.shape[1]
    return turned(quads), lanes


def random_rhs(rng: np.random.Generator, kind: str, element: int) -> tuple[abi.RhsView, list[Array]]:
    """Random weights of ROWS rows, and what holds them."""
    block_rows = BLOCK_ROWS[kind]
    groups = ROWS // block_rows
    counts = np.full(groups, QUADS) if kind == "dense" else rng.integers(0, 5, groups)
    blocks = int(counts.sum())
    values = guarded((blocks * block_rows * 4 * element + 64,), np.uint8).data
    values[...] = 0
    weights = rng.integers(-128, 128, blocks * block_rows * 4)
    values[:-64] = weights.astype(np.int8 if element == 1 else np.int16).view(np.uint8)
    steps = rng.integers(0, QUADS * 4, (blocks, 4)) * 16 if kind == "4x1" else rng.integers(0, QUADS, blocks) * 64
    index = aligned(np.append(steps.reshape(-1), [0] * 32).astype(np.uint16))
    pointers = aligned(np.append(np.cumsum([0, *counts]), 0).astype(np.uint32))
    view = abi.RhsView(None, None, values.ctypes.data, QUADS)
    if kind != "dense":
        view.group_ptr, view.index = pointers.ctypes.data, index.ctypes.data
    return view, [values, index, pointers]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_products(capi: Capi, planar_tier: str, kind: str, form: Form) -> None:
    if (form.by_token or form.zero_points) and kind != "dense":
        pytest.skip("only dense products scale by token or have zero points")
    rng = np.random.default_rng(5)
    element = capi.library.fastep_value_bytes(TIERS.index(planar_tier))
    row_bytes = capi.library.fastep_planar_row_bytes(TIERS.index(planar_tier))  # 0: as many as tokens
    rhs, _held = random_rhs(rng, kind, element)
    init = aligned(rng.integers(-9, 9, ROWS, dtype=np.int32))
    zero_points = aligned(rng.integers(-9, 9, ROWS, dtype=np.int32))
    # Sums have a spread of about 74 * 148 * sqrt(40).
    scale, bias = floats(rng, ROWS, scale=form.spread / 7e4), floats(rng, ROWS, scale=form.spread)
    for tokens in WIDTHS:
        lhs = bytes_of(rng, QUADS * 4, max(tokens, row_bytes))
        factors = floats(rng, tokens, scale=form.spread / 7e4)
        sums = aligned(rng.integers(-4000, 4000, tokens, dtype=np.int32))
        outputs = {}
        for planar in (False, True):
            epilogue = abi.Epilogue(abi.OUTPUT_KINDS[form.kind], ACTIVATIONS.index(form.activation), init.ctypes.data)
            epilogue.scale, epilogue.bias = scale.ctypes.data, bias.ctypes.data
            epilogue.out_scale, epilogue.out_zero_point = form.out_scale, 5.0
            epilogue.lo, epilogue.hi = (-128, 127) if form.kind == "s8" else (0, 255)
            epilogue.lo = 5 if form.activation == "relu" else epilogue.lo
            epilogue.token_scale = factors.ctypes.data if form.by_token else None
            if form.zero_points:
                epilogue.rhs_zero_point, epilogue.token_sum = zero_points.ctypes.data, sums.ctypes.data
            epilogue.bounded, epilogue.planar = form.bounded, planar
            out = guarded((ROWS, row_bytes or tokens) if planar else (ROWS // 4, tokens, 4), np.uint8)
            args = abi.ProductArgs(lhs.ctypes.data, tokens, rhs, 0, ROWS // BLOCK_ROWS[kind])
            args.first = args.last = True
            args.epilogue, args.out = ctypes.addressof(epilogue), out.data.ctypes.data
            must_call(capi, "product", planar_tier, KINDS.index(kind), args)
            out.check()
            outputs[planar] = out.data
        expected, lanes = to_planar(capi, planar_tier, outputs[False])
        assert len(np.unique(expected[:, lanes])) > (2 if form.bounded else 1), "an output that tells nothing"
        np.testing.assert_array_equal(outputs[True][:, lanes], expected[:, lanes], str(tokens))


@pytest.mark.parametrize(("features", "begin", "end"), [(4, 0, 4), (30, 0, 32), (48, 16, 48), (768, 0, 768)])
@pytest.mark.parametrize("element", ["u8", "s8"])
@pytest.mark.parametrize("wants_float", [False, True])
def test_layer_norm(
    capi: Capi, planar_tier: str, features: int, begin: int, end: int, element: str, wants_float: bool
) -> None:
    rng = np.random.default_rng(features)
    padded = -(-features // 16) * 16
    row_bytes = capi.library.fastep_planar_row_bytes(TIERS.index(planar_tier))  # 0: as many as tokens
    gamma, beta = floats(rng, padded), floats(rng, padded)
    for tokens in WIDTHS:
        z, stats = floats(rng, padded, tokens, scale=3), np.abs(floats(rng, -(-features // 32), 2, tokens, scale=5))
        z[0, :3] = [np.inf, -np.inf, 3e38]
        held = aligned(stats)
        outputs, floats_ = {}, {}
        for planar in (False, True):
            y = guarded(z.shape, np.float32)
            q = guarded((padded, row_bytes or tokens) if planar else (padded // 4, tokens, 4), np.uint8)
            args = abi.LayerNormArgs(z.ctypes.data, held.ctypes.data, features, tokens, begin, end, 1e-5)
            args.gamma, args.beta = gamma.ctypes.data, beta.ctypes.data
            args.y = y.data.ctypes.data if wants_float else None
            args.q, args.planar = q.data.ctypes.data, planar
            args.out_scale, args.out_zero_point = 60.0, 3.0 if element == "s8" else 120.0
            args.lo, args.hi, args.flip = (-128, 127, 0x80) if element == "s8" else (0, 255, 0)
            must_call(capi, "layer_norm", planar_tier, args)
            y.check()
            q.check()
            outputs[planar], floats_[planar] = q.data, y.data
        expected, lanes = to_planar(capi, planar_tier, outputs[False])
        np.testing.assert_array_equal(outputs[True][begin:end, lanes], expected[begin:end, lanes], str(tokens))
        assert np.all(outputs[True][:begin] == 0xA5)
        assert np.all(outputs[True][end:] == 0xA5)
        np.testing.assert_array_equal(floats_[True].view(np.uint32), floats_[False].view(np.uint32))
