"""Quantization-aware training: Linears compute on fake-quantized weights and inputs, gradients pass straight through.

Inputs u8, asymmetric, per tensor: ``q = clamp(round(x / s) + z, 0, 255)`` with ``s = (high - low) / 255`` and
``z = round(-low / s)``; weights s8, symmetric, per output: ``s[n] = max_k |w[n, k]| / 127``. Both are what
:func:`pyfastep.quantize` makes of the exported model, which gets the trained ranges. A zero weight stays zero.
Straight-through estimator: Bengio et al., arXiv:1308.3432; learned ranges: Esser et al., "Learned Step Size
Quantization", arXiv:1902.08153.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pyfastep.compress.batch import Batch, on_device_of
from pyfastep.compress.calibration import recorded_calls
from pyfastep.errors import FastEPError

__all__ = [
    "FakeQuantLinear",
    "InputQuantizer",
    "fake_quantize",
    "fake_quantize_weight",
    "insert_fake_quantization",
    "load_ranges",
    "remove_fake_quantization",
    "save_ranges",
]

_LEVELS = 255
_WEIGHT_LEVELS = 127
_LEAST_RANGE = 1e-6
_QUANTIZERS = "input_quantizers"
RANGES_FILE = "ranges.json"


def _round(x: torch.Tensor) -> torch.Tensor:
    """Rounds half to even; its gradient is 1."""
    return x + (x.round() - x).detach()


def fake_quantize(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """``x`` as u8 would hold it; gradients reach ``x`` within the range, and ``low`` and ``high``."""
    scale = (high - low).clamp(min=_LEAST_RANGE) / _LEVELS
    zero_point = _round(-low / scale)
    quantized = (_round(x / scale) + zero_point).clamp(0, _LEVELS)
    return (quantized - zero_point) * scale


def fake_quantize_weight(weight: torch.Tensor) -> torch.Tensor:
    """``weight [out, in]`` as s8 with one scale per output would hold it."""
    scale = weight.detach().abs().amax(dim=1, keepdim=True).clamp(min=_LEAST_RANGE) / _WEIGHT_LEVELS
    return _round(weight / scale).clamp(-_WEIGHT_LEVELS, _WEIGHT_LEVELS) * scale


class InputQuantizer(nn.Module):
    """The range of one activation tensor, 0 always within it.

    Args:
        mode: ``averaged``: exponential average of the batches' extremes; ``learned``: parameters, from those extremes.
        momentum: Of the average.
    """

    def __init__(self, mode: Literal["averaged", "learned"], momentum: float) -> None:
        super().__init__()
        self.mode, self.momentum = mode, momentum
        self.low = nn.Parameter(torch.zeros(()), requires_grad=mode == "learned")
        self.high = nn.Parameter(torch.zeros(()), requires_grad=mode == "learned")
        self.calibrating = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Watches while calibrating (and, averaged, while training); quantizes otherwise."""
        if self.calibrating or (self.training and self.mode == "averaged"):
            self._watch(x)
        if self.calibrating:
            return x
        # float32 under autocast too: bfloat16 holds fewer steps than u8 has.
        return fake_quantize(x.float(), self.low.clamp(max=0.0), self.high.clamp(min=0.0))

    @torch.no_grad()
    def _watch(self, x: torch.Tensor) -> None:
        least, most = x.min().float().clamp(max=0.0), x.max().float().clamp(min=0.0)
        if self.calibrating:
            self.low.copy_(torch.minimum(self.low, least))
            self.high.copy_(torch.maximum(self.high, most))
        else:
            self.low.lerp_(least, self.momentum)
            self.high.lerp_(most, self.momentum)


