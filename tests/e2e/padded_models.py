"""Tiny encoders with the heads that users export: poolings of sentence encoders, classification, spans, tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pyfastep

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("optimum.exporters.onnx")
pytest.importorskip("sentence_transformers")
try:
    from sentence_transformers.sentence_transformer.modules import Pooling
except ImportError:  # of older versions
    from sentence_transformers.models import Pooling  # type: ignore[import-not-found,no-redef]

from pyfastep.compress import export_onnx  # noqa: E402

Feeds = dict[str, NDArray[np.int64]]

VOCABULARY, HIDDEN, POSITIONS = 97, 48, 80
SIZES = {"vocab_size": VOCABULARY, "num_attention_heads": 3, "intermediate_size": 64, "num_hidden_layers": 2}


@dataclass(frozen=True)
class PaddedModel:
    """A converted model.

    Attributes:
        quantized: the source.
        converted: with what the conversion proves.
        padding: what its report says, in words.
        inputs: names of the model's inputs.
    """

    quantized: Path
    converted: Path
    padding: str
    inputs: tuple[str, ...]

    def feeds(self, mask: NDArray[Any], seed: int = 0) -> Feeds:
        """Random words at visible tokens, and others at hidden ones: their values must not matter."""
        words = np.random.default_rng(seed).integers(5, VOCABULARY, mask.shape)
        values = {"input_ids": words, "attention_mask": mask.astype(np.int64), "token_type_ids": np.zeros_like(words)}
        return {name: values[name] for name in self.inputs}


class SentenceEncoder(torch.nn.Module):  # type: ignore[misc,name-defined]
    """BERT and a pooling of sentence-transformers, normalized."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        config = transformers.BertConfig(**SIZES, hidden_size=HIDDEN, max_position_embeddings=POSITIONS)
        self.encoder = transformers.BertModel(config, add_pooling_layer=False)
        self.pooling = Pooling(HIDDEN, mode)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """`[B, HIDDEN]`."""
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = self.pooling({"token_embeddings": tokens, "attention_mask": attention_mask})
        return torch.nn.functional.normalize(pooled["sentence_embedding"], p=2, dim=1)


def export_sentence_encoder(mode: str, exporter: str, folder: Path) -> Path:
    """By torch's exporters: `torchscript` or `dynamo`."""
    model = spread(SentenceEncoder(mode))
    ids = torch.randint(5, VOCABULARY, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    names: dict[str, Any] = {"input_names": ["input_ids", "attention_mask"], "output_names": ["sentence"]}
    if exporter == "torchscript":
        axes = {0: "batch", 1: "length"}
        names |= {"dynamo": False, "dynamic_axes": {"input_ids": axes, "attention_mask": axes}}
    else:
        shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
        names |= {"dynamo": True, "dynamic_shapes": (shape, shape), "external_data": False}
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (ids, mask), str(path), opset_version=18, **names)
    return path


def export_task(architecture: str, task: str, folder: Path) -> Path:
    """By optimum."""
    auto = {
        "text-classification": transformers.AutoModelForSequenceClassification,
        "token-classification": transformers.AutoModelForTokenClassification,
        "question-answering": transformers.AutoModelForQuestionAnswering,
        "feature-extraction": transformers.AutoModel,
    }[task]
    if architecture == "distilbert":
        config = transformers.DistilBertConfig(
            vocab_size=VOCABULARY, dim=HIDDEN, n_layers=2, n_heads=3, hidden_dim=64, max_position_embeddings=POSITIONS
        )
    else:
        config = transformers.AutoConfig.for_model(
            architecture, **SIZES, hidden_size=HIDDEN, max_position_embeddings=POSITIONS, pad_token_id=1
        )
    return export_onnx(spread(auto.from_config(config)), folder, task=task)  # type: ignore[arg-type]


def spread(model: Any) -> Any:
    """Random weights wide enough that every layer changes its input."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm_weight = "norm" in name.lower() and name.endswith("weight")
            parameter.normal_(1.0 if is_norm_weight else 0.0, 0.15)
    return model.eval()


def build(export: Callable[[Path], Path], folder: Path) -> PaddedModel:
    """Exports, quantizes and converts."""
    import onnx

    fp32 = export(folder)
    inputs = tuple(entry.name for entry in onnx.load(fp32, load_external_data=False).graph.input)
    unconverted = PaddedModel(fp32, fp32, "", inputs)
    lengths = np.array([12, 7, 3])
    mask = np.arange(12) < lengths[:, None]
    quantized, converted = folder / "quantized.onnx", folder / "converted.onnx"
    pyfastep.quantize(fp32, quantized, data=[unconverted.feeds(mask, seed) for seed in range(6)])
    report = pyfastep.convert(quantized, converted)
    assert report.encoder is not None
    assert report.encoder.padding is not None
    return PaddedModel(quantized, converted, report.encoder.padding.text, inputs)
