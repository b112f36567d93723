"""The errors of FastEP: every error raised on purpose derives from :class:`FastEPError`."""

from __future__ import annotations

from pyfastep.passes.errors import ConversionError, FastEPError, ModelFileError, VerificationError

__all__ = ["ConversionError", "FastEPError", "ModelFileError", "VerificationError"]
