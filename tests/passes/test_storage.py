"""Block storage: what goes in comes out, in the fewest bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfastep.passes import storage

from .models import Array, random_weight


def decode_slowly(stored: storage.BlockWeight) -> Array:
    """The contract's words, one block after the other."""
    n, k = stored.shape
    _, rows, cols = stored.blocks.shape
    padded = np.zeros((-(-n // rows) * rows, -(-k // cols) * cols), np.int8)
    position = -1
    for block, gap in zip(stored.blocks, stored.gaps, strict=True):
        position += int(gap)
        row, col = divmod(position, -(-k // cols))
        padded[row * rows : (row + 1) * rows, col * cols : (col + 1) * cols] = block
    return padded[:n, :k]


@given(
    n=st.integers(1, 70),
    k=st.integers(1, 70),
    block=st.sampled_from([*storage.BLOCK_SHAPES, (3, 5), (64, 1), (1, 64)]),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_round_trip(n: int, k: int, block: tuple[int, int], density: float, seed: int) -> None:
    weight = random_weight(n, k, (1, 1), density, seed)
    stored = storage.encode(weight, block)
    assert stored.blocks.shape[1:] == block
    assert len(stored.blocks) == len(stored.gaps) >= 1
    assert (stored.gaps >= 1).all()
    assert np.array_equal(decode_slowly(stored), weight)
    assert np.array_equal(storage.decode(stored), weight)


@pytest.mark.parametrize("distance", [254, 255, 256, 257, 510, 511, 65534, 65535, 65536, 131070, 131071])
def test_gaps_are_bridged(distance: int) -> None:
    """Both types reach across any distance, on either side of their largest value."""
    weight = np.zeros((1, distance + 3), np.int8)
    weight[0, 1] = 5
    weight[0, 1 + distance] = -7
    for gap_type in (np.uint8, np.uint16):
        stored = storage._bridge(
            weight[0, [1, 1 + distance]].reshape(2, 1, 1), np.array([1, 1 + distance]), gap_type, weight.shape
        )
        assert stored.gaps.dtype == gap_type
        assert len(stored.gaps) == 2 + (distance - 1) // np.iinfo(gap_type).max
        assert np.array_equal(decode_slowly(stored), weight)


def test_gap_type_is_the_cheaper_one() -> None:
    every_300 = np.zeros((1, 300 * 50), np.int8)
    every_300[0, ::300] = 1
    assert (
        storage.encode(every_300, (1, 1)).gaps.dtype == np.uint16
    )  # bridges cost as much as wide gaps: more bytes in blocks
    one_far = np.ones((1, 1000), np.int8)
    one_far[0, 300:900] = 0
    assert storage.encode(one_far, (1, 1)).gaps.dtype == np.uint8


def test_zero_weight_stores_one_block() -> None:
    stored = storage.encode(np.zeros((8, 8), np.int8), (4, 1))
    assert stored.blocks.shape == (1, 4, 1)
    assert not stored.blocks.any()
    assert np.array_equal(storage.decode(stored), np.zeros((8, 8), np.int8))


@pytest.mark.parametrize("block", storage.BLOCK_SHAPES[1:])
@pytest.mark.parametrize("density", [0.1, 0.2, 0.5])
def test_structure_is_found(block: tuple[int, int], density: float) -> None:
    structure = storage.measure(random_weight(192, 160, block, density))
    assert structure.found() == f"{block[0]}x{block[1]}"
    assert structure.block_density[block] == pytest.approx(structure.density)


def test_structure_survives_zeros_from_rounding() -> None:
    weight = random_weight(256, 256, (4, 1), 0.2)
    weight[np.random.default_rng(0).random(weight.shape) < 0.03] = 0
    assert storage.measure(weight).found() == "4x1"


def test_orientation_is_not_mixed_up() -> None:
    """4x1 and 1x4 are the classic mistake: one is the transpose of the other."""
    weight = random_weight(128, 128, (4, 1), 0.2)
    assert storage.measure(weight).found() == "4x1"
    assert storage.measure(np.ascontiguousarray(weight.T)).found() == "1x4"


@pytest.mark.parametrize(
    ("density", "name"), [(1.0, "dense"), (0.95, "dense"), (0.5, "unstructured"), (0.2, "unstructured")]
)
def test_without_blocks(density: float, name: str) -> None:
    assert storage.measure(random_weight(128, 128, (1, 1), density)).found() == name


@given(n=st.integers(1, 40), k=st.integers(1, 40), density=st.floats(0, 1), seed=st.integers(0, 999))
@settings(max_examples=80, deadline=None)
def test_measure_counts(n: int, k: int, density: float, seed: int) -> None:
    weight = random_weight(n, k, (1, 1), density, seed)
    structure = storage.measure(weight)
    assert structure.density == np.count_nonzero(weight) / weight.size
    for rows, cols in storage.BLOCK_SHAPES:
        grid = (-(-n // rows), -(-k // cols))
        kept = sum(
            weight[r * rows : (r + 1) * rows, c * cols : (c + 1) * cols].any()
            for r in range(grid[0])
            for c in range(grid[1])
        )
        assert structure.stored_blocks[rows, cols] == kept
        assert structure.block_density[rows, cols] == kept / (grid[0] * grid[1])


@given(
    block=st.sampled_from(storage.BLOCK_SHAPES),
    density=st.floats(0, 1),
    seed=st.integers(0, 999),
    n=st.integers(1, 64),
    k=st.integers(1, 64),
)
@settings(max_examples=80, deadline=None)
def test_smallest_is_smallest(block: tuple[int, int], density: float, seed: int, n: int, k: int) -> None:
    weight = random_weight(n, k, block, density, seed)
    sizes = [storage.encode(weight, shape).nbytes for shape in storage.BLOCK_SHAPES]
    best = storage.smallest(weight, storage.measure(weight))
    if best is None:
        assert min(sizes) >= weight.size
    else:
        assert best.nbytes == min(sizes) < weight.size
        assert np.array_equal(storage.decode(best), weight)
