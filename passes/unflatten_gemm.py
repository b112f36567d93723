"""Writes Gemm between two Reshapes as the MatMul on three axes that it was.

    Reshape(Gemm(Reshape(x, [B S, K]), W, c), [B, S, N])    becomes    x . W + c

ONNX Runtime's optimizer turns MatMul and Add into the first form where it knows all sizes. A linear that keeps its axes
connects to its neighbours; Reshapes would part them. Q/DQ between Reshape and Gemm change places with the Reshape.
"""

from __future__ import annotations

import itertools

import onnx_ir as ir

from .base import CountingPass
from .edit import insert, remove_dead, replace, top_level
from .match.constants import constant, int_attribute, is_constant, is_op
from .match.dims import rank_of, static_size
from .match.quantizers import Scale, only_consumer, scale_of

_FLAT_RANK = 2


class UnflattenGemmPass(CountingPass):
    """Does it for every Gemm of the main graph whose Reshapes give back the axes that they took."""

    def rewrite(self, model: ir.Model) -> int:
        """Rewrites all; the count is the number of Gemms gone."""
        return sum(_rewrite(node) for node in top_level(model.graph, "Gemm"))


def _rewrite(gemm: ir.Node) -> int:
    start, end = _reshape_before(gemm), _reshape_behind(gemm)
    if start is None or end is None or not _is_plain(gemm):
        return 0
    flatten, steps = start
    source, result = flatten.inputs[0], end[0].outputs[0]
    if source is None or source.shape is None or result.shape is None or not source.shape.is_static():
        return 0
    features = static_size(gemm.outputs[0], -1)
    leading = list(source.shape)[:-1]
    is_same = list(result.shape) == [*leading, features] and static_size(gemm.inputs[0], -1) == source.shape[-1]  # type: ignore[arg-type]
    if not is_same or rank_of(gemm.inputs[0]) != _FLAT_RANK:
        return 0
    x = _repeat(gemm, source, steps)
    y = _product(gemm, x, ir.Shape([*leading, features]))
    behind = _repeat(end[0], y, end[1])
    replace(result, behind)
    remove_dead([end[0]])
    return 1


def _is_plain(gemm: ir.Node) -> bool:
    """Whether a Gemm is x . W + c with constants W and c, c the same for every row."""
    factors = [gemm.attributes[key].as_float() for key in ("alpha", "beta") if key in gemm.attributes]
    added = gemm.inputs[2] if len(gemm.inputs) > 2 else None
    return (
        not int_attribute(gemm, "transA", 0)
        and is_constant(gemm.inputs[1])
        and (added is None or _is_by_column(added))
        and all(factor == 1.0 for factor in factors)
    )


def _is_by_column(added: ir.Value) -> bool:
    array = constant(added)
    return array is not None and array.shape[:-1] in ((), (1,))


def _reshape_before(gemm: ir.Node) -> tuple[ir.Node, list[ir.Node]] | None:
    """The Reshape above a Gemm and the Q and DQ between, from above to below."""
    steps: list[ir.Node] = []
    node = gemm.inputs[0].producer() if gemm.inputs[0] is not None else None
    while node is not None and is_op(node, "QuantizeLinear", "DequantizeLinear") and isinstance(scale_of(node), Scale):
        steps.insert(0, node)
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return (node, steps) if node is not None and is_op(node, "Reshape") else None


def _reshape_behind(gemm: ir.Node) -> tuple[ir.Node, list[ir.Node]] | None:
    """The Reshape that alone reads the Gemm, through Q and DQ."""
    steps: list[ir.Node] = []
    node = only_consumer(gemm.outputs[0])
    while node is not None and is_op(node, "QuantizeLinear", "DequantizeLinear") and isinstance(scale_of(node), Scale):
        steps.append(node)
        node = only_consumer(node.outputs[0])
    return (node, steps) if node is not None and is_op(node, "Reshape") else None


def _repeat(before: ir.Node, value: ir.Value, steps: list[ir.Node]) -> ir.Value:
    """The same Q and DQ on another value; those that read it already, further above, are taken."""
    above = set(itertools.takewhile(lambda node: node is not before, before.graph or ()))
    for step in steps:
        alike = [use.node for use in value.uses() if use.idx == 0 and use.node in above and _is_alike(use.node, step)]
        if alike:
            value = alike[0].outputs[0]
            continue
        attributes = {key: attribute.value for key, attribute in step.attributes.items()}
        value = insert(
            before,
            step.op_type,
            [value, *step.inputs[1:]],
            name=f"{step.name}/unflattened",
            like=value,
            dtype=step.outputs[0].dtype,
            attributes=attributes,
        )
    return value


def _is_alike(node: ir.Node, step: ir.Node) -> bool:
    return is_op(node, step.op_type) and list(node.inputs[1:]) == list(step.inputs[1:])


def _product(gemm: ir.Node, x: ir.Value, shape: ir.Shape) -> ir.Value:
    weight, name, like = gemm.inputs[1], gemm.name or "", ir.Value(shape=shape)
    assert weight is not None  # _is_plain
    if int_attribute(gemm, "transB", 0):
        swapped = ir.Value(shape=None if weight.shape is None else ir.Shape([*weight.shape][::-1]))
        attributes = {"perm": [1, 0]}
        weight = insert(
            gemm, "Transpose", [weight], name=f"{name}/w", like=swapped, dtype=weight.dtype, attributes=attributes
        )
    y = insert(gemm, "MatMul", [x, weight], name=name, inherits=True, like=like, dtype=ir.DataType.FLOAT)
    bias = gemm.inputs[2] if len(gemm.inputs) > 2 else None
    return y if bias is None else insert(gemm, "Add", [y, bias], name=f"{name}/Add", like=like, dtype=ir.DataType.FLOAT)
