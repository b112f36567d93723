"""The teacher of a run: its dense model, or another checkpoint that has to fit to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyfastep.compress.context import Context
from pyfastep.compress.models import check_length, classifier_labels, load_model, load_tokenizer
from pyfastep.compress.pooling import Pooling, read_pooling
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

__all__ = ["Teacher", "load_teacher"]

_KEY = "distill.teacher"


@dataclass(frozen=True)
class Teacher:
    """A model to learn from, and how its token states are pooled."""

    model: PreTrainedModel
    pooling: Pooling


def load_teacher(context: Context) -> Teacher:
    """The teacher that a recipe asks for.

    Its classes, if it has any, are put into the order of the data's labels.

    Raises:
        FastEPError: It is not there or has no trained head, or its vocabulary, classes or length do not fit.
    """
    name, task, labels = context.recipe.distill.teacher, context.task, context.splits.labels
    if not name:
        return Teacher(context.model("dense"), task.pooling)
    _check_vocabulary(context, name)
    classes = classifier_labels(name) if labels else ()
    same = sorted(classes) == sorted(labels)
    model = load_model(name, task, classes if same else labels, trained=task.has_head)
    check_length(model, task.max_length, _KEY)
    if same and classes != labels:
        _reorder(model, [classes.index(label) for label in labels])
    return Teacher(model, task.pooling if task.has_head else read_pooling(name))


def _check_vocabulary(context: Context, name: str) -> None:
    """Both read the same numbers: a teacher that takes them for other words says nothing of use."""
    own, its = (tokenizer.get_vocab() for tokenizer in (context.tokenizer, load_tokenizer(name)))
    others = [token for token, number in own.items() if its.get(token) != number]
    if others:
        raise FastEPError(
            f"expected the vocabulary of model.path, {len(own)} tokens, found one of {len(its)} in which {len(others)} "
            f"of them are missing or have another number, {others[0]!r} for instance",
            node=f"{_KEY}: {name}",
            remedy="take a teacher that was trained with the same tokenizer",
        )


def _reorder(model: nn.Module, order: Sequence[int]) -> None:
    """Gives the logits of the classes in another order."""

    def hook(module: nn.Module, args: Any, outputs: Any) -> Any:
        outputs["logits"] = outputs["logits"][:, order]
        return outputs

    model.register_forward_hook(hook)
