"""LayerNormalization as every tier computes it (docs/op-contract-encoder.md), and what the ops that end in it share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import onnx

from .arithmetic import FloatArray, fma
from .body import Body

Array = npt.NDArray[Any]
QuantizedType = Literal["", "u8", "s8"]

EPSILON = "epsilon"
OUTPUTS_PATTERN = r"(?P<outputs>f32_u8|f32_s8|f32|u8|s8)"

_RUN = 32  # features whose statistics are taken together
_TYPES: dict[str, type[np.integer[Any]]] = {"u8": np.uint8, "s8": np.int8}


@dataclasses.dataclass(frozen=True)
class NormOutputs:
    """What the end of a name says: `f32`, `u8`, `s8`, `f32_u8` or `f32_s8`.

    Attributes:
        f32: whether y is given in float32.
        quantized: the type of the quantized y; empty if there is none.
    """

    f32: bool
    quantized: QuantizedType

    @property
    def suffix(self) -> str:
        """As in the op's name."""
        return "_".join(part for part in ("f32" if self.f32 else "", self.quantized) if part)

    @classmethod
    def parse(cls, suffix: str) -> NormOutputs:
        """Reads what `OUTPUTS_PATTERN` matched."""
        return cls(suffix.startswith("f32"), cast(QuantizedType, suffix.removeprefix("f32").removeprefix("_")))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that only a quantized output needs."""
        return ("y_scale", "y_zero_point") if self.quantized else ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return (("y",) if self.f32 else ()) + (("y_quantized",) if self.quantized else ())


ALL_OUTPUTS = tuple(NormOutputs.parse(suffix) for suffix in ("f32", "u8", "s8", "f32_u8", "f32_s8"))


def layer_norm(z: FloatArray, gamma: FloatArray, beta: FloatArray, epsilon: float) -> FloatArray:
    """LayerNormalization over the last axis, bit for bit as the contract states it.

    Args:
        z: `[..., H]`.
        gamma: `[H]`.
        beta: `[H]`.
        epsilon: added to the variance.

    Returns:
        `[..., H]` float32.

    Source: Ba, Kiros, Hinton: Layer Normalization, 2016; Chan, Golub, LeVeque: Algorithms for computing the sample
    variance, 1983.
    """
    features = z.shape[-1]
    mean, m2 = _moments(z[..., :_RUN])
    for done in range(_RUN, features, _RUN):
        run = z[..., done : done + _RUN]
        next_mean, next_m2 = _moments(run)
        ratio = np.float32(run.shape[-1]) / np.float32(done + run.shape[-1])
        delta = next_mean - mean
        mean = fma(delta, ratio, mean)
        m2 = fma(delta * delta, np.float32(done) * ratio, m2 + next_m2)
    rstd = np.float32(1) / np.sqrt(m2 / np.float32(features) + np.float32(epsilon))
    return fma((z - mean[..., None]) * rstd[..., None], gamma, beta)


def _moments(run: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and sum of squared distances from it, one feature after the other."""
    total = run[..., 0]
    for i in range(1, run.shape[-1]):
        total = total + run[..., i]
    mean = np.asarray(total / np.float32(run.shape[-1]))
    m2 = np.zeros_like(mean)
    for i in range(run.shape[-1]):
        delta = run[..., i] - mean
        m2 = fma(delta, delta, m2)
    return mean, m2


def finish(z: FloatArray, inputs: Mapping[str, Array], outputs: NormOutputs, epsilon: float) -> list[Array]:
    """The outputs that a name asks for, from the sum z `[..., H]` that is normalized."""
    y = layer_norm(z, inputs["gamma"], inputs["beta"], epsilon)
    results: list[Array] = [y] if outputs.f32 else []
    if outputs.quantized:
        info = np.iinfo(_TYPES[outputs.quantized])
        steps = fma(y, np.float32(1 / np.float64(inputs["y_scale"])), np.float32(inputs["y_zero_point"]))
        results.append(np.clip(np.rint(steps), info.min, info.max).astype(info.dtype))
    return results


def add_layer_norm(body: Body, z: str, outputs: NormOutputs) -> None:
    """The same in plain ONNX: writes the outputs named by `outputs`, with the call's `epsilon`."""
    y = body.add("LayerNormalization", [z, "gamma", "beta"], "y" if outputs.f32 else "normalized", axis=-1)
    body.refer(EPSILON, EPSILON, onnx.AttributeProto.FLOAT)
    if outputs.quantized:
        body.add("QuantizeLinear", [y, "y_scale", "y_zero_point"], "y_quantized")
