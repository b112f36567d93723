"""Training with the library's own loop: it learns, keeps zeros, and goes on from its checkpoints as if never killed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .encoders import batches, tiny_bert, tiny_distilbert

pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")
pytest.importorskip("transformers")

import torch  # noqa: E402
import transformers  # noqa: E402

from pyfastep.compress import trainer  # noqa: E402
from pyfastep.compress.distill import Distiller, add_teacher_columns  # noqa: E402
from pyfastep.compress.gradual import BlockPruner, PruningCallback  # noqa: E402
from pyfastep.compress.meter import Meter  # noqa: E402
from pyfastep.compress.qat import insert_fake_quantization  # noqa: E402
from pyfastep.compress.recipe import DistillSettings, PruneSettings, TrainSettings  # noqa: E402
from pyfastep.compress.runners import torch_runner  # noqa: E402
from pyfastep.compress.selection import select_linears  # noqa: E402
from pyfastep.compress.tasks.collate import Collator  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402

ROWS = [{"input_ids": [12 + i % 2, 5 + i % 7, 6], "attention_mask": [1] * 3, "labels": i % 2} for i in range(64)]
SETTINGS = TrainSettings(steps=40, batch_size=8, accumulate=2, learning_rate=1e-2, save_every=10, precision="fp32")
ALONE = DistillSettings(task=1.0, logits=0.0)


def run(
    model: Any,
    folder: Path,
    settings: TrainSettings = SETTINGS,
    callbacks: Any = (),
    progress: Any = None,
    distill: DistillSettings = ALONE,
    teacher: Any = None,
    name: str = "train",
    rows: Any = None,
    first_rows: int = 0,
) -> Any:
    return trainer.train(
        model,
        datasets.Dataset.from_list(rows or ROWS),
        settings,
        distiller=Distiller(distill, teacher, ("logits",)),
        collate=Collator(0),
        folder=folder,
        seed=0,
        callbacks=callbacks,
        meter=Meter(4, lambda model: {"accuracy": accuracy(model)}),
        progress=progress,
        name=name,
        first_rows=first_rows,
    )


def accuracy(model: Any) -> float:
    """Share of the rows that the model gets right."""
    feeds = {name: value.numpy() for name, value in Collator(0)(ROWS).items()}
    logits = torch_runner(model, ("logits",))(feeds)["logits"]
    return float((logits.argmax(-1) == feeds["labels"]).mean())


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
    assert [(row["step"], row["tokens"]) for row in log.evaluations] == [(n, 24 * n) for n in (0, 10, 20, 30, 40)]
    assert log.evaluations[-1]["figures"] == {"accuracy": 1.0}
    cost = log.cost
    assert (cost.steps, cost.planned_steps, cost.tokens, cost.precision) == (40, 40, 40 * 8 * 3, "fp32")
    assert cost.threads == torch.get_num_threads()
    assert accuracy(model) == 1.0  # the first id decides; chance is a half
    trained = {name: value.clone() for name, value in model.state_dict().items()}

    again, seen = tiny_bert("BertForSequenceClassification"), []
    known = run(again, tmp_path, progress=lambda share, what: seen.append(share))
    assert (known.losses, known.evaluations, known.cost.tokens) == (log.losses, log.evaluations, log.cost.tokens)
    measured = json.loads((tmp_path / "checkpoint-40" / "meter.json").read_text())
    assert known.cost.seconds > measured["seconds"] > 0
    assert known.cost.cpu_seconds > measured["cpu_seconds"] > 0
    assert seen == []  # finished: nothing is trained, the weights are those of the last checkpoint
    assert all(torch.equal(value, trained[name]) for name, value in again.state_dict().items())


def test_a_loss_that_is_no_number(tmp_path: Path) -> None:
    model = tiny_bert("BertForSequenceClassification")
    with torch.no_grad():
        model.classifier.weight.fill_(float("inf"))
    with pytest.raises(FastEPError, match=r"qat: the loss is .* at step \d+ \(lower learning_rate\)"):
        run(model, tmp_path, name="qat")


def prune(model: Any, folder: Path, settings: TrainSettings) -> dict[str, Any]:
    """Weights after a training that prunes gradually by a score that has a memory."""
    pruner = BlockPruner(model, PruneSettings(sparsity=0.5, end=0.8, every=2, score="snip-momentum"))
    run(model, folder, settings, [PruningCallback(pruner)])
    assert pruner.report().sparsity == 0.5
    return {name: value.clone() for name, value in model.state_dict().items()}


KILLS = {
    "while the trainer writes": (trainer.CompressionTrainer, "_save_optimizer_and_scheduler"),
    "before the masks": (PruningCallback, "on_save"),
    "before the measurements": (Meter, "on_save"),
}


THREE_EPOCHS = replace(SETTINGS, steps=24)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prune(tiny_bert("BertForSequenceClassification"), tmp_path_factory.mktemp("whole"), THREE_EPOCHS)


@pytest.mark.parametrize("place", KILLS)
@pytest.mark.parametrize("save_every", [10, 8])  # goes on within an epoch, and at the end of one
def test_a_kill_while_a_checkpoint_is_written_changes_no_weight(
    place: str, save_every: int, never_killed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(THREE_EPOCHS, save_every=save_every)
    owner, method = KILLS[place]
    original = getattr(owner, method)
    calls: list[Any] = []

    def kill_at_the_second(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise InterruptError
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, method, kill_at_the_second)
    with pytest.raises(InterruptError):
        prune(tiny_bert("BertForSequenceClassification"), tmp_path, settings)
    monkeypatch.undo()
    left = {int(path.name.removeprefix("checkpoint-")) for path in tmp_path.iterdir()}
    assert left == {save_every, 2 * save_every}
    torch.manual_seed(123)  # another process has another state
    found = prune(tiny_bert("BertForSequenceClassification"), tmp_path, settings)
    assert all(torch.equal(value, never_killed[name]) for name, value in found.items())


def test_each_training_has_its_own_precision(tmp_path: Path) -> None:
    """And what it set for itself is gone afterwards; bf16 needs no CPU that is fast in it."""
    model, kinds, before = tiny_bert("BertForSequenceClassification"), set(), dict(os.environ)
    model.classifier.register_forward_hook(lambda module, args, output: kinds.add(output.dtype))
    cases: tuple[tuple[Any, torch.dtype], ...] = (("bf16", torch.bfloat16), ("fp32", torch.float32))
    for precision, kind in cases:
        log = run(model, tmp_path / precision, replace(SETTINGS, steps=2, precision=precision))
        assert (log.cost.precision, kinds) == (precision, {kind})
        assert [row["step"] for row in log.evaluations] == [0, 1, 2]
        kinds.clear()
    assert dict(os.environ) == before
    assert "forward" not in vars(model)


class SeveralGpus(transformers.TrainingArguments):
    """As on a machine with four."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._n_gpu = 4


