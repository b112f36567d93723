"""Writes fused quantized operators as Q/DQ around float ops: one form for all that follows.

    QLinearMatMul(a, b)                 DQ(a) . DQ(b) -> Q
    QGemm(a, b, c)                      Gemm(DQ(a), DQ(b), c a_scale b_scale) [-> Q]
    QLinearAdd(a, constant)             DQ(a) + constant -> Q
    MatMulInteger -> Cast -> Mul        DQ(a) . DQ(b)
    MatMulIntegerToFloat(a, b, bias)    DQ(a) . DQ(b) + bias
    BiasGelu, FastGelu with bias        Add -> Gelu, FastGelu

Only linears are touched: the right side and every scale must be constant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from .base import CountingPass, Refusal
from .edit import add_initializer, insert, remove_dead, replace
from .match.constants import constant, int_attribute, is_constant, is_default_domain, is_op, scalar
from .match.linear import weight_input
from .match.quantizers import only_consumer

_MICROSOFT = "com.microsoft"
_RUN_TIME_SCALE = "activation scale computed at run time"


class UnpackOperatorsPass(CountingPass):
    """See the module."""

    def rewrite(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            unpack = _UNPACKERS.get(("" if is_default_domain(node) else node.domain, node.op_type))
            if unpack is None:
                continue
            reason = unpack(node)
            if reason is None:
                count += 1
            elif weight_input(node) is not None:
                self.refusals.append(Refusal(node.name or "", reason))
        return count


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _all_constant(node: ir.Node, *indices: int) -> bool:
    values = [_input(node, index) for index in indices]
    return all(value is None or is_constant(value) for value in values)


def _dequantize(node: ir.Node, first: int, side: str, axis: int = 1) -> ir.Value:
    """DQ of three inputs in a row: data, scale, zero point."""
    data = node.inputs[first]
    assert data is not None  # the op's schema
    inputs = [value for value in node.inputs[first : first + 3] if value is not None]
    name = f"{node.name}/{side}_dequantize"
    is_vector = constant(inputs[1])
    attributes = {"axis": axis} if is_vector is not None and is_vector.size > 1 else {}
    return insert(node, "DequantizeLinear", inputs, name=name, like=data, dtype=ir.DataType.FLOAT, attributes=attributes)


def _finish(node: ir.Node, result: ir.Value, scale_index: int | None) -> None:
    """Puts the result in place of the node's output, behind a Q if the node had an output scale."""
    if scale_index is not None:
        dtype = node.outputs[0].dtype or (node.inputs[scale_index + 1] or result).dtype
        inputs = [result, node.inputs[scale_index], node.inputs[scale_index + 1]]
        name = f"{node.name}/quantize"
        result = insert(node, "QuantizeLinear", inputs, name=name, like=node.outputs[0], dtype=dtype)
    replace(node.outputs[0], result)
    name, node.name = node.name, f"{node.name}_unpacked"
    remove_dead([node])
    for value in result.uses():
        del value
    if scale_index is None and result.producer() is not None:
        result.producer().name = name  # type: ignore[union-attr]


def _unpack_qlinear_matmul(node: ir.Node) -> str | None:
    if weight_input(node) is None:
        return "not a linear"
    if not _all_constant(node, 1, 2, 3, 4, 5, 6, 7):
        return _RUN_TIME_SCALE
    name = node.name or ""
    inputs = [_dequantize(node, 0, "x"), _dequantize(node, 3, "weight")]
    product = insert(node, "MatMul", inputs, name=f"{name}/MatMul", like=node.outputs[0], dtype=ir.DataType.FLOAT)
    _finish(node, product, 6)
    product.producer().name = name  # type: ignore[union-attr]
    return None


