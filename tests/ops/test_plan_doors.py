"""Several nodes as one subgraph of the provider: bit for bit what they compute one by one."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from . import doors
from .doors import Array, Door
from .encoder_graph import EncoderGraph, Values, encoder, encoder_feeds

SHAPES = [(1, 1), (3, 7), (1, 77), (5, 13), (2, 64)]


def assert_same(found: list[Array], expected: list[Array], what: object = "") -> None:
    assert len(found) == len(expected)
    for y, wanted in zip(found, expected, strict=True):
        assert y.dtype == wanted.dtype
        assert np.array_equal(y, wanted), what


def check_graph(
    library: Path,
    graph: EncoderGraph,
    outputs: list[str],
    feeds: Values,
    subgraphs: int | None,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The provider's answer against the reference, and into how many subgraphs it cut the fastep nodes."""
    monkeypatch.setenv("FASTEP_LOG", "info")
    capfd.readouterr()
    session = doors.open_session(library, graph.model(outputs))
    counts = re.findall(r"takes (\d+) of (\d+) fastep nodes, tier \w+, subgraphs: (\d+)", capfd.readouterr().err)
    total = sum(node.domain != "" for node in graph.nodes)
    assert counts[0][:2] == (str(total), str(total))
    if subgraphs is not None:
        assert counts[0][2] == str(subgraphs)
    assert_same(session.run(None, feeds), graph.expected(outputs, feeds))


