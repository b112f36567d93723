"""QLinear through both doors of the library, bit for bit against the reference of the op contract."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from pyfastep.passes.ops import qlinear

from . import doors
from .doors import Array, Case, Door

NAMES = [variant.name for variant in qlinear.all_variants()]


@pytest.fixture(params=doors.DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    value: Door = request.param
    return value


def open_case(library: Path, case: Case, door: Door, options: dict[str, str] | None = None) -> Any:
    # Without functions only the custom ops know the node; with them the decoy body would show in the result.
    return doors.open_session(library, doors.chain_model([case], functions=door == "provider"), door, options)


def assert_same(found: Array, expected: Array) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.array_equal(found.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_every_variant(fastep_library: Path, door: Door, name: str) -> None:
    case = doors.make_case(name)
    x = case.x(2, 5)
    assert_same(doors.run(open_case(fastep_library, case, door), x), case.expected(x))


def test_the_cases_can_fail(fastep_library: Path) -> None:
    """Outputs vary and are not all clamped, and the decoy body is what plain ONNX Runtime would answer."""
    case = doors.make_case("QLinear_u8")
    x = case.x(2, 5)
    expected = case.expected(x)
    assert len(np.unique(expected)) > 50
    assert np.mean((expected > 0) & (expected < 255)) > 0.5
    model = doors.chain_model([case]).SerializeToString()
    plain = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert np.array_equal(doors.run(plain, x), np.ones_like(expected))


@pytest.mark.parametrize(("x_type", "weight_type"), [("s8", "s8"), ("u8", "u8"), ("s8", "u8")])
@pytest.mark.parametrize("per_channel", [False, True])
def test_element_types(fastep_library: Path, door: Door, x_type: str, weight_type: str, per_channel: bool) -> None:
    case = doors.make_case("QLinear_gelu_s8", x_type=x_type, weight_type=weight_type, per_channel=per_channel)
    x = case.x(3, 4)
    assert_same(doors.run(open_case(fastep_library, case, door), x), case.expected(x))


# One output or input, the padding of rows (16) and quads (4) and one beside it, primes.
@pytest.mark.parametrize(("n", "k"), [(1, 1), (16, 4), (17, 3), (15, 65), (64, 64), (97, 131)])
@pytest.mark.parametrize("name", ["QLinear_u8", "QLinear_f32_sparse"])
def test_ugly_shapes(fastep_library: Path, door: Door, name: str, n: int, k: int) -> None:
    case = doors.make_case(name, n, k)
    session = open_case(fastep_library, case, door)
    for leading in [(1, 1), (1, 15), (4, 4), (1, 17), (3, 21), (13, 5), (2, 64)]:
        x = case.x(*leading)
        assert_same(doors.run(session, x), case.expected(x))


@pytest.mark.parametrize("block", [(1, 1), (1, 4), (4, 4), (3, 5), (64, 64)])
def test_block_shapes(fastep_library: Path, door: Door, block: tuple[int, int]) -> None:
    case = doors.make_case("QLinear_s8_sparse", 67, 70, block=block)
    x = case.x(2, 9)
    assert_same(doors.run(open_case(fastep_library, case, door), x), case.expected(x))


@pytest.mark.parametrize("leading", [(), (7,), (2, 3), (2, 3, 1, 4)])
def test_any_rank_of_x(fastep_library: Path, door: Door, leading: tuple[int, ...]) -> None:
    case = doors.make_case("QLinear_relu_u8")
    model = doors.chain_model([case], tuple(f"d{i}" for i in range(len(leading))), functions=door == "provider")
    x = case.x(*leading)
    assert_same(doors.run(doors.open_session(fastep_library, model, door), x), case.expected(x))


@pytest.mark.parametrize("leading", [(0, 5), (3, 0), (0, 0)])
def test_empty_batches(fastep_library: Path, door: Door, leading: tuple[int, int]) -> None:
    case = doors.make_case("QLinear_u8")
    session = open_case(fastep_library, case, door)
    assert_same(doors.run(session, case.x(*leading)), np.empty((*leading, case.shape[0]), np.uint8))
    x = case.x(2, 2)
    assert_same(doors.run(session, x), case.expected(x))


def chain() -> list[Case]:
    return [
        doors.make_case("QLinear_gelu_u8_sparse", 96, 40),
        doors.make_case("QLinear_relu_s8", 50, 96),
        doors.make_case("QLinear_f32", 21, 50, x_type="s8"),
    ]


def expected_of(cases: list[Case], x: Array) -> Array:
    for case in cases:
        x = case.expected(x)
    return x


def test_a_chain_of_nodes(fastep_library: Path, door: Door) -> None:
    cases = chain()
    session = doors.open_session(fastep_library, doors.chain_model(cases, functions=door == "provider"), door)
    x = cases[0].x(3, 11)
    assert_same(doors.run(session, x), expected_of(cases, x))


@pytest.mark.parametrize("config", [{}, {"session.intra_op.allow_spinning": "0"}])
def test_concurrent_runs_of_one_session(fastep_library: Path, door: Door, config: dict[str, str]) -> None:
    """Every Run in flight has its own scratch memory: results of different shapes must not mix."""
    cases = chain()
    model = doors.chain_model(cases, functions=door == "provider")
    session = doors.open_session(fastep_library, model, door, config=config)
    inputs = [cases[0].x(rows, length, seed=rows) for rows, length in [(1, 3), (2, 40), (5, 17), (9, 64)]]
    expected = [expected_of(cases, x) for x in inputs]
    wrong: list[str] = []

    def work(i: int) -> None:
        for _ in range(40):
            found = doors.run(session, inputs[i])
            if not np.array_equal(found, expected[i]):
                wrong.append(f"thread {i}, shape {inputs[i].shape}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_independent_nodes_at_the_same_time(fastep_library: Path, door: Door) -> None:
    """In parallel execution mode nodes of one Run overlap: scratch memory belongs to one execution of one node."""
    case = doors.make_case("QLinear_gelu_u8_sparse", 150, 90)
    model = doors.chain_model([case], functions=door == "provider")
    first = model.graph.node[0]
    model.graph.ClearField("output")
    for i in range(6):
        node = onnx.NodeProto()
        node.CopyFrom(first)
        node.name, node.input[0], node.output[0] = f"linear{i}", f"x{i}", f"y{i}"
        model.graph.node.append(node)
        model.graph.input.append(helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.UINT8, ["B", "S", 90]))
        model.graph.output.append(helper.make_tensor_value_info(f"y{i}", onnx.TensorProto.UINT8, ["B", "S", 150]))
    del model.graph.node[0], model.graph.input[0]
    session = doors.open_session(fastep_library, model, door, parallel_nodes=True)
    inputs = {f"x{i}": case.x(3, 20 + i, seed=i) for i in range(6)}
    for _ in range(20):
        for x, y in zip(inputs.values(), session.run(None, inputs), strict=True):
            assert_same(np.asarray(y), case.expected(x))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(fastep_library: Path, door: Door, threads: int) -> None:
    case = doors.make_case("QLinear_gelu_u8_sparse", 200, 120)
    model = doors.chain_model([case], functions=door == "provider")
    session = doors.open_session(fastep_library, model, door, {"threads": str(threads)}, intra_op_threads=threads)
    x = case.x(5, 50)
    assert_same(doors.run(session, x), case.expected(x))


def test_every_tier_gives_the_same_bits(fastep_library: Path) -> None:
    tiers = doors.devices(fastep_library)[0].ep_metadata["tiers_supported"].split(",")
    case = doors.make_case("QLinear_gelutanh_u8_sparse", 130, 77)
    x = case.x(4, 33)
    for tier in tiers:
        assert_same(doors.run(open_case(fastep_library, case, "provider", {"max_tier": tier}), x), case.expected(x))


def test_wrong_features_fail_the_run_and_not_the_session(fastep_library: Path, door: Door) -> None:
    case = doors.make_case("QLinear_u8", 20, 24)
    model = doors.chain_model([case], functions=door == "provider")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "K"  # so that ONNX Runtime lets any size pass
    session = doors.open_session(fastep_library, model, door)
    x = case.x(2, 3)
    expected = r"node 'linear0' .*input 0 'x': expected shape \[\.\.\., 24\], found \[2, 3, 23\]"
    with pytest.raises(Exception, match=expected):
        doors.run(session, x[..., :23])
    assert_same(doors.run(session, x), case.expected(x))


@pytest.mark.parametrize(
    ("leading", "expected"),
    [
        (("B", "S"), ["B", "S", 33]),
        ((2, 3), [2, 3, 33]),
        (("B",), ["B", 33]),
        ((), [33]),
        ((None, "S"), [None, "S", 33]),
    ],
)
@pytest.mark.parametrize("with_custom_ops", doors.DOORS[1:])
def test_shape_inference(
    fastep_library: Path,
    with_custom_ops: Door,
    leading: tuple[str | int | None, ...],
    expected: list[str | int | None],
) -> None:
    """Without custom ops ONNX Runtime infers shapes from the function body."""
    model = doors.chain_model([doors.make_case("QLinear_u8")], leading, functions=False)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    found = doors.open_session(fastep_library, model, with_custom_ops).get_outputs()[0].shape
    assert len(found) == len(expected)
    for size, wanted in zip(found, expected, strict=True):
        # An unknown dimension may get a name, but not that of another one.
        assert size == wanted or (wanted is None and found.count(size) == 1)


def test_unknown_dimensions_are_not_taken_for_equal(fastep_library: Path, door: Door) -> None:
    """Two nodes on inputs of unknown sizes; their results are joined, which needs the sizes apart."""
    case = doors.make_case("QLinear_u8", 20, 24)
    model = doors.chain_model([case], (None, None), functions=door == "provider")
    second = onnx.NodeProto()
    second.CopyFrom(model.graph.node[0])
    second.input[0], second.output[0], second.name = "x2", "y2", "second"
    model.graph.node[0].output[0] = "y1"
    model.graph.node.extend([second, helper.make_node("Concat", ["y1", "y2"], ["y"], axis=1)])
    model.graph.input.append(helper.make_tensor_value_info("x2", onnx.TensorProto.UINT8, [None, None, 24]))
    session = doors.open_session(fastep_library, model, door)
    x, x2 = case.x(2, 3), case.x(2, 5, seed=2)
    expected = np.concatenate([case.expected(x), case.expected(x2)], axis=1)
    assert_same(np.asarray(session.run(None, {"x": x, "x2": x2})[0]), expected)
