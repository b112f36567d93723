"""Offline export: what it writes, what the model computes, what it refuses."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("optimum.exporters.onnx")

import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
import transformers  # noqa: E402

from pyfastep.compress.export import MAX_OPSET, MIN_OPSET, export_onnx  # noqa: E402
from pyfastep.compress.recipe import ExportSettings  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402


def tiny_bert() -> transformers.BertModel:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50
    )
    config._name_or_path = "somebody/some-model"  # as after from_pretrained: must not be looked up
    return transformers.BertModel(config, add_pooling_layer=False)


def tiny_tokenizer(folder: Path) -> transformers.PreTrainedTokenizerBase:
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]))
    return transformers.BertTokenizerFast(str(vocab))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"the export asked the network for {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_exports_offline_with_dynamic_axes_and_the_same_values(tmp_path: Path) -> None:
    model = tiny_bert()
    path = export_onnx(model, tmp_path / "out", task="feature-extraction", tokenizer=tiny_tokenizer(tmp_path))
    assert path == tmp_path / "out" / "model.onnx"
    names = {file.name for file in path.parent.iterdir()}
    assert {"model.onnx", "config.json", "tokenizer.json", "vocab.txt"} <= names
    assert [opset.version for opset in onnx.load(path).opset_import if opset.domain == ""] == [18]

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch, length in [(1, 1), (2, 7), (3, 32)]:
        ids = np.random.default_rng(0).integers(0, 50, (batch, length))
        mask = np.ones_like(ids)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (actual,) = session.run(None, feeds)
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(value) for name, value in feeds.items()})[0].numpy()
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert model.config._name_or_path == "somebody/some-model"


@pytest.mark.parametrize("opset", [MIN_OPSET, MAX_OPSET])
def test_the_first_and_the_last_opset(tmp_path: Path, opset: int) -> None:
    path = export_onnx(tiny_bert(), tmp_path / "out", task="feature-extraction", opset=opset)
    assert [entry.version for entry in onnx.load(path).opset_import if entry.domain == ""] == [opset]
    with pytest.raises(FastEPError, match="opset: expected a number between 17 and 23"):
        ExportSettings(opset=opset + (1 if opset == MAX_OPSET else -1))


@pytest.mark.parametrize("opset", [13, 24])
def test_opsets_that_are_too_old_or_too_new(tmp_path: Path, opset: int) -> None:
    with pytest.raises(FastEPError, match=rf"opset must be 17 to 23, found {opset}"):
        export_onnx(tiny_bert(), tmp_path / "out", task="feature-extraction", opset=opset)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out").exists()


def test_half_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match=r"torch.float32, found torch.float16.*model.float\(\)"):
        export_onnx(tiny_bert().half(), tmp_path / "out", task="feature-extraction")


def test_failed_export_leaves_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").write_text("mine")
    with pytest.raises(FastEPError, match="BertModel: optimum cannot export the model for task 'no-such-task'"):
        export_onnx(tiny_bert(), tmp_path / "out", task="no-such-task")  # type: ignore[arg-type]
    assert (tmp_path / "out" / "model.onnx").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
