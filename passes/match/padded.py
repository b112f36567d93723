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

import numpy as np
import onnx_ir as ir

from .constants import constant


class Content(enum.Enum):
    """What stands at right padding, where it is not a number known before the run."""

    SAME = "the same in both runs"
    ZERO_OR_NAN = "0 or, in both runs, NaN"
    FINITE = "finite in both runs"
    ANY = "anything"


AtPadding = float | Content
"""A number: exactly that in both runs."""


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
        return self.at_padding in (Content.FINITE, Content.ANY)

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
    """What an operand has at right padding."""
    if isinstance(state, ByToken):
        return state.at_padding
    array = constant(value) if state is None else None  # of positions no number is known
    if array is None or array.size == 0 or array.dtype.kind not in "fiub":
        return Content.SAME
    first = array.reshape(-1)[0]
    return float(first) if np.isfinite(first) and (array == first).all() else Content.SAME
