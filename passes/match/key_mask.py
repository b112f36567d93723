"""Proves that what a graph adds to attention scores hides exactly the keys whose attention_mask is 0.

Exporters spell this in many ways. Instead of a pattern for each, the part of the graph between the mask and the scores
is cut out (its structure shows that it depends on nothing else but shapes) and run on a few masks of several shapes,
some of them longer than any distance that the graph knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir

from ..ops.arithmetic import quantize
from .constants import Array, constant, int_attribute, is_constant, is_default_domain, is_op
from .dims import Element, dimension, rank_of, same_size, static_size
from .probe_lengths import COMPARISONS, LONGEST, lengths_to_try

HIDING = -9.99e3
"""What is added to a score at this value or below hides the key: exp(-9990) is 0 in float32."""

Role = Literal["added", "hidden", "visible"]

_MASK_TYPES = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL, ir.DataType.FLOAT)
_ALLOWED = {
    *("Add", "And", "Cast", "CastLike", "Clip", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand"),
    *("Flatten", "Gather", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min"),
    *("DequantizeLinear", "QuantizeLinear"),
    *("Mul", "Neg", "Not", "Or", "Range", "Reciprocal", "ReduceMax", "ReduceMin", "ReduceProd", "Reshape", "Shape"),
    *("Sign", "Size", "Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor"),
}
_MAX_NODES = 200
_TOO_MANY = "the mask is computed by too many nodes"
_RAW_RANK = 2
_SHAPES = ((2, 3), (3, 5), (1, 4))


@dataclasses.dataclass
class _Part:
    """The part of a graph that computes a value.

    Attributes:
        nodes: in an order in which they can run.
        masks: graph inputs whose data it reads.
        shapes: outputs of Shape nodes on values outside.
    """

    nodes: list[ir.Node] = dataclasses.field(default_factory=list)
    masks: list[ir.Value] = dataclasses.field(default_factory=list)
    shapes: list[ir.Value] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores that a mask meets.

    Attributes:
        product: `[B, h, S, S]`.
        queries: a value `[B, S, H]`.
        heads: h.
    """

    product: ir.Value
    queries: ir.Value
    heads: int

    def sizes_of(self, value: ir.Value) -> list[Element] | None:
        """The sizes of a value's axes; None if not even their number is known."""
        if _without_scaling(value) is self.product:
            batch, length = (dimension(self.queries, axis) for axis in (0, 1))
            return [batch, self.heads, length, length]
        rank = rank_of(value)
        return None if rank is None else [dimension(value, axis) for axis in range(rank)]


class _UnknownSizeError(Exception):
    """Why a Shape node cannot be given a value."""


def _without_scaling(value: ir.Value) -> ir.Value:
    """The value before elementwise ops with one varying input."""
    node = value.producer()
    while is_op(node, "QuantizeLinear", "DequantizeLinear", "Mul", "Div", "Identity"):
        varying = [source for source in node.inputs if source is not None and not is_constant(source)]  # type: ignore[union-attr]
        if len(varying) != 1:
            break
        value = varying[0]
        node = value.producer()
    return value


def prove_key_mask(value: ir.Value, role: Role, scores: Scores, opset: int) -> ir.Value | str:
    """Finds the raw mask `[B, S]` that a value stands for.

    Args:
        value: broadcastable to `[B, h, S, S]`.
        role: whether it is added to the scores, or says where a key is hidden, or visible.
        scores: what it masks.
        opset: the model's version of the default domain.

    Returns:
        The graph input that holds the raw mask, or a value `[B, S]` that the graph computes; the reason why the value
        is not proven to be one.
    """
    found = _prove(value, role, scores, opset)
    for candidate in _candidates(value, scores) if isinstance(found, str) else ():
        proof = _prove(value, role, scores, opset, candidate)
        if isinstance(proof, ir.Value):
            return proof
    return found


def _candidates(value: ir.Value, scores: Scores) -> list[ir.Value]:
    """Values `[B, S]` behind the mask that the graph computes, the nearest first."""
    waiting, seen, found = [value], {value}, []
    for here in waiting:
        node = here.producer()
        if node is None or is_constant(here) or len(seen) > _MAX_NODES:
            continue
        if rank_of(here) == _RAW_RANK and here.dtype in _MASK_TYPES:
            sizes = [(dimension(here, axis), dimension(scores.queries, axis)) for axis in range(_RAW_RANK)]
            found += [here] if all(same_size(a, b) for a, b in sizes) else []
        fresh = dict.fromkeys(source for source in node.inputs if source is not None and source not in seen)
        waiting += fresh
        seen.update(fresh)
    return found


