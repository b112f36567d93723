"""Puts an op that ends in a LayerNormalization in the place of what it was matched from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import onnx_ir as ir

from .edit import add_initializer, move_shapes, remove_dead, replace, replace_nodes, set_type
from .match.constants import Array, is_op
from .match.layer_norm import LayerNorm
from .match.quantizers import Scale, quantizers_of, scale_of
from .names import value_name
from .ops import DOMAIN
from .ops.layer_norm import EPSILON, NormOutputs

_KINDS: dict[Any, Literal["u8", "s8"]] = {np.dtype(np.uint8): "u8", np.dtype(np.int8): "s8"}


def quantized_readers(y: ir.Value) -> tuple[Scale, list[ir.Node]] | None:
    """The quantizers of y that can be folded into the op that computes it: all of one scale, the first one's."""
    found = [(scale_of(node), node) for node in quantizers_of(y) if not node.outputs[0].is_graph_output()]
    scales = [scale for scale, _ in found if isinstance(scale, Scale)]
    if not scales:
        return None
    return scales[0], [node for scale, node in found if scale == scales[0]]


def outputs_for(y: ir.Value) -> tuple[NormOutputs, tuple[Scale, list[ir.Node]] | None]:
    """Which outputs the readers of y need, and what is folded."""
    folded = quantized_readers(y)
    if folded is None:
        return NormOutputs(True, ""), None
    others = [use.node for use in y.uses() if use.node not in folded[1] and not is_op(use.node, "Shape")]
    kind = _KINDS[folded[0].zero_point.dtype]
    return NormOutputs(bool(others) or y.is_graph_output(), cast(Any, kind)), folded


def put(norm: LayerNorm, op_name: str, inputs: Sequence[ir.Value], arrays: Mapping[str, Array]) -> ir.Node:
    """Replaces the normalization (and the quantizers behind it) by one `fastep` node.

    Args:
        norm: what is replaced; the new node takes its name.
        op_name: the op, whose name ends in the outputs of `outputs_for(norm.y)`.
        inputs: the inputs before gamma.
        arrays: initializers between those and gamma.

    Returns:
        The new node.
    """
    last = norm.y.producer()
    assert last is not None  # the result of a node
    graph = last.graph
    assert graph is not None  # nodes of a model belong to a graph
    outputs, folded = outputs_for(norm.y)
    name = norm.node.name or ""
    constants = {**arrays, "gamma": norm.gamma, "beta": norm.beta}
    if folded is not None:
        constants |= {"y_scale": folded[0].scale, "y_zero_point": folded[0].zero_point}
    values = [add_initializer(graph, f"{name}/{key}", array) for key, array in constants.items()]
    results = [ir.Value(name=value_name(graph, f"{name}/{key}"), shape=norm.y.shape) for key in outputs.outputs]
    for result, key in zip(results, outputs.outputs, strict=True):
        kind = "f32" if key == "y" else outputs.quantized
        set_type(result, {"f32": ir.DataType.FLOAT, "u8": ir.DataType.UINT8, "s8": ir.DataType.INT8}[kind])
    attributes = [ir.AttrFloat32(EPSILON, norm.epsilon)]
    fused = ir.Node(DOMAIN, op_name, [*inputs, *values], attributes, outputs=results, name=name)
    graph.insert_before(last, fused)
    _connect(norm.y, results, outputs, folded[1] if folded is not None else [])
    remove_dead([last])
    return fused


def _connect(y: ir.Value, results: list[ir.Value], outputs: NormOutputs, quantizers: list[ir.Node]) -> None:
    if quantizers:
        replace_nodes(quantizers, results[-1])
    if outputs.f32:
        replace(y, results[0])
    else:
        move_shapes(y, results[-1])
