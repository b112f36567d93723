"""Products, quantized or with something else fused in.

QLinearMatMul(a, b)                 DQ(a) . DQ(b) -> Q
QGemm(a, b, c)                      Gemm(DQ(a), DQ(b), alpha c a_scale b_scale) [-> Q]
MatMulInteger -> Cast -> Mul        DQ(a) . DQ(b)
MatMulIntegerToFloat(a, b, bias)    DQ(a) . DQ(b) + bias
FusedMatMul(a, b)                   a . b with transposed sides, times alpha
FusedGemm(a, b, c)                  Gemm -> activation
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ..edit import add_initializer
from ..match.constants import Array, constant, int_attribute, is_op, scalar
from ..match.dims import rank_of
from ..match.linear import weight_input
from ..match.quantizers import only_consumer
from .writer import (
    MICROSOFT,
    NOT_OURS,
    Unpackers,
    Writer,
    all_constant,
    dequantize,
    float_attribute,
    given,
    quantize,
)

RUN_TIME_SCALE = (
    "its activations are quantized dynamically, at run time: quantize the float model with `fastep quantize`"
)

_PLAIN_ACTIVATIONS = ("Relu", "Tanh", "Sigmoid")


def _finish(writer: Writer, result: ir.Value, bias: ir.Value | None, scale: Sequence[ir.Value | None]) -> None:
    """Adds bias and output quantizer, if there are such."""
    if bias is not None:
        result = writer.put("Add", result, bias, label="Add")
    writer.finish(quantize(writer, "quantize", result, scale) if scale else result)


def _is_linear(node: ir.Node) -> bool:
    return weight_input(node) is not None


def _unpack_qlinear_matmul(node: ir.Node) -> str | None:
    """QLinearMatMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)."""
    if not all_constant(node, 1, 2, 4, 5, 6, 7) or (_is_linear(node) and not all_constant(node, 3)):
        return RUN_TIME_SCALE
    writer = Writer(node)
    x, w = dequantize(writer, "x/dequantize", node.inputs[0:3]), dequantize(writer, "w/dequantize", node.inputs[3:6])
    _finish(writer, writer.put("MatMul", x, w, shape=node.outputs[0].shape), None, node.inputs[6:8])
    return None


def _unpack_qgemm(node: ir.Node) -> str | None:
    """QGemm(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c, y_scale, y_zero_point).

    It computes alpha a_scale b_scale (A . B + C), where Gemm multiplies only the product by alpha.
    """
    if not _is_linear(node):
        return NOT_OURS
    if not all_constant(node, 1, 2, 3, 4, 5, 6, 7, 8):
        return RUN_TIME_SCALE
    writer, axis = Writer(node), 0 if int_attribute(node, "transB", 0) else 1
    sides = [
        dequantize(writer, "x/dequantize", node.inputs[0:3]),
        dequantize(writer, "w/dequantize", node.inputs[3:6], axis),
    ]
    steps, x_scale, w_scale = constant(given(node, 6)), constant(node.inputs[1]), constant(node.inputs[4])
    if steps is not None and x_scale is not None and w_scale is not None:
        factor = float_attribute(node, "alpha", 1.0) * x_scale.astype(np.float64).reshape(())
        bias = steps.astype(np.float64) * (factor * w_scale)
        sides.append(writer.constant("c", bias, np.float32))
    attributes = {key: node.attributes[key].value for key in ("alpha", "transA", "transB") if key in node.attributes}
    product = writer.put("Gemm", *sides, shape=node.outputs[0].shape, **attributes)
    _finish(writer, product, None, node.inputs[7:9] if given(node, 7) is not None else ())
    return None


def _unpack_to_float(node: ir.Node) -> str | None:
    """MatMulIntegerToFloat(a, b, a_scale, b_scale, a_zero_point, b_zero_point, bias)."""
    if not all_constant(node, 2, 3, 4, 5) or (_is_linear(node) and not all_constant(node, 6)):
        return RUN_TIME_SCALE
    writer, sides = Writer(node), []
    for index, side in enumerate("xw"):
        inputs = [node.inputs[index], node.inputs[index + 2], given(node, index + 4)]
        sides.append(dequantize(writer, f"{side}/dequantize", inputs))
    _finish(writer, writer.put("MatMul", *sides, shape=node.outputs[0].shape), given(node, 6), ())
    return None


def _unpack_matmul_integer(node: ir.Node) -> str | None:
    """Mul(Cast(MatMulInteger(a, b, a_zero_point, b_zero_point)), scale)."""
    if not _is_linear(node):
        return NOT_OURS
    cast = only_consumer(node.outputs[0])
    multiply = only_consumer(cast.outputs[0]) if cast is not None and is_op(cast, "Cast") else None
    if cast is None or multiply is None or not is_op(multiply, "Mul"):
        return "integer product that is not scaled to float"
    factor = multiply.inputs[1] if multiply.inputs[0] is cast.outputs[0] else multiply.inputs[0]
    scales = _split_scale(node, factor)
    if isinstance(scales, str):
        return scales
    graph = node.graph
    assert graph is not None  # nodes of a model belong to a graph
    writer, sides = Writer(node, multiply), []
    for index, (side, scale) in enumerate(zip("xw", scales, strict=True)):
        name = f"{node.name}/{side}"
        scale_value = add_initializer(graph, f"{name}_scale", scale)
        zero_point = _zero_point_like(graph, name, given(node, index + 2), scale)
        sides.append(dequantize(writer, f"{side}/dequantize", [node.inputs[index], scale_value, zero_point]))
    _finish(writer, writer.put("MatMul", *sides, shape=multiply.outputs[0].shape), None, ())
    return None


def _zero_point_like(graph: ir.Graph, name: str, zero_point: ir.Value | None, scale: Array) -> ir.Value | None:
    """A zero point in the shape of its scale, as DequantizeLinear wants it."""
    array = constant(zero_point)
    if array is None:
        return None
    return add_initializer(
        graph,
        f"{name}_zero_point",
        np.broadcast_to(array.reshape(-1), scale.reshape(-1).shape).reshape(scale.shape).copy(),
    )


def _split_scale(node: ir.Node, factor: ir.Value | None) -> tuple[Array, Array] | str:
    """The factor behind an integer product as (scale of x, scale of the weight).

    Only their product counts. If the graph multiplies two constants, these are the scales; else x gets 1.
    """
    if not all_constant(node, 2, 3) or (given(node, 2) is not None and scalar(node.inputs[2]) is None):
        return RUN_TIME_SCALE
    producer = factor.producer() if factor is not None else None
    parts = list(producer.inputs) if producer is not None and is_op(producer, "Mul") else [factor]
    arrays = [array for array in map(constant, parts) if array is not None]
    if len(arrays) != len(parts):
        return RUN_TIME_SCALE
    x_scale, w_scale = (np.ones((), np.float32), *arrays)[-2:]
    if x_scale.size > 1:
        x_scale, w_scale = w_scale, x_scale
    weight, zero_point = constant(node.inputs[1]), constant(given(node, 3))
    n = weight.shape[-1] if weight is not None else 0
    rank = rank_of(node.inputs[0]) or 1
    by_output = w_scale.size == 1 or w_scale.shape[-1] == w_scale.size == n
    keeps_axes = max(x_scale.ndim, w_scale.ndim) <= rank
    is_float = {x_scale.dtype, w_scale.dtype} == {np.dtype(np.float32)}
    if x_scale.size != 1 or not (by_output and keeps_axes and is_float):
        return "the scale of the product is not a float32 number per output"
    per_output = w_scale.size > 1 or (zero_point is not None and zero_point.size > 1)
    return x_scale.reshape(()), np.broadcast_to(w_scale.reshape(-1), n).copy() if per_output else w_scale.reshape(())


def _unpack_fused_matmul(node: ir.Node) -> str | None:
    """FusedMatMul(a, b): alpha a' . b', where transA and transB swap the last two axes."""
    if int_attribute(node, "transBatchA", 0) or int_attribute(node, "transBatchB", 0):
        return "a fused product that transposes its batch axes"
    swaps = [int_attribute(node, "transA", 0), int_attribute(node, "transB", 0)]
    ranks = [rank_of(value) for value in node.inputs[:2]]
    if any(swap and rank is None for swap, rank in zip(swaps, ranks, strict=True)):
        return "a fused product that transposes a side of unknown rank"
    writer, sides = Writer(node), list(node.inputs[:2])
    for index, (swap, rank) in enumerate(zip(swaps, ranks, strict=True)):
        if swap and rank is not None:
            permutation = [*range(rank - 2), rank - 1, rank - 2]
            sides[index] = writer.put("Transpose", sides[index], label=f"Transpose_{index}", perm=permutation)
    result = writer.put("MatMul", *sides, shape=node.outputs[0].shape)
    alpha = float_attribute(node, "alpha", 1.0)
    if alpha != 1.0:
        result = writer.put("Mul", result, writer.constant("alpha", alpha, np.float32), label="Mul")
    writer.finish(result)
    return None


def _unpack_fused_gemm(node: ir.Node) -> str | None:
    """FusedGemm(a, b, c) with an activation that has no parameters."""
    activation = node.attributes["activation"].as_string() if "activation" in node.attributes else ""
    if activation not in ("", *_PLAIN_ACTIVATIONS):
        return f"a fused product with the activation {activation}"
    kept = ("alpha", "beta", "transA", "transB")
    attributes = {key: node.attributes[key].value for key in kept if key in node.attributes}
    writer = Writer(node)
    result = writer.put("Gemm", *node.inputs, shape=node.outputs[0].shape, **attributes)
    writer.finish(writer.put(activation, result, label=activation) if activation else result)
    return None


def _refuse_dynamic(node: ir.Node) -> str | None:
    del node
    return RUN_TIME_SCALE


UNPACKERS: Unpackers = {
    ("", "QLinearMatMul"): _unpack_qlinear_matmul,
    ("", "MatMulInteger"): _unpack_matmul_integer,
    (MICROSOFT, "QGemm"): _unpack_qgemm,
    (MICROSOFT, "MatMulIntegerToFloat"): _unpack_to_float,
    (MICROSOFT, "DynamicQuantizeMatMul"): _refuse_dynamic,
    (MICROSOFT, "FusedMatMul"): _unpack_fused_matmul,
    (MICROSOFT, "TransposeMatMul"): _unpack_fused_matmul,
    (MICROSOFT, "FusedGemm"): _unpack_fused_gemm,
}
TWO_SIDED = (("", "QLinearMatMul"), (MICROSOFT, "MatMulIntegerToFloat"))
"""Those that multiply two activations too, as attention does."""
