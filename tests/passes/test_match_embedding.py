"""Sums of embeddings: what is picked by ids, and what an exporter picked already because it knew the length."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.match.embedding import Embedding, embedding_terms, match_embeddings

from .models import Builder, to_ir
from .unpacking import builder, random

WORDS, POSITIONS, LENGTH, FEATURES = 20, 16, 5, 8


def sum_of(word_and: list[Any]) -> tuple[ir.Model, list[ir.Value]]:
    """Rows of the word table, and of others: constants, or the number of rows of a table."""
    b = builder({"input_ids": ["batch", LENGTH]}, kinds={"input_ids": "i64"})
    total = b.node("Gather", [b.constant("word", random(WORDS, FEATURES)), "input_ids"], "rows")
    for index, other in enumerate(word_and):
        if isinstance(other, int):
            ids = b.input(f"ids_{index}", ["batch", LENGTH], "i64")
            other = b.node("Gather", [b.constant(f"table_{index}", random(other, FEATURES)), ids], f"rows_{index}")
        else:
            other = b.constant(f"rows_{index}", other)
        total = b.node("Add", [total, other], f"sum_{index}")
    b.output(total, ["batch", LENGTH, FEATURES])
    model = to_ir(b.build())
    return model, embedding_terms(add_behind(model))


def add_behind(model: ir.Model) -> ir.Value:
    """The sum as a value that is no output of the graph."""
    value = model.graph.outputs[0]
    model.graph.outputs.clear()
    return value


def matched(word_and: list[Any]) -> list[Embedding] | str:
    _, terms = sum_of(word_and)
    return match_embeddings(terms, FEATURES)


def test_tables_in_order() -> None:
    found = matched([2, POSITIONS])
    assert not isinstance(found, str)
    assert [len(entry.table) for entry in found] == [WORDS, POSITIONS, 2]


@pytest.mark.parametrize("shape", [(1, LENGTH, FEATURES), (LENGTH, FEATURES)])
def test_picked_rows_are_a_table(shape: tuple[int, ...]) -> None:
    rows = random(*shape)
    found = matched([rows])
    assert not isinstance(found, str)
    assert found[1].ids is None
    assert np.array_equal(found[1].table, rows.reshape(LENGTH, FEATURES))


def test_one_row_for_all_tokens_joins_the_smallest_table() -> None:
    row = random(FEATURES)
    found = matched([POSITIONS, row])
    assert not isinstance(found, str)
    assert len(found) == 2
    assert np.array_equal(found[1].table, random(POSITIONS, FEATURES) + row)


def test_two_picked_tables_are_one() -> None:
    rows, row = random(1, LENGTH, FEATURES), random(1, 1, FEATURES)
    found = matched([rows, row])
    assert not isinstance(found, str)
    assert np.allclose(found[1].table, (rows + row)[0])


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ([random(2, LENGTH, FEATURES)], "a constant is added to the embeddings that is not one row per position"),
        ([2, 3, 4], "a sum of 4 embeddings, expected 2 or 3"),
    ],
)
def test_refused(others: list[Any], reason: str) -> None:
    assert matched(others) == reason


@pytest.mark.parametrize(("back", "is_matched"), [(0.01, True), (0.02, False)])
@pytest.mark.parametrize("form", ["first", "behind"])
def test_rounded_rows(form: str, back: float, is_matched: bool) -> None:
    """Q and DQ of one scale only round; of two they multiply."""
    b = builder({"ids_0": ["batch", LENGTH], "ids_1": ["batch", LENGTH]}, kinds={"ids_0": "i64", "ids_1": "i64"})
    rows = []
    for index, count in enumerate((WORDS, POSITIONS)):
        table = b.constant(f"table_{index}", np.arange(count * FEATURES).reshape(count, FEATURES) % 256, np.uint8)
        own, other = b.scale(f"own_{index}", 0.01, 120), b.scale(f"back_{index}", back, 120)
        if form == "first":
            row = b.node("Gather", [b.dequantize(table, own, f"float_{index}"), f"ids_{index}"], f"gather_{index}")
        else:
            row = b.dequantize(b.node("Gather", [table, f"ids_{index}"], f"gather_{index}"), own, f"float_{index}")
        rows.append(b.dequantize(b.quantize(row, own, f"q_{index}"), other, f"rows_{index}"))
    found = match_embeddings(embedding_terms(sum_value(b, rows)), FEATURES)
    assert isinstance(found, str) is not is_matched, found


def test_the_scale_is_that_of_the_rows_in_the_sum() -> None:
    """Not of what else reads the quantized rows."""
    b = builder({"ids_0": ["batch", LENGTH], "ids_1": ["batch", LENGTH]}, kinds={"ids_0": "i64", "ids_1": "i64"})
    rows = []
    for index, count in enumerate((WORDS, POSITIONS)):
        table = b.constant(f"table_{index}", np.zeros((count, FEATURES)), np.uint8)
        picked = b.node("Gather", [table, f"ids_{index}"], f"gather_{index}")
        b.output(
            b.dequantize(picked, b.scale(f"other_{index}", 0.5, 120), f"other_{index}"), ["batch", LENGTH, FEATURES]
        )
        rows.append(b.dequantize(picked, b.scale(f"own_{index}", 0.01, 120), f"rows_{index}"))
    found = match_embeddings(embedding_terms(sum_value(b, rows)), FEATURES)
    assert not isinstance(found, str)
    assert [float(entry.scale.scale) for entry in found if entry.scale is not None] == [np.float32(0.01)] * 2


def test_a_quantizer_of_rows_that_clamps() -> None:
    b = builder({"ids_0": ["batch", LENGTH], "ids_1": ["batch", LENGTH]}, kinds={"ids_0": "i64", "ids_1": "i64"})
    rows = []
    for index, count in enumerate((WORDS, POSITIONS)):
        table = b.constant(f"table_{index}", np.zeros((count, FEATURES)), np.uint8)
        picked = b.node("Gather", [table, f"ids_{index}"], f"gather_{index}")
        row = b.dequantize(picked, b.scale(f"own_{index}", 0.01, 120), f"float_{index}")
        pair = b.scale(f"pair_{index}", 0.01, 0)
        rows.append(b.dequantize(b.quantize(row, pair, f"q_{index}"), pair, f"rows_{index}"))
    reason = "a quantizer of the rows of an embedding table clamps at zero"
    assert match_embeddings(embedding_terms(sum_value(b, rows)), FEATURES) == reason


def sum_value(b: Builder, rows: list[str]) -> ir.Value:
    """The sum of two, which is no output of the graph."""
    b.output(b.node("Add", rows, "sum"), ["batch", LENGTH, FEATURES])
    model = to_ir(b.build())
    model.graph.outputs.pop()
    return next(node for node in model.graph if node.op_type == "Add").outputs[0]


def ids_of_shape(shape: list[Any], position: bool) -> list[Embedding] | str:
    """Words, with other ids of this shape; positions in front of them if so asked."""
    b = builder({"input_ids": ["batch", "length"]}, kinds={"input_ids": "i64"})
    tables = [("word", WORDS, "input_ids")]
    if position:
        tables.append(("position", POSITIONS, b.input("position_ids", [1, "length"], "i64")))
    tables.append(("other", 2, b.input("other_ids", shape, "i64")))
    rows = [b.node("Gather", [b.constant(n, random(size, FEATURES)), ids], f"{n}_rows") for n, size, ids in tables]
    total = rows[0]
    for row in rows[1:]:
        total = b.node("Add", [total, row], f"{row}_added")
    b.output(total, ["batch", "length", FEATURES])
    return match_embeddings(embedding_terms(add_behind(to_ir(b.build()))), FEATURES)


SINGLE = "an embedding has a single id for all tokens or, beside positions, for all sequences"


@pytest.mark.parametrize("position", [False, True])
def test_a_single_id_is_refused(position: bool) -> None:
    """A sum repeats its row; EmbedLayerNorm wants an id per token, and only positions for all sequences at once."""
    assert ids_of_shape([1, 1], position) == SINGLE
    assert ids_of_shape(["batch", 1], position) == SINGLE
    assert not isinstance(ids_of_shape(["batch", "length"], position), str)
    assert (ids_of_shape([1, "length"], position) == SINGLE) == position
