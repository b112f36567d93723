"""One-shot pruning of ``torch.nn.Linear`` modules by magnitude.

A block R x C is written ``outputs x inputs`` on ``nn.Linear.weight [out, in]``: 4x1 is four consecutive output channels
of one input. The score of a block is the mean of ``|w|`` over its elements; the blocks of least score become zero.
Source of block and score: Shen et al., "Fast DistilBERT on CPUs", arXiv:2211.07715, section 3.1.

Pruning a trained model in one shot costs accuracy; nothing here trains it back, :mod:`pyfastep.compress.gradual` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from pyfastep.compress.masks import block_scores, expand_mask, keep_global, keep_per_layer
from pyfastep.compress.pattern import Pattern, parse_pattern
from pyfastep.compress.selection import check_weights, select_linears, shares_per_layer
from pyfastep.compress.sparsity import LayerSparsity, PruneReport, measure_sparsity
from pyfastep.errors import FastEPError

__all__ = ["LayerSparsity", "PruneReport", "block_scores", "prune_blocks"]


def prune_blocks(
    model: nn.Module,
    *,
    block: tuple[int, int] | str = (4, 1),
    sparsity: float = 0.8,
    scope: Literal["layer", "global"] = "layer",
    bounds: tuple[float, float] = (0.0, 1.0),
    targets: Mapping[str, float] | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> PruneReport:
    """Sets the blocks of least mean ``|w|`` to zero, in place.

    Of ``n`` blocks, ``round(sparsity * n)`` become zero: of each layer's blocks (``scope="layer"``) or of all layers'
    blocks together (``scope="global"``). Where R or C does not divide the shape, edge blocks are smaller and their mean
    is over the elements that exist. Equal scores fall in row-major order, so the result is reproducible.

    Args:
        model: Any torch module. By default every Linear inside the stacked layers (below an ``nn.ModuleList``) is
            pruned: in a Hugging Face encoder that is every Linear but those of embeddings, pooler and task head.
        block: ``(R, C)``, outputs x inputs on ``nn.Linear.weight [out, in]``, each >= 1; or ``"RxC"``, ``"N:M"`` or
            ``"unstructured"``.
        sparsity: Share of the blocks that become zero, 0 <= sparsity < 1; N:M decides it itself.
        scope: ``"layer"`` for the same share in each layer, ``"global"`` for one threshold over all layers.
        bounds: With ``"global"``: least and highest sparsity of any layer.
        targets: With ``"layer"``: glob pattern of module names to a sparsity of their own.
        include: Glob patterns of qualified module names that replace the default choice.
        exclude: Glob patterns of qualified module names that are never touched.

    Returns:
        The sparsity achieved per layer.

    Raises:
        FastEPError: An argument is out of range, a pattern matches no Linear, nothing is left to prune, a weight is
            not finite or not floating point, or a weight is shared with a module that must not change.
    """
    pattern = parse_pattern(block) if isinstance(block, str) else Pattern(_checked_block(block))
    if not 0.0 <= sparsity < 1.0:
        raise FastEPError(
            f"sparsity must be in [0, 1), found {sparsity!r}", remedy="0.8 sets 80 % of the blocks to zero"
        )
    if scope not in ("layer", "global"):
        raise FastEPError(f'scope must be "layer" or "global", found {scope!r}')
    layers = select_linears(model, include, exclude)
    check_weights(layers)
    scores = {name: block_scores(linear.weight, pattern.block) for name, linear in layers.items()}
    share = pattern.target(sparsity)
    if scope == "layer":
        kept = keep_per_layer(scores, shares_per_layer(list(layers), share, targets or {}), pattern)
    else:
        kept = keep_global(scores, share, bounds, pattern)
    with torch.no_grad():
        for name, linear in layers.items():
            linear.weight.masked_fill_(~expand_mask(kept[name], linear.weight.shape, pattern.block), 0.0)
    return measure_sparsity(layers, pattern.block, share, scope)


def _checked_block(block: tuple[int, int]) -> tuple[int, int]:
    sizes: Sequence[object] = block  # callers without a type checker pass anything
    if len(sizes) != 2 or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise FastEPError(
            f"block must be two whole numbers >= 1 (outputs x inputs), found {block!r}",
            remedy="the usual ones are (4, 1) and (4, 4)",
        )
    return block
