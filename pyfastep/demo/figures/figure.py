"""What every section finds: figures with the values that they should reach, in one form."""

from __future__ import annotations

from dataclasses import dataclass

from pyfastep.demo.turns import Spread

__all__ = ["Figure", "Section"]


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        what: What was measured, of which model.
        shape: Batch x tokens, and threads where there are several.
        value: Median and percentiles; single values have no spread.
        floor: The least value that is good enough (the most, if `less_is_better`).
        aim: What is hoped for.
        less_is_better: Whether smaller values are better.
        detail: The values behind a ratio, which engine was the best, and so on.
    """

    what: str
    shape: str
    value: Spread
    floor: float | None = None
    aim: float | None = None
    less_is_better: bool = False
    detail: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the floor; None without one."""
        if self.floor is None:
            return None
        return self.value.median <= self.floor if self.less_is_better else self.value.median >= self.floor


@dataclass(frozen=True)
class Section:
    """Figures that belong together, and what a reader must know about them."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
