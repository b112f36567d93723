"""Dataclasses whose values are checked when they are constructed, by the types and ranges of their fields."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import field
from typing import Any, Literal

from pyfastep.errors import FastEPError

__all__ = ["Checked", "check_range", "number"]


def number(default: Any, *, least: float, most: float = float("inf")) -> Any:
    """A field whose value, or each of whose values, lies in ``[least, most]``."""
    return field(default=default, metadata={"least": least, "most": most})


class Checked:
    """Checks ranges and choices of a dataclass's fields when it is constructed."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            choices = _choices(hints[item.name])
            if "least" in item.metadata and not isinstance(value, str):
                check_range(item.name, value, item.metadata["least"], item.metadata["most"])
            elif choices and value not in choices:
                words = f"one of {', '.join(map(str, choices))}"
                number_too = "" if typing.get_origin(hints[item.name]) is Literal else "a number or "
                raise FastEPError(f"expected {number_too}{words}, found {value!r}", node=item.name)
        self._check()

    def _check(self) -> None:
        """What concerns several fields."""


def _choices(hint: Any) -> tuple[Any, ...]:
    """The words that a field of type ``Literal``, or ``float | Literal``, takes."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return tuple(
        word for part in typing.get_args(hint) if typing.get_origin(part) is Literal for word in _choices(part)
    )


def check_range(name: str, value: Any, least: float, most: float) -> None:
    """Raise an error that names the field unless a number, or each of a tuple, lies in ``[least, most]``."""
    for single in value if isinstance(value, tuple) else (value,):
        if not least <= single <= most:
            wanted = f"at least {least:g}" if most == float("inf") else f"between {least:g} and {most:g}"
            raise FastEPError(f"expected a number {wanted}, found {single!r}", node=name)
