"""Masks over time: the schedule, exact sparsity, what is pruned stays pruned, and the trainer's callback."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from pyfastep.compress.gradual import BlockPruner, PruningCallback, cubic_share
from pyfastep.compress.recipe import PruneSettings
from pyfastep.errors import FastEPError


def stack(*shapes: tuple[int, int], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(torch.nn.Linear(n_in, n_out) for n_out, n_in in shapes)
    return model


def test_schedule() -> None:
    assert [cubic_share(step, 100, 0.1, 0.5) for step in (0, 9, 10, 50, 99)] == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert cubic_share(30, 100, 0.1, 0.5) == pytest.approx(1 - 0.5**3)
    assert cubic_share(0, 10, 0.0, 0.0) == 1.0


@pytest.mark.parametrize("pattern", ["4x1", "1x4", "4x4", "unstructured", "2:4"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_final_sparsity_is_exact_and_nothing_comes_back(pattern: str, scope: Any) -> None:
    model = stack((32, 64), (64, 32))
    pruner = BlockPruner(model, PruneSettings(pattern=pattern, sparsity=0.75, scope=scope))
    target = 0.5 if pattern == "2:4" else 0.75
    before = {name: linear.weight != 0 for name, linear in pruner.layers.items()}
    for progress in (0.3, 0.7, 1.0):
        with torch.no_grad():
            for linear in pruner.layers.values():
                linear.weight.add_(torch.randn_like(linear.weight))  # as training would, pruned ones too
        pruner.prune(progress)
        for name, linear in pruner.layers.items():
            assert not ((linear.weight != 0) & ~before[name]).any()
            before[name] = linear.weight != 0
        assert pruner.report().sparsity == pytest.approx(progress * target, abs=0.01)
    assert pruner.report().sparsity == target


def magnitudes(weight: Any, rows: int, columns: int) -> Any:
    """Mean ``|w|`` of each block, of what there is of it at the edges."""
    tops, lefts = (range(0, size, step) for size, step in zip(weight.shape, (rows, columns), strict=True))
    return np.array([[np.abs(weight[i : i + rows, j : j + columns]).mean() for j in lefts] for i in tops])


@pytest.mark.parametrize(("pattern", "rows", "columns"), [("4x1", 4, 1), ("1x4", 1, 4), ("unstructured", 1, 1)])
def test_the_blocks_of_least_magnitude_go(pattern: str, rows: int, columns: int) -> None:
    pruner = BlockPruner(stack((30, 22)), PruneSettings(pattern=pattern, sparsity=0.5))
    linear = pruner.layers["layers.0"]
    scores = magnitudes(linear.weight.detach().double().numpy(), rows, columns)
    pruner.prune(1.0)
    zero = magnitudes(linear.weight.detach().numpy(), rows, columns) == 0
    count = round(0.5 * scores.size)
    assert sorted(np.flatnonzero(zero)) == sorted(np.argsort(scores.ravel())[:count])
    assert int((linear.weight == 0).sum()) == int(np.kron(zero, np.ones((rows, columns)))[:30, :22].sum())


def test_targets_per_layer() -> None:
    pruner = BlockPruner(stack((32, 32), (32, 32)), PruneSettings(sparsity=0.5, targets={"*.1": 0.25}))
    pruner.prune(1.0)
    assert [layer.sparsity for layer in pruner.report().layers] == [0.5, 0.25]


def test_momentum_score_by_hand() -> None:
    model = stack((4, 4))
    pruner = BlockPruner(model, PruneSettings(score="snip-momentum", sparsity=0.5, momentum=0.5, gain=2.0))
    weight = model.layers[0].weight
    with torch.no_grad():
        weight.fill_(1.0)
    for gradient in (torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([0.0, 0.0, 0.0, 5.0])):
        weight.grad = gradient.expand(4, 4).clone()
        pruner.accumulate_gradients()
    # 0.5 * 2 * first + 2 * second: 4, 3, 2, 11
    pruner.prune(1.0)
    assert (weight[0] != 0).tolist() == [True, False, False, True]


def test_lock_takes_the_zeros_that_are_there() -> None:
    model = stack((8, 4))
    with torch.no_grad():
        model.layers[0].weight[0:4, 1] = 0
        model.layers[0].weight[4, 2] = 0  # one element of a block that stays
    pruner = BlockPruner(model, PruneSettings(sparsity=0.5))
    pruner.lock()
    pruner.prune(1.0)
    with torch.no_grad():
        model.layers[0].weight.fill_(1.0)
    pruner.apply()
    assert (model.layers[0].weight == 0).nonzero().tolist() == [[0, 1], [1, 1], [2, 1], [3, 1]]


def drive(callback: PruningCallback, folder: Path, first: int, last: int, steps: int) -> None:
    args = SimpleNamespace(output_dir=str(folder))
    state = SimpleNamespace(global_step=first, max_steps=steps)
    control: Any = None
    callback.on_train_begin(args, state, control)
    for _ in range(first, last):
        callback.on_pre_optimizer_step(args, state, control)
        callback.on_optimizer_step(args, state, control)
        state.global_step += 1
    (folder / f"checkpoint-{last}").mkdir()
    callback.on_save(args, state, control)


def test_the_callback_goes_on_after_an_interruption(tmp_path: Path) -> None:
    settings = PruneSettings(sparsity=0.75, end=0.5, every=2)
    whole, first = (BlockPruner(stack((32, 64)), settings) for _ in range(2))
    drive(PruningCallback(whole), tmp_path, 0, 20, 20)
    drive(PruningCallback(first), tmp_path, 0, 6, 20)
    assert 0 < first.report().sparsity < 0.75
    rest = BlockPruner(stack((32, 64)), settings)
    drive(PruningCallback(rest), tmp_path, 6, 19, 20)
    assert rest.locked
    assert rest.report().sparsity == whole.report().sparsity == 0.75
    assert torch.equal(rest.layers["layers.0"].weight == 0, whole.layers["layers.0"].weight == 0)


@pytest.mark.parametrize("every", [1, 3])
def test_sparsity_follows_the_cubic_schedule(every: int, tmp_path: Path) -> None:
    """From step 4 of 20 to step 16; between two prunings it stays."""
    pruner = BlockPruner(stack((32, 64)), PruneSettings(sparsity=0.75, begin=0.2, end=0.8, every=every))
    measured: list[float] = []

    class Watched(PruningCallback):
        def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            super().on_optimizer_step(*args, **kwargs)
            measured.append(pruner.report().sparsity)

    drive(Watched(pruner), tmp_path, 0, 20, 20)
    blocks = 32 * 64 // 4
    for step, sparsity in enumerate(measured, start=1):
        pruned_at = step if step >= 16 else step - step % every
        done = min(max((pruned_at - 4) / 12, 0.0), 1.0)
        assert sparsity == round(0.75 * (1 - (1 - done) ** 3) * blocks) / blocks, step


def test_a_checkpoint_without_masks_is_refused(tmp_path: Path) -> None:
    """Empty masks would let back what was pruned."""
    callback = PruningCallback(BlockPruner(stack((32, 64)), PruneSettings(sparsity=0.75)))
    with pytest.raises(FastEPError, match=r"checkpoint-6/pruner.pt: the checkpoint has no masks \(delete its folder\)"):
        drive(callback, tmp_path, 6, 7, 20)
