"""Brings quantizers next to linears: scales move through ops that only move data.

    linear -> Reshape -> Transpose -> Q    becomes    linear -> Q -> Reshape -> Transpose
    DQ -> Q with the same scale            becomes    nothing
    DQ -> Transpose -> linear              becomes    Transpose -> DQ -> linear

All three are exact: quantization is elementwise, and q -> (q - z) s -> round(./s) + z returns q.
"""

from __future__ import annotations

import onnx_ir as ir

from .base import CountingPass
from .edit import insert, remove_dead, replace_nodes, set_type, top_level
from .match.constants import is_op
from .match.linear import match_linear, weight_input
from .match.quantizers import MOVES_DATA, Scale, can_be_one, quantizers_of, scale_of
from .names import node_name, value_name

_ONE_INPUT = (*MOVES_DATA, "Split")
_MOVES = (*_ONE_INPUT, "Concat")


class MoveScalesPass(CountingPass):
    """Moves Q up to the linear that feeds it and DQ down to the linear that reads it.

    Args:
        exact: as in `match_linear`, which says where a linear ends.
    """

    def __init__(self, exact: bool = False) -> None:
        super().__init__()
        self._exact = exact

    def rewrite(self, model: ir.Model) -> int:
        """Moves until nothing moves any more."""
        graph = model.graph
        count = sum(self._move_down(node) for node in top_level(graph, "MatMul", "Gemm"))
        ends = self._linear_ends(graph)
        changed = True
        while changed:
            changed = False
            for quantizer in top_level(graph, "QuantizeLinear"):
                if quantizer.graph is not None and (_collapse(quantizer) or _move_up(quantizer, ends)):
                    count += 1
                    changed = True
        return count

    def _linear_ends(self, graph: ir.Graph) -> set[ir.Value]:
        """The values that a QLinear will compute."""
        ends = set()
        for node in top_level(graph, "MatMul", "Gemm"):
            linear = match_linear(node, self._exact) if weight_input(node) is not None else ""
            if not isinstance(linear, str):
                ends.add(linear.y)
        return ends

    def _move_down(self, product: ir.Node) -> int:
        """Gives a linear a quantized input if only data movement stands between it and a DequantizeLinear."""
        x = product.inputs[0]
        if weight_input(product) is None or x is None or not is_op(x.producer(), *_MOVES):
            return 0
        found = _scale_above(x)
        if found is None:
            return 0
        dequantizer, scale = found
        quantized = _rebuild(x, scale)
        float_x = insert(
            product,
            "DequantizeLinear",
            [quantized, *dequantizer.inputs[1:]],
            name=f"{product.name}/x_dequantize",
            like=x,
        )
        product.replace_input_with(0, float_x)
        remove_dead([x.producer()])
        return 1


def _data_inputs(node: ir.Node) -> list[ir.Value]:
    inputs = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    return [value for value in inputs if value is not None]


def _scale_above(value: ir.Value) -> tuple[ir.Node, Scale] | None:
    """The DequantizeLinear above data movement, and the one scale of all that flows together."""
    node = value.producer()
    if node is None:
        return None
    if is_op(node, "DequantizeLinear"):
        scale = scale_of(node)
        return None if isinstance(scale, str) or node.inputs[0] is None else (node, scale)
    if not is_op(node, *_MOVES):
        return None
    found = [_scale_above(source) for source in _data_inputs(node)]
    first = found[0] if found else None
    if first is None or any(other is None or other[1] != first[1] for other in found):
        return None
    return first


def _rebuild(value: ir.Value, scale: Scale) -> ir.Value:
    """The same data movement on quantized data."""
    node = value.producer()
    assert node is not None  # _scale_above went this way
    if is_op(node, "DequantizeLinear"):
        assert node.inputs[0] is not None
        return node.inputs[0]
    sources = [_rebuild(source, scale) for source in _data_inputs(node)]
    dtype = ir.DataType.from_numpy(scale.zero_point.dtype)
    graph = node.graph
    assert graph is not None  # nodes of a model belong to a graph
    outputs = [
        ir.Value(name=value_name(graph, f"{output.name}_quantized"), shape=output.shape) for output in node.outputs
    ]
    for output in outputs:
        set_type(output, dtype)
    inputs = [*sources, *node.inputs[len(sources) :]]
    moved = ir.Node(
        node.domain,
        node.op_type,
        inputs,
        node.attributes.values(),
        outputs=outputs,
        name=node_name(graph, f"{node.name}_quantized"),
    )
    graph.insert_before(node, moved)
    return moved.outputs[value.index() or 0]


def _collapse(quantizer: ir.Node) -> bool:
    """Removes Q behind DQ where both have the same scale."""
    value = quantizer.inputs[0]
    dequantizer = value.producer() if value is not None else None
    if dequantizer is None or not is_op(dequantizer, "DequantizeLinear"):
        return False
    first, second = scale_of(dequantizer), scale_of(quantizer)
    source, result = dequantizer.inputs[0], quantizer.outputs[0]
    if isinstance(first, str) or first != second or source is None or result.is_graph_output():
        return False
    ir.convenience.replace_all_uses_with(result, source)
    remove_dead([quantizer])
    return True


def _move_up(quantizer: ir.Node, ends: set[ir.Value]) -> bool:
    """Moves Q in front of the data movement that feeds it, if a linear or a DQ of the same scale is at its top."""
    scale = scale_of(quantizer)
    value = quantizer.inputs[0]
    node = value.producer() if value is not None else None
    if node is None or isinstance(scale, str) or not is_op(node, *_MOVES):
        return False
    if not all(_is_quantized_alike(output, scale) for output in node.outputs):
        return False
    if not all(_leads_to(source, scale, ends) for source in _data_inputs(node)):
        return False
    dtype = ir.DataType.from_numpy(scale.zero_point.dtype)
    for index, source in enumerate(_data_inputs(node)):
        name = f"{node.name}/quantize_{index}"
        moved = insert(node, "QuantizeLinear", [source, *quantizer.inputs[1:]], name=name, like=source, dtype=dtype)
        moved.producer().attributes.update(quantizer.attributes)  # type: ignore[union-attr]
        node.replace_input_with(index, moved)
    for output in node.outputs:
        set_type(output, dtype)
        replace_nodes(quantizers_of(output), output)
    return True


def _is_quantized_alike(value: ir.Value, scale: Scale) -> bool:
    """Whether quantizers of this scale are all that reads a value (its shape aside)."""
    quantizers = quantizers_of(value)
    if value.is_graph_output() or not quantizers or any(scale_of(q) != scale for q in quantizers):
        return False
    return can_be_one(quantizers) and all(use.node in quantizers or is_op(use.node, "Shape") for use in value.uses())


def _leads_to(value: ir.Value, scale: Scale, ends: set[ir.Value]) -> bool:
    """Whether a linear or a DQ of this scale is above a value, behind data movement only."""
    if value in ends:
        return True
    node = value.producer()
    if node is None:
        return False
    if is_op(node, "DequantizeLinear"):
        return scale_of(node) == scale
    return is_op(node, *_MOVES) and all(_leads_to(source, scale, ends) for source in _data_inputs(node))
