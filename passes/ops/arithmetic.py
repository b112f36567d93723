"""Scalar arithmetic that every tier shares, written out in numpy: the exact roundings of the op contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

GELU_ERROR_BOUND = 2.0**-23
"""`|gelu(x) - exact| <= GELU_ERROR_BOUND * max(|x|, 1)`, for both forms."""

COARSE_GELU_ERROR_BOUND = 1.34e-4
"""The same of the form for results that become bytes."""

COARSE_GELU_SCALE = np.float32(512)
"""The largest 1 / y_scale for which that form is used."""

# Coefficients, lowest first, and constants of ep/kernels/generic/gelu.h, where the method is explained.
_TAIL_ERF = (
    *(-1.0, -1.15110993, -0.459170043, -0.0526079237, 0.00722277258),
    *(-0.000259190769, -0.000134896429, 2.83540339e-05, -1.88941408e-06),
)
_TAIL_TANH = (
    *(-1.0, -1.15107334, -0.459534496, -0.0503141843, 0.00554041564),
    *(0.00204342278, -0.00144340622, 0.000108368804, 3.28968345e-05, -4.38375309e-06),
)
_COARSE_ERF = (
    *(0.498741269, -0.382411748, -0.056794405, 0.150873244),
    *(-0.0619048811, 0.0107750567, -0.000708657724),
)
_COARSE_TANH = (
    *(0.498635054, -0.382617861, -0.0552558303, 0.149325505),
    *(-0.0613268688, 0.0106870523, -0.000704425795),
)
_COARSE_ERF_CLAMP, _COARSE_TANH_CLAMP = 3.85, 3.8
_EXP2 = (1.0, 0.693147004, 0.240222469, 0.0555071086, 0.00967129134, 0.00132695213)
_CLAMP = 64.0
_LOWEST_EXPONENT = -127.0
_ROUND_TO_INT = 12582912.0


def fma(x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike) -> FloatArray:
    """X * y + z in float32 with one rounding, to nearest even.

    The product of two floats is exact in double. The sum is rounded to odd there, which makes the second rounding, to
    float, the only one that counts (Boldo, Melquiond: Emulation of FMA and correctly rounded sums, 2008).
    """
    product = np.asarray(x, np.float32).astype(np.float64) * np.asarray(y, np.float32).astype(np.float64)
    addend = np.asarray(z, np.float32).astype(np.float64)
    total = product + addend
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)  # TwoSum: product + addend = total + error
    is_even = (np.asarray(total).view(np.uint64) & np.uint64(1)) == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where(np.isfinite(total) & (error != 0) & is_even, odd, total).astype(np.float32)


def gelu_erf(x: npt.ArrayLike) -> FloatArray:
    """x/2 (1 + erf(x / sqrt 2)), bit for bit as the kernels compute it (arXiv 1606.08415)."""
    return _gelu(np.asarray(x, np.float32), _TAIL_ERF)


def gelu_tanh(x: npt.ArrayLike) -> FloatArray:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), bit for bit as the kernels compute it."""
    return _gelu(np.asarray(x, np.float32), _TAIL_TANH)


def coarse_gelu_erf(x: npt.ArrayLike) -> FloatArray:
    """GELU of what becomes a byte: max(x, 0) - a p(a), a = min(|x|, clamp), bit for bit as the kernels compute it."""
    return _coarse_gelu(np.asarray(x, np.float32), _COARSE_ERF, _COARSE_ERF_CLAMP)


def coarse_gelu_tanh(x: npt.ArrayLike) -> FloatArray:
    """The same of the tanh form."""
    return _coarse_gelu(np.asarray(x, np.float32), _COARSE_TANH, _COARSE_TANH_CLAMP)


def _coarse_gelu(x: FloatArray, tail: tuple[float, ...], clamp: float) -> FloatArray:
    a = np.minimum(np.abs(x), np.float32(clamp))
    return fma(-a, _horner(tail, a), np.maximum(x, np.float32(0)))


def _gelu(x: FloatArray, tail: tuple[float, ...]) -> FloatArray:
    a = np.minimum(np.abs(x), np.float32(_CLAMP))
    r = np.maximum(_horner(tail, a), np.float32(_LOWEST_EXPONENT))
    return fma(-a, exp2(r), np.maximum(x, np.float32(0)))


def exp2(x: FloatArray) -> FloatArray:
    """2^x for x in [-127, 127], bit for bit as the kernels compute it (`FineExp2` of ep/kernels/generic/exp2.h)."""
    shifted = np.asarray(x + np.float32(_ROUND_TO_INT), np.float32)
    e = _horner(_EXP2, x - (shifted - np.float32(_ROUND_TO_INT)))
    exponent = shifted.view(np.uint32) << np.uint32(23)
    return np.asarray((e.view(np.uint32) + exponent).view(np.float32))


def _horner(coefficients: tuple[float, ...], x: FloatArray) -> FloatArray:
    result = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = fma(result, x, np.float32(coefficient))
    return result


def quantize(x: npt.ArrayLike, scale: Any, zero_point: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """ONNX QuantizeLinear: saturate(round_half_even(x / scale) + zero_point), in float32.

    Args:
        x: float array.
        scale: float32, broadcasts to x.
        zero_point: integer array, broadcasts to x; its type is the type of the result.
    """
    info = np.iinfo(zero_point.dtype)
    steps = np.rint(np.asarray(x, np.float32) / np.asarray(scale, np.float32))
    steps = np.clip(steps.astype(np.float64) + zero_point, info.min, info.max)
    return np.asarray(steps, zero_point.dtype)
