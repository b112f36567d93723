"""Right padding through elementwise ops: what stands there afterwards.

Every op has a rule from contents to a content that holds for all pairs of entries that those stand for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ..ops.arithmetic import quantize
from .constants import Array, int_attribute, scalar
from .padded import (
    AtPadding,
    ByToken,
    Content,
    FirstVisible,
    Lost,
    State,
    combine,
    content_of,
    is_finite,
    is_number,
    is_zero,
    join,
    may_differ,
)


def follow(node: ir.Node, states: list[State]) -> State:
    """The state of the output of one of `OPS`.

    Args:
        node: the op.
        states: of its inputs.
    """
    if node.op_type in ("Cast", "Identity") and isinstance(states[0], FirstVisible):
        return states[0]
    found = {state.axes: state for state in states if isinstance(state, ByToken)}
    differing = {state.axes for state in states if isinstance(state, ByToken) and state.differs}
    if not found:
        return None
    if len(differing) > 1:
        return Lost(f"{node.op_type} of values whose tokens stand at different axes")
    axes = next(iter(differing or found))
    # Tokens at other axes: an operand like any other.
    aligned = [state if isinstance(state, ByToken) and state.axes == axes else None for state in states]
    given = zip(node.inputs, states, aligned, strict=True)
    contents = [
        Content.SAME if state is not None and own is None else content_of(value, own) for value, state, own in given
    ]
    return ByToken(*axes, _content(node, contents))


def _content(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    if node.op_type in _NUMBERS and all(map(is_number, contents)):
        return _of_numbers(node, contents)
    return _RULES[node.op_type](node, contents)


# What they make of numbers.
_NUMBERS: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Max": lambda *xs: functools.reduce(np.maximum, xs),
    "Min": lambda *xs: functools.reduce(np.minimum, xs),
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Sub": np.subtract,
}


def _of_numbers(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """Computed in the type of the node."""
    dtype = next((value.dtype for value in node.inputs if value is not None and value.dtype is not None), None)
    if dtype is None or dtype == ir.DataType.STRING:
        return Content.SAME
    with np.errstate(all="ignore"):
        return _exact(_NUMBERS[node.op_type](*(np.asarray(number).astype(dtype.numpy()) for number in contents)))


def _exact(number: Array) -> AtPadding:
    return float(number) if np.isfinite(number) and float(number) == number.item() else Content.SAME


def _total(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """Finite on finite operands; a NaN, or an infinity, either decides alone or does not matter."""
    del node
    return combine(contents)


def _truth(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """Bools, whatever they are of."""
    if node.op_type == "And" and 0.0 in contents:
        return 0.0
    return Content.FINITE if any(map(may_differ, contents)) else Content.STEADY


def _partial(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """May be infinite or NaN on finite operands."""
    del node
    return Content.ANY if any(map(may_differ, contents)) else Content.SAME


def _inverse(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """The same; of zeros, whose sign is not known, it is infinity of either sign."""
    is_power = len(contents) > 1 and is_number(contents[1]) and contents[1] > 0  # type: ignore[operator]
    return Content.ANY if is_zero(contents[0]) and not is_power else _partial(node, contents)


def _identity(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    del node
    return contents[0]


def _product(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """Zero times something: NaN where that is infinite, so in one of the runs alone if it differs and is not finite."""
    if any(map(is_zero, contents)) and Content.ANY not in contents:
        return 0.0 if all(map(is_finite, contents)) else Content.ZERO_OR_NAN
    return _scaled(node, contents)


def _scaled(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """Infinity times something that differs is infinity of either sign, or NaN."""
    del node
    differing = [content for content in contents if may_differ(content)]
    rest = [content for content in contents if not may_differ(content)]
    is_safe = not differing or all(map(is_finite, contents)) or (len(differing) == 1 and all(map(is_finite, rest)))
    return combine(contents) if is_safe else Content.ANY


def _quotient(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """Finite only if the denominator is a number other than 0."""
    numerator, denominator = contents
    if is_number(denominator) and denominator != 0.0:
        return numerator if is_zero(numerator) else combine([numerator])
    if is_zero(numerator) and not may_differ(denominator):
        return Content.ZERO_OR_NAN
    return Content.ANY if is_zero(denominator) else _partial(node, contents)


def _choice(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    del node
    condition, *sides = contents
    if is_number(condition):
        return sides[0] if condition else sides[1]
    joined = join(sides)
    if not may_differ(condition) or is_number(joined):
        return joined
    return Content.FINITE if is_finite(joined) else Content.ANY


def _cast(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    content, to = contents[0], ir.DataType(int_attribute(node, "to", 0))
    if to == ir.DataType.BOOL:
        return float(content != 0) if is_number(content) else _truth(node, contents)
    if to.is_integer():
        if not isinstance(content, float):
            return Content.SAME if content is Content.ZERO_OR_NAN else content
        info = np.iinfo(to.numpy()) if to.bitwidth >= _BYTE else None
        return float(np.trunc(content)) if info and info.min <= content <= info.max else Content.SAME
    if not to.is_floating_point():
        return _partial(node, contents)
    if isinstance(content, float):
        with np.errstate(over="ignore"):
            return _exact(np.asarray(content).astype(to.numpy()))
    is_wide = to in (ir.DataType.FLOAT, ir.DataType.DOUBLE) or content is Content.ZERO_OR_NAN
    return content if is_wide else _partial(node, contents)


_BYTE = 8


def _quantized(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    """Integers; numbers through a quantizer of one scale are known."""
    content = contents[0]
    if any(map(may_differ, contents[1:])) or content is Content.ANY:
        return Content.ANY
    if not isinstance(content, float):
        return _truth(node, contents)
    scale, zero_point = _parameters(node)
    if scale is None or zero_point is None or zero_point.dtype not in (np.uint8, np.int8):
        return Content.STEADY
    return float(quantize(np.float32(content), scale, zero_point))


def _dequantized(node: ir.Node, contents: list[AtPadding]) -> AtPadding:
    content = contents[0]
    if any(map(may_differ, contents[1:])):
        return Content.ANY
    if not isinstance(content, float):
        return _scaled(node, contents)
    scale, zero_point = _parameters(node)
    if scale is None or zero_point is None or zero_point.dtype.kind not in "iu":
        return combine(contents)
    return _exact(np.asarray((content - float(zero_point)) * float(scale), np.float32))


def _parameters(node: ir.Node) -> tuple[Array | None, Array | None]:
    """A scale and a zero point that are one number each, of a quantizer to 8 bits."""
    scale = scalar(node.inputs[1])
    zero_point = (
        scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.array(0, np.uint8)
    )
    is_usual = scale is not None and scale.dtype == np.float32 and np.isfinite(scale) and scale > 0
    return (scale, zero_point) if is_usual and not int_attribute(node, "output_dtype", 0) else (None, None)


_Rule = Callable[[ir.Node, list[AtPadding]], AtPadding]

_TOTAL = {
    *("Abs", "Add", "Max", "Min", "Neg", "Sub"),
    *("Ceil", "Clip", "Dropout", "Elu", "Erf", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish"),
    *("Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Tanh"),
}
_TRUTHS = {"And", "Equal", "Greater", "GreaterOrEqual", "IsNaN", "Less", "LessOrEqual", "Not", "Or"}

_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_TOTAL, _total),
    **dict.fromkeys(_TRUTHS, _truth),
    "Cast": _cast,
    "DequantizeLinear": _dequantized,
    "Div": _quotient,
    "Exp": _partial,
    "Identity": _identity,
    "Log": _partial,
    "Mul": _product,
    "PRelu": _scaled,
    "Pow": _inverse,
    "QuantizeLinear": _quantized,
    "Reciprocal": _inverse,
    "Sqrt": _partial,
    "Where": _choice,
}

OPS = set(_RULES)
"""Ops whose entries depend on the entries of their inputs at the same place alone."""
