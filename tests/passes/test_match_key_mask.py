"""The proof that a mask is the attention_mask: it must hold for masks, and for nothing that is not one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.match.key_mask import Scores, prove_key_mask

from .encoders import HEADS, LOWEST, EncoderBuilder
from .models import to_ir

OTHER_KEYS = "the mask hides other keys than those of attention_mask 0"


def prove(
    build: Callable[[EncoderBuilder, str], str],
    role: str = "added",
    kind: str = "i64",
    tokens: tuple[str | int, str | int] = ("batch", "length"),
) -> ir.Value | str:
    """Builds a mask from `by_key` `[B, 1, 1, S]` and asks for the proof."""
    b = EncoderBuilder()
    b.input("attention_mask", [*tokens], kind)
    b.input("input_ids", [*tokens], "i64")
    b.input("queries", [*tokens, 24])
    b.input("elsewhere", ["other", "length"])
    b.node("Neg", ["queries"], "scores")
    name = build(b, b.node("Unsqueeze", ["attention_mask", b.c([1, 2], np.int64)], "by_key"))
    b.output("scores", [*tokens, 24])
    model = to_ir(b.build())
    InferShapesPass()(model)
    values = {str(value.name): value for node in model.graph for value in node.outputs}
    values |= {str(value.name): value for value in model.graph.inputs}
    scores = Scores(values["scores"], values["queries"], HEADS)
    return prove_key_mask(values[name], role, scores, 17)  # type: ignore[arg-type]


def added(b: EncoderBuilder, mask: str, low: float = LOWEST) -> str:
    inverse = b.node("Sub", [b.c(1), b.node("Cast", [mask], "mask_float", to=1)], "inverse")
    return b.node("Mul", [inverse, b.c(low)], "added")


def expanded(b: EncoderBuilder, mask: str) -> str:
    """To the shape of another input of the same sizes."""
    sizes = [b.size("input_ids", 0, "batch"), b.c([1], np.int64), b.size("input_ids", 1, "from"), b.c([1], np.int64)]
    return b.node("Expand", [added(b, mask), b.node("Concat", sizes, "full", axis=0)], "expanded")


def like_scores(b: EncoderBuilder, mask: str) -> str:
    return b.node("Expand", [added(b, mask), b.node("Shape", ["scores"], "scores_shape")], "expanded")


@pytest.mark.parametrize("build", [added, expanded, like_scores])
def test_masks(build: Callable[[EncoderBuilder, str], str]) -> None:
    found = prove(build)
    assert isinstance(found, ir.Value), found
    assert found.name == "attention_mask"


@pytest.mark.parametrize("low", [-1e4, -1e9, LOWEST])
def test_large_negative_numbers_hide(low: float) -> None:
    assert isinstance(prove(lambda b, mask: added(b, mask, low)), ir.Value)


def test_conditions() -> None:
    def equal(b: EncoderBuilder, mask: str) -> str:
        return b.node("Equal", [mask, b.c(0, np.int64)], "condition")

    assert isinstance(prove(equal, "hidden"), ir.Value)
    assert prove(equal, "visible") == "the mask hides other keys than those of attention_mask 0"


def rounded(b: EncoderBuilder, mask: str) -> str:
    """As a quantizer of the whole graph leaves it."""
    inverse = b.node("Sub", [b.c(1), b.node("Cast", [mask], "mask_float", to=1)], "inverse")
    return b.node("Mul", [b.pair(inverse, 1 / 255, 0), b.c(LOWEST)], "added")


def rounded_away(b: EncoderBuilder, mask: str) -> str:
    """Calibrated without padding: the quantizer knows no other number than 0."""
    return b.pair(added(b, mask), 1e-9, 255)


def test_quantized_masks() -> None:
    found = prove(rounded)
    assert isinstance(found, ir.Value), found
    assert found.name == "attention_mask"
    assert prove(rounded_away) == OTHER_KEYS


def test_static_sizes() -> None:
    def full(b: EncoderBuilder, mask: str) -> str:
        return b.node("Expand", [added(b, mask), b.c([2, 1, 9, 9], np.int64)], "full")

    assert isinstance(prove(full, tokens=(2, 9)), ir.Value)


def test_masks_that_the_graph_computes() -> None:
    """What no single input says, a value by sequence and token may."""

    def both(b: EncoderBuilder, mask: str) -> str:
        del mask
        product = b.node("Mul", ["attention_mask", "input_ids"], "both")
        return added(b, b.node("Unsqueeze", [product, b.c([1, 2], np.int64)], "both_by_key"))

    found = prove(both)
    assert isinstance(found, ir.Value), found
    assert found.name == "both"


def test_a_computed_mask_of_another_batch_is_none() -> None:
    def one_row(b: EncoderBuilder, mask: str) -> str:
        del mask
        product = b.node("Mul", ["attention_mask", "input_ids"], "both")
        row = b.node("ReduceMax", [product], "row", axes=[0], keepdims=1)
        return added(b, b.node("Unsqueeze", [row, b.c([1, 2], np.int64)], "row_by_key"))

    assert prove(one_row) == "the mask is computed from 2 inputs, expected 1"


def by_query(b: EncoderBuilder, mask: str) -> str:
    """Hides queries instead of keys."""
    return b.node("Transpose", [added(b, mask)], "by_query", perm=[0, 1, 3, 2])


def first_sequence(b: EncoderBuilder, mask: str) -> str:
    """All sequences have the mask of the first."""
    return added(b, b.node("Slice", [mask, b.c([0], np.int64), b.c([1], np.int64), b.c([0], np.int64)], "first"))


def reversed_keys(b: EncoderBuilder, mask: str) -> str:
    bounds = [b.c([-1], np.int64), b.c([-(2**62)], np.int64), b.c([3], np.int64), b.c([-1], np.int64)]
    return added(b, b.node("Slice", [mask, *bounds], "reversed"))


def first_key_always(b: EncoderBuilder, mask: str) -> str:
    """The first key is never hidden."""
    start = b.node("Slice", [mask, b.c([0], np.int64), b.c([1], np.int64), b.c([3], np.int64)], "start")
    rest = b.node("Slice", [mask, b.c([1], np.int64), b.c([2**31], np.int64), b.c([3], np.int64)], "rest")
    ones = b.node("Add", [b.node("Mul", [start, b.c(0, np.int64)], "nothing"), b.c(1, np.int64)], "ones")
    return added(b, b.node("Concat", [ones, rest], "changed", axis=3))


def random_nodes(b: EncoderBuilder, mask: str) -> str:
    return b.node("Dropout", [added(b, mask)], "dropped")


def from_ids(b: EncoderBuilder, mask: str) -> str:
    ids = b.node("Unsqueeze", ["input_ids", b.c([1, 2], np.int64)], "ids_by_key")
    return added(b, b.node("Mul", [mask, ids], "both"))


def foreign_size(b: EncoderBuilder, mask: str) -> str:
    sizes = [b.size("elsewhere", 0, "foreign"), b.c([1], np.int64), b.c([1], np.int64), b.c([1], np.int64)]
    return b.node("Expand", [added(b, mask), b.node("Concat", sizes, "full", axis=0)], "expanded")


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (by_query, OTHER_KEYS),
        (first_sequence, OTHER_KEYS),
        (reversed_keys, OTHER_KEYS),
        (first_key_always, OTHER_KEYS),
        (lambda b, mask: added(b, mask, -100.0), OTHER_KEYS),
        (random_nodes, "the mask depends on Dropout"),
        (from_ids, "the mask is computed from 2 inputs, expected 1"),
        (foreign_size, "axis 0 of elsewhere is not known to be batch or length"),
        (
            lambda b, mask: b.node("Cast", [added(b, mask)], "wide", to=11),
            "the mask is added as float64, expected float32",
        ),
    ],
)
def test_others(build: Callable[[EncoderBuilder, str], str], reason: str) -> None:
    assert prove(build) == reason
