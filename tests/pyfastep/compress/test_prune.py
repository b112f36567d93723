"""Block magnitude pruning against a loop that is obviously right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from pyfastep.compress.prune import block_scores, prune_blocks
from pyfastep.errors import FastEPError


def stack(*shapes: tuple[int, int], seed: int = 0) -> Any:
    """Linears [out, in] below a ModuleList, as encoders have them, and a head that is not."""
    torch.manual_seed(seed)
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(torch.nn.Linear(n_in, n_out) for n_out, n_in in shapes)
    model.head = torch.nn.Linear(8, 2)
    return model


def tiny_distilbert() -> transformers.PreTrainedModel:
    config = transformers.DistilBertConfig(dim=16, n_heads=2, n_layers=2, hidden_dim=32, vocab_size=50)
    return transformers.DistilBertForQuestionAnswering(config)


def reference_scores(weight: np.ndarray, rows: int, cols: int) -> np.ndarray:
    n_out, n_in = weight.shape
    scores = np.empty((math.ceil(n_out / rows), math.ceil(n_in / cols)))
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            scores[i, j] = np.abs(weight[i * rows : (i + 1) * rows, j * cols : (j + 1) * cols]).mean()
    return scores


# Divisible, one over, one under, primes, smaller than a block, one element.
SHAPES = [(8, 12), (9, 13), (7, 11), (13, 17), (3, 5), (1, 1)]
BLOCKS = [(4, 1), (1, 4), (4, 4), (8, 4), (2, 3), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_scores_are_means_over_the_elements_that_exist(shape: tuple[int, int], block: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = reference_scores(weight.double().numpy(), *block)
    # Mean of at most 32 float32 values: relative error below 32 roundings.
    np.testing.assert_allclose(block_scores(weight, block).numpy(), expected, rtol=32 * 2**-24)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8])
def test_prunes_the_weakest_blocks_and_nothing_else(
    shape: tuple[int, int], block: tuple[int, int], sparsity: float
) -> None:
    model = stack(shape)
    before = model.layers[0].weight.detach().clone()
    report = prune_blocks(model, block=block, sparsity=sparsity)

    scores = reference_scores(before.double().numpy(), *block)
    weakest = np.argsort(scores.reshape(-1), kind="stable")[: round(sparsity * scores.size)]
    expected = before.numpy().copy()
    for index in weakest:
        i, j = divmod(int(index), scores.shape[1])
        expected[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]] = 0
    np.testing.assert_array_equal(model.layers[0].weight.detach().numpy(), expected)

    (layer,) = report.layers
    assert (layer.blocks, layer.zero_blocks) == (scores.size, weakest.size)
    assert layer.zero_elements == (expected == 0).sum()
    assert layer.sparsity == pytest.approx((expected == 0).mean())


def test_orientation_is_outputs_by_inputs() -> None:
    model = stack((8, 8))
    with torch.no_grad():
        model.layers[0].weight.fill_(1.0)
        model.layers[0].weight[0:4, 3] = 0.1  # one 4x1 block: four outputs of input 3
    prune_blocks(model, block=(4, 1), sparsity=1 / 16)
    zero = (model.layers[0].weight == 0).nonzero().tolist()
    assert zero == [[0, 3], [1, 3], [2, 3], [3, 3]]


def test_global_scope_takes_one_threshold_over_all_layers() -> None:
    model = stack((8, 8), (8, 8))
    with torch.no_grad():
        model.layers[1].weight.mul_(100.0)
    report = prune_blocks(model, block=(4, 1), sparsity=0.5, scope="global")
    assert [layer.block_sparsity for layer in report.layers] == [1.0, 0.0]
    assert report.sparsity == 0.5


def test_only_the_encoder_is_touched() -> None:
    model = tiny_distilbert()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    report = prune_blocks(model, block=(4, 4), sparsity=0.8)
    pruned = {layer.name + ".weight" for layer in report.layers}
    assert len(pruned) == 2 * 6  # q, k, v, out, lin1, lin2
    assert all(".layer." in name for name in pruned)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in pruned), name


def test_tinybert_pooler_and_embeddings_are_not_touched() -> None:
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50
    )
    report = prune_blocks(transformers.BertModel(config))
    assert {layer.name.split(".")[0] for layer in report.layers} == {"encoder"}
    assert len(report.layers) == 6


def test_include_and_exclude_patterns() -> None:
    report = prune_blocks(tiny_distilbert(), include=["*.lin1", "*.lin2"], exclude=["*.layer.0.*"])
    assert [layer.name for layer in report.layers] == [
        "distilbert.transformer.layer.1.ffn.lin1",
        "distilbert.transformer.layer.1.ffn.lin2",
    ]


def test_pruning_twice_changes_nothing() -> None:
    model = stack((13, 17))
    prune_blocks(model, sparsity=0.7)
    once = model.layers[0].weight.detach().clone()
    prune_blocks(model, sparsity=0.7)
    assert torch.equal(model.layers[0].weight, once)


def test_half_precision_is_scored_in_float32() -> None:
    model = stack((4, 4)).half()
    with torch.no_grad():
        model.layers[0].weight.fill_(60000.0)  # the sum of four overflows float16
        model.layers[0].weight[0:4, 1] = 1.0
    prune_blocks(model, block=(4, 1), sparsity=0.25)
    assert (model.layers[0].weight == 0).nonzero()[:, 1].unique().tolist() == [1]


def test_report_reads_as_a_table() -> None:
    text = str(prune_blocks(stack((8, 8), (8, 16)), block=(4, 1), sparsity=0.75))
    assert "4x1 blocks, target 75.0% per layer, achieved 75.00% over 2 Linear modules" in text
    assert "layers.1" in text
    assert "8x16" in text
    assert "24/32 blocks zero" in text


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_sparsity_out_of_range(sparsity: float) -> None:
    with pytest.raises(FastEPError, match=r"sparsity must be in \[0, 1\)"):
        prune_blocks(stack((8, 8)), sparsity=sparsity)


@pytest.mark.parametrize("block", [(0, 1), (4,), (4, -1), (4.0, 1), (True, 1)], ids=str)
def test_bad_block(block: tuple[int, int]) -> None:
    with pytest.raises(FastEPError, match="two whole numbers"):
        prune_blocks(stack((8, 8)), block=block)


def test_bad_scope() -> None:
    with pytest.raises(FastEPError, match='"layer" or "global"'):
        prune_blocks(stack((8, 8)), scope="model")  # type: ignore[arg-type]


def test_pattern_without_a_match_names_the_modules() -> None:
    with pytest.raises(FastEPError, match=r"'\*\.attn' matches no nn.Linear \(the model has: layers.0, head"):
        prune_blocks(stack((8, 8)), exclude=["*.attn"])


def test_nothing_to_prune() -> None:
    with pytest.raises(FastEPError, match=r"no nn\.Linear of Linear is left to prune"):
        prune_blocks(torch.nn.Linear(4, 4))


def test_values_that_are_not_finite_leave_the_model_unchanged() -> None:
    model = stack((8, 8), (8, 8))
    with torch.no_grad():
        model.layers[1].weight[0, 0] = float("nan")
    before = model.layers[0].weight.detach().clone()
    with pytest.raises(FastEPError, match=r"layers\.1: the weight has values that are NaN or infinite"):
        prune_blocks(model)
    assert torch.equal(model.layers[0].weight, before)


def test_weight_shared_with_the_head_is_refused() -> None:
    model = stack((2, 8))
    model.head.weight = model.layers[0].weight
    with pytest.raises(FastEPError, match=r"layers\.0: the weight is shared with head\.weight"):
        prune_blocks(model)


def test_weights_not_loaded() -> None:
    with torch.device("meta"):
        model = stack((8, 8))
    with pytest.raises(FastEPError, match="loaded dense floating point"):
        prune_blocks(model)
