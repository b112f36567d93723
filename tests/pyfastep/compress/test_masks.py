"""The choice of blocks against loops that are obviously right."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from pyfastep.compress.masks import expand_mask, keep_global, keep_per_layer
from pyfastep.compress.pattern import parse_pattern


def scores(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 8), (1, 1), (5, 13), (2, 3)])
@pytest.mark.parametrize(("keep", "size"), [(2, 4), (1, 4), (1, 2)])
def test_n_of_m_keeps_the_strongest_of_each_group(shape: tuple[int, int], keep: int, size: int) -> None:
    pattern, values = parse_pattern(f"{keep}:{size}"), scores(*shape)
    kept = keep_per_layer({"a": values}, {"a": pattern.target(0)}, pattern)["a"].numpy()
    for row in range(shape[0]):
        for first in range(0, shape[1], size):
            group = values[row, first : first + size].numpy()
            expected = np.zeros(len(group), bool)
            expected[np.argsort(group)[-keep:]] = True
            np.testing.assert_array_equal(kept[row, first : first + size], expected)


def test_n_of_m_on_the_way_takes_the_weakest_that_go_in_the_end() -> None:
    pattern, values = parse_pattern("2:4"), scores(6, 16)
    final = keep_per_layer({"a": values}, {"a": 0.5}, pattern)["a"]
    half = keep_per_layer({"a": values}, {"a": 0.25}, pattern)["a"]
    assert int((~half).sum()) == 24
    assert not (~half & final).any()
    assert values[~half].max() <= values[~final & half].min()


def test_global_share_lies_within_the_bounds_of_each_layer() -> None:
    weak, strong = scores(10, 10), 5 + scores(10, 10, seed=1)
    pattern = parse_pattern("4x1")
    free = keep_global({"a": weak, "b": strong}, 0.5, (0.0, 1.0), pattern)
    assert [int((~mask).sum()) for mask in free.values()] == [100, 0]
    bounded = keep_global({"a": weak, "b": strong}, 0.5, (0.2, 0.7), pattern)
    assert [int((~mask).sum()) for mask in bounded.values()] == [70, 30]
    assert weak[~bounded["a"]].max() < weak[bounded["a"]].min()


def test_a_mask_of_blocks_is_cut_to_the_weight() -> None:
    mask = torch.tensor([[True, False], [False, True]])
    full = expand_mask(mask, torch.Size((3, 5)), (2, 3))
    expected = [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    assert full.int().tolist() == expected
