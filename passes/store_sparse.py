"""Stores the weights of QLinear as blocks where that takes fewer bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from . import storage
from .base import CountingPass
from .edit import add_initializer
from .fuse_qlinear import named_inputs, qlinear_nodes
from .match.constants import Array, constant
from .ops.qlinear import Variant

STRUCTURE = "fastep.structure"
"""Key of a QLinear node's `meta`: the `storage.Structure` of its weight."""


@dataclasses.dataclass(frozen=True)
class _Stored:
    structure: storage.Structure
    blocks: ir.Value | None = None
    gaps: ir.Value | None = None


class StoreSparsePass(CountingPass):
    """Measures the zeros of every dense QLinear and replaces it by the sparse variant if its storage is smaller.

    Weights with a zero point other than 0 (or 128 for u8, the same weight) stay dense: a zero byte is not a zero there.
    """

    def rewrite(self, model: ir.Model) -> int:
        """Chooses the storage of every weight."""
        graph, count = model.graph, 0
        stored: dict[tuple[ir.Value, bool], _Stored] = {}
        for node, variant in qlinear_nodes(graph):
            if variant.sparse:
                continue
            named = named_inputs(node, variant)
            weight, zero_point = named["weight"], constant(named["w_zero_point"])
            assert weight is not None  # FuseQLinearPass
            assert zero_point is not None  # FuseQLinearPass
            signed = _signed(weight, zero_point)
            key = (weight, signed is not None)
            if key not in stored:
                stored[key] = _store(graph, node, weight, zero_point, signed)
            node.meta[STRUCTURE] = stored[key].structure
            if stored[key].blocks is not None:
                _make_sparse(graph, node, variant, stored[key])
                count += 1
        return count


def _signed(weight: ir.Value, zero_point: Array) -> Array | None:
    """The weight `[N, K]` as s8 with zero point 0; None if it has another zero point."""
    values = constant(weight)
    assert values is not None  # an initializer
    if values.dtype == np.int8 and not zero_point.any():
        return np.asarray(values.T)
    if values.dtype == np.uint8 and (zero_point == 128).all():
        return np.asarray((values ^ np.uint8(0x80)).view(np.int8).T)
    return None


def _store(graph: ir.Graph, node: ir.Node, weight: ir.Value, zero_point: Array, signed: Array | None) -> _Stored:
    if signed is None:
        values = constant(weight)
        assert values is not None  # an initializer
        return _Stored(storage.measure(np.ascontiguousarray((values != zero_point).T).astype(np.int8)))
    values = np.ascontiguousarray(signed)
    structure = storage.measure(values)
    best = storage.smallest(values, structure)
    if best is None:
        return _Stored(structure)
    blocks = add_initializer(graph, f"{node.name}/blocks", best.blocks)
    return _Stored(structure, blocks, add_initializer(graph, f"{node.name}/block_gaps", best.gaps))


def _make_sparse(graph: ir.Graph, node: ir.Node, variant: Variant, stored: _Stored) -> None:
    sparse = dataclasses.replace(variant, sparse=True)
    zero = add_initializer(graph, f"{node.name}/w_zero_point", np.zeros((), np.int8))
    named = named_inputs(node, variant) | {"blocks": stored.blocks, "block_gaps": stored.gaps, "w_zero_point": zero}
    inputs = [named[name] for name in sparse.inputs]
    outputs = [ir.Value(name=None, type=node.outputs[0].type, shape=node.outputs[0].shape)]
    replacement = ir.Node(node.domain, sparse.name, inputs, node.attributes.values(), outputs=outputs, name=node.name)
    replacement.meta.update(node.meta)
    name = node.outputs[0].name
    graph.insert_before(node, replacement)
    ir.convenience.replace_all_uses_with(node.outputs[0], outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)
    outputs[0].name = name
