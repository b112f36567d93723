"""Embeddings that are added up: rows of constant tables, picked by ids."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from .constants import Array, constant, int_attribute, is_constant, is_op
from .counting import counted_rows
from .dims import dimension, rank_of, same_size, static_size
from .quantizers import Scale, rounding_scale, scale_of

_ID_TYPES = (ir.DataType.INT64, ir.DataType.INT32)
_FEWEST, _MOST = 2, 3
_ROWS_RANK, _BATCH_RANK = 2, 3
_BATCH, _LENGTH = 0, 1  # axes of ids


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Rows of a constant table.

    Attributes:
        rows: what the sum reads.
        ids: `[B, S]` or `[1, S]`; None: rows 0, 1, 2, ..., as an exporter that knows S has picked them already, or a
            single row for all tokens.
        table: float32, u8 or s8 `[n, H]`.
        scale: of a quantized table.
        gather: the node that picks the rows.
        counted: whether the rows of S tokens are 0, 1, ..., S - 1 in every run; the ids say no more.
    """

    rows: ir.Value
    ids: ir.Value | None
    table: Array
    scale: Scale | None
    gather: ir.Node | None
    counted: bool = False

    @property
    def is_input(self) -> bool:
        """Whether the ids are an input of the model."""
        return self.ids is not None and self.ids.is_graph_input()


def match_embeddings(terms: list[ir.Value], features: int) -> list[Embedding] | str:
    """Word, position and type embedding, in this order, or the reason why there are none of the kind.

    Args:
        terms: what is added up.
        features: H.
    """
    picked: list[Embedding] = []
    for term in terms:
        entry = _match_embedding(term) if not is_constant(term) else None
        if isinstance(entry, str):
            return entry
        picked += [entry] if entry is not None else []
    embeddings = _with_constants(picked, [term for term in terms if is_constant(term)])
    if isinstance(embeddings, str):
        return embeddings
    if not _FEWEST <= len(embeddings) <= _MOST:
        return f"a sum of {len(embeddings)} embeddings, expected {_FEWEST} or {_MOST}"
    if any(entry.table.shape[1] != features for entry in embeddings):
        return "the tables have different numbers of features"
    if len({entry.scale is None for entry in embeddings}) > 1:
        return "some embedding tables are quantized, others are not"
    return _in_order(embeddings)


def _with_constants(picked: list[Embedding], terms: list[ir.Value]) -> list[Embedding] | str:
    """Rows that are the same in every run are a table too; one row for all tokens is part of another table."""
    total: Array | None = None
    for term in terms:
        rows = _constant_rows(term)
        if rows is None:
            return "a constant is added to the embeddings that is not one row per position"
        total = rows if total is None else total + rows
    if total is None:
        return picked
    if len(total) > 1 or len(picked) < _FEWEST:
        return [*picked, Embedding(terms[0], None, total, None, None)]
    smallest = min(picked, key=lambda entry: len(entry.table))
    if smallest.scale is not None:
        return "a constant is added to quantized embeddings"
    merged = dataclasses.replace(smallest, table=smallest.table + total)
    return [merged if entry is smallest else entry for entry in picked]


def _constant_rows(term: ir.Value) -> Array | None:
    """`[S, H]` or `[1, H]` of a constant that is the same for every sequence."""
    rows = constant(term)
    if rows is None or rows.dtype != np.float32 or rows.ndim > _BATCH_RANK or not rows.size:
        return None
    if rows.ndim == _BATCH_RANK:
        if (rows != rows[:1]).any():
            return None
        rows = rows[0]
    rows = rows.reshape(1, -1) if rows.ndim < _ROWS_RANK else rows
    return rows[:1] if (rows == rows[:1]).all() else rows


def embedding_terms(value: ir.Value, is_top: bool = True) -> list[ir.Value]:
    """What is added up; a sum that is used elsewhere counts as one."""
    node = value.producer()
    if node is None or not is_op(node, "Add") or value.is_graph_output() or (not is_top and len(value.uses()) > 1):
        return [value]
    return [term for side in node.inputs if side is not None for term in embedding_terms(side, False)]


def gather_above(value: ir.Value) -> ir.Node | None:
    """The Gather of a constant table behind Q and DQ."""
    node = value.producer()
    while node is not None and is_op(node, "DequantizeLinear", "QuantizeLinear"):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    is_table = node is not None and is_op(node, "Gather") and is_constant(node.inputs[0])
    return node if is_table and node is not None and int_attribute(node, "axis", 0) == 0 else None


