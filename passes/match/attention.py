"""Attention, its products quantized or not: from the heads of q, k and v to the merged heads of the result."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir

from .constants import is_constant, is_op, scalar
from .dims import dimension, same_size
from .heads import BY_HEAD, KEYS_LAST, NoMatchError, Operand, constant_factor, merges_heads, rounding_of, trace_operand
from .key_mask import HIDING, Role
from .linear import output_scale
from .quantizers import Scale, only_consumer

_MAX_STEPS = 32
_MAX_VISITS = 256


@dataclasses.dataclass(frozen=True)
class MaskTerm:
    """Something that changes the scores: added to them, or a condition that says which are hidden or visible."""

    value: ir.Value
    role: Role


@dataclasses.dataclass(frozen=True)
class Attention:
    """A matched attention.

    Attributes:
        node: its Softmax.
        product: the scores `[B, h, S, S]` as they come out of the product.
        q: queries.
        k: keys.
        v: values.
        scale: multiplied onto the product of the dequantized sources of q and k.
        terms: the masks.
        y: the result `[B, S, H]`: float, or quantized already.
        y_scale: of the quantized result; None if y is needed as float.
        float_reason: which of the products are not quantized; empty if both are.
    """

    node: ir.Node
    product: ir.Value
    q: Operand
    k: Operand
    v: Operand
    scale: float
    terms: tuple[MaskTerm, ...]
    y: ir.Value
    y_scale: Scale | None
    float_reason: str


def match_attention(softmax: ir.Node) -> Attention | str | None:
    """Matches the attention around a Softmax.

    Returns:
        The match; a string if it looks like attention but cannot be used, with the reason; None if it is none at all.
    """
    scores = softmax.inputs[0]
    product = _product_above(scores)
    if scores is None or product is None:
        return None
    try:
        return _match(softmax, scores)
    except NoMatchError as reason:
        return str(reason)


def _product_above(value: ir.Value | None) -> ir.Node | None:
    """The product of two varying sides that scores come from, the first operand's first."""
    waiting, seen = [value], set[ir.Value]()
    while waiting and len(seen) < _MAX_VISITS:
        here = waiting.pop()
        node = here.producer() if here is not None and here not in seen else None
        if here is None or node is None:
            continue
        seen.add(here)
        if is_op(node, "MatMul"):
            if not any(map(is_constant, node.inputs)):
                return node
        elif is_op(node, "Add", "Where"):
            waiting += reversed(node.inputs)
        elif is_op(node, "QuantizeLinear", "DequantizeLinear", "Mul", "Div", "Identity", "Cast"):
            waiting.append(node.inputs[0])
    return None


def _match(softmax: ir.Node, scores: ir.Value) -> Attention:
    axis = softmax.attributes.get("axis")
    if (axis.as_int() if axis is not None else -1) not in (-1, 3):
        raise NoMatchError("Softmax does not run over the keys")
    product, factor, terms = _walk_scores(scores)
    q, k = trace_operand(product.inputs[0], BY_HEAD), trace_operand(product.inputs[1], KEYS_LAST)
    weighted, rounded = _walk_probabilities(softmax.outputs[0])
    v = trace_operand(weighted.inputs[1], BY_HEAD)
    _check_sizes(q, k, v)
    y, y_scale = _walk_result(weighted, q)
    scale = factor * q.factor * k.factor
    if v.factor != 1.0:
        raise NoMatchError("the values are multiplied by a constant after they are quantized")
    if not (math.isfinite(scale) and scale > 0):
        raise NoMatchError(f"the scores are multiplied by {scale}, expected a number above 0")
    reason = _float_reason(q, k, v, rounded)
    return Attention(softmax, product.outputs[0], q, k, v, scale, tuple(terms), y, y_scale, reason)


def _float_reason(q: Operand, k: Operand, v: Operand, rounded: bool) -> str:
    """Why an attention stays float: products whose operands are not all quantized."""
    scores_float = q.scale is None or k.scale is None
    sums_float = v.scale is None or not rounded
    if scores_float and sums_float:
        return "its products are not quantized"
    if scores_float:
        return "the product of q and k is not quantized"
    if v.scale is not None:
        return "the probabilities are not quantized" if sums_float else ""
    return "the product of probabilities and v is not quantized"


