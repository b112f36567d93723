"""Sparsity per layer by name; the rest is tested through pruning."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from pyfastep.compress.selection import shares_per_layer
from pyfastep.errors import FastEPError


def test_the_first_matching_pattern_decides() -> None:
    names = ["layer.0.q", "layer.0.k", "layer.1.q"]
    assert shares_per_layer(names, 0.8, {"layer.0.*": 0.5, "*.q": 0.9}) == {
        "layer.0.q": 0.5,
        "layer.0.k": 0.5,
        "layer.1.q": 0.9,
    }


def test_a_pattern_without_a_match() -> None:
    with pytest.raises(FastEPError, match=r"'\*.v' matches no nn.Linear \(the model has: layer.0.q"):
        shares_per_layer(["layer.0.q"], 0.8, {"*.v": 0.5})
