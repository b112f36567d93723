"""Ids that count the tokens: 0, 1, ..., S - 1 for every sequence, whatever the run."""

from __future__ import annotations

import sys

import numpy as np
import onnx_ir as ir

from .constants import Array, constant, int_attribute, is_op
from .dims import Element, elements, number, rank_of, same_size

_TOKENS = 1  # axis of the ids [B, S]
_MAX_STEPS = 8


def counted_rows(ids: ir.Value, length: Element) -> int | None:
    """The longest S for which ids `[B, S]` or `[1, S]` are 0, 1, ..., S - 1, as far as the graph proves it.

    Known are a Slice of a constant 0, 1, 2, ... up to S, and a Range up to S, which has no end; behind either, casts
    and whatever adds or repeats sequences.

    Args:
        ids: integers.
        length: S, the tokens of a sequence.

    Returns:
        None: not proven.
    """
    value: ir.Value | None = ids
    for _ in range(_MAX_STEPS):
        node = value.producer() if value is not None else None
        if node is None:
            return None
        if is_op(node, "Slice"):
            return _sliced(node, length)
        if is_op(node, "Range"):
            return _ranged(node, length)
        if not _keeps_order(node, length):
            return None
        value = node.inputs[0]
    return None


def _keeps_order(node: ir.Node, length: Element) -> bool:
    """Whether the last axis of the output is that of the input, of S tokens; only sequences are in front of it."""
    if is_op(node, "Cast"):
        return ir.DataType(int_attribute(node, "to", 0)).is_integer()
    if is_op(node, "Unsqueeze"):
        axes = constant(node.inputs[1])
        return axes is not None and rank_of(node.outputs[0]) == _TOKENS + 1 and axes.reshape(-1).tolist() in ([0], [-2])
    if is_op(node, "Expand"):  # to a length of more than S where S is 1, unless it is proven
        sizes = elements(node.inputs[1])
        is_matrix = rank_of(node.inputs[0]) == _TOKENS + 1 and sizes is not None and len(sizes) == _TOKENS + 1
        return is_matrix and sizes is not None and (sizes[_TOKENS] == 1 or same_size(sizes[_TOKENS], length))
    return is_op(node, "Identity")


def _sliced(node: ir.Node, length: Element) -> int | None:
    source = constant(node.inputs[0])
    if source is None or source.shape[:-1] not in ((), (1,)) or not _is_count(source):
        return None
    start, end, *rest = (elements(value) for value in node.inputs[1:])
    axes, steps = (rest[0] if rest else [0]), (rest[1] if len(rest) > 1 else [1])
    from_the_start = start == [0] and steps == [1] and axes in ([source.ndim - 1], [-1])
    # A single position would serve every token, not only the first.
    if not from_the_start or source.size < 2 or end is None or len(end) != 1 or not same_size(end[0], length):
        return None
    return source.size


def _is_count(array: Array) -> bool:
    return array.ndim > 0 and bool((array.reshape(-1) == np.arange(array.size)).all())


def _ranged(node: ir.Node, length: Element) -> int | None:
    start, limit, step = node.inputs
    end = elements(limit)
    if number(start) != 0 or number(step) != 1 or end is None or len(end) != 1 or not same_size(end[0], length):
        return None
    return sys.maxsize