def _walk_scores(value: ir.Value | None) -> tuple[ir.Node, float, list[MaskTerm]]:
    """From the Softmax up to the product: what multiplies the scores, and what masks them."""
    factor = 1.0
    terms: list[MaskTerm] = []
    for _ in range(_MAX_STEPS):
        node = value.producer() if value is not None else None
        if node is None or value is None:
            break
        if not is_op(node, "DequantizeLinear", "Identity") and _has_other_readers(value):
            raise NoMatchError("the scores are used elsewhere")
        if is_op(node, "MatMul"):
            return node, factor, terms
        if is_op(node, "QuantizeLinear", "DequantizeLinear"):
            rounding_of(node)
            value = node.inputs[0]
        elif is_op(node, "Identity"):
            value = node.inputs[0]
        elif is_op(node, "Mul", "Div"):
            step, value = constant_factor(node)
            factor *= step
        elif is_op(node, "Add", "Where"):
            if factor != 1.0:
                raise NoMatchError("the scores are multiplied behind the mask")
            term, value = _mask_term(node)
            terms.append(term)
        else:
            raise NoMatchError(f"{node.op_type} on the scores")
    raise NoMatchError("the scores do not come from a product")


def _has_other_readers(value: ir.Value) -> bool:
    return value.is_graph_output() or len({use.node for use in value.uses() if not is_op(use.node, "Shape")}) > 1


def _mask_term(node: ir.Node) -> tuple[MaskTerm, ir.Value | None]:
    """The mask that Add or Where bring in, and the scores."""
    if is_op(node, "Add"):
        for index, other in ((0, 1), (1, 0)):
            mask = node.inputs[other]
            if mask is not None and _product_above(node.inputs[index]) is not None:
                return MaskTerm(mask, "added"), node.inputs[index]
    choices: tuple[tuple[int, int, Role], ...] = ((1, 2, "visible"), (2, 1, "hidden"))
    for index, other, role in choices:
        low = scalar(node.inputs[other]) if is_op(node, "Where") else None
        if low is not None and low.dtype == np.float32 and float(low) <= HIDING and node.inputs[0] is not None:
            return MaskTerm(node.inputs[0], role), node.inputs[index]
    raise NoMatchError("the mask is neither added nor a choice between scores and a large negative number")


def _check_sizes(q: Operand, k: Operand, v: Operand) -> None:
    if len({(operand.heads, operand.head_size) for operand in (q, k, v)}) > 1:
        raise NoMatchError("q, k and v have different heads")
    for operand in (k, v):
        if not all(same_size(dimension(q.source, axis), dimension(operand.source, axis)) for axis in (0, 1)):
            raise NoMatchError("q, k and v are not known to have the same batch and length")


def _walk_probabilities(value: ir.Value) -> tuple[ir.Node, bool]:
    """From the Softmax down to the product with v, and whether the probabilities are rounded."""
    rounded = False
    for _ in range(_MAX_STEPS):
        guarded = _behind_nan_guard(value)
        if guarded is not None:
            value = guarded
            continue
        node = only_consumer(value, "Shape")
        if node is None:
            raise NoMatchError("the probabilities are used elsewhere")
        if is_op(node, "MatMul") and node.inputs[0] is value:
            return node, rounded
        if not is_op(node, "QuantizeLinear", "DequantizeLinear", "Identity"):
            raise NoMatchError(f"{node.op_type} on the probabilities")
        if not is_op(node, "Identity"):
            rounding_of(node)
            rounded = True
        value = node.outputs[0]
    raise NoMatchError("the probabilities are not multiplied by v")


def _behind_nan_guard(value: ir.Value) -> ir.Value | None:
    """Where(IsNaN(p), 0, p), which gives rows without visible keys 0."""
    readers = {use.node: None for use in value.uses() if not is_op(use.node, "Shape")}
    guard = next((node for node in readers if is_op(node, "Where")), None)
    test = next((node for node in readers if is_op(node, "IsNaN")), None)
    if guard is None or test is None or len(readers) != 2 or value.is_graph_output():
        return None
    zero = scalar(guard.inputs[1])
    is_guard = guard.inputs[0] is test.outputs[0] and guard.inputs[2] is value and zero is not None and zero == 0
    return guard.outputs[0] if is_guard and len(test.outputs[0].uses()) == 1 else None


def _walk_result(weighted: ir.Node, q: Operand) -> tuple[ir.Value, Scale | None]:
    """From the product with v down to the merged heads; the scale, if the result is quantized."""
    value, scale, axes = weighted.outputs[0], None, tuple(range(4))
    for _ in range(_MAX_STEPS):
        node = only_consumer(value, "Shape")
        if node is None:
            raise NoMatchError("the heads of the result are used elsewhere")
        if is_op(node, "QuantizeLinear", "DequantizeLinear") and node.inputs[0] is value:
            found = rounding_of(node)
            scale = found if is_op(node, "QuantizeLinear") else None
        elif is_op(node, "Transpose") and "perm" in node.attributes:
            axes = tuple(axes[axis] for axis in node.attributes["perm"].as_ints())
        elif is_op(node, "Reshape") and axes == BY_HEAD and merges_heads(node, q):
            y = node.outputs[0]
            return y, scale if scale is not None else output_scale(y)
        else:
            raise NoMatchError("the heads of the result are not merged as [B, h, S, d] -> [B, S, H]")
        value = node.outputs[0]
    raise NoMatchError("the heads of the result are not merged")
