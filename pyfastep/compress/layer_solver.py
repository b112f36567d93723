"""The least-squares problem of one pruned Linear: what removing a block costs, and the best weights for a pattern."""

from __future__ import annotations

import torch
from torch import nn

from pyfastep.compress.masks import expand_mask

__all__ = ["LayerSolver"]

_GONE = -1.0  # the score of a block that is zero already


class LayerSolver:
    """Minimizes ``||W' P - T||^2 + d ||W' - W||^2`` over weights ``W' [out, in]`` with given zeros, and the bias.

    Rows of one block share their pattern, so that one inverse serves them all.

    Args:
        linear: The dense layer.
        gram: ``P P^T [in + 1, in + 1]``, inputs of the pruned model with a last row of ones for the bias.
        cross: ``T P^T [out, in + 1]``, the outputs wanted times the inputs.
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
        self._right = cross + ridge * dense
        if not has_bias:  # a column that is always zero is no unknown
            self._gram, self._right = self._gram[:-1, :-1], self._right[:, :-1]
        self._inputs = n_in
        self._kept = torch.ones(n_out, n_in, dtype=torch.bool, device=gram.device)
        factor = torch.linalg.cholesky(self._gram)
        self._solution = torch.cholesky_solve(self._right.T, factor).T.contiguous()
        inverse = torch.cholesky_inverse(factor)
        columns = self._columns(0)
        groups = torch.split(self._solution, block[0])
        self._scores = torch.stack([self._costs(inverse, rows, columns) for rows in groups])

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
        return self._scores

    def solve(self, kept: torch.Tensor, score: bool = True) -> None:
        """Takes a pattern of blocks ``[ceil(out/R), ceil(in/C)]`` and solves for the weights that stay.

        Args:
            kept: True where a block stays.
            score: Compute the new scores too, which costs twice as much again.
        """
        self._kept = expand_mask(kept, torch.Size(self._kept.shape), self._block)
        solution, height = torch.zeros_like(self._solution), self._block[0]
        for first in range(0, len(solution), height):
            rows = slice(first, min(first + height, len(solution)))
            columns = self._columns(first)
            if not len(columns):
                self._scores[first // height] = _GONE
                continue
            factor = torch.linalg.cholesky(self._gram[columns][:, columns])
            found = torch.cholesky_solve(self._right[rows][:, columns].T, factor).T
            solution[rows, columns] = found
            if score:
                self._scores[first // height] = self._costs(torch.cholesky_inverse(factor), solution[rows], columns)
        self._solution = solution

    def _columns(self, row: int) -> torch.Tensor:
        """Indices of a row's unknowns, the bias last."""
        kept = self._kept[row].nonzero().squeeze(1)
        further = torch.arange(self._inputs, len(self._gram), device=kept.device)
        return torch.cat([kept, further])

    def _costs(self, inverse: torch.Tensor, solution: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Costs ``[ceil(in/C)]`` of one group of rows ``[R, in + 1]``, whose unknowns are ``columns``."""
        size = self._block[1]
        costs = torch.full((-(-self._inputs // size),), _GONE, dtype=inverse.dtype, device=inverse.device)
        kept = columns[columns < self._inputs]
        weight = solution[:, kept]
        if size == 1:
            costs[kept] = weight.square().sum(dim=0) / inverse.diagonal()[: len(kept)]
            return costs
        # Columns of one block stand side by side; only the last block of a row may be narrower.
        order = torch.arange(len(kept), device=kept.device)
        whole = len(kept) - int((kept >= self._inputs - self._inputs % size).sum())
        for part in (order[:whole].view(-1, size), order[whole:][None]):
            if part.numel():
                values = weight[:, part].transpose(0, 1)
                inner = torch.linalg.inv(inverse[part[:, :, None], part[:, None, :]])
                costs[kept[part[:, 0]] // size] = (values @ inner * values).sum(dim=(1, 2))
        return costs
