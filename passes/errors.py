"""Every error that FastEP raises on purpose.

A message says what was expected, what was found, where, and what to do.
"""

from __future__ import annotations


class FastEPError(Exception):
    """Base of all errors of FastEP.

    Attributes:
        problem: What was expected and what was found.
        node: Name of the node (or file) concerned, if there is one.
        remedy: What to do about it, if there is something.
    """

    def __init__(self, problem: str, *, node: str | None = None, remedy: str | None = None) -> None:
        self.problem = problem
        self.node = node
        self.remedy = remedy
        where = f"{node}: " if node else ""
        what_to_do = f" ({remedy})" if remedy else ""
        super().__init__(f"{where}{problem}{what_to_do}")


class ModelFileError(FastEPError):
    """A model file cannot be read or written."""


class ConversionError(FastEPError):
    """A model cannot be converted as it stands."""


class VerificationError(FastEPError):
    """A converted model is not what it should be; nothing was written."""
