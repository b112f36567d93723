"""Runs two models on the same random inputs on stock ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyfastep._stock import stock_session
from pyfastep.errors import VerificationError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    import onnxruntime

_BATCH = 2
_LENGTH = 16
_INTEGER_BOUND = 2  # token ids, mask and token types are all valid below

TENSOR_TYPES = {  # as ONNX Runtime spells them
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def largest_difference(source: Path | onnx.ModelProto, converted: ir.Model, seed: int = 0) -> float:
    """Largest absolute difference of any output, source against converted.

    Dynamic dimensions get one size per name: the first of an input 2, all others 16. Integer inputs are 0 or 1.

    Raises:
        VerificationError: one of the models does not run, or an output differs in shape, or is NaN after conversion.
    """
    from pyfastep.passes import model_file

    with tempfile.TemporaryDirectory(prefix="fastep-") as folder:
        path = Path(folder) / "converted.onnx"
        model_file.save(converted, path)
        first = _open(str(source) if isinstance(source, Path) else source.SerializeToString())
        second = _open(str(path))
        feeds = random_inputs(first, np.random.default_rng(seed))
        return _compare(first, _run(first, feeds, "source"), _run(second, feeds, "converted"))


def _open(model: str | bytes) -> onnxruntime.InferenceSession:
    def quiet(options: onnxruntime.SessionOptions) -> None:
        options.log_severity_level = 3

    try:
        return stock_session(model, quiet)
    except Exception as error:  # ONNX Runtime's exceptions share no public base
        raise VerificationError(f"does not load on ONNX Runtime: {error}", node="model") from error


def random_inputs(session: onnxruntime.InferenceSession, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """One random array per input of a session."""
    sizes: dict[str, int] = {}
    feeds = {}
    for argument in session.get_inputs():
        shape = []
        for axis, size in enumerate(argument.shape):
            if isinstance(size, int):
                shape.append(size)
            else:
                shape.append(sizes.setdefault(str(size), _BATCH if axis == 0 else _LENGTH))
        dtype = np.dtype(TENSOR_TYPES.get(argument.type, np.float32))
        if dtype.kind == "f":
            feeds[argument.name] = rng.standard_normal(shape).astype(dtype)
        else:
            feeds[argument.name] = rng.integers(0, _INTEGER_BOUND, shape).astype(dtype)
    return feeds


def _run(
    session: onnxruntime.InferenceSession, feeds: dict[str, npt.NDArray[Any]], which: str
) -> list[npt.NDArray[Any]]:
    try:
        return list(session.run(None, feeds))
    except Exception as error:  # ONNX Runtime's exceptions share no public base
        raise VerificationError(f"the {which} model does not run on random inputs: {error}", node="model") from error


def _compare(
    session: onnxruntime.InferenceSession, expected: list[npt.NDArray[Any]], found: list[npt.NDArray[Any]]
) -> float:
    largest = 0.0
    for argument, want, got in zip(session.get_outputs(), expected, found, strict=True):
        if want.shape != got.shape or want.dtype != got.dtype:
            problem = f"is {got.dtype} {got.shape} after conversion, expected {want.dtype} {want.shape}"
            raise VerificationError(
                problem, node=f"output '{argument.name}'", remedy="please report this as a bug of FastEP"
            )
        difference = np.abs(want.astype(np.float64) - got.astype(np.float64))
        if np.isnan(got.astype(np.float64)).any() and not np.isnan(want.astype(np.float64)).any():
            raise VerificationError("is NaN after conversion", node=f"output '{argument.name}'")
        largest = max(largest, float(np.nanmax(difference, initial=0.0)))
    return largest
