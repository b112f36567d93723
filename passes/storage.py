"""Block-sparse storage of weights: `blocks` and `block_gaps` of the op contract, and the measure of structure.

A block is written outputs x inputs, on the weight as `torch.nn.Linear` has it, `[N, K]`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
BoolArray = npt.NDArray[np.bool_]
GapArray = npt.NDArray[np.uint8 | np.uint16]

BLOCK_SHAPES = ((1, 1), (4, 1), (1, 4), (2, 4), (4, 4), (8, 4), (16, 4))
"""Shapes (R, C) that are measured, from the smallest to the largest block."""

FOUND_FILL = 0.8
"""A weight has the structure R x C if so large a share of its kept R x C blocks is non-zero. Rounding to int8 turns 1
to 2 % of the values of a kept block into zeros; unstructured weights fill a 1x4 block to 34 % at 80 % sparsity."""

DENSE_DENSITY = 0.9
"""From this share of non-zero blocks on, skipping zeros gains nothing: the weight is dense."""


@dataclasses.dataclass(frozen=True)
class BlockWeight:
    """Sparse storage of one weight.

    Attributes:
        blocks: values `[n_blocks, R, C]`.
        gaps: `[n_blocks]`, distance from the previous stored block in row-major block order, starting before the first.
        shape: `(N, K)`.
    """

    blocks: Int8Array
    gaps: GapArray
    shape: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.blocks.nbytes + self.gaps.nbytes


@dataclasses.dataclass(frozen=True)
class Structure:
    """What the zeros of a weight look like.

    Attributes:
        density: share of non-zero elements.
        block_density: share of blocks with a non-zero, per shape of `BLOCK_SHAPES`.
        stored_blocks: number of such blocks, per shape.
    """

    density: float
    block_density: dict[tuple[int, int], float]
    stored_blocks: dict[tuple[int, int], int]

    def found(self) -> str:
        """Name of the structure: `dense`, `unstructured`, `RxC`."""
        best = "unstructured"
        if self.density >= DENSE_DENSITY:
            return "dense"
        for rows, cols in BLOCK_SHAPES[1:]:
            kept = self.block_density[rows, cols]
            if self.density >= FOUND_FILL * kept:
                best = f"{rows}x{cols}"
        return best


def _blocks_kept(weight: Int8Array) -> dict[tuple[int, int], BoolArray]:
    """Which blocks hold a non-zero, for every shape; larger blocks are put together from smaller ones."""
    padded = _pad(weight, 16, 4)
    nonzero = padded != 0
    kept: dict[tuple[int, int], BoolArray] = {(1, 1): weight != 0}
    kept[4, 1] = _merge_rows(nonzero, 4)
    kept[1, 4] = padded.view(np.uint32) != 0  # four neighbouring bytes at once
    for rows in (2, 4, 8, 16):
        kept[rows, 4] = _merge_rows(kept[rows // 2, 4], 2)
    n, k = weight.shape
    return {(r, c): mask[: -(-n // r), : -(-k // c)] for (r, c), mask in kept.items()}


def _merge_rows(mask: BoolArray, count: int) -> BoolArray:
    merged: BoolArray = mask[::count].copy()
    for offset in range(1, count):
        merged |= mask[offset::count]
    return merged


def _pad(weight: Int8Array, rows: int, cols: int) -> Int8Array:
    n, k = weight.shape
    if n % rows == 0 and k % cols == 0:
        return np.ascontiguousarray(weight)
    return np.pad(weight, ((0, -n % rows), (0, -k % cols)))


def measure(weight: Int8Array) -> Structure:
    """Measures the zeros of a weight `[N, K]`."""
    kept = _blocks_kept(weight)
    counts = {shape: int(np.count_nonzero(mask)) for shape, mask in kept.items()}
    density = {shape: counts[shape] / max(mask.size, 1) for shape, mask in kept.items()}
    return Structure(density[1, 1], density, counts)


def encode(weight: Int8Array, block: tuple[int, int]) -> BlockWeight:
    """Stores the non-zero blocks of a weight `[N, K]`, with gaps of the cheaper type."""
    rows, cols = block
    padded = _pad(weight, rows, cols)
    grid = (padded.shape[0] // rows, padded.shape[1] // cols)
    tiles = padded.reshape(grid[0], rows, grid[1], cols).transpose(0, 2, 1, 3).reshape(-1, rows, cols)
    positions = np.flatnonzero(tiles.any(axis=(1, 2)))
    if positions.size == 0:
        positions = np.zeros(1, np.intp)
    narrow = _bridge(tiles[positions], positions, np.uint8, weight.shape)
    wide = _bridge(tiles[positions], positions, np.uint16, weight.shape)
    return min(narrow, wide, key=lambda stored: stored.nbytes)


def _bridge(
    blocks: Int8Array,
    positions: npt.NDArray[np.intp],
    gap_type: type[np.uint8] | type[np.uint16],
    shape: tuple[int, ...],
) -> BlockWeight:
    """Turns positions into gaps; a gap too large for the type is bridged by blocks of zeros."""
    largest = int(np.iinfo(gap_type).max)
    gaps = np.diff(positions, prepend=-1)
    bridges = (gaps - 1) // largest
    ends = np.cumsum(bridges + 1) - 1
    all_gaps: GapArray = np.full(int(ends[-1]) + 1, largest, gap_type)
    all_gaps[ends] = gaps - bridges * largest
    all_blocks = np.zeros((len(all_gaps), *blocks.shape[1:]), np.int8)
    all_blocks[ends] = blocks
    return BlockWeight(all_blocks, all_gaps, (int(shape[0]), int(shape[1])))


def decode(stored: BlockWeight) -> Int8Array:
    """The weight `[N, K]` again."""
    n, k = stored.shape
    _, rows, cols = stored.blocks.shape
    grid = (-(-n // rows), -(-k // cols))
    tiles = np.zeros((grid[0] * grid[1], rows, cols), np.int8)
    tiles[np.cumsum(stored.gaps.astype(np.int64)) - 1] = stored.blocks
    padded = tiles.reshape(*grid, rows, cols).transpose(0, 2, 1, 3).reshape(grid[0] * rows, grid[1] * cols)
    return np.ascontiguousarray(padded[:n, :k])


def smallest(weight: Int8Array, structure: Structure) -> BlockWeight | None:
    """The storage with the fewest bytes, or None where dense is as small.

    Shapes are tried in the order of their size without bridges, until none left can win.
    """
    best: BlockWeight | None = None
    fewest = weight.size
    for shape in sorted(BLOCK_SHAPES, key=lambda s: structure.stored_blocks[s] * (s[0] * s[1] + 1)):
        if structure.stored_blocks[shape] * (shape[0] * shape[1] + 1) >= fewest:
            break
        stored = encode(weight, shape)
        if stored.nbytes < fewest:
            best, fewest = stored, stored.nbytes
    return best
