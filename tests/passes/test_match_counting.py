"""Ids that count the tokens in every run, and those that only look like it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.match.counting import counted_rows
from pyfastep.passes.match.dims import dimension

from .encoders import EncoderBuilder
from .models import to_ir

ROWS = 32


def ints(b: EncoderBuilder, *values: int) -> str:
    return b.c(list(values), np.int64)


def length_of(b: EncoderBuilder, axis: int = 1, of: str = "input_ids") -> str:
    """`[1]`, as torch computes it."""
    return b.size(of, axis, f"size_{len(b.nodes)}")


def count(b: EncoderBuilder) -> str:
    return b.c(np.arange(ROWS)[None], np.int64)


def sliced(b: EncoderBuilder, source: str = "", start: int = 0, end: str = "", rest: tuple[int, ...] = (1,)) -> str:
    """`source[:, start:S]`; `rest`: axis and step."""
    inputs = [source or count(b), ints(b, start), end or length_of(b), *(ints(b, value) for value in rest)]
    return b.node("Slice", inputs, "sliced")


def scalar_length(b: EncoderBuilder) -> str:
    return b.node("Squeeze", [length_of(b)], "scalar_length")


def ranged(b: EncoderBuilder, start: int = 0, step: int = 1) -> str:
    """`[1, S]`."""
    up = b.node("Range", [b.c(start, np.int64), scalar_length(b), b.c(step, np.int64)], "range")
    return b.node("Unsqueeze", [up, ints(b, 0)], "ranged")


def expanded(b: EncoderBuilder, x: str, *axes: int) -> str:
    """To the sizes of these axes of the ids."""
    shape = b.node("Concat", [length_of(b, axis) for axis in axes], "expanded_shape", axis=0)
    return b.node("Expand", [x, shape], "expanded")


def of_rank_1(b: EncoderBuilder) -> str:
    rows = sliced(b, b.c(np.arange(ROWS), np.int64), rest=(0,))
    return b.node("Unsqueeze", [rows, ints(b, 0)], "rows")


def check(make: Callable[[EncoderBuilder], str], expected: int | None) -> None:
    b = EncoderBuilder()
    b.input("input_ids", ["batch", "length"], "i64")
    b.input("others", ["batch", "other_length"], "i64")
    b.output(make(b), [None, None], "i64")
    model = to_ir(b.build())
    InferShapesPass()(model)
    found = counted_rows(model.graph.outputs[0], dimension(model.graph.inputs[0], 1))
    assert found == expected


FORMS: dict[str, tuple[Callable[[EncoderBuilder], str], int]] = {
    "a slice of a buffer": (sliced, ROWS),
    "its last axis": (lambda b: sliced(b, rest=(-1, 1)), ROWS),
    "of a vector": (of_rank_1, ROWS),
    "cast": (lambda b: b.node("Cast", [sliced(b)], "cast", to=6), ROWS),
    "for every sequence": (lambda b: expanded(b, sliced(b), 0, 1), ROWS),
    "counted up": (ranged, sys.maxsize),
    "counted up for every sequence": (lambda b: expanded(b, ranged(b), 0, 1), sys.maxsize),
}


@pytest.mark.parametrize("form", FORMS)
def test_counted(form: str) -> None:
    check(*FORMS[form])


OTHERS: dict[str, Callable[[EncoderBuilder], str]] = {
    "they are given": lambda b: b.node("Identity", ["others"], "same"),
    "they start later": lambda b: sliced(b, start=1),
    "every second": lambda b: sliced(b, rest=(1, 2)),
    "along sequences": lambda b: sliced(b, rest=(0,)),
    "of another length": lambda b: sliced(b, end=length_of(b, of="others")),
    "of a length known before": lambda b: sliced(b, end=ints(b, 5)),
    "as many as sequences": lambda b: sliced(b, end=length_of(b, 0)),
    "not one by one": lambda b: sliced(b, b.c(np.arange(ROWS)[None] * 2, np.int64)),
    "a row per sequence": lambda b: sliced(b, b.c(np.arange(2 * ROWS).reshape(2, ROWS), np.int64)),
    "one for all tokens": lambda b: sliced(b, b.c([[0]], np.int64)),
    "counted from one": lambda b: ranged(b, start=1),
    "counted by twos": lambda b: ranged(b, step=2),
    "as many as others": lambda b: expanded(b, sliced(b), 0, 0),
    "shifted": lambda b: b.node("Add", [sliced(b), ints(b, 1)], "shifted"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_not_proven(what: str) -> None:
    check(OTHERS[what], None)
