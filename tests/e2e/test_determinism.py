"""The same bits on every tier, with one thread and two, through both doors, for every batch and length."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BATCHES = (1, 3)
LENGTHS = (1, 7, 32, 77, 128, 384)


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
    cpu_tiers: list[str],
) -> None:
    # Positions of the tiny models end at 512, as those of the real ones.
    encoder = tiny_encoder(**arguments)
    expected = reference_outputs(encoder, fastep_session(encoder.default, threads=1, options={"max_tier": "scalar"}))
    for tier in cpu_tiers:
        for threads in (1, 2):
            session = fastep_session(encoder.default, threads=threads, options={"max_tier": tier})
            check_same_bits(encoder, session, expected, f"provider, {tier}, {threads} threads")
    for threads in (1, 2):
        session = fastep_session(encoder.default, door="custom-ops", threads=threads)
        check_same_bits(encoder, session, expected, f"custom ops, {threads} threads")


def test_same_bits_of_the_real_model(minilm: Any, fastep_session: Callable[..., Any], cpu_tiers: list[str]) -> None:
    expected = reference_outputs(minilm, fastep_session(minilm.default, threads=2, options={"max_tier": cpu_tiers[-1]}))
    for tier in cpu_tiers:
        session = fastep_session(minilm.default, threads=1, options={"max_tier": tier})
        check_same_bits(minilm, session, expected, f"provider, {tier}, 1 thread")
    check_same_bits(minilm, fastep_session(minilm.default, door="custom-ops"), expected, "custom ops")


CHILD = """
import sys
import numpy as np, onnxruntime as ort, pyfastep
path, door, folder = sys.argv[1:]
options = ort.SessionOptions()
if door == "custom-ops":
    options.register_custom_ops_library(pyfastep.get_library_path())
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
else:
    pyfastep.register()
    options.add_provider_for_devices([d for d in ort.get_ep_devices() if d.ep_name == pyfastep.get_ep_name()], {})
    session = ort.InferenceSession(path, options)
feeds = dict(np.load(folder + "/feeds.npz"))
np.save(folder + "/output.npy", session.run(None, feeds)[0])
"""


@pytest.mark.parametrize("door", ["provider", "custom-ops"])
def test_environment_lowers_the_tier_of_both_doors(
    door: str,
    tiny_encoder: Callable[..., Any],
    fastep_session: Callable[..., Any],
    cpu_tiers: list[str],
    tmp_path: Path,
) -> None:
    encoder = tiny_encoder(architecture="bert", block=(4, 1), form="float-products")
    feeds = encoder.feeds(3, 77)
    expected = fastep_session(encoder.default).run(None, feeds)[0]
    np.savez(tmp_path / "feeds.npz", **feeds)
    for tier in cpu_tiers:
        subprocess.run(
            [sys.executable, "-c", CHILD, str(encoder.default), door, str(tmp_path)],
            env={**os.environ, "FASTEP_MAX_TIER": tier},
            cwd=tmp_path,  # not the sources, which hold no compiled library
            check=True,
            timeout=120,
        )
        np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), expected, err_msg=tier)
        (tmp_path / "output.npy").unlink()
