"""ONNX Runtime's dynamic INT8 model: fused as its makers mean it, and the same function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import onnx  # noqa: E402

from pyfastep._stock import stock_session  # noqa: E402
from pyfastep.compress.export import export_onnx  # noqa: E402
from pyfastep.demo.baselines import build_dynamic  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402


@pytest.fixture(scope="module")
def fp32_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(
        dim=32, n_heads=2, n_layers=2, hidden_dim=64, vocab_size=50, initializer_range=0.2
    )
    model = transformers.DistilBertForQuestionAnswering(config)
    return export_onnx(model, tmp_path_factory.mktemp("tiny"), task="question-answering")


def test_attention_is_fused_and_every_product_is_integer(fp32_path: Path, tmp_path: Path) -> None:
    path = build_dynamic(fp32_path, tmp_path / "dynamic.onnx", num_heads=2, hidden_size=32)
    ops = {node.op_type for node in onnx.load(path).graph.node}
    assert "QAttention" in ops
    assert not ops & {"MatMul", "Attention", "Softmax", "Erf"}
    assert [file.name for file in tmp_path.iterdir()] == ["dynamic.onnx"]


def test_it_computes_the_same_function(fp32_path: Path, tmp_path: Path) -> None:
    path = build_dynamic(fp32_path, tmp_path / "dynamic.onnx", num_heads=2, hidden_size=32)
    ids = np.random.default_rng(0).integers(0, 50, (2, 16))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    expected, actual = (np.stack(stock_session(file).run(None, feeds)).ravel() for file in (fp32_path, path))
    assert np.dot(expected, actual) / np.linalg.norm(expected) / np.linalg.norm(actual) > 0.99


def test_model_without_attention_is_refused(tmp_path: Path) -> None:
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "relu.onnx")
    with pytest.raises(FastEPError, match="fused no attention"):
        build_dynamic(tmp_path / "relu.onnx", tmp_path / "out.onnx", num_heads=2, hidden_size=32)
