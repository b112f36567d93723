"""Fuses the embeddings, their sum and the LayerNormalization behind it into EmbedLayerNorm."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from .base import CountingPass, Refusal
from .edit import add_initializer, insert, remove_dead, replace
from .match.constants import Array, constant, int_attribute, is_constant, is_op
from .match.dims import rank_of
from .match.layer_norm import LayerNorm, match_layer_norm
from .match.quantizers import Scale, scale_of
from .norm_outputs import outputs_for, put
from .ops.embed_layer_norm import Variant

_ID_TYPES = (ir.DataType.INT64, ir.DataType.INT32)
_FEWEST, _MOST = 2, 3


@dataclasses.dataclass(frozen=True)
class _Embedding:
    """Rows of a constant table.

    Attributes:
        rows: what the sum reads.
        ids: `[B, S]` or `[1, S]`.
        table: float32, u8 or s8 `[n, H]`.
        scale: of a quantized table.
        gather: the node that picks the rows.
    """

    rows: ir.Value
    ids: ir.Value
    table: Array
    scale: Scale | None
    gather: ir.Node


class FuseEmbedLayerNormPass(CountingPass):
    """Every LayerNormalization of a sum of two or three embeddings becomes an EmbedLayerNorm.

    Args:
        exact: whether rounding of the rows to another scale than the table's is kept, so that it stays unfused.
    """

    def __init__(self, exact: bool = False) -> None:
        super().__init__()
        self._exact = exact

    def rewrite(self, model: ir.Model) -> int:
        """Fuses all in the main graph."""
        count = 0
        for node in list(model.graph):
            norm = match_layer_norm(node) if node.graph is not None else None
            if norm is None or isinstance(norm, str):
                continue
            terms = _terms(norm.x)
            if not any(_gather_above(term) is not None for term in terms):
                continue
            found = self._match(norm, terms)
            if isinstance(found, str):
                self.refusals.append(Refusal(node.name or "", found))
                continue
            _fuse(model.graph, norm, found)
            count += 1
        return count

    def _match(self, norm: LayerNorm, terms: list[ir.Value]) -> list[_Embedding] | str:
        """Word, position and type embedding, in this order, or the reason why there are none of the kind."""
        if not _FEWEST <= len(terms) <= _MOST:
            return f"a sum of {len(terms)} embeddings, expected {_FEWEST} or {_MOST}"
        found = [_match_embedding(term, self._exact) for term in terms]
        embeddings = [entry for entry in found if isinstance(entry, _Embedding)]
        if len(embeddings) != len(found):
            return next(entry for entry in found if isinstance(entry, str))
        if any(entry.table.shape[1] != norm.gamma.size for entry in embeddings):
            return "the tables have different numbers of features"
        if len({entry.scale is None for entry in embeddings}) > 1:
            return "some embedding tables are quantized, others are not"
        return _in_order(embeddings)


def _terms(value: ir.Value, is_top: bool = True) -> list[ir.Value]:
    """What is added up; a sum that is used elsewhere counts as one."""
    node = value.producer()
    if node is None or not is_op(node, "Add") or value.is_graph_output() or (not is_top and len(value.uses()) > 1):
        return [value]
    return [term for side in node.inputs if side is not None for term in _terms(side, False)]


def _gather_above(value: ir.Value) -> ir.Node | None:
    """The Gather of a constant table behind Q and DQ."""
    node = value.producer()
    while node is not None and is_op(node, "DequantizeLinear", "QuantizeLinear"):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    is_table = node is not None and is_op(node, "Gather") and is_constant(node.inputs[0])
    return node if is_table and node is not None and int_attribute(node, "axis", 0) == 0 else None


def _match_embedding(rows: ir.Value, exact: bool) -> _Embedding | str:
    gather = _gather_above(rows)
    if gather is None:
        return "something else than an embedding is added"
    ids = gather.inputs[1]
    if ids is None or ids.dtype not in _ID_TYPES or rank_of(ids) != 2:
        return "the ids of an embedding are not integers [B, S]"
    table_scale = _table(gather)
    if isinstance(table_scale, str):
        return table_scale
    table, scale = table_scale
    roundings = _scales_between(rows, gather)
    if roundings is None or (scale is None and roundings):
        return "the rows of a float embedding table are rounded"
    if exact and any(rounding != scale for rounding in roundings):
        return "exact conversion keeps the rounding of embeddings to another scale than their table's"
    if table.ndim != 2 or (scale is None and table.dtype != np.float32):
        return f"the embedding table is {table.dtype} with {table.ndim} dimensions, expected 2 in float32, u8 or s8"
    return _Embedding(rows, ids, table, scale, gather)


def _table(gather: ir.Node) -> tuple[Array, Scale | None] | str:
    """The table in the type of the file, and its scale."""
    value = gather.inputs[0]
    node = value.producer() if value is not None else None
    if node is not None and is_op(node, "DequantizeLinear"):
        scale = scale_of(node)
        data = constant(node.inputs[0])
        if isinstance(scale, str) or data is None:
            return "the embedding table is quantized in a form that is not supported"
        return data, scale
    data = constant(value)
    if data is None:
        return "the embedding table is not constant"
    if data.dtype in (np.uint8, np.int8):  # DequantizeLinear(Gather(table))
        readers = [use.node for use in gather.outputs[0].uses() if is_op(use.node, "DequantizeLinear")]
        found = scale_of(readers[0]) if readers else "the rows of the embedding table stay quantized"
        return found if isinstance(found, str) else (data, found)
    return data, None


def _scales_between(rows: ir.Value, gather: ir.Node) -> list[Scale] | None:
    """The scales of all Q and DQ from a Gather to the sum; None if one of them is not a single number."""
    scales: list[Scale] = []
    node = rows.producer()
    while node is not None and node is not gather:
        scale = scale_of(node)
        if isinstance(scale, str):
            return None
        scales.append(scale)
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return scales


def _in_order(embeddings: list[_Embedding]) -> list[_Embedding] | str:
    """Word, position, type.

    The word ids are an input of the model, and if there are two such, the words are those of the larger table. The
    sum does not depend on which of the other two is called what, but for its rounding and the shape of the ids: only
    positions may be `[1, S]`.
    """
    words = max(embeddings, key=lambda entry: (entry.ids.is_graph_input(), len(entry.table)))
    rest = [entry for entry in embeddings if entry is not words]
    if not words.ids.is_graph_input():
        return "the word ids are not an input of the model"
    rest.sort(key=lambda entry: (entry.ids.is_graph_input(), -len(entry.table)))
    return [words, *rest]


def _fuse(graph: ir.Graph, norm: LayerNorm, embeddings: list[_Embedding]) -> None:
    is_quantized = embeddings[0].scale is not None
    variant = Variant(len(embeddings) == _MOST, outputs_for(norm.y)[0], is_quantized)
    first = norm.y.producer()
    assert first is not None  # the result of a node
    for entry in embeddings:
        readers = {use.node: None for value in _of_same_shape(entry.gather.outputs[0]) for use in value.uses()}
        for reader in readers:
            if is_op(reader, "Shape"):
                _replace_shape(graph, reader, entry)
    ids = [
        _as_int64(first, entry, norm.node.name or "", table)
        for entry, table in zip(embeddings, variant.tables, strict=True)
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


def _as_int64(before: ir.Node, entry: _Embedding, name: str, table: str) -> ir.Value:
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


def _replace_shape(graph: ir.Graph, node: ir.Node, entry: _Embedding) -> None:
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
