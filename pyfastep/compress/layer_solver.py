"""The least-squares problem of one pruned Linear: what removing a block costs, and the best weights for a pattern."""

from __future__ import annotations

import torch
from torch import nn

from pyfastep.compress.masks import expand_mask

__all__ = ["LayerSolver"]


class LayerSolver:
    """Minimizes ``||W' P - W X||^2 + d ||W' - W||^2`` over weights ``W' [out, in]`` with given zeros, and the bias.

    Rows of one block share their pattern, so that one inverse serves them all.

    Args:
        linear: The dense layer.
        gram: ``P P^T [in + 1, in + 1]``, inputs of the pruned model with a last row of ones for the bias.
        cross: ``X P^T [in + 1, in + 1]``, the dense model's inputs times those of the pruned one.
        damping: ``d`` as a share of the mean of the Gram matrix's diagonal.
        block: ``(R, C)``, outputs x inputs.
    """

    def __init__(
        self, linear: nn.Linear, gram: torch.Tensor, cross: torch.Tensor, damping: float, block: tuple[int, int]
    ) -> None:
        self._block = block
        n_out, n_in = linear.weight.shape
        has_bias = getattr(linear, "bias", None) is not None
        bias = linear.bias.detach() if has_bias else torch.zeros(n_out)
        dense = torch.cat([linear.weight.detach(), bias.to(linear.weight.device)[:, None]], dim=1).double()
        ridge = damping * gram.diagonal()[:n_in].mean().clamp(min=1e-12)
        self._gram = gram + ridge * torch.eye(n_in + 1, dtype=gram.dtype, device=gram.device)
        self._right = dense @ cross + ridge * dense
        if not has_bias:  # a column that is always zero is no unknown
            self._gram, self._right = self._gram[:-1, :-1], self._right[:, :-1]
        self._inputs = n_in
        self._kept = torch.ones(n_out, n_in, dtype=torch.bool, device=gram.device)
        self._solution: torch.Tensor = torch.linalg.solve(self._gram, self._right.T).T.contiguous()

    @property
    def weight(self) -> torch.Tensor:
        """``[out, in]``, zero where the pattern says so."""
        return self._solution[:, : self._inputs].float()

    @property
    def bias(self) -> torch.Tensor:
        """``[out]``; meaningless where the layer has none."""
        return self._solution[:, -1].float()

    def scores(self) -> torch.Tensor:
        """``w_B^T ([H_SS^-1]_BB)^-1 w_B`` per block, summed over its rows: ``[ceil(out/R), ceil(in/C)]``.

        Blocks that are zero already score less than any other.
        """
        rows, cols = self._block
        n_out, n_in = self._kept.shape
        result = torch.full((-(-n_out // rows), -(-n_in // cols)), -1.0, dtype=torch.float64, device=self._kept.device)
        shared = torch.linalg.inv(self._gram) if bool(self._kept.all()) else None
        for group in range(result.shape[0]):
            row_range = slice(group * rows, min((group + 1) * rows, n_out))
            kept = self._columns(row_range.start)
            if not len(kept):
                continue
            inverse = torch.linalg.inv(self._gram[kept][:, kept]) if shared is None else shared
            weight = self._solution[row_range][:, kept]
            result[group] = self._costs(inverse, weight, kept, result[group])
        return result

    def solve(self, kept: torch.Tensor) -> None:
        """Takes a pattern of blocks ``[ceil(out/R), ceil(in/C)]`` and solves for the weights that stay."""
        self._kept = expand_mask(kept, torch.Size(self._kept.shape), self._block)
        solution = torch.zeros_like(self._solution)
        for first in range(0, len(solution), self._block[0]):
            rows = slice(first, min(first + self._block[0], len(solution)))
            columns = self._columns(first)
            if not len(columns):
                continue
            factor = torch.linalg.cholesky(self._gram[columns][:, columns])
            found = torch.cholesky_solve(self._right[rows][:, columns].T, factor)
            solution[rows, columns] = found.T
        self._solution = solution

    def _columns(self, row: int) -> torch.Tensor:
        """Indices of a row's unknowns, the bias last."""
        kept = self._kept[row].nonzero().squeeze(1)
        further = torch.arange(self._inputs, len(self._gram), device=kept.device)
        return torch.cat([kept, further])

    def _costs(
        self, inverse: torch.Tensor, weight: torch.Tensor, columns: torch.Tensor, costs: torch.Tensor
    ) -> torch.Tensor:
        """Costs of one group of rows; columns of one block stand side by side among those that are kept."""
        size = self._block[1]
        weights = columns[columns < self._inputs]
        if size == 1:
            single = weight[:, : len(weights)].square().sum(dim=0) / inverse.diagonal()[: len(weights)]
            return costs.index_copy(0, weights, single)
        blocks = weights // size
        for block in sorted(set(blocks.tolist())):
            place = (blocks == block).nonzero().squeeze(1)
            part = weight[:, place]
            costs[block] = (part @ torch.linalg.inv(inverse[place][:, place]) * part).sum()
        return costs
