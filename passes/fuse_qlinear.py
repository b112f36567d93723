"""Fuses product, bias, activation and output quantizer into QLinear."""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np
import onnx_ir as ir

from .base import CountingPass, Refusal
from .edit import add_initializer, move_shapes, opset_of, remove_dead, replace, replace_nodes, set_type
from .match.constants import Array, constant, is_op
from .match.linear import Linear, match_linear, weight_input
from .match.quantizers import Scale, quantizers_of
from .names import value_name
from .ops import DOMAIN
from .ops.qlinear import MIN_OPSET, WEIGHT_SHAPE, Activation, OutputType, Variant

LAYER = "fastep.layer"
"""Key of a QLinear node's `meta`: the `FusedLayer` it came from."""


@dataclasses.dataclass(frozen=True)
class FusedLayer:
    """What a QLinear node was made of.

    Attributes:
        weight: the source's weight `[K, N]`.
        source_bytes: its size in the source file.
        has_bias: whether the source added a bias.
        dropped_pairs: Q/DQ pairs that are gone.
    """

    weight: Array
    source_bytes: int
    has_bias: bool
    dropped_pairs: int


def qlinear_nodes(graph: ir.Graph) -> list[tuple[ir.Node, Variant]]:
    """The QLinear nodes of a graph with what their names say."""
    named = [(node, Variant.parse(node.op_type)) for node in graph if node.domain == DOMAIN]
    return [(node, variant) for node, variant in named if variant is not None]


def named_inputs(node: ir.Node, variant: Variant) -> dict[str, ir.Value | None]:
    """The inputs of a QLinear by the names that its contract gives them."""
    return dict(zip(variant.inputs, node.inputs, strict=True))


class FuseQLinearPass(CountingPass):
    """Every linear that can be becomes a QLinear with a dense weight; the others are listed in `refusals`.

    Args:
        exact: whether a QLinear is the product alone, as ONNX Runtime computes it: `float32(acc)` times one factor,
            rounded once. What follows stays, so that ONNX Runtime itself computes it.
    """

    def __init__(self, exact: bool = False) -> None:
        super().__init__()
        self._exact = exact
        self._weights: dict[tuple[ir.Value, bool], ir.Value] = {}

    def requires(self, model: ir.Model) -> None:
        """Bodies need opset 17."""
        if (opset_of(model) or 0) < MIN_OPSET:
            raise ir.passes.PreconditionError(f"needs opset {MIN_OPSET}: run RaiseOpsetPass before")

    def rewrite(self, model: ir.Model) -> int:
        """Fuses all linears of the main graph."""
        self._weights = {}
        count = 0
        for node in list(model.graph):
            if node.graph is None or weight_input(node) is None:
                continue
            if not is_op(node, "MatMul", "Gemm"):
                self._refuse(node, f"{node.op_type} is not supported")
                continue
            linear = match_linear(node, self._exact)
            if isinstance(linear, str):
                self._refuse(node, linear)
                continue
            self._fuse(model.graph, linear)
            count += 1
        if count:
            model.opset_imports.setdefault(DOMAIN, 1)
        self._refuse_subgraphs(model.graph)
        return count

    def ensures(self, model: ir.Model) -> None:
        """Every QLinear has the inputs that its name asks for."""
        for node, variant in qlinear_nodes(model.graph):
            if len(node.inputs) != len(variant.inputs) or WEIGHT_SHAPE not in node.attributes:
                raise ir.passes.PostconditionError(f"{node.name}: inputs or attributes do not fit {variant.name}")

    def _refuse(self, node: ir.Node, reason: str) -> None:
        self.refusals.append(Refusal(node.name or "", reason))

    def _refuse_subgraphs(self, graph: ir.Graph) -> None:
        for node in graph.all_nodes():
            if node.graph is not graph and weight_input(node) is not None:
                self._refuse(node, "inside the body of a control-flow op (If, Loop, Scan)")

    def _fuse(self, graph: ir.Graph, linear: Linear) -> None:
        if self._exact and linear.y_scale is not None:
            linear = _in_steps(graph, linear, linear.y_scale)
        node = linear.node
        y_type = "f32" if linear.y_scale is None else linear.y_scale.zero_point.dtype.kind + "8"
        y_type = {"i8": "s8"}.get(y_type, y_type)
        variant = Variant(cast(Activation, linear.activation), cast(OutputType, y_type), sparse=False)
        k, n = linear.weight.values.shape
        fused = ir.Node(
            DOMAIN,
            variant.name,
            self._inputs(graph, linear),
            [ir.AttrInt64s(WEIGHT_SHAPE, [n, k])],
            outputs=[_output_like(graph, linear)],
            name=node.name,
        )
        fused.meta[LAYER] = FusedLayer(
            linear.weight.values, _bytes_in_file(linear.weight.source[0]), linear.has_bias, linear.dropped_pairs
        )
        graph.insert_before(node, fused)
        _take_over(linear, fused.outputs[0])

    def _inputs(self, graph: ir.Graph, linear: Linear) -> list[ir.Value]:
        name = linear.node.name
        weight = self._weights.get(linear.weight.source)
        if weight is None:
            weight = add_initializer(graph, f"{name}/weight", np.ascontiguousarray(linear.weight.values))
            self._weights[linear.weight.source] = weight
        arrays = {
            "w_scale": linear.weight.scale,
            "w_zero_point": linear.weight.zero_point,
            "bias": linear.bias,
        }
        scales = {"x_scale": linear.x_scale.scale, "x_zero_point": linear.x_scale.zero_point}
        if linear.y_scale is not None:
            arrays |= {"y_scale": linear.y_scale.scale, "y_zero_point": linear.y_scale.zero_point}
        before = [add_initializer(graph, f"{name}/{key}", array) for key, array in scales.items()]
        after = [add_initializer(graph, f"{name}/{key}", array) for key, array in arrays.items()]
        return [linear.x, *before, weight, *after]


