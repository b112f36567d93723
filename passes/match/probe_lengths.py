"""How many tokens a mask must be tried with until all that its graph makes of positions would show.

A graph that hides keys by where they stand (a sliding window, a band of a constant table) needs a number for how far
apart is too far: a constant, or the side of a table. Sequences longer than all of them together show what it hides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from .constants import Array, constant, is_constant
from .dims import elements

LONGEST = 1024
"""Masks that need longer sequences are not tried: their squares would take too much memory."""

COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})

_TO_THE_END = 1 << 15  # no attention takes longer sequences: larger numbers stand for "all" or hide keys
# Their entries are few different numbers, whatever was compared or filled in.
_TO_MARKS = COMPARISONS | {"And", "ConstantOfShape", "Not", "Or", "Sign", "Xor"}
_ELEMENTWISE = _TO_MARKS | {
    *("Add", "Cast", "CastLike", "Clip", "DequantizeLinear", "Div", "Identity", "Max", "Min", "Mul", "Neg"),
    *("QuantizeLinear", "Reciprocal", "Sub", "Where"),
}
_TO_POSITIONS = {"Range", "Size"}


@dataclasses.dataclass
class _Reach:
    """What was seen of constants.

    Attributes:
        total: of the numbers that positions are combined with.
        largest: of shapes and indices.
        factor: how much a scaled position makes of them.
        sides: of constant tables.
    """

    total: float = 0.0
    largest: float = 0.0
    factor: float = 1.0
    sides: set[int] = dataclasses.field(default_factory=set)


def lengths_to_try(nodes: Sequence[ir.Node], mask: ir.Value) -> list[int] | None:
    """Sequence lengths of which the first one that the graph can be run with is long enough.

    Args:
        nodes: of the graph behind the mask, in an order in which they can run.
        mask: `[B, S]`.

    Returns:
        The length beyond all constants, then the sides of tables, which no sequence may exceed; None: too long.
    """
    reach = _Reach()
    marks = {mask}
    for node in nodes:
        varying = [value for value in node.inputs if value is not None and not is_constant(value)]
        is_by_entry = node.op_type in _ELEMENTWISE
        if not is_by_entry:
            _look_at_indices(node, reach)
        elif not (varying and marks.issuperset(varying)):
            _look_at_numbers(node, reach)
        if _yields_marks(node, varying, marks):
            marks.update(node.outputs)
        reach.sides |= {size for array in _constants(node) for size in array.shape if size > 1}
    longest = (reach.total + max([reach.largest, *reach.sides])) * reach.factor + 2
    return [math.ceil(longest), *sorted(reach.sides, reverse=True)] if longest <= LONGEST + 2 else None


def _yields_marks(node: ir.Node, varying: list[ir.Value], marks: set[ir.Value]) -> bool:
    """Whether the entries of the output say what is hidden: numbers that are combined with them are no distances."""
    if node.op_type in _TO_POSITIONS:
        return False
    is_truth = node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.BOOL
    if node.op_type in _TO_MARKS or is_truth:
        return True
    if node.op_type in _ELEMENTWISE or node.op_type == "Concat":
        return bool(varying) and marks.issuperset(varying)
    first = node.inputs[0]
    array = constant(first)
    return first in marks or (array is not None and array.size == 1)


def _constants(node: ir.Node) -> list[Array]:
    arrays = [constant(value) for value in node.inputs if value is not None]
    return [array for array in arrays if array is not None]


def _look_at_indices(node: ir.Node, reach: _Reach) -> None:
    """Shapes, bounds, indices, diagonals: integers."""
    numbers = [x for array in _constants(node) if array.dtype.kind in "iu" for x in _sizes(array)]
    for name, attribute in node.attributes.items():
        if attribute.type == ir.AttributeType.INTS:
            numbers += _sizes(np.array(attribute.as_ints()))
        elif attribute.type == ir.AttributeType.INT and name not in ("to", "saturate"):
            numbers += _sizes(np.array([attribute.as_int()]))
    reach.largest = max([reach.largest, *numbers])


def _look_at_numbers(node: ir.Node, reach: _Reach) -> None:
    """What positions and lengths are combined with."""
    if node.op_type == "Reciprocal":
        reach.factor = math.inf
    for index, value in enumerate(node.inputs):
        array = constant(value)
        known = elements(value) if array is None and value is not None else None
        numbers = _sizes(array) if array is not None else _sizes(np.array([x for x in known or [] if _is_number(x)]))
        largest = max(numbers, default=0.0)
        is_divisor = node.op_type == "Div" and index == 1
        reach.factor *= largest if is_divisor and largest > 1 else 1.0
        reach.total += 0.0 if is_divisor else largest
        # Smaller than 1: a scale, or a limit for what was scaled.
        smallest = min((x for x in numbers if x > 0), default=1.0)
        reach.factor /= min(smallest, 1.0)


def _is_number(x: object) -> bool:
    return isinstance(x, int | float)


def _sizes(array: Array) -> list[float]:
    """Absolute values, without those that stand for all tokens."""
    if array.dtype.kind not in "iuf" or not array.size:
        return []
    sizes = np.abs(array.reshape(-1).astype(np.float64))
    return [float(x) for x in np.unique(sizes[sizes <= _TO_THE_END])]
