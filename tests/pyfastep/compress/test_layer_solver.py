"""The solver against numpy's least squares, and its costs against removing each block."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from pyfastep.compress.layer_solver import LayerSolver
from pyfastep.compress.masks import expand_mask

DAMPING = 1e-9


def problem(n_out: int, n_in: int, bias: bool = True) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    """A Linear, the dense model's inputs [tokens, in] and those of the pruned model."""
    torch.manual_seed(n_out * 100 + n_in)
    linear = torch.nn.Linear(n_in, n_out, bias=bias)
    dense = torch.randn(200, n_in) @ torch.randn(n_in, n_in) + 0.5
    return linear, dense, dense + 0.1 * torch.randn_like(dense)


def solver(linear: torch.nn.Linear, dense: torch.Tensor, own: torch.Tensor, block: tuple[int, int]) -> LayerSolver:
    own = torch.nn.functional.pad(own.double(), (0, 1), value=1.0)
    with torch.no_grad():
        wanted = linear(dense).double()
    return LayerSolver(linear, own.T @ own, wanted.T @ own, DAMPING, block)


def error(weight: np.ndarray, linear: torch.nn.Linear, dense: torch.Tensor, own: torch.Tensor) -> float:
    """Squared error of an augmented weight [out, in + 1] on the layer's outputs."""
    with torch.no_grad():
        wanted = linear(dense).double().numpy()
    inputs = np.hstack([own.double().numpy(), np.ones((len(own), weight.shape[1] - own.shape[1]))])
    return float(np.square(inputs @ weight.T - wanted).sum())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("block", [(4, 1), (1, 4), (2, 3), (1, 1)], ids=str)
def test_solves_for_what_stays(block: tuple[int, int], bias: bool) -> None:
    linear, dense, own = problem(6, 10, bias)
    found = solver(linear, dense, own, block)
    shape = (-(-6 // block[0]), -(-10 // block[1]))
    kept = torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.4
    found.solve(kept)
    mask = expand_mask(kept, torch.Size((6, 10)), block).numpy()
    with torch.no_grad():
        wanted = linear(dense).double().numpy()
    for row in range(6):
        columns = np.flatnonzero(mask[row])
        inputs = own.double().numpy()[:, columns]
        if bias:
            inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
        expected = np.linalg.lstsq(inputs, wanted[:, row], rcond=None)[0]
        got = found.weight[row, columns].numpy()
        # float32 result of a float64 solution whose damping of 1e-9 moves it by far less.
        np.testing.assert_allclose(got, expected[: len(columns)], rtol=1e-4, atol=1e-5)
        if bias:
            np.testing.assert_allclose(float(found.bias[row]), expected[-1], rtol=1e-4, atol=1e-4)
    assert not found.weight.numpy()[~mask].any()


@pytest.mark.parametrize("block", [(4, 1), (1, 4), (2, 3)], ids=str)
@pytest.mark.parametrize("pruned_first", [False, True])
def test_the_score_is_what_removing_a_block_costs(block: tuple[int, int], pruned_first: bool) -> None:
    linear, dense, own = problem(4, 6)
    shape = (-(-4 // block[0]), -(-6 // block[1]))
    kept = torch.ones(shape, dtype=torch.bool)
    if pruned_first:
        kept[0, 0] = False

    def solved(mask: torch.Tensor) -> np.ndarray:
        one = solver(linear, dense, own, block)
        one.solve(mask)
        return np.hstack([one._solution.numpy()])

    base = solver(linear, dense, own, block)
    base.solve(kept)
    scores = base.scores()
    least = error(solved(kept), linear, dense, own)
    for index in kept.nonzero().tolist():
        without = kept.clone()
        without[tuple(index)] = False
        cost = error(solved(without), linear, dense, own) - least
        assert float(scores[tuple(index)]) == pytest.approx(cost, rel=1e-4)
    assert bool((scores[~kept] < 0).all())
