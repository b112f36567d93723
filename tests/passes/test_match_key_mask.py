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


def distances(b: EncoderBuilder) -> str:
    """Query minus key, int64 `[S, S]`."""
    length = b.node("Squeeze", [b.size("input_ids", 1, "tokens"), b.c([0], np.int64)], "token_count")
    places = b.node("Range", [b.c(0, np.int64), length, b.c(1, np.int64)], "places")
    column = b.node("Unsqueeze", [places, b.c([1], np.int64)], "column")
    return b.node("Sub", [column, b.node("Unsqueeze", [places, b.c([0], np.int64)], "row")], "distances")


def within(b: EncoderBuilder, mask: str, condition: str) -> str:
    """Visible where a condition `[S, S]` and the mask say so."""
    visible = b.node("Cast", [mask], "is_visible", to=9)
    return b.node("Where", [b.node("And", [visible, condition], "both"), b.c(0), b.c(LOWEST)], "chosen")


def window(b: EncoderBuilder, mask: str, width: int = 8) -> str:
    """Keys at most 8 tokens away, as ModernBERT and Longformer see them."""
    away = distances(b)
    near = b.node("LessOrEqual", [away, b.c(width, np.int64)], "not_behind")
    return within(
        b,
        mask,
        b.node("And", [near, b.node("GreaterOrEqual", [away, b.c(-width, np.int64)], "not_before")], "near"),
    )


def scaled_window(b: EncoderBuilder, mask: str) -> str:
    """In blocks: no constant is as large as the window is wide."""
    away = b.node("Cast", [distances(b)], "away_float", to=1)
    blocks = b.node("Div", [b.node("Mul", [away, away], "square"), b.c(20)], "blocks")
    return within(b, mask, b.node("Less", [blocks, b.c(30)], "near"))


def computed_window(b: EncoderBuilder, mask: str) -> str:
    """Of a width that the graph computes from constants."""
    width = b.node("Mul", [b.c(7, np.int64), b.c(9, np.int64)], "width")
    return within(b, mask, b.node("Less", [distances(b), width], "near"))


def diagonal(b: EncoderBuilder, mask: str) -> str:
    """No keys more than 8 tokens later."""
    shape = b.node("Concat", [b.size("input_ids", 1, "rows"), b.size("input_ids", 1, "columns")], "square", axis=0)
    ones = b.node("Expand", [b.c(1, np.int64), shape], "ones")
    lower = b.node("Trilu", [ones, b.c(8, np.int64)], "lower", upper=0)
    return within(b, mask, b.node("Cast", [lower], "near", to=9))


def cut(b: EncoderBuilder, table: str) -> str:
    """The first rows and columns of a table `[T, T]`."""
    size = b.size("input_ids", 1, "cut")
    ends = b.node("Concat", [size, size], "ends", axis=0)
    return b.node("Slice", [table, b.c([0, 0], np.int64), ends, b.c([0, 1], np.int64)], "cut")


def table(b: EncoderBuilder, mask: str, width: int = 8) -> str:
    places = np.arange(40)
    return within(b, mask, cut(b, b.c(abs(places[:, None] - places) <= width, np.bool_)))


def first_tokens(b: EncoderBuilder, mask: str) -> str:
    """Later keys than the 20th are never hidden."""
    bounds = [(0, 20), (20, 2**31)]
    first, rest = (
        b.node("Slice", [mask, b.c([start], np.int64), b.c([end], np.int64), b.c([3], np.int64)], f"from_{start}")
        for start, end in bounds
    )
    ones = b.node("Add", [b.node("Mul", [rest, b.c(0, np.int64)], "nothing"), b.c(1, np.int64)], "ones")
    return added(b, b.node("Concat", [first, ones], "changed", axis=3))


@pytest.mark.parametrize(
    "build", [window, scaled_window, computed_window, diagonal, table, first_tokens], ids=lambda build: build.__name__
)
def test_windows(build: Callable[[EncoderBuilder, str], str]) -> None:
    """However wide they are, longer sequences lose keys."""
    assert prove(build) == OTHER_KEYS


def test_windows_too_wide_to_try() -> None:
    assert prove(lambda b, mask: window(b, mask, 2000)) == "the mask may depend on positions more than 1024 apart"


def test_positions_that_hide_nothing() -> None:
    """As exporters of newer models write a mask without a window; a table is as long as sequences may be."""

    def by_index(b: EncoderBuilder, mask: str) -> str:
        return within(b, mask, b.node("GreaterOrEqual", [distances(b), b.c(-(2**31), np.int64)], "all"))

    for build in (by_index, lambda b, mask: table(b, mask, 40)):
        found = prove(build)
        assert isinstance(found, ir.Value), found


def test_numbers_that_hide_are_no_distances() -> None:
    def eager(b: EncoderBuilder, mask: str) -> str:
        inverse = b.node("Sub", [b.c(1, np.int64), mask], "inverse")
        low = b.node("Mul", [inverse, b.c(-10000, np.int64)], "low")
        return b.node("Cast", [low], "added", to=1)

    assert isinstance(prove(eager), ir.Value)


def is_one(b: EncoderBuilder, mask: str) -> str:
    kind = np.float32 if b.inputs[0].type.tensor_type.elem_type == 1 else np.int64
    return b.node("Equal", [mask, b.c(1, kind)], "is_one")


def one_document(b: EncoderBuilder, mask: str) -> str:
    """Of packed sequences: the mask holds their numbers, 0 where there is none."""
    later = b.node("Transpose", [mask], "by_query", perm=[0, 1, 3, 2])
    either = b.node("Max", [later, b.c(1, np.int64)], "of_query")
    same = b.node("Equal", [mask, either], "same")
    return b.node("And", [same, b.node("Cast", [mask], "is_visible", to=9)], "visible")


def above_half(b: EncoderBuilder, mask: str) -> str:
    return b.node("Greater", [mask, b.c(0.5)], "visible")


def above_zero(b: EncoderBuilder, mask: str) -> str:
    """As ONNX Runtime's operators read masks; no mask is negative."""
    return b.node("Greater", [mask, b.c(0, np.int64)], "visible")


@pytest.mark.parametrize(
    ("build", "kind", "number"),
    [(is_one, "i64", 2), (is_one, "f32", 2.0), (one_document, "i64", 2), (above_half, "f32", 0.25)],
)
def test_numbers_that_mean_something(build: Callable[[EncoderBuilder, str], str], kind: str, number: float) -> None:
    assert prove(build, "visible", kind) == f"the mask does not show keys of attention_mask {number}"


def test_numbers_that_mean_nothing() -> None:
    for build, role in ((added, "added"), (above_zero, "visible")):
        assert isinstance(prove(build, role), ir.Value)
    assert isinstance(prove(added, kind="f32"), ir.Value)


def test_long_chains() -> None:
    """Longer than Python's stack."""

    def chain(b: EncoderBuilder, mask: str) -> str:
        for index in range(2000):
            mask = b.node("Identity", [mask], f"same_{index}")
        return added(b, mask)

    assert prove(chain) == "the mask is computed by too many nodes"
