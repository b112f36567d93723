"""LayerNormalization over the last axis, as one op or spelled out."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from .constants import Array, constant, int_attribute, is_op, scalar
from .dims import rank_of
from .quantizers import only_consumer

_DEFAULT_EPSILON = 1e-5
_RMS = ("RMSNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization")


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """A matched normalization: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.

    Attributes:
        node: the LayerNormalization, or the first node of what stands for it.
        x: the value that is normalized, `[..., H]`.
        gamma: float32 `[H]`.
        beta: float32 `[H]`.
        epsilon: added to the variance.
        y: the result.
    """

    node: ir.Node
    x: ir.Value
    gamma: Array
    beta: Array
    epsilon: float
    y: ir.Value


def match_layer_norm(node: ir.Node) -> LayerNorm | str | None:
    """Matches the normalization that starts at a LayerNormalization or at a ReduceMean.

    Returns:
        The match; a string if it is one that cannot be used, with the reason; None if it is none at all.
    """
    if is_op(node, "LayerNormalization"):
        return _match_op(node)
    if is_op(node, *_RMS) or (node.domain == "com.microsoft" and node.op_type in _RMS):
        return "RMS normalization, which does not subtract the mean, is none that FastEP computes"
    return _match_spelled_out(node) if is_op(node, "ReduceMean") else None


def _match_op(node: ir.Node) -> LayerNorm | str:
    x, y = node.inputs[0], node.outputs[0]
    gamma = constant(node.inputs[1])
    beta = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    rank = rank_of(x)
    if x is None or int_attribute(node, "axis", -1) not in (-1, *([] if rank is None else [rank - 1])):
        return "normalizes more than the last axis"
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return "its mean or standard deviation is used elsewhere"
    if gamma is None or (beta is None and len(node.inputs) > 2 and node.inputs[2] is not None):
        return "gamma or beta is not constant"
    epsilon = node.attributes.get("epsilon")
    value = _DEFAULT_EPSILON if epsilon is None else epsilon.as_float()
    return _checked(node, x, gamma, np.zeros_like(gamma) if beta is None else beta, value, y)


def _checked(node: ir.Node, x: ir.Value, gamma: Array, beta: Array, epsilon: float, y: ir.Value) -> LayerNorm | str:
    if gamma.dtype != np.float32 or beta.dtype != np.float32:
        return f"{gamma.dtype} gamma, expected float32"
    features = max(gamma.size, beta.size)
    if any(p.size not in (1, features) or p.ndim > 1 for p in (gamma, beta)) or not features:
        return "gamma and beta are not one number per feature"
    if features == 1 and (x.shape is None or x.shape[-1] != 1):
        return "gamma and beta are not one number per feature"
    if not (np.isfinite(epsilon) and epsilon >= 0 and np.isfinite(gamma).all() and np.isfinite(beta).all()):
        return "gamma, beta or epsilon is not finite"
    full = [np.ascontiguousarray(np.broadcast_to(p.reshape(-1), features)) for p in (gamma, beta)]
    return LayerNorm(node, x, full[0], full[1], epsilon, y)


def _reduces_last_axis(node: ir.Node) -> bool:
    axes = node.attributes.get("axes")
    given = constant(node.inputs[1]) if axes is None and len(node.inputs) > 1 else None
    found = list(axes.as_ints()) if axes is not None else [] if given is None else given.reshape(-1).tolist()
    rank = rank_of(node.inputs[0])
    return found in ([-1], [] if rank is None else [rank - 1]) and int_attribute(node, "keepdims", 1) == 1


def _other(node: ir.Node | None, value: ir.Value) -> ir.Value | None:
    """The second side of a binary op that commutes."""
    if node is None or len(node.inputs) != 2:
        return None
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]


def _consumer(value: ir.Value, op_type: str) -> ir.Node | None:
    node = only_consumer(value)
    return node if is_op(node, op_type) else None


def _centred(mean: ir.Node) -> ir.Value | None:
    """The value x - mean, where both its readers see the same one."""
    consumer = _consumer(mean.outputs[0], "Sub") if _reduces_last_axis(mean) else None
    if consumer is None or consumer.inputs[0] is not mean.inputs[0] or consumer.inputs[1] is not mean.outputs[0]:
        return None
    return consumer.outputs[0]


def _square_of(value: ir.Value) -> ir.Node | None:
    """Pow(value, 2) or value * value."""
    for use in value.uses():
        node = use.node
        if node.graph is not value.graph:
            continue  # inside a branch
        exponent = scalar(node.inputs[1]) if is_op(node, "Pow") and use.idx == 0 else None
        if exponent is not None and float(exponent) == 2.0:
            return node
        if is_op(node, "Mul") and node.inputs[0] is value and node.inputs[1] is value:
            return node
    return None


def _match_spelled_out(mean: ir.Node) -> LayerNorm | str | None:
    """ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add, as torch wrote it before opset 17."""
    centred = _centred(mean)
    square = _square_of(centred) if centred is not None else None
    variance = _consumer(square.outputs[0], "ReduceMean") if square is not None else None
    plus = _consumer(variance.outputs[0], "Add") if variance is not None and _reduces_last_axis(variance) else None
    root = _consumer(plus.outputs[0], "Sqrt") if plus is not None else None
    divide = _consumer(root.outputs[0], "Div") if root is not None else None
    if centred is None or variance is None or plus is None or root is None or divide is None:
        return None
    if divide.inputs[0] is not centred or any(use.node not in (square, divide) for use in centred.uses()):
        return None
    epsilon = scalar(_other(plus, variance.outputs[0]))
    multiply = _consumer(divide.outputs[0], "Mul")
    add = _consumer(multiply.outputs[0], "Add") if multiply is not None else None
    gamma = constant(_other(multiply, divide.outputs[0]))
    beta = constant(_other(add, multiply.outputs[0])) if multiply is not None else None
    x = mean.inputs[0]
    if x is None or add is None or gamma is None or beta is None or epsilon is None:
        return None
    return _checked(mean, x, gamma, beta, float(epsilon), add.outputs[0])
