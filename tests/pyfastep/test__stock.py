"""Stock sessions for comparisons: exact products, also where two of them saturate 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pyfastep._stock import stock_session

K = 8


def make_model(*zero_points: str) -> onnx.ModelProto:
    """One MatMulInteger per zero point of the weights; all weights are 127."""
    names = {*zero_points}
    constants = {"x_zero": np.uint8(0), **dict.fromkeys(names, np.int8(0))}
    constants |= {f"w{index}": np.full((K, 1), 127, np.int8) for index in range(len(zero_points))}
    nodes = [
        helper.make_node("MatMulInteger", ["x", f"w{index}", "x_zero", zero], [f"y{index}"])
        for index, zero in enumerate(zero_points)
    ]
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.INT32, [1, 1]) for i in range(len(zero_points))]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, K])]
    graph = helper.make_graph(nodes, "products", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_products_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(make_model("zero"), path)
    feeds = {"x": np.full((1, K), 255, np.uint8)}
    for model in (path, str(path), path.read_bytes()):
        assert stock_session(model).run(None, feeds)[0].item() == K * 127 * 255


def test_what_cannot_be_exact_is_loaded_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime itself fails at shared zero points, on CPUs without VNNI."""
    session = stock_session(make_model("zero", "zero").SerializeToString())
    assert "will be overwritten" not in capfd.readouterr().err
    ones = {"x": np.ones((1, K), np.uint8)}
    assert [y.item() for y in session.run(None, ones)] == [127 * K] * 2


def test_products_without_zero_points_do_no_harm() -> None:
    """ONNX Runtime 1.23 aborts at them, on CPUs without VNNI."""
    model = make_model("zero")
    del model.graph.node[0].input[3]
    feeds = {"x": np.ones((1, K), np.uint8)}
    assert stock_session(model.SerializeToString()).run(None, feeds)[0].item() == 127 * K


def test_options_are_kept(tmp_path: Path) -> None:
    def configure(options: onnxruntime.SessionOptions) -> None:
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")

    stock_session(make_model("zero").SerializeToString(), configure)
    assert (tmp_path / "optimized.onnx").is_file()


def test_what_is_no_model_is_told_by_onnx_runtime() -> None:
    with pytest.raises(Exception, match=r"model|protobuf"):
        stock_session(b"no model")
