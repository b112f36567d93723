"""Attention in plain ops, as `match.attention` reads it: heads, scores, mask, probabilities, merged heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ..match.constants import Array, constant, is_constant, is_op
from ..match.dims import dimension, rank_of, same_size, static_size
from ..match.heads import BY_HEAD, KEYS_LAST
from .writer import BOOL, INT64, Writer

_SWAPPED = (0, 1, 3, 2)
_MAX_STEPS = 32
_SQUARE_RANK = 3


@dataclasses.dataclass(frozen=True)
class Heads:
    """How q, k and v come.

    Attributes:
        count: h.
        size: d of q and k.
        by_head: whether they are `[B, h, S, d]` already; else `[B, S, h d]`, and so is the result.
    """

    count: int
    size: int
    by_head: bool = False


def write_attention(
    writer: Writer, qkv: Sequence[ir.Value], heads: Heads, scale: float, terms: Sequence[ir.Value]
) -> ir.Value:
    """softmax(q k^T * scale + terms) v.

    Args:
        writer: where.
        qkv: queries, keys and values.
        heads: how they come.
        scale: multiplied onto the scores.
        terms: added to the scores, in this order.
    """
    if heads.by_head:
        q, v = qkv[0], qkv[2]
        k = writer.put("Transpose", qkv[1], label="k", perm=_SWAPPED)
    else:
        q, k, v = (
            _split(writer, value, heads.count, label, permutation)
            for value, label, permutation in zip(qkv, "qkv", (BY_HEAD, KEYS_LAST, BY_HEAD), strict=True)
        )
    scores = writer.put("MatMul", q, k, label="scores")
    scores = writer.put("Mul", scores, writer.constant("scale", scale, np.float32), label="scaled")
    for index, term in enumerate(terms):
        scores = writer.put("Add", scores, term, label=f"masked_{index}")
    weights = writer.put("Softmax", scores, axis=-1)
    context = writer.put("MatMul", weights, v, label="context")
    if heads.by_head:
        return context
    merged = writer.put("Transpose", context, label="by_token", perm=BY_HEAD)
    shape = writer.constant("merged_shape", [0, 0, -1])
    return writer.put("Reshape", merged, shape, label="merged")


def _split(writer: Writer, value: ir.Value, heads: int, label: str, permutation: tuple[int, ...]) -> ir.Value:
    shape = writer.constant(f"{label}_shape", [0, 0, heads, -1])
    return writer.put(
        "Transpose", writer.put("Reshape", value, shape, label=f"{label}_split"), label=label, perm=permutation
    )


def features_of(value: ir.Value | None) -> int | None:
    """The size of the last axis, from the weights of the linear if no shape says it."""
    for _ in range(_MAX_STEPS):
        if value is None:
            return None
        size, node = static_size(value, -1), value.producer()
        if size is not None or node is None:
            return size
        if is_op(node, "MatMul"):
            value = node.inputs[1]
            array = constant(value)
            return None if array is None else int(array.shape[-1])
        constants = [constant(entry) for entry in node.inputs if is_constant(entry)]
        if is_op(node, "Add") and constants and constants[0] is not None and constants[0].ndim == 1:
            return int(constants[0].size)
        if not is_op(node, "Add", "QuantizeLinear", "DequantizeLinear"):
            return None
        value = node.inputs[0]
    return None


class MaskWriter:
    """Writes what masks of ONNX Runtime's attention add to the scores; layers with one mask share it.

    The forms: `[B, S]` and `[B, S, S]`, where 0 hides a key, and `[B]`, the number of visible keys.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[ir.Value, float], ir.Value] = {}

    def why_not(self, mask: ir.Value | None, x: ir.Value) -> str | None:
        """Why a mask is none of these; None if it is, or if there is none."""
        rank = None if mask is None else rank_of(mask)
        if mask is None or rank in (2, 3) or any(mask is known for known, _ in self._written):
            return None
        if rank != 1:
            return f"its mask has {rank or 'unknown'} dimensions, expected 1, 2 or 3"
        return None if _is_per_sequence(mask, x) else _NOT_LENGTHS

    def term(self, writer: Writer, mask: ir.Value, x: ir.Value, filter_value: float) -> ir.Value:
        """What is added to the scores, `[B, 1, 1 or S, S]`.

        Args:
            writer: where.
            mask: the input of the operator, one that `why_not` has nothing against.
            x: a value `[B, S, ...]`, whose shape the mask must have.
            filter_value: what is added for hidden keys.
        """
        key = (mask, filter_value)
        if key not in self._written:
            visible, axes = self._visible(writer, mask, x)
            by_key = writer.put("Unsqueeze", visible, writer.constant("mask_axes", axes), label="by_key", dtype=BOOL)
            ends = [writer.constant(label, end, np.float32) for label, end in (("shown", 0), ("hidden", filter_value))]
            self._written[key] = writer.put("Where", by_key, *ends, label="mask")
        return self._written[key]

    def _visible(self, writer: Writer, mask: ir.Value, x: ir.Value) -> tuple[ir.Value, list[int]]:
        """Which keys are visible, and the axes that are missing."""
        if rank_of(mask) == 1:
            return _below(writer, mask, x), [1, 2]
        zero = writer.constant("zero", 0, None if mask.dtype is None else mask.dtype.numpy())
        shown = writer.put("Greater", mask, zero, label="visible", dtype=BOOL, shape=mask.shape)
        return shown, [1] if rank_of(mask) == _SQUARE_RANK else [1, 2]


