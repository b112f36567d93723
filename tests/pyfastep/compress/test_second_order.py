"""One-shot pruning that solves for the rest: exact patterns, and better outputs than magnitude gives."""

from __future__ import annotations

from copy import deepcopy

import pytest

from .encoders import batches, tiny_bert, tiny_distilbert, tiny_modernbert

pytest.importorskip("torch")

import torch

from pyfastep.compress.prune import prune_blocks
from pyfastep.compress.recipe import PruneSettings
from pyfastep.compress.second_order import prune_second_order

DATA = batches(count=8, rows=16, length=20)


def difference(model: torch.nn.Module, dense: torch.nn.Module) -> float:
    """Mean squared difference of token states on data that were not calibrated on."""
    with torch.no_grad():
        parts = [(model(**batch)[0] - dense(**batch)[0]).square().mean() for batch in batches(count=2, seed=9)]
    return float(torch.stack(parts).mean())


@pytest.mark.parametrize("pattern", ["4x1", "1x4", "2:4", "unstructured"])
def test_pattern_is_exact_and_outputs_are_closer_than_with_magnitude(pattern: str) -> None:
    dense = tiny_bert()
    ours, plain = deepcopy(dense), deepcopy(dense)
    report = prune_second_order(ours, PruneSettings(pattern=pattern, sparsity=0.5, rounds=2), DATA)
    prune_blocks(plain, block=pattern, sparsity=0.5)
    assert report.sparsity == pytest.approx(0.5)
    assert all(layer.block_sparsity == pytest.approx(0.5) for layer in report.layers)
    assert difference(ours, dense) < 0.7 * difference(plain, dense)


def test_without_sparsity_nothing_changes() -> None:
    dense = tiny_bert()
    same = deepcopy(dense)
    prune_second_order(same, PruneSettings(sparsity=0.0, damping=1e-3), DATA)
    assert difference(same, dense) < 1e-6


def test_global_scope_reaches_the_target_over_all() -> None:
    model = tiny_bert()
    with torch.no_grad():
        model.encoder.layer[0].attention.self.query.weight[:8].mul_(10.0)
    settings = PruneSettings(scope="global", sparsity=0.6, layer_bounds=(0.3, 0.9), rounds=1)
    report = prune_second_order(model, settings, DATA)
    assert report.sparsity == pytest.approx(0.6, abs=0.01)
    assert all(0.29 <= layer.sparsity <= 0.91 for layer in report.layers)
    assert len({layer.zero_blocks / layer.blocks for layer in report.layers}) > 1


def test_an_encoder_that_normalizes_before() -> None:
    """The residual stream after a layer is read by no normalization of that layer."""
    dense = tiny_modernbert()
    ours, plain = deepcopy(dense), deepcopy(dense)
    report = prune_second_order(ours, PruneSettings(sparsity=0.5, rounds=2), DATA)
    prune_blocks(plain, block="4x1", sparsity=0.5)
    assert report.sparsity == pytest.approx(0.5)
    assert difference(ours, dense) < 0.7 * difference(plain, dense)


def test_inputs_that_the_encoder_does_not_take_are_left_out() -> None:
    """A BertTokenizer gives token types, DistilBERT takes none."""
    plain, more = tiny_distilbert(), tiny_distilbert()
    for model, types in ((plain, False), (more, True)):
        prune_second_order(model, PruneSettings(sparsity=0.5, rounds=1), batches(types=types))
    assert all(torch.equal(x, y) for x, y in zip(plain.parameters(), more.parameters(), strict=True))
