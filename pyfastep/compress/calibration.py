"""What the Linears of a model see and should give: in the order of computation, over calibration data.

A stage is what can be solved for at once: the Linears that read one tensor. Where a LayerNorm follows, as behind the
two output projections of an encoder's layer, its input is the Linear's output plus the residual stream; the residual
stream of the pruned model is off by what was pruned before, and the Linear can make up for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pyfastep.compress.batch import Batch, taken_by

__all__ = [
    "Calibrator",
    "Call",
    "Moments",
    "Stage",
    "find_stages",
    "real_rows",
    "recorded_calls",
    "run_model",
]

_Inputs = tuple[Sequence[Any], Mapping[str, Any]]
"""Arguments of a call, by position and by name."""


@dataclass(frozen=True)
class Stage:
    """Linears that read one tensor.

    Attributes:
        layer: The one of the model's stacked layers that they are part of, "" where there are none.
        linears: Their names.
        norm: The layer's LayerNorm that reads the one Linear's output plus the residual stream; None where there is
            none, as at the end of a layer that normalizes before attention and feed-forward.
    """

    layer: str
    linears: tuple[str, ...]
    norm: str | None


class Moments:
    """``P P^T [in + 1, in + 1]`` and ``T P^T [out, in + 1]`` over all calibration tokens.

    ``P`` are the Linear's inputs with a last row of ones for the bias, ``T`` the outputs wanted.
    """

    def __init__(self, linear: nn.Linear) -> None:
        size, device = linear.in_features + 1, linear.weight.device
        self.gram = torch.zeros(size, size, dtype=torch.float64, device=device)
        self.cross = torch.zeros(linear.out_features, size, dtype=torch.float64, device=device)

    def add(self, inputs: torch.Tensor, wanted: torch.Tensor) -> None:
        """Takes up ``inputs [tokens, in]`` and ``wanted [tokens, out]``, float32, summed in float64."""
        own = nn.functional.pad(inputs, (0, 1), value=1.0)
        self.gram += (own.T @ own).double()
        self.cross += (wanted.T @ own).double()


def find_stages(model: nn.Module, names: Sequence[str], batch: Batch) -> list[Stage]:
    """The stages of the named Linears, in the order in which ``model`` computes them for ``batch``."""
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)]
    with recorded_calls(model, [*names, *norms]) as calls:
        run_model(model, [batch])
    stages: list[Stage] = []
    before: torch.Tensor | None = None
    for call, after in zip(calls, [*calls[1:], None], strict=True):
        if call.name not in names:
            continue
        if call.inputs is before:
            stages[-1] = Stage(stages[-1].layer, (*stages[-1].linears, call.name), None)
        else:
            layer = _layer_of(model, call.name)
            inside = [norm for norm in norms if not layer or norm.startswith(f"{layer}.")]
            norm = after.name if after and after.name in inside and after.inputs.shape == call.outputs.shape else None
            stages.append(Stage(layer, (call.name,), norm))
        before = call.inputs
    return stages


class Calibrator:
    """Runs the pruned and the dense model on calibration data, the part of them that a stage needs.

    Args:
        model: Pruned stage by stage, in the order of computation.
        dense: The model as it was.
        batches: ``input_ids``, ``attention_mask``, ...
    """

    def __init__(self, model: nn.Module, dense: nn.Module, batches: Sequence[Batch]) -> None:
        self._models = (model, dense)
        self._batches = [taken_by(model, batch) for batch in batches]
        self._layer = ""
        self._inputs: list[list[_Inputs]] = [[((), batch)] * 2 for batch in self._batches]

    def moments(self, stage: Stage) -> dict[str, Moments]:
        """Moments of the stage's Linears: inputs of the model as pruned so far, outputs that the dense one gives."""
        model = self._models[0]
        if stage.layer != self._layer:
            self._go_to(stage.layer)
        moments = {name: Moments(model.get_submodule(name)) for name in stage.linears}  # type: ignore[arg-type]
        for batch, inputs in zip(self._batches, self._inputs, strict=True):
            own, target = (_calls(part, stage, given) for part, given in zip(self._models, inputs, strict=True))
            real = batch["attention_mask"].bool()
            for name in stage.linears:
                wanted = target[name].outputs
                if stage.norm is not None:
                    residual = own[stage.norm].inputs - own[name].outputs
                    wanted = target[stage.norm].inputs - residual
                moments[name].add(real_rows(own[name].inputs, real), real_rows(wanted, real))
        return moments

    def _go_to(self, layer: str) -> None:
        """Takes down what the layer is called with, so that what comes before it need not run for each stage."""
        self._layer = layer
        self._inputs = [[_call_of(model, layer, batch) for model in self._models] for batch in self._batches]


@dataclass(frozen=True)
class Call:
    """One call of a module that was recorded: its name, first input and output."""

    name: str
    inputs: torch.Tensor
    outputs: torch.Tensor


class _SeenAllError(Exception):
    """Everything that was to be recorded was: the rest of the model need not run."""


def _calls(model: nn.Module, stage: Stage, given: _Inputs) -> dict[str, Call]:
    names = [*stage.linears, stage.norm] if stage.norm else list(stage.linears)
    with recorded_calls(model, names, stop=True) as calls:
        _run(model.get_submodule(stage.layer), *given)
    return {call.name: call for call in calls}


def _call_of(model: nn.Module, layer: str, batch: Batch) -> _Inputs:
    """What the model calls a layer with."""
    found: list[_Inputs] = []

    def hook(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        found.append((args, named))
        raise _SeenAllError

    handle = model.get_submodule(layer).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        _run(model, (), batch)
    finally:
        handle.remove()
    return found[0]


def _layer_of(model: nn.Module, name: str) -> str:
    """The outermost module around ``name`` that is an item of a ModuleList."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        if isinstance(model.get_submodule(".".join(parts[:end])), nn.ModuleList):
            return ".".join(parts[: end + 1])
    return ""


def run_model(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Runs a model for what hooks and its own modules see: in evaluation mode, on its device, without gradients."""
    training = model.training
    model.train(False)
    with torch.no_grad():
        for batch in batches:
            model(**taken_by(model, batch))
    model.train(training)


@contextmanager
def recorded_calls(model: nn.Module, names: Sequence[str], stop: bool = False) -> Iterator[list[Call]]:
    """Lists the calls of the named modules; with ``stop`` the model stops as soon as each was called."""
    calls: list[Call] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, outputs: torch.Tensor) -> None:
            calls.append(Call(name, inputs[0], outputs))
            if stop and len(calls) == len(names):
                raise _SeenAllError

        return hook

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in names]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _run(module: nn.Module, args: Sequence[Any], named: Mapping[str, Any]) -> None:
    with torch.inference_mode():
        try:
            module(*args, **named)
        except _SeenAllError:
            return


def real_rows(values: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """``[tokens, features]``, without padding where the values are per token.

    Args:
        values: ``[B, S, features]``; or ``[..., features]`` of anything else, all of whose rows count.
        real: ``[B, S]``, bool.
    """
    per_token = values.dim() == 3 and values.shape[:2] == real.shape
    return values[real] if per_token else values.reshape(-1, values.shape[-1])
