"""One-shot pruning with second-order information: blocks are chosen, and what stays is solved for anew.

For each Linear with weight ``W [out, in]`` the layer's output on calibration data is kept as it was: with the inputs
``X [in, tokens]`` of the dense model and ``P [in, tokens]`` of the model as pruned so far, ``||W' P - W X||^2`` is
least for ``W' = W X P^T (P P^T)^-1``, and with the columns S of a row alone for ``(W X P^T)_S ((P P^T)_SS)^-1``: an
exact solution, so that errors of earlier layers are repaired too. A block's score is what removing it costs after the
rest has been solved for: ``w_B^T ([H_SS^-1]_BB)^-1 w_B``, summed over the block's rows (Hassibi and Stork's optimal
brain surgeon, in blocks as in Kurtic et al., "The Optimal BERT Surgeon", arXiv:2203.07259). The pattern is chosen in
several rounds, as in Frantar and Alistarh, "SparseGPT", arXiv:2301.00774, weights solved for after each. The bias is
solved for along with the weights, as a column of inputs that are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from pyfastep.compress.gradual import BlockPruner
from pyfastep.compress.layer_solver import LayerSolver
from pyfastep.compress.masks import expand_mask, keep_global, keep_per_layer
from pyfastep.compress.recipe import PruneSettings
from pyfastep.compress.sparsity import PruneReport

__all__ = ["Moments", "prune_second_order"]

Batch = Mapping[str, torch.Tensor]


class Moments:
    """``P P^T`` and ``X P^T`` of one Linear's inputs, a row of ones added, over all calibration tokens."""

    def __init__(self, features: int, device: torch.device) -> None:
        size = features + 1
        self.gram = torch.zeros(size, size, dtype=torch.float64, device=device)
        self.cross = torch.zeros_like(self.gram)

    def add(self, pruned: torch.Tensor, dense: torch.Tensor) -> None:
        """Takes up the inputs ``[tokens, in]`` of both models for the same tokens."""
        own, target = (nn.functional.pad(x.double(), (0, 1), value=1.0) for x in (pruned, dense))
        self.gram += own.T @ own
        self.cross += target.T @ own


def prune_second_order(
    model: nn.Module,
    settings: PruneSettings,
    batches: Sequence[Batch],
    progress: Callable[[float, str], None] | None = None,
) -> PruneReport:
    """Prunes in place, layer of the encoder by layer.

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
    stages = _stages(model, list(pruner.layers))
    for done, names in enumerate(stages):
        if progress:
            progress(done / len(stages), f"layer {done + 1} of {len(stages)}")
        moments = _collect(model, dense, names, batches)
        for name in names:
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
        solver.solve(kept)
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
    from pyfastep.compress.masks import block_scores

    scores = {
        name: block_scores(linear.weight, pruner.pattern.block) / linear.weight.std().clamp(min=1e-12)
        for name, linear in pruner.layers.items()
    }
    least, most = settings.layer_bounds
    kept = keep_global(scores, pruner.target, (least, most), pruner.pattern)
    return {name: 1.0 - float(mask.float().mean()) for name, mask in kept.items()}


def _stages(model: nn.Module, names: Sequence[str]) -> list[list[str]]:
    """The Linears of one layer of the encoder together, in the order of the model."""
    stages: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        stack = next(
            (i for i in range(1, len(parts)) if isinstance(model.get_submodule(".".join(parts[:i])), nn.ModuleList)),
            len(parts) - 1,
        )
        stages.setdefault(".".join(parts[: stack + 1]), []).append(name)
    return list(stages.values())


def _collect(model: nn.Module, dense: nn.Module, names: Sequence[str], batches: Sequence[Batch]) -> dict[str, Moments]:
    device = next(model.parameters()).device
    moments = {name: Moments(model.get_submodule(name).in_features, device) for name in names}  # type: ignore[arg-type]
    with _recorded(model, names) as own, _recorded(dense, names) as target, torch.inference_mode():
        for batch in batches:
            given = {key: value.to(device) for key, value in batch.items()}
            model(**given)
            dense(**given)
            real = given["attention_mask"].bool()
            for name in names:
                moments[name].add(_rows(own[name], real), _rows(target[name], real))
    return moments


def _rows(inputs: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """``[tokens, in]``, without padding where the inputs are per token."""
    per_token = inputs.dim() == 3 and inputs.shape[:2] == real.shape
    return inputs[real] if per_token else inputs.reshape(-1, inputs.shape[-1])


@contextmanager
def _recorded(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """The inputs that each Linear saw last."""
    seen: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            seen[name] = inputs[0].detach()

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