def _unpack_qgemm(node: ir.Node) -> str | None:
    if weight_input(node) is None:
        return "not a linear"
    if not _all_constant(node, 1, 2, 3, 4, 5, 6, 7, 8):
        return _RUN_TIME_SCALE
    graph, name = node.graph, node.name or ""
    assert graph is not None  # nodes of a model belong to a graph
    transposed = int_attribute(node, "transB", 0)
    inputs: list[ir.Value] = [_dequantize(node, 0, "x"), _dequantize(node, 3, "weight", axis=0 if transposed else 1)]
    steps, x_scale, w_scale = constant(_input(node, 6)), constant(node.inputs[1]), constant(node.inputs[4])
    if steps is not None and x_scale is not None and w_scale is not None:
        bias = steps.astype(np.float64) * (x_scale.astype(np.float64).reshape(()) * w_scale)
        inputs.append(add_initializer(graph, f"{name}/bias", bias.astype(np.float32)))
    attributes = {key: node.attributes[key].value for key in ("alpha", "transA", "transB") if key in node.attributes}
    product = insert(
        node, "Gemm", inputs, name=f"{name}/Gemm", like=node.outputs[0], dtype=ir.DataType.FLOAT, attributes=attributes
    )
    _finish(node, product, 7 if _input(node, 7) is not None else None)
    product.producer().name = name  # type: ignore[union-attr]
    return None


def _unpack_qlinear_add(node: ir.Node) -> str | None:
    if not _all_constant(node, 1, 2, 4, 5, 6, 7) or not (_all_constant(node, 0) or _all_constant(node, 3)):
        return "not a bias"
    inputs = [_dequantize(node, 0, "a"), _dequantize(node, 3, "b")]
    total = insert(node, "Add", inputs, name=f"{node.name}/Add", like=node.outputs[0], dtype=ir.DataType.FLOAT)
    _finish(node, total, 6)
    return None


def _unpack_matmul_integer(node: ir.Node) -> str | None:
    if weight_input(node) is None:
        return "not a linear"
    cast = only_consumer(node.outputs[0])
    multiply = only_consumer(cast.outputs[0]) if cast is not None and is_op(cast, "Cast") else None
    if cast is None or multiply is None or not is_op(multiply, "Mul"):
        return "integer product that is not scaled to float"
    factor = multiply.inputs[1] if multiply.inputs[0] is cast.outputs[0] else multiply.inputs[0]
    scales = _split_scale(node, factor)
    if isinstance(scales, str):
        return scales
    graph, name, x = node.graph, node.name or "", node.inputs[0]
    assert graph is not None and x is not None  # a node of a model, with the inputs its schema asks for
    sides = []
    for index, (side, scale) in enumerate(zip(("x", "weight"), scales, strict=True)):
        scale_value = add_initializer(graph, f"{name}/{side}_scale", scale)
        data, zero_point = node.inputs[index], _input(node, index + 2)
        inputs = [data, scale_value, *_matching_zero_point(graph, name, side, zero_point, scale)]
        attributes = {"axis": 1} if scale.ndim else {}
        sides.append(
            insert(
                multiply,
                "DequantizeLinear",
                inputs,
                name=f"{name}/{side}_dequantize",
                like=data or x,
                dtype=ir.DataType.FLOAT,
                attributes=attributes,
            )
        )
    product = insert(multiply, "MatMul", sides, name=f"{name}/MatMul", like=multiply.outputs[0], dtype=ir.DataType.FLOAT)
    replace(multiply.outputs[0], product)
    remove_dead([multiply])
    product.producer().name = name  # type: ignore[union-attr]
    return None


def _matching_zero_point(
    graph: ir.Graph, name: str, side: str, zero_point: ir.Value | None, scale: np.ndarray
) -> list[ir.Value]:
    """DequantizeLinear wants scale and zero point of one shape."""
    array = constant(zero_point)
    if array is None:
        return []
    if scale.ndim == 0 and array.size > 1 and (array == array.flat[0]).all():
        array = array.reshape(-1)[0]
    shaped = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), scale.shape) if scale.ndim else array.reshape(()))
    return [add_initializer(graph, f"{name}/{side}_zero_point", shaped)]