def _prove(value: ir.Value, role: Role, scores: Scores, opset: int, end: ir.Value | None = None) -> ir.Value | str:
    """The same for one raw mask: a graph input, or `end`."""
    part = _Part()
    reason = _collect(value, part, end)
    if reason is not None:
        return reason
    if len(part.masks) != 1:
        return f"the mask is computed from {len(part.masks)} inputs, expected 1"
    raw = part.masks[0]
    if rank_of(raw) != _RAW_RANK or raw.dtype not in _MASK_TYPES:
        return f"input {raw.name} is not a mask [B, S] of int64, int32, bool or float32"
    try:
        return _Probe(part, raw, role, scores, _evaluator(part, value, raw, opset)).prove() or raw
    except _UnknownSizeError as error:
        return str(error)
    except Exception as error:  # the evaluator raises whatever numpy does: then there is no proof
        return f"the mask cannot be evaluated: {type(error).__name__}: {' '.join(str(error).split())[:120]}"


def _collect(value: ir.Value, part: _Part, end: ir.Value | None) -> str | None:
    """Depth first, up to `end`; a string is the reason why the structure is not that of a mask."""
    done: set[ir.Value] = set()

    def visit(here: ir.Value) -> str | None:
        if here in done or is_constant(here):
            return None
        done.add(here)
        if len(done) > 2 * _MAX_NODES:
            return _TOO_MANY
        node = here.producer() if here is not end else None
        if node is None:
            part.masks.append(here)
            return None if here.is_graph_input() or here is end else f"the mask depends on {here.name}"
        if not is_default_domain(node) or node.op_type not in _ALLOWED:
            return f"the mask depends on {node.op_type}"
        if node.op_type == "Shape":
            part.shapes.append(here)
            return None
        for source in node.inputs:
            reason = visit(source) if source is not None else None
            if reason is not None:
                return reason
        done.update(node.outputs)
        part.nodes.append(node)
        return None if len(part.nodes) <= _MAX_NODES else _TOO_MANY

    return visit(value)


@dataclasses.dataclass(frozen=True)
class _Probe:
    """The part of a graph behind a raw mask, ready to run.

    Attributes:
        part: that part.
        raw: the mask.
        role: what it computes.
        scores: what that masks.
        evaluate: from feeds to the value.
    """

    part: _Part
    raw: ir.Value
    role: Role
    scores: Scores
    evaluate: Callable[[dict[str, Array]], Array]

    def run(self, mask: Array) -> Array:
        """What a mask `[B, S]` makes of the scores, `[B, h, S, S]`."""
        assert self.raw.dtype is not None  # checked by the caller
        batch, length = mask.shape
        feeds = {str(self.raw.name): mask.astype(self.raw.dtype.numpy())}
        feeds |= {
            f"{shape.name}": _probe_sizes(shape, self.scores, self.raw, batch, length) for shape in self.part.shapes
        }
        return np.broadcast_to(self.evaluate(feeds), (batch, self.scores.heads, length, length))

    def compare(self, mask: Array) -> str | None:
        """How what it computes differs from hiding the keys whose mask is 0."""
        found = self.run(mask)
        return _compare(found, np.broadcast_to((mask == 0)[:, None, None, :], found.shape), self.role)

    def prove(self) -> str | None:
        """Why the part is not proven to hide exactly those keys."""
        masks = (mask for batch, length in _shapes(self.raw) for mask in _masks(batch, length))
        reason = next(filter(None, map(self.compare, masks)), None)
        return reason or self._by_position() or self._by_other_values()

    def _by_position(self) -> str | None:
        """The same of sequences so long that a window would show."""
        batch, length = (static_size(self.raw, axis) for axis in range(_RAW_RANK))
        lengths = lengths_to_try(self.part.nodes, self.raw) if length is None else []
        if lengths is None:
            return f"the mask may depend on positions more than {LONGEST} apart"
        for longest in lengths:
            try:
                return next(filter(None, map(self.compare, _masks(batch or 1, longest))), None)
            except Exception:  # longer than a table, as a sequence would be: the evaluator raises whatever numpy does
                continue
        return "the mask depends on positions" if lengths else None

    def _by_other_values(self) -> str | None:
        """The same of values other than 0 and 1, as far as the graph means something by them.

        Most graphs compute `1 - mask`: they mean nothing by other values, and it does not matter what becomes of those.
        One that tells keys or queries apart by them, or compares with a number, does; negative ones aside.
        """
        numbers = {ir.DataType.BOOL: (), ir.DataType.FLOAT: (2.0, 0.25, -1.0)}.get(self.raw.dtype, (2, -1))  # type: ignore[arg-type]
        batch, length = _shapes(self.raw)[0]
        for number in numbers:
            mask = np.resize([number, 0, 1, 1, number], (batch, length))
            if self.compare(mask) is None:
                continue
            found = self.run(mask)
            is_by_key = np.array_equal(found, np.broadcast_to(found[:, :1, :1], found.shape))
            if not is_by_key or (number > 0 and _compares(self.part.nodes, self.raw)):
                return f"the mask does not show keys of attention_mask {number}"
        return None


