"""The report: groups, rates, and JSON that holds what it computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pyfastep.profile.result import NodeProfile


def test_groups_add_up(report: Callable[..., Any]) -> None:
    found = report()
    assert [(layer.name, layer.ms) for layer in found.layers] == [("layer.0", 3.0), ("layer.1", 1.0)]
    assert [(family.name, family.ms) for family in found.families] == [("linear up", 3.0), ("norm", 1.0)]
    parts = sum(layer.ms for layer in found.layers) + found.between_ms + found.other_ms + found.overhead_ms
    assert parts == found.run_ms
    up = found.families[0]
    assert (up.macs, up.dense_macs, up.limit_ms, up.least_ms) == (4e6, 16e6, 2.0, 3.0)
    assert up.kernels == ("4x4", "dense")
    assert up.density == pytest.approx((0.25 + 1) / 2)
    assert found.families[1].density is None
    assert found.limit_ms == 2.0


def test_share_of_the_peak(report: Callable[..., Any]) -> None:
    found = report()
    assert found.of_peak(found.steps[0]) == pytest.approx(2e6 / 2e-3 / 4e9)
    assert found.of_peak(found.steps[1]) is None, "no products"
    assert report(peak_macs_per_second=0).of_peak(found.steps[0]) is None


def test_other_types(report: Callable[..., Any]) -> None:
    nodes = tuple(
        NodeProfile(name, kind, "CPU", ms) for name, kind, ms in [("a", "Add", 1), ("b", "Erf", 3), ("c", "Add", 1)]
    )
    assert report(other_nodes=nodes).other_types == (("Erf", 3), ("Add", 2))


def test_json(report: Callable[..., Any]) -> None:
    data = json.loads(report().to_json())
    assert (data["format"], data["version"]) == ("fastep-profile-report", 1)
    step = data["steps"][0]
    assert step["nodes"] == ["a", "b"]
    assert step["share"] == pytest.approx(2 / 6)
    assert step["gmacs_per_second"] == pytest.approx(1.0)
    assert step["dense_gmacs_per_second"] == pytest.approx(4.0)
    assert step["of_peak"] == pytest.approx(0.25)
    assert data["steps"][1]["of_peak"] is None
    assert [(layer["name"], layer["ms"], layer["steps"]) for layer in data["layers"]] == [
        ("layer.0", 3, 2),
        ("layer.1", 1, 1),
    ]
    assert data["families"][0]["kernels"] == ["4x4", "dense"]
