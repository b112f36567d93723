"""Small but real encoders, exported, pruned, quantized and converted as users do it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import pyfastep
from pyfastep.compress import export_onnx, prune_blocks
from pyfastep.compress.export import Task

from .batches import POSITIONS, VOCABULARY, Case

SPREAD = 0.15
CALIBRATION_BATCHES = 6


@dataclass(frozen=True)
class Form:
    """Architecture, sizes and pruning of a small encoder of two layers.

    Attributes:
        architecture: ``bert`` (hidden states) or ``distilbert`` (question answering, the head is in the plan).
        hidden: Features of a token.
        heads: Attention heads.
        intermediate: Features between the two products of a feed-forward block.
        block: Of the pruning, outputs x inputs; None: dense.
        sparsity: Zero blocks, share.
        activation: Of the feed-forward block.
        quantized_attention: Whether the products of attention are quantized (QAttention) or float (FAttention).
    """

    architecture: str
    hidden: int
    heads: int
    intermediate: int
    block: tuple[int, int] | None = None
    sparsity: float = 0.0
    activation: str = "gelu"
    quantized_attention: bool = True

    @property
    def name(self) -> str:
        pattern = "dense" if self.block is None else f"{self.block[0]}x{self.block[1]}"
        return f"{self.architecture}-{self.hidden}-{pattern}" + ("" if self.quantized_attention else "-float-attention")


FORMS = (
    Form("distilbert", 64, 2, 97),
    Form("bert", 128, 2, 192, (4, 4), 0.8),
    Form("distilbert", 96, 3, 128, (4, 1), 0.8, "relu"),
    Form("bert", 64, 1, 130, (1, 1), 0.9),
    Form("bert", 66, 3, 96, (4, 4), 0.8),  # heads of 22 features
    Form("distilbert", 64, 2, 80, (4, 1), 0.7, quantized_attention=False),
)


@dataclass(frozen=True)
class SmallEncoder:
    """The files of a form: float, quantized (QDQ), and that converted."""

    form: Form
    fp32: Path
    quantized: Path
    converted: Path


def torch_model(form: Form) -> Any:
    """Random weights, wide enough that every layer changes its input."""
    torch.manual_seed(11)
    if form.architecture == "bert":
        config = transformers.BertConfig(
            hidden_size=form.hidden,
            num_hidden_layers=2,
            num_attention_heads=form.heads,
            intermediate_size=form.intermediate,
            vocab_size=VOCABULARY,
            max_position_embeddings=POSITIONS,
            hidden_act=form.activation,
        )
        model: Any = transformers.BertModel(config, add_pooling_layer=False)
    else:
        sizes = transformers.DistilBertConfig(
            dim=form.hidden,
            n_layers=2,
            n_heads=form.heads,
            hidden_dim=form.intermediate,
            vocab_size=VOCABULARY,
            max_position_embeddings=POSITIONS,
            activation=form.activation,
        )
        model = transformers.DistilBertForQuestionAnswering(sizes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm_weight = "norm" in name.lower() and name.endswith("weight")
            parameter.normal_(1.0 if is_norm_weight else 0.0, SPREAD)
    return model.eval()


def build(form: Form, folder: Path) -> SmallEncoder:
    """From random weights to the converted file."""
    model = torch_model(form)
    if form.block is not None:
        prune_blocks(model, block=form.block, sparsity=form.sparsity)
    task: Task = "feature-extraction" if form.architecture == "bert" else "question-answering"
    fp32 = export_onnx(model, folder, task=task)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if form.architecture == "bert" else [])]
    data = [
        {name: np.asarray(values) for name, values in Case(4, 24, "right", seed).feeds(names).items()}
        for seed in range(CALIBRATION_BATCHES)
    ]
    pyfastep.quantize(fp32, folder / "quantized.onnx", data=data, embeddings=True, attention=form.quantized_attention)
    pyfastep.convert(folder / "quantized.onnx", folder / "converted.onnx")
    return SmallEncoder(form, fp32, folder / "quantized.onnx", folder / "converted.onnx")
