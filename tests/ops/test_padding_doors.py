"""Which tokens a subgraph computes: real ones always, with their bits; right padding where the option says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import doors
from .doors import Array, Door
from .encoder_graph import EncoderGraph, Values, encoder, encoder_feeds
from .test_plan_doors import assert_same

MASK_TYPES = [np.int64, np.int32, np.bool_, np.float32]


def computed(mask: Array) -> Array:
    """Up to the last visible token of each row, and the first token."""
    up_to_last = np.cumsum((mask != 0)[:, ::-1], axis=1)[:, ::-1] > 0
    return np.asarray(up_to_last | (np.arange(mask.shape[1]) == 0))


def without_padding(expected: list[Array], mask: Array) -> list[Array]:
    return [np.where(computed(mask)[..., None], y, 0).astype(y.dtype) for y in expected]


@pytest.mark.parametrize("door", ["provider", "both"])
@pytest.mark.parametrize(
    ("marks", "option", "skips"),
    [
        ((0, 0), None, False),
        ((0, 0), "auto", False),
        ((0, 0), "1", True),
        ((1, 1), None, True),
        ((1, 1), "auto", True),
        ((1, 1), "0", False),
        ((1, 0), "auto", False),
        ((0, 1), "auto", False),
    ],
)
def test_option_and_marks(
    fastep_library: Path, door: Door, marks: tuple[int, ...], option: str | None, skips: bool
) -> None:
    graph, outputs = encoder(skip_padding=marks)
    model = graph.model(outputs, functions=door == "provider")
    feeds = encoder_feeds(7, 40, seed=3)
    expected = graph.expected(outputs, feeds)
    mask = feeds["attention_mask"]
    assert 0.2 < computed(mask).mean() < 0.8
    session = doors.open_session(fastep_library, model, door, {"skip_padding": option} if option else {})
    assert_same(session.run(None, feeds), without_padding(expected, mask) if skips else expected)


@pytest.mark.parametrize("mask_type", MASK_TYPES)
def test_masks_of_every_form(fastep_library: Path, mask_type: type[np.generic]) -> None:
    """Nothing, one, all; left padding; holes; values other than 1; minus zero; batches of one and of none."""
    graph, outputs = encoder(layers=1, mask_type=mask_type)
    session = doors.open_session(fastep_library, graph.model(outputs), options={"skip_padding": "1"})
    length = 21
    masks = np.zeros((8, length))
    masks[1, 0] = masks[2, -1] = 1
    masks[3] = masks[4, :9] = masks[5, 7:15] = masks[6, [0, 3, 4, 11]] = 1
    masks[7, :5] = 1 if mask_type is np.bool_ else -3
    masks[7, 5:] = -0.0
    for rows in (slice(0, 8), *(slice(i, i + 1) for i in range(8)), slice(0, 0)):
        mask = masks[rows].astype(mask_type)
        feeds = encoder_feeds(len(mask), length) | {"attention_mask": mask}
        assert_same(session.run(None, feeds), without_padding(graph.expected(outputs, feeds), mask), rows)


def test_no_tokens(fastep_library: Path) -> None:
    graph, outputs = encoder(layers=1)
    session = doors.open_session(fastep_library, graph.model(outputs), options={"skip_padding": "1"})
    found = session.run(None, encoder_feeds(3, 0))
    assert [y.shape for y in found] == [(3, 0, 32)] * 2


def test_tiers_and_threads(fastep_library: Path) -> None:
    graph, outputs = encoder()
    feeds = encoder_feeds(40, 33)
    expected = without_padding(graph.expected(outputs, feeds), feeds["attention_mask"])
    for tier in doors.devices(fastep_library)[0].ep_metadata["tiers_supported"].split(","):
        for threads in ("0", "1", "3"):
            options = {"max_tier": tier, "threads": threads, "skip_padding": "1"}
            session = doors.open_session(fastep_library, graph.model(outputs), options=options)
            assert_same(session.run(None, feeds), expected, options)


@pytest.mark.parametrize("second", ["", "other_mask", "bias"])
def test_attention_that_does_not_share_the_mask_computes_all(fastep_library: Path, second: str) -> None:
    """Its keys at right padding are visible, or hidden by something else."""
    graph = EncoderGraph()
    x = graph.add_input("x", np.uint8, "B", "S", 24)
    values: Values = {"x": np.random.default_rng(1).integers(0, 256, (4, 18, 24)).astype(np.uint8)}
    mask = graph.add_input("mask", np.int64, "B", "S")
    values["mask"] = (np.arange(18) < np.array([3, 18, 0, 9])[:, None]).astype(np.int64)
    if second == "bias":
        graph.add_input("bias", np.float32, 1, 1, 1, "T")
        values["bias"] = np.linspace(-2, 2, 18, dtype=np.float32).reshape(1, 1, 1, 18)
    elif second:
        graph.add_input(second, np.int64, "B", "S")
        values[second] = values["mask"][::-1].copy()
    first = graph.attention([x, x, x], 24, mask, skip_padding=1)
    projected = [graph.linear(first, "QLinear_u8", 24, 24) for _ in range(3)]
    hiding = "_bias" if second == "bias" else "_mask"
    y = graph.attention(projected, 24, second or None, hiding, skip_padding=1)
    for option in ("auto", "1"):
        session = doors.open_session(fastep_library, graph.model([y]), options={"skip_padding": option})
        assert_same(session.run(None, values), graph.expected([y], values), option)
