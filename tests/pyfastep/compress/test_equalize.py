"""Equalization changes no result, balances what it says, and leaves zeros."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from .encoders import batches, tiny_bert, tiny_distilbert

pytest.importorskip("torch")

import torch

from pyfastep.compress.equalize import equalize_attention
from pyfastep.compress.prune import prune_blocks


@pytest.mark.parametrize("make", [lambda: tiny_bert("BertForQuestionAnswering"), tiny_distilbert])
def test_the_float_model_computes_the_same(make: object) -> None:
    model = make()  # type: ignore[operator]
    prune_blocks(model, sparsity=0.5)
    before = deepcopy(model)
    assert equalize_attention(model, batches()) == 4
    (batch,) = batches(count=1, seed=3)
    with torch.no_grad():
        # Scaling by factors and their inverses rounds each value a few times in float32.
        torch.testing.assert_close(model(**batch).start_logits, before(**batch).start_logits, atol=1e-5, rtol=1e-4)
    changed = 0
    for new, old in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(new == 0, old == 0)
        changed += int(not torch.equal(new, old))
    assert changed == 2 * 7  # per layer: weights and biases of query, key and value, and the output's weight


def test_query_and_key_peak_alike() -> None:
    model = tiny_bert()
    attention = model.encoder.layer[0].attention.self
    with torch.no_grad():
        attention.key.weight[3].mul_(50.0)
    equalize_attention(model, batches())
    peaks: dict[str, list[torch.Tensor]] = {}

    def watch(name: str) -> object:
        return lambda module, inputs, output: peaks.setdefault(name, []).append(output.abs().flatten(0, 1).amax(dim=0))

    for name in ("query", "key"):
        getattr(attention, name).register_forward_hook(watch(name))
    with torch.no_grad():
        for batch in batches():
            model(**batch)
    query, key = (torch.stack(peaks[name]).amax(dim=0) for name in ("query", "key"))
    torch.testing.assert_close(query, key, rtol=1e-3, atol=1e-4)


def test_value_and_output_peak_alike() -> None:
    """``sqrt(max|v| * max|W_o|)`` is the largest magnitude of both, channel by channel."""
    model = tiny_bert()
    with torch.no_grad():
        model.encoder.layer[0].attention.self.value.weight[3].mul_(50.0)
        model.encoder.layer[1].attention.output.dense.weight[:, 5].mul_(50.0)
    before = [value_and_output_peaks(model, number) for number in range(2)]
    equalize_attention(model, batches())
    for number, (value, output) in enumerate(before):
        for peaks in value_and_output_peaks(model, number):
            torch.testing.assert_close(peaks, (value * output).sqrt(), rtol=1e-3, atol=1e-5)


def value_and_output_peaks(model: Any, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a layer: the values' largest magnitude in each channel over real tokens, and that of the weights behind it."""
    attention, seen = model.encoder.layer[number].attention, []
    hook = attention.self.value.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        for batch in batches():
            model(**batch)
            seen[-1] = seen[-1][batch["attention_mask"].bool()].abs().amax(dim=0)
    hook.remove()
    return torch.stack(seen).amax(dim=0), attention.output.dense.weight.detach().abs().amax(dim=0)


def test_padding_sets_no_factor() -> None:
    """Batches with padding and their rows without it give the same model."""
    models = []
    padded = batches(count=2)
    rows = [{name: value[row : row + 1] for name, value in batch.items()} for batch in padded for row in range(8)]
    alone = [{name: value[row["attention_mask"] == 1][None] for name, value in row.items()} for row in rows]
    for data in (padded, alone):
        model = tiny_bert()
        with torch.no_grad():
            model.embeddings.word_embeddings.weight[0, 0] = 1000.0  # of padding; larger than any after normalization
        equalize_attention(model, data)
        models.append(model)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_another_architecture_is_left_alone() -> None:
    class Other(torch.nn.Sequential):
        def forward(  # type: ignore[override]
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor
        ) -> torch.Tensor:
            return input_ids

    assert equalize_attention(Other(torch.nn.Linear(4, 4)), batches(count=1)) == 0
