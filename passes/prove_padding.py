"""Proves that no output of a model shows what encoders compute at right padding, and tells the library."""

from __future__ import annotations

import dataclasses
from typing import Literal

import onnx_ir as ir

from .base import CountingPass
from .errors import ConversionError
from .match import padded_axes, padded_elementwise
from .match.constants import is_constant, is_default_domain, is_op
from .match.dims import dimension, rank_of, same_size
from .match.padded import AtPadding, ByToken, Content, Lost, State, combine, content_of, differs, is_finite, is_number
from .ops import DOMAIN
from .ops.attention import SKIP_PADDING
from .ops.registry import find_op

PaddingMode = Literal["auto", "skip", "compute"]

METADATA_KEY = "fastep.padding"
"""Of the model's metadata: what was decided, in words, for `fastep doctor`."""

NOT_SHARED = "the attention nodes do not share one mask [B, S] that is an input of the model"

_TOKENS = (-3, -2)  # of `[B, S, features]`
_OPTION = "pass skip_padding=1 if nothing reads it"


@dataclasses.dataclass(frozen=True)
class Padding:
    """What was decided about right padding.

    Attributes:
        skipped: whether the library leaves it out by default.
        reason: why, or why not.
    """

    skipped: bool
    reason: str

    @property
    def text(self) -> str:
        """As reports show it."""
        return f"skipped ({self.reason})" if self.skipped else f"computed: {self.reason}"


class ProvePaddingPass(CountingPass):
    """Marks the attention nodes of a model whose outputs do not show right padding with `skip_padding`.

    Args:
        mode: `auto` marks where it is proven, `skip` without a proof, `compute` never.

    Attributes:
        padding: what was decided; None in a model without fused attention.
    """

    def __init__(self, mode: PaddingMode = "auto") -> None:
        super().__init__()
        self._mode = mode
        self.padding: Padding | None = None

    def rewrite(self, model: ir.Model) -> int:
        """Marks all attention nodes, or none."""
        attentions = [node for node in model.graph if _is_attention(node)]
        self.padding = self._decide(model.graph, attentions) if attentions or self._mode == "skip" else None
        if self.padding is None:
            return 0
        model.metadata_props[METADATA_KEY] = self.padding.text
        if not self.padding.skipped:
            return 0
        unmarked = [node for node in attentions if SKIP_PADDING not in node.attributes]
        for node in unmarked:
            node.attributes.add(ir.AttrInt64(SKIP_PADDING, 1))
        return len(unmarked)

    def _decide(self, graph: ir.Graph, attentions: list[ir.Node]) -> Padding:
        if self._mode == "compute":
            return Padding(False, "as it was asked for")
        mask = _shared_mask(attentions)
        if mask is None:
            problem = NOT_SHARED if attentions else "no attention is fused"
            if self._mode == "skip":
                remedy = "convert with --padding auto: the report says what keeps attention, or its mask, as it is"
                raise ConversionError(f"padding cannot be skipped: {problem}", node="model", remedy=remedy)
            return Padding(False, problem)
        return Padding(True, "declared by the user") if self._mode == "skip" else prove(graph, mask)


def prove(graph: ir.Graph, mask: ir.Value) -> Padding:
    """Follows what stands at right padding of `mask` from the fused nodes to the outputs of the graph.

    Args:
        graph: with fused nodes; all of its attention nodes read `mask`.
        mask: `[B, S]`, an input of the graph.
    """
    walk = _Walk(graph, mask)
    for node in graph:
        walk.visit(node)
    for output in graph.outputs:
        state = walk.states.get(output)
        if isinstance(state, Lost):
            return Padding(False, f"output '{output.name}' may show it ({state.reason}); {_OPTION}")
        if differs(state):
            return Padding(False, f"output '{output.name}' shows it; {_OPTION}")
    return Padding(True, f"proven: {' and '.join(sorted(walk.ends)) or 'no output depends on it'}")


