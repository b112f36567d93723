"""The shared arithmetic against exact rationals and against the header that the kernels include."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfastep.passes.ops import arithmetic

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)


def round_to_float(exact: Fraction) -> np.float32:
    """The float32 nearest to a rational, ties to even."""
    near = np.float32(float(exact))  # at most one float away
    candidates = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    best = min(abs(Fraction(float(c)) - exact) for c in candidates)
    nearest = [c for c in candidates if abs(Fraction(float(c)) - exact) == best]
    return min(nearest, key=lambda c: int(c.view(np.uint32)) & 1)


@given(FLOATS, FLOATS, FLOATS)
@settings(max_examples=500, deadline=None)
def test_fma_rounds_once(x: float, y: float, z: float) -> None:
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    assert arithmetic.fma(x, y, z) == round_to_float(exact)


@given(st.integers(1, 2**24 - 1), st.integers(1, 2**24 - 1), st.integers(-60, 60), st.sampled_from([-1, 1]))
@settings(max_examples=500, deadline=None)
def test_fma_near_ties(a: int, b: int, shift: int, sign: int) -> None:
    """Addends far below the product decide ties, and fall to a second rounding if there is one."""
    z = sign * 2.0**shift
    exact = Fraction(a) * Fraction(b) + Fraction(z)
    assert arithmetic.fma(a, b, z) == round_to_float(exact)


def header_array(text: str, name: str) -> list[np.float32]:
    match = re.search(rf"{name}\[\] = \{{(.*?)\}}", text, re.DOTALL)
    assert match is not None, name
    return [np.float32(number.strip().rstrip("f")) for number in match[1].split(",")]


def test_constants_are_those_of_the_kernels(repository: Path) -> None:
    text = "".join((repository / "ep/kernels/generic" / name).read_text() for name in ("gelu.h", "exp2.h"))
    for name, ours in (
        ("kGeluErfTail", "_TAIL_ERF"),
        ("kGeluTanhTail", "_TAIL_TANH"),
        ("kCoarseGeluErf", "_COARSE_ERF"),
        ("kCoarseGeluTanh", "_COARSE_TANH"),
        ("kFineExp2Fit", "_EXP2"),
    ):
        assert header_array(text, name) == [np.float32(c) for c in getattr(arithmetic, ours)]
    for name, ours in (
        ("kGeluClamp", "_CLAMP"),
        ("kLowestExponent", "_LOWEST_EXPONENT"),
        ("kCoarseGeluScale", "COARSE_GELU_SCALE"),
        ("kCoarseGeluErfClamp", "_COARSE_ERF_CLAMP"),
        ("kCoarseGeluTanhClamp", "_COARSE_TANH_CLAMP"),
        ("kRoundToInt", "_ROUND_TO_INT"),
    ):
        match = re.search(rf"{name} = (-?[\d.]+)f;", text)
        assert match is not None, name
        assert float(match[1]) == getattr(arithmetic, ours)


@pytest.mark.parametrize("kind", ["erf", "tanh"])
def test_gelu_error(kind: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [np.linspace(-16, 16, 20001), rng.standard_normal(20000) * 3, 10.0 ** rng.uniform(-30, 30, 2000)]
    )
    x = x.astype(np.float32)
    v = x.astype(np.float64)
    if kind == "erf":
        found, exact = arithmetic.gelu_erf(x), np.array([t / 2 * math.erfc(-t / math.sqrt(2)) for t in v])
    else:
        with np.errstate(over="ignore"):
            found, exact = arithmetic.gelu_tanh(x), v / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3)))
    assert (np.abs(found - exact) <= arithmetic.GELU_ERROR_BOUND * np.maximum(np.abs(v), 1)).all()


def test_gelu_at_the_ends() -> None:
    ends = np.array([0, -0.0, 1e30, -1e30, -14, -200], np.float32)
    for function in (arithmetic.gelu_erf, arithmetic.gelu_tanh):
        assert function(ends).tolist() == [0, 0, np.float32(1e30), 0, 0, 0]


def test_quantize_is_onnx() -> None:
    """Halves go to even before the zero point is added; the type saturates."""
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1000, -1000], np.float32)
    assert arithmetic.quantize(x, np.float32(1), np.array(1, np.uint8)).tolist() == [1, 3, 3, 1, 0, 255, 0]
    assert arithmetic.quantize(x, np.float32(1), np.array(-1, np.int8)).tolist() == [-1, 1, 1, -1, -3, 127, -128]
