"""Where int8 kernels go wrong: saturation, int32 overflow, roundings at a half, values beyond the range."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from . import reference
from .capi import KINDS, Capi
from .cases import make_spec
from .test_linear import check


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [127, -128])
def test_products_that_saturate_16_bits(capi: Capi, tier: str, kind: str, value: int) -> None:
    """255 * 127 * 2 and 255 * -128 * 2 do not fit the 16-bit sums of vpmaddubsw."""
    rng = np.random.default_rng(0)
    spec = make_spec(rng, np.full((33, 130), value, np.int8), x_zero_point=0)
    check(capi, spec, np.full((18, 130), 255, np.uint8), tier, kind)
    signed = make_spec(rng, np.full((33, 130), value, np.int8), x_type="s8", x_zero_point=127)
    check(capi, signed, np.full((18, 130), -128, np.int8), tier, kind)


# Two weights whose 16-bit sum with inputs of 255 is the largest or the least that fits, and the first that does not.
BOUNDED = ((64, 64), (127, 1), (-64, -64), (-128, 0), (127, -128), (-128, 127), (128 - 2, 2))
UNBOUNDED = ((65, 64), (127, 2), (-65, -64), (-128, -1), (127, 127), (-128, -128))


@pytest.mark.parametrize("kind", ["1x4", "2x4", "4x4", "8x4"])
@pytest.mark.parametrize("unbounded_part", [0.0, 0.02, 0.9])
def test_pairs_around_the_end_of_16_bits(capi: Capi, tier: str, kind: str, unbounded_part: float) -> None:
    """A tier may keep weights as bytes for vpmaddubsw if few pairs can saturate; those must come out exact, too."""
    rng = np.random.default_rng(3)
    n, k = 40, 132
    pairs = rng.integers(-60, 60, (n, k // 2, 2))
    pairs[::3] = np.array(BOUNDED)[rng.integers(0, len(BOUNDED), pairs[::3].shape[:2])]
    chosen = rng.random((n // 8, k // 4)).repeat(8, 0).repeat(2, 1) < unbounded_part
    pairs[chosen] = np.array(UNBOUNDED)[rng.integers(0, len(UNBOUNDED), int(chosen.sum()))]
    spec = make_spec(rng, pairs.reshape(n, k).astype(np.int8), x_zero_point=0)
    x = np.full((35, k), 255, np.uint8)
    x[1::2] = rng.integers(0, 256, x[1::2].shape)
    check(capi, spec, x, tier, kind)
    if tier == "avx2" and capi.offers(tier, kind):
        between = 1.7 * n * k  # bytes and words of weights, with some indices
        assert (capi.linear(spec, tier, kind).info.packed_bytes < between) == (unbounded_part < 0.5)


@pytest.mark.parametrize("value", [127, -128])
@pytest.mark.parametrize("k", [33_000, 65_000, 70_001])
def test_sums_around_the_end_of_int32(capi: Capi, tier: str, k: int, value: int) -> None:
    """The worst case leaves int32 at K = 65 794 (255 * 128 * K); outputs must be exact beyond it too."""
    rng = np.random.default_rng(1)
    values = np.full((3, k), value, np.int8)
    values[1, ::2] = 0
    values[2] = rng.integers(-128, 128, k)
    x = np.full((2, k), 255, np.uint8)
    x[1] = rng.integers(0, 256, k)
    for kind in (None, "dense", "4x4", "4x1"):
        for x_zero_point in (0, 3):
            spec = make_spec(rng, values, x_zero_point=x_zero_point, x_scale=1e-9)
            expected = reference.run(spec, x, functools.partial(capi.gelu, "scalar"))
            assert np.array_equal(capi.linear(spec, tier, kind).run(x), expected)


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_wide_sums_with_every_epilogue(capi: Capi, tier: str, activation: str) -> None:
    rng = np.random.default_rng(2)
    k = 70_001
    weight = rng.integers(100, 256, (k, 5)).astype(np.uint8)
    for y_type in ("u8", "s8", "f32"):
        spec = make_spec(
            rng,
            np.ones((5, k), np.int8),
            weight=weight,
            w_zero_point=np.array([0, 1, 128, 200, 255], np.uint8),
            x_scale=1e-9,
            y_type=y_type,
            activation=activation,
        )
        x = rng.integers(128, 256, (3, k)).astype(np.uint8)
        expected = reference.run(spec, x, functools.partial(capi.gelu, "scalar"))
        assert np.array_equal(capi.linear(spec, tier).run(x), expected)


@pytest.mark.parametrize("y_type", ["u8", "s8"])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_halves_round_to_even(capi: Capi, tier: str, y_type: str, activation: str) -> None:
    """One input, weight 1, scale 1/2: every second output lies exactly between two steps."""
    rng = np.random.default_rng(3)
    spec = make_spec(
        rng,
        np.ones((1, 1), np.int8),
        x_scale=0.5,
        x_zero_point=100,
        w_scale=np.ones(1, np.float32),
        bias=np.zeros(1, np.float32),
        y_scale=1.0,
        y_zero_point=3,
        y_type=y_type,
        activation=activation,
    )
    x = np.arange(256, dtype=np.uint8)[:, None]
    check(capi, spec, x, tier)
    y = capi.linear(spec, tier).run(x)[:, 0].astype(int)
    assert [y[101], y[103]] == [4, 4], "0.5 + 3 and 1.5 + 3 both round to 4"


@pytest.mark.parametrize("y_type", ["u8", "s8", "f32"])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "gelutanh"])
def test_values_far_beyond_the_range(capi: Capi, tier: str, y_type: str, activation: str) -> None:
    """Beyond int32, and beyond float32: clamped, never wrapped around."""
    rng = np.random.default_rng(4)
    values = np.array([[127] * 8, [-128] * 8], np.int8)
    for x_scale in (1e6, 1e30, 3e38):
        spec = make_spec(
            rng,
            values,
            w_scale=np.ones(1, np.float32),
            x_scale=x_scale,
            x_zero_point=0,
            y_scale=1.0,
            y_type=y_type,
            activation=activation,
        )
        check(capi, spec, np.full((3, 8), 255, np.uint8), tier)


def test_large_sums_convert_to_the_nearest_float(capi: Capi, tier: str) -> None:
    """Sums above 2^24 are not all floats; the conversion rounds half to even as the contract says."""
    rng = np.random.default_rng(5)
    k = 2100
    values = rng.integers(100, 128, (16, k)).astype(np.int8)
    one, zeros = np.ones(1, np.float32), np.zeros(16, np.float32)
    spec = make_spec(rng, values, x_zero_point=0, w_scale=one, x_scale=1.0, bias=zeros)
    x = rng.integers(200, 256, (40, k)).astype(np.uint8)
    sums = reference.accumulate(spec, x)
    assert sums.min() > 2**24
    assert np.array_equal(capi.linear(spec, tier).run(x), sums.astype(np.float32))
