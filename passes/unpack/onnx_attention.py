"""ONNX's own Attention (opset 23), as `torch.onnx.export(dynamo=True)` writes it: scores, mask, softmax, sum."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from ..match.constants import int_attribute
from ..match.dims import rank_of
from .scores import Heads, features_of, write_attention
from .writer import FLOAT, Unpackers, Writer, float_attribute, given, is_used

_BY_HEAD_RANK = 4
_LOWEST = float(np.finfo(np.float32).min)


def _unpack(node: ir.Node) -> str | None:
    """Attention(q, k, v, mask, past_key, past_value, lengths) -> y, present_key, present_value, scores."""
    heads = _heads(node)
    reason = _why_not(node) if not isinstance(heads, str) else heads
    if reason is not None or isinstance(heads, str):
        return reason
    writer = Writer(node)
    mask = given(node, 3)
    terms = [] if mask is None else [_term(writer, mask)]
    scale = float_attribute(node, "scale", 1 / math.sqrt(heads.size))
    sides = [value for value in node.inputs[:3] if value is not None]
    writer.finish(write_attention(writer, sides, heads, scale, terms))
    return None


def _why_not(node: ir.Node) -> str | None:
    """Why an Attention is not one of an encoder; None if it is."""
    kinds = {value.dtype for value in node.inputs[:3] if value is not None and value.dtype is not None}
    mask = given(node, 3)
    if kinds - {FLOAT}:
        return f"attention in {', '.join(sorted(str(kind.name).lower() for kind in kinds))}, expected float32"
    if int_attribute(node, "is_causal", 0):
        return "it hides later tokens (is_causal), which FastEP's attention does not"
    if any(given(node, index) is not None for index in (4, 5)) or is_used(node, 1) or is_used(node, 2):
        return "it keeps keys and values of former runs (past and present), which FastEP's attention does not"
    if given(node, 6) is not None:
        return "it takes lengths instead of a mask (nonpad_kv_seqlen)"
    if float_attribute(node, "softcap", 0.0):
        return "it caps the scores (softcap), which FastEP's attention does not"
    if is_used(node, 3):
        return "the scores are used elsewhere"
    if mask is not None and mask.dtype not in (None, FLOAT, ir.DataType.BOOL):
        return f"its mask is {mask.dtype.name.lower()}, expected bool or float32"
    return None


def _heads(node: ir.Node) -> Heads | str:
    """Heads and their size, from the shapes or the attributes."""
    q, k, v = node.inputs[:3]
    ranks = {rank_of(value) for value in (q, k, v)}
    if ranks == {_BY_HEAD_RANK}:
        counts = {value.shape[1] for value in (q, k, v) if value is not None and value.shape is not None}
        count, size = counts.pop(), features_of(q)
        if counts or not isinstance(count, int):
            return "q, k and v have different heads (grouped queries)"
        return "the head size is not known before the run" if size is None else Heads(count, size, by_head=True)
    count, groups = (int_attribute(node, f"{side}_num_heads", 0) for side in ("q", "kv"))
    features = features_of(q)
    if count < 1 or features is None or features % count:
        return "the split into heads is not known before the run"
    return Heads(count, features // count) if groups == count else "q, k and v have different heads (grouped queries)"


def _term(writer: Writer, mask: ir.Value) -> ir.Value:
    """What is added to the scores."""
    if mask.dtype != ir.DataType.BOOL:
        return mask
    ends = [writer.constant(label, end, np.float32) for label, end in (("shown", 0), ("hidden", _LOWEST))]
    return writer.put("Where", mask, *ends, label="mask", shape=mask.shape)


UNPACKERS: Unpackers = {("", "Attention"): _unpack}
