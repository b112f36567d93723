"""Converts a quantized ONNX model into one that FastEP runs fast and stock ONNX Runtime still runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyfastep._extras import require
from pyfastep._model_paths import check_unread, data_beside, overwritten, replacing
from pyfastep.errors import ModelFileError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from pyfastep.passes.prove_padding import PaddingMode
    from pyfastep.passes.report import ConversionReport, KernelChoice


def convert(
    model: str | os.PathLike[str] | onnx.ModelProto,
    output: str | os.PathLike[str] | None = None,
    *,
    exact: bool = False,
    encoder: bool = True,
    padding: PaddingMode = "auto",
    external_data: bool = False,
    verify: bool = False,
    choose_kernel: KernelChoice | None = None,
) -> ConversionReport:
    """Rewrites every quantized linear of a model into a `fastep` node and stores pruned weights sparse.

    The weights of each node are compared with the source's and the result passes `onnx.checker` before anything is
    written; a file appears complete or not at all.

    Args:
        model: path of a quantized ONNX model, or the model itself.
        output: where to write. None: nothing is written, the report alone tells what would be done.
        exact: fuse nothing but the products of linears, whose sums are integers; biases, activations and all else stay
            what ONNX Runtime computes. So outputs are those of ONNX Runtime on the source, bit for bit, where it
            multiplies integers too and does not saturate (`docs/models.md`). By default, whatever is around the
            products is fused as well, and Q/DQ pairs that only add a rounding are dropped.
        encoder: also fuse attention, LayerNorm and embeddings, so that whole runs of layers become one compiled plan.
            False: linears only. Exact conversion never does.
        padding: whether tokens that the attention mask marks as right padding are left out, unless a session's option
            says otherwise. `auto`: if it is proven that no output of the model shows them; the report says what was
            found. `skip`: you declare that nothing reads them; where an output shows them, it has zeros there, which
            can win an argmax. `compute`: no.
        external_data: put the tensors into `<output>.data`. Always done above 2 GB.
        verify: also run source and result on random inputs on stock ONNX Runtime and report the largest difference.
        choose_kernel: asks the library which kernel a node will get; by default estimated from the zeros of its weight.

    Returns:
        What was done, layer by layer.

    Raises:
        FastEPError: packages of the extra `convert` are missing.
        ModelFileError: a file is missing, truncated, no model, or cannot be written.
        ConversionError: nothing can be converted, or the model is broken (NaN scales, dimensions that do not fit, an
            unusable opset), or `padding` is `skip` and attention does not allow it.
        VerificationError: the result is not what it should be.
    """
    require("convert")
    from pyfastep.passes import model_file
    from pyfastep.passes.pipeline import convert_model

    source = Path(model) if isinstance(model, str | os.PathLike) else model
    graph_model = model_file.load(source) if isinstance(source, Path) else model_file.from_proto(source)
    if output is not None:
        _refuse_own_files(graph_model, Path(output))
    before = _file_bytes(graph_model)
    report = convert_model(graph_model, exact=exact, encoder=encoder, padding=padding, choose_kernel=choose_kernel)
    report.file_bytes_before = before
    if verify:
        from pyfastep._comparison import largest_difference

        report.largest_difference = largest_difference(source, graph_model)
    if output is not None:
        if external_data or model_file.needs_external_data(graph_model):
            check_unread(data_beside(Path(output)), Path(output))
        with replacing(Path(output)):
            report.file_bytes_after = model_file.save(graph_model, output, external_data=external_data)
    return report


def _refuse_own_files(model: ir.Model, output: Path) -> None:
    """Raises ModelFileError if writing would destroy what is being read."""
    from pyfastep.passes.model_file import files_of

    lost = overwritten((output, data_beside(output)), files_of(model))
    if lost is not None:
        raise ModelFileError(
            "the output would overwrite the source model", node=str(lost), remedy="give another output"
        )


def _file_bytes(model: ir.Model) -> int:
    """Size of the source with its external data."""
    from pyfastep.passes.model_file import files_of

    return sum(file.stat().st_size for file in {file.resolve() for file in files_of(model)})
