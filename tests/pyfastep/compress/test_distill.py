"""Losses against formulas by hand, and the cached teacher against the live one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .encoders import batches, tiny_bert

pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

import torch  # noqa: E402

from pyfastep.compress import distill  # noqa: E402
from pyfastep.compress.recipe import DistillSettings  # noqa: E402
from pyfastep.compress.tasks.collate import Collator  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402


def test_logits_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[0.0, 3.0, 1.0]])

    def soft(x: torch.Tensor) -> np.ndarray:
        e = np.exp(x.double().numpy() / 2.0)
        return e / e.sum()

    p, q = soft(teacher), soft(student)
    expected = 4.0 * float((p * np.log(p / q)).sum())
    assert float(distill.logit_loss(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-5)
    assert float(distill.logit_loss(teacher, teacher, 2.0)) == pytest.approx(0.0, abs=1e-7)


def test_logits_of_padding_have_no_share() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5), torch.randn(2, 5)
    parts = [(student[:1], teacher[:1]), (student[1:, :3], teacher[1:, :3])]
    alone = [float(distill.logit_loss(*part, 2.0)) for part in parts]
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    student[1, 3:], teacher[1, 3:] = 1e4, -7.0
    student.requires_grad_()
    loss = distill.logit_loss(student, teacher, 2.0, mask)
    assert float(loss) == pytest.approx(sum(alone) / 2, rel=1e-5)
    loss.backward()
    assert student.grad is not None
    assert student.grad[1, 3:].tolist() == [0.0, 0.0]
    assert student.grad[mask.bool()].abs().min() > 0


def test_hidden_states_count_every_dimension_alike_and_no_padding() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(2, 5, 3) * torch.tensor([1.0, 4.0, 0.5])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    spread = teacher[mask.bool()].std(dim=0)
    student = teacher + 0.5 * spread
    student[1, 3:] = 1e9  # padding
    assert float(distill.hidden_loss(student, teacher, mask, True)) == pytest.approx(0.25, rel=1e-3)
    plain = float(distill.hidden_loss(student, teacher, mask, False))
    assert plain == pytest.approx(float((0.5 * spread).square().mean()), rel=1e-3)


def test_a_dimension_that_never_changes_is_not_all_that_counts() -> None:
    """MiniLM's last states have one that is 0 in every token: by its own deviation any difference would be infinite."""
    torch.manual_seed(0)
    teacher, mask = torch.randn(2, 50, 8), torch.ones(2, 50)
    teacher[..., 3] = 0.0
    student = teacher.clone()
    student[..., 3] += 1e-3
    # One of 8 dimensions is off by 1e-3 where the deviation counted is a tenth of a mean of about 7/8.
    assert float(distill.hidden_loss(student, teacher, mask, True)) == pytest.approx((1e-3 / 0.0875) ** 2 / 8, rel=0.3)


def test_embeddings_by_hand() -> None:
    hidden = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    embedding = distill.sentence_embedding(hidden, torch.tensor([[1, 1, 0]]))
    assert embedding[0].tolist() == pytest.approx([0.6, 0.8])
    first = distill.sentence_embedding(hidden[:, 1:], torch.tensor([[1, 1]]), "cls")
    assert first[0].tolist() == pytest.approx([0.0, 1.0])
    other = torch.tensor([[1.0, 0.0]])
    expected = 2.0 * (1 - 0.6) + 3.0 * 2 * (0.4**2 + 0.8**2) / 2
    assert float(distill.embedding_loss(embedding, other, 2.0, 3.0)) == pytest.approx(expected)


def test_the_sum_has_every_part() -> None:
    teacher, student = tiny_bert("BertForQuestionAnswering"), tiny_bert("BertForQuestionAnswering")
    with torch.no_grad():
        student.qa_outputs.weight.add_(0.1)
    (batch,) = batches(count=1)
    outputs = student(**batch, output_hidden_states=True)
    task = torch.tensor(2.0)
    settings = DistillSettings(task=0.5, logits=0.25, hidden=3.0)
    distiller = distill.Distiller(settings, teacher, ("start_logits", "end_logits"))
    with torch.no_grad():
        wanted = teacher(**batch)
    mask = batch["attention_mask"]
    parts = [distill.logit_loss(outputs[n], wanted[n], 2.0, mask) for n in ("start_logits", "end_logits")]
    # The same encoder: hidden states cost nothing.
    expected = 0.5 * 2.0 + 0.25 * float(sum(part.detach() for part in parts)) / 2
    assert float(distiller.loss(outputs, task, batch)) == pytest.approx(expected, rel=1e-5)


def hidden_by_hand(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, normalize: bool) -> float:
    """As the recipe says it: every dimension by the teacher's deviation in it, at least a tenth of their mean."""
    found, wanted = (states.detach().double().numpy()[mask.bool().numpy()] for states in (student, teacher))
    deviation = wanted.std(axis=0, ddof=1)
    scale = np.maximum(deviation, 0.1 * deviation.mean()) if normalize else 1.0
    return float((((found - wanted) / scale) ** 2).mean())


