"""Element types that a model declares and the library does not compute or read: refused before a byte is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from . import compiled, doors
from .child import SessionError, run_apart
from .encoder_graph import EncoderGraph, Values, encoder, encoder_feeds

N, K = 4096, 64


def case() -> doors.Case:
    return doors.make_case("QLinear_f32", N, K)


def bytes_instead_of_floats() -> onnx.ModelProto:
    """A node whose function body answers uint8 ones, which is what ONNX Runtime makes of its output's type."""
    model = doors.chain_model([case()])
    (body,) = model.functions
    (ones,) = [a for node in body.node for a in node.attribute if a.name == "value" and a.HasField("t")]
    ones.t.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.uint8)))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


def test_a_body_of_another_type_runs_itself(fastep_library: Path, tmp_path: Path) -> None:
    feeds = {"x": case().x(8, 16)}
    (y,) = run_apart(fastep_library, tmp_path, bytes_instead_of_floats(), feeds, {"strict": "0"})
    assert y.dtype == np.uint8
    assert np.array_equal(y, np.ones((8, 16, N)))


def test_strict_mode_refuses_a_body_of_another_type(fastep_library: Path, tmp_path: Path) -> None:
    reason = (
        r"node 'linear0' \(fastep::QLinear_f32\): output 0 'y': expected float32, found uint8; "
        "convert the model again.*set the option strict to 0"
    )
    with pytest.raises(SessionError, match=reason):
        run_apart(fastep_library, tmp_path, bytes_instead_of_floats(), {"x": case().x(8, 16)})


def test_an_output_too_many(fastep_library: Path) -> None:
    model = doors.chain_model([case()])
    model.graph.node[0].output.append("extra")
    model.graph.output.append(helper.make_tensor_value_info("extra", TensorProto.FLOAT, None))
    with pytest.raises(Exception, match=r"node 'linear0' \(fastep::QLinear_f32\): expected 1 outputs, found 2; con"):
        doors.open_session(fastep_library, model)


def compiled_encoder() -> tuple[EncoderGraph, list[str], Values]:
    graph, outputs = encoder(layers=1)
    return graph, outputs, encoder_feeds(3, 40)


def compiled_norm() -> tuple[EncoderGraph, list[str], Values]:
    graph = EncoderGraph()
    x = graph.add_input("x", np.float32, "B", "S", 256)
    return graph, graph.skip_norm(x, x, 256), {"x": np.zeros((4, 64, 256), np.float32)}


def compiled_wide_linear() -> tuple[EncoderGraph, list[str], Values]:
    """One that has no place in a plan of several."""
    graph = EncoderGraph()
    x = graph.add_input("x", np.uint8, "B", 16385)
    return graph, [graph.linear(x, "QLinear_f32", 8, 16385)], {"x": np.zeros((7, 16385), np.uint8)}


COMPILED = {"encoder": compiled_encoder, "norm": compiled_norm, "wide linear": compiled_wide_linear}


@pytest.mark.parametrize(
    ("what", "value", "declared", "reason"),
    [
        ("encoder", "v9_0", np.uint8, r"output 0 'v9_0': expected float32, found uint8"),
        ("encoder", "v9_1", np.float64, r"output 1 'v9_1': expected uint8, found float64"),
        ("encoder", "v9_1", np.int8, r"output 1 'v9_1': expected uint8, found int8"),
        ("wide linear", "v0_0", np.uint8, r"output 0 'v0_0': expected float32, found uint8"),
        ("norm", "x", np.float16, r"input 'x': expected float32, found another type"),
        ("norm", "x", np.uint8, r"input 'x': expected float32, found uint8"),
        ("encoder", "input_ids", np.int32, r"input 'input_ids': expected int64, found int32"),
        ("encoder", "attention_mask", np.float16, r"input 'attention_mask': .* or float32, found another type"),
        ("encoder", "attention_mask", np.uint8, r"input 'attention_mask': .* or float32, found uint8"),
        ("wide linear", "x", np.int8, r"input 0 'x': expected uint8, found int8"),
        ("wide linear", "x", np.float16, r"input 0 'x': expected uint8, found float16"),
    ],
)
def test_compiled_models_of_other_types(
    fastep_library: Path, tmp_path: Path, what: str, value: str, declared: type[np.generic], reason: str
) -> None:
    """What the file of the plans was made for holds, whatever the model beside it says."""
    graph, outputs, feeds = COMPILED[what]()
    path = tmp_path / "ctx.onnx"
    compiled.compile_model(fastep_library, compiled.save(graph.model(outputs), tmp_path), path)
    model = onnx.load(path)
    (info,) = [info for info in (*model.graph.input, *model.graph.output) if info.name == value]
    info.type.tensor_type.elem_type = doors.element_type(np.dtype(declared))
    onnx.save(model, path)
    given = {name: x.astype(declared) if name == value else x for name, x in feeds.items()}
    with pytest.raises(SessionError, match=f"{reason}.*(fastep compile|give it)"):
        run_apart(fastep_library, tmp_path, path, given)
