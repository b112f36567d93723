"""What a converted model keeps of its source, and how it behaves in programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pyfastep

STOCK_PROGRAM = """
import sys
sys.modules["pyfastep"] = None  # importing it would fail
import numpy as np, onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
np.save(sys.argv[3], session.run(None, dict(np.load(sys.argv[2])))[0])
"""


@pytest.fixture(scope="session")
def tiny(tiny_encoder: Callable[..., Any]) -> Any:
    return tiny_encoder(architecture="distilbert", block=(4, 1), form="float-products")


@pytest.mark.parametrize("form", ["exact", "default"])
def test_inputs_outputs_and_metadata_are_kept(tiny: Any, form: str, tmp_path: Path) -> None:
    source = onnx.load(tiny.source)
    entry = source.metadata_props.add()
    entry.key, entry.value = "owner", "somebody"
    source.doc_string = "A model with a history."
    onnx.save(source, tmp_path / "source.onnx")
    pyfastep.convert(tmp_path / "source.onnx", tmp_path / "out.onnx", exact=form == "exact")
    converted = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(converted, full_check=False)
    for side in ("input", "output"):
        before, after = getattr(source.graph, side), getattr(converted.graph, side)
        assert [value.SerializeToString() for value in after] == [value.SerializeToString() for value in before], side
    assert {p.key: p.value for p in converted.metadata_props}["owner"] == "somebody"
    assert converted.doc_string == source.doc_string


def test_lengths_and_batches_stay_free(tiny: Any, fastep_session: Callable[..., Any]) -> None:
    session = fastep_session(tiny.default)
    for batch, length in [(1, 1), (5, 3), (2, 200), (1, 512), (1, 1)]:
        outputs = session.run(None, tiny.feeds(batch, length))
        assert [output.shape for output in outputs] == [(batch, length)] * 2


@pytest.mark.parametrize(
    "arguments",
    [{"block": (4, 1)}, {"block": (4, 4)}, {"block": (1, 4)}, {"block": (1, 1), "sparsity": 0.9}],
    ids=str,
)
def test_pruned_models_get_smaller(arguments: dict[str, Any], tiny_encoder: Callable[..., Any]) -> None:
    encoder = tiny_encoder(architecture="bert", form="float-products", **arguments)
    assert encoder.default.stat().st_size < encoder.source.stat().st_size


def test_the_real_model_gets_smaller(minilm: Any) -> None:
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    saved = minilm.source.stat().st_size - minilm.default.stat().st_size
    # At 80 % zeros in 4x1 blocks: 4 values and a gap of one byte for a fifth of the blocks remain, that is a quarter.
    assert saved > 0.7 * weights, f"{saved} of {weights} weight bytes saved"


def test_dense_models_do_not_grow(tiny_encoder: Callable[..., Any]) -> None:
    encoder = tiny_encoder(architecture="distilbert", sparsity=0.0, form="default")
    # A function body and new names come in; weights stay as they were.
    assert encoder.default.stat().st_size < encoder.source.stat().st_size + 32_000


def test_runs_in_a_program_that_does_not_know_us(tiny: Any, tmp_path: Path, fastep_session: Callable[..., Any]) -> None:
    feeds = tiny.feeds(2, 33)
    np.savez(tmp_path / "feeds.npz", **feeds)
    command = [sys.executable, "-c", STOCK_PROGRAM, str(tiny.default), "feeds.npz", "out.npy"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    stock, ours = np.load(tmp_path / "out.npy"), fastep_session(tiny.default).run(None, feeds)[0]
    real = feeds["attention_mask"] == 1
    assert np.dot(stock[real], ours[real]) / np.linalg.norm(stock[real]) / np.linalg.norm(ours[real]) > 0.9995


@pytest.mark.parametrize("door", ["provider", "custom-ops"])
def test_concurrent_runs_of_one_session(door: str, tiny: Any, fastep_session: Callable[..., Any]) -> None:
    """Four threads, one session, shapes that differ from call to call: every result is that of a lone run."""
    session = fastep_session(tiny.default, door=door)
    requests = [tiny.feeds(batch, length, seed) for seed in range(4) for batch, length in [(1, 5), (3, 64), (2, 129)]]
    expected = [session.run(None, feeds) for feeds in requests]

    def check(worker: int) -> None:
        for turn in range(10):
            index = (worker * 7 + turn * 5) % len(requests)
            for ours, theirs in zip(session.run(None, requests[index]), expected[index], strict=True):
                np.testing.assert_array_equal(ours, theirs)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(4)))


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_embedding_tables_are_stored_once(architecture: str, tiny_encoder: Callable[..., Any]) -> None:
    encoder = tiny_encoder(architecture=architecture, block=(4, 1), form="embeddings")
    for path in (encoder.source, encoder.default):
        tables = [
            tensor for tensor in onnx.load(path).graph.initializer if list(tensor.dims)[:1] == [encoder.vocabulary]
        ]
        assert len(tables) == 1, path


def test_two_models_in_one_process(tiny_encoder: Callable[..., Any], fastep_session: Callable[..., Any]) -> None:
    encoders = [
        tiny_encoder(architecture="distilbert", block=(4, 1), form="float-products"),
        tiny_encoder(architecture="bert", block=(4, 1)),
    ]
    alone = [fastep_session(encoder.default).run(None, encoder.feeds(2, 21))[0] for encoder in encoders]
    sessions = [fastep_session(encoder.default) for encoder in encoders]
    for _ in range(3):
        for session, encoder, expected in zip(sessions, encoders, alone, strict=True):
            np.testing.assert_array_equal(session.run(None, encoder.feeds(2, 21))[0], expected)
