"""Models as functions from arrays to arrays: the torch model and any ONNX session answer the evaluator alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyfastep.compress.batch import taken_by
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Runner", "session_runner", "torch_runner", "with_token_types"]

Arrays = Mapping[str, NDArray[Any]]
Runner = Callable[[Arrays], dict[str, NDArray[Any]]]
"""Takes ``input_ids [B, S]`` and the like, gives outputs by name."""


def torch_runner(model: PreTrainedModel, outputs: Sequence[str]) -> Runner:
    """The torch model in evaluation mode, on the device where it is."""
    model.train(False)

    def run(feeds: Arrays) -> dict[str, NDArray[Any]]:
        given = {name: torch.from_numpy(np.asarray(value)) for name, value in feeds.items()}
        with torch.inference_mode():
            result = model(**taken_by(model, given))
        return {name: result[name].float().cpu().numpy() for name in outputs}

    return run


def session_runner(session: Any) -> Runner:
    """An ``onnxruntime.InferenceSession``, on FastEP or on any other provider.

    Raises:
        FastEPError: When it is run: the model takes something else than tokens.
    """
    wanted = [argument.name for argument in session.get_inputs()]
    names = [argument.name for argument in session.get_outputs()]

    def run(feeds: Arrays) -> dict[str, NDArray[Any]]:
        known = with_token_types(feeds)
        strange = next((name for name in wanted if name not in known), None)
        if strange is not None:
            raise FastEPError(f"the model takes an input that is none of {', '.join(known)}", node=strange)
        values = session.run(None, {name: np.ascontiguousarray(known[name]) for name in wanted})
        return dict(zip(names, values, strict=True))

    return run


def with_token_types(feeds: Arrays) -> dict[str, NDArray[Any]]:
    """Inputs with ``token_type_ids`` among them: the zeros that a BERT means where its tokenizer gives none."""
    return {"token_type_ids": np.zeros_like(feeds["input_ids"]), **feeds}