class FakeQuantLinear(nn.Linear):
    """A Linear, with the same parameters under the same names, that computes as its INT8 form will.

    The quantizer is a module of the model, not of the Linear: several Linears share it, and a checkpoint holds it once.
    """

    _shared: tuple[InputQuantizer]

    @property
    def quantizer(self) -> InputQuantizer:
        """That of its input."""
        return self._shared[0]

    @staticmethod
    def wrap(linear: nn.Linear, quantizer: InputQuantizer) -> FakeQuantLinear:
        """Shares the parameters of ``linear``."""
        wrapped = FakeQuantLinear.__new__(FakeQuantLinear)
        nn.Module.__init__(wrapped)
        wrapped.in_features, wrapped.out_features = linear.in_features, linear.out_features
        wrapped.weight, wrapped.bias = linear.weight, linear.bias
        wrapped._shared = (quantizer,)
        return wrapped

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``[..., in]`` to ``[..., out]``."""
        x = self.quantizer(input)
        weight = self.weight if self.quantizer.calibrating else fake_quantize_weight(self.weight)
        return nn.functional.linear(x, weight, self.bias)


def insert_fake_quantization(
    model: nn.Module,
    names: Sequence[str],
    batches: Sequence[Batch],
    mode: Literal["averaged", "learned"] = "averaged",
    momentum: float = 0.05,
) -> None:
    """Replaces Linears in place; those that read one tensor share one range, as the exported model has one.

    Args:
        model: A Hugging Face encoder.
        names: Qualified names of its Linears.
        batches: Calibration data; ranges begin as the extremes seen.
        mode: See :class:`InputQuantizer`.
        momentum: See :class:`InputQuantizer`.
    """
    if not batches:
        raise FastEPError("no calibration data for the first ranges", node="quantize")
    sources = _sources(model, names, batches[0])
    device = next(model.parameters()).device
    quantizers = {source: InputQuantizer(mode, momentum).to(device) for source in sorted(set(sources.values()))}
    for name in names:
        wrapped = FakeQuantLinear.wrap(model.get_submodule(name), quantizers[sources[name]])  # type: ignore[arg-type]
        model.set_submodule(name, wrapped)
    model.add_module(_QUANTIZERS, nn.ModuleList(quantizers.values()))
    _run(model, batches)
    for quantizer in quantizers.values():
        quantizer.calibrating = False


def remove_fake_quantization(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Puts plain Linears back in place.

    Returns:
        The range of each Linear's input, ``(low, high)``.
    """
    ranges = {}
    wrapped = [(name, module) for name, module in model.named_modules() if isinstance(module, FakeQuantLinear)]
    for name, module in wrapped:
        plain = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None, device="meta")
        plain.weight, plain.bias = module.weight, module.bias
        model.set_submodule(name, plain)
        quantizer = module.quantizer
        ranges[name] = (min(float(quantizer.low), 0.0), max(float(quantizer.high), 0.0))
    if wrapped:
        delattr(model, _QUANTIZERS)
    return ranges


def save_ranges(ranges: Mapping[str, tuple[float, float]], folder: Path) -> None:
    """Keeps ranges beside a checkpoint."""
    (folder / RANGES_FILE).write_text(json.dumps(ranges, indent=1))


def load_ranges(folder: Path) -> dict[str, tuple[float, float]]:
    """What :func:`save_ranges` kept; empty where nothing was."""
    path = folder / RANGES_FILE
    known = json.loads(path.read_text()) if path.is_file() else {}
    return {name: (float(low), float(high)) for name, (low, high) in known.items()}


def _sources(model: nn.Module, names: Sequence[str], batch: Batch) -> dict[str, int]:
    """Which Linears read the same tensor: a number per tensor, in the order of computation."""
    with recorded_calls(model, names) as calls:
        _run(model, [batch])
    tensors: list[torch.Tensor] = []
    found: dict[str, int] = {}
    for call in calls:
        number = next((i for i, tensor in enumerate(tensors) if tensor is call.inputs), len(tensors))
        if number == len(tensors):
            tensors.append(call.inputs)
        found[call.name] = number
    return found


def _run(model: nn.Module, batches: Sequence[Batch]) -> None:
    training = model.training
    model.train(False)
    with torch.no_grad():
        for batch in batches:
            model(**on_device_of(model, batch))
    model.train(training)
