"""Static quantization of a float ONNX model with the settings that suit transformer encoders.

`onnxruntime.quantization` does the work; no torch is needed. The settings: QuantizeLinear/DequantizeLinear pairs around
MatMul and Gemm; activations u8, asymmetric, per tensor; weights s8, symmetric, per output channel, full range; ranges
from the minimum and maximum seen. Products are *not* quantized before their bias: on encoders that costs most of the
accuracy (the output of a feed-forward block has a few huge channels) and buys no speed, as ONNX Runtime fuses a product
with a float result just as well. Everything else stays float.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyfastep import _quantizer
from pyfastep._calibration import Batch, CalibrationData, count_samples, load_batches
from pyfastep._model_paths import check_output, check_unread, data_beside, file_bytes, replacing, share_permissions
from pyfastep._products import PRODUCTS
from pyfastep._quantizer import METHODS, QuantizedWeight
from pyfastep._stock import stock_session
from pyfastep._text import first_line
from pyfastep.errors import FastEPError

__all__ = ["METHODS", "QuantizeReport", "QuantizedWeight", "quantize"]

_COMPARED_BATCHES = 4


@dataclass(frozen=True)
class QuantizeReport:
    """What :func:`quantize` did.

    Attributes:
        output: The file written.
        method: How ranges were found.
        samples: Calibration samples used.
        source_bytes: Size of the float model, external data included.
        output_bytes: Size of the quantized model.
        weights: The weights quantized.
        unquantized: Names of the products with a constant weight that stayed float.
        cosine: Mean cosine similarity to the float model's first output on some calibration samples.
    """

    output: Path
    method: str
    samples: int
    source_bytes: int
    output_bytes: int
    weights: tuple[QuantizedWeight, ...]
    unquantized: tuple[str, ...]
    cosine: float

    def __str__(self) -> str:
        values = sum(int(np.prod(w.shape)) for w in self.weights)
        zeros = sum(w.zeros_before for w in self.weights)
        left = f", {len(self.unquantized)} left float" if self.unquantized else ""
        zeros_line = f"{zeros / max(1, values):.1%} of the weights are zero" + (
            "; all of them stayed zero" if zeros else ""
        )
        return (
            f"{self.output}: {len(self.weights)} weights quantized{left} ({self.samples} samples, {self.method})\n"
            f"  {self.source_bytes / 1e6:.1f} MB -> {self.output_bytes / 1e6:.1f} MB, "
            f"{self.source_bytes / max(1, self.output_bytes):.1f} times smaller\n"
            f"  {zeros_line}\n"
            f"  cosine to the float model on calibration data: {self.cosine:.4f}"
        )


def quantize(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    tokenizer: str | os.PathLike[str] | None = None,
    method: str = "minmax",
    percentile: float = 99.999,
    attention: bool = True,
    embeddings: bool = False,
    product_outputs: bool = False,
    exclude: Sequence[str] = (),
    ranges: Mapping[str, tuple[float, float]] | None = None,
    max_length: int = 128,
    batch_size: int = 8,
    max_samples: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> QuantizeReport:
    """Quantize a float ONNX model statically and write it to `output`.

    Weights `[K, N]`: `q = clamp(rint(w / s), -127, 127)`, `s[n] = max_k |w[k, n]| / 127`; pruned weights stay 0.
    Activations: `q = clamp(rint(x / s) + z, 0, 255)` with `s` and `z` from the range seen on `data`.

    Args:
        model: The float model; opsets below 13 are raised to 17.
        output: The file to write; it appears only when everything succeeded. Above 1.8 GB its tensors stand in
            `<output>.data`.
        data: Calibration data: a `.npz` file or a folder of them (arrays `[samples, ...]` named like the inputs), a
            `.jsonl` file (token ids, `{"input_ids": [...]}` or `{"text": "..."}` per line), a text file (one text per
            line), or an iterable of mappings from input names to arrays.
        tokenizer: `tokenizer.json` or its folder; texts need it.
        method: How ranges are found: `minmax` (best on encoders, whose outliers matter), `percentile` or `entropy`.
        percentile: For `percentile`: how much of the values lies within the range, in percent.
        attention: Quantize the two products of attention too.
        embeddings: Quantize embedding tables too, u8 per tensor: a much smaller file.
        product_outputs: Quantize products before their bias too (rarely of use, see the module's text).
        exclude: Names of MatMul, Gemm or Gather nodes to leave float.
        ranges: Ranges `(low, high)` known from training, in place of calibrated ones: of the input of the product whose
            weight is the initializer named.
        max_length: Sequences are cut to this many tokens.
        batch_size: Samples per calibration batch.
        max_samples: No further batch is taken once there are so many samples.
        progress: Called with (batches done, batches in all).

    Raises:
        FastEPError: A file, an option, the data or the model is not as expected; nothing is written then.
    """
    settings = _quantizer.Settings(method, percentile, attention, embeddings, product_outputs, exclude, ranges or {})
    if min(max_length, batch_size, max_samples) < 1:
        raise FastEPError("max_length, batch_size and max_samples must be at least 1")
    source = Path(model)
    loaded = _quantizer.load_float_model(source)
    target = check_output(output, source, beside=[data_beside(Path(output)).name])
    calibration = load_batches(
        data,
        _quantizer.inputs_of(loaded),
        tokenizer=tokenizer,
        max_length=max_length,
        batch_size=batch_size,
        max_samples=max_samples,
    )
    return _quantize_checked(loaded, source, target, calibration, settings, progress)


def _quantize_checked(
    loaded: Any,
    source: Path,
    target: Path,
    calibration: CalibrationData,
    settings: _quantizer.Settings,
    progress: Callable[[int, int], None] | None,
) -> QuantizeReport:
    # A neighbour of the target, so that the finished files can be moved there in one step.
    with tempfile.TemporaryDirectory(prefix=".fastep-quantize-", dir=target.parent) as folder:
        prepared_file, written = Path(folder) / f"prepared-{target.name}", Path(folder) / target.name
        prepared = _quantizer.prepare(loaded, prepared_file)
        reader = _quantizer.CalibrationReader(calibration.batches, progress)
        _quantizer.run_quantizer(prepared, prepared_file, written, reader, settings)
        weights = _quantizer.finish(written, loaded, prepared)
        cosine = _mean_cosine(prepared_file, written, calibration.batches[:_COMPARED_BATCHES])
        output_bytes = file_bytes(written)
        _publish(written, target)
    return QuantizeReport(
        output=target,
        method=settings.method,
        samples=calibration.samples,
        source_bytes=file_bytes(source),
        output_bytes=output_bytes,
        weights=tuple(weights),
        unquantized=_left_float(prepared, weights),
        cosine=cosine,
    )


def _left_float(prepared: Any, weights: Sequence[QuantizedWeight]) -> tuple[str, ...]:
    quantized = {weight.name for weight in weights}
    left = _quantizer.float_constants(prepared) - quantized
    return tuple(n.name for n in prepared.graph.node if n.op_type in PRODUCTS and n.input[1] in left)


def _mean_cosine(prepared: Path, quantized: Path, batches: list[Batch]) -> float:
    """Mean cosine similarity of the first output, sample by sample where it has samples, on stock ONNX Runtime."""
    cosines: list[float] = []
    try:
        sessions = [stock_session(file) for file in (prepared, quantized)]
        pairs = [[session.run(None, batch)[0] for session in sessions] for batch in batches]
    except Exception as error:  # ONNX Runtime's exceptions share no public base
        raise FastEPError(
            f"ONNX Runtime does not run the quantized model: {first_line(error)}",
            remedy="if a node is named, leave it float: exclude=[...], or --exclude",
        ) from error
    for batch, pair in zip(batches, pairs, strict=True):
        a, b = (np.asarray(output, np.float64) for output in pair)
        samples = count_samples(batch)
        rows = samples if a.shape[:1] == (samples,) else 1
        a, b = a.reshape(rows, -1), b.reshape(rows, -1)
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines += list((a * b).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny))
    return float(np.mean(cosines))


def _publish(written: Path, target: Path) -> None:
    """Move the finished file, and its external data first, to where they belong."""
    share_permissions(written)
    if data_beside(written).exists():
        check_unread(data_beside(target), target)
    with replacing(target):
        if data_beside(written).exists():
            os.replace(data_beside(written), data_beside(target))
        os.replace(written, target)
