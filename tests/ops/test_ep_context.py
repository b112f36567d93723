"""Compiled models: what they compute, bit for bit what their source does, what they need, how they are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from . import compiled, doors
from .encoder_graph import EncoderGraph, Values, encoder, encoder_feeds
from .test_plan_doors import SHAPES, assert_same, float_feeds, float_input

Compile = Callable[..., None]
COMPILERS = [compiled.compile_model, compiled.compile_by_api]
MAY_WRITE_ANYWHERE = os.geteuid() == 0


def tiers(library: Path) -> list[str]:
    return list(doors.devices(library)[0].ep_metadata["tiers_supported"].split(","))


def written(library: Path, folder: Path, embed: bool = False, options: dict[str, str] | None = None) -> Path:
    """A compiled encoder, whose source is gone."""
    graph, outputs = encoder()
    source = compiled.save(graph.model(outputs), folder)
    result = folder / "model_ctx.onnx"
    compiled.compile_model(library, source, result, embed, options)
    source.unlink()
    return result


@pytest.mark.parametrize("compile_with", COMPILERS)
@pytest.mark.parametrize("embed", [False, True])
def test_a_compiled_encoder(fastep_library: Path, tmp_path: Path, compile_with: Compile, embed: bool) -> None:
    """One node, no weights but its own; the source is not needed."""
    graph, outputs = encoder()
    source = compiled.save(graph.model(outputs), tmp_path)
    result = tmp_path / "model_ctx.onnx"
    compile_with(fastep_library, source, result, embed)
    source.unlink()
    model = onnx.load(result)
    assert [(node.domain, node.op_type) for node in model.graph.node] == [("com.microsoft", "EPContext")]
    assert not model.graph.initializer
    files = {"model_ctx.onnx"} | (set() if embed else {"model_ctx_fastep.bin"})
    assert {path.name for path in tmp_path.iterdir()} == files
    session = compiled.open_file(fastep_library, result)
    for batch, length in SHAPES:
        feeds = encoder_feeds(batch, length, seed=length)
        assert_same(session.run(None, feeds), graph.expected(outputs, feeds), (batch, length))


@pytest.mark.parametrize("sparse", ["", "_sparse"])
def test_every_tier(fastep_library: Path, tmp_path: Path, sparse: str) -> None:
    """Each tier's plan runs on that tier; one for a lower tier than the machine's is fine."""
    graph, outputs = encoder(sparse=sparse)
    source = compiled.save(graph.model(outputs), tmp_path)
    feeds = encoder_feeds(3, 21)
    for tier in tiers(fastep_library):
        result = tmp_path / f"{tier}.onnx"
        compiled.compile_model(fastep_library, source, result, options={"max_tier": tier})
        session = compiled.open_file(fastep_library, result)
        assert_same(session.run(None, feeds), graph.expected(outputs, feeds), tier)


def both(
    library: Path, folder: Path, graph: EncoderGraph, outputs: list[str], feeds: Values, plans: int | None = None
) -> None:
    """A graph compiled into a file and into the model, against the reference."""
    folder.mkdir(exist_ok=True)
    source = compiled.save(graph.model(outputs), folder)
    for embed in (False, True):
        result = folder / f"ctx{embed}.onnx"
        compiled.compile_model(library, source, result, embed)
        session = compiled.open_file(library, result)
        assert_same(session.run(None, feeds), graph.expected(outputs, feeds))
        if plans is not None and not embed:
            assert len(compiled.blobs(compiled.plans_of(result).read_bytes())) == plans


def test_several_subgraphs(fastep_library: Path, tmp_path: Path) -> None:
    graph, (x, q) = encoder(layers=1)
    x, q = graph.layer(graph.plain("Neg", x), q, 32, "", "attention_mask")
    y = graph.plain("Abs", graph.linear(q, "QLinear_f32", 2, 32))
    both(fastep_library, tmp_path, graph, [y, x], encoder_feeds(3, 9), 2)


def test_linears_alone(fastep_library: Path, tmp_path: Path) -> None:
    graph = EncoderGraph()
    x = graph.add_input("x", np.uint8, "B", 16)
    outputs = [graph.linear(x, name, 9, 16) for name in ("QLinear_u8", "QLinear_gelu_s8_sparse", "QLinear_f32")]
    feeds = {"x": np.random.default_rng(0).integers(0, 256, (7, 16), np.uint8)}
    both(fastep_library, tmp_path, graph, outputs, feeds, 3)


def test_very_wide_products(fastep_library: Path, tmp_path: Path) -> None:
    """They have no place in a plan of several, and are packed at load."""
    graph = EncoderGraph()
    x = graph.add_input("x", np.uint8, "B", 8)
    y = graph.linear(graph.linear(x, "QLinear_u8_sparse", 16385, 8), "QLinear_f32", 8, 16385)
    feeds = {"x": np.random.default_rng(0).integers(0, 256, (7, 8), np.uint8)}
    both(fastep_library, tmp_path, graph, [y], feeds, 2)


def test_constant_position_ids(fastep_library: Path, tmp_path: Path) -> None:
    graph = EncoderGraph()
    ids = graph.add_input("input_ids", np.int64, "B", 6)
    positions = graph.constant("positions", np.arange(6)[None])
    x, q = graph.embed(ids, positions, 16)
    y = graph.linear(q, "QLinear_u8", 20, 16)
    both(fastep_library, tmp_path, graph, [y, x], {"input_ids": np.random.default_rng(0).integers(0, 50, (4, 6))})


def test_one_of_two_outputs(fastep_library: Path, tmp_path: Path) -> None:
    graph = EncoderGraph()
    x = float_input(graph)
    (_, q) = graph.skip_norm(x, x, 16)
    both(fastep_library, tmp_path, graph, [q], float_feeds())


def test_nodes_whose_results_nobody_reads(fastep_library: Path, tmp_path: Path) -> None:
    """ONNX Runtime writes no compiled node without outputs: they stay what they are to it."""
    graph = EncoderGraph()
    x = float_input(graph)
    (y,) = graph.skip_norm(x, x, 16, "f32")
    graph.linear(graph.skip_norm(graph.plain("Abs", y), x, 16, "u8")[0], "QLinear_u8", 9, 16)
    both(fastep_library, tmp_path, graph, [y], float_feeds(), 1)


def test_branches_around(fastep_library: Path, tmp_path: Path) -> None:
    """A value that a branch reads leaves its plan, and one that a branch computes enters another."""
    graph = EncoderGraph()
    x = float_input(graph)
    flag = graph.add_input("flag", np.bool_)
    (first,) = graph.skip_norm(x, x, 16, "f32")
    branches = {}
    for branch, op_type in (("then_branch", "Abs"), ("else_branch", "Neg")):
        info = helper.make_tensor_value_info(branch, onnx.TensorProto.FLOAT, None)
        branches[branch] = helper.make_graph([helper.make_node(op_type, [first], [branch])], branch, [], [info])
    graph.nodes.append(helper.make_node("If", [flag], ["chosen"], "if", **branches))
    graph.steps.append(lambda v: v.update(chosen=np.abs(v[first]) if v["flag"] else -v[first]))
    (after,) = graph.skip_norm(first, "chosen", 16, "f32")
    for value in (True, False):
        both(fastep_library, tmp_path / str(value), graph, [after], {**float_feeds(), "flag": np.array(value)}, 2)


def test_outputs_dropped_and_names_changed_later(fastep_library: Path, tmp_path: Path) -> None:
    """A compiled model is a model: who edits it need not know of plans."""
    graph, outputs = encoder()
    source = compiled.save(graph.model(outputs), tmp_path)
    result = tmp_path / "ctx.onnx"
    compiled.compile_model(fastep_library, source, result)
    model = onnx.load(result)
    node = model.graph.node[0]
    for names in (node.input, node.output):
        names[:] = [f"{name}_renamed" for name in names]
    for info in (*model.graph.input, *model.graph.output):
        info.name += "_renamed"
    model.graph.value_info.append(model.graph.output.pop(0))
    onnx.save(model, result)
    feeds = encoder_feeds(2, 9)
    found = compiled.open_file(fastep_library, result).run(None, {f"{k}_renamed": v for k, v in feeds.items()})
    assert_same(found, graph.expected(outputs, feeds)[1:])


def test_sessions_of_one_compiled_model_share_plans(
    fastep_library: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [written(fastep_library, tmp_path, embed) for embed in (False,)]
    monkeypatch.setenv("FASTEP_LOG", "debug")
    capfd.readouterr()
    sessions = [compiled.open_file(fastep_library, paths[0]) for _ in range(2)]
    sessions.append(compiled.open_file(fastep_library, paths[0], {"skip_padding": "1"}))
    lines = re.findall(r"debug: node .*", capfd.readouterr().err)
    nodes = len(lines) // 3
    assert [sum("shared with another" in line for line in lines[i * nodes : (i + 1) * nodes]) for i in range(3)] == [
        0,
        nodes,
        0,
    ]


def test_options_of_the_session_count(fastep_library: Path, tmp_path: Path) -> None:
    graph, outputs = encoder()
    path = written(fastep_library, tmp_path)
    session = compiled.open_file(fastep_library, path, {"skip_padding": "1", "threads": "1"})
    feeds = encoder_feeds(3, 16) | {"attention_mask": np.repeat([[1] * 5 + [0] * 11], 3, 0)}
    for y, wanted in zip(session.run(None, feeds), graph.expected(outputs, feeds), strict=True):
        assert np.array_equal(y[:, :5], wanted[:, :5])
        assert not y[:, 5:].any()


def test_a_model_from_memory(fastep_library: Path, tmp_path: Path) -> None:
    """Its plans are found by the path that the session is told."""
    graph, outputs = encoder()
    path = written(fastep_library, tmp_path)
    feeds = encoder_feeds(2, 5)
    config = {"ep.context_file_path": str(path)}
    session = compiled.open_file(fastep_library, path.read_bytes(), config=config)
    assert_same(session.run(None, feeds), graph.expected(outputs, feeds))
    with pytest.raises(Exception, match=r"plans beside the model.*ep\.context_file_path"):
        compiled.open_file(fastep_library, path.read_bytes())


def test_without_the_provider_it_cannot_run(fastep_library: Path, tmp_path: Path) -> None:
    path = written(fastep_library, tmp_path)
    with pytest.raises(Exception, match="EPContext"):
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_plans_for_a_better_tier_are_refused(fastep_library: Path, tmp_path: Path) -> None:
    best = tiers(fastep_library)[-1]
    path = written(fastep_library, tmp_path)
    with pytest.raises(Exception, match=rf"tier scalar or a lower one.*found one for tier {best}.*fastep compile"):
        compiled.open_file(fastep_library, path, {"max_tier": "scalar"})


def test_sessions_that_write_the_same_plans_at_once(fastep_library: Path, tmp_path: Path) -> None:
    """Who comes last is read, whole: two models of one stem share the file of plans."""
    graph = EncoderGraph()
    x = float_input(graph)
    outputs = [y for _ in range(100) for y in graph.skip_norm(x, x, 16, "f32")]  # a plan each
    source = compiled.save(graph.model(outputs), tmp_path)
    results = [tmp_path / f"ctx.{i}" for i in range(2)]
    with ThreadPoolExecutor(len(results)) as pool:
        list(pool.map(lambda result: compiled.compile_model(fastep_library, source, result), results))
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "ctx.0", "ctx.1", "ctx_fastep.bin"}
    assert len(compiled.blobs((tmp_path / "ctx_fastep.bin").read_bytes())) == len(outputs)
    feeds = float_feeds()
    for result in results:
        assert_same(compiled.open_file(fastep_library, result).run(None, feeds), graph.expected(outputs, feeds))


def test_what_cannot_be_written_leaves_nothing(fastep_library: Path, tmp_path: Path) -> None:
    graph, outputs = encoder(layers=1)
    source = compiled.save(graph.model(outputs), tmp_path)
    blocked = tmp_path / "model_ctx_fastep.bin"
    blocked.mkdir()
    with pytest.raises(Exception, match=r"compiled plans cannot be written to .*model_ctx_fastep\.bin"):
        compiled.compile_model(fastep_library, source, tmp_path / "model_ctx.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model_ctx_fastep.bin"}
