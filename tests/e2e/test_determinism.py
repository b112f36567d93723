"""The same bits on every tier, with one thread and two, through both doors, for every batch and length."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

BATCHES = (1, 3)
LENGTHS = (1, 7, 32, 77, 128, 384)
# What the provider says at the level `info`: no result can tell which tier it comes from.
CHOSEN_TIER = re.compile(r"fastep nodes, tier (\w+), subgraphs")


@pytest.fixture
def session_on_tier(
    fastep_session: Callable[..., Any], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Opens a session of the provider that runs the tier named, and no lower one."""
    monkeypatch.setenv("FASTEP_LOG", "info")
    monkeypatch.delenv("FASTEP_MAX_TIER", raising=False)

    def create(model: Path, tier: str, threads: int) -> Any:
        capfd.readouterr()
        session = fastep_session(model, threads=threads, options={"max_tier": tier})
        assert set(CHOSEN_TIER.findall(capfd.readouterr().err)) == {tier}
        return session

    return create


def check_same_bits(encoder: Any, session: Any, expected: dict[tuple[int, int], list[Any]], what: str) -> None:
    for (batch, length), outputs in expected.items():
        actual = session.run(None, encoder.feeds(batch, length))
        for ours, theirs in zip(actual, outputs, strict=True):
            np.testing.assert_array_equal(
                ours.view(np.uint32), theirs.view(np.uint32), err_msg=f"{what}, batch {batch}, length {length}"
            )


def reference_outputs(encoder: Any, session: Any) -> dict[tuple[int, int], list[Any]]:
    return {(b, n): session.run(None, encoder.feeds(b, n)) for b in BATCHES for n in LENGTHS}


@pytest.mark.parametrize(
    "arguments",
    [
        {"architecture": "bert", "block": (4, 1), "form": "float-products"},
        {"architecture": "distilbert", "block": (4, 4)},
        {"architecture": "bert", "sparsity": 0.0, "form": "s8"},
        {"architecture": "distilbert", "block": (1, 1), "activation": "relu", "form": "float-products"},
    ],
    ids=lambda arguments: "-".join(str(value) for value in arguments.values()),
)
def test_same_bits_on_every_tier_thread_count_and_door(
    arguments: dict[str, Any],
    tiny_encoder: Callable[..., Any],
    fastep_session: Callable[..., Any],
    session_on_tier: Callable[..., Any],
    cpu_tiers: list[str],
) -> None:
    # Positions of the tiny models end at 512, as those of the real ones.
    encoder = tiny_encoder(**arguments)
    expected = reference_outputs(encoder, session_on_tier(encoder.default, "scalar", 1))
    for tier in cpu_tiers:
        for threads in (1, 2):
            session = session_on_tier(encoder.default, tier, threads)
            check_same_bits(encoder, session, expected, f"provider, {tier}, {threads} threads")
    for threads in (1, 2):
        session = fastep_session(encoder.default, door="custom-ops", threads=threads)
        check_same_bits(encoder, session, expected, f"custom ops, {threads} threads")


def test_same_bits_of_the_real_model(
    minilm: Any, fastep_session: Callable[..., Any], session_on_tier: Callable[..., Any], cpu_tiers: list[str]
) -> None:
    expected = reference_outputs(minilm, session_on_tier(minilm.default, cpu_tiers[-1], 2))
    for tier in cpu_tiers:
        session = session_on_tier(minilm.default, tier, 1)
        check_same_bits(minilm, session, expected, f"provider, {tier}, 1 thread")
    check_same_bits(minilm, fastep_session(minilm.default, door="custom-ops"), expected, "custom ops")


# The custom ops name no tier. But sessions share the plan of a node if all that makes it is equal, the tier included,
# and say so: the provider has one of the tier named ready.
CHILD = """
import sys
import numpy as np, onnxruntime as ort, pyfastep
path, door, folder, tier = sys.argv[1:]
pyfastep.register()
devices = [d for d in ort.get_ep_devices() if d.ep_name == pyfastep.get_ep_name()]

def open_provider(path, settings):
    options = ort.SessionOptions()
    options.add_provider_for_devices(devices, settings)
    return ort.InferenceSession(path, options)

if door == "custom-ops":
    # Padding is skipped by the provider alone.
    known = open_provider(folder + "/linear.onnx", {"max_tier": tier, "skip_padding": "0"})
    options = ort.SessionOptions()
    options.register_custom_ops_library(pyfastep.get_library_path())
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
else:
    session = open_provider(path, {})
feeds = dict(np.load(folder + "/feeds.npz"))
np.save(folder + "/output.npy", session.run(None, feeds)[0])
"""


def save_first_linear(model: Path, target: Path) -> str:
    """Writes the first linear of a model as a model of its own; the node's name."""
    alone = onnx.load(model)
    node = next(node for node in alone.graph.node if node.op_type.startswith("QLinear_u8"))
    constants = [tensor for tensor in alone.graph.initializer if tensor.name in node.input]
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None)
        for name in (*node.input[:1], *node.output)
    )
    alone.graph.CopyFrom(onnx.helper.make_graph([node], "linear", [x], [y], constants))
    onnx.save(alone, target)
    return str(node.name)


def log_of_child(model: Path, door: str, folder: Path, tier: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(model), door, str(folder), tier],
        env={**os.environ, "FASTEP_MAX_TIER": tier, "FASTEP_LOG": "debug"},
        cwd=folder,  # not the sources, which hold no compiled library
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize("door", ["provider", "custom-ops"])
def test_environment_lowers_the_tier_of_both_doors(
    door: str,
    tiny_encoder: Callable[..., Any],
    fastep_session: Callable[..., Any],
    cpu_tiers: list[str],
    tmp_path: Path,
) -> None:
    encoder = tiny_encoder(architecture="bert", block=(4, 1), form="float-products")
    linear = save_first_linear(encoder.default, tmp_path / "linear.onnx")
    feeds = encoder.feeds(3, 77)
    expected = fastep_session(encoder.default).run(None, feeds)[0]
    np.savez(tmp_path / "feeds.npz", **feeds)
    for tier in cpu_tiers:
        lines = log_of_child(encoder.default, door, tmp_path, tier)
        assert set(CHOSEN_TIER.findall("\n".join(lines))) == {tier}
        if door == "custom-ops":
            of_linear = [line for line in lines if line.startswith(f"[fastep] debug: node '{linear}'")]
            assert [line.endswith("shared with another session") for line in of_linear] == [False, True], of_linear
        np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), expected, err_msg=tier)
        (tmp_path / "output.npy").unlink()
