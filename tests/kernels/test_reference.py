"""The oracle itself, against arithmetic that is slower and more obvious still."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from . import reference

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)


def nearest_float(exact: Fraction) -> np.float32:
    """The float32 nearest to a rational number, ties to even mantissas."""
    guess = np.float32(float(exact))
    candidates = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    return min(candidates, key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(np.uint32)) & 1))


@given(a=floats, b=floats, c=floats)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    found = reference.fma(*(np.array([x], np.float32) for x in (a, b, c)))[0]
    assert found == nearest_float(exact)


def test_fma_where_two_roundings_differ_from_one() -> None:
    """(1 + 2^-12)^2 + 2^-60 lies just above a tie of float32, which a rounding to double would turn into the tie."""
    a = np.array([1 + 2.0**-12], np.float32)
    assert reference.fma(a, a, np.array([2.0**-60], np.float32))[0] == np.float32(1 + 2.0**-11 + 2.0**-23)
    assert np.float32(np.float64(a[0]) ** 2 + 2.0**-60) == np.float32(1 + 2.0**-11)


@given(
    n=st.integers(1, 20),
    k=st.integers(1, 20),
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_decode_to_what_was_encoded(n: int, k: int, rows: int, cols: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.integers(-128, 128, (n, k)) * (rng.random((n, k)) < 0.2)).astype(np.int8)
    sparse = reference.encode_blocks(weight, rows, cols)
    assert np.array_equal(reference.decode_blocks(sparse), weight)
    assert np.all(sparse.gaps >= 1)
