"""Bits do not depend on threads, on how tokens are grouped, or on what ran before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from .capi import KINDS, Capi
from .cases import make_spec, random_x, sparse_values


@pytest.mark.parametrize("kind", KINDS)
def test_threads_give_identical_bits(capi: Capi, tier: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    for y_type in ("u8", "f32"):
        spec = make_spec(rng, sparse_values(rng, 200, 130, (4, 4), 0.4), y_type=y_type, activation="gelu")
        linear = capi.linear(spec, tier, kind)
        for m in (1, 33, 150):
            x = random_x(rng, m, 130)
            one = linear.run(x)
            for threads in (2, 3):
                assert np.array_equal(linear.run(x, threads), one)
                assert np.array_equal(linear.accumulate(x, threads), linear.accumulate(x))


def test_a_token_does_not_see_its_neighbours(capi: Capi, tier: str) -> None:
    """More tokens than one wave of the driver holds, against the same tokens one part at a time."""
    rng = np.random.default_rng(1)
    spec = make_spec(rng, sparse_values(rng, 24, 36, (4, 1), 0.5), y_type="f32", activation="gelutanh")
    linear = capi.linear(spec, tier)
    x = random_x(rng, 2100, 36)
    whole = linear.run(x, threads=2)
    for begin, end in ((0, 1), (1, 18), (18, 1023), (1023, 2100)):
        assert np.array_equal(linear.run(x[begin:end]), whole[begin:end])


def test_concurrent_runs_of_one_layer(capi: Capi, tier: str) -> None:
    rng = np.random.default_rng(2)
    linear = capi.linear(make_spec(rng, sparse_values(rng, 96, 96, (4, 4), 0.3), y_type="u8"), tier)
    inputs = [random_x(rng, m, 96) for m in (1, 16, 40, 77)] * 8
    expected = [linear.run(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for y, right in zip(pool.map(linear.run, inputs), expected, strict=True):
            assert np.array_equal(y, right)
