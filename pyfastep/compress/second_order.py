"""One-shot pruning with second-order information: blocks are chosen, and what stays is solved for anew.

For each Linear, in the order of computation, the output on calibration data is brought to what the dense model gives:
with the inputs ``P [in, tokens]`` of the model as pruned so far and the outputs ``T [out, tokens]`` wanted of it,
``||W' P - T||^2`` is least for ``W' = T P^T (P P^T)^-1``, and with the columns S of a row alone for
``(T P^T)_S ((P P^T)_SS)^-1``: an exact solution, so that what was lost earlier is repaired too, in the residual stream
as well (:mod:`pyfastep.compress.calibration`). A block's score is what removing it costs after the
rest has been solved for: ``w_B^T ([H_SS^-1]_BB)^-1 w_B``, summed over the block's rows (Hassibi and Stork's optimal
brain surgeon, in blocks as in Kurtic et al., "The Optimal BERT Surgeon", arXiv:2203.07259). The pattern is chosen in
several rounds, as in Frantar and Alistarh, "SparseGPT", arXiv:2301.00774, weights solved for after each. The bias is
solved for along with the weights, as a column of inputs that are one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import nn

from pyfastep.compress.batch import Batch
from pyfastep.compress.calibration import Calibrator, Moments, find_stages
from pyfastep.compress.gradual import BlockPruner
from pyfastep.compress.layer_solver import LayerSolver
from pyfastep.compress.masks import block_scores, expand_mask, keep_global, keep_per_layer
from pyfastep.compress.recipe import PruneSettings
from pyfastep.compress.sparsity import PruneReport

__all__ = ["prune_second_order"]


def prune_second_order(
    model: nn.Module,
    settings: PruneSettings,
    batches: Sequence[Batch],
    progress: Callable[[float, str], None] | None = None,
) -> PruneReport:
    """Prunes in place, in the order of computation.

    Args:
        model: A Hugging Face encoder.
        settings: Pattern, target, damping and rounds. With ``global`` each layer's share comes from magnitudes, scaled
            by each weight's standard deviation, as costs of different layers cannot be compared.
        batches: Calibration data ``input_ids``, ``attention_mask``, ...
        progress: Told after each layer.

    Returns:
        The sparsity achieved per Linear.

    Raises:
        FastEPError: As of :class:`pyfastep.compress.gradual.BlockPruner`.
    """
    pruner = BlockPruner(model, settings)
    training = model.training
    model.train(False)
    dense = deepcopy(model)
    shares = _shares(pruner)
    stages = find_stages(model, list(pruner.layers), batches[0])
    calibrator = Calibrator(model, dense, batches)
    for done, stage in enumerate(stages):
        if progress:
            progress(done / len(stages), f"products {done + 1} of {len(stages)}")
        moments = calibrator.moments(stage)
        for name in stage.linears:
            _prune_layer(pruner, name, moments.pop(name), shares[name])
    model.train(training)
    return pruner.report()


def _prune_layer(pruner: BlockPruner, name: str, moments: Moments, share: float) -> None:
    linear, settings = pruner.layers[name], pruner.settings
    solver = LayerSolver(linear, moments.gram, moments.cross, settings.damping, pruner.pattern.block)
    for number in range(1, settings.rounds + 1):
        # Each round takes the same share of what is left.
        now = share if number == settings.rounds else 1.0 - (1.0 - share) ** (number / settings.rounds)
        kept = keep_per_layer({name: solver.scores()}, {name: now}, pruner.pattern)[name]
        solver.solve(kept, score=number < settings.rounds)
    with torch.no_grad():
        linear.weight.copy_(solver.weight)
        linear.weight.masked_fill_(~expand_mask(kept, linear.weight.shape, pruner.pattern.block), 0.0)
        if linear.bias is not None:
            linear.bias.copy_(solver.bias)


def _shares(pruner: BlockPruner) -> dict[str, float]:
    """Each layer's final sparsity; with ``global`` that which one threshold on relative magnitude gives it."""
    settings = pruner.settings
    if settings.scope == "layer":
        return pruner.shares
    scores = {
        name: block_scores(linear.weight, pruner.pattern.block) / linear.weight.std().clamp(min=1e-12)
        for name, linear in pruner.layers.items()
    }
    least, most = settings.layer_bounds
    kept = keep_global(scores, pruner.target, (least, most), pruner.pattern)
    return {name: 1.0 - float(mask.float().mean()) for name, mask in kept.items()}
