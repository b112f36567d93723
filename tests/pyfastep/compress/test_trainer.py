"""Training with the library's own loop: it learns, keeps zeros, and goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .encoders import tiny_bert

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

from pyfastep.compress import trainer  # noqa: E402
from pyfastep.compress.distill import Distiller  # noqa: E402
from pyfastep.compress.gradual import BlockPruner, PruningCallback  # noqa: E402
from pyfastep.compress.recipe import DistillSettings, PruneSettings, TrainSettings  # noqa: E402
from pyfastep.compress.tasks.collate import Collator  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402

ROWS = [{"input_ids": [12 + i % 2, 5 + i % 7, 6], "attention_mask": [1] * 3, "labels": i % 2} for i in range(64)]
SETTINGS = TrainSettings(steps=40, batch_size=8, accumulate=2, learning_rate=1e-2, save_every=10, precision="fp32")


def run(model: Any, folder: Path, settings: TrainSettings = SETTINGS, callbacks: Any = (), progress: Any = None) -> Any:
    return trainer.train(
        model,
        datasets.Dataset.from_list(ROWS),
        settings,
        distiller=Distiller(DistillSettings(task=1.0, logits=0.0), None, ("logits",)),
        collate=Collator(0),
        folder=folder,
        seed=0,
        callbacks=callbacks,
        progress=progress,
    )


def accuracy(model: Any) -> float:
    """Share of the rows that the model gets right."""
    model.train(False)
    with torch.no_grad():
        logits = model(**Collator(0)([{**row, "labels": 0} for row in ROWS])).logits
    labels = torch.tensor([row["labels"] for row in ROWS])
    return float((logits.argmax(-1) == labels).float().mean())


class InterruptError(RuntimeError):
    pass


def test_learns_prunes_and_goes_on(tmp_path: Path) -> None:
    seen: list[float] = []

    def stop(share: float, what: str) -> None:
        seen.append(share)
        if share > 0.6:
            raise InterruptError

    model = tiny_bert("BertForSequenceClassification")
    settings = PruneSettings(sparsity=0.5, end=0.5, every=1)
    with pytest.raises(InterruptError):
        run(model, tmp_path, callbacks=[PruningCallback(BlockPruner(model, settings))], progress=stop)
    assert len(seen) == 25

    model, seen = tiny_bert("BertForSequenceClassification"), []
    pruner = BlockPruner(model, settings)
    log = run(model, tmp_path, callbacks=[PruningCallback(pruner)], progress=lambda share, what: seen.append(share))
    assert len(seen) == 20  # from the checkpoint at step 20
    assert pruner.report().sparsity == 0.5
    assert accuracy(model) == 1.0  # the first id decides; chance is a half
    trained = {name: value.clone() for name, value in model.state_dict().items()}

    again, seen = tiny_bert("BertForSequenceClassification"), []
    assert run(again, tmp_path, progress=lambda share, what: seen.append(share)) == log
    assert seen == []  # finished: nothing is trained, the weights are those of the last checkpoint
    assert all(torch.equal(value, trained[name]) for name, value in again.state_dict().items())


def test_a_loss_that_is_no_number(tmp_path: Path) -> None:
    model = tiny_bert("BertForSequenceClassification")
    with torch.no_grad():
        model.classifier.weight.fill_(float("inf"))
    with pytest.raises(FastEPError, match=r"train: the loss is .* at step \d+ \(lower learning_rate\)"):
        run(model, tmp_path)


def test_accumulation_must_divide(tmp_path: Path) -> None:
    settings = TrainSettings(steps=1, batch_size=8, accumulate=3)
    with pytest.raises(FastEPError, match="accumulate: expected a divisor of batch_size = 8, found 3"):
        run(tiny_bert("BertForSequenceClassification"), tmp_path, settings)
