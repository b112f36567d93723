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
from typing import Any, Literal

import torch
from torch import nn

from pyfastep.compress.batch import Batch
from pyfastep.compress.calibration import real_rows, recorded_calls, run_model
from pyfastep.errors import FastEPError

__all__ = [
    "QUANTIZERS",
    "FakeQuantLinear",
    "InputQuantizer",
    "RealTokens",
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
# Of a learned range, as its parameters have it: weights of an encoder are about this large.
_WIDTH = 0.05
RANGES_FILE = "ranges.json"
QUANTIZERS = "input_quantizers"
"""The module of a model that has all ranges."""


def _round(x: torch.Tensor) -> torch.Tensor:
    """Rounds half to even; its gradient is 1."""
    return x + (x.round() - x).detach()


def _scale_gradient(x: torch.Tensor, share: float) -> torch.Tensor:
    """``x``, whose gradient is multiplied by ``share``."""
    return x.detach() + (x - x.detach()) * share


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


class RealTokens:
    """Leaves padding out of what a model computes at the moment, by the mask that it was called with.

    Args:
        model: Tells of each call, until :meth:`detach`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._mask: torch.Tensor | None = None
        self._handle = model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, model: nn.Module, args: Any, named: Mapping[str, Any]) -> None:
        """Takes the mask down."""
        self._mask = named.get("attention_mask")

    def detach(self) -> None:
        """Forgets the model."""
        self._handle.remove()

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """``x [B, S, features]`` without padding; all of ``x`` where nothing says what that is."""
        return x if self._mask is None else real_rows(x, self._mask.bool())


class InputQuantizer(nn.Module):
    """The range of one activation tensor, ``low * unit`` to ``high * unit``, 0 always within it.

    AdamW changes any parameter by about the learning rate per step, so a learned range is kept as numbers of the size
    of a weight: the unit is 20 times its first width. Its gradient is scaled by ``1 / sqrt(255 * values)`` as in
    "Learned Step Size Quantization", section 2.2, so that it does not rule the norm that gradients are clipped to.

    Args:
        mode: ``averaged``: exponential average of the batches' extremes; ``learned``: parameters, from those extremes.
        momentum: Of the average.
        tokens: Says which are real.
    """

    unit: torch.Tensor

    def __init__(self, mode: Literal["averaged", "learned"], momentum: float, tokens: RealTokens) -> None:
        super().__init__()
        self.mode, self.momentum = mode, momentum
        self.low = nn.Parameter(torch.zeros(()), requires_grad=mode == "learned")
        self.high = nn.Parameter(torch.zeros(()), requires_grad=mode == "learned")
        self.register_buffer("unit", torch.ones(()))
        self.calibrating = True
        self.tokens = tokens

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Watches while calibrating (and, averaged, while training); quantizes otherwise."""
        if self.calibrating or (self.training and self.mode == "averaged"):
            self._watch(self.tokens.of(x))
        if self.calibrating:
            return x
        with torch.no_grad():  # no step of the optimizer takes an end past 0, where it would have no gradient
            self.low.clamp_(max=0.0)
            self.high.clamp_(min=0.0)
        share = (_LEVELS * x.numel()) ** -0.5
        low, high = (_scale_gradient(end, share) * self.unit for end in (self.low, self.high))
        # float32 under autocast too: bfloat16 holds fewer steps than u8 has.
        return fake_quantize(x.float(), low, high)

    @torch.no_grad()
    def end_calibration(self) -> None:
        """What was seen is the first range."""
        self.calibrating = False
        if self.mode == "learned":
            self.unit.copy_(((self.high - self.low) / _WIDTH).clamp(min=_LEAST_RANGE))
            self.low.div_(self.unit)
            self.high.div_(self.unit)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value that it can represent, within half a step."""
        return min((self.low * self.unit).item(), 0.0), max((self.high * self.unit).item(), 0.0)

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
        batches: Calibration data; ranges begin as the extremes seen, padding does not count.
        mode: See :class:`InputQuantizer`.
        momentum: See :class:`InputQuantizer`.
    """
    if not batches:
        raise FastEPError("no calibration data for the first ranges", node="quantize")
    sources = _sources(model, names, batches[0])
    device = next(model.parameters()).device
    tokens = RealTokens(model)
    quantizers = {source: InputQuantizer(mode, momentum, tokens).to(device) for source in sorted(set(sources.values()))}
    for name in names:
        wrapped = FakeQuantLinear.wrap(model.get_submodule(name), quantizers[sources[name]])  # type: ignore[arg-type]
        model.set_submodule(name, wrapped)
    model.add_module(QUANTIZERS, nn.ModuleList(quantizers.values()))
    run_model(model, batches)
    for quantizer in quantizers.values():
        quantizer.end_calibration()


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
        ranges[name] = module.quantizer.range
    if wrapped:
        wrapped[0][1].quantizer.tokens.detach()
        delattr(model, QUANTIZERS)
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
        run_model(model, [batch])
    tensors: list[torch.Tensor] = []
    found: dict[str, int] = {}
    for call in calls:
        number = next((i for i, tensor in enumerate(tensors) if tensor is call.inputs), len(tensors))
        if number == len(tensors):
            tensors.append(call.inputs)
        found[call.name] = number
    return found
