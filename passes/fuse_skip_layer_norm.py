"""Fuses a residual and the LayerNormalization behind it into SkipLayerNorm."""

from __future__ import annotations

import onnx_ir as ir

from .base import CountingPass, Refusal
from .match.constants import constant, is_default_domain, is_op
from .match.dims import dimension, rank_of, same_size, static_size
from .match.layer_norm import LayerNorm, match_layer_norm
from .match.quantizers import only_consumer, without_rounding
from .norm_outputs import outputs_for, put
from .ops import DOMAIN
from .ops.skip_layer_norm import Variant

_MAX_BLOCK_NODES = 400
_CUTS = ("ArgMax", "ArgMin", "Concat", "Gather", "Slice", "Split")
# Nothing is known of the tokens of their outputs.
_OF_OTHER_SIZES = (
    *("AveragePool", "Compress", "ConstantOfShape", "Conv", "ConvTranspose", "Expand", "GatherElements", "GatherND"),
    *("GlobalAveragePool", "GlobalMaxPool", "MaxPool", "NonZero", "Pad", "Resize", "Shape", "Size", "Tile", "TopK"),
)
# A product has the rows of its first operand; of the others the rest are indices, shapes and bounds.
_OF_THE_FIRST = (
    *("Gather", "Gemm", "MatMul", "Reshape", "ScatterElements", "ScatterND", "Slice", "Split", "Squeeze", "Unsqueeze"),
)


class FuseSkipLayerNormPass(CountingPass):
    """Every LayerNormalization of a sum of two becomes a SkipLayerNorm; `refusals` has the others."""

    def rewrite(self, model: ir.Model) -> int:
        """Fuses all in the main graph."""
        count = 0
        for node in list(model.graph):
            norm = match_layer_norm(node)
            if norm is None:
                continue
            reason = norm if isinstance(norm, str) else _why_not(norm)
            if reason is not None or isinstance(norm, str):
                self.refusals.append(Refusal(node.name or "", reason or ""))
                continue
            _fuse(norm)
            count += 1
        return count


def _why_not(norm: LayerNorm) -> str | None:
    """Why a normalization is not one of a residual sum; None if it is."""
    add = norm.x.producer()
    if add is None or not is_op(add, "Add"):
        return "no residual is added before it"
    if norm.x.is_graph_output() or any(use.node not in _readers(norm) for use in norm.x.uses()):
        return "the sum before it is used elsewhere"
    sides = [value for value in add.inputs if value is not None]
    features = norm.gamma.size
    if len(sides) != 2 or any(side.dtype not in (None, ir.DataType.FLOAT) for side in sides):
        return "the sum before it is not float32"
    ranks = {rank_of(side) for side in sides}
    if len(ranks) != 1 or None in ranks or any(static_size(side, -1) != features for side in sides):
        return "the sum before it is not known to be one of equal shapes"
    if not _have_one_shape(sides[0], sides[1]):
        return "the sum before it may broadcast"
    return None


def _readers(norm: LayerNorm) -> set[ir.Node]:
    """The nodes of the normalization that read its input: one, or mean and difference."""
    found = {norm.node}
    if is_op(norm.node, "ReduceMean"):
        consumer = only_consumer(norm.node.outputs[0])
        if consumer is not None:
            found.add(consumer)
    return found


def _have_one_shape(a: ir.Value, b: ir.Value) -> bool:
    """Whether no side of the sum is repeated.

    Either the sizes are known to be equal, or one side is computed from the other: a residual block.
    """
    axes = range((rank_of(a) or 1) - 1)
    if all(same_size(dimension(a, axis), dimension(b, axis)) for axis in axes):
        return True
    sizes = [(static_size(a, axis), static_size(b, axis)) for axis in axes]
    if any(x != y and 1 in (x, y) for x, y in sizes) or any(None not in pair and pair[0] != pair[1] for pair in sizes):
        return False
    return _is_computed_from(a, b) or _is_computed_from(b, a)


def _is_computed_from(value: ir.Value, source: ir.Value) -> bool:
    """Whether the data of a value comes from another one, through ops that keep all of its tokens."""
    origin = without_rounding(source)
    producer = origin.producer()
    if producer is not None and is_op(producer, "DequantizeLinear") and producer.inputs[0] is not None:
        origin = producer.inputs[0]
    seen: set[ir.Value] = set()
    waiting: list[ir.Value] = [value]
    while waiting and len(seen) < _MAX_BLOCK_NODES:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        node = here.producer()
        if here is not value and (here is origin or (node is not None and node is origin.producer())):
            return True
        waiting += _sources_of_all_tokens(node) if node is not None else []
    return False


def _sources_of_all_tokens(node: ir.Node) -> list[ir.Value]:
    """The inputs of a node whose tokens the output has: no more, and no single one that a sum would repeat."""
    is_cut = is_default_domain(node) and (node.op_type.startswith("Reduce") or node.op_type in _CUTS)
    if is_op(node, *_OF_OTHER_SIZES) or (is_cut and not _keeps_tokens(node)):
        return []
    count = 1 if is_op(node, *_OF_THE_FIRST) else len(node.inputs)
    return [source for source in node.inputs[:count] if source is not None]


def _keeps_tokens(node: ir.Node) -> bool:
    """Whether an op cuts only axes whose sizes are known before the run, or more than one entry out of an axis."""
    source, y, axes = node.inputs[0], node.outputs[0], _axes_of(node)
    if source is None or not axes:
        return False
    has_axes = is_op(node, "Concat", "Slice", "Split")
    left = [static_size(y, axis) if has_axes else None for axis in axes]
    return all(
        static_size(source, axis) is not None or size not in (None, 1) for axis, size in zip(axes, left, strict=True)
    )


def _axes_of(node: ir.Node) -> list[int] | None:
    """The axes that an op cuts; None if they are not known."""
    attribute = node.attributes.get("axes") or node.attributes.get("axis")
    if attribute is not None:
        return [*attribute.as_ints()] if attribute.name == "axes" else [attribute.as_int()]
    if is_op(node, "Gather", "Split", "ArgMax", "ArgMin"):
        return [0]
    index = 3 if is_op(node, "Slice") else 1
    axes = constant(node.inputs[index]) if index < len(node.inputs) else None
    return None if axes is None else [int(axis) for axis in axes.reshape(-1)]


def _fuse(norm: LayerNorm) -> None:
    variant = Variant(outputs_for(norm.y)[0])
    add = norm.x.producer()
    assert add is not None  # _why_not
    sides = [value for value in add.inputs if value is not None]
    if not _ends_a_block(sides[0]) and _ends_a_block(sides[1]):
        sides.reverse()
    put(norm, variant.name, sides, {})


def _ends_a_block(value: ir.Value) -> bool:
    """Whether a value comes out of a linear: it is x then, the other side the residual."""
    node = value.producer()
    return node is not None and node.domain == DOMAIN and node.op_type.startswith("QLinear_")
