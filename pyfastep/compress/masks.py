"""Scores of blocks and the choice of those that stay, for every pattern, per layer or over all layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from pyfastep.compress.pattern import Pattern

__all__ = ["block_scores", "block_sums", "expand_mask", "keep_global", "keep_per_layer"]

Scores = Mapping[str, torch.Tensor]
Masks = dict[str, torch.Tensor]


def block_sums(values: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """Sums of R x C tiles of ``values [out, in]``: ``[ceil(out/R), ceil(in/C)]``; edge tiles are smaller."""
    rows, cols = block
    n_out, n_in = values.shape
    padded = nn.functional.pad(values, (0, -n_in % cols, 0, -n_out % rows))
    tiles = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // cols, cols)
    return tiles.sum(dim=(1, 3))


def block_scores(weight: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """Mean of ``|w|`` per block.

    ``score[i, j] = mean |weight[R*i : R*i+R, C*j : C*j+C]|``, over the elements that exist in edge blocks.

    Args:
        weight: ``[out, in]``, floating point.
        block: ``(R, C)``, each >= 1.

    Returns:
        ``[ceil(out/R), ceil(in/C)]``, float64 if the weight is, float32 otherwise.
    """
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    magnitude = weight.detach().to(dtype).abs()
    return block_sums(magnitude, block) / block_sums(torch.ones_like(magnitude), block)


def expand_mask(mask: torch.Tensor, shape: torch.Size, block: tuple[int, int]) -> torch.Tensor:
    """Block mask to element mask ``[out, in]``, cut to the weight's shape."""
    full = mask.repeat_interleave(block[0], dim=0).repeat_interleave(block[1], dim=1)
    return full[: shape[0], : shape[1]]


def keep_per_layer(scores: Scores, shares: Mapping[str, float], pattern: Pattern) -> Masks:
    """Of each layer's ``n`` blocks the ``round(share * n)`` of least score go; True in the result: it stays.

    With N:M, ``share`` is that of the elements which the rule takes in the end, ``1 - N/M``: half of it takes half of
    them. Equal scores go in row-major order.
    """
    kept = {}
    for name, score in scores.items():
        flat = _with_protection(score, pattern).reshape(-1)
        kept[name] = _keep(flat, _count(flat, shares[name], pattern)).reshape(score.shape)
    return kept


def keep_global(scores: Scores, share: float, bounds: tuple[float, float], pattern: Pattern) -> Masks:
    """Of all layers' blocks together the ``round(share * n)`` of least score go, of each layer's within ``bounds``.

    Args:
        scores: Per layer.
        share: Of all blocks; see :func:`keep_per_layer` for N:M.
        bounds: Least and highest share of any one layer's blocks.
        pattern: Of the blocks.
    """
    pieces = [_bounded(_with_protection(score, pattern).reshape(-1).cpu(), bounds, share) for score in scores.values()]
    flat = torch.cat(pieces)
    kept = torch.split(_keep(flat, _count(flat, share, pattern)), [len(piece) for piece in pieces])
    return {
        name: piece.reshape(score.shape).to(score.device)
        for (name, score), piece in zip(scores.items(), kept, strict=True)
    }


def _with_protection(score: torch.Tensor, pattern: Pattern) -> torch.Tensor:
    """Under N:M, the N strongest of each group get an infinite score."""
    if pattern.group is None:
        return score
    keep, size = pattern.group
    n_out, n_in = score.shape
    padded = nn.functional.pad(score, (0, -n_in % size), value=-float("inf"))
    groups = padded.reshape(n_out, -1, size)
    # A stable order makes equal scores go in row-major order, so the strongest are the last ones.
    order = torch.argsort(groups, dim=-1, stable=True)
    protected = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order[..., size - keep :], True)
    return groups.masked_fill(protected, float("inf")).reshape(n_out, -1)[:, :n_in]


def _bounded(flat: torch.Tensor, bounds: tuple[float, float], share: float) -> torch.Tensor:
    """Marks the blocks that must go (least share) and those that must stay (highest share)."""
    order = torch.argsort(flat, stable=True)
    least, most = (round(bound * len(flat)) for bound in bounds)
    marked = flat.clone()
    marked[order[most:]] = float("inf")
    # While sparsity still rises, the least share rises with it.
    marked[order[: min(least, round(share * len(flat)))]] = -float("inf")
    return marked


def _count(flat: torch.Tensor, share: float, pattern: Pattern) -> int:
    if pattern.group is None:
        return round(share * len(flat))
    prunable = int((flat != float("inf")).sum())
    return round(share / pattern.target(share) * prunable)


def _keep(flat: torch.Tensor, count: int) -> torch.Tensor:
    kept = torch.ones_like(flat, dtype=torch.bool)
    kept[torch.argsort(flat, stable=True)[:count]] = False
    return kept