def test_one_of_several_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Trainer would give each a batch of its own."""
    monkeypatch.setattr(trainer, "TrainingArguments", SeveralGpus)
    log = run(tiny_bert("BertForSequenceClassification"), tmp_path, replace(SETTINGS, steps=2))
    assert log.cost.tokens == 2 * 8 * 3


class Decay(transformers.TrainerCallback):
    """The parameters that have weight decay."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        groups = [group["params"] for group in kwargs["optimizer"].param_groups if group["weight_decay"]]
        self.parameters = {id(parameter) for group in groups for parameter in group}


def test_ranges_have_no_weight_decay(tmp_path: Path) -> None:
    model, decay = tiny_bert("BertForSequenceClassification"), Decay()
    insert_fake_quantization(model, list(select_linears(model)), batches(), "learned")
    run(model, tmp_path, replace(SETTINGS, steps=1, weight_decay=0.1), [decay])
    assert id(model.classifier.weight) in decay.parameters
    ranges = [id(parameter) for parameter in model.input_quantizers.parameters()]
    assert len(ranges) == 16
    assert not decay.parameters.intersection(ranges)


class Watch(transformers.TrainerCallback):
    """The dropout that a training runs with."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rates = {module.p for module in kwargs["model"].modules() if isinstance(module, torch.nn.Dropout)}


@pytest.mark.parametrize(
    ("dropout", "distils", "rate"), [("auto", False, 0.1), ("auto", True, 0.0), ("model", True, 0.1), (0.3, True, 0.3)]
)
def test_dropout_while_training(tmp_path: Path, dropout: Any, distils: bool, rate: float) -> None:
    model, watch = tiny_bert("BertForSequenceClassification"), Watch()
    teacher = tiny_bert("BertForSequenceClassification") if distils else None
    distill = DistillSettings(task=1.0, logits=1.0) if distils else ALONE
    run(model, tmp_path, replace(SETTINGS, steps=1, dropout=dropout), [watch], distill=distill, teacher=teacher)
    assert watch.rates == {rate}
    assert model.config.hidden_dropout_prob == 0.1
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}


def test_frozen_parameters_stay_bit_for_bit(tmp_path: Path) -> None:
    model = tiny_bert("BertForSequenceClassification")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    run(model, tmp_path, replace(SETTINGS, steps=2, freeze=("*.word_embeddings.*",), weight_decay=0.1))
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert same == {"bert.embeddings.word_embeddings.weight"}
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("cache", [False, True])
def test_inputs_that_model_and_teacher_do_not_take_are_left_out(cache: bool, tmp_path: Path) -> None:
    """A BertTokenizer gives token types, DistilBERT takes none."""
    model, teacher = (tiny_distilbert("DistilBertForSequenceClassification") for _ in range(2))
    rows = datasets.Dataset.from_list([{**row, "token_type_ids": [0] * 3} for row in ROWS])
    distill = DistillSettings(task=1.0, logits=1.0)
    distiller = Distiller(distill, teacher, ("logits",))
    if cache:
        rows = add_teacher_columns(rows, teacher, distiller, Collator(0), tmp_path / "answers.arrow")
        distiller = Distiller(distill, None, ("logits",))
    settings = replace(SETTINGS, steps=1)
    log = trainer.train(
        model, rows, settings, distiller=distiller, collate=Collator(0), folder=tmp_path / "checkpoints", seed=0
    )
    assert log.cost is not None
    assert log.cost.tokens == 8 * 3


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_warmup"])
def test_settings_reach_the_optimizer_and_its_schedule(schedule: Any, tmp_path: Path) -> None:
    rates: dict[str, Any] = {"learning_rate": 3e-4, "weight_decay": 0.02, "adam_beta2": 0.98}
    settings = replace(SETTINGS, steps=40, schedule=schedule, warmup=0.25, **rates)
    made = trainer._arguments(settings, tmp_path, 7)
    assert {name: getattr(made, name) for name in rates} == rates
    assert (made.lr_scheduler_type, made.get_warmup_steps(made.max_steps)) == (schedule, 10)
    assert (made.max_steps, made.save_steps, made.seed) == (40, 10, 7)


def test_a_time_limit_sets_the_steps_and_measuring_changes_no_weight(tmp_path: Path) -> None:
    """What is measured is a copy: with a limit that all steps fit into, the same model comes out."""
    settings = replace(SETTINGS, steps=4)
    models = [tiny_bert("BertForSequenceClassification") for _ in range(2)]
    run(models[0], tmp_path / "a", settings)
    run(models[1], tmp_path / "b", replace(settings, minutes=60.0))
    assert all(torch.equal(x, y) for x, y in zip(models[0].parameters(), models[1].parameters(), strict=True))
    log = run(models[0], tmp_path / "c", replace(settings, minutes=1e-9))
    assert (log.cost.steps, log.cost.planned_steps) == (1, 4)
    assert [row["step"] for row in log.evaluations] == [0, 1]


def test_the_first_rows_are_trained_on_before_all_others(tmp_path: Path) -> None:
    class Watch(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append(state.num_input_tokens_seen)

    seen: list[int] = []
    short = [{"input_ids": [12, 5], "attention_mask": [1, 1], "labels": 0}] * 16
    settings = replace(SETTINGS, steps=10, minutes=60.0)
    run(tiny_bert("BertForSequenceClassification"), tmp_path, settings, [Watch()], rows=short + ROWS, first_rows=16)
    assert [int(after - before) for before, after in zip([0, *seen], seen, strict=False)] == [16, 16] + [24] * 8
