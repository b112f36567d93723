"""Nodes that the library does not run: declined with a reason, refused in strict mode, never a crash."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from . import doors
from .doors import Case

Edit = Callable[[onnx.ModelProto], None]


def case() -> Case:
    return doors.make_case("QLinear_u8", 20, 24)


def edited(edit: Edit, *, functions: bool = True) -> onnx.ModelProto:
    model = doors.chain_model([case()], functions=functions)
    edit(model)
    return model


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    found: list[onnx.TensorProto] = [value for value in model.graph.initializer if value.name == name]
    assert len(found) == 1, name
    return found[0]


def replace(name: str, value: doors.Array) -> Edit:
    return lambda model: initializer(model, name).CopyFrom(numpy_helper.from_array(value, name))


def rename_op(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = model.functions[0].name = "QLinear_u9"


def raise_version(model: onnx.ModelProto) -> None:
    (opset,) = [opset for opset in model.opset_import if opset.domain == "fastep"]
    opset.version = 2


def feed_weight(model: onnx.ModelProto) -> None:
    """An initializer that is also a graph input can be fed, so it is not constant."""
    weight = initializer(model, "weight0")
    model.graph.input.append(helper.make_tensor_value_info("weight0", weight.data_type, weight.dims))


def compute_scale(model: onnx.ModelProto) -> None:
    node = helper.make_node("ReduceMax", ["xf"], ["scale"], keepdims=0)
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["xf"], to=onnx.TensorProto.FLOAT))
    model.graph.node.insert(1, node)
    model.graph.node[2].input[1] = "scale"


def float16_x(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def bfloat16_bias(model: onnx.ModelProto) -> None:
    values = case().inputs["bias"].astype(np.float32)
    bias = helper.make_tensor("bias0", onnx.TensorProto.BFLOAT16, values.shape, values)
    initializer(model, "bias0").CopyFrom(bias)


def drop_input(model: onnx.ModelProto) -> None:
    del model.graph.node[0].input[-1]
    del model.functions[0].input[-1]


def weight_shape(*values: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        del model.graph.node[0].attribute[:]
        model.graph.node[0].attribute.append(helper.make_attribute("weight_shape", list(values)))

    return edit


# Edit of a good model -> what the reason says.
DECLINED: dict[str, tuple[Edit, str]] = {
    "unknown name": (rename_op, "expected a variant of QLinear, .* in version 1, found an op of another name"),
    "unknown version": (raise_version, "expected a variant of QLinear, .* in version 1, found version 2"),
    "fed weight": (feed_weight, "input 3 'weight': expected a constant, found the computed or fed value 'weight0'"),
    "computed scale": (compute_scale, "input 1 'x_scale': expected a constant, found the computed .* value 'scale'"),
    "float16 x": (float16_x, "input 0 'x': expected uint8 or int8, found float16"),
    "bfloat16 bias": (bfloat16_bias, "input 6 'bias': expected float32, found bfloat16"),
    "missing input": (drop_input, "expected 9 inputs, found 8"),
    "other K": (weight_shape(20, 25), r"input 0 'x': expected shape \[..., 25\], found \[\?, \?, 24\]"),
    "no K": (weight_shape(20), r"attribute 'weight_shape': expected \[N, K\], two positive integers .* found \[20\]"),
    "zero K": (weight_shape(20, 0), r"attribute 'weight_shape': .* found \[20, 0\]"),
    "zero point of another type": (
        replace("x_zero_point0", np.array(3, np.int8)),
        "input 2 'x_zero_point': expected uint8, the type of 'x', found int8",
    ),
}

# The node is claimed, its constants break the contract.
BROKEN: dict[str, tuple[Edit, str]] = {
    "three scales": (
        replace("w_scale0", np.ones(3, np.float32)),
        r"input 4 'w_scale': expected shape \[\] or \[1\] or \[20\], found \[3\]",
    ),
    "short bias": (replace("bias0", np.ones(19, np.float32)), r"input 6 'bias': expected shape \[20\], found \[19\]"),
    "transposed weight": (
        replace("weight0", case().inputs["weight"].T.copy()),
        r"input 3 'weight': expected shape \[24, 20\], found \[20, 24\]",
    ),
    "vector x_scale": (
        replace("x_scale0", np.ones(2, np.float32)),
        r"input 1 'x_scale': expected shape \[\] or \[1\], found \[2\]",
    ),
    "other N": (weight_shape(21, 24), r"input 3 'weight': expected shape \[24, 21\], found \[24, 20\]"),
    "negative scale": (replace("w_scale0", np.full(20, -1, np.float32)), "linear0.*w_scale.*-1"),
    "infinite bias": (replace("bias0", np.full(20, np.inf, np.float32)), "linear0.*bias"),
    "zero y_scale": (replace("y_scale0", np.array(0, np.float32)), "linear0.*y_scale"),
}


@pytest.mark.parametrize("what", DECLINED)
def test_a_declined_node_runs_its_body(
    fastep_library: Path, what: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, reason = DECLINED[what]
    monkeypatch.setenv("FASTEP_LOG", "warning")
    model = edited(edit)
    session = doors.open_session(fastep_library, model, options={"strict": "0"})
    x = case().x(2, 3)
    if what == "float16 x":
        x = x.astype(np.float16)
    assert np.array_equal(doors.run(session, x), np.ones((2, 3, 20), np.uint8)), "the decoy body answers ones"
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("[fastep]")]
    assert len(lines) == 1, "each reason once, although ONNX Runtime asks twice"
    assert re.search(reason, lines[0])
    assert lines[0].startswith("[fastep] warning: left to ONNX Runtime: node 'linear0' (fastep::QLinear_u")


@pytest.mark.parametrize("what", DECLINED)
def test_strict_mode_refuses_it(fastep_library: Path, what: str) -> None:
    edit, reason = DECLINED[what]
    with pytest.raises(Exception, match=f"node 'linear0'.*{reason}.*set the option strict to 0"):
        doors.open_session(fastep_library, edited(edit), options={"strict": "1"})


@pytest.mark.parametrize("strict", ["0", "1"])
@pytest.mark.parametrize("what", BROKEN)
def test_broken_constants_fail_the_session(fastep_library: Path, what: str, strict: str) -> None:
    edit, reason = BROKEN[what]
    with pytest.raises(Exception, match=reason):
        doors.open_session(fastep_library, edited(edit), options={"strict": strict})


# What the schema of a custom op makes ONNX Runtime itself refuse, or cannot express.
NOT_SEEN_BY_CUSTOM_OPS = {"unknown name", "unknown version", "missing input", "bfloat16 bias"}


@pytest.mark.parametrize("what", [what for what in BROKEN | DECLINED if what not in NOT_SEEN_BY_CUSTOM_OPS])
def test_custom_ops_fail_with_the_same_reason(fastep_library: Path, what: str) -> None:
    """There is no body to fall back to."""
    edit, reason = (BROKEN | DECLINED)[what]
    with pytest.raises(Exception, match=reason):
        doors.open_session(fastep_library, edited(edit, functions=False), "custom_ops")


def test_one_bad_node_among_good_ones(fastep_library: Path) -> None:
    """Only the bad node is left to ONNX Runtime; strict mode names it."""
    cases = [doors.make_case("QLinear_u8", 24, 24), doors.make_case("QLinear_relu_u8", 24, 24)]
    model = doors.chain_model(cases)
    model.graph.node[1].op_type = "QLinear_other_u8"
    function = doors.decoy_function(cases[1].variant)
    function.name = "QLinear_other_u8"
    model.functions.append(function)
    session = doors.open_session(fastep_library, model, options={"strict": "0"})
    x = cases[0].x(2, 2)
    assert np.array_equal(doors.run(session, x), np.ones((2, 2, 24), np.uint8))
    with pytest.raises(Exception, match=r"node 'linear1' \(fastep::QLinear_other_u8\)"):
        doors.open_session(fastep_library, model)


def test_a_constant_x(fastep_library: Path) -> None:
    """A fused node needs an input, so the provider declines; the custom op computes it."""
    x = case().x(2, 3)

    def edit(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(x, "fixed"))
        model.graph.node[0].input[0] = "fixed"
        model.graph.node.append(helper.make_node("Identity", ["x"], ["same"]))
        model.graph.output.append(helper.make_tensor_value_info("same", onnx.TensorProto.UINT8, ["B", "S", 24]))

    with pytest.raises(Exception, match="known only when the model runs, found the initializer 'fixed'"):
        doors.open_session(fastep_library, edited(edit))
    session = doors.open_session(fastep_library, edited(edit, functions=False), "custom_ops")
    assert np.array_equal(session.run(["y"], {"x": x})[0], case().expected(x))


def if_model(*, weights_outside: bool, functions: bool) -> onnx.ModelProto:
    """`if flag: y = QLinear(x)`, else zeros; the constants in the branch or around it."""
    model = doors.chain_model([case()], functions=functions)
    constants = list(model.graph.initializer)
    y = helper.make_tensor_value_info("y", onnx.TensorProto.UINT8, ["B", "S", 20])
    then = helper.make_graph(list(model.graph.node), "then", [], [y], [] if weights_outside else constants)
    zeros = helper.make_tensor("zeros", onnx.TensorProto.UINT8, [1, 1, 20], [0] * 20)
    nodes = [helper.make_node("Constant", [], ["other"], value=zeros)]
    other_info = helper.make_tensor_value_info("other", onnx.TensorProto.UINT8, [1, 1, 20])
    other = helper.make_graph(nodes, "else", [], [other_info])
    branch = helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other)
    flag = helper.make_tensor_value_info("flag", onnx.TensorProto.BOOL, [])
    inputs = [model.graph.input[0], flag]
    graph = helper.make_graph([branch], "outer", inputs, [y], constants if weights_outside else [])
    return doors.make_model(graph, list(model.functions))


@pytest.mark.parametrize(
    ("door", "weights_outside"),
    [("provider", False), ("provider", True), ("both", False), ("both", True), ("custom_ops", False)],
)
def test_a_node_in_a_branch(fastep_library: Path, door: doors.Door, weights_outside: bool) -> None:
    model = if_model(weights_outside=weights_outside, functions=door == "provider")
    check_branches(doors.open_session(fastep_library, model, door))


def test_a_custom_op_in_a_branch_with_weights_outside(fastep_library: Path) -> None:
    """Older runtimes do not tell custom ops that constants of the outer graph are constant."""
    model = if_model(weights_outside=True, functions=False)
    try:
        session = doors.open_session(fastep_library, model, "custom_ops")
    except Exception as error:
        session, message = None, str(error)
    if session is not None:
        check_branches(session)
    else:
        assert "node 'linear0' (fastep::QLinear_u8): input 1 'x_scale': expected a constant" in message
        assert tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 31)


def check_branches(session: onnxruntime.InferenceSession) -> None:
    x = case().x(2, 3)
    assert np.array_equal(session.run(None, {"x": x, "flag": np.array(True)})[0], case().expected(x))
    assert np.array_equal(session.run(None, {"x": x, "flag": np.array(False)})[0], np.zeros((1, 1, 20), np.uint8))
