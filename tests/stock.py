"""ONNX Runtime's own CPU provider as an oracle: exact integer products, also where its kernels saturate."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from pyfastep._stock import stock_session

from .conftest import tiers_of_this_cpu

__all__ = ["exact_session"]

# Places of the weights and of their zero point.
_WEIGHTS = {"QLinearMatMul": (3, 5), "QGemm": (3, 5), "MatMulIntegerToFloat": (1, 5), "QAttention": (1, 7)}


def exact_session(
    model: str | bytes | os.PathLike[str], *, optimized: bool = True, **settings: Any
) -> onnxruntime.InferenceSession:
    """A quiet stock session that computes what ONNX says.

    `optimized`: with ONNX Runtime's graph optimizations. `settings`: attributes of its session options.

    Without VNNI, products of uint8 and int8 saturate, except for constant weights in an optimized graph. There
    MatMulInteger becomes a product in float64, which holds every sum of fewer than 2^37 products, and the constant
    weights of other products become uint8.
    """

    def configure(options: onnxruntime.SessionOptions) -> None:
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        for name, value in {"log_severity_level": 3, **settings}.items():
            setattr(options, name, value)

    if not {"avxvnni", "avx512vnni"}.isdisjoint(tiers_of_this_cpu()):
        return stock_session(model, configure)
    proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    for body in (proto.graph, *proto.functions):
        _replace(body.node)
    for node in proto.graph.node:
        if node.op_type in _WEIGHTS:
            _unsign(proto.graph, node, *_WEIGHTS[node.op_type])
    return stock_session(proto.SerializeToString(), configure)


def _replace(nodes: Any) -> None:
    found: list[NodeProto] = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _replace(attribute.g.node)
        found += _products(node) if (node.domain, node.op_type) == ("", "MatMulInteger") else [node]
    del nodes[:]
    nodes.extend(found)


def _unsign(graph: GraphProto, node: NodeProto, weight: int, zero_point: int) -> None:
    """w - z = (w + 128) - (z + 128)"""
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    node.input.extend([""] * (zero_point + 1 - len(node.input)))
    known[""] = np.zeros((), np.int8)
    values = [known.get(node.input[place]) for place in (weight, zero_point)]
    found = [value for value in values if value is not None and value.dtype == np.int8]
    if len(found) < len(values):
        return
    for place, value in zip((weight, zero_point), found, strict=True):
        name = f"{node.name or node.output[0]}/{place}_unsigned"
        moved = (value.astype(np.int16) + 128).astype(np.uint8)
        graph.initializer.append(numpy_helper.from_array(moved, name))
        node.input[place] = name


def _products(node: NodeProto) -> list[NodeProto]:
    """(a - a_zero) (b - b_zero) in float64; zero points of rows of `a` are not known here."""
    made, operands, name = [], [], node.output[0]
    for place, operand in enumerate(node.input[:2]):
        value = f"{name}_{place}_wide"
        made.append(helper.make_node("Cast", [operand], [value], to=TensorProto.DOUBLE))
        zero = node.input[place + 2] if len(node.input) > place + 2 else ""
        if zero:
            made.append(helper.make_node("Cast", [zero], [f"{value}_zero"], to=TensorProto.DOUBLE))
            made.append(helper.make_node("Sub", [value, f"{value}_zero"], [f"{value}_moved"]))
            value = f"{value}_moved"
        operands.append(value)
    made.append(helper.make_node("MatMul", operands, [f"{name}_wide"]))
    made.append(helper.make_node("Cast", [f"{name}_wide"], [name], to=TensorProto.INT32))
    return made
