"""One family of errors, whoever raises them."""

from __future__ import annotations

import pyfastep
from pyfastep import errors
from pyfastep.passes import errors as passes_errors


def test_errors_of_the_passes_and_of_the_package_are_the_same() -> None:
    assert pyfastep.FastEPError is errors.FastEPError is passes_errors.FastEPError
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.FastEPError)
        assert getattr(errors, name) is getattr(passes_errors, name)


def test_a_message_says_where_and_what_to_do() -> None:
    error = errors.FastEPError("expected 1, found 2", node="a", remedy="do b")
    assert str(error) == "a: expected 1, found 2 (do b)"