# Embeddings come before the first layer: a model of n layers has n + 1 states.
EVERY_LAYER, EVERY_SECOND = [(0, 0), (1, 1), (2, 2)], [(0, 0), (1, 2), (2, 4)]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("layers", "chosen", "pairs"),
    [
        (2, "all", EVERY_LAYER),
        (2, "last", EVERY_LAYER[-1:]),
        (4, "all", EVERY_SECOND),
        (4, "last", EVERY_SECOND[-1:]),
    ],
)
def test_hidden_states_of_a_teacher_that_differs(
    layers: int, chosen: str, pairs: list[tuple[int, int]], normalize: bool
) -> None:
    student = tiny_bert()
    teacher = type(student)(type(student.config)(**{**student.config.to_dict(), "num_hidden_layers": layers}))
    teacher.train(False)
    (batch,) = batches(count=1)
    settings = DistillSettings(task=0.5, logits=0.0, hidden=3.0, hidden_layers=chosen, normalize_hidden=normalize)  # type: ignore[arg-type]
    outputs = student(**batch, output_hidden_states=True)
    with torch.no_grad():
        wanted = teacher(**batch, output_hidden_states=True).hidden_states
    parts = [
        hidden_by_hand(outputs.hidden_states[own], wanted[other], batch["attention_mask"], normalize)
        for own, other in pairs
    ]
    expected = 0.5 * 2.0 + 3.0 * sum(parts) / len(parts)
    total = distill.Distiller(settings, teacher, ()).loss(outputs, torch.tensor(2.0), batch)
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


def test_gradients_reach_the_student_alone() -> None:
    teacher, student = tiny_bert(), tiny_bert()
    with torch.no_grad():
        student.encoder.layer[0].output.dense.weight.mul_(0.5)
    (batch,) = batches(count=1)
    distiller = distill.Distiller(DistillSettings(task=0, logits=0, hidden=1, embedding=1), teacher, ())
    distiller.loss(student(**batch, output_hidden_states=True), None, batch).backward()
    assert student.encoder.layer[0].output.dense.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_sizes_that_cannot_be_compared() -> None:
    from types import SimpleNamespace

    student: Any = SimpleNamespace(config=SimpleNamespace(hidden_size=8))
    distiller = distill.Distiller(DistillSettings(hidden=1.0), tiny_bert(), ())
    with pytest.raises(FastEPError, match=r"distill.hidden: hidden states of 16 features.*student's 8"):
        distiller.check(student)
    for settings in (DistillSettings(embedding=1.0), DistillSettings(embedding_mse=1.0)):
        with pytest.raises(FastEPError, match=r"distill.embedding: embeddings of 16 features.*student's 8"):
            distill.Distiller(settings, tiny_bert(), ()).check(student)
    distill.Distiller(DistillSettings(), tiny_bert(), ()).check(student)  # logits alone


@pytest.mark.parametrize("cached", [False, True])
def test_each_model_s_embeddings_are_pooled_in_its_own_way(cached: bool, tmp_path: Path) -> None:
    teacher = tiny_bert()
    settings = DistillSettings(task=0.0, logits=0.0, embedding=1.0)
    distiller = distill.Distiller(settings, teacher, (), "mean", "cls")
    table = datasets.Dataset.from_list(
        [{"input_ids": list(range(5, 5 + n)), "attention_mask": [1] * n} for n in (3, 7)]
    )
    if cached:
        table = distill.add_teacher_columns(table, teacher, distiller, Collator(0), tmp_path / "answers.arrow")
        distiller = distill.Distiller(settings, None, (), "mean", "cls")
    batch = Collator(0)(list(table))
    with torch.no_grad():
        states = teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    own = distill.sentence_embedding(states.last_hidden_state, batch["attention_mask"])
    wanted = torch.nn.functional.normalize(states.last_hidden_state[:, 0], dim=-1)
    expected = 1.0 - float((own * wanted).sum(dim=-1).mean())
    assert expected > 1e-3
    assert float(distiller.loss(states, None, batch)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["BertForQuestionAnswering", "BertModel", "BertForSequenceClassification"])
def test_a_cached_teacher_says_the_same(kind: str, tmp_path: Path) -> None:
    outputs = {
        "BertForQuestionAnswering": ("start_logits", "end_logits"),
        "BertModel": ("last_hidden_state",),
        "BertForSequenceClassification": ("logits",),
    }[kind]
    embeds = kind == "BertModel"
    settings = DistillSettings(
        task=0.0, logits=0.0 if embeds else 1.0, embedding=float(embeds), embedding_mse=float(embeds), cache=True
    )
    teacher, student = tiny_bert(kind), tiny_bert(kind)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    rows = [{"input_ids": list(range(5, 5 + n)), "attention_mask": [1] * n} for n in (3, 7, 5)]
    live = distill.Distiller(settings, teacher, outputs)
    table = datasets.Dataset.from_list(rows)
    cached = distill.add_teacher_columns(table, teacher, live, Collator(0), tmp_path / "cache" / "answers.arrow")
    assert (tmp_path / "cache" / "answers.arrow").is_file()
    kept = distill.Distiller(settings, None, outputs)
    batch = Collator(0)(list(cached))
    assert batch["attention_mask"].min() == 0
    answers = student(**{name: value for name, value in batch.items() if not name.startswith("teacher_")})
    assert float(live.loss(answers, None, batch)) > 1e-4
    # The cache was computed on the same batch, so all that differs is what padding holds.
    assert float(kept.loss(answers, None, batch)) == pytest.approx(float(live.loss(answers, None, batch)), rel=1e-6)
