"""The GELU that all tiers share (ep/kernels/generic/gelu.h), through each tier's own epilogue."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest

from . import reference
from .capi import Array, Capi
from .cases import make_spec

# kGeluErrorBound of gelu.h, relative to max(|x|, 1).
ERROR_BOUND = 2.0**-23
COARSE_ERROR_BOUND = 1.34e-4

FORMS = ("gelu", "gelutanh")


def exact(form: str, x: Array) -> Array:
    """GELU in double."""
    x = x.astype(np.float64)
    if form == "gelu":
        return x * 0.5 * np.asarray(np.frompyfunc(math.erfc, 1, 1)(-x * math.sqrt(0.5)), np.float64)
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def some_of_all_floats(step: int) -> Array:
    """Every `step`-th of all finite floats, by their bits."""
    floats = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return floats[np.isfinite(floats)]


@pytest.mark.parametrize("form", FORMS)
def test_error_is_within_the_stated_bound(capi: Capi, tier: str, form: str) -> None:
    dense = np.linspace(-16, 16, 300_007, dtype=np.float32)
    x = np.concatenate([dense, some_of_all_floats(step=40_009)])
    error = np.abs(capi.gelu(tier, form, x) - exact(form, x)) / np.maximum(np.abs(x.astype(np.float64)), 1)
    assert error.max() <= ERROR_BOUND, f"at x = {x[error.argmax()]!r}"


@pytest.mark.parametrize("form", FORMS)
def test_every_tier_gives_the_bits_of_scalar(capi: Capi, tier: str, form: str) -> None:
    x = some_of_all_floats(step=4099)
    expected = capi.gelu("scalar", form, x)
    assert np.array_equal(capi.gelu(tier, form, x).view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("form", FORMS)
def test_limits(capi: Capi, tier: str, form: str) -> None:
    largest = np.finfo(np.float32).max
    x = np.array([0.0, -0.0, np.inf, -np.inf, largest, -largest, -14.0], np.float32)
    y = capi.gelu(tier, form, x)
    assert np.array_equal(y, np.array([0, 0, np.inf, 0, largest, 0, 0], np.float32))


@pytest.mark.parametrize("form", FORMS)
def test_error_of_the_coarse_form(form: str) -> None:
    """Of the oracle; that every tier has its bits is tested with whole layers."""
    x = np.concatenate([np.linspace(-16, 16, 300_007, dtype=np.float32), some_of_all_floats(step=40_009)])
    error = np.abs(reference.coarse_gelu(form, x) - exact(form, x)) / np.maximum(np.abs(x.astype(np.float64)), 1)
    assert error.max() <= COARSE_ERROR_BOUND, f"at x = {x[error.argmax()]!r}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("y_type", ["u8", "s8"])
@pytest.mark.parametrize("y_scale", [0.03, 1 / 512, np.nextafter(np.float32(1 / 512), np.float32(0)), 1 / 700])
def test_bytes(capi: Capi, tier: str, form: str, y_type: str, y_scale: float) -> None:
    """Every value of a fine grid as the sum of a layer, on both sides of the step from which the fine form is used."""
    rng = np.random.default_rng(5)
    n, k = 48, 8
    zero_point = 128 if y_type == "u8" else -1
    options: dict[str, Any] = {"x_scale": 3e-4, "y_scale": float(y_scale), "y_zero_point": zero_point, "y_type": y_type}
    spec = make_spec(rng, rng.integers(-127, 128, (n, k), dtype=np.int8), activation=form, **options)
    x = rng.integers(0, 256, (300, k), dtype=np.uint8)
    expected = reference.run(spec, x, functools.partial(capi.gelu, "scalar"))
    np.testing.assert_array_equal(capi.linear(spec, tier).run(x), expected)
