"""FAttention: P = softmax(q k^T * scale + mask), y = P v, for every head, in float.

Schema, numpy reference and function body of the op; `docs/op-contract-encoder.md` is what they share with the library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import onnx

from .arithmetic import FloatArray, exp2, fma
from .attention import (
    HIDDEN,
    LOG2_E,
    SCALE,
    Array,
    AttentionVariant,
    add_bias,
    add_heads,
    add_result,
    make_function,
    round_to,
    split_heads,
)
from .body import Body

_LOWEST_EXPONENT = np.float32(-64)  # less than 2^-64 of the largest probability counts as nothing


@dataclasses.dataclass(frozen=True)
class Variant(AttentionVariant):
    """What the name of an FAttention says."""

    family: ClassVar[str] = "FAttention"


def all_variants() -> list[Variant]:
    """Every variant that the contract knows."""
    return Variant.all()


def reference(variant: Variant, inputs: Mapping[str, Array], num_heads: int, scale: float) -> Array:
    """The contract's arithmetic, bit for bit: what every tier must return.

    Args:
        variant: the op.
        inputs: arrays by the names of `variant.inputs`; q, k and v are `[B, S, H]` float32.
        num_heads: h.
        scale: multiplied onto the product of q and k.

    Returns:
        y `[B, S, H]` of the variant's type.
    """
    e, v = probabilities(variant, inputs, num_heads, scale), split_heads(inputs["v"], num_heads)
    acc, total = np.zeros_like(v), np.zeros((*v.shape[:3], 1), np.float32)
    for key in range(v.shape[2]):  # what is added for a hidden key is 0 and changes nothing
        acc = fma(v[..., None, key, :], e[..., key, None], acc)
        total = total + e[..., key, None]
    step, zero_point = np.float32(1), np.float32(0)
    if variant.y_type != "f32":
        step = np.float32(1 / np.float64(inputs["y_scale"]))
        zero_point = np.float32(inputs["y_zero_point"])
    factor = np.where(total == 0, np.float32(0), step / np.where(total == 0, np.float32(1), total))
    y = fma(acc, factor, zero_point).swapaxes(1, 2).reshape(inputs["q"].shape)
    return np.asarray(y) if variant.y_type == "f32" else round_to(y, variant.y_type)


def probabilities(variant: Variant, inputs: Mapping[str, Array], num_heads: int, scale: float) -> FloatArray:
    """The probabilities `[B, h, S, S]` in units of the largest of their row; 0 for hidden keys."""
    q, k = (split_heads(inputs[operand], num_heads) for operand in "qk")
    s = np.zeros((*q.shape[:3], k.shape[2]), np.float32)
    for feature in range(q.shape[-1]):
        s = fma(k[..., None, :, feature], q[..., feature, None], s)
    c = np.float32(np.float64(np.float32(scale)) * LOG2_E)
    if variant.mask == "bias":
        with np.errstate(over="ignore", invalid="ignore"):  # a bias may be -inf
            t = fma(s, c, inputs["mask"] * np.float32(LOG2_E))
            x = t - np.maximum(t.max(-1, keepdims=True), HIDDEN)
        return _powers(x)
    visible = np.ones((1, 1, 1, 1), bool) if not variant.mask else (inputs["mask"] != 0)[:, None, None, :]
    largest = np.where(visible, s, np.float32(-np.inf)).max(-1, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, np.float32(0))
    return np.where(visible, _powers((s - largest) * c), np.float32(0))


def _powers(x: FloatArray) -> FloatArray:
    kept = x >= _LOWEST_EXPONENT
    return np.where(kept, exp2(np.where(kept, np.minimum(x, np.float32(64)), np.float32(0))), np.float32(0))


def build_function(variant: Variant, opset: int) -> onnx.FunctionProto:
    """The body of a variant in plain ONNX, in the model's own opset, at least 17."""
    body = Body(opset)
    add_heads(body)
    body.add("Mul", ["q_heads", body.attribute("scale_value", SCALE, "value_float")], "q_scaled")
    scores = body.add("MatMul", ["q_scaled", "k_heads"], "scores")
    if variant.mask:
        scores = body.add("Add", [scores, add_bias(body, variant.mask)], "masked")
    body.add("Softmax", [scores], "p", axis=-1)
    mean = body.add("MatMul", ["p", "v_heads"], "mean")
    if variant.mask:
        body.add("Greater", ["best_bias", body.scalar("hidden", float(HIDDEN))], "sees_a_key")
        mean = body.add("Where", ["sees_a_key", mean, body.scalar("none", 0.0)], "seen_mean")
    add_result(body, variant.y_type, mean)
    return make_function(variant, body, opset)
