"""Linear on every tier and with every kind of packed weights: sums bit for bit, outputs bit for bit."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from . import reference
from .capi import ACTIVATIONS, KINDS, Array, Capi, LinearSpec
from .cases import SIZES, make_spec, random_x, sparse_values

# The pattern that each kind is made for; `dense` gets weights without a pattern.
PATTERNS = {"dense": (1, 1), "1x4": (1, 4), "2x4": (2, 4), "4x4": (4, 4), "8x4": (8, 4), "4x1": (4, 1)}


def check(capi: Capi, spec: LinearSpec, x: Array, tier: str, kind: str | None = None, threads: int = 1) -> None:
    """Runs a layer and compares sums and outputs with the oracle."""
    linear = capi.linear(spec, tier, kind)
    if kind is not None and capi.offers(tier, kind):
        assert linear.info.kind == kind
    assert capi.offers(tier, linear.info.kind)
    label = f"M, K = {x.shape}, N = {spec.shape[0]}, kind {linear.info.kind}"
    assert np.array_equal(linear.accumulate(x, threads), reference.accumulate(spec, x)), f"sums, {label}"
    expected = reference.run(spec, x, functools.partial(capi.gelu, "scalar"))
    assert np.array_equal(linear.run(x, threads), expected), f"outputs, {label}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vary", ["M", "N", "K"])
def test_every_size_of_one_dimension(capi: Capi, tier: str, kind: str, vary: str) -> None:
    rng = np.random.default_rng(1)
    for size in SIZES:
        m, n, k = (size if vary == name else other for name, other in (("M", 21), ("N", 29), ("K", 43)))
        spec = make_spec(rng, sparse_values(rng, n, k, PATTERNS[kind], 0.4), y_type="u8")
        check(capi, spec, random_x(rng, m, k), tier, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_odd_sizes(capi: Capi, tier: str, kind: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        m, n, k = (int(size) for size in rng.choice(SIZES, 3))
        spec = make_spec(rng, sparse_values(rng, n, k, PATTERNS[kind], rng.choice([0.1, 0.5, 1.0])), y_type="s8")
        check(capi, spec, random_x(rng, m, k), tier, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_everything(capi: Capi, tier: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    for x_type in ("u8", "s8"):
        spec = make_spec(rng, np.array([[-128]], np.int8), x_type=x_type, y_type="f32")
        check(capi, spec, random_x(rng, 1, 1, x_type), tier, kind)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("y_type", ["u8", "s8", "f32"])
@pytest.mark.parametrize("x_type", ["u8", "s8"])
def test_every_epilogue(capi: Capi, tier: str, activation: str, y_type: str, x_type: str) -> None:
    rng = np.random.default_rng(4)
    for kind in KINDS:
        values = sparse_values(rng, 40, 64, PATTERNS[kind], 0.5)
        for scales in (40, 1):
            w_scale = rng.uniform(0.5, 1.5, scales).astype(np.float32)
            spec = make_spec(rng, values, x_type=x_type, y_type=y_type, activation=activation, w_scale=w_scale)
            check(capi, spec, random_x(rng, 37, 64, x_type), tier, kind)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("y_type", "y_zero_point"), [("u8", 0), ("u8", 255), ("s8", -128), ("s8", 127), ("s8", 0)])
def test_zero_points_at_the_ends_of_the_range(
    capi: Capi, tier: str, activation: str, y_type: str, y_zero_point: int
) -> None:
    rng = np.random.default_rng(5)
    for x_type, x_zero_point in (("u8", 0), ("u8", 255), ("s8", -128), ("s8", 127)):
        spec = make_spec(
            rng,
            sparse_values(rng, 19, 33, (1, 1), 0.8),
            activation=activation,
            x_type=x_type,
            x_zero_point=x_zero_point,
            y_type=y_type,
            y_zero_point=y_zero_point,
        )
        check(capi, spec, random_x(rng, 18, 33, x_type), tier)


@pytest.mark.parametrize("weight_type", [np.uint8, np.int8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_zero_points_of_the_weights(capi: Capi, tier: str, weight_type: type, per_channel: bool) -> None:
    rng = np.random.default_rng(6)
    info = np.iinfo(weight_type)
    for m, n, k in ((1, 1, 1), (17, 33, 65), (70, 50, 77), (33, 16, 4)):
        for x_type in ("u8", "s8"):
            weight: Array = rng.integers(info.min, info.max + 1, (k, n)).astype(weight_type)
            zero_point: Array = rng.integers(info.min, info.max + 1, n if per_channel else 1).astype(weight_type)
            spec = make_spec(rng, np.ones((n, k), np.int8), x_type=x_type, weight=weight, w_zero_point=zero_point)
            check(capi, spec, random_x(rng, m, k, x_type), tier)


def test_unsigned_weights_with_zero_point_128_take_every_kind(capi: Capi, tier: str) -> None:
    rng = np.random.default_rng(7)
    for kind in KINDS:
        values = sparse_values(rng, 40, 52, PATTERNS[kind], 0.3)
        weight = (values.T.astype(np.int16) + 128).astype(np.uint8)
        zero_point = np.full(1, 128, np.uint8)
        spec = make_spec(rng, values, y_type="u8", weight=weight, w_zero_point=zero_point)
        check(capi, spec, random_x(rng, 33, 52), tier, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_all_weights_zero(capi: Capi, tier: str, kind: str) -> None:
    rng = np.random.default_rng(8)
    zeros = np.zeros((21, 37), np.int8)
    for storage in (None, (4, 4)):
        for y_type in ("u8", "f32"):
            check(capi, make_spec(rng, zeros, storage, y_type=y_type), random_x(rng, 19, 37), tier, kind)


def test_no_tokens(capi: Capi, tier: str) -> None:
    rng = np.random.default_rng(9)
    for kind in KINDS:
        linear = capi.linear(make_spec(rng, sparse_values(rng, 20, 20, (4, 4), 0.5)), tier, kind)
        empty = np.zeros((0, 20), np.uint8)
        assert linear.run(empty).shape == (0, 20)
        assert linear.accumulate(empty).shape == (0, 20)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_without_weights(capi: Capi, tier: str, kind: str) -> None:
    """Uneven groups: empty ones, full ones, and a last gathered block that is not full."""
    rng = np.random.default_rng(10)
    values = sparse_values(rng, 64, 96, PATTERNS[kind], 0.5)
    values[8:24] = 0
    values[24:32] = rng.integers(1, 128, (8, 96))
    values[:, 40:60] = 0
    values[40:44] = 0
    values[40:44, 93] = 5
    check(capi, make_spec(rng, values, y_type="u8"), random_x(rng, 50, 96), tier, kind)


@pytest.mark.parametrize(("n", "k"), [(384, 384), (1536, 384), (384, 1536), (3072, 768), (768, 3072)])
def test_shapes_of_real_encoders(capi: Capi, tier: str, n: int, k: int) -> None:
    rng = np.random.default_rng(11)
    for block, density in (((4, 1), 0.2), ((4, 4), 0.1), ((1, 1), 1.0)):
        spec = make_spec(rng, sparse_values(rng, n, k, block, density), y_type="u8", activation="gelu")
        check(capi, spec, random_x(rng, 77, k), tier, threads=2)