@pytest.mark.parametrize("sparse", ["", "_sparse"])
@pytest.mark.parametrize("features", [24, 32])
def test_an_encoder_is_one_subgraph(
    fastep_library: Path,
    features: int,
    sparse: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, outputs = encoder(features, sparse)
    check_graph(fastep_library, graph, outputs, encoder_feeds(2, 5), 1, capfd, monkeypatch)
    monkeypatch.delenv("FASTEP_LOG")
    whole = doors.open_session(fastep_library, graph.model(outputs))
    one_by_one = doors.open_session(fastep_library, graph.model(outputs, functions=False), "custom_ops")
    for batch, length in SHAPES:
        feeds = encoder_feeds(batch, length, seed=length)
        found = whole.run(None, feeds)
        assert_same(found, graph.expected(outputs, feeds), (batch, length))
        assert_same(found, one_by_one.run(None, feeds), (batch, length))


def test_plain_onnx_runtime_answers_something_else() -> None:
    """Otherwise no test here could tell who ran the nodes."""
    graph, outputs = encoder()
    feeds = encoder_feeds(2, 5)
    model = graph.model(outputs).SerializeToString()
    plain = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for y, wanted in zip(plain.run(None, feeds), graph.expected(outputs, feeds), strict=True):
        assert y.shape == wanted.shape
        assert not np.array_equal(y, wanted)
        assert len(np.unique(wanted)) > 50


def test_every_tier_and_thread_count(fastep_library: Path) -> None:
    graph, outputs = encoder()
    feeds = encoder_feeds(5, 33)
    expected = graph.expected(outputs, feeds)
    for tier in doors.devices(fastep_library)[0].ep_metadata["tiers_supported"].split(","):
        for threads in ("0", "1", "3"):
            options = {"max_tier": tier, "threads": threads}
            session = doors.open_session(fastep_library, graph.model(outputs), options=options)
            assert_same(session.run(None, feeds), expected, options)


@pytest.mark.parametrize("mask_type", [np.int32, np.bool_, np.float32])
def test_types_of_masks(fastep_library: Path, mask_type: type[np.generic]) -> None:
    graph, outputs = encoder(layers=1, mask_type=mask_type)
    feeds = encoder_feeds(4, 11, mask_type)
    session = doors.open_session(fastep_library, graph.model(outputs))
    assert_same(session.run(None, feeds), graph.expected(outputs, feeds))


def test_a_bias(fastep_library: Path) -> None:
    graph = EncoderGraph()
    q = graph.add_input("q", np.uint8, "B", "S", 24)
    bias = graph.add_input("bias", np.float32, "B", "h", "S", "T")
    qkv = [graph.linear(q, "QLinear_u8", 24, 24) for _ in range(3)]
    y = graph.attention(qkv, 24, bias, "_bias")
    session = doors.open_session(fastep_library, graph.model([y]))
    rng = np.random.default_rng(1)
    for shape in ((3, 2, 9, 9), (1, 1, 9, 9), (3, 1, 1, 9)):
        feeds = {"q": rng.integers(0, 256, (3, 9, 24), np.uint8), "bias": rng.normal(0, 2, shape).astype(np.float32)}
        assert_same(session.run(None, feeds), graph.expected([y], feeds), shape)


def test_constant_position_ids(
    fastep_library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constant among the runtime inputs is no input of the subgraph."""
    graph = EncoderGraph()
    ids = graph.add_input("input_ids", np.int64, "B", 6)
    positions = graph.constant("positions", np.arange(6)[None])
    x, q = graph.embed(ids, positions, 16)
    y = graph.linear(q, "QLinear_u8", 20, 16)
    feeds = {"input_ids": np.random.default_rng(0).integers(0, 50, (4, 6))}
    check_graph(fastep_library, graph, [y, x], feeds, 1, capfd, monkeypatch)


def float_input(graph: EncoderGraph) -> str:
    return graph.add_input("x", np.float32, "B", "S", 16)


def float_feeds() -> Values:
    return {"x": np.random.default_rng(0).normal(0, 2, (3, 5, 16)).astype(np.float32)}


def test_groups_stay_convex(
    fastep_library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path through a plain node and back cuts a group; a diamond inside does not."""
    graph = EncoderGraph()
    x = float_input(graph)
    (first,) = graph.skip_norm(x, x, 16, "f32")
    (left,) = graph.skip_norm(first, x, 16, "f32")
    (right,) = graph.skip_norm(x, first, 16, "f32")
    (joined,) = graph.skip_norm(left, right, 16, "f32")
    check_graph(fastep_library, graph, [joined], float_feeds(), 1, capfd, monkeypatch)
    outside = graph.plain("Abs", first)
    (after,) = graph.skip_norm(joined, outside, 16, "f32")
    check_graph(fastep_library, graph, [after], float_feeds(), 2, capfd, monkeypatch)
    # Also where values of the first group are outputs of the model, or both.
    check_graph(fastep_library, graph, [after, first, left], float_feeds(), 2, capfd, monkeypatch)


def test_a_float_op_between(
    fastep_library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, (x, q) = encoder(layers=1)
    x, q = graph.layer(graph.plain("Neg", x), q, 32, "", "attention_mask")
    y = graph.linear(q, "QLinear_f32", 2, 32)
    # The second layer's projections and attention still belong to the first group, as its product does.
    check_graph(fastep_library, graph, [y, x], encoder_feeds(3, 9), 2, capfd, monkeypatch)


def test_nodes_that_nothing_connects(
    fastep_library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sharing an input of the model is no connection."""
    graph = EncoderGraph()
    x = float_input(graph)
    outputs = [y for _ in range(3) for y in graph.skip_norm(x, x, 16)]
    check_graph(fastep_library, graph, outputs, float_feeds(), 3, capfd, monkeypatch)


def test_one_of_two_outputs(
    fastep_library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that nobody reads is none of the subgraph's."""
    for wanted in (0, 1):
        graph = EncoderGraph()
        x = float_input(graph)
        outputs = graph.skip_norm(x, x, 16)
        check_graph(fastep_library, graph, [outputs[wanted]], float_feeds(), 1, capfd, monkeypatch)


def test_nodes_whose_results_nobody_reads(
    fastep_library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime keeps such nodes, and gives their subgraph no output to write."""
    graph = EncoderGraph()
    x = float_input(graph)
    (y,) = graph.skip_norm(x, x, 16, "f32")
    graph.linear(graph.skip_norm(y, x, 16, "u8")[0], "QLinear_u8", 9, 16)
    (kept,) = graph.skip_norm(graph.plain("Abs", y), x, 16, "f32")
    graph.linear(graph.skip_norm(kept, graph.plain("Neg", kept), 16, "u8")[0], "QLinear_u8", 9, 16)
    check_graph(fastep_library, graph, [kept], float_feeds(), 3, capfd, monkeypatch)


def test_very_wide_products_run_alone(
    fastep_library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = EncoderGraph()
    x = graph.add_input("x", np.uint8, "B", 8)
    y = graph.linear(x, "QLinear_u8_sparse", 16385, 8)
    y = graph.linear(y, "QLinear_u8", 8, 16385)
    y = graph.linear(graph.linear(y, "QLinear_u8", 9, 8), "QLinear_f32", 3, 9)
    feeds = {"x": np.random.default_rng(0).integers(0, 256, (7, 8), np.uint8)}
    check_graph(fastep_library, graph, [y], feeds, 3, capfd, monkeypatch)


def test_a_value_read_by_a_branch(fastep_library: Path) -> None:
    """What a branch of an If reads from outside is no input of the If, but a path all the same."""
    graph = EncoderGraph()
    x = float_input(graph)
    flag = graph.add_input("flag", np.bool_)
    (first,) = graph.skip_norm(x, x, 16, "f32")
    branches = {}
    for branch, op_type in (("then_branch", "Abs"), ("else_branch", "Neg")):
        info = helper.make_tensor_value_info(branch, onnx.TensorProto.FLOAT, None)
        node = helper.make_node(op_type, [first], [branch])
        branches[branch] = helper.make_graph([node], branch, [], [info])
    graph.nodes.append(helper.make_node("If", [flag], ["chosen"], "if", **branches))
    graph.steps.append(lambda v: v.update(chosen=np.abs(v[first]) if v["flag"] else -v[first]))
    (after,) = graph.skip_norm(first, "chosen", 16, "f32")
    session = doors.open_session(fastep_library, graph.model([after]))
    for value in (True, False):
        feeds = {**float_feeds(), "flag": np.array(value)}
        assert_same(session.run(None, feeds), graph.expected([after], feeds))


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(
    fastep_library: Path, seed: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the cut, ONNX Runtime finds no cycle in it, and no bit changes."""
    rng = np.random.default_rng(seed)
    graph = EncoderGraph(seed)
    values = [float_input(graph)]
    for _ in range(25):
        a, b = (values[i] for i in rng.integers(max(0, len(values) - 6), len(values), 2))
        kind = rng.integers(0, 10)
        if kind < 6:
            values += graph.skip_norm(a, b, 16, "f32")
        elif kind < 8:
            q = graph.skip_norm(a, b, 16, "u8")[0]
            values.append(graph.linear(q, "QLinear_f32", 16, 16))
        else:
            values.append(graph.plain("Add", a, b) if kind == 8 else graph.plain("Neg", a))
    outputs = [values[i] for i in sorted({*rng.integers(1, len(values), 3).tolist(), len(values) - 1})]
    check_graph(fastep_library, graph, outputs, float_feeds(), None, capfd, monkeypatch)


def test_concurrent_runs_of_one_session(fastep_library: Path) -> None:
    graph, outputs = encoder()
    session = doors.open_session(fastep_library, graph.model(outputs))
    feeds = [encoder_feeds(batch, length, seed=length) for batch, length in SHAPES]
    expected = [graph.expected(outputs, feed) for feed in feeds]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(40):
            found = session.run(None, feeds[i])
            if not all(np.array_equal(y, wanted) for y, wanted in zip(found, expected[i], strict=True)):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(feeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": np.full((2, 5), 50)}, r"'input_ids' must be in \[0, 50\), found 50 at \[0, 0\]"),
        ({"input_ids": np.full((2, 5), -1)}, r"found -1"),
        ({"position_ids": np.full((1, 5), 256)}, r"'position_ids' must be in \[0, 256\), found 256"),
        ({"attention_mask": np.ones((1, 5), np.int64)}, r"'attention_mask': expected a mask of shape \[2, 5\]"),
        ({"attention_mask": np.ones((2, 4), np.int64)}, r"'attention_mask': .* found \[2, 4\]"),
        ({"position_ids": np.zeros((3, 5), np.int64)}, r"'position_ids': expected shape .* found \[3, 5\]"),
    ],
)
def test_bad_inputs_fail_the_run_and_not_the_session(
    fastep_library: Path, change: dict[str, Array], message: str
) -> None:
    graph, outputs = encoder(layers=1)
    for info in graph.inputs:  # so that ONNX Runtime lets any shape pass
        for i, dim in enumerate(info.type.tensor_type.shape.dim):
            dim.dim_param = f"{info.name}{i}"
    session = doors.open_session(fastep_library, graph.model(outputs))
    feeds = encoder_feeds(2, 5)
    with pytest.raises(Exception, match=rf"node 'node0' \(fastep::EmbedLayerNorm_f32_u8\) and \d+ more: .*{message}"):
        session.run(None, {**feeds, **change})
    assert_same(session.run(None, feeds), graph.expected(outputs, feeds))


def test_broken_constants_name_their_node(fastep_library: Path) -> None:
    graph, outputs = encoder(layers=1)
    model = graph.model(outputs)
    (scale,) = [value for value in model.graph.initializer if value.name == "w_scale5"]
    scale.CopyFrom(onnx.numpy_helper.from_array(np.full(scale.dims, -1, np.float32), scale.name))
    with pytest.raises(Exception, match=r"node5.*w_scale.*-1"):
        doors.open_session(fastep_library, model)


@pytest.mark.parametrize("door", doors.DOORS)
def test_sessions_of_one_model_share_its_plans(
    fastep_library: Path, door: Door, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the last of them ends; whatever differs is not shared."""
    monkeypatch.setenv("FASTEP_LOG", "debug")
    graph, outputs = encoder(40)
    feeds = encoder_feeds(3, 17)

    def start(model: onnx.ModelProto, tier: str = "") -> tuple[onnxruntime.InferenceSession, bool]:
        capfd.readouterr()
        session = doors.open_session(fastep_library, model, door, {"max_tier": tier})
        lines = [line for line in capfd.readouterr().err.splitlines() if "[fastep] debug" in line]
        shared = {line.endswith("shared with another session") for line in lines}
        assert len(shared) == 1, lines
        return session, shared.pop()

    model = graph.model(outputs, functions=door == "provider")
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for value in other.graph.initializer:  # one bit of every node that has such an input
        if value.name.startswith(("bias", "beta", "y_scale")):
            value.raw_data = bytes([value.raw_data[0] ^ 1]) + value.raw_data[1:]
    first, shared = start(model)
    assert not shared
    second, shared = start(model)
    assert shared
    assert not start(other)[1]
    assert door == "custom_ops" or not start(model, "scalar")[1]
    del first
    assert_same(second.run(None, feeds), graph.expected(outputs, feeds))
    third, shared = start(model)
    assert shared
    del second, third
    assert not start(model)[1]
