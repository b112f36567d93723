"""Where int8 kernels go wrong: saturation, int32 overflow, roundings at a half, values beyond the range."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from . import reference
from .capi import KINDS, Array, Capi
from .cases import make_spec, random_x
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


def inputs_of_extreme_sums(values: Array) -> Array:
    """Tokens `[2 N, K]` for which the products of each row are all as large as can be, or all as small."""
    return np.concatenate([np.where(values > 0, 255, 0), np.where(values < 0, 255, 0)]).astype(np.uint8)


def pick(rng: np.random.Generator, shape: tuple[int, int], choices: tuple[int, ...]) -> Array:
    return np.array(choices)[rng.integers(0, len(choices), shape)]


def normal(rng: np.random.Generator, shape: tuple[int, int], deviation: float) -> Array:
    return np.clip(np.rint(rng.normal(0, deviation, shape)), -128, 127)


def none_small(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """What pruning by magnitude leaves."""
    return np.sign(rng.normal(size=shape)) * (30 + np.abs(normal(rng, shape, 20)))


def few_large(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    return np.where(rng.random(shape) < 0.2, pick(rng, shape, (127, -127, -128)), normal(rng, shape, 20))


# Two weights with inputs of 255 leave 16 bits, or not: around that end, far beyond it, and as real weights do.
WEIGHTS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    "largest": lambda rng, shape: np.full(shape, 127),
    "least": lambda rng, shape: np.full(shape, -128),
    "signs": lambda rng, shape: pick(rng, shape, (127, -127)),
    "extremes": lambda rng, shape: pick(rng, shape, (-128, -127, 127, 0)),
    "around 64": lambda rng, shape: pick(rng, shape, (63, 64, 65, -63, -64, -65)),
    "around 32": lambda rng, shape: pick(rng, shape, (31, 32, 33, -31, -32, -33)),
    "sums of 128": lambda rng, shape: pick(rng, shape, (127, 1, -1, -128, 126, 2, 0)),
    "one in a row of its own": lambda rng, shape: np.where(rng.random(shape) < 0.02, -128, 0),
    "few large": few_large,
    "none small": none_small,
    "normal 20": lambda rng, shape: normal(rng, shape, 20),
    "normal 40": lambda rng, shape: normal(rng, shape, 40),
    "normal 60": lambda rng, shape: normal(rng, shape, 60),
    "uniform": lambda rng, shape: rng.integers(-128, 128, shape),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_no_sum_of_16_bits_overflows(capi: Capi, tier: str, kind: str, weights: str) -> None:
    """A tier may keep weights as bytes for vpmaddubsw and add up what it gives in 16 bits: only where that is exact."""
    rng = np.random.default_rng(3)
    for n, k in ((1, 1), (4, 4), (8, 8), (3, 12), (9, 17), (40, 132), (17, 803)):
        values = WEIGHTS[weights](rng, (n, k)).astype(np.int8)
        values[rng.random(n) < 0.1] = 0
        values[:, rng.random(k) < 0.1] = 0
        spec = make_spec(rng, values, x_zero_point=int(rng.integers(256)))
        check(capi, spec, np.concatenate([inputs_of_extreme_sums(values), random_x(rng, 5, k)]), tier, kind)


@pytest.mark.parametrize(("kind", "between"), [("4x4", 1.75), ("4x1", 2.25)])
def test_bytes_where_they_are_faster(capi: Capi, kind: str, between: float) -> None:
    """Without an instruction that adds up four products, weights of bytes need room in 16 bits.

    `between`: bytes per weight, with indices, of weights that are packed as bytes and as words.
    """
    tier = "avx2"
    if not capi.offers(tier, kind):
        pytest.skip("the tier does not run here")
    rng = np.random.default_rng(4)
    expected = {"normal 20": True, "around 32": True, "none small": True, "signs": False, "uniform": kind == "4x1"}
    for weights, as_bytes in expected.items():
        spec = make_spec(rng, WEIGHTS[weights](rng, (64, 256)).astype(np.int8))
        found = capi.linear(spec, tier, kind).info.packed_bytes / (64 * 256)
        assert (found < between) == as_bytes, f"{weights}: {found}"


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