def _in_steps(graph: ir.Graph, linear: Linear, y_scale: Scale) -> Linear:
    """A product in steps of the quantizer that reads it, which then has the scale 1.

    ONNX Runtime computes both as one QLinearMatMul, `rne(float32(acc) * s) + zero_point`, with this s. Two factors, one
    behind the other, would round twice.
    """
    with np.errstate(over="ignore", under="ignore"):
        factor = linear.x_scale.scale * linear.weight.scale / y_scale.scale
        bias = linear.bias / y_scale.scale
    if not ((np.isfinite(factor) & (factor > 0)).all() and np.isfinite(bias).all()):
        return dataclasses.replace(linear, y_scale=None)
    one = np.ones((), np.float32)
    unit = add_initializer(graph, f"{linear.node.name}/unit", one)
    for quantizer in quantizers_of(linear.y):
        quantizer.replace_input_with(1, unit)
    return dataclasses.replace(
        linear,
        x_scale=dataclasses.replace(linear.x_scale, scale=one),
        weight=dataclasses.replace(linear.weight, scale=factor),
        bias=bias,
        y_scale=None,
    )


def _bytes_in_file(value: ir.Value) -> int:
    """Size of the tensor that a constant comes from, such as the float weight of a fake-quantized model."""
    while value.const_value is None:
        producer = value.producer()
        if producer is None or not producer.inputs or producer.inputs[0] is None:
            break
        value = producer.inputs[0]
    tensor = constant(value)
    return 0 if tensor is None else tensor.nbytes


def _output_like(graph: ir.Graph, linear: Linear) -> ir.Value:
    dtype = ir.DataType.FLOAT if linear.y_scale is None else ir.DataType.from_numpy(linear.y_scale.zero_point.dtype)
    output = ir.Value(name=value_name(graph, f"{linear.node.name}/y"), shape=linear.y.shape)
    set_type(output, dtype)
    return output


def _take_over(linear: Linear, result: ir.Value) -> None:
    """Lets all that read the linear read the QLinear, and removes what nobody reads any more."""
    old = linear.y
    if linear.y_scale is None:
        replace(old, result)
        remove_dead([old.producer()])
        return
    move_shapes(old, result)
    replace_nodes(quantizers_of(old), result)