def _split_scale(node: ir.Node, factor: ir.Value | None) -> tuple[np.ndarray, np.ndarray] | str:
    """The factor behind an integer product as (scale of x, scale of the weight).

    Only their product counts. If it is written as one, its float rounding is left out; otherwise x gets the scale 1.
    """
    if not _all_constant(node, 2, 3) or (_input(node, 2) is not None and scalar(node.inputs[2]) is None):
        return _RUN_TIME_SCALE
    producer = factor.producer() if factor is not None else None
    parts = list(producer.inputs) if producer is not None and is_op(producer, "Mul") else [factor]
    arrays = [constant(part) for part in parts]
    known = [array for array in arrays if array is not None]
    if len(known) != len(arrays):
        return _RUN_TIME_SCALE
    one = np.ones((), np.float32)
    x_scale, w_scale = (known[0], known[1]) if len(known) == 2 else (one, known[0])
    if x_scale.size > 1:
        x_scale, w_scale = w_scale, x_scale
    n = (node.inputs[1].shape or [None])[-1] if node.inputs[1] is not None else None
    if x_scale.size != 1 or w_scale.size not in (1, n) or x_scale.dtype != np.float32 or w_scale.dtype != np.float32:
        return "the scale of the product is not a number per output"
    return x_scale.reshape(()), w_scale.reshape(()) if w_scale.size == 1 else w_scale.reshape(-1)


def _unpack_to_float(node: ir.Node) -> str | None:
    """MatMulIntegerToFloat(A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias)."""
    if weight_input(node) is None:
        return "not a linear"
    if not _all_constant(node, 2, 3, 4, 5, 6):
        return _RUN_TIME_SCALE
    name = node.name or ""
    sides = []
    for index, side in enumerate(("x", "weight")):
        data, scale = node.inputs[index], constant(node.inputs[index + 2])
        assert data is not None and scale is not None  # the schema, _all_constant
        inputs = [value for value in (data, node.inputs[index + 2], _input(node, index + 4)) if value is not None]
        attributes = {"axis": 1} if scale.size > 1 else {}
        label = f"{name}/{side}_dequantize"
        sides.append(
            insert(node, "DequantizeLinear", inputs, name=label, like=data, dtype=ir.DataType.FLOAT, attributes=attributes)
        )
    result = insert(node, "MatMul", sides, name=f"{name}/MatMul", like=node.outputs[0], dtype=ir.DataType.FLOAT)
    product = result.producer()
    if _input(node, 6) is not None:
        result = insert(node, "Add", [result, node.inputs[6]], name=f"{name}/Add", like=node.outputs[0])
    replace(node.outputs[0], result)
    remove_dead([node])
    product.name = name  # type: ignore[union-attr]
    return None


def _unpack_bias_gelu(node: ir.Node) -> str | None:
    bias = _input(node, 1)
    if bias is None or not is_constant(bias):
        return "no bias"
    total = insert(node, "Add", node.inputs[:2], name=f"{node.name}/Add", like=node.outputs[0])
    op_type = "Gelu" if node.op_type == "BiasGelu" else node.op_type
    result = insert(node, op_type, [total], name=f"{node.name}/{op_type}", like=node.outputs[0], domain=_MICROSOFT)
    replace(node.outputs[0], result)
    remove_dead([node])
    return None


def _never(node: ir.Node) -> str | None:
    del node
    return _RUN_TIME_SCALE


_UNPACKERS: dict[tuple[str, str], Callable[[ir.Node], str | None]] = {
    ("", "QLinearMatMul"): _unpack_qlinear_matmul,
    ("", "MatMulInteger"): _unpack_matmul_integer,
    (_MICROSOFT, "QGemm"): _unpack_qgemm,
    (_MICROSOFT, "QLinearAdd"): _unpack_qlinear_add,
    (_MICROSOFT, "MatMulIntegerToFloat"): _unpack_to_float,
    (_MICROSOFT, "DynamicQuantizeMatMul"): _never,
    (_MICROSOFT, "BiasGelu"): _unpack_bias_gelu,
    (_MICROSOFT, "FastGelu"): _unpack_bias_gelu,
}