def _match_embedding(rows: ir.Value) -> Embedding | str:
    gather = gather_above(rows)
    if gather is None:
        return "something else than an embedding is added"
    ids = _without_cast(gather.inputs[1])
    if ids is None or ids.dtype not in _ID_TYPES or rank_of(ids) != 2:
        return "the ids of an embedding are not integers [B, S]"
    roundings = _scales_between(rows, gather)
    if roundings is None:
        return "the rows of an embedding table are more than rounded"
    table_scale = _table(gather, roundings)
    if isinstance(table_scale, str):
        return table_scale
    table, scale = table_scale
    if scale is None and roundings:
        return "the rows of a float embedding table are rounded"
    if any(rounding.is_one_sided and rounding != scale for rounding in roundings):
        return "a quantizer of the rows of an embedding table clamps at zero"
    if table.ndim != 2 or (scale is None and table.dtype != np.float32):
        return f"the embedding table is {table.dtype} with {table.ndim} dimensions, expected 2 in float32, u8 or s8"
    return Embedding(rows, ids, table, scale, gather)


def _without_cast(ids: ir.Value | None) -> ir.Value | None:
    """The int64 ids behind a Cast to int32, which ONNX Runtime's operators want."""
    node = ids.producer() if ids is not None else None
    source = node.inputs[0] if node is not None and is_op(node, "Cast") else None
    return source if source is not None and source.dtype in _ID_TYPES else ids


def _table(gather: ir.Node, roundings: list[Scale]) -> tuple[Array, Scale | None] | str:
    """The table in the type of the file, and its scale, given the scales behind the Gather, the nearest last."""
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
        return (data, roundings[-1]) if roundings else "the rows of the embedding table stay quantized"
    return data, None


def _scales_between(rows: ir.Value, gather: ir.Node) -> list[Scale] | None:
    """The scales of all Q and DQ from a Gather to the sum; None if one of them does more than round."""
    scales: list[Scale] = []
    node = rows.producer()
    while node is not None and node is not gather:
        scale = rounding_scale(node)
        if isinstance(scale, str):
            return None
        scales.append(scale)
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return scales


def _in_order(embeddings: list[Embedding]) -> list[Embedding] | str:
    """Word, position, type.

    The word ids are an input of the model, and if there are two such, the words are those of the larger table. The
    sum does not depend on which of the other two is called what, but for its rounding and the shape of the ids: only
    positions may be `[1, S]`.
    """
    words = max(embeddings, key=lambda entry: (entry.is_input, len(entry.table)))
    rest = [entry for entry in embeddings if entry is not words]
    if not words.is_input:
        return "the word ids are not an input of the model"
    rest = [_with_count(entry, words) for entry in rest]
    rest.sort(key=lambda entry: (entry.ids is not None, not entry.counted, entry.is_input, -len(entry.table)))
    if rest[0].ids is None and not all(_is_by_sequence(entry, words) for entry in rest[1:]):
        return "two tables beside the words' may have one row of ids for all sequences"
    by_sequence = rest[1:]  # the first are positions
    if any(_is_one(entry, words, _LENGTH) for entry in rest) or any(_is_one(e, words, _BATCH) for e in by_sequence):
        return "an embedding has a single id for all tokens or, beside positions, for all sequences"
    return [words, *rest]


def _is_one(entry: Embedding, words: Embedding, axis: int) -> bool:
    """Whether the only id along an axis serves all words there: only sums repeat it."""
    if entry.ids is None or words.ids is None or entry.counted:
        return False
    return static_size(entry.ids, axis) == 1 and static_size(words.ids, axis) != 1


def _is_by_sequence(entry: Embedding, words: Embedding) -> bool:
    """Whether an embedding has ids for every sequence, as far as the graph proves it."""
    if entry.ids is None or words.ids is None:
        return False
    return same_size(dimension(entry.ids, 0), dimension(words.ids, 0))


def _with_count(entry: Embedding, words: Embedding) -> Embedding:
    """Says so if the ids count the tokens, and leaves out rows that they never reach."""
    assert words.ids is not None  # an input of the model
    rows = None if entry.ids is None else counted_rows(entry.ids, dimension(words.ids, 1))
    return entry if rows is None else dataclasses.replace(entry, counted=True, table=entry.table[:rows])
