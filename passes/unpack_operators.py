"""Writes fused quantized operators as Q/DQ around float ops: one form for all that follows.

    QLinearMatMul(a, b)                 DQ(a) . DQ(b) -> Q
    QGemm(a, b, c)                      Gemm(DQ(a), DQ(b), c a_scale b_scale) [-> Q]
    QLinearAdd(a, constant)             DQ(a) + constant -> Q
    MatMulInteger -> Cast -> Mul        DQ(a) . DQ(b)
    MatMulIntegerToFloat(a, b, bias)    DQ(a) . DQ(b) + bias
    BiasGelu, FastGelu with bias        Add -> Gelu, FastGelu

Only linears are touched: the right side and every scale must be constant. Where every rounding is to be kept,
QLinearAdd stays: it adds to what is rounded already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .base import CountingPass, Refusal
from .edit import add_initializer, insert, remove_dead, replace
from .match.constants import Array, constant, int_attribute, is_constant, is_default_domain, is_op, scalar
from .match.linear import weight_input
from .match.quantizers import only_consumer

FLOAT = ir.DataType.FLOAT

_MICROSOFT = "com.microsoft"
_RUN_TIME_SCALE = "activation scale computed at run time"
_NOT_LINEAR = "no constant side"


class UnpackOperatorsPass(CountingPass):
    """See the module.

    Args:
        exact: whether every rounding of the source is kept.
        attention: whether QLinearMatMul of two varying sides is unpacked too.
    """

    def __init__(self, exact: bool = False, attention: bool = False) -> None:
        super().__init__()
        self._exact = exact
        self._attention = attention

    def rewrite(self, model: ir.Model) -> int:
        """Unpacks every operator that it can; `refusals` has the linears among the others."""
        count = 0
        for node in list(model.graph):
            unpack = _UNPACKERS.get(("" if is_default_domain(node) else node.domain, node.op_type))
            if unpack is None or node.graph is None or (self._exact and node.op_type == "QLinearAdd"):
                continue
            reason = unpack(node)
            if reason == _NOT_LINEAR and self._attention and node.op_type == "QLinearMatMul":
                reason = _unpack_product(node)
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


def _dequantize(before: ir.Node, name: str, inputs: Sequence[ir.Value | None], axis: int = 1) -> ir.Value:
    """DQ(data, scale, zero point); `axis` counts if there is more than one scale."""
    data, scale, *zero_point = (value for value in inputs if value is not None)
    scales = constant(scale)
    attributes = {"axis": axis} if scales is not None and scales.size > 1 else {}
    label = f"{name}/dequantize"
    return insert(
        before,
        "DequantizeLinear",
        [data, scale, *zero_point],
        name=label,
        like=data,
        dtype=FLOAT,
        attributes=attributes,
    )


def _put(
    node: ir.Node,
    op_type: str,
    sides: Sequence[ir.Value],
    last: ir.Node,
    *,
    bias: ir.Value | None = None,
    scale: Sequence[ir.Value | None] = (),
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Puts op(sides) [+ bias] [-> Q] in place of a node, or of the nodes from it to `last`.

    Args:
        node: the operator that is unpacked; the new product takes its name.
        op_type: what it is made of.
        sides: float inputs.
        last: the node whose output is replaced.
        bias: added, if given.
        scale: output scale and zero point, if the operator quantizes.
        attributes: of the new op.
    """
    output, name = last.outputs[0], node.name or ""
    result = insert(last, op_type, sides, name=name, like=output, dtype=FLOAT, attributes=attributes)
    if bias is not None:
        result = insert(last, "Add", [result, bias], name=f"{name}/Add", like=output, dtype=FLOAT)
    if scale:
        zero_point = constant(scale[1]) if len(scale) > 1 else None
        dtype = ir.DataType.UINT8 if zero_point is None else ir.DataType.from_numpy(zero_point.dtype)
        inputs = [result, *(value for value in scale if value is not None)]
        result = insert(last, "QuantizeLinear", inputs, name=f"{name}/quantize", like=output, dtype=dtype)
    replace(output, result)
    remove_dead([last])


def _unpack_qlinear_matmul(node: ir.Node) -> str | None:
    """QLinearMatMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)."""
    return _NOT_LINEAR if weight_input(node) is None else _unpack_product(node)


def _unpack_product(node: ir.Node) -> str | None:
    """QLinearMatMul of any two sides."""
    if not _all_constant(node, 1, 2, 4, 5, 6, 7):
        return _RUN_TIME_SCALE
    if weight_input(node) is not None and not _all_constant(node, 3):
        return _RUN_TIME_SCALE
    sides = [
        _dequantize(node, f"{node.name}/x", node.inputs[0:3]),
        _dequantize(node, f"{node.name}/w", node.inputs[3:6]),
    ]
    _put(node, "MatMul", sides, node, scale=node.inputs[6:8])
    return None


