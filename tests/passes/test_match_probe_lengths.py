"""Lengths beyond every distance that a graph knows, and not beyond numbers that are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pyfastep.passes.match.probe_lengths import LONGEST, lengths_to_try

from .encoders import EncoderBuilder
from .models import to_ir


def lengths(write: Callable[[EncoderBuilder], str]) -> list[int] | None:
    """Of a graph on `mask` and the distances that `places` stand apart."""
    b = EncoderBuilder()
    b.input("mask", ["batch", "length"], "i64")
    b.node("Range", [b.c(0, np.int64), b.node("Size", ["mask"], "size"), b.c(1, np.int64)], "places")
    b.output(write(b), ["batch", "length"])
    model = to_ir(b.build())
    return lengths_to_try(list(model.graph), model.graph.inputs[0])


def below(limit: float, op: str = "Less", before: str = "Identity", factor: float | None = None) -> Callable[..., str]:
    def write(b: EncoderBuilder) -> str:
        places = b.node("Cast", ["places"], "places_float", to=1)
        scaled = b.node(before, [places, *([] if factor is None else [b.c(factor)])], "scaled")
        return b.node(op, [scaled, b.c(limit)], "near")

    return write


@pytest.mark.parametrize(
    ("write", "least"),
    [
        (below(100), 100),
        (below(-100, "Greater"), 100),
        (below(10, before="Div", factor=20), 200),
        (below(10, before="Mul", factor=0.05), 200),
        (below(50, before="Add", factor=-50), 100),
        (lambda b: b.node("Less", ["places", b.node("Mul", [b.c(8, np.int64), b.c(9, np.int64)], "p")], "near"), 72),
        (lambda b: b.node("Add", ["mask", b.c(np.zeros((1, 90)), np.int64)], "added"), 90),
        (lambda b: b.node("Slice", ["mask", b.c([0], np.int64), b.c([60], np.int64), b.c([1], np.int64)], "cut"), 60),
        (lambda b: b.node("Trilu", ["mask", b.c(-70, np.int64)], "lower", upper=0), 70),
        (lambda b: b.node("Split", ["mask"], "split", axis=1, num_outputs=33), 33),
    ],
)
def test_lengths_reach_beyond_constants(write: Callable[[EncoderBuilder], str], least: int) -> None:
    found = lengths(write)
    assert found is not None
    assert least < found[0] < 3 * least


@pytest.mark.parametrize(
    "write",
    [
        lambda b: b.node("Mul", [b.node("Sub", [b.c(1, np.int64), "mask"], "i"), b.c(-10000, np.int64)], "low"),
        lambda b: b.node("Mul", [b.node("Cast", [below(3)(b)], "cast", to=1), b.c(-10000)], "low"),
        lambda b: b.node("Where", [below(3)(b), b.c(0), b.c(-10000)], "low"),
        lambda b: b.node("Slice", ["mask", b.c([0], np.int64), b.c([2**63 - 1], np.int64), b.c([1], np.int64)], "all"),
    ],
)
def test_numbers_that_are_no_distances(write: Callable[[EncoderBuilder], str]) -> None:
    found = lengths(write)
    assert found is not None
    assert found[0] < 10


def test_sides_of_tables_are_tried_too() -> None:
    found = lengths(lambda b: b.node("Add", ["mask", b.c(np.zeros((80, 90)), np.int64)], "added"))
    assert found is not None
    assert found[1:] == [90, 80]


@pytest.mark.parametrize("write", [below(2 * LONGEST), below(3, before="Reciprocal"), below(1e-6)])
def test_too_long(write: Callable[[EncoderBuilder], str]) -> None:
    assert lengths(write) is None
