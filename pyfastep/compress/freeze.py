"""Parameters that a training leaves as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import nn

from pyfastep.compress.qat import QUANTIZERS
from pyfastep.compress.recipe import Recipe
from pyfastep.compress.selection import refuse_unmatched
from pyfastep.errors import FastEPError

__all__ = ["check_freeze", "frozen"]


def check_freeze(model: nn.Module, recipe: Recipe) -> None:
    """Refuses patterns of any training to come that match nothing.

    Raises:
        FastEPError: As of :func:`frozen`; QAT's own parameters are not there yet.
    """
    trainings = {"dense": recipe.dense, "train": recipe.train}
    if recipe.quantize.method == "qat":
        trainings["quantize.train"] = recipe.quantize.train
    names = [name for name, _ in model.named_parameters()]
    for where, settings in trainings.items():
        patterns = [pattern for pattern in settings.freeze if not pattern.startswith(QUANTIZERS)]
        refuse_unmatched(patterns if settings.steps else [], names, "parameter", f"{where}.freeze")


@contextmanager
def frozen(model: nn.Module, patterns: Sequence[str], where: str) -> Iterator[None]:
    """Takes parameters out of training, and puts back which were in it.

    An embedding table is half of a small encoder's parameters: without it a step's optimizer has half as much to do.

    Args:
        model: Any torch module.
        patterns: Glob patterns of qualified parameter names.
        where: The training, for errors.

    Raises:
        FastEPError: A pattern matches no parameter, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    refuse_unmatched(patterns, parameters, "parameter", f"{where}.freeze")
    taken = [
        parameter
        for name, parameter in parameters.items()
        if parameter.requires_grad and any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if len(taken) == sum(parameter.requires_grad for parameter in parameters.values()):
        raise FastEPError("every parameter is frozen, nothing is left to train", node=f"{where}.freeze")
    for parameter in taken:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in taken:
            parameter.requires_grad_(True)