def _unpack_qgemm(node: ir.Node) -> str | None:
    """QGemm(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c / (a_scale b_scale), y_scale, y_zero_point)."""
    if weight_input(node) is None:
        return _NOT_LINEAR
    if not _all_constant(node, 1, 2, 3, 4, 5, 6, 7, 8):
        return _RUN_TIME_SCALE
    graph, name = node.graph, node.name or ""
    assert graph is not None  # nodes of a model belong to a graph
    axis = 0 if int_attribute(node, "transB", 0) else 1
    sides = [_dequantize(node, f"{name}/x", node.inputs[0:3]), _dequantize(node, f"{name}/w", node.inputs[3:6], axis)]
    steps, x_scale, w_scale = constant(_input(node, 6)), constant(node.inputs[1]), constant(node.inputs[4])
    if steps is not None and x_scale is not None and w_scale is not None:
        bias = steps.astype(np.float64) * (x_scale.astype(np.float64).reshape(()) * w_scale)
        sides.append(add_initializer(graph, f"{name}/c", bias.astype(np.float32)))
    attributes = {key: node.attributes[key].value for key in ("alpha", "transA", "transB") if key in node.attributes}
    scale = node.inputs[7:9] if _input(node, 7) is not None else ()
    _put(node, "Gemm", sides, node, scale=scale, attributes=attributes)
    return None


def _unpack_qlinear_add(node: ir.Node) -> str | None:
    """QLinearAdd(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point), one side constant."""
    if not _all_constant(node, 1, 2, 4, 5, 6, 7) or not (_all_constant(node, 0) or _all_constant(node, 3)):
        return _NOT_LINEAR
    sides = [
        _dequantize(node, f"{node.name}/a", node.inputs[0:3]),
        _dequantize(node, f"{node.name}/b", node.inputs[3:6]),
    ]
    _put(node, "Add", sides, node, scale=node.inputs[6:8])
    return None


def _unpack_to_float(node: ir.Node) -> str | None:
    """MatMulIntegerToFloat(a, b, a_scale, b_scale, a_zero_point, b_zero_point, bias)."""
    if weight_input(node) is None:
        return _NOT_LINEAR
    if not _all_constant(node, 2, 3, 4, 5, 6):
        return _RUN_TIME_SCALE
    sides = []
    for index, side in enumerate("xw"):
        inputs = [node.inputs[index], node.inputs[index + 2], _input(node, index + 4)]
        sides.append(_dequantize(node, f"{node.name}/{side}", inputs))
    _put(node, "MatMul", sides, node, bias=_input(node, 6))
    return None


def _unpack_matmul_integer(node: ir.Node) -> str | None:
    """Mul(Cast(MatMulInteger(a, b, a_zero_point, b_zero_point)), scale)."""
    if weight_input(node) is None:
        return _NOT_LINEAR
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
    sides = []
    for index, (side, scale) in enumerate(zip("xw", scales, strict=True)):
        name = f"{node.name}/{side}"
        scale_value = add_initializer(graph, f"{name}_scale", scale)
        zero_point = _zero_point_like(graph, name, _input(node, index + 2), scale)
        sides.append(_dequantize(multiply, name, [node.inputs[index], scale_value, zero_point]))
    _put(node, "MatMul", sides, multiply)
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
    if not _all_constant(node, 2, 3) or (_input(node, 2) is not None and scalar(node.inputs[2]) is None):
        return _RUN_TIME_SCALE
    producer = factor.producer() if factor is not None else None
    parts = list(producer.inputs) if producer is not None and is_op(producer, "Mul") else [factor]
    arrays = [array for array in map(constant, parts) if array is not None]
    if len(arrays) != len(parts):
        return _RUN_TIME_SCALE
    x_scale, w_scale = (np.ones((), np.float32), *arrays)[-2:]
    if x_scale.size > 1:
        x_scale, w_scale = w_scale, x_scale
    weight, zero_point = constant(node.inputs[1]), constant(_input(node, 3))
    n = weight.shape[-1] if weight is not None else 0
    if x_scale.size != 1 or w_scale.size not in (1, n) or {x_scale.dtype, w_scale.dtype} != {np.dtype(np.float32)}:
        return "the scale of the product is not a float32 number per output"
    per_output = w_scale.size > 1 or (zero_point is not None and zero_point.size > 1)
    return x_scale.reshape(()), np.broadcast_to(w_scale.reshape(-1), n).copy() if per_output else w_scale.reshape(())


def _unpack_bias_gelu(node: ir.Node) -> str | None:
    """BiasGelu(x, bias) or FastGelu(x, bias)."""
    if _input(node, 1) is None or not _all_constant(node, 1):
        return _NOT_LINEAR
    output = node.outputs[0]
    total = insert(node, "Add", node.inputs[:2], name=f"{node.name}/Add", like=output, dtype=FLOAT)
    op_type = "Gelu" if node.op_type == "BiasGelu" else node.op_type
    replace(output, insert(node, op_type, [total], name=node.name or "", like=output, domain=_MICROSOFT))
    remove_dead([node])
    return None


def _refuse_dynamic(node: ir.Node) -> str | None:
    del node
    return _RUN_TIME_SCALE


_UNPACKERS: dict[tuple[str, str], Callable[[ir.Node], str | None]] = {
    ("", "QLinearMatMul"): _unpack_qlinear_matmul,
    ("", "MatMulInteger"): _unpack_matmul_integer,
    (_MICROSOFT, "QGemm"): _unpack_qgemm,
    (_MICROSOFT, "QLinearAdd"): _unpack_qlinear_add,
    (_MICROSOFT, "MatMulIntegerToFloat"): _unpack_to_float,
    (_MICROSOFT, "DynamicQuantizeMatMul"): _refuse_dynamic,
    (_MICROSOFT, "BiasGelu"): _unpack_bias_gelu,
    (_MICROSOFT, "FastGelu"): _unpack_bias_gelu,
}
