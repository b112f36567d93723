"""QAttention: P = softmax(q k^T * scale + mask), y = P v, for every head, on quantized operands.

Schema, numpy reference and function body of the op; `docs/op-contract-encoder.md` is what they share with the library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx

from .arithmetic import FloatArray, fma
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

_LARGEST = 255  # of the rounded probabilities
_LOG2_LARGEST = np.float32(7.9943534)
_LOWEST_EXPONENT = np.float32(-2)  # 255 exp(..) is rounded to 0 from here on
# 2^f for f of [0, 1), lowest coefficient first, as in ep/kernels/generic/exp2.h, where the method is explained.
_EXP2 = (0.999925196, 0.695833564, 0.226067141, 0.0780245289)

EXP2_ERROR_BOUND = 7.6e-5
"""Relative error of the contract's 2^x."""


@dataclasses.dataclass(frozen=True)
class Variant(AttentionVariant):
    """What the name of a QAttention says."""

    family: ClassVar[str] = "QAttention"
    parameters: ClassVar[tuple[str, ...]] = tuple(
        f"{operand}_{part}" for operand in "qkv" for part in ("scale", "zero_point")
    )


def all_variants() -> list[Variant]:
    """Every variant that the contract knows."""
    return Variant.all()


def reference(variant: Variant, inputs: Mapping[str, Array], num_heads: int, scale: float) -> Array:
    """The contract's arithmetic, bit for bit: what every tier must return.

    Args:
        variant: the op.
        inputs: arrays by the names of `variant.inputs`; q, k and v are `[B, S, H]`.
        num_heads: h.
        scale: multiplied onto the product of the dequantized q and k.

    Returns:
        y `[B, S, H]` of the variant's type.
    """
    e = probabilities(variant, inputs, num_heads, scale)
    v: Array = split_heads(inputs["v"].astype(np.int64) - int(inputs["v_zero_point"]), num_heads)
    acc, total = e @ v, e.sum(-1, keepdims=True)
    factor = np.float32(inputs["v_scale"])
    if variant.y_type != "f32":
        factor = np.float32(np.float64(factor) / np.float64(inputs["y_scale"]))
    per_row = np.where(total == 0, np.float32(0), factor / np.maximum(total, 1).astype(np.float32))
    zero_point = inputs["y_zero_point"] if variant.y_type != "f32" else 0
    y = fma(acc.astype(np.float32), per_row, np.float32(zero_point)).swapaxes(1, 2).reshape(inputs["q"].shape)
    return np.asarray(y) if variant.y_type == "f32" else round_to(y, variant.y_type)


def probabilities(variant: Variant, inputs: Mapping[str, Array], num_heads: int, scale: float) -> npt.NDArray[np.int64]:
    """The rounded, unnormalized probabilities `[B, h, S, S]`, integers 0..255."""
    q = split_heads(inputs["q"].astype(np.int64) - int(inputs["q_zero_point"]), num_heads)
    k = split_heads(inputs["k"].astype(np.int64) - (128 if inputs["k"].dtype == np.uint8 else 0), num_heads)
    s = q @ k.swapaxes(-1, -2)
    c = np.float32(
        np.float64(inputs["q_scale"]) * np.float64(inputs["k_scale"]) * np.float64(np.float32(scale)) * LOG2_E
    )
    visible = np.ones((1, 1, 1, 1), bool)
    if variant.mask == "bias":
        with np.errstate(over="ignore", invalid="ignore"):  # a bias may be -inf
            t = fma(s.astype(np.float32), c, inputs["mask"] * np.float32(LOG2_E))
            largest = np.maximum(t.max(-1, keepdims=True), HIDDEN)
            x = (t - largest) + _LOG2_LARGEST
    else:
        if variant.mask:
            visible = (inputs["mask"] != 0)[:, None, None, :]
        largest_visible = np.where(visible, s, np.iinfo(np.int64).min // 2).max(-1, keepdims=True)
        x = fma((s - largest_visible).astype(np.float32), c, _LOG2_LARGEST)
    e = np.rint(_exp2(np.clip(x, _LOWEST_EXPONENT, _LOG2_LARGEST)))
    return np.where(visible, e, 0).astype(np.int64)


def _exp2(x: FloatArray) -> FloatArray:
    whole = np.floor(x)
    fraction = np.asarray(x - whole, np.float32)
    result = np.full_like(fraction, np.float32(_EXP2[-1]))
    for coefficient in reversed(_EXP2[:-1]):
        result = fma(result, fraction, np.float32(coefficient))
    return np.ldexp(result, whole.astype(np.int32))


def build_function(variant: Variant, opset: int) -> onnx.FunctionProto:
    """The body of a variant in plain ONNX, in the model's own opset, at least 17."""
    body = Body(opset)
    add_heads(body)
    body.add("MatMulInteger", ["q_heads", "k_heads", "q_zero_point", "k_zero_point"], "products")
    body.add("Mul", ["q_scale", "k_scale"], "qk_scale")
    body.add("Mul", ["qk_scale", body.attribute("scale_value", SCALE, "value_float")], "factor")
    scores = body.add("DequantizeLinear", ["products", "factor"], "scores")
    if variant.mask:
        scores = body.add("Add", [scores, add_bias(body, variant.mask)], "masked")
    _add_probabilities(body, scores)
    _add_sums(body, bool(variant.mask))
    add_result(body, variant.y_type, "mean")
    return make_function(variant, body, opset)


def _add_probabilities(body: Body, scores: str) -> None:
    """`e = round(255 p / max p)`, u8, by a quantizer with one scale per query."""
    p = body.add("Softmax", [scores], "p", axis=-1)
    body.reduce("ReduceMax", p, -1, "largest")
    body.add("Div", ["largest", body.scalar("steps", float(_LARGEST))], "e_scale")
    body.add("Reshape", ["e_scale", body.ints("flat", [-1])], "e_scale_by_query")
    body.add("Shape", ["p"], "p_shape")
    rows = body.add("Flatten", ["p"], "p_by_query", axis=-1)
    body.add("QuantizeLinear", [rows, "e_scale_by_query"], "e_by_query", axis=0)
    body.add("Reshape", ["e_by_query", "p_shape"], "e")


def _add_sums(body: Body, is_masked: bool) -> None:
    """`sum_j e_j v_j / sum_j e_j`; 0 for a query that sees no key."""
    zero = body.tensor("e_zero_point", np.zeros((), np.uint8))
    body.add("MatMulInteger", ["e", "v_heads", zero, "v_zero_point"], "weighted")
    body.add("Cast", ["weighted"], "weighted_float", to=onnx.TensorProto.FLOAT)
    ones_shape = body.add("Concat", [body.add("Shape", ["k_heads"], "length", start=3), "one"], "ones_shape", axis=0)
    ones = onnx.helper.make_tensor("one_u8", onnx.TensorProto.UINT8, [1], [1])
    body.add("ConstantOfShape", [ones_shape], "ones", value=ones)
    body.add("MatMulInteger", ["e", "ones"], "total")  # a product adds up faster than ReduceSum
    body.add("Cast", ["total"], "total_float", to=onnx.TensorProto.FLOAT)
    factor = body.add("Div", ["v_scale", "total_float"], "v_factor")
    if is_masked:
        body.add("Greater", ["best_bias", body.scalar("hidden", float(HIDDEN))], "sees_a_key")
        factor = body.add("Where", ["sees_a_key", factor, body.scalar("none", 0.0)], "seen_factor")
    body.add("Mul", ["weighted_float", factor], "mean")
