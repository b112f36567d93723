"""A linear: a product with constant weights and all that follows it up to the next quantizer."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from ..errors import ConversionError
from .activation import match_activation
from .constants import Array, constant, int_attribute, is_constant, is_default_domain, is_op
from .quantizers import Scale, behind_pair, can_be_one, only_consumer, quantizers_of, scale_of
from .weights import QuantizedWeight, match_weight

_PRODUCT_OPS = {
    "": ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"),
    "com.microsoft": (
        "QGemm",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "FusedMatMul",
        "FusedGemm",
    ),
}
_WEIGHT_INPUT = {"QLinearMatMul": 3, "QGemm": 3}


@dataclasses.dataclass
class Linear:
    """A matched linear, as QLinear needs it.

    Attributes:
        node: the product; the QLinear takes its place and name.
        x: quantized activations `[..., K]`.
        x_scale: scale and zero point of x.
        weight: `[K, N]`.
        bias: float32 `[N]`.
        activation: as in the op's name.
        y: the float value `[..., N]` that the QLinear computes.
        y_scale: given if every reader of y is a quantizer with this scale.
        has_bias: whether the source added one.
        dropped_pairs: Q/DQ pairs inside that only added a rounding.
    """

    node: ir.Node
    x: ir.Value
    x_scale: Scale
    weight: QuantizedWeight
    bias: Array
    activation: str
    y: ir.Value
    y_scale: Scale | None
    has_bias: bool
    dropped_pairs: int


def weight_input(node: ir.Node) -> ir.Value | None:
    """The right side of a product, or None if the node is not a linear: both sides vary, or no product at all."""
    domain = "" if is_default_domain(node) else node.domain
    if node.op_type not in _PRODUCT_OPS.get(domain, ()):
        return None
    right = node.inputs[_WEIGHT_INPUT.get(node.op_type, 1)]
    if is_constant(right) or _is_parameter(right):
        return right
    return None


def _is_parameter(value: ir.Value | None) -> bool:
    """A matrix that is fed at run time: a weight in spirit, other than the right side of an attention product."""
    while value is not None and is_op(value.producer(), "DequantizeLinear", "Transpose", "Identity", "QuantizeLinear"):
        producer = value.producer()
        value = producer.inputs[0] if producer is not None else None
    return value is not None and value.is_graph_input() and value.shape is not None and len(value.shape) == 2


def match_linear(node: ir.Node, exact: bool) -> Linear | str:
    """Matches the linear that starts at a MatMul or Gemm; a string is the reason why it is left alone.

    Args:
        node: a MatMul or Gemm whose right side is a weight.
        exact: whether the product is all: what follows it stays as it is.
    """
    transposed = is_op(node, "Gemm") and int_attribute(node, "transB", 0) == 1
    weight = match_weight(node.inputs[1], transposed)
    if isinstance(weight, str):
        return weight
    activation = match_x(node.inputs[0])
    if isinstance(activation, str):
        return activation
    x, x_scale = activation
    _check_dimensions(node, x, weight)

    y, dropped = node.outputs[0], 0
    bias: Array | None = None
    if is_op(node, "Gemm"):
        gemm = _gemm_terms(node, weight)
        if isinstance(gemm, str):
            return gemm
        weight, bias = gemm
    if bias is None and not exact:
        bias, y, dropped = _match_bias(node, y, weight)
    kind = ""
    found = None if exact else match_activation(y)
    if found is not None:
        kind, y, dropped = found.kind, found.output, dropped + found.pairs
    n = weight.values.shape[1]
    full_bias = np.zeros(n, np.float32) if bias is None else np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), n))
    if not np.isfinite(full_bias).all():
        raise ConversionError("the bias is not finite", node=f"node '{node.name}'", remedy="export the model again")
    return Linear(node, x, x_scale, weight, full_bias, kind, y, output_scale(y), bias is not None, dropped)


def match_x(value: ir.Value | None) -> tuple[ir.Value, Scale] | str:
    """The quantized tensor behind a float one, or the reason why there is none."""
    dequantizer = value.producer() if value is not None else None
    if dequantizer is None or not is_op(dequantizer, "DequantizeLinear") or dequantizer.inputs[0] is None:
        return "activations are float (not quantized)"
    scale = scale_of(dequantizer)
    return scale if isinstance(scale, str) else (dequantizer.inputs[0], scale)


def output_scale(y: ir.Value) -> Scale | None:
    """The one scale of all quantizers that read y, or None if y is needed as float."""
    if y.is_graph_output():
        return None
    quantizers = quantizers_of(y)
    others = [u.node for u in y.uses() if u.node not in quantizers and not is_op(u.node, "Shape")]
    if not quantizers or others or not can_be_one(quantizers):
        return None
    scales = [scale_of(q) for q in quantizers]
    first = scales[0]
    return first if isinstance(first, Scale) and all(s == first for s in scales) else None


def _check_dimensions(node: ir.Node, x: ir.Value, weight: QuantizedWeight) -> None:
    """Raises ConversionError where the graph itself says that the product cannot run."""
    k, n = weight.values.shape
    where = f"node '{node.name}'"
    for value in (x, node.inputs[0]):
        last = value.shape[-1] if value is not None and value.shape is not None and len(value.shape) else None
        if isinstance(last, int) and last != k:
            problem = f"the activations have {last} features, the weights expect {k}"
            raise ConversionError(problem, node=where, remedy="the model is inconsistent: export it again")
    for what, parameter in (("scales", weight.scale), ("zero points", weight.zero_point)):
        if parameter.ndim and parameter.size != n:
            problem = f"{parameter.size} weight {what} for {n} outputs"
            raise ConversionError(problem, node=where, remedy="the model is inconsistent: quantize it again")


def _gemm_terms(node: ir.Node, weight: QuantizedWeight) -> tuple[QuantizedWeight, Array | None] | str:
    """Weight and bias of a Gemm with alpha and beta multiplied in."""
    alpha, beta = (
        1.0 if a is None else a.as_float() for a in (node.attributes.get("alpha"), node.attributes.get("beta"))
    )
    if int_attribute(node, "transA", 0):
        return "Gemm transposes its activations (transA)"
    if not (np.isfinite(alpha) and alpha > 0):
        return f"Gemm multiplies by alpha = {alpha}, expected a number above 0"
    if alpha != 1.0:
        weight = dataclasses.replace(weight, scale=weight.scale * np.float32(alpha))
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return weight, None
    bias = _as_bias(node.inputs[2], weight.values.shape[1], 2)
    if bias is None:
        return "Gemm adds a matrix, expected a constant bias per output"
    return weight, bias * np.float32(beta)


def _as_bias(value: ir.Value | None, n: int, rank: int | None) -> Array | None:
    """A constant that adds one number per output to a `[..., N]` value of this rank."""
    if value is None or not is_constant(value):
        return None
    if value.shape is not None and value.shape.is_static() and value.shape.numpy() and np.prod(value.shape.numpy()) > n:
        return None  # not worth computing
    bias = constant(value)
    if bias is None or bias.dtype != np.float32 or bias.size not in (1, n):
        return None
    if bias.ndim > 1 and (rank is None or bias.ndim > rank):
        return None
    return bias if bias.size == 1 or bias.shape[-1] == n else None


def _match_bias(node: ir.Node, y: ir.Value, weight: QuantizedWeight) -> tuple[Array | None, ir.Value, int]:
    """The bias behind a MatMul, the value after it, and how many Q/DQ pairs stood in between."""
    start, dropped = y, 0
    pair = behind_pair(y)
    if pair is not None and not pair[1].is_one_sided:
        start, dropped = pair[0], 1
    rank = len(y.shape) if y.shape is not None else None
    consumer = only_consumer(start)
    if is_op(consumer, "Add"):
        assert consumer is not None  # is_op
        other = consumer.inputs[1] if consumer.inputs[0] is start else consumer.inputs[0]
        bias = _as_bias(other, weight.values.shape[1], rank)
        if bias is not None:
            return bias, consumer.outputs[0], dropped
    return None, y, 0
