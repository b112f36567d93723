"""Attention of ONNX Runtime's transformer optimizer: projections where they are packed in, then plain attention.

Attention(x, weights, bias, mask)                         x . W + b for q, k and v
QAttention(x, weights, bias, scales, mask)                DQ(x) . DQ(W) + b for q, k and v
MultiHeadAttention(q, k, v, bias, mask, added)            q + b, k + b, v + b
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ..match.constants import constant, int_attribute, is_constant
from ..match.dims import rank_of
from .products import RUN_TIME_SCALE
from .scores import Heads, MaskWriter, features_of, split_columns, write_attention
from .writer import MICROSOFT, Unpackers, Writer, all_constant, dequantize, float_attribute, given, is_used

_FILTER = -10000.0
_SIDES = 3
_TOKENS_RANK = 3
_PAST = "it keeps keys and values of former runs (past and present), which FastEP's attention does not"
_CAUSAL = "it hides later tokens (unidirectional), which FastEP's attention does not"


class AttentionUnpacker:
    """Unpacks the attention of one graph; its layers share masks."""

    def __init__(self) -> None:
        self._masks = MaskWriter()

    @property
    def unpackers(self) -> Unpackers:
        """By op type."""
        return {
            (MICROSOFT, "Attention"): self._unpack_packed,
            (MICROSOFT, "QAttention"): self._unpack_quantized,
            (MICROSOFT, "MultiHeadAttention"): self._unpack_multi_head,
        }

    def _why_not(self, node: ir.Node, mask: int, past: Sequence[int], present: Sequence[int]) -> str | None:
        """Why an operator is not the attention of an encoder; None if it is. Numbers are those of in- and outputs."""
        if int_attribute(node, "unidirectional", 0):
            return _CAUSAL
        if any(given(node, index) is not None for index in past) or any(is_used(node, index) for index in present):
            return _PAST
        if int_attribute(node, "do_rotary", 0):
            return "it rotates q and k (do_rotary), which FastEP's attention does not"
        tokens = node.inputs[0]
        assert tokens is not None  # required by the ops
        return self._masks.why_not(given(node, mask), tokens)

    def _unpack_packed(self, node: ir.Node) -> str | None:
        """Attention(x, weights, bias, mask, past, added, past_length)."""
        weights, bias = node.inputs[1], given(node, 2)
        reason = self._why_not(node, mask=3, past=(4, 6), present=(1,))
        if reason is not None or weights is None:
            return reason
        if not is_constant(weights) or not (bias is None or is_constant(bias)):
            return "its weights are not constant"
        sizes = _sizes(node, weights)
        writer = Writer(node)
        columns = split_columns(writer, weights, sizes, "weight")
        self._write(writer, node, node.inputs[0], columns, sizes, (bias, given(node, 3), given(node, 5)))
        return None

    def _unpack_quantized(self, node: ir.Node) -> str | None:
        """QAttention(x, weights, bias, x_scale, w_scale, mask, x_zero_point, w_zero_point, past)."""
        reason = self._why_not(node, mask=5, past=(8,), present=(1,))
        if reason is not None:
            return reason
        if not all_constant(node, 1, 2, 3, 4, 6, 7):
            return RUN_TIME_SCALE
        writer = Writer(node)
        x = dequantize(writer, "x", [node.inputs[0], node.inputs[3], given(node, 6)])
        weights = dequantize(writer, "weights", [node.inputs[1], node.inputs[4], given(node, 7)])
        sizes = _sizes(node, weights)
        columns = split_columns(writer, weights, sizes, "weight")
        self._write(writer, node, x, columns, sizes, (node.inputs[2], given(node, 5), None))
        return None

    def _write(
        self,
        writer: Writer,
        node: ir.Node,
        x: ir.Value | None,
        columns: Sequence[ir.Value],
        sizes: Sequence[int],
        others: tuple[ir.Value | None, ir.Value | None, ir.Value | None],
    ) -> None:
        """The projections and the attention behind them; `others` are bias, mask and what is added."""
        bias, mask, added = others
        assert x is not None  # required by the ops
        leading = [None, None] if x.shape is None else list(x.shape)[:2]
        shapes = [[*leading, size] for size in sizes]
        qkv = [
            writer.put("MatMul", x, weight, label=label, shape=shape)
            for weight, label, shape in zip(columns, ("q_linear", "k_linear", "v_linear"), shapes, strict=True)
        ]
        qkv = _add_bias(writer, qkv, bias, sizes)
        self._finish(writer, node, qkv, x, (sizes[0], mask, added))

    def _unpack_multi_head(self, node: ir.Node) -> str | None:
        """MultiHeadAttention(q, k, v, bias, mask, added, past_key, past_value, past_length, indirection)."""
        reason = self._why_not(node, mask=4, past=(6, 7, 8, 9), present=(1, 2))
        if reason is not None:
            return reason
        qkv = [given(node, index) for index in range(_SIDES)]
        if any(value is None or rank_of(value) not in (None, _TOKENS_RANK) for value in qkv):
            return "q, k and v are packed together, or split into heads already"
        bias, features = given(node, 3), features_of(qkv[0])
        if bias is not None and not is_constant(bias):
            return "its bias is not constant"
        if features is None:
            return "the number of features is not known before the run"
        if is_used(node, 3):
            return "the scores are used elsewhere"
        writer = Writer(node)
        total = constant(bias)
        values = features if total is None else total.size - 2 * features
        sides = [value for value in qkv if value is not None]
        sides = _add_bias(writer, sides, bias, (features, features, values))
        self._finish(writer, node, sides, sides[0], (features, given(node, 4), given(node, 5)))
        return None

    def _finish(
        self,
        writer: Writer,
        node: ir.Node,
        qkv: Sequence[ir.Value],
        tokens: ir.Value,
        others: tuple[int, ir.Value | None, ir.Value | None],
    ) -> None:
        """The attention itself; `tokens` has the axes of the mask, `others` are features, mask and what is added."""
        features, mask, added = others
        count = int_attribute(node, "num_heads", 1)
        heads, terms = Heads(count, features // count), []
        if mask is not None:
            terms.append(self._masks.term(writer, mask, tokens, float_attribute(node, "mask_filter_value", _FILTER)))
        if added is not None:
            terms.append(added)
        scale = float_attribute(node, "scale", 0.0) or 1 / math.sqrt(heads.size)
        writer.finish(write_attention(writer, qkv, heads, scale, terms))


def _sizes(node: ir.Node, weights: ir.Value) -> tuple[int, ...]:
    """Columns of q, k and v among the packed weights `[K, N]`."""
    attribute = node.attributes.get("qkv_hidden_sizes")
    if attribute is not None:
        return tuple(attribute.as_ints())
    array = constant(weights)
    return (0 if array is None else int(array.shape[-1]) // _SIDES,) * _SIDES


def _add_bias(writer: Writer, qkv: Sequence[ir.Value], bias: ir.Value | None, sizes: Sequence[int]) -> list[ir.Value]:
    if bias is None:
        return list(qkv)
    whole = constant(bias)
    if whole is not None and not np.any(whole):
        return list(qkv)  # the optimizer writes zeros where the source had none
    return [
        writer.put("Add", value, part, label=f"{label}_biased", shape=value.shape)
        for value, part, label in zip(qkv, split_columns(writer, bias, sizes, "bias"), "qkv", strict=True)
    ]
