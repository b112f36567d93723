"""Fuses the embeddings, their sum and the LayerNormalization behind it into EmbedLayerNorm."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from .base import CountingPass, Refusal
from .edit import add_initializer, insert, remove_dead, replace
from .match.constants import Array, int_attribute, is_op
from .match.embedding import Embedding, embedding_terms, gather_above, match_embeddings
from .match.layer_norm import LayerNorm, match_layer_norm
from .norm_outputs import outputs_for, put
from .ops.embed_layer_norm import Variant

_POSITION = "position"
_REQUIRED = ("word", _POSITION)


class FuseEmbedLayerNormPass(CountingPass):
    """Every LayerNormalization of a sum of two or three embeddings becomes an EmbedLayerNorm."""

    def rewrite(self, model: ir.Model) -> int:
        """Fuses all in the main graph."""
        count = 0
        for node in list(model.graph):
            norm = match_layer_norm(node) if node.graph is not None else None
            if norm is None or isinstance(norm, str):
                continue
            terms = embedding_terms(norm.x)
            if not any(gather_above(term) is not None for term in terms):
                continue
            found = match_embeddings(terms, norm.gamma.size)
            if isinstance(found, str):
                self.refusals.append(Refusal(node.name or "", found))
                continue
            _fuse(model.graph, norm, found)
            count += 1
        return count


def _fuse(graph: ir.Graph, norm: LayerNorm, embeddings: list[Embedding]) -> None:
    is_quantized = embeddings[0].scale is not None
    counted = embeddings[1].counted
    variant = Variant(len(embeddings) > len(_REQUIRED), outputs_for(norm.y)[0], is_quantized, counted)
    first = norm.y.producer()
    assert first is not None  # the result of a node
    for entry in embeddings:
        if entry.gather is None:
            continue
        readers = {use.node: None for value in _of_same_shape(entry.gather.outputs[0]) for use in value.uses()}
        for reader in readers:
            if is_op(reader, "Shape"):
                _replace_shape(graph, reader, entry)
    words = embeddings[0].ids
    assert words is not None  # an input of the model
    ids = [
        _as_int64(first, entry, norm.node.name or "", table, words)
        for entry, table in zip(embeddings, variant.tables, strict=True)
        if not (counted and table == _POSITION)
    ]
    arrays: dict[str, Array] = {}
    for entry, table in zip(embeddings, variant.tables, strict=True):
        arrays[table] = np.ascontiguousarray(entry.table)
        if entry.scale is not None:
            arrays |= {f"{table}_scale": entry.scale.scale, f"{table}_zero_point": entry.scale.zero_point}
    put(norm, variant.name, ids, arrays)


def _of_same_shape(rows: ir.Value) -> list[ir.Value]:
    """The rows and what quantizers make of them."""
    found = [rows]
    for value in found:
        quantizers = (use.node for use in value.uses() if is_op(use.node, "QuantizeLinear", "DequantizeLinear"))
        found += [node.outputs[0] for node in quantizers]
    return found


def _as_int64(before: ir.Node, entry: Embedding, name: str, table: str, words: ir.Value) -> ir.Value:
    if entry.ids is None and len(entry.table) == 1:  # for every token: as many ids as words, all of them 0
        zeros = insert(before, "Sub", [words, words], name=f"{name}/{table}_zeros", like=words)
        return _as_int64(before, dataclasses.replace(entry, ids=zeros), name, table, words)
    if entry.ids is None:
        assert before.graph is not None  # nodes of a model belong to a graph
        return add_initializer(before.graph, f"{name}/{table}_ids", np.arange(len(entry.table))[None])
    if entry.ids.dtype == ir.DataType.INT64:
        return entry.ids
    return insert(
        before,
        "Cast",
        [entry.ids],
        name=f"{name}/{table}_ids",
        like=entry.ids,
        dtype=ir.DataType.INT64,
        attributes={"to": int(ir.DataType.INT64)},
    )


def _replace_shape(graph: ir.Graph, node: ir.Node, entry: Embedding) -> None:
    """Lets those who ask for the shape of an embedding ask its ids, so that it need not be computed."""
    rank = 3
    start, end = int_attribute(node, "start", 0), int_attribute(node, "end", rank)
    shape = insert(
        node, "Shape", [entry.ids], name=f"{node.name}/ids", like=ir.Value(shape=ir.Shape([2])), dtype=ir.DataType.INT64
    )
    size = add_initializer(graph, f"{node.name}/features", np.array([entry.table.shape[1]], np.int64))
    like = ir.Value(shape=ir.Shape([rank]))
    full = insert(
        node,
        "Concat",
        [shape, size],
        name=f"{node.name}/full",
        like=like,
        dtype=ir.DataType.INT64,
        attributes={"axis": 0},
    )
    if list(range(rank)[start:end]) != list(range(rank)):
        bounds = [
            add_initializer(graph, f"{node.name}/{key}", np.array([value], np.int64))
            for key, value in (("start", start), ("end", end))
        ]
        full = insert(
            node, "Slice", [full, *bounds], name=f"{node.name}/part", like=node.outputs[0], dtype=ir.DataType.INT64
        )
    replace(node.outputs[0], full)
    remove_dead([node])
