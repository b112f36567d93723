"""Sessions in a process of their own: one that would write or read past a tensor must not take the tests along."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from .doors import EP_NAME, Array

_SETUP = f"""
import json, sys
import numpy as np
import onnxruntime

library, folder, model, options = json.loads(sys.argv[1])
onnxruntime.register_execution_provider_library("fastep", library)
session_options = onnxruntime.SessionOptions()
session_options.log_severity_level = 4
session_options.intra_op_num_threads = 1
devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == {EP_NAME!r}]
session_options.add_provider_for_devices(devices, options)
feeds = dict(np.load(folder + "/feeds.npz"))
"""

_RUN = """
try:
    found = onnxruntime.InferenceSession(model, session_options).run(None, feeds)
except Exception as error:
    print(error)
else:
    np.savez(folder + "/found.npz", *found)
    print("ran")
"""

# Every file of the folder in turn, in place of the model's plans.
_RUN_EACH = """
import glob, os, shutil
for plans in sorted(glob.glob(folder + "/forged-*.bin")):
    print(os.path.basename(plans), end=" ", flush=True)
    shutil.copyfile(plans, model.removesuffix(".onnx") + "_fastep.bin")
    outcome, told = "refused", "fastep compile"
    try:
        session = onnxruntime.InferenceSession(model, session_options)
        outcome, told = "failed", "node"
        session.run(None, feeds)
        outcome = "ran"
    except Exception as error:
        outcome = outcome if told in str(error) else repr(str(error))
    print(outcome, flush=True)
"""


class SessionError(Exception):
    """What the session of the other process raised."""


def run_apart(
    library: Path,
    folder: Path,
    model: onnx.ModelProto | Path,
    feeds: dict[str, Array],
    options: dict[str, str] | None = None,
) -> list[Array]:
    """What a session of the provider answers, strict unless `options` say otherwise.

    Raises:
        SessionError: what the session raised. A crash fails the test.
    """
    path = model if isinstance(model, Path) else folder / "apart.onnx"
    if isinstance(model, onnx.ModelProto):
        onnx.save(model, path)
    done = _run(_RUN, library, folder, path, feeds, options)
    if done.stdout.strip() != "ran":
        raise SessionError(done.stdout)
    with np.load(folder / "found.npz") as found:
        return [found[name] for name in found.files]


def run_forged(library: Path, folder: Path, model: Path, forged: Sequence[bytes], feeds: dict[str, Array]) -> list[str]:
    """What becomes of a compiled model with each of these plans: a crash fails the test, which keeps and names them.

    Returns:
        For each: refused with the remedy, failed in a Run with a message that names a node, ran, or else the message.
    """
    for number, plans in enumerate(forged):
        (folder / f"forged-{number:04d}.bin").write_bytes(plans)
    lines = _run(_RUN_EACH, library, folder, model, feeds).stdout.splitlines()
    return [line.partition(" ")[2] for line in lines]


def _run(
    code: str,
    library: Path,
    folder: Path,
    model: Path,
    feeds: dict[str, Array],
    options: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    np.savez(folder / "feeds.npz", **feeds)  # type: ignore[arg-type]  # of the names, none is allow_pickle
    arguments = json.dumps([str(library), str(folder), str(model), {"strict": "1"} | (options or {})])
    command = [sys.executable, "-c", _SETUP + code, arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"crashed with {done.returncode} in {folder}, after {last}: {done.stderr}"
    return done
