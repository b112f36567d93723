"""Tiny random encoders of every architecture in use, as every exporter writes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

HIDDEN, HEADS, INTERMEDIATE, LAYERS, VOCABULARY, POSITIONS = 24, 3, 40, 2, 97, 48
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
STATIC_SHAPE = (2, 9)
PADDING = 1  # the id of padding; RoBERTa's kin count positions by it

_BASE = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INTERMEDIATE,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
}
_DISTILBERT = {
    "dim": HIDDEN,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "hidden_dim": INTERMEDIATE,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
}
_ROBERTA = {**_BASE, "type_vocab_size": 1, "pad_token_id": PADDING}


class _SentenceEmbedding(torch.nn.Module):
    """Mean over the tokens of the mask, then length 1: the head of MiniLM and its kin."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
        weights = attention_mask.unsqueeze(-1).expand(states.size()).float()
        mean = (states * weights).sum(1) / torch.clamp(weights.sum(1), min=1e-9)
        return torch.nn.functional.normalize(mean, p=2, dim=1)


class _Tensors(torch.nn.Module):
    """Inputs in order, outputs as a tuple of tensors: what both exporters want."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
        if isinstance(output, torch.Tensor):
            return output
        return tuple(value for value in output.to_tuple() if isinstance(value, torch.Tensor))


@dataclass(frozen=True)
class Architecture:
    """How to make a model.

    Attributes:
        make: builds it.
        with_types: whether it takes token types.
    """

    make: Callable[[], Any]
    with_types: bool = False


def _bert(head: str = "BertModel", **options: Any) -> Any:
    pooling = {"add_pooling_layer": False} if head == "BertModel" else {}
    return getattr(transformers, head)(transformers.BertConfig(**_BASE, **options), **pooling)


ARCHITECTURES = {
    "DistilBERT, question answering": Architecture(
        lambda: transformers.DistilBertForQuestionAnswering(transformers.DistilBertConfig(**_DISTILBERT))
    ),
    "DistilBERT, sequence classification": Architecture(
        lambda: transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(**_DISTILBERT))
    ),
    "BERT": Architecture(_bert, with_types=True),
    "BERT, eager attention": Architecture(lambda: _bert(attn_implementation="eager"), with_types=True),
    "BERT, sequence classification": Architecture(lambda: _bert("BertForSequenceClassification"), with_types=True),
    "BERT, token classification": Architecture(lambda: _bert("BertForTokenClassification"), with_types=True),
    "MiniLM, sentence embedding": Architecture(lambda: _SentenceEmbedding(_bert()), with_types=True),
    "RoBERTa": Architecture(
        lambda: transformers.RobertaModel(transformers.RobertaConfig(**_ROBERTA), add_pooling_layer=False)
    ),
    "XLM-R": Architecture(
        lambda: transformers.XLMRobertaModel(transformers.XLMRobertaConfig(**_ROBERTA), add_pooling_layer=False)
    ),
    "ELECTRA": Architecture(
        lambda: transformers.ElectraModel(transformers.ElectraConfig(**_BASE, embedding_size=16)), with_types=True
    ),
    "MPNet": Architecture(lambda: transformers.MPNetModel(transformers.MPNetConfig(**_BASE), add_pooling_layer=False)),
}


@dataclass(frozen=True)
class Exporter:
    """How a model is exported.

    Attributes:
        opset: version of ONNX's ops.
        dynamo: whether by `torch.onnx.export(dynamo=True)`; else by TorchScript, which optimum uses too.
        static: whether batch and length are numbers.
    """

    opset: int
    dynamo: bool = True
    static: bool = False


EXPORTERS = {
    "TorchScript, optimum": Exporter(17, dynamo=False),
    "dynamo, opset 18": Exporter(18),
    "dynamo, opset 23": Exporter(23),
    "dynamo, opset 20, static": Exporter(20, static=True),
}


def _random_model(architecture: Architecture) -> torch.nn.Module:
    """Weights wide enough that every layer changes its input."""
    torch.manual_seed(7)
    model = architecture.make()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm_weight = "norm" in name.lower() and name.endswith("weight")
            parameter.normal_(1.0 if is_norm_weight else 0.0, 0.15)
    return _Tensors(model).eval()


def export(architecture: str, exporter: str, path: Path) -> Path:
    """Writes a float model."""
    source, how = ARCHITECTURES[architecture], EXPORTERS[exporter]
    model, names = _random_model(source), list(INPUTS[: 3 if source.with_types else 2])
    ids = torch.randint(5, VOCABULARY, STATIC_SHAPE)
    mask = torch.ones(STATIC_SHAPE, dtype=torch.int64)
    mask[1, 6:] = 0
    ids[mask == 0] = PADDING
    arguments = (ids, mask, torch.zeros_like(ids))[: len(names)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about every constant of the attention mask
        outputs = model(*arguments)
        count = 1 if isinstance(outputs, torch.Tensor) else len(outputs)
        options: dict[str, Any] = {"opset_version": how.opset, "input_names": names, "dynamo": how.dynamo}
        options["output_names"] = [f"output_{index}" for index in range(count)]
        if not how.static:
            axes = {0: "batch", 1: "length"}
            if how.dynamo:
                sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=POSITIONS - 4)}
                options["dynamic_shapes"] = dict.fromkeys(names, sizes)
            else:
                options["dynamic_axes"] = dict.fromkeys(names, axes)
        if how.dynamo:
            options |= {"verbose": False, "external_data": False}
        torch.onnx.export(model, arguments, str(path), **options)
    return path
