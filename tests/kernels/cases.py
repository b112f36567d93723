"""Layers and activations for the tests of this folder."""

from __future__ import annotations

from typing import Any

import numpy as np

from .capi import ELEMENT_TYPES, Array, LinearSpec
from .reference import encode_blocks

# Around every width that something in the library has: quads, vectors, tiles, strips; a few primes.
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 77, 101, 127, 128, 129)
STORAGE_BLOCKS = ((1, 1), (4, 1), (1, 4), (2, 4), (4, 4), (8, 4), (3, 5), (16, 1), (64, 64))


def sparse_values(rng: np.random.Generator, n: int, k: int, block: tuple[int, int], density: float) -> Array:
    """s8 `W [N, K]` whose `block`s survive with probability `density`."""
    grid = (-(-n // block[0]), -(-k // block[1]))
    keep = np.kron(rng.random(grid) < density, np.ones(block, bool))[:n, :k]
    return np.where(keep, rng.integers(-128, 128, (n, k)), 0).astype(np.int8)


def random_x(rng: np.random.Generator, m: int, k: int, x_type: str = "u8") -> Array:
    """Activations over the whole range of their type."""
    info = np.iinfo(ELEMENT_TYPES[x_type])
    return rng.integers(info.min, info.max + 1, (m, k)).astype(info.dtype)


def make_spec(
    rng: np.random.Generator, values: Array, storage: tuple[int, int] | None = None, **options: Any
) -> LinearSpec:
    """A layer of `values` s8 `[N, K]`, dense or stored as blocks, whose outputs use the range of their type.

    Scales are per channel and bias is random; `options` are fields of LinearSpec and win.
    """
    n = values.shape[0]
    x_type = options.get("x_type", "u8")
    spread = max(1.0, 74 * 74 * float(np.sqrt(max(1, np.count_nonzero(values) / n))))
    fields: dict[str, Any] = {
        "weight": values.T if storage is None else encode_blocks(values, *storage),
        "w_scale": rng.uniform(0.5, 1.5, (n,)).astype(np.float32),
        "w_zero_point": np.zeros(1, np.int8),
        "bias": rng.normal(0, 0.3, (n,)).astype(np.float32),
        "x_type": x_type,
        "x_scale": float(np.float32(1.5 / spread)),
        "x_zero_point": int(rng.integers(0, 256)) - (128 if x_type == "s8" else 0),
        "y_scale": float(np.float32(0.021)),
        "y_zero_point": {"u8": 117, "s8": -9}.get(options.get("y_type", "f32"), 0),
    }
    return LinearSpec(**{**fields, **options})
