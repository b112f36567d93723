"""The oracle: QLinear in slow, obvious numpy, exactly as docs/op-contract.md states it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .capi import Array, LinearSpec, SparseWeight

RANGES = {"u8": (0, 255), "s8": (-128, 127)}


def fma(a: Array, b: Array, c: Array) -> Array:
    """float32 a * b + c with one rounding.

    The product of two floats is exact in double. The sum is rounded to odd (Boldo, Melquiond: "Emulation of FMA and
    correctly rounded sums", 2008), so that the final rounding to float is the only one that counts.
    """
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    addend = np.asarray(c, np.float64)
    product, addend = np.broadcast_arrays(product, addend)
    total = product + addend
    with np.errstate(invalid="ignore"):  # infinite terms have no error
        part = total - product
        error = (product - (total - part)) + (addend - part)  # Knuth's TwoSum: total + error is the exact sum
    error = np.where(np.isfinite(total), error, 0)
    bits = total.view(np.int64).copy()
    inexact_even = (error != 0) & (bits & 1 == 0)
    away_from_zero = (error > 0) == (total > 0)
    bits[inexact_even] += np.where(away_from_zero, 1, -1)[inexact_even]
    with np.errstate(over="ignore"):  # beyond float32: infinite, as fmaf
        return bits.view(np.float64).astype(np.float32)


def encode_blocks(weight: Array, rows: int, cols: int, gap_type: type = np.uint16) -> SparseWeight:
    """Stores `weight [N, K]` as its non-zero blocks, and zero blocks where a gap would not fit."""
    n, k = weight.shape
    grid = (-(-n // rows), -(-k // cols))
    padded = np.zeros((grid[0] * rows, grid[1] * cols), np.int8)
    padded[:n, :k] = weight
    blocks = padded.reshape(grid[0], rows, grid[1], cols).swapaxes(1, 2).reshape(-1, rows, cols)
    largest = int(np.iinfo(gap_type).max)
    positions = [-1]
    for position in np.flatnonzero(blocks.any(axis=(1, 2))).tolist():
        while position - positions[-1] > largest:
            positions.append(positions[-1] + largest)
        positions.append(position)
    return SparseWeight((n, k), blocks[positions[1:]], np.diff(positions).astype(gap_type))


def decode_blocks(sparse: SparseWeight) -> Array:
    """The weight `[N, K]` that the blocks stand for."""
    n, k = sparse.shape
    _, rows, cols = sparse.blocks.shape
    width = -(-k // cols)
    weight = np.zeros((-(-n // rows) * rows, width * cols), np.int8)
    for block, position in zip(sparse.blocks, np.cumsum(sparse.gaps, dtype=np.int64) - 1, strict=True):
        row, col = divmod(int(position), width)
        weight[row * rows : (row + 1) * rows, col * cols : (col + 1) * cols] = block
    return weight[:n, :k]


def dense_weight(spec: LinearSpec) -> Array:
    """`W [N, K]` of a spec, whatever its storage."""
    return decode_blocks(spec.weight) if isinstance(spec.weight, SparseWeight) else spec.weight.T


def accumulate(spec: LinearSpec, x: Array) -> Array:
    """`sum_k (x - zx)(W - zw)`, int64 `[M, N]`; in double, where every partial sum is exact (far below 2^53)."""
    centred_x = x.astype(np.float64) - spec.x_zero_point
    centred_w = dense_weight(spec).astype(np.float64) - spec.w_zero_point.astype(np.float64).reshape(-1, 1)
    return (centred_x @ centred_w.T).astype(np.int64)


# Coefficients of p and the bound of its argument, and the largest 1 / y_scale (ep/kernels/generic/gelu.h).
COARSE_GELU = {
    "gelu": (
        (0.498741269, -0.382411748, -0.056794405, 0.150873244, -0.0619048811, 0.0107750567, -0.000708657724),
        3.85,
    ),
    "gelutanh": (
        (0.498635054, -0.382617861, -0.0552558303, 0.149325505, -0.0613268688, 0.0106870523, -0.000704425795),
        3.8,
    ),
}
COARSE_GELU_SCALE = np.float32(512)


def coarse_gelu(form: str, v: Array) -> Array:
    """GELU of what becomes a byte: max(v, 0) - a p(a), a = min(|v|, bound)."""
    coefficients, bound = COARSE_GELU[form]
    a = np.minimum(np.abs(v), np.float32(bound))
    p = np.full_like(a, np.float32(coefficients[-1]))
    for c in coefficients[-2::-1]:
        p = fma(p, a, np.float32(c))
    return fma(-a, p, np.maximum(v, np.float32(0)))


def run(spec: LinearSpec, x: Array, gelu: Callable[[str, Array], Array]) -> Array:
    """`y [M, N]`; `gelu(form, v)` is the elementwise GELU that the contract shares among tiers."""
    acc = accumulate(spec, x).astype(np.float32)
    double_scale = np.float64(np.float32(spec.x_scale)) * spec.w_scale.astype(np.float64)
    y_scale = np.float64(np.float32(spec.y_scale))
    bias = spec.bias.astype(np.float64)
    is_gelu = spec.activation.startswith("gelu")
    if spec.y_type == "f32" or is_gelu:
        v = fma(acc, double_scale.astype(np.float32), spec.bias)
        if is_gelu:
            coarse = spec.y_type != "f32" and np.float32(1.0 / y_scale) <= COARSE_GELU_SCALE
            v = (coarse_gelu if coarse else gelu)(spec.activation, v)
        elif spec.activation == "relu":
            v = np.maximum(v, np.float32(0))
        if spec.y_type == "f32":
            return v
        v = fma(v, np.float32(1.0 / y_scale), np.float32(spec.y_zero_point))
    else:
        offset = bias / y_scale + spec.y_zero_point
        v = fma(acc, (double_scale / y_scale).astype(np.float32), offset.astype(np.float32))
    low, high = RANGES[spec.y_type]
    if spec.activation == "relu":
        low = max(low, spec.y_zero_point)
    return np.clip(np.rint(v), low, high).astype(np.uint8 if spec.y_type == "u8" else np.int8)
