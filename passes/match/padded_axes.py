"""Right padding through ops that move, cut, reduce or multiply axes: where sequences and tokens stand afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import onnx_ir as ir

from .constants import constant, int_attribute, is_op
from .dims import Element, dimension, elements, rank_of, same_size, static_size
from .padded import ByToken, Content, FirstVisible, Lost, State, content_of, is_finite, is_zero, join

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_MAY_BE_INFINITE = ("ReduceLogSum", "ReduceLogSumExp")


def follow(node: ir.Node, states: list[State]) -> State:
    """The state of the outputs of one of `OPS`: of its first input that has tokens, if that is followed.

    Args:
        node: the op.
        states: of its inputs, none of them lost.
    """
    if node.op_type in _MOVES and isinstance(states[0], FirstVisible):
        return _move_positions(node, states)
    tokens = [state for state in states if isinstance(state, ByToken)]
    if not tokens:
        return None
    found = _RULES[node.op_type](node, states)
    if isinstance(found, Lost) and not any(state.differs for state in tokens):
        return None  # what the two runs have in common may be computed in any way
    return found


def _lost(node: ir.Node, why: str) -> Lost:
    return Lost(f"{node.op_type} {why}")


def _at(axis: int, rank: int) -> int:
    """An axis counted from the end."""
    return axis if axis < 0 else axis - rank


def _ints(node: ir.Node, index: int, attribute: str) -> list[int] | None:
    """Axes and the like: an input since some opset, an attribute before."""
    given = node.attributes.get(attribute)
    if given is not None:
        return [int(x) for x in given.as_ints()]
    array = constant(node.inputs[index]) if index < len(node.inputs) else None
    return None if array is None else [int(x) for x in array.reshape(-1)]


def _first(node: ir.Node, states: list[State]) -> tuple[ByToken, int] | None:
    """The state of the first input and its rank, where all others are parameters."""
    x, rank = states[0], rank_of(node.inputs[0])
    if not isinstance(x, ByToken) or rank is None or any(isinstance(state, ByToken) for state in states[1:]):
        return None
    return x, rank


def _per_feature(node: ir.Node, states: list[State]) -> State:
    """Ops along an axis that leave the shape as it is."""
    found = _first(node, states)
    default = 0 if node.op_type == "Split" else -1
    if found is None or _at(int_attribute(node, "axis", default), found[1]) in found[0].axes:
        return _lost(node, "along the tokens")
    x, rank = found
    if node.op_type == "Split":
        return x
    if node.op_type == "LayerNormalization" and _at(int_attribute(node, "axis", -1), rank) <= max(x.axes):
        return _lost(node, "along the tokens")
    epsilon = node.attributes.get("epsilon")
    divides_by_zero = epsilon is not None and epsilon.as_float() <= 0
    others = [content_of(value, None) for value in node.inputs[1:]]
    return _of_features(x, is_finite=not divides_by_zero and all(map(is_finite, others)))


def _reduce(node: ir.Node, states: list[State]) -> State:
    found = _first(node, states)
    axes = _ints(node, 1, "axes")
    if found is None or not axes:
        return _lost(node, "over all axes")
    x, rank = found
    reduced = {_at(axis, rank) for axis in axes}
    if reduced & {x.batch, x.token}:
        return _lost(node, "over tokens, right padding among them")
    gone = reduced if not int_attribute(node, "keepdims", 1) else set()
    moved = [axis + sum(other > axis for other in gone) for axis in x.axes]
    return _of_features(ByToken(moved[0], moved[1], x.at_padding), is_finite=node.op_type not in _MAY_BE_INFINITE)


def _gather(node: ir.Node, states: list[State]) -> State:
    found = _first(node, states)
    picks = constant(node.inputs[1])
    if found is None or picks is None:
        return _lost(node, "by indices that only a run knows")
    x, rank = found
    axis = _at(int_attribute(node, "axis", 0), rank)
    if axis == x.token:
        return None if picks.size and (picks == 0).all() else _lost(node, "of tokens other than the first")
    if axis == x.batch:
        return _lost(node, "of sequences")
    return _moved(x, lambda a: a - (picks.ndim - 1) if a < axis else a)


def _slice(node: ir.Node, states: list[State]) -> State:
    found = _first(node, states)
    starts, ends = (_ints(node, i, name) for i, name in ((1, "starts"), (2, "ends")))
    if found is None or starts is None or ends is None:
        return _lost(node, "with bounds that only a run knows")
    x, rank = found
    axes = _ints(node, 3, "axes") if len(node.inputs) > 3 or "axes" in node.attributes else list(range(len(starts)))
    steps = _ints(node, 4, "steps") if len(node.inputs) > 4 else [1] * len(starts)
    if axes is None or steps is None:
        return _lost(node, "of axes that only a run knows")
    first_only = False
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if _at(axis, rank) not in x.axes or ((start, step) == (0, 1) and end >= 2**31 - 1):
            continue
        if _at(axis, rank) == x.batch or (start, end, step) != (0, 1, 1):
            return _lost(node, "of tokens other than the first")
        first_only = True
    return None if first_only else x


def _transpose(node: ir.Node, states: list[State]) -> State:
    found = _first(node, states)
    if found is None:
        return _lost(node, "of a value of unknown rank")
    x, rank = found
    permutation = node.attributes["perm"].as_ints() if "perm" in node.attributes else list(range(rank))[::-1]
    return _moved(x, lambda a: list(permutation).index(a + rank) - rank)


def _unsqueeze(node: ir.Node, states: list[State]) -> State:
    found = _first(node, states)
    axes = _ints(node, 1, "axes")
    if found is None or axes is None:
        return _lost(node, "of a value of unknown rank")
    x, rank = found
    new = rank + len(axes)
    added = {axis % new for axis in axes}
    kept = [axis for axis in range(new) if axis not in added]
    return _moved(x, lambda a: kept[a + rank] - new)


def _squeeze(node: ir.Node, states: list[State]) -> State:
    found = _first(node, states)
    axes = _ints(node, 1, "axes")
    if found is None or not axes:
        return _lost(node, "of axes that only a run knows")
    x, rank = found
    gone = {axis % rank for axis in axes}
    if gone & {a + rank for a in x.axes}:
        return _lost(node, "of tokens")
    kept = [axis for axis in range(rank) if axis not in gone]
    return _moved(x, lambda a: kept.index(a + rank) - len(kept))


def _expand(node: ir.Node, states: list[State]) -> State:
    """Axes are counted from the end, where broadcasting starts."""
    found = _first(node, states)
    return _lost(node, "of a value of unknown rank") if found is None else found[0]


def _reshape(node: ir.Node, states: list[State]) -> State:
    """Followed where all axes up to that of the tokens stay: `[B, S, ...]` to `[B, S, ...]`."""
    found, sizes, source = _first(node, states), elements(node.inputs[1]), node.inputs[0]
    if found is None or sizes is None or source is None:
        return _lost(node, "to a shape that only a run knows")
    x, rank = found
    last = max(x.axes) + rank
    if last >= len(sizes) or not _keeps(node, source, sizes, last):
        return _lost(node, "of tokens")
    return _moved(x, lambda a: a + rank - len(sizes))


def _keeps(node: ir.Node, source: ir.Value, sizes: list[Element], last: int) -> bool:
    """Whether axes 0..last keep their sizes; one of them may be what remains if all features do."""
    allow_zero = int_attribute(node, "allowzero", 0)
    open_axes = [axis for axis in range(last + 1) if sizes[axis] == -1]
    for axis in range(last + 1):
        is_kept = (sizes[axis] == 0 and not allow_zero) or same_size(sizes[axis], dimension(source, axis))
        if axis not in open_axes and not is_kept:
            return False
    if not open_axes:
        return True
    rank = rank_of(source) or 0
    features = [static_size(source, axis) for axis in range(last + 1, rank)]
    return len(open_axes) == 1 and None not in features and _product(features) == _product(sizes[last + 1 :])


def _product(sizes: list[int | None] | list[Element]) -> int | None:
    total = 1
    for size in sizes:
        if not isinstance(size, int) or size < 1:
            return None
        total *= size
    return total


def _concat(node: ir.Node, states: list[State]) -> State:
    """Of features; where all or none have tokens."""
    found = [state for state in states if isinstance(state, ByToken)]
    rank = rank_of(node.inputs[0])
    if rank is None or len({state.axes for state in found}) > 1:
        return _lost(node, "of values whose tokens stand at different axes")
    if _at(int_attribute(node, "axis", 0), rank) in found[0].axes:
        return _lost(node, "along the tokens")
    contents = map(content_of, node.inputs, states)
    return dataclasses.replace(found[0], at_padding=join(contents))


def _matmul(node: ir.Node, states: list[State]) -> State:
    """Products over features keep tokens; products over tokens need zeros at right padding on one side."""
    left, right = states[0], states[1]
    ranks = [rank_of(value) for value in node.inputs[:2]]
    if None in ranks or min(rank or 0 for rank in ranks) < 2 or any(s is not None for s in states[2:]):
        return _lost(node, "of values of unknown rank")
    if isinstance(left, ByToken) and isinstance(right, ByToken):
        subtracts = len(node.inputs) > 2  # zero points of integers: what is 0 is none any more
        hidden = (left.axes, right.axes) == ((-3, -1), (-3, -2)) and _hides(left, right)
        return None if hidden and not subtracts else _lost(node, "of tokens with tokens")
    x, contracted = (left, -1) if isinstance(left, ByToken) else (right, -2)
    if not isinstance(x, ByToken) or contracted in x.axes or (x is right and x.token != -1):
        return _lost(node, "over tokens, right padding among them")
    other = content_of(node.inputs[1], right) if x is left else content_of(node.inputs[0], left)
    return _of_features(x, is_finite=is_finite(other)) if x.differs else None


def _hides(left: ByToken, right: ByToken) -> bool:
    pair = (left.at_padding, right.at_padding)
    return any(map(is_zero, pair)) and Content.ANY not in pair


def _of_features(x: ByToken, *, is_finite: bool) -> ByToken:
    """After an op that makes numbers out of several features: finite only of finite ones, if at all."""
    if not x.differs:
        return dataclasses.replace(x, at_padding=Content.SAME)
    return dataclasses.replace(
        x, at_padding=Content.FINITE if is_finite and x.at_padding is Content.FINITE else Content.ANY
    )


def _moved(x: ByToken, move: Callable[[int], int]) -> ByToken:
    return ByToken(move(x.batch), move(x.token), x.at_padding)


def _first_visible(node: ir.Node, states: list[State]) -> State:
    """ArgMax of a mask that is 0 at right padding; not one of the other values may be below."""
    found = _first(node, states)
    if found is None or found[0].at_padding != 0.0 or not _is_mask(node.inputs[0]):
        return _lost(node, "of values with tokens")
    x, rank = found
    keeps = int_attribute(node, "keepdims", 1)
    if _at(int_attribute(node, "axis", 0), rank) != x.token or int_attribute(node, "select_last_index", 0):
        return None
    return FirstVisible(x.batch if keeps or x.batch > x.token else x.batch + 1)


def _is_mask(value: ir.Value | None) -> bool:
    """Whether this is an input of the graph, in whatever type."""
    wide = (ir.DataType.INT32, ir.DataType.INT64, ir.DataType.FLOAT)
    while value is not None and is_op(value.producer(), "Cast", "Identity"):
        node = value.producer()
        if node is None or (node.op_type == "Cast" and ir.DataType(int_attribute(node, "to", 0)) not in wide):
            return False
        value = node.inputs[0]
    return value is not None and value.is_graph_input()


def _gather_elements(node: ir.Node, states: list[State]) -> State:
    x, places = states[0], states[1]
    rank = rank_of(node.inputs[0])
    if not isinstance(x, ByToken) or not isinstance(places, FirstVisible) or rank is None:
        return _lost(node, "by indices that only a run knows")
    is_along_tokens = _at(int_attribute(node, "axis", 0), rank) == x.token
    return None if is_along_tokens and places.batch == x.batch else _lost(node, "of other axes")


def _move_positions(node: ir.Node, states: list[State]) -> State:
    """Positions through ops that move axes: as a value with tokens whose only axis is that of sequences."""
    assert isinstance(states[0], FirstVisible)
    batch = states[0].batch
    moved = _RULES[node.op_type](node, [ByToken(batch, batch, Content.FINITE), *states[1:]])
    return FirstVisible(moved.batch) if isinstance(moved, ByToken) else None


def _shape(node: ir.Node, states: list[State]) -> State:
    del node, states
    return None


_RULES: dict[str, Callable[[ir.Node, list[State]], State]] = {
    "Concat": _concat,
    "Expand": _expand,
    "ArgMax": _first_visible,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "LayerNormalization": _per_feature,
    "LogSoftmax": _per_feature,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _shape,
    "Slice": _slice,
    "Softmax": _per_feature,
    "Split": _per_feature,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    **{f"Reduce{name}": _reduce for name in _REDUCTIONS},
}

_MOVES = ("Expand", "Squeeze", "Transpose", "Unsqueeze")

OPS = set(_RULES)
"""Ops that are followed here."""
