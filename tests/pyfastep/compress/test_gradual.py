"""Masks over time: the schedule, exact sparsity, what is pruned stays pruned, and the trainer's callback."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from pyfastep.compress.gradual import BlockPruner, PruningCallback, cubic_share  # noqa: E402
from pyfastep.compress.recipe import PruneSettings  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402


def stack(*shapes: tuple[int, int], seed: int = 0) -> torch.nn.Module:
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
def test_final_sparsity_is_exact_and_nothing_comes_back(pattern: str, scope: str) -> None:
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


def test_a_checkpoint_without_masks_is_refused(tmp_path: Path) -> None:
    """Empty masks would let back what was pruned."""
    callback = PruningCallback(BlockPruner(stack((32, 64)), PruneSettings(sparsity=0.75)))
    with pytest.raises(FastEPError, match=r"checkpoint-6/pruner.pt: the checkpoint has no masks \(delete its folder\)"):
        drive(callback, tmp_path, 6, 7, 20)
