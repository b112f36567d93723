"""Models as functions from arrays to arrays: the torch model and any ONNX session answer the evaluator alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Runner", "accepted_inputs", "session_runner", "torch_runner"]

Arrays = Mapping[str, NDArray[Any]]
Runner = Callable[[Arrays], dict[str, NDArray[Any]]]
"""Takes ``input_ids [B, S]`` and the like, gives outputs by name."""


def accepted_inputs(model: PreTrainedModel) -> frozenset[str]:
    """Names of what the model can be called with; a training may have put a wrapper before its own ``forward``."""
    return frozenset(inspect.signature(type(model).forward).parameters)


def torch_runner(model: PreTrainedModel, outputs: Sequence[str]) -> Runner:
    """The torch model in evaluation mode, on the device where it is."""
    model.train(False)
    device = next(model.parameters()).device
    accepted = accepted_inputs(model)

    def run(feeds: Arrays) -> dict[str, NDArray[Any]]:
        given = {name: torch.from_numpy(np.asarray(value)).to(device) for name, value in feeds.items()}
        with torch.inference_mode():
            result = model(**{name: value for name, value in given.items() if name in accepted})
        return {name: result[name].float().cpu().numpy() for name in outputs}

    return run


def session_runner(session: Any) -> Runner:
    """An ``onnxruntime.InferenceSession``, on FastEP or on any other provider."""
    wanted = [argument.name for argument in session.get_inputs()]
    names = [argument.name for argument in session.get_outputs()]

    def run(feeds: Arrays) -> dict[str, NDArray[Any]]:
        values = session.run(None, {name: np.ascontiguousarray(feeds[name]) for name in wanted})
        return dict(zip(names, values, strict=True))

    return run
