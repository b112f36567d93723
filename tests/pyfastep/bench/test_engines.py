"""Engines: how rows are named, and how sessions are opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyfastep.bench.engines import ENGINES, Engine, parse_engines
from pyfastep.errors import FastEPError


def test_rows_from_names_and_files() -> None:
    rows = parse_engines("a.onnx", ["fastep", "ort"], ["b/c.onnx", "fp32=d.onnx", "fastep:q8=e=f.onnx"])
    assert rows == [
        Engine("fastep", "fastep", Path("a.onnx")),
        Engine("ort", "ort", Path("a.onnx")),
        Engine("c", "ort", Path("b/c.onnx")),
        Engine("fp32", "ort", Path("d.onnx")),
        Engine("q8", "fastep", Path("e=f.onnx")),
    ]


@pytest.mark.parametrize(
    ("kinds", "models", "message"),
    [
        (["tensorrt"], [], "unknown engine 'tensorrt' .*fastep, fastep-customop, ort"),
        ([], ["x:y=z"], "unknown engine 'x'"),
        (["ort"], ["ort=x"], "two rows would be called 'ort'"),
        ([], [], "no engine"),
    ],
)
def test_wrong_rows(kinds: list[str], models: list[str], message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        parse_engines("a.onnx", kinds, models)


@pytest.mark.parametrize("kind", ENGINES)
def test_sessions_have_exactly_the_threads_asked_for(fastep_library: Path, fast_model: Path, kind: str) -> None:
    session = Engine("x", kind, fast_model).open(2)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert (session.get_providers()[0] == "FastEPExecutionProvider") == (kind == "fastep")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match="no such model file"):
        Engine("x", "ort", tmp_path / "missing.onnx").open(1)
