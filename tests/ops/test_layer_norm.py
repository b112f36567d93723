"""The contract's LayerNormalization against its definition in double.

z is float32. The run-wise statistics add n numbers of one run with an error of n u each (Higham, 4.2), so that, with Z
the largest |z - mean| and s the standard deviation, (z - mean) / s is off by at most (40 + H / 32) u (Z + |mean|) / s
twice over; 4 u more for the last operations on each term.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pyfastep.passes.ops.layer_norm import ALL_OUTPUTS, NormOutputs, finish, layer_norm

from .contract_models import UNIT


def exact_layer_norm(z: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[npt.NDArray[np.float64], Any]:
    """The result in double, and the bound of the module's text."""
    wide = z.astype(np.float64)
    mean = wide.mean(-1, keepdims=True)
    deviation = np.sqrt(wide.var(-1, keepdims=True) + np.float64(np.float32(epsilon)))
    normal = (wide - mean) / deviation
    size = (np.abs(wide - mean).max(-1, keepdims=True) + np.abs(mean)) / deviation
    relative = 2 * (40 + z.shape[-1] / 32) * UNIT
    bound = relative * (size + np.abs(normal)) * np.abs(gamma) + 4 * UNIT * (np.abs(normal * gamma) + np.abs(beta))
    return normal * gamma + beta, bound


@pytest.mark.parametrize("features", [1, 2, 31, 32, 33, 64, 77, 96, 384, 768])
@pytest.mark.parametrize("offset", [0.0, 3.0, -100.0])
def test_against_the_definition(features: int, offset: float) -> None:
    rng = np.random.default_rng(features)
    z = (rng.standard_normal((3, 5, features)) + offset).astype(np.float32)
    gamma, beta = (rng.standard_normal(features).astype(np.float32) for _ in range(2))
    expected, bound = exact_layer_norm(z, gamma, beta, 1e-5)
    assert (np.abs(layer_norm(z, gamma, beta, 1e-5) - expected) <= bound).all()


def test_equal_features_give_beta() -> None:
    z = np.full((2, 70), 3.0, np.float32)
    beta = np.arange(70, dtype=np.float32)
    assert np.array_equal(layer_norm(z, np.ones(70, np.float32), beta, 1e-5), np.stack([beta, beta]))


@pytest.mark.parametrize("outputs", ALL_OUTPUTS, ids=lambda o: o.suffix)
def test_outputs(outputs: NormOutputs) -> None:
    assert NormOutputs.parse(outputs.suffix) == outputs
    inputs = {"gamma": np.ones(8, np.float32), "beta": np.zeros(8, np.float32), "y_scale": np.float32(0.005)}
    inputs["y_zero_point"] = np.int8(-5) if outputs.quantized == "s8" else np.uint8(100)
    z = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    results = finish(z, inputs, outputs, 1e-5)
    assert len(results) == len(outputs.outputs) == int(outputs.f32) + bool(outputs.quantized)
    y = layer_norm(z, inputs["gamma"], inputs["beta"], 1e-5)
    assert not outputs.f32 or np.array_equal(results[0], y)
    if outputs.quantized:
        info = np.iinfo(results[-1].dtype)
        steps = np.clip(y / np.float64(np.float32(0.005)) + float(inputs["y_zero_point"]), info.min, info.max)
        assert (np.abs(results[-1] - steps) <= 0.5 + 1e-4).all()
        assert results[-1].min() == info.min
        assert results[-1].max() == info.max
