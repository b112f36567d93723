"""Gradual pruning: masks that grow while ``transformers.Trainer`` trains.

Sparsity follows the cubic schedule of Zhu and Gupta, "To prune, or not to prune", arXiv:1710.01878: ``s(t) = s_f * (1
- (1 - (t - t0) / (t1 - t0))^3)``; from ``t1`` on the pattern is locked and the rest is trained. What was pruned stays
pruned, and the masks are applied after each optimizer step, so that no moment of AdamW revives a weight.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from pyfastep.compress.masks import block_scores, block_sums, expand_mask, keep_global, keep_per_layer
from pyfastep.compress.pattern import parse_pattern
from pyfastep.compress.recipe import PruneSettings
from pyfastep.compress.selection import check_weights, select_linears, shares_per_layer
from pyfastep.compress.sparsity import PruneReport, measure_sparsity
from pyfastep.errors import FastEPError

__all__ = ["BlockPruner", "PruningCallback", "cubic_share"]

_STATE_FILE = "pruner.pt"


def cubic_share(step: int, steps: int, begin: float, end: float) -> float:
    """Share of the final sparsity that step ``step`` of ``steps`` has: 0 before ``begin``, 1 from ``end`` on."""
    first, last = begin * steps, end * steps
    if step >= last:
        return 1.0
    if step < first:
        return 0.0
    return float(1.0 - (1.0 - (step - first) / (last - first)) ** 3)


class BlockPruner:
    """The masks of a model's Linears.

    Args:
        model: Its Linears are chosen by ``settings.include`` and ``settings.exclude``.
        settings: Pattern, score, target and scope.

    Raises:
        FastEPError: As of :func:`pyfastep.compress.selection.select_linears` and ``check_weights``.
    """

    def __init__(self, model: nn.Module, settings: PruneSettings) -> None:
        self.settings = settings
        self.pattern = parse_pattern(settings.pattern)
        self.layers = select_linears(model, settings.include or None, settings.exclude)
        check_weights(self.layers)
        target = self.pattern.target(settings.sparsity)
        self.shares = shares_per_layer(list(self.layers), target, settings.targets)
        self.target = target
        self._pruned = {name: torch.zeros_like(linear.weight, dtype=torch.bool) for name, linear in self.layers.items()}
        self._momentum: dict[str, torch.Tensor] = {}
        self.locked = False

    def accumulate_gradients(self) -> None:
        """Takes up ``|w * gradient|`` of the step that was just computed, for the score ``snip-momentum``."""
        if self.settings.score != "snip-momentum" or self.locked:
            return
        for name, linear in self.layers.items():
            if linear.weight.grad is not None:
                now = block_scores(linear.weight.detach() * linear.weight.grad, self.pattern.block)
                before = self._momentum.get(name)
                gained = self.settings.gain * now
                self._momentum[name] = gained if before is None else self.settings.momentum * before + gained

    def prune(self, progress: float) -> None:
        """Brings sparsity to ``progress`` (0 to 1) of the final one and zeroes what is pruned."""
        if self.locked:
            return
        scores = {name: self._scores(name) for name in self.layers}
        if self.settings.scope == "layer":
            shares = {name: progress * share for name, share in self.shares.items()}
            kept = keep_per_layer(scores, shares, self.pattern)
        else:
            least, most = self.settings.layer_bounds
            kept = keep_global(scores, progress * self.target, (least, most), self.pattern)
        for name, linear in self.layers.items():
            self._pruned[name] = ~expand_mask(kept[name], linear.weight.shape, self.pattern.block)
        self.apply()

    def lock(self) -> None:
        """Takes the zeros that the weights have now as the final pattern: blocks that are all zero."""
        for name, linear in self.layers.items():
            kept = block_sums((linear.weight.detach() != 0).float(), self.pattern.block) > 0
            self._pruned[name] = ~expand_mask(kept, linear.weight.shape, self.pattern.block)
        self.locked = True

    @torch.no_grad()
    def apply(self) -> None:
        """Zeroes the pruned weights."""
        for name, linear in self.layers.items():
            linear.weight.masked_fill_(self._pruned[name], 0.0)

    def report(self) -> PruneReport:
        """Zeros counted in the weights as they are."""
        return measure_sparsity(self.layers, self.pattern.block, self.target, self.settings.scope)

    def state_dict(self) -> dict[str, Any]:
        """All that an interrupted run needs to go on."""
        return {"pruned": self._pruned, "momentum": self._momentum, "locked": self.locked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        for name, linear in self.layers.items():
            self._pruned[name] = state["pruned"][name].to(linear.weight.device)
        self._momentum = {name: value.to(self.layers[name].weight.device) for name, value in state["momentum"].items()}
        self.locked = bool(state["locked"])

    def _scores(self, name: str) -> torch.Tensor:
        """Scores of a layer's blocks; those that are pruned already stay below all others."""
        linear = self.layers[name]
        score = self._momentum.get(name)
        if score is None:
            score = block_scores(linear.weight, self.pattern.block)
        gone = block_sums((~self._pruned[name]).float(), self.pattern.block) == 0
        return score.masked_fill(gone, -float("inf"))


class PruningCallback(TrainerCallback):
    """Drives a :class:`BlockPruner` from within ``transformers.Trainer``."""

    def __init__(self, pruner: BlockPruner) -> None:
        self.pruner = pruner

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Moves the masks to the model's device, and goes on where an interrupted run stopped.

        Raises:
            FastEPError: The checkpoint has no masks: what was pruned would come back.
        """
        if state.global_step == 0:
            self.pruner.load_state_dict(self.pruner.state_dict())
            self._prune(0, state.max_steps)
            return
        saved = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _STATE_FILE
        if not saved.is_file():
            raise FastEPError("the checkpoint has no masks", node=str(saved), remedy="delete its folder")
        self.pruner.load_state_dict(torch.load(saved, weights_only=True))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gradients are there, weights are still those that they belong to."""
        self.pruner.accumulate_gradients()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The optimizer has changed the weights, the zeros among them too."""
        self._prune(state.global_step + 1, state.max_steps)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Puts the masks beside the checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        torch.save(self.pruner.state_dict(), folder / _STATE_FILE)

    def _prune(self, step: int, steps: int) -> None:
        settings = self.pruner.settings
        share = cubic_share(step, steps, settings.begin, settings.end)
        if not self.pruner.locked and share > 0 and (step % settings.every == 0 or share == 1.0):
            self.pruner.prune(share)
            self.pruner.locked = share == 1.0
        else:
            self.pruner.apply()
