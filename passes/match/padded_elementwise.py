"""Right padding through elementwise ops: what stands there afterwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from .constants import int_attribute, scalar
from .padded import AtPadding, ByToken, Content, FirstVisible, Lost, State, content_of

# What they make of numbers; on finite operands all are finite.
_FINITE: dict[str, Callable[..., float]] = {
    "Abs": abs,
    "Add": lambda a, b: a + b,
    "And": lambda a, b: float(bool(a) and bool(b)),
    "Equal": lambda a, b: float(a == b),
    "Greater": lambda a, b: float(a > b),
    "GreaterOrEqual": lambda a, b: float(a >= b),
    "Identity": lambda a: a,
    "Less": lambda a, b: float(a < b),
    "LessOrEqual": lambda a, b: float(a <= b),
    "Max": max,
    "Min": min,
    "Mul": lambda a, b: a * b,
    "Neg": lambda a: -a,
    "Not": lambda a: float(not a),
    "Or": lambda a, b: float(bool(a) or bool(b)),
    "Sub": lambda a, b: a - b,
}
# Finite on finite operands; what they make of numbers does not matter.
_FINITE_TOO = {
    *("Clip", "Dropout", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "IsNaN", "LeakyRelu", "Mish", "PRelu"),
    *("Relu", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Tanh", "Round", "Floor", "Ceil"),
}
_MAY_BE_INFINITE = {"Exp", "Log", "Pow", "Reciprocal", "Sqrt"}
_OWN_RULE = {"Cast", "Div", "QuantizeLinear", "DequantizeLinear", "Where"}

OPS = {*_FINITE, *_FINITE_TOO, *_MAY_BE_INFINITE, *_OWN_RULE}
"""Ops whose entries depend on the entries of their inputs at the same place alone."""

_ZEROS = (0.0, Content.ZERO_OR_NAN)


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
    if node.op_type == "Where":
        return _choose(*contents)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _rounded(node, contents[0]) if not any(map(_differs, contents[1:])) else Content.ANY
    if node.op_type == "Cast":
        return _cast(node, contents[0])
    if node.op_type == "And" and 0.0 in contents:
        return 0.0
    if node.op_type == "Mul" and any(content in _ZEROS for content in contents):
        return _product(contents)
    if node.op_type == "Div" and contents[0] in _ZEROS:
        return Content.ZERO_OR_NAN if contents[1] in (Content.SAME, *_ZEROS) or _is_number(contents[1]) else Content.ANY
    if Content.ANY in contents:
        return Content.ANY
    if Content.FINITE in contents:
        denominator = node.op_type == "Div" and contents[1] is Content.FINITE
        return Content.ANY if denominator or node.op_type in _MAY_BE_INFINITE else Content.FINITE
    if node.op_type in _FINITE and all(map(_is_number, contents)):
        return _exact(_FINITE[node.op_type](*contents))
    return Content.SAME


def _product(contents: list[AtPadding]) -> AtPadding:
    """Zero times something: NaN where that is infinite, so in one of the runs alone if it differs and is not finite."""
    if Content.ANY in contents:
        return Content.ANY
    certain = all(_is_number(content) or content is Content.FINITE for content in contents)
    return 0.0 if certain else Content.ZERO_OR_NAN


def _choose(condition: AtPadding, chosen: AtPadding, other: AtPadding) -> AtPadding:
    if _is_number(condition):
        return chosen if condition else other
    sides = (chosen, other)
    if Content.ANY in sides:
        return Content.ANY
    undecided = _differs(condition) or Content.FINITE in sides
    return Content.FINITE if undecided else Content.SAME


def _cast(node: ir.Node, content: AtPadding) -> AtPadding:
    to = ir.DataType(int_attribute(node, "to", 0))
    if isinstance(content, float):
        return _exact(float(np.asarray(content).astype(to.numpy())))
    if content is Content.FINITE and to is ir.DataType.FLOAT16:
        return Content.ANY  # it may be too large
    return Content.SAME if content is Content.ZERO_OR_NAN and not to.is_floating_point() else content


def _rounded(node: ir.Node, content: AtPadding) -> AtPadding:
    """Numbers through a quantizer of one scale."""
    if not isinstance(content, float):
        return Content.SAME if content is Content.ZERO_OR_NAN else content
    scale = scalar(node.inputs[1])
    zero_point = scalar(node.inputs[2]) if len(node.inputs) > 2 else np.uint8(0)
    if scale is None or zero_point is None or zero_point.dtype.kind not in "iu":
        return Content.SAME
    if node.op_type == "DequantizeLinear":
        return _exact((content - float(zero_point)) * float(scale))
    info = np.iinfo(zero_point.dtype)
    return float(np.clip(np.rint(content / float(scale)) + float(zero_point), info.min, info.max))


def _exact(number: float) -> AtPadding:
    """A number that every float type of 32 bits or more computes as exactly this."""
    return number if np.isfinite(number) and float(np.float32(number)) == number else Content.SAME


def _differs(content: AtPadding) -> bool:
    return content in (Content.FINITE, Content.ANY)


def _is_number(content: AtPadding) -> bool:
    return isinstance(content, float)
