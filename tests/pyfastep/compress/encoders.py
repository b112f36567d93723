"""Tiny encoders and batches for the tests of this folder."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import torch  # noqa: E402

_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
}


def tiny_bert(kind: str = "BertModel", **options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        **_SIZES,
        max_position_embeddings=32,
        **options,
    )
    model = getattr(transformers, kind)(config)
    return _with_biases(model)


def tiny_distilbert(kind: str = "DistilBertForQuestionAnswering") -> Any:
    """An encoder that takes no ``token_type_ids``."""
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(dim=16, n_heads=2, n_layers=2, hidden_dim=32, vocab_size=50)
    return _with_biases(getattr(transformers, kind)(config))


def tiny_modernbert() -> Any:
    """An encoder that normalizes before attention and feed-forward, not after them."""
    torch.manual_seed(0)
    config = transformers.ModernBertConfig(
        **_SIZES,
        pad_token_id=0,
        attn_implementation="eager",
    )
    return _with_biases(transformers.ModernBertModel(config))


def _with_biases(model: Any) -> Any:
    """Biases of new models are zero, which would hide mistakes."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return model.train(False)


def batches(
    count: int = 4, rows: int = 8, length: int = 9, seed: int = 0, types: bool = False
) -> list[dict[str, torch.Tensor]]:
    """Token ids with right padding in the last rows, on request with ``token_type_ids``."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        ids = torch.randint(5, 50, (rows, length), generator=generator)
        mask = torch.ones_like(ids)
        mask[-2:, length // 2 :] = 0
        made.append({"input_ids": ids * mask, "attention_mask": mask})
        if types:
            made[-1]["token_type_ids"] = torch.zeros_like(ids)
    return made
