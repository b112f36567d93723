"""Block storage (docs/op-contract.md) in, the same layer out; broken storage and parameters refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from . import reference
from .capi import KINDS, Capi, CoreError, LinearSpec, SparseWeight
from .cases import STORAGE_BLOCKS, make_spec, random_x, sparse_values
from .test_linear import check


@pytest.mark.parametrize("storage", STORAGE_BLOCKS)
@pytest.mark.parametrize("gap_type", [np.uint8, np.uint16])
def test_every_storage_block(capi: Capi, tier: str, storage: tuple[int, int], gap_type: type) -> None:
    rng = np.random.default_rng(0)
    for n, k in ((1, 1), (16, 16), (37, 53), (65, 64)):
        values = sparse_values(rng, n, k, storage, 0.3)
        sparse = reference.encode_blocks(values, *storage, gap_type=gap_type)
        assert np.array_equal(reference.decode_blocks(sparse), values)
        spec = make_spec(rng, values, weight=sparse, y_type="u8")
        for kind in (None, *KINDS):
            check(capi, spec, random_x(rng, 17, k), tier, kind)


@pytest.mark.parametrize(("gap_type", "n", "k"), [(np.uint8, 64, 640), (np.uint16, 512, 1024)])
def test_gaps_bridged_by_zero_blocks(capi: Capi, tier: str, gap_type: type, n: int, k: int) -> None:
    rng = np.random.default_rng(1)
    values = np.zeros((n, k), np.int8)
    values[n // 2, 5] = 77
    values[n - 1, k - 1] = -128
    sparse = reference.encode_blocks(values, 1, 1, gap_type=gap_type)
    assert (sparse.gaps == np.iinfo(gap_type).max).any()
    assert not sparse.blocks.all()
    check(capi, make_spec(rng, values, weight=sparse), random_x(rng, 3, k), tier)


def test_no_blocks_at_all(capi: Capi, tier: str) -> None:
    rng = np.random.default_rng(2)
    sparse = SparseWeight((20, 12), np.zeros((0, 4, 4), np.int8), np.zeros(0, np.uint16))
    check(capi, make_spec(rng, np.zeros((20, 12), np.int8), weight=sparse), random_x(rng, 5, 12), tier)


def test_info_counts_what_is_stored(capi: Capi, tier: str) -> None:
    rng = np.random.default_rng(3)
    values = np.kron(rng.random((16, 16)) < 0.25, np.ones((4, 4))).astype(np.int8)
    spec = make_spec(rng, values)
    density = np.count_nonzero(values) / values.size
    exact = capi.linear(spec, tier, "4x4").info
    assert (exact.density, exact.work_density) == pytest.approx((density, density))
    dense = capi.linear(spec, tier, "dense").info
    assert (dense.density, dense.work_density) == pytest.approx((density, 1))
    assert 0 < exact.packed_bytes < dense.packed_bytes


def test_cost_model_follows_the_pattern_of_the_weights(capi: Capi, tier: str) -> None:
    """The chosen kind is the one predicted fastest, and multiplies hardly any zeros where a kind fits the pattern."""
    rng = np.random.default_rng(4)
    for pattern, density in (((4, 4), 0.1), ((4, 1), 0.1), ((1, 4), 0.1), ((1, 1), 1.0)):
        spec = make_spec(rng, sparse_values(rng, 768, 768, pattern, density))
        info = capi.linear(spec, tier).info
        predictions = {kind: capi.linear(spec, tier, kind).info.predicted_cycles_per_token for kind in KINDS}
        assert info.predicted_cycles_per_token == min(predictions.values())
        assert info.work_density <= 1.06 * info.density, f"{info.kind} for {pattern}"


def good_spec() -> LinearSpec:
    """A sparse layer that is valid until a test breaks it."""
    rng = np.random.default_rng(5)
    return make_spec(rng, sparse_values(rng, 10, 14, (4, 4), 0.9), (4, 4), y_type="u8")


BAD_PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"x_scale": float("nan")}, "x_scale"),
    ({"x_scale": float("inf")}, "x_scale"),
    ({"x_scale": 0.0}, "x_scale"),
    ({"x_scale": -1.0}, "x_scale"),
    ({"y_scale": float("nan")}, "y_scale"),
    ({"y_scale": 0.0}, "y_scale"),
    ({"x_zero_point": 256}, "x_zero_point"),
    ({"x_zero_point": -1}, "x_zero_point"),
    ({"x_type": "s8", "x_zero_point": 128}, "x_zero_point"),
    ({"y_zero_point": 256}, "y_zero_point"),
    ({"y_type": "s8", "y_zero_point": -129}, "y_zero_point"),
    ({"w_scale": np.ones(3, np.float32)}, "w_scale"),
    ({"w_scale": np.ones(0, np.float32)}, "w_scale"),
    ({"w_scale": np.full(10, np.nan, np.float32)}, r"w_scale\[0\]"),
    ({"w_scale": np.array([1] * 9 + [-1], np.float32)}, r"w_scale\[9\]"),
    ({"w_zero_point": np.zeros(3, np.int8)}, "w_zero_point"),
    ({"w_zero_point": np.ones(1, np.int8)}, "zero point"),
    ({"bias": np.array([0] * 9 + [np.inf], np.float32)}, r"bias\[9\]"),
    ({"y_scale": 1e-40}, "finite"),
]


@pytest.mark.parametrize(("change", "match"), BAD_PARAMETERS)
def test_bad_parameters_are_refused(capi: Capi, tier: str, change: dict[str, Any], match: str) -> None:
    with pytest.raises(CoreError, match=match) as error:
        capi.linear(dataclasses.replace(good_spec(), **change), tier)
    assert "test/linear" in str(error.value), "the message does not name the node"


def break_weight(**change: Any) -> LinearSpec:
    spec = good_spec()
    assert isinstance(spec.weight, SparseWeight)
    return dataclasses.replace(spec, weight=dataclasses.replace(spec.weight, **change))


def test_broken_storage_is_refused(capi: Capi, tier: str) -> None:
    weight = good_spec().weight
    assert isinstance(weight, SparseWeight)
    zero_gap, far_gap = weight.gaps.copy(), weight.gaps.copy()
    zero_gap[1] = 0
    far_gap[-1] = 60_000
    outside = weight.blocks.copy()
    outside[-1, 3, 3] = 1  # rows 8 to 11 of 10
    tall = np.zeros((weight.gaps.size, 65, 1), np.int8)
    broken = [
        (break_weight(gaps=zero_gap), r"block_gaps\[1\]"),
        (break_weight(gaps=far_gap), r"block_gaps\["),
        (break_weight(blocks=outside), "outside"),
        (break_weight(blocks=tall), "R = 65"),
        (break_weight(shape=(0, 14)), "weight_shape"),
        (break_weight(shape=(10, -4)), "weight_shape"),
    ]
    for spec, match in broken:
        with pytest.raises(CoreError, match=match) as error:
            capi.linear(spec, tier)
        assert "test/linear" in str(error.value)


def test_tier_that_cannot_run_is_refused(capi: Capi) -> None:
    with pytest.raises(CoreError, match="amx"):
        capi.linear(good_spec(), "amx")
