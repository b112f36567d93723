"""One tensor that nodes of a plan read in several roles: each role has rules of its own, and every one is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import doors
from .child import SessionError, run_apart
from .encoder_graph import EncoderGraph, Values
from .test_plan_doors import assert_same

FEATURES = 32
MASK, BIAS = "_mask", "_bias"


def ids_and_mask(mask_first: bool) -> tuple[EncoderGraph, list[str]]:
    """Position ids hide keys, too, of an attention in front of the embedding or behind it."""
    graph = EncoderGraph()
    ids = graph.add_input("input_ids", np.int64, "B", "S")
    positions = graph.add_input("position_ids", np.int64, "P", "S")
    if not mask_first:
        (q,) = graph.embed(ids, positions, FEATURES, "u8")
        return graph, [graph.attention([q, q, q], FEATURES, positions)]
    x = graph.add_input("x", np.uint8, "B", "S", FEATURES)
    attended = graph.attention([x, x, x], FEATURES, positions)
    (embedded,) = graph.embed(ids, positions, FEATURES, "f32")
    return graph, graph.skip_norm(graph.linear(attended, "QLinear_f32", FEATURES, FEATURES), embedded, FEATURES)


def ids_and_mask_feeds(batch: int, length: int, rows: int, mask_first: bool) -> Values:
    rng = np.random.default_rng(length)
    feeds: Values = {
        "input_ids": rng.integers(0, 50, (batch, length)),
        "position_ids": rng.integers(0, 3, (rows, length)),
    }
    return feeds | ({"x": rng.integers(0, 256, (batch, length, FEATURES), np.uint8)} if mask_first else {})


@pytest.mark.parametrize("mask_first", [False, True])
def test_ids_that_are_a_mask(fastep_library: Path, mask_first: bool) -> None:
    graph, outputs = ids_and_mask(mask_first)
    session = doors.open_session(fastep_library, graph.model(outputs))
    for batch, length in ((1, 1), (1, 17), (3, 7)):
        feeds = ids_and_mask_feeds(batch, length, batch, mask_first)
        assert_same(session.run(None, feeds), graph.expected(outputs, feeds), (batch, length))


@pytest.mark.parametrize("skip_padding", ["0", "1"])
@pytest.mark.parametrize("mask_first", [False, True])
def test_one_row_of_ids_is_no_mask_of_a_batch(
    fastep_library: Path, tmp_path: Path, mask_first: bool, skip_padding: str
) -> None:
    graph, outputs = ids_and_mask(mask_first)
    feeds = ids_and_mask_feeds(2000, 16, 1, mask_first)
    with pytest.raises(SessionError, match=r"'position_ids': expected a mask of shape \[2000, 16\], found \[1, 16\]"):
        run_apart(fastep_library, tmp_path, graph.model(outputs), feeds, {"skip_padding": skip_padding})


def attentions(
    shared: np.dtype[np.generic] | type[np.generic], rank: int, *roles: tuple[str, int]
) -> tuple[EncoderGraph, list[str]]:
    """One attention behind the other that read one tensor, each as it is told, with so many heads."""
    graph = EncoderGraph()
    y = graph.add_input("x", np.uint8, "B", "S", FEATURES)
    tensor = graph.add_input("shared", np.dtype(shared).type, *(f"d{i}" for i in range(rank)))
    for hiding, heads in roles:
        y = graph.attention([y, y, y], FEATURES, tensor, hiding, heads=heads)
    return graph, [y]


@pytest.mark.parametrize("heads", [(16, 2), (2, 16)])
def test_a_bias_of_attentions_with_different_heads(fastep_library: Path, heads: tuple[int, int]) -> None:
    graph, outputs = attentions(np.float32, 4, *((BIAS, n) for n in heads))
    session = doors.open_session(fastep_library, graph.model(outputs))
    rng = np.random.default_rng(0)
    for shape in ((3, 1, 9, 9), (1, 1, 1, 9)):
        x = rng.integers(0, 256, (3, 9, FEATURES), np.uint8)
        feeds: Values = {"x": x, "shared": rng.normal(0, 2, shape).astype(np.float32)}
        assert_same(session.run(None, feeds), graph.expected(outputs, feeds), shape)


@pytest.mark.parametrize("heads", [(16, 2), (2, 16)])
def test_a_bias_has_the_heads_of_every_attention(fastep_library: Path, tmp_path: Path, heads: tuple[int, int]) -> None:
    graph, outputs = attentions(np.float32, 4, *((BIAS, n) for n in heads))
    feeds: Values = {"x": np.zeros((1, 512, FEATURES), np.uint8), "shared": np.zeros((1, 2, 512, 512), np.float32)}
    with pytest.raises(SessionError, match=r"'shared': expected .* \[1, 16, 512, 512\], found \[1, 2, 512, 512\]"):
        run_apart(fastep_library, tmp_path, graph.model(outputs), feeds)


@pytest.mark.parametrize("roles", [((MASK, 2), (BIAS, 2)), ((BIAS, 2), (MASK, 2))])
@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((2, 64), r"expected a shape that broadcasts to \[2, 2, 64, 64\], found \[2, 64\]"),
        ((1, 1, 1, 64), r"expected a mask of shape \[2, 64\], found \[1, 1, 1, 64\]"),
    ],
)
def test_no_tensor_is_both_mask_and_bias(
    fastep_library: Path, tmp_path: Path, roles: tuple[tuple[str, int], ...], shape: tuple[int, ...], reason: str
) -> None:
    graph, outputs = attentions(np.float32, len(shape), *roles)
    feeds: Values = {
        "x": np.random.default_rng(0).integers(0, 256, (2, 64, FEATURES), np.uint8),
        "shared": np.ones(shape, np.float32),
    }
    with pytest.raises(SessionError, match=f"'shared': {reason}"):
        run_apart(fastep_library, tmp_path, graph.model(outputs), feeds)
