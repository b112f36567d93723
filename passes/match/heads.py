"""Heads of attention: from a side of a product up to the value `[B, S, H]` that was split into them, and back."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir

from .constants import int_attribute, is_op
from .dims import Dimension, Element, dimension, elements, number, rank_of, same_size, static_size
from .quantizers import Scale, rounding_scale, scale_of

BY_HEAD = (0, 2, 1, 3)
"""The permutation from `[B, S, h, d]` to `[B, h, S, d]`, and back."""
KEYS_LAST = (0, 2, 3, 1)
"""The permutation from `[B, S, h, d]` to `[B, h, d, S]`."""

_MAX_STEPS = 32
_CLAMPS = "a quantizer between linear and product clamps at zero"
_SWAPPED = (0, 1, 3, 2)


@dataclasses.dataclass(frozen=True)
class Operand:
    """One of q, k and v, `[B, S, H]` with the heads side by side.

    Attributes:
        source: quantized, or float and to be quantized with `scale`.
        is_quantized: which of the two.
        scale: of the quantized source; None if the product sees what was never quantized.
        factor: what the product sees is factor times the source.
        heads: h.
        head_size: d.
        split: what is split into heads: the source, or what a DequantizeLinear makes of it.
        roundings: quantizers between `split` and the product.
    """

    source: ir.Value
    is_quantized: bool
    scale: Scale | None
    factor: float
    heads: int
    head_size: int
    split: ir.Value
    roundings: int


class NoMatchError(Exception):
    """Why something is not an attention that can be fused."""


def rounding_of(node: ir.Node) -> Scale:
    """The scale of a Q or DQ that only adds a rounding."""
    scale = rounding_scale(node)
    if isinstance(scale, str):
        raise NoMatchError(scale)
    return scale


def constant_factor(node: ir.Node) -> tuple[float, ir.Value | None]:
    """What Mul or Div multiply by, and the other side."""
    for index, other in ((0, 1), (1, 0)):
        found = number(node.inputs[other])
        if found is not None and not (is_op(node, "Div") and other == 0):
            factor = found if is_op(node, "Mul") else 1 / found if found else math.inf
            return factor, node.inputs[index]
    raise NoMatchError(f"{node.op_type} by something that is not a constant number")


def trace_operand(value: ir.Value | None, wanted: tuple[int, ...]) -> Operand:
    """From a side of a product up to the `[B, S, H]` value whose heads it has.

    Args:
        value: `[B, h, S, d]`, or `[B, h, d, S]` for keys.
        wanted: the permutation that makes it of `[B, S, h, d]`.
    """
    factor, scales = 1.0, []
    axes = tuple(range(4))  # where the axes of the product's side stand here
    for _ in range(_MAX_STEPS):
        node = value.producer() if value is not None else None
        if node is None or value is None:
            break
        if is_op(node, "QuantizeLinear", "DequantizeLinear"):
            scales.append((rounding_of(node), factor))
            value = node.inputs[0]
        elif is_op(node, "Mul", "Div"):
            step, value = constant_factor(node)
            factor *= step
        elif is_op(node, "Transpose") and "perm" in node.attributes:
            permutation = node.attributes["perm"].as_ints()
            if len(permutation) != len(axes):
                break
            axes, value = tuple(permutation[axis] for axis in axes), node.inputs[0]
        elif is_op(node, "Reshape") and axes == wanted:
            heads, head_size = _split_heads(node)
            assert node.inputs[0] is not None  # _split_heads
            return _as_operand(node.inputs[0], scales, factor, heads, head_size)
        elif is_op(node, "Reshape") and _is_swap_by_reshape(node):
            inner = node.inputs[0].producer()  # type: ignore[union-attr]  # _is_swap_by_reshape
            axes, value = tuple(_SWAPPED[axis] for axis in axes), inner.inputs[0].producer().inputs[0]  # type: ignore[union-attr]
        elif is_op(node, "Identity"):
            value = node.inputs[0]
        else:
            break
    raise NoMatchError("q, k or v is not split into heads as [B, S, H] -> [B, h, S, d]")


def _is_swap_by_reshape(node: ir.Node) -> bool:
    """Reshape to 3 axes, swap of the last two, Reshape back: a swap of the last two of 4 axes."""
    swap = node.inputs[0].producer() if node.inputs[0] is not None else None
    if swap is None or not is_op(swap, "Transpose") or tuple(swap.attributes["perm"].as_ints()) != (0, 2, 1):
        return False
    first = swap.inputs[0].producer() if swap.inputs[0] is not None else None
    source = first.inputs[0] if first is not None and is_op(first, "Reshape") else None
    inner, outer = (elements(n.inputs[1]) if n is not None else None for n in (first, node))
    if source is None or rank_of(source) != 4 or inner is None or outer is None or (len(inner), len(outer)) != (3, 4):
        return False
    sizes = [dimension(source, axis) for axis in range(4)]
    kept = all(same_size(outer[i], sizes[_SWAPPED[i]]) for i in range(4))
    return kept and inner[0] == -1 and all(same_size(inner[i], sizes[i + 1]) for i in (1, 2))


def _as_operand(source: ir.Value, scales: list[tuple[Scale, float]], factor: float, heads: int, size: int) -> Operand:
    """Chooses the rounding that stays: the one next to the linear. The others only add theirs."""
    producer = source.producer()
    is_quantized = source.dtype in (ir.DataType.UINT8, ir.DataType.INT8)
    if not is_quantized and source.dtype is not None and source.dtype != ir.DataType.FLOAT:
        raise NoMatchError(f"q, k or v is {source.dtype.name.lower()}")
    own = scale_of(producer) if producer is not None and is_op(producer, "DequantizeLinear") else None
    if not scales:
        return Operand(source, False, None, factor, heads, size, source, 0)
    scale, factor_behind = scales[-1]
    if any(other.is_one_sided for other, _ in scales[:-1] if other != scale):
        raise NoMatchError(_CLAMPS)
    roundings = len(scales) // 2
    if isinstance(own, Scale) and not is_quantized and producer is not None and producer.inputs[0] is not None:
        if any(other.is_one_sided and other.zero_point != own.zero_point for other, _ in scales):
            raise NoMatchError(_CLAMPS)
        return Operand(producer.inputs[0], True, own, factor, heads, size, source, roundings)
    ahead = factor / factor_behind
    if not (math.isfinite(ahead) and ahead > 0):
        raise NoMatchError(f"q, k or v is multiplied by {ahead}, expected a number above 0")
    step = Scale(np.asarray(np.float64(scale.scale) / ahead, np.float32), scale.zero_point)
    kept = step if ahead != 1.0 else scale
    return Operand(source, is_quantized, kept, factor, heads, size, source, roundings)


def _split_heads(node: ir.Node) -> tuple[int, int]:
    """Heads and head size of a Reshape `[B, S, H] -> [B, S, h, d]`."""
    source, sizes = node.inputs[0], elements(node.inputs[1])
    features = static_size(source, -1) if source is not None else None
    if source is None or rank_of(source) != 3 or features is None or sizes is None or len(sizes) != 4:
        raise NoMatchError("q, k or v is not known to be [B, S, H]")
    leading = [_leading(sizes[axis], source, axis) for axis in (0, 1)]
    if 0 in sizes[:2] and int_attribute(node, "allowzero", 0):
        leading = [False]
    heads, size = sizes[2], sizes[3]
    if isinstance(heads, int) and isinstance(size, int) and min(heads, size) == -1 and max(heads, size) > 0:
        known = max(heads, size)
        heads, size = (features // known, size) if heads == -1 else (heads, features // known)
        leading = [entry is True for entry in leading]
    if not isinstance(heads, int) or not isinstance(size, int) or heads * size != features or heads < 1:
        raise NoMatchError("the split into heads is not known before the run")
    if False in leading or leading == [None, None]:
        raise NoMatchError("the split into heads changes batch or length")
    return heads, size


def _leading(size: Element, source: ir.Value, axis: int) -> bool | None:
    """Whether a target size of Reshape keeps this axis of its input; None if it is what remains."""
    if size == -1:
        return None
    return size == 0 or same_size(size, dimension(source, axis))


def merges_heads(node: ir.Node, q: Operand) -> bool:
    """Whether a Reshape makes `[B, S, H]` of `[B, S, h, d]`."""
    sizes, source = elements(node.inputs[1]), node.inputs[0]
    if sizes is None or len(sizes) != 3 or source is None or sizes.count(-1) > 1:
        return False
    if sizes[2] not in (-1, q.heads * q.head_size):
        return False
    return all(_is_kept(sizes[axis], source, q, axis) for axis in (0, 1))


def _is_kept(size: Element, source: ir.Value, q: Operand, axis: int) -> bool:
    if size in (-1, 0):
        return True
    if isinstance(size, Dimension) and size.value is source and size.axis == axis:
        return True
    return same_size(size, dimension(q.source, axis))