def _compares(nodes: list[ir.Node], raw: ir.Value) -> bool:
    """Whether a value of the raw mask is compared with something."""
    computed = {raw}
    for node in nodes:
        if not computed.isdisjoint(value for value in node.inputs if value is not None):
            if node.op_type in COMPARISONS:
                return True
            computed.update(node.outputs)
    return False


def _shapes(raw: ir.Value) -> list[tuple[int, int]]:
    """Sizes to try: those of the model, where it has only one."""
    batch, length = (static_size(raw, axis) for axis in range(_RAW_RANK))
    return list(dict.fromkeys((batch or some, length or others) for some, others in _SHAPES))


def _compare(found: Array, hidden: Array, role: Role) -> str | None:
    if role != "added":
        is_hidden = found.astype(bool) if role == "hidden" else ~found.astype(bool)
        return None if np.array_equal(is_hidden, hidden) else "the mask hides other keys than those of attention_mask 0"
    if found.dtype != np.float32:
        return f"the mask is added as {found.dtype}, expected float32"
    if not np.array_equal(found <= HIDING, hidden):
        return "the mask hides other keys than those of attention_mask 0"
    return None if (found[~hidden] == 0).all() else "the mask adds something to keys that are not hidden"


def _masks(batch: int, length: int) -> list[Array]:
    """Right padding, left padding, holes; every sequence has a visible key."""
    rng = np.random.default_rng(length)
    ends = rng.integers(1, length + 1, batch)
    right = (np.arange(length) < ends[:, None]).astype(np.int64)
    holes = rng.integers(0, 2, (batch, length))
    holes[:, rng.integers(0, length)] = 1
    return [np.ones((batch, length), np.int64), right, right[:, ::-1].copy(), holes]


def _probe_sizes(shape: ir.Value, scores: Scores, raw: ir.Value, batch: int, length: int) -> Array:
    """What a Shape node yields when the raw mask is `[batch, length]`."""
    node = shape.producer()
    source = node.inputs[0] if node is not None else None
    found = scores.sizes_of(source) if source is not None else None
    if node is None or source is None or found is None:
        raise _UnknownSizeError(f"the rank behind {shape.name} is unknown")
    sizes = []
    for axis, size in enumerate(found):
        if isinstance(size, int):
            sizes.append(size)
        elif same_size(size, dimension(raw, 0)):
            sizes.append(batch)
        elif same_size(size, dimension(raw, 1)):
            sizes.append(length)
        else:
            raise _UnknownSizeError(f"axis {axis} of {source.name} is not known to be batch or length")
    start, end = int_attribute(node, "start", 0), int_attribute(node, "end", len(sizes))
    return np.array(sizes[start:end], np.int64)


def _quantizer_ops() -> list[Any]:
    """Q and DQ of one scale; onnx has them only for opsets from 19 on."""
    import onnx.reference.op_run

    class QuantizeLinear(onnx.reference.op_run.OpRun):
        op_domain = ""

        def _run(self, x: Array, scale: Array, zero_point: Array, **attributes: Any) -> tuple[Array]:
            del attributes
            with np.errstate(over="ignore"):  # what leaves the range is clamped
                return (quantize(x, scale, zero_point),)

    class DequantizeLinear(onnx.reference.op_run.OpRun):
        op_domain = ""

        def _run(self, x: Array, scale: Array, zero_point: Array, **attributes: Any) -> tuple[Array]:
            del attributes
            return (np.asarray((x.astype(np.int32) - zero_point.astype(np.int32)).astype(np.float32) * scale),)

    return [QuantizeLinear, DequantizeLinear]


def _evaluator(part: _Part, value: ir.Value, raw: ir.Value, opset: int) -> Callable[[dict[str, Array]], Array]:
    """A function from feeds to the value, by onnx's reference implementation."""
    import onnx.reference

    constants: dict[str, onnx.TensorProto] = {}
    for node in part.nodes:
        for source in node.inputs:
            array = constant(source) if source is not None and is_constant(source) else None
            if source is not None and array is not None:
                constants[str(source.name)] = onnx.numpy_helper.from_array(array.copy(), str(source.name))
    nodes = [ir.serde.serialize_node(node) for node in part.nodes]
    kinds = {str(raw.name): int(raw.dtype or 0), **{str(s.name): onnx.TensorProto.INT64 for s in part.shapes}}
    inputs = [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    output = onnx.helper.make_tensor_value_info(str(value.name), int(value.dtype or 0), None)
    graph = onnx.helper.make_graph(nodes, "mask", inputs, [output], list(constants.values()))
    evaluator = onnx.reference.ReferenceEvaluator(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)]), new_ops=_quantizer_ops()
    )

    def evaluate(feeds: dict[str, Array]) -> Array:
        with np.errstate(all="ignore"):  # of numbers that hide keys, twice as low is infinite
            results: Any = evaluator.run(None, feeds)
        return np.asarray(results[0])

    return evaluate
