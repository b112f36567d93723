"""Sparsity patterns: how they are written. Torch-free, so that recipes are checked without it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyfastep.errors import FastEPError

__all__ = ["Pattern", "parse_pattern"]


@dataclass(frozen=True)
class Pattern:
    """Which elements of ``nn.Linear.weight [out, in]`` become zero together.

    Attributes:
        block: ``(R, C)``, outputs x inputs: the elements of a block are zero or kept together.
        group: ``(N, M)``: of M consecutive inputs of one output at most N are kept; None: no such rule.
    """

    block: tuple[int, int]
    group: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.group:
            return f"{self.group[0]}:{self.group[1]}"
        return "unstructured" if self.block == (1, 1) else f"{self.block[0]}x{self.block[1]}"

    def target(self, sparsity: float) -> float:
        """Share of blocks that are zero in the end: N:M decides it itself, ``1 - N/M``."""
        return 1.0 - self.group[0] / self.group[1] if self.group else sparsity


def parse_pattern(text: str) -> Pattern:
    """``4x1``, ``2:4`` or ``unstructured``.

    Raises:
        FastEPError: None of these.
    """
    if text == "unstructured":
        return Pattern((1, 1))
    match = re.fullmatch(r"(\d+)([x:])(\d+)", text)
    first, last = (int(match[1]), int(match[3])) if match else (0, 0)
    if match and match[2] == "x" and first and last:
        return Pattern((first, last))
    if match and match[2] == ":" and 0 < first < last:
        return Pattern((1, 1), (first, last))
    raise FastEPError(
        f"expected RxC, N:M with N < M, or unstructured, found {text!r}",
        node="pattern",
        remedy="for example 4x1 or 2:4",
    )
