"""The dropout that a model trains with, apart from what its configuration says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["dropout_rate"]

# Attention that calls a fused kernel keeps its rate as a number: BERT, DistilBERT, RoBERTa, XLM-R of transformers.
_ATTRIBUTE = "dropout_prob"


@contextmanager
def dropout_rate(model: nn.Module, rate: float | None) -> Iterator[None]:
    """Sets every dropout of a model, that of attention too, and puts back what was there.

    The configuration is not touched, so a checkpoint says what it said before.

    Args:
        model: A Hugging Face encoder.
        rate: Share of the values that become zero, 0 to 1; None leaves all as they are.
    """
    places = [] if rate is None else list(_places(model))
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, rate)
    try:
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)


def _places(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            yield module, "p"
        if isinstance(getattr(module, _ATTRIBUTE, None), float):
            yield module, _ATTRIBUTE
