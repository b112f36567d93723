"""Engines: how rows are named, and how sessions are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pyfastep._stock import survives_exact_products
from pyfastep.bench import engines
from pyfastep.bench.engines import ENGINES, MOST_THREADS, Engine, parse_engines, session_options, split_row
from pyfastep.errors import FastEPError

from ..test__stock import K, make_model


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


def test_a_file_that_is_there_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ort:lr=1").mkdir()
    (tmp_path / "ort:lr=1" / "m.onnx").touch()
    assert split_row("ort:lr=1/m.onnx") == (None, None, Path("ort:lr=1/m.onnx"))
    assert split_row("lr=1/m.onnx") == (None, "lr", Path("1/m.onnx"))
    assert split_row("a=lr=1/m.onnx") == (None, "a", Path("lr=1/m.onnx"))
    assert split_row("ort:m.onnx") == ("ort", None, Path("m.onnx"))
    assert split_row("ort-unfused:a=m.onnx") == ("ort-unfused", "a", Path("m.onnx"))
    assert split_row(Path("m.onnx")) == (None, None, Path("m.onnx"))


def test_threads_have_a_limit() -> None:
    assert session_options(MOST_THREADS).intra_op_num_threads == MOST_THREADS
    with pytest.raises(FastEPError, match="threads must be at most 1024, found 99999999999"):
        session_options(99999999999)


@pytest.mark.parametrize("kind", ENGINES)
def test_sessions_have_exactly_the_threads_asked_for(fastep_library: Path, fast_model: Path, kind: str) -> None:
    session = Engine("x", kind, fast_model).open(2)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert (session.get_providers()[0] == "FastEPExecutionProvider") == (kind == "fastep")


@pytest.mark.parametrize("kind", ENGINES)
def test_threads_rest_between_calls(fastep_library: Path, fast_model: Path, kind: str) -> None:
    """They would take the machine from the engine whose turn is next."""
    options = Engine("x", kind, fast_model).open(1).get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def save_skip_and_norm(path: Path, hidden: int = 12) -> None:
    x, skip, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "s", hidden]) for name in "xry")
    values = {"gamma": np.ones(hidden, np.float32), "beta": np.zeros(hidden, np.float32)}
    nodes = [
        helper.make_node("Add", ["x", "r"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "gamma", "beta"], ["y"], axis=-1),
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "norm", [x, skip], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize(
    ("kind", "left"), [("ort", ["SkipLayerNormalization"]), ("ort-unfused", ["Add", "LayerNormalization"])]
)
def test_unfused_is_onnx_runtime_without_one_fusion(
    kind: str, left: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_graph_kept(threads: int) -> Any:
        options = session_options(threads)
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        return options

    save_skip_and_norm(tmp_path / "m.onnx")
    monkeypatch.setattr(engines, "session_options", with_graph_kept)
    Engine("x", kind, tmp_path / "m.onnx").open(1)
    assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == left


def test_exact_products(tmp_path: Path) -> None:
    """Two products of 255 and 127 do not fit 16 bits."""
    model = make_model("zero")
    del model.graph.node[0].input[3]
    path = tmp_path / "product.onnx"
    onnx.save(model, path)
    if not survives_exact_products(path):
        with pytest.raises(FastEPError, match=r"aborts .* MatMulInteger .*1\.31"):
            Engine("x", "ort-exact", path).open(1)
        return
    session = Engine("x", "ort-exact", path).open(1)
    assert session.run(None, {"x": np.full((1, K), 255, np.uint8)})[0].item() == K * 127 * 255


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match="no such model file"):
        Engine("x", "ort", tmp_path / "missing.onnx").open(1)
