"""What is known of a value at right padding, for a proof that no output shows what is computed there.

A model is thought of as run twice: with every token computed, and with zeros where an encoder leaves right padding out.
A state says how the two runs may differ in a value:

    None     not at all
    ByToken  at most at right padding: the value has an axis of sequences and one of their tokens
    Lost     somewhere

`FirstVisible` is None with something known of the numbers.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from .constants import constant


class Content(enum.Enum):
    """What stands at each entry of right padding, where it is not a number known before the run; signs of zeros aside.

    Finite means: as long as no float32 overflows.
    """

    STEADY = "finite, and the same in both runs"
    ZERO_OR_NAN = "0 or, in both runs, NaN"
    SAME = "the same in both runs"
    FINITE = "finite in both runs"
    FINITE_OR_SAME = "finite in both runs, or the same in both"
    ANY = "anything"


AtPadding = float | Content
"""A number: exactly that in both runs."""


def is_number(content: AtPadding) -> bool:
    """Whether it is known before the run."""
    return isinstance(content, float)


def is_zero(content: AtPadding) -> bool:
    """Whether it is 0, if it is a number in the run."""
    return content in (0.0, Content.ZERO_OR_NAN)


def is_finite(content: AtPadding) -> bool:
    """Whether it is neither infinite nor NaN in either run."""
    return is_number(content) or content in (Content.STEADY, Content.FINITE)


def may_differ(content: AtPadding) -> bool:
    """Whether it may be something else in one run than in the other."""
    return content in (Content.FINITE, Content.FINITE_OR_SAME, Content.ANY)


def combine(contents: Iterable[AtPadding]) -> AtPadding:
    """What a function makes of entries that is finite where they are, and the same where a NaN or infinity is."""
    found = list(contents)
    if Content.ANY in found:
        return Content.ANY
    finite = all(map(is_finite, found))
    if any(map(may_differ, found)):
        return Content.FINITE if finite else Content.FINITE_OR_SAME
    return Content.STEADY if finite else Content.SAME


def join(contents: Iterable[AtPadding]) -> AtPadding:
    """What is known of entries of which each is one of these."""
    found = set(contents)
    if len(found) == 1:
        return found.pop()
    return Content.ZERO_OR_NAN if all(map(is_zero, found)) else combine(found)


@dataclasses.dataclass(frozen=True)
class ByToken:
    """A value with an entry per token.

    Attributes:
        batch: the axis of sequences, counted from the end, so negative.
        token: the axis of their tokens, likewise.
        at_padding: what stands at right padding.
    """

    batch: int
    token: int
    at_padding: AtPadding

    @property
    def differs(self) -> bool:
        """Whether the two runs may differ."""
        return may_differ(self.at_padding)

    @property
    def axes(self) -> tuple[int, int]:
        """Both axes."""
        return self.batch, self.token


@dataclasses.dataclass(frozen=True)
class Lost:
    """The runs may differ anywhere; `reason` says where that began."""

    reason: str


@dataclasses.dataclass(frozen=True)
class FirstVisible:
    """Equal in both runs: where the first visible token of each sequence stands, 0 if all are hidden.

    Attributes:
        batch: the axis of sequences, counted from the end.
    """

    batch: int


State = ByToken | FirstVisible | Lost | None


def differs(state: State) -> bool:
    """Whether the two runs may differ in a value."""
    return isinstance(state, Lost) or (isinstance(state, ByToken) and state.differs)


def content_of(value: ir.Value | None, state: State) -> AtPadding:
    """What an operand has at right padding; one that is left out is finite."""
    if isinstance(state, ByToken):
        return state.at_padding
    if value is None:
        return Content.STEADY
    array = constant(value) if state is None else None  # of positions no number is known
    if array is None or array.size == 0 or array.dtype.kind not in "fiub":
        is_whole = value.dtype is not None and (value.dtype.is_integer() or value.dtype == ir.DataType.BOOL)
        return Content.STEADY if is_whole else Content.SAME
    first = array.reshape(-1)[0]
    if np.isfinite(first) and (array == first).all() and float(first) == first.item():
        return float(first)
    return Content.STEADY if np.isfinite(array).all() else Content.SAME
