"""Nodes and values beside what a model computes, with names that a test chooses, in the graph or in subgraphs of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .models import ONNX_TYPES

RESULT = "extra_result"


def with_nodes(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with one more output, a scalar, and on the way to it nodes and values of these names."""
    constant = "extra_constant"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), constant))
    model.graph.node.extend(_chain([constant, *names, RESULT]))
    return _with_result(model)


def with_subgraph(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The same in branches of If inside If, behind all other nodes: what these declare must not be declared again."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "extra_condition"))
    half = len(names) // 2
    outer = _branch("outer_then", names[:half])
    outer.node.insert(0, _conditional("inner_result", _branch("inner_then", names[half:]), _branch("inner_else", [])))
    model.graph.node.append(_conditional(RESULT, outer, _branch("outer_else", [])))
    return _with_result(model)


def _with_result(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.output.append(helper.make_tensor_value_info(RESULT, TensorProto.FLOAT, []))
    return model


def _conditional(result: str, then_branch: onnx.GraphProto, else_branch: onnx.GraphProto) -> onnx.NodeProto:
    branches = {"then_branch": then_branch, "else_branch": else_branch}
    return helper.make_node("If", ["extra_condition"], [result], name=result, **branches)


def _branch(name: str, names: Sequence[str]) -> onnx.GraphProto:
    values = [f"{name}_constant", *names, f"{name}_result"]
    result = helper.make_tensor_value_info(values[-1], TensorProto.FLOAT, [])
    return helper.make_graph(_chain(values), name, [], [result], [numpy_helper.from_array(np.float32(1), values[0])])


def _chain(values: Sequence[str]) -> list[onnx.NodeProto]:
    return [helper.make_node("Neg", [x], [y], name=y) for x, y in itertools.pairwise(values)]


def with_reading_branch(
    model: onnx.ModelProto,
    value: str,
    steps: Sequence[tuple[str, list[str]]],
    otherwise: str,
    kind: str,
    shape: list[int],
) -> onnx.ModelProto:
    """The model with one more output: `value` behind steps (op, other inputs) inside a branch, or another value."""
    names = [value, *(f"inside_{index}" for index in range(len(steps)))]
    nodes = [
        helper.make_node(op_type, [x, *others], [y], name=y)
        for (op_type, others), (x, y) in zip(steps, itertools.pairwise(names), strict=True)
    ]
    result = helper.make_tensor_value_info(names[-1], ONNX_TYPES[kind], shape)
    other = helper.make_tensor_value_info("otherwise", ONNX_TYPES[kind], shape)
    copy = helper.make_node("Identity", [otherwise], ["otherwise"], name="otherwise")
    branches = {
        "then_branch": helper.make_graph(nodes, "then", [], [result]),
        "else_branch": helper.make_graph([copy], "else", [], [other]),
    }
    model.graph.input.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))
    model.graph.node.append(helper.make_node("If", ["condition"], [RESULT], name="branches", **branches))
    model.graph.output.append(helper.make_tensor_value_info(RESULT, ONNX_TYPES[kind], shape))
    return model
