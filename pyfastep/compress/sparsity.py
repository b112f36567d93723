"""What pruning left: exact counts of zero blocks and elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from pyfastep.compress.masks import block_sums

__all__ = ["LayerSparsity", "PruneReport", "measure_sparsity"]


@dataclass(frozen=True)
class LayerSparsity:
    """What pruning left of one Linear.

    Attributes:
        name: Qualified module name.
        shape: ``(out_features, in_features)``.
        blocks: Number of blocks, edge blocks included.
        zero_blocks: Blocks whose elements are all zero.
        zero_elements: Elements of the weight that are zero.
    """

    name: str
    shape: tuple[int, int]
    blocks: int
    zero_blocks: int
    zero_elements: int

    @property
    def block_sparsity(self) -> float:
        """Share of the blocks that are zero, 0 to 1."""
        return self.zero_blocks / self.blocks

    @property
    def sparsity(self) -> float:
        """Share of the elements that are zero, 0 to 1."""
        return self.zero_elements / math.prod(self.shape)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "sparsity": self.sparsity,
            "block_sparsity": self.block_sparsity,
        }


@dataclass(frozen=True)
class PruneReport:
    """Sparsity measured after pruning; ``str()`` gives a table."""

    block: tuple[int, int]
    target: float
    scope: Literal["layer", "global"]
    layers: tuple[LayerSparsity, ...]

    @property
    def sparsity(self) -> float:
        """Share of all elements of the pruned layers that are zero, 0 to 1."""
        elements = sum(math.prod(layer.shape) for layer in self.layers)
        return sum(layer.zero_elements for layer in self.layers) / elements

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "block": list(self.block),
            "target": self.target,
            "scope": self.scope,
            "sparsity": self.sparsity,
            "layers": [layer.to_dict() for layer in self.layers],
        }

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        title = f"{self.block[0]}x{self.block[1]} blocks, target {self.target:.1%} per {self.scope}, "
        lines = [title + f"achieved {self.sparsity:.2%} over {len(self.layers)} Linear modules"]
        for layer in self.layers:
            shape = f"{layer.shape[0]}x{layer.shape[1]}"
            blocks = f"{layer.zero_blocks}/{layer.blocks} blocks zero"
            lines.append(f"  {layer.name:<{width}}  {shape:>11}  {layer.sparsity:7.2%}  {blocks}")
        return "\n".join(lines)


def measure_sparsity(
    layers: Mapping[str, nn.Linear], block: tuple[int, int], target: float, scope: Literal["layer", "global"]
) -> PruneReport:
    """Counts the zeros of ``layers``; ``target`` and ``scope`` are what was asked for."""
    measured = tuple(_measure(name, linear, block) for name, linear in layers.items())
    return PruneReport(block=block, target=target, scope=scope, layers=measured)


def _measure(name: str, linear: nn.Linear, block: tuple[int, int]) -> LayerSparsity:
    nonzero = block_sums((linear.weight.detach() != 0).to(torch.float32), block)
    return LayerSparsity(
        name=name,
        shape=(linear.weight.shape[0], linear.weight.shape[1]),
        blocks=nonzero.numel(),
        zero_blocks=int((nonzero == 0).sum()),
        zero_elements=int((linear.weight == 0).sum()),
    )
