"""Equalization before quantization: magnitude moves between two places whose product stays the same.

A per-tensor scale is set by the largest channel of a tensor, so channels of very different size waste its steps. Two
pairs of an encoder's layer can be rescaled channel by channel without changing what the float model computes:

* value and attention output: ``v / s`` and ``W_o * s``, as the attention's weighted mean is linear in v;
* query and key: ``q * s`` and ``k / s``, as only their products count.

The factors are SmoothQuant's, ``s = max|activation|^a / max|weight|^(1 - a)`` (Xiao et al., arXiv:2211.10438). Its own
pair, layer normalization and the Linears behind it, cannot be rescaled in an encoder that normalizes after the
residual: the residual reads the same tensor. Zero weights stay zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from pyfastep.compress.batch import Batch, taken_by
from pyfastep.compress.calibration import real_rows, recorded_calls, run_model

__all__ = ["equalize_attention"]

_STRENGTH = 0.5
_LEAST = 1e-5
# Names of query, key, value and output within an encoder layer.
_FORMS = (
    ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
)


def equalize_attention(model: nn.Module, batches: Sequence[Batch]) -> int:
    """Rescales query against key and value against output in place.

    Args:
        model: A BERT-like or DistilBERT-like encoder; any other is left alone.
        batches: Calibration data; padding does not count.

    Returns:
        Number of pairs rescaled.
    """
    layers = list(_layers(model))
    watched = [linear for query, key, value, _ in layers for linear in (query, key, value)]
    peaks = _peaks(model, watched, batches)
    with torch.no_grad():
        for query, key, value, output in layers:
            factors = (peaks[key].clamp(min=_LEAST) / peaks[query].clamp(min=_LEAST)).sqrt()
            _scale_rows(query, factors)
            _scale_rows(key, 1.0 / factors)
            weight_peaks = output.weight.abs().amax(dim=0).clamp(min=_LEAST)
            factors = peaks[value].clamp(min=_LEAST) ** _STRENGTH / weight_peaks ** (1.0 - _STRENGTH)
            _scale_rows(value, 1.0 / factors)
            output.weight.mul_(factors)
    return 2 * len(layers)


def _scale_rows(linear: nn.Linear, factors: torch.Tensor) -> None:
    linear.weight.mul_(factors[:, None])
    if linear.bias is not None:
        linear.bias.mul_(factors)


def _layers(model: nn.Module) -> Iterator[tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear]]:
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for name in linears:
        for form in _FORMS:
            if name.endswith("." + form[0]):
                prefix = name.removesuffix(form[0])
                query, key, value, output = (linears.get(prefix + part) for part in form)
                if query is not None and key is not None and value is not None and output is not None:
                    yield query, key, value, output


def _peaks(model: nn.Module, linears: Sequence[nn.Linear], batches: Sequence[Batch]) -> dict[nn.Linear, torch.Tensor]:
    """Largest magnitude of each output channel over the data's real tokens ``[out]``."""
    names = {name: module for name, module in model.named_modules() if module in linears}
    peaks = {linear: torch.zeros_like(linear.weight[:, 0]) for linear in linears}
    for batch in batches:
        with recorded_calls(model, list(names)) as calls:
            run_model(model, [batch])
        real = taken_by(model, batch)["attention_mask"].bool()
        for call in calls:
            linear = names[call.name]
            peaks[linear] = torch.maximum(peaks[linear], real_rows(call.outputs, real).abs().amax(dim=0))
    return peaks