class _Walk:
    """The states of all values, node by node.

    Attributes:
        states: of the values that have one.
        ends: how differences ended, in words.
    """

    def __init__(self, graph: ir.Graph, mask: ir.Value) -> None:
        self._mask = mask
        self._encoders = _connected_to_attention(graph)
        self.states: dict[ir.Value, State] = {mask: ByToken(-2, -1, 0.0)}
        self.ends: set[str] = set()

    def visit(self, node: ir.Node) -> None:
        """Adds the states of a node's outputs."""
        before = [self.states.get(value) if value is not None else None for value in node.inputs]
        after = self._follow(node, before)
        if any(map(differs, before)) and not differs(after) and node.op_type not in ("Shape", "Size"):
            is_cut = node.op_type in ("Gather", "GatherElements", "Slice")
            self.ends.add("first token" if is_cut else f"pooled by {self._mask.name}")
        if after is not None:
            self.states.update(dict.fromkeys(node.outputs, after))

    def _follow(self, node: ir.Node, before: list[State]) -> State:
        inner = next((s for s in map(self.states.get, _values_inside(node)) if differs(s)), None)
        if inner is not None:
            return Lost(f"{node.op_type} reads it inside")
        lost = next((state for state in before if isinstance(state, Lost)), None)
        if lost is not None:
            return None if node.op_type in ("Shape", "Size") else lost
        if node.domain == DOMAIN:
            return self._follow_fused(node, before)
        if is_default_domain(node) and node.op_type in padded_elementwise.OPS:
            return padded_elementwise.follow(node, before)
        if is_op(node, "ScatterND"):
            return self._follow_scatter(node, before)
        if is_default_domain(node) and node.op_type in padded_axes.OPS:
            return padded_axes.follow(node, before)
        return Lost(f"{node.op_type} is not followed") if any(map(differs, before)) else None

    def _follow_scatter(self, node: ir.Node, before: list[State]) -> State:
        """Entries chosen by a condition are overwritten: `x[mask == 0] = y`."""
        x, *others = before
        if any(map(differs, others)):
            return Lost("ScatterND of values at right padding")
        if not isinstance(x, ByToken):
            return None
        reduction = node.attributes.get("reduction")
        if reduction is not None and reduction.as_string() != "none":
            return Lost(f"ScatterND with {reduction.as_string()}") if x.differs else _with(x, Content.SAME)
        if self._overwrites(node, x):
            return _with(x, Content.SAME)
        return _with(x, combine([x.at_padding, content_of(node.inputs[2], before[2])]))

    def _overwrites(self, node: ir.Node, x: ByToken) -> bool:
        """Whether ScatterND writes all entries at right padding."""
        condition, target = _condition_of(node.inputs[1]), node.inputs[0]
        state = self.states.get(condition) if condition is not None else None
        if condition is None or target is None or not isinstance(state, ByToken) or state.axes != x.axes:
            return False
        is_true = is_number(state.at_padding) and state.at_padding != 0.0
        return is_true and rank_of(condition) == rank_of(target) and _has_shape_of(condition, target)

    def _follow_fused(self, node: ir.Node, before: list[State]) -> State:
        """Nodes of an encoder begin to differ; others map each row on its own."""
        found = [state for state in before if isinstance(state, ByToken) and state.differs]
        if node in self._encoders:
            if any(state.axes != _TOKENS for state in found):
                return Lost(f"{node.op_type} mixes tokens")
            return ByToken(*_TOKENS, _finite_of(found))
        if not found:
            return None
        if len({state.axes for state in found}) > 1 or -1 in found[0].axes or "Attention" in node.op_type:
            return Lost(f"{node.op_type} mixes tokens")
        return ByToken(*found[0].axes, _finite_of(found))


def _condition_of(indices: ir.Value | None) -> ir.Value | None:
    """What is true where ScatterND writes: the indices are all of its places, Transpose(NonZero(condition))."""
    turned = indices.producer() if indices is not None else None
    if turned is None or not is_op(turned, "Transpose") or turned.inputs[0] is None:
        return None
    is_swap = "perm" not in turned.attributes or list(turned.attributes["perm"].as_ints()) == [1, 0]
    found = turned.inputs[0].producer()
    return found.inputs[0] if found is not None and is_op(found, "NonZero") and is_swap else None


def _has_shape_of(value: ir.Value, target: ir.Value) -> bool:
    """Whether a condition has an entry for each of a value of the same rank: it has the same sizes, or its shape."""
    axes = range(rank_of(target) or 0)
    if all(same_size(dimension(value, axis), dimension(target, axis)) for axis in axes):
        return True
    node = value.producer()
    while node is not None and is_default_domain(node) and node.op_type in padded_elementwise.OPS:
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    shape = node.inputs[1].producer() if node is not None and is_op(node, "Expand") and node.inputs[1] else None
    return shape is not None and is_op(shape, "Shape") and not shape.attributes and shape.inputs[0] is target


def _with(x: ByToken, content: AtPadding) -> ByToken:
    return dataclasses.replace(x, at_padding=content)


def _finite_of(states: list[ByToken]) -> Content:
    """What a fused op makes of finite values is finite."""
    return Content.FINITE if all(is_finite(state.at_padding) for state in states) else Content.ANY


def _is_attention(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type.split("_")[0].endswith("Attention")


def _shared_mask(attentions: list[ir.Node]) -> ir.Value | None:
    """The one input `[B, S]` that all of them hide keys by."""
    masks = {_mask_of(node) for node in attentions}
    mask = next(iter(masks)) if len(masks) == 1 else None
    return mask if mask is not None and mask.is_graph_input() and not is_constant(mask) else None


def _mask_of(node: ir.Node) -> ir.Value | None:
    if not node.op_type.endswith("_mask"):
        return None
    found = find_op(node.op_type)
    return node.inputs[found.inputs.index("mask")] if found is not None else None


def _connected_to_attention(graph: ir.Graph) -> set[ir.Node]:
    """The fused nodes that may be part of one plan with an attention: those that compute for one another."""
    fused = [node for node in graph if node.domain == DOMAIN]
    neighbours: dict[ir.Node, list[ir.Node]] = {node: [] for node in fused}
    for node in fused:
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if producer is not None and producer in neighbours:
                neighbours[node].append(producer)
                neighbours[producer].append(node)
    found: set[ir.Node] = set()
    waiting = [node for node in fused if _is_attention(node)]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += neighbours[node]
    return found


def _values_inside(node: ir.Node) -> list[ir.Value]:
    """What the graphs in a node's attributes read, from outside or of their own."""
    graphs = [graph for attribute in node.attributes.values() for graph in _graphs_of(attribute)]
    found: list[ir.Value] = []
    for graph in graphs:
        found += list(graph.outputs)
        for inner in graph:
            found += [value for value in inner.inputs if value is not None]
            found += _values_inside(inner)
    return found


def _graphs_of(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return list(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else []
