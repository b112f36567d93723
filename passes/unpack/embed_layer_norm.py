"""EmbedLayerNormalization: the rows of two or three tables, their sum, and the LayerNormalization of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ..match.constants import constant
from ..match.dims import static_size
from .writer import INT64, MICROSOFT, Unpackers, Writer, all_constant, dequantize, float_attribute, given, is_used

_DEFAULT_EPSILON = 1e-12
_LARGEST = np.iinfo(np.int64).max


def _unpack(node: ir.Node) -> str | None:
    """EmbedLayerNormalization(ids, segments, word, position, segment, gamma, beta, mask, positions).

    Its outputs are y, the number of ones in each row of the mask, and the sum before the normalization.
    """
    return _write(node, list(node.inputs[2:7]), given(node, 8))


def _unpack_quantized(node: ir.Node) -> str | None:
    """QEmbedLayerNormalization: the same with tables, gamma and beta in 8 bits; 5 scales and 5 zero points follow."""
    if not all_constant(node, *range(2, 7), *range(8, 18)):
        return "its tables or their scales are not constant"
    writer = Writer(node)
    inputs: list[ir.Value | None] = []
    for index, label in enumerate(("word", "position", "segment", "gamma", "beta")):
        data = given(node, 2 + index)
        parameters = [data, given(node, 8 + index), given(node, 13 + index)]
        inputs.append(None if data is None else dequantize(writer, f"{label}/dequantize", parameters))
    return _write(node, inputs, None)


def _write(node: ir.Node, inputs: Sequence[ir.Value | None], positions: ir.Value | None) -> str | None:
    word, position, segment, gamma, beta = inputs
    ids, segments, mask = node.inputs[0], given(node, 1), given(node, 7)
    if is_used(node, 1) and mask is None:
        return "it counts the ones of a mask that it does not have"
    assert ids is not None and word is not None  # noqa: PT018  # both are required by the op
    writer = Writer(node)
    shape = None if ids.shape is None else ir.Shape([*ids.shape, static_size(word, -1)])
    total = writer.put("Gather", word, ids, label="word", shape=shape, axis=0)
    if positions is None:
        positions = _count_up(writer, ids, position)
    rows = writer.put("Gather", position, positions, label="position", axis=0)
    total = writer.put("Add", total, rows, label="word_and_position", shape=shape)
    if segment is not None and segments is not None:
        rows = writer.put("Gather", segment, segments, label="segment", shape=shape, axis=0)
        total = writer.put("Add", total, rows, label="sum", shape=shape)
    epsilon = float_attribute(node, "epsilon", _DEFAULT_EPSILON)
    result = writer.put("LayerNormalization", total, gamma, beta, shape=shape, axis=-1, epsilon=epsilon)
    lengths = _count_ones(writer, mask) if mask is not None and is_used(node, 1) else None
    writer.finish(result, lengths, total if is_used(node, 2) else None)
    return None


def _count_up(writer: Writer, ids: ir.Value, table: ir.Value | None) -> ir.Value:
    """The positions 0, 1, 2, ... of as many tokens as there are ids, `[1, S]`."""
    rows = constant(table)
    everything = writer.constant("all_positions", np.arange(0 if rows is None else len(rows))[None])
    length = None if ids.shape is None else ids.shape[1]
    end = writer.put("Shape", ids, label="length", dtype=INT64, shape=[1], start=1, end=2)
    start, axes = writer.constant("start", [0]), writer.constant("axes", [1])
    return writer.put("Slice", everything, start, end, axes, label="positions", dtype=INT64, shape=[1, length])


def _count_ones(writer: Writer, mask: ir.Value) -> ir.Value:
    """How many elements of each row are 1, int32 `[B]`: the lengths, where padding is on the right."""
    one = writer.constant("one", 1, np.int64 if mask.dtype == INT64 else np.int32)
    is_one = writer.put("Equal", mask, one, label="is_one", dtype=ir.DataType.BOOL, shape=mask.shape)
    int32 = ir.DataType.INT32
    ones = writer.put("Cast", is_one, label="ones", dtype=int32, shape=mask.shape, to=int(int32))
    batch = None if mask.shape is None else mask.shape[0]
    axes = writer.constant("mask_axes", [1])
    return writer.put("ReduceSum", ones, axes, label="lengths", dtype=int32, shape=[batch], keepdims=0)


UNPACKERS: Unpackers = {
    (MICROSOFT, "EmbedLayerNormalization"): _unpack,
    (MICROSOFT, "QEmbedLayerNormalization"): _unpack_quantized,
}