_NOT_LENGTHS = "its mask of one dimension is not known to be one length per sequence"


def _is_per_sequence(mask: ir.Value, x: ir.Value) -> bool:
    """Whether a vector has one element per sequence; the operators allow end and start, 2 B elements, too."""
    if is_op(mask.producer(), "ReduceSum"):
        return True
    return rank_of(x) is not None and same_size(dimension(mask, 0), dimension(x, 0))


def _below(writer: Writer, lengths: ir.Value, x: ir.Value) -> ir.Value:
    """Whether a position lies before the length of its sequence, bool `[B, S]`, for sure in this shape."""
    shape = writer.put("Shape", x, label="tokens", dtype=INT64, shape=[2], start=0, end=2)
    length = writer.put("Gather", shape, writer.constant("one", 1), label="length", dtype=INT64, shape=[], axis=0)
    ends = [writer.constant(label, end) for label, end in (("first", 0), ("step", 1))]
    positions = writer.put("Range", ends[0], length, ends[1], label="key_positions", dtype=INT64, shape=[None])
    wide = writer.put("Cast", lengths, label="lengths_int64", dtype=INT64, shape=lengths.shape, to=int(INT64))
    by_row = writer.put("Unsqueeze", wide, writer.constant("row_axes", [1]), label="by_row", dtype=INT64)
    below = writer.put("Less", positions, by_row, label="below", dtype=BOOL)
    leading = None if x.shape is None else list(x.shape)[:2]
    return writer.put("Reshape", below, shape, label="visible", dtype=BOOL, shape=leading)


def split_columns(writer: Writer, value: ir.Value, sizes: Sequence[int], label: str) -> list[ir.Value]:
    """The columns of a constant in parts; a quantized one stays quantized.

    Args:
        writer: where.
        value: constant `[..., sum of sizes]`.
        sizes: of the parts.
        label: goes into the names.
    """
    node = value.producer()
    ends = np.cumsum(sizes)[:-1]
    if node is not None and is_op(node, "DequantizeLinear"):
        parts = [_split_array(constant(entry), ends, len(sizes)) for entry in node.inputs]
        results = []
        for name, *arrays in zip("qkv", *parts, strict=True):
            inputs = [writer.constant(f"{label}_{name}_{i}", array) for i, array in enumerate(arrays)]
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
            results.append(
                writer.put("DequantizeLinear", *inputs, label=f"{label}_{name}", shape=inputs[0].shape, axis=axis)
            )
        return results
    whole = constant(value)
    assert whole is not None  # the caller asked
    columns = _split_array(whole, ends, len(sizes))
    return [writer.constant(f"{label}_{name}", part) for name, part in zip("qkv", columns, strict=True)]


def _split_array(array: Array | None, ends: Array, count: int) -> list[Array]:
    """The parts along the last axis; one number serves all."""
    assert array is not None  # the caller asked
    return [array] * count if array.size == 1 else [part.copy() for part in np.split(array, ends, axis=-1)]
