"""What is known about sizes before the model runs: numbers, and which axes have the same size.

Exporters compute shapes at run time (Shape, Gather, Concat, ...), and even constants such as the square root of the
head size. `elements` evaluates such a chain as far as it goes; what stays is the size of an axis of some value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import onnx_ir as ir

from ..ops import DOMAIN
from .constants import constant, int_attribute, is_constant, is_op
from .quantizers import Scale, scale_of


@dataclasses.dataclass(frozen=True)
class Dimension:
    """The size of an axis that only a run knows."""

    value: ir.Value
    axis: int


Element = int | float | Dimension

_MAX_ELEMENTS = 64
_MAX_STEPS = 64
_LARGEST = 2**63
# Ops whose output has the leading axes of their first input; those of `fastep` too.
_KEEPS_AXES = ("QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "LayerNormalization", "Softmax", "Relu", "Erf")
_MATHS: dict[str, Callable[..., float]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a // b if isinstance(a, int) and isinstance(b, int) else a / b,
    "Pow": lambda a, b: _power(a, b),  # defined below
    "Sqrt": math.sqrt,
    "Neg": lambda a: -a,
    "Reciprocal": lambda a: 1 / a,
}


def rank_of(value: ir.Value | None) -> int | None:
    """The number of dimensions, if it is known."""
    return None if value is None or value.shape is None else len(value.shape)


def static_size(value: ir.Value, axis: int) -> int | None:
    """The size of an axis, if it is known before the run."""
    rank = rank_of(value)
    if rank is None or value.shape is None or not -rank <= axis < rank:
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else None


def elements(value: ir.Value | None) -> list[Element] | None:
    """The elements of a scalar or a vector, as far as they are known; None if they are not."""
    return _elements(value, _MAX_STEPS, {})


_Known = dict[ir.Value, list[Element] | None]


def _elements(value: ir.Value | None, steps: int, known: _Known) -> list[Element] | None:
    """Each value once, however often it is read."""
    if value is None or steps <= 0:
        return None
    if value not in known:
        found = _evaluate(value, steps, known)
        known[value] = found if found is None or len(found) <= _MAX_ELEMENTS else None
    return known[value]


def _evaluate(value: ir.Value, steps: int, known: _Known) -> list[Element] | None:
    if is_constant(value):
        array = constant(value)
        return (
            None if array is None or array.size > _MAX_ELEMENTS or array.ndim > 1 else list(array.reshape(-1).tolist())
        )
    node = value.producer()
    if node is None or not is_op(node, node.op_type):
        return None
    if node.op_type == "Shape":
        return _shape(node)
    if node.op_type in _MATHS:
        return _compute(node, [_elements(source, steps - 1, known) for source in node.inputs])
    if node.op_type == "Concat":
        parts = [_elements(source, steps - 1, known) for source in node.inputs]
        return None if any(part is None for part in parts) else [x for part in parts if part is not None for x in part]
    handler = _HANDLERS.get(node.op_type)
    source = _elements(node.inputs[0], steps - 1, known) if handler is not None else None
    return None if handler is None or source is None else handler(node, source)


def number(value: ir.Value | None) -> float | None:
    """The value of a scalar (or `[1]`) that is known before the run."""
    found = elements(value)
    return float(found[0]) if found is not None and len(found) == 1 and isinstance(found[0], int | float) else None


def _shape(node: ir.Node) -> list[Element] | None:
    source = node.inputs[0]
    rank = rank_of(source)
    if source is None or rank is None:
        return None
    axes = range(rank)[int_attribute(node, "start", 0) : int_attribute(node, "end", rank)]
    sizes = [static_size(source, axis) for axis in axes]
    return [Dimension(source, axis) if size is None else size for axis, size in zip(axes, sizes, strict=True)]


def _compute(node: ir.Node, sides: list[list[Element] | None]) -> list[Element] | None:
    """Elementwise arithmetic on numbers; a single one is broadcast."""
    known = [side for side in sides if side is not None and all(isinstance(x, int | float) for x in side)]
    if len(known) != len(sides) or not all(known):
        return None
    length = max(map(len, known))
    if any(len(side) not in (1, length) for side in known):
        return None
    try:
        found: list[Any] = [_MATHS[node.op_type](*(side[i % len(side)] for side in known)) for i in range(length)]
    except (ArithmeticError, ValueError):
        return None
    # Larger integers are none in the model; a root of a negative number is complex here.
    is_real = all(isinstance(x, float) or (isinstance(x, int) and abs(x) <= _LARGEST) for x in found)
    return list(found) if is_real else None


def _power(a: float, b: float) -> Any:
    is_whole = isinstance(a, int) and isinstance(b, int)
    if is_whole and abs(a) > 1 and abs(b) > _LARGEST.bit_length():
        raise OverflowError
    return a**b


def _same(node: ir.Node, source: list[Element]) -> list[Element]:
    del node
    return source


def _cast(node: ir.Node, source: list[Element]) -> list[Element] | None:
    to_integer = ir.DataType(int_attribute(node, "to", 0)).is_integer()
    if to_integer and any(isinstance(x, float) and not abs(x) <= _LARGEST for x in source):
        return None
    return [int(x) if to_integer and isinstance(x, float) else x for x in source]


def _gather(node: ir.Node, source: list[Element]) -> list[Element] | None:
    indices = constant(node.inputs[1])
    if indices is None or indices.ndim > 1 or int_attribute(node, "axis", 0) != 0:
        return None
    picks = indices.reshape(-1).tolist()
    return [source[i] for i in picks] if all(-len(source) <= i < len(source) for i in picks) else None


def _slice(node: ir.Node, source: list[Element]) -> list[Element] | None:
    parameters: list[Any] = [constant(value) for value in node.inputs[1:]]
    if any(p is None or p.size != 1 for p in parameters) or len(parameters) < 2:
        return None
    start, end, *rest = (int(p.reshape(-1)[0]) for p in parameters)
    step = rest[1] if len(rest) > 1 else 1
    return source[start:end:step] if step else None


def _round(node: ir.Node, source: list[Element]) -> list[Element] | None:
    """Numbers that a quantizer rounds, or that come back from one."""
    scale = scale_of(node)
    if not isinstance(scale, Scale) or any(isinstance(x, Dimension) for x in source):
        return None
    step, zero, info = float(scale.scale), int(scale.zero_point), np.iinfo(scale.zero_point.dtype)
    numbers = [float(x) for x in source if not isinstance(x, Dimension)]
    if node.op_type == "DequantizeLinear":
        return [(x - zero) * step for x in numbers]
    return [int(np.clip(np.rint(x / step) + zero, info.min, info.max)) for x in numbers]


_HANDLERS: dict[str, Callable[[ir.Node, list[Element]], list[Element] | None]] = {
    "Identity": _same,
    "Unsqueeze": _same,
    "Squeeze": _same,
    "Reshape": _same,
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "QuantizeLinear": _round,
    "DequantizeLinear": _round,
}


def same_size(a: Element, b: Element) -> bool:
    """Whether two sizes are equal in every run, as far as the graph proves it."""
    if isinstance(a, Dimension) and isinstance(b, Dimension):
        return bool(_names(a.value, a.axis) & _names(b.value, b.axis))
    if isinstance(a, Dimension) or isinstance(b, Dimension):
        dimension, size = (a, b) if isinstance(a, Dimension) else (b, a)
        return isinstance(dimension, Dimension) and size in _names(dimension.value, dimension.axis)
    return a == b


def dimension(value: ir.Value, axis: int) -> Element:
    """The size of an axis: a number, if it is known."""
    size = static_size(value, axis)
    return Dimension(value, axis) if size is None else size


def _names(value: ir.Value, axis: int) -> set[Hashable]:
    """All that the size of an axis is known as: numbers, declared names, and axes of the values that it comes from."""
    names: set[Hashable] = set()
    here: tuple[ir.Value, int] | None = (value, axis)
    for _ in range(_MAX_STEPS):
        if here is None or here in names:
            break
        names.add(here)
        size = here[0].shape[here[1]] if _has_axis(*here) and here[0].shape is not None else None
        if isinstance(size, int):
            names.add(size)
        elif size is not None and size.value is not None:
            names.add(size.value)
        here = _origin(*here)
    return names


def _has_axis(value: ir.Value, axis: int) -> bool:
    rank = rank_of(value)
    return rank is not None and 0 <= axis < rank


def _origin(value: ir.Value, axis: int) -> tuple[ir.Value, int] | None:
    """An axis of an input of the value's producer that has the same size."""
    node = value.producer()
    if node is None or not node.inputs or node.inputs[0] is None:
        return None
    source: ir.Value = node.inputs[0]
    is_last = rank_of(value) is not None and axis == (rank_of(value) or 0) - 1
    if node.domain == DOMAIN or is_op(node, *_KEEPS_AXES):
        return None if node.domain == DOMAIN and is_last else (source, axis)
    if is_op(node, "Transpose") and "perm" in node.attributes:
        return source, node.attributes["perm"].as_ints()[axis]
    if is_op(node, "Reshape"):
        return _origin_of_reshape(node, source, axis)
    if is_op(node, "Gather") and is_constant(source) and int_attribute(node, "axis", 0) == 0:
        indices = node.inputs[1]
        return None if indices is None or is_last else (indices, axis)
    return None


def _origin_of_reshape(node: ir.Node, source: ir.Value, axis: int) -> tuple[ir.Value, int] | None:
    sizes = elements(node.inputs[1])
    if sizes is None or axis >= len(sizes):
        return None
    size = sizes[axis]
    if isinstance(size, Dimension):
        return size.value, size.axis
    return (source, axis) if size == 0 and not int_attribute(node, "allowzero", 0) else None
