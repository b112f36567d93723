"""Messages say where, what, and what to do."""

from __future__ import annotations

import subprocess
import sys

from pyfastep.passes.errors import ConversionError, FastEPError, ModelFileError, VerificationError


def test_message() -> None:
    error = ConversionError("found 3, expected 4", node="node 'a'", remedy="export it again")
    assert str(error) == "node 'a': found 3, expected 4 (export it again)"
    assert (error.node, error.problem, error.remedy) == ("node 'a'", "found 3, expected 4", "export it again")
    assert str(ModelFileError("no such file")) == "no such file"


def test_one_base() -> None:
    assert all(issubclass(kind, FastEPError) for kind in (ConversionError, ModelFileError, VerificationError))


def test_the_package_is_light() -> None:
    """Whoever needs only the errors does not load onnx."""
    heavy = ("onnx", "onnx_ir", "numpy")
    code = f"import sys, pyfastep.passes, pyfastep.passes.errors; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
